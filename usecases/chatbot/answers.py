"""One message in, what the assistant says and why out."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from shared.usecase import Record
from usecases.chatbot.state import Source

LONGEST = 100_000  # characters of a request; the dialogue reads the first few thousand


class ChatRequest(Record):
    message: str = Field(max_length=LONGEST, description="what the customer writes")
    state: dict[str, Any] | None = Field(
        None, description="the conversation so far: `state` of the response before, as it was; null: a new conversation"
    )
    conversation: str | None = Field(
        None, min_length=1, max_length=200, description="name of one that is kept here, instead of `state`; a new name begins one"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.state is not None and self.conversation is not None:
            raise ValueError("give `state` or `conversation`, not both")
        return self


class Guess(BaseModel):
    intent: str
    probability: float = Field(description="calibrated, of the intents together 1, given that it is about one of them")


class Found(BaseModel):
    type: str
    value: str | float | bool = Field(description="normalised: ISO date, amount in euros, lower-case e-mail")
    text: str = Field(description="as it was written")


class ChatResponse(Record):
    reply: str = Field(description="what to show the customer; empty for a model of labelled messages without content")
    intents: list[Guess] = Field(description="the likeliest; of a message about several things, that of each")
    outside: float = Field(description="probability that the message is about none of the intents")
    understood: bool = Field(description="false: taken for a message that is about none of the intents")
    entities: list[Found] = Field(default_factory=list)
    events: list[dict[str, Any]] = Field(default_factory=list, description="what was done: asks, answers, does, hands_over, …")
    sources: list[Source] = Field(
        default_factory=list,
        description="passages that the reply quotes, word for word, and how probable it is that each answers",
    )
    suggestions: list[str] = Field(default_factory=list, description="replies to offer as buttons")
    summary: str | None = Field(None, description="for the human who takes over")
    state: dict[str, Any] | None = Field(
        None, description="give it with the next message; null where the conversation is kept here"
    )
