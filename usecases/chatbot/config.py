"""Every knob of the assistant."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from shared.config import Section, Training, merge

SUITED = {
    "encoder": Training(epochs=4, batch_size=64, learning_rate=1e-4, weight_decay=0.01, warmup=0.1),
    "lstm": Training(epochs=25, batch_size=64, learning_rate=3e-3, weight_decay=0.01, warmup=0.1),
}


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
