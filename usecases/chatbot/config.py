"""Every knob of the chatbot."""

from __future__ import annotations

from pydantic import Field

from shared.config import Section


class Talking(Section):
    """When the assistant acts, asks back, gives up."""

    certain: float = Field(0.45, gt=0, lt=1, description="probability from which on an intent is acted upon")
    margin: float = Field(0.1, ge=0, lt=1, description="two intents are asked about if their probabilities differ by less")
    second: float = Field(
        0.18, gt=0, le=1, description="so are those of a short statement if the second is at least this probable"
    )
    outside: float = Field(
        0.25, gt=0, lt=1, description="probability of being about none from which on a message is not understood"
    )
    stages: int = Field(2, ge=1, description="messages in a row that are not understood before a human is offered")
    insults: int = Field(2, ge=1, description="rude messages in a conversation before a human takes over")
    longest: int = Field(4_000, ge=100, description="characters of a message that are read")
