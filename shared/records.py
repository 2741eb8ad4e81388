"""Requests from JSON text or table rows, validated; every fault named by record and field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import UserError, nearest

R = TypeVar("R", bound=BaseModel)
SHOWN = 10  # faults of a message


@dataclass(frozen=True)
class Fault:
    """What is wrong with a field of the `record`th record, from 1. No `field`: the whole record."""

    record: int
    field: str
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        return f"record {self.record}, {self.field or 'whole record'}: {self.fix or self.problem}"


class RecordError(UserError):
    """Records cannot be used; `faults` says which and why."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        super().__init__("The input does not fit:\n" + "\n".join(f"  - {fault}" for fault in faults[:SHOWN]) + more)


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
        RecordError: with the faults of all records.
    """
    requests, faults = [], []
    for number, record in enumerate(records, first):
        try:
            requests.append(request.model_validate({**options, **record} if isinstance(record, dict) else record))
        except ValidationError as error:
            for e in error.errors(include_url=False, include_context=False):
                key = ".".join(map(str, e["loc"]))
                if e["type"] == "extra_forbidden":
                    faults.append(Fault(number, key, "there is no such field", nearest(key, request.model_fields)))
                else:
                    faults.append(Fault(number, key, e["msg"]))
    if faults:
        raise RecordError(faults)
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
