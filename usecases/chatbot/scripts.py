"""Scripted conversations: messages, and what must come of each."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal, get_type_hints

from pydantic import Field, field_validator

from shared.config import Section
from shared.errors import nearest
from usecases.chatbot.state import Event

TEXTS = ("contains", "not_contains")
LISTS = (*TEXTS, "clarifies")
KEYS = (*get_type_hints(Event), *TEXTS)


class Turn(Section):
    """A message, and what must come of it (all of the keys)."""

    user: str
    expect: dict[str, Any] = Field(min_length=1)

    @field_validator("expect")
    @classmethod
    def _known(cls, expect: dict[str, Any]) -> dict[str, Any]:
        for key, value in expect.items():
            if key not in KEYS:
                raise ValueError(f"there is no expectation '{key}'. {nearest(key, KEYS)}")
            if not value:  # met by everything, or by nothing
                raise ValueError(f"'{key}' holds nothing to expect. Write what must come, or remove it")
            if key in LISTS and not isinstance(value, list):
                raise ValueError(f"'{key}' is a list of texts")
            if key == "with" and not (isinstance(value, dict) and expect.keys() & {"does", "fails"}):
                raise ValueError("'with' holds slots, beside 'does' or 'fails'")
        return {key: _plain(value) for key, value in expect.items()}


class Script(Section):
    """A conversation."""

    name: str
    part: Literal["tuning", "held_out"] = "tuning"
    turns: tuple[Turn, ...] = Field(min_length=1)


def _plain(value: Any) -> Any:
    """Dates as ISO text, as slots hold them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.isoformat() if isinstance(value, date) else value
