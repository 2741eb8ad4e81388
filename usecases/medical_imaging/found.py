"""What a model says of one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NOTICE = "Not a medical device. For research and teaching; not for diagnosis or treatment."
NOT_JUDGED = "not judged"  # in place of a class, where the model refuses
SIMULATED = "Trained on simulated images: says nothing about real patients."


def notice(about: Mapping[str, Any]) -> str:
    """What must stand on all that a model says, by its artefact's metadata."""
    return f"{NOTICE} {SIMULATED}" if about.get("data", {}).get("simulated") else NOTICE


@dataclass(frozen=True)
class Found:
    """An opinion, how sure it is, and where it comes from.

    Attributes:
        probabilities: [classes] calibrated.
        label: place of the class that the model decides for; of two classes by the operating point, else the likeliest.
        low, high: between which the probability of `label` lies, as far as validation tells (Venn-Abers).
        reasons: why a human should decide instead, in plain words; empty: the model is sure enough.
        novelty: how unlike the training images it is; 1 is where the model refuses: the picture is not judged.
        heat: float32 0..1 [height, width] of the picture, what the decision rests on; 0 where it is not judged.
        mask: bool [height, width] of the picture, where the finding is; None: the model knows no masks, or it is not judged.
        notice: to be written wherever this is.
    """

    probabilities: np.ndarray
    label: int
    low: float
    high: float
    reasons: tuple[str, ...]
    novelty: float
    heat: np.ndarray
    mask: np.ndarray | None = None
    notice: str = NOTICE

    @property
    def judged(self) -> bool:
        return self.novelty < 1

    def finding(self, classes: Sequence[str]) -> str:
        """The class's name, or that there is no decision."""
        return classes[self.label] if self.judged else NOT_JUDGED
