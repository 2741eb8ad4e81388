"""A request's body to validated records: JSON, or a form with files."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.requests import Request

from shared.errors import nearest
from shared.records import validate
from shared.serving.problems import ProblemError
from shared.serving.settings import ServeSettings

DEPTH = 32  # levels of lists and objects in one another
VALUES = 500_000  # in a body; each takes some 50 bytes of memory
LARGE = 256 << 10  # bytes of a body that is read in a thread, so that others need not wait
FORM_FIELDS = 100
JSON, FORM = "application/json", "multipart/form-data"


async def records_of(request: Request, model: type[BaseModel], settings: ServeSettings) -> tuple[list[Any], bool]:
    """The records of a request, and whether it holds a list of them.

    Raises:
        ProblemError, RecordError: it cannot be read, or holds too much, or does not fit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(settings.timeout_s):
            if kind == JSON or kind.endswith("+json"):
                body = await request.body()
            elif kind == FORM and file_field(model):
                return await _uploaded(request, model, settings)
            else:
                either = f" or {FORM} with the file as '{file_field(model)}'" if file_field(model) else ""
                raise ProblemError(415, f"Send {JSON}{either}, and say so in `Content-Type`.")
    except TimeoutError:
        raise ProblemError(408, f"The body did not arrive within {settings.timeout_s:g} s.") from None
    if len(body) > LARGE:
        return await asyncio.to_thread(_parsed, body, model, settings)
    return _parsed(body, model, settings)


def file_field(model: type[BaseModel]) -> str | None:
    """The request's field that holds a file in base64, if there is one."""
    for name, info in model.model_fields.items():
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("contentEncoding") == "base64":
            return name
    return None


def _parsed(body: bytes, model: type[BaseModel], settings: ServeSettings) -> tuple[list[Any], bool]:
    if body.count(b",") > VALUES:
        raise ProblemError(413, f"The JSON has more than {VALUES:,} values.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(400, f"The body is not valid JSON: {error}.", [{"field": "", "problem": str(error)}]) from None
    _refuse_odd(value)
    is_list = isinstance(value, list)
    return _checked(value if is_list else [value], model, settings), is_list


def _checked(records: Sequence[Any], model: type[BaseModel], settings: ServeSettings) -> list[Any]:
    if not records:
        raise ProblemError(422, "The list is empty: send at least one record.", [{"field": "", "problem": "no records"}])
    if len(records) > settings.records:
        raise ProblemError(413, f"A request has at most {settings.records:,} records, not {len(records):,}. Send several.")
    return validate(model, list(records), {})


def _refuse_odd(value: Any) -> None:
    """Refuse what is nested too deeply, and numbers too large to be any."""
    level = [value]
    for _ in range(DEPTH + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise ProblemError(400, "The JSON holds a number that is too large.")
        level = below
        if not level:
            return
    raise ProblemError(400, f"The JSON is nested more than {DEPTH} levels deep.")


async def _uploaded(request: Request, model: type[BaseModel], settings: ServeSettings) -> tuple[list[Any], bool]:
    """A record for each uploaded file; the form's other fields hold for all of them. Files' names are not looked at."""
    place = file_field(model)
    assert place is not None
    files: list[str] = []
    fields: dict[str, Any] = {}
    async with request.form(max_files=settings.records, max_fields=FORM_FIELDS, max_part_size=settings.body_bytes) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != place:
                    raise _form_problem(name, "no file belongs here", f"Upload it as '{place}'.")
                files.append(base64.b64encode(await value.read()).decode("ascii"))
            elif name == place:
                files.append(value)
            elif name in fields:
                raise _form_problem(name, "given twice", "Give it once; it holds for all files.")
            elif name not in model.model_fields:
                raise _form_problem(name, "there is no such field", nearest(name, model.model_fields))
            else:
                fields[name] = value if model.model_fields[name].annotation is str else _value(value)
    if not files:
        raise _form_problem(place, "no file was uploaded", f"For example: curl -F {place}=@FILE")
    _refuse_odd(fields)
    return _checked([{**fields, place: text} for text in files], model, settings), len(files) > 1


def _value(text: str) -> Any:
    """A form field's JSON, such as true or an object; what is none is text."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


def _form_problem(field: str, problem: str, fix: str) -> ProblemError:
    return ProblemError(422, f"{field}: {problem}. {fix}", [{"field": field, "problem": problem, "fix": fix}])
