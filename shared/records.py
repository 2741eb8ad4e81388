"""Requests from JSON text or table rows, validated; every fault named by record and field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import UserError, nearest

R = TypeVar("R", bound=BaseModel)


def parse(request: type[R], text: str, options: Mapping[str, Any]) -> list[R]:
    """One record or a list of records as JSON; `options` are fields given to each that does not set them itself."""
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"The record is not valid JSON: {error}.") from None
    return validate(request, records if isinstance(records, list) else [records], options)


def validate(request: type[R], records: list[Any], options: Mapping[str, Any], first: int = 1) -> list[R]:
    """Validate records; `first` is the number of the first one in messages.

    Raises:
        UserError: lists the faults (at most ten) of all records.
    """
    requests, faults = [], []
    for number, record in enumerate(records, first):
        try:
            requests.append(request.model_validate({**options, **record} if isinstance(record, dict) else record))
        except ValidationError as error:
            for e in error.errors(include_url=False):
                key = ".".join(map(str, e["loc"]))
                hint = nearest(key, request.model_fields) if e["type"] == "extra_forbidden" else e["msg"]
                faults.append(f"record {number}, {key or 'whole record'}: {hint}")
    if faults:
        more = f"\n  … and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise UserError("The input does not fit:\n" + "\n".join(f"  - {fault}" for fault in faults[:10]) + more)
    return requests


def read_options(model: type[R], given: Mapping[str, Any]) -> R:
    """The KEY=VALUE settings of one command.

    Raises:
        UserError: lists every unknown name and unfit value.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        faults = [_fault(model, e["loc"], e["type"], e["msg"]) for e in error.errors(include_url=False)]
        raise UserError("The settings do not fit:\n" + "\n".join(f"  - {fault}" for fault in faults)) from None


def _fault(model: type[BaseModel], place: Iterable[int | str], kind: str, message: str) -> str:
    key = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return f"there is no '{key}'. {nearest(key, model.model_fields)}"
    about = model.model_fields[key].description if key in model.model_fields else ""
    return f"{key}: {message}" + (f" ({about})" if about else "")
