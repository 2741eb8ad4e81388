"""The trained model: pictures in; opinions, how sure they are, and where they come from out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch

from shared.evaluation.novelty import Novelty
from shared.evaluation.selective import Abstention, decision_confidence
from shared.evaluation.temperature import Temperature
from shared.evaluation.venn_abers import VennAbers, interval_classes
from shared.explain.gradcam import class_maps
from shared.export import Compute
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.fitting import look, quick
from usecases.medical_imaging.found import Found, notice
from usecases.medical_imaging.framing import Frame
from usecases.medical_imaging.frozen import Frozen
from usecases.medical_imaging.items import is_healthy
from usecases.medical_imaging.network import FindingNetwork
from usecases.medical_imaging.prepare import Prepared, is_coloured

WIDENED = 0.02  # of the side, standard deviation
MOST = 5.0  # deviations beyond what is usual that are told apart
AT_ONCE = 16  # pictures that the networks look at together
OUTLINED = 0.002  # share of the picture from which on a mask says that something is there


@dataclass(frozen=True)
class Looked:
    """What a finder says of prepared cases.

    Attributes:
        probabilities: [cases, classes].
        decided: [cases] classes decided for.
        confidence: [cases] the chance that the decision is right.
        refer: bool [cases], a human should decide.
        novelty: [cases], 1 and above is refused.
        masks: bool [cases, size, size] on the network's square; None: the model knows no masks.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    confidence: np.ndarray
    refer: np.ndarray
    novelty: np.ndarray
    masks: np.ndarray | None


