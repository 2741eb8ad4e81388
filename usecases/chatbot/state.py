"""What is known of a conversation, and what a reply holds."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

GOODBYE = "goodbye"
"""The intent that ends a conversation, where a desk has one."""

Event = TypedDict(
    "Event",
    {
        "answers": str,
        "quoted": str,
        "asks": str,
        "confirms": str,
        "does": str,
        "fails": str,
        "with": dict[str, Any],
        "says": str,
        "clarifies": list[str],
        "falls_back": int,
        "hands_over": bool,
        "cancels": str,
    },
    total=False,
)
"""One thing that a reply does: an article's name (and why a language model's words were not said), a slot, a form, an action with
its slots, an intent, …"""


class Source(BaseModel):
    """Where an answer is quoted from."""

    article: str
    title: str
    heading: str
    text: str
    probability: float


class Summary(BaseModel):
    """What a colleague who takes over has to know."""

    reason: str
    asked: list[str] = Field(description="the customer's messages, last one last")
    known: dict[str, Any] = Field(description="slots of the form that was being filled, or was filled last")
    tried: list[str]

    def __str__(self) -> str:
        known = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in self.known.items()) or "nothing"
        lines = [f"Why: {self.reason}.", f"Known: {known}.", f"Tried: {'; '.join(self.tried) or 'nothing'}."]
        return "\n".join([*lines, "The customer wrote:", *(f"- {message}" for message in self.asked)])


class Finite(BaseModel):
    """JSON has no infinity."""

    model_config = ConfigDict(allow_inf_nan=False)


class Pending(Finite):
    """A form that waits for another one to end."""

    form: str
    slots: dict[str, str | float | bool]


class State(Finite):
    """All that is known of a conversation.

    Attributes:
        conversation: its id, drawn at the first turn, or made of the name that it is kept by; nothing that is said depends on it.
        asked: the slot whose question was put last.
        failed: the form's action found nothing; its slots can be corrected.
        options: intents between which the customer was asked to choose.
        unclear: the message that led to the choice.
        misses: messages in a row that were not understood.
        lost: replies in a row that a form could not use.
        known: slots of the form that was done last.
    """

    conversation: str = ""
    turns: int = 0
    form: str | None = None
    slots: dict[str, str | float | bool] = Field(default_factory=dict)
    asked: str | None = None
    confirming: bool = False
    failed: bool = False
    queue: list[Pending] = Field(default_factory=list)
    options: list[str] = Field(default_factory=list)
    unclear: str = ""
    misses: int = 0
    lost: int = 0
    offered: bool = False
    insults: int = 0
    known: dict[str, str | float | bool] = Field(default_factory=dict)
    messages: list[str] = Field(default_factory=list)
    tried: list[str] = Field(default_factory=list)
    said: str = ""


def signed(state: State, key: bytes) -> dict[str, Any]:
    """The state as JSON, with a signature (HMAC-SHA256, RFC 2104): for keeping by somebody who must not change it."""
    return {**state.model_dump(mode="json"), "signature": _signature(state, key)}


def verified(given: Mapping[str, Any], key: bytes) -> State:
    """What `signed` gave, be it through a client whose JSON writes 20.0 as 20.

    Raises:
        ValueError: it was changed, or another key signed it.
    """
    state = State.model_validate(given)
    if not hmac.compare_digest(_signature(state, key).encode(), str(given.get("signature")).encode(errors="replace")):
        raise ValueError("the signature is wrong")
    return state


def _signature(state: State, key: bytes) -> str:
    return hmac.new(key, json.dumps(state.model_dump(mode="json"), sort_keys=True).encode(), "sha256").hexdigest()


class Reply(BaseModel):
    """What the assistant answers, what it did, and the state after it."""

    text: str
    events: list[Event] = Field(default_factory=list)
    sources: list[Source] = Field(default_factory=list)
    suggestions: list[str] = Field(default_factory=list)
    summary: Summary | None = None
    state: State

    @property
    def ended(self) -> bool:
        """Whether the conversation is over: it was handed over, or the customer has said goodbye and nothing is open."""
        left = any(event.get("says") == GOODBYE for event in self.events) and self.state.form is None and not self.state.queue
        return self.summary is not None or left
