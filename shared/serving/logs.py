"""Logs as JSON lines on stderr. They hold nothing of what people send: no bodies, no queries, no addresses, no error's text."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

ACCESS = logging.getLogger("usecases.access")
FRAMES = 8  # innermost ones that are told of an error


class JsonLines(logging.Formatter):
    """One JSON object a line; what `extra={"fields": {...}}` holds becomes its keys.

    Of an exception it tells the type and where it was raised, not its message, which may quote a request.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])[-FRAMES:]
            line["error"] = record.exc_info[0].__name__
            line["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, ensure_ascii=False)


def to_stderr() -> None:
    """Send every log of this process there, those of the libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("usecases").setLevel(logging.INFO)