@dataclass
class Finder:
    """Networks, and how their numbers become an opinion.

    Attributes:
        classes: names, the finding last.
        channels: 1 where it was trained on grey images, 3 on colour.
        networks: as they were trained, on the processor.
        frozen: what is unusual is told by what this network sees.
        flips: whether each picture is looked at mirrored, too.
        temperature, bounds, threshold, abstention, novelty: see `shared.evaluation`; fitted on validation. Without an abstention
            no rule could be guaranteed there; without a novelty nothing is refused.
        precision: "bf16" or "fp32", of the arithmetic.
        about: the artefact's metadata, once loaded.
        exported: computes in the networks' place, but for what maps rest on; see `export`.
    """

    config: MedicalConfig
    classes: tuple[str, ...]
    channels: int
    networks: list[FindingNetwork]
    frozen: Frozen
    flips: bool = False
    temperature: Temperature = field(default_factory=Temperature)
    bounds: list[VennAbers] = field(default_factory=list)
    threshold: float = 0.5
    abstention: Abstention | None = None
    novelty: Novelty | None = None
    precision: str = "fp32"
    about: dict[str, Any] = field(default_factory=dict)
    exported: Compute | None = None

    @property
    def simple(self) -> bool:
        """Is the model logistic regression on a network that ImageNet taught?"""
        return self.networks[0].side > 0

    @cached_property
    def fast(self) -> list[FindingNetwork]:
        """The same functions, laid out for prediction on the processor."""
        return quick(self.networks, self.precision)

    def __call__(self, pictures: Sequence[Picture], heat: bool = True) -> list[Found]:
        """An opinion on each picture.

        Args:
            heat: whether to say what it rests on; without, the maps are 0 and it is quicker.
        """
        found: list[Found] = []
        for start in range(0, len(pictures), AT_ONCE):
            found += self._some(pictures[start : start + AT_ONCE], heat)
        return found

    def look_through(self, part: Prepared) -> Looked:
        """All cases of a part, a few at a time."""
        probabilities, novelty, masks = [], [], []
        for start in range(0, len(part.images), AT_ONCE):
            logits, areas = self.look(batched(part.images[start : start + AT_ONCE]))
            probabilities.append(self.temperature(logits))
            novelty.append(self.unusual(part.images[start : start + AT_ONCE]))
            if areas is not None:
                masks.append(areas > self.config.decide.area)
        sure, unusual = np.concatenate(probabilities), np.concatenate(novelty)
        refer = self.unsure(sure) | (unusual >= 1)
        return Looked(sure, self.decide(sure), self.confidence(sure), refer, unusual, np.concatenate(masks) if masks else None)

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits [n, classes], and the chance of each pixel [n, size, size] where there are masks.

        Args:
            images: uint8 [n, 1 or 3, size, size].
        """
        if self.exported is not None:
            made = self.exported({"image": images})
            return made["logits"], made.get("mask")
        looked = look(self.fast, torch.from_numpy(images), self.flips)
        return looked["classes"].numpy(), looked["mask"].float().sigmoid()[:, 0].numpy() if "mask" in looked else None

    def squares(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Pictures as the networks take them, uint8 [n, 1 or 3, size, size]."""
        frames = [Frame.of(picture.pixels, self.config.network.size) for picture in pictures]
        made = [frame.image(picture.pixels, self.channels) for frame, picture in zip(frames, pictures, strict=True)]
        return batched(np.stack(made))

    def _some(self, pictures: Sequence[Picture], heat: bool) -> list[Found]:
        frames = [Frame.of(picture.pixels, self.config.network.size) for picture in pictures]
        squares = np.stack([frame.image(picture.pixels, self.channels) for frame, picture in zip(frames, pictures, strict=True)])
        logits, areas = self.look(batched(squares))
        probabilities = self.temperature(logits)
        labels = self.decide(probabilities)
        low, high = self.limits(probabilities, labels)
        unusual = self.unusual(squares)
        maps = self.maps(squares, labels) if heat else np.zeros(squares.shape[:3], np.float32)
        found = []
        for place, (picture, frame) in enumerate(zip(pictures, frames, strict=True)):
            judged = bool(unusual[place] < 1)
            mask = frame.back(areas[place]) > self.config.decide.area if areas is not None and judged else None
            sure = (probabilities[place], int(labels[place]), float(low[place]), float(high[place]))
            doubts = self._doubts(*sure) if judged else ()
            reasons = (*doubts, *self._oddities(int(labels[place]), float(unusual[place]), mask, picture))
            shown = frame.back(maps[place] * judged)
            found.append(Found(*sure, reasons, float(unusual[place]), shown, mask, notice(self.about)))
        return found

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """[n] the classes decided for, of probabilities [n, classes]: of two by the operating point, else the likeliest."""
        if probabilities.shape[1] == 2:
            return (probabilities[:, 1] >= self.threshold).astype(np.int64)
        return probabilities.argmax(1)

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """[n] the chance that the decision is right."""
        if probabilities.shape[1] == 2:
            return decision_confidence(probabilities[:, 1], self.threshold)
        return probabilities.max(1)

    def limits(self, probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[n], [n]: between which the probability of each one's label lies; the given probability itself always does."""
        rows = np.arange(len(labels))
        own = probabilities[rows, labels]
        if not self.bounds:
            return own, own
        low, high = interval_classes(self.bounds, probabilities)
        return np.minimum(low[rows, labels], own), np.maximum(high[rows, labels], own)

    def unusual(self, squares: np.ndarray) -> np.ndarray:
        """[n] novelty of images uint8 [n, size, size] or [n, size, size, 3]: 1 is where they are refused; 0 where none is."""
        if self.novelty is None:
            return np.zeros(len(squares))
        beyond = self.novelty.scores(self.frozen(squares).stages) - self.novelty.threshold
        return np.exp(np.clip(beyond, -MOST, MOST))

    def unsure(self, probabilities: np.ndarray) -> np.ndarray:
        """bool [n]: by the rule of abstention. Where none could be guaranteed, by limits that allow either decision; of more than
        two classes, by those that let the decision be wrong more often than right.
        """
        if self.abstention is not None:
            return self.abstention.refer(self.confidence(probabilities))
        labels = self.decide(probabilities)
        low, high = self.limits(probabilities, labels)
        if probabilities.shape[1] > 2:
            return low < 0.5
        level = np.where(labels == 1, self.threshold, 1 - self.threshold)
        return (low < level) & (level < high)

    def maps(self, squares: np.ndarray, labels: np.ndarray, network: FindingNetwork | None = None) -> np.ndarray:
        """[n, size, size] 0..1 what speaks for the finding (of two classes), or for the class that was decided for.

        Grad-CAM of the deepest features; where there is a decoder, through which the class sees the mask, LayerCAM of its finest
        (on simulated validation images their highest point lay in the lesion in 56%, that of the deepest features in 2%), widened
        so that it can be seen: the class rests on the mask's likeliest places, which may be a few pixels.

        Args:
            squares: uint8 [n, size, size] or [n, size, size, 3].
            network: to explain; None: the first of those that predict.
        """
        network = network or self.fast[0]
        targets = np.ones_like(labels) if len(self.classes) == 2 else labels
        batch = as_batch(squares)
        if network.decoder is None:
            return class_maps(network, network.backbone.stages[-1], batch, targets, logits=class_logits).maps
        fine = class_maps(network, network.decoder.joins[-1], batch, targets, kind="layercam", logits=class_logits).maps
        wide = np.stack([cv2.GaussianBlur(one, (0, 0), WIDENED * len(one)) for one in fine])
        highest: np.ndarray = wide.max((1, 2), keepdims=True)
        return wide / np.maximum(highest, 1e-9)

    def _doubts(self, probabilities: np.ndarray, label: int, low: float, high: float) -> tuple[str, ...]:
        """What the probability of one picture says against deciding; () if nothing."""
        if not bool(self.unsure(probabilities[None])[0]):
            return ()
        if self.abstention is None:
            return (f"the probability of '{self.classes[label]}' may be anything from {low:.0%} to {high:.0%}",)
        return (f"it is less sure than the decisions of which at most {self.config.decide.risk:.0%} are wrong",)

    def _oddities(self, label: int, unusual: float, mask: np.ndarray | None, picture: Picture) -> tuple[str, ...]:
        """Why one picture should not be believed, however sure the networks are; () if nothing speaks against it."""
        reasons = []
        if self.channels == 1 and is_coloured(picture.pixels):
            reasons.append("it is in colour, the images of training were grey")
        if unusual >= 1:
            reasons.append(f"it is unlike the images of training (novelty {unusual:.1f}, from 1 on none is believed)")
        if mask is not None and len(self.classes) == 2:
            marked = bool(mask.mean() > OUTLINED)
            if marked and not label and is_healthy(self.classes[0]):  # what is benign may be marked
                reasons.append("something is marked in it, though the class says that nothing is there")
            elif label and not mask.any():
                reasons.append("nothing could be marked in it, though the class says that something is there")
        return tuple(reasons)


def batched(squares: np.ndarray) -> np.ndarray:
    """uint8 [n, size, size] or [n, size, size, 3] as the networks take it: [n, 1 or 3, size, size]."""
    return squares[:, None] if squares.ndim == 3 else squares.transpose(0, 3, 1, 2)


def as_batch(squares: np.ndarray) -> torch.Tensor:
    """The same as a tensor."""
    return torch.from_numpy(batched(squares))


def class_logits(output: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return output["classes"]
