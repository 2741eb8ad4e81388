"""Errors as problem documents (RFC 9457): what is wrong, in which field, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from shared.errors import DataError, UserError
from shared.records import RecordError
from shared.serving.batching import ClosedError, OverloadedError
from shared.serving.service import NotReadyError

MEDIA_TYPE = "application/problem+json"
SOON = 5  # seconds after which a model may be loaded
MOST = 100  # errors of a document

SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and what to do"},
        "instance": {"type": "string", "description": "the request's id, which the server's log has, too"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {
                    "record": {"type": "integer", "description": "which record, from 1"},
                    "field": {"type": "string", "description": "empty: the whole record or body"},
                    "problem": {"type": "string"},
                    "fix": {"type": "string"},
                },
            },
        },
    },
}


class ProblemError(Exception):
    """What a client is answered instead of what it asked for."""

    def __init__(
        self, status: int, detail: str, errors: Sequence[Mapping[str, Any]] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), dict(headers or {})

    def response(self, request_id: str) -> Response:
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:request:{request_id}",
        }
        if self.errors:
            document["errors"] = self.errors[:MOST]
        content = json.dumps(document, ensure_ascii=False).encode(errors="replace")
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def busy(status: int, detail: str, seconds: int) -> ProblemError:
    """A refusal that is over after so many seconds."""
    return ProblemError(status, detail, headers={"Retry-After": str(seconds)})


def of(error: Exception) -> ProblemError | None:
    """The problem that an error is to a client; None: a defect of ours."""
    match error:
        case ProblemError():
            return error
        case RecordError():
            errors = [
                {"record": fault.record, "field": fault.field, "problem": fault.problem}
                | ({"fix": fault.fix} if fault.fix else {})
                for fault in error.faults
            ]
            return ProblemError(422, str(error), errors)
        case DataError():
            return ProblemError(422, str(error), [{"field": f.where, "problem": f.what, "fix": f.fix} for f in error.findings])
        case UserError():
            return ProblemError(422, str(error))
        case OverloadedError():
            return busy(
                503, f"The model is asked for more than it can answer; try again after {error.retry_after} s.", error.retry_after
            )
        case NotReadyError():
            return busy(503, str(error), SOON)
        case ClosedError():
            return busy(503, "The server is stopping.", SOON)
        case TimeoutError():
            return ProblemError(504, "The answer did not come in time. Send fewer or smaller records.")
        case HTTPException():
            return ProblemError(error.status_code, error.detail, headers=error.headers)
    return None
