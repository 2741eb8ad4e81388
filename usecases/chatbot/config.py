"""Every knob of the chatbot."""

from __future__ import annotations

from pydantic import Field

from shared.config import RunConfig, Section

SUPPORT_DESK = "support-desk"


class Columns(Section):
    """Columns of a table of utterances; null: recognised by their usual names."""

    text: str | None = Field(None, description="what the customer wrote")
    label: str | None = Field(None, description="the intent")
    part: str | None = Field(None, description="train, validation or test")


class Data(Section):
    """What the assistant learns from."""

    source: str = Field(
        SUPPORT_DESK,
        description="a content folder (intents.yaml, …), a table text,label, CLINC JSON, Rasa NLU YAML or a folder of such "
        f"files; '{SUPPORT_DESK}' is an invented shop's",
    )
    columns: Columns = Columns()
    out_of_scope: tuple[str, ...] = Field(
        ("", "oos", "out_of_scope", "nlu_fallback"), description="labels of messages that are about none of the intents"
    )
    encoding: str = Field("utf-8", description="of text tables")


class Split(Section):
    """Shares of each intent's utterances. A data set's own split is kept."""

    validation: float = Field(0.2, ge=0, lt=1, description="share for choosing")
    test: float = Field(0.2, ge=0, lt=1, description="share for judging")


class Talking(Section):
    """When the assistant acts, asks back, gives up."""

    certain: float = Field(0.5, gt=0, lt=1, description="probability from which on an intent is acted upon")
    margin: float = Field(0.2, ge=0, lt=1, description="two intents are asked about if their probabilities differ by less")
    outside: float = Field(
        0.5, gt=0, lt=1, description="probability of being about no intent from which on a message is not understood"
    )
    stages: int = Field(2, ge=1, description="messages in a row that are not understood before a human is offered")
    insults: int = Field(2, ge=1, description="rude messages in a conversation before a human takes over")
    longest: int = Field(4_000, ge=100, description="characters of a message that are read")


class ChatConfig(RunConfig):
    """Chatbot."""

    data: Data = Data()
    split: Split = Split()
    talking: Talking = Talking()
