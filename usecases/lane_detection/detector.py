"""The trained detector: images in, lines with a calibrated confidence out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import logit

from shared import hardware
from shared.evaluation.calibration import Calibrator
from shared.export import Arrays, Compute
from shared.models.cnn import fuse
from usecases.lane_detection.anchors import Grid
from usecases.lane_detection.classical import Classical
from usecases.lane_detection.config import LaneConfig, Model
from usecases.lane_detection.lanes import Line, at_rows
from usecases.lane_detection.network import LaneNetwork
from usecases.lane_detection.paths import follow
from usecases.lane_detection.tracking import Detected

AT_ONCE = 16  # images that the network takes at once
TOUCHING, WHOLE = 0.004, 0.6  # share of the width up to which lines do not cross; of a line's rows that are worth keeping alone


@dataclass
class LaneDetector:
    """A network and how its numbers become lines; or the classical method, where that did better on validation.

    Attributes:
        method: who finds the lines.
        network: as it was trained.
        calibrator: from the logit of existence to the probability that the line is right.
        least: confidence from which on a line is reported.
        precision: "bf16" or "fp32", of the arithmetic.
        about: the artefact's metadata, once loaded.
        exported: computes in the network's place; see `export`.
    """

    config: LaneConfig
    network: LaneNetwork
    calibrator: Calibrator = field(default_factory=Calibrator)
    least: float = 0.5
    method: Literal["network", "classical"] = "network"
    precision: str = "fp32"
    about: dict[str, Any] = field(default_factory=dict)
    exported: Compute | None = None

    @property
    def grid(self) -> Grid:
        return grid_of(self.config.model)

    def with_threshold(self, least: float) -> LaneDetector:
        """The same detector, reporting lines from another confidence on."""
        return replace(self, least=least)

    @cached_property
    def fast(self) -> LaneNetwork:
        """The same function, laid out for prediction on the processor, wherever it was trained."""
        made = fuse(copy.deepcopy(self.network)).to("cpu", torch.bfloat16 if self.precision == "bf16" else torch.float32)
        return hardware.channels_last(made)

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detected]]:
        """The lines of each BGR image, of any size, from left to right in its own pixels."""
        if self.method == "classical":
            return [self._by_hand(image) for image in images]
        found: list[list[Detected]] = []
        for start in range(0, len(images), AT_ONCE):
            found += self._some(images[start : start + AT_ONCE])
        return found

    def _by_hand(self, image: np.ndarray) -> list[Detected]:
        sure = [(one, float(self.calibrator(logits(np.array(one.confidence))))) for one in Classical()(image)]
        return [replace(one, confidence=confidence) for one, confidence in sure if confidence >= self.least]

    def batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """BGR images as the network takes them, uint8 [n, 3, height, width], channels last in memory."""
        return np.stack([self.grid.cut(image) for image in images]).transpose(0, 3, 1, 2)

    @torch.inference_mode()
    def look(self, batch: np.ndarray) -> Arrays:
        """What the network says of a `batch`: `columns` logits; the probabilities of `rows`; those of `exist`, calibrated."""
        if self.exported is not None:
            return self.exported({"image": batch})
        output = self.fast(torch.from_numpy(batch))
        rows, exist = output["rows"].float().sigmoid().numpy(), self.calibrator(output["exist"].float().numpy())
        return {"columns": output["columns"].float().numpy(), "rows": rows, "exist": exist}

    def _some(self, images: Sequence[np.ndarray]) -> list[list[Detected]]:
        said = self.look(self.batch(images))
        frames = zip(images, said["columns"], said["rows"], said["exist"], strict=True)
        return [self._lines(image, *frame) for image, *frame in frames]

    def _lines(self, image: np.ndarray, logits: np.ndarray, rows: np.ndarray, exist: np.ndarray) -> list[Detected]:
        settings, grid = self.config.decide, self.grid
        able = exist >= self.least
        logits, rows, exist = logits[able], rows[able], exist[able]
        there = rows > settings.row
        columns, counts = follow(logits, rows, there)
        drawn = grid.decode(columns, there, counts)
        confidence = exist * (counts > 0).sum(1) / np.maximum(there.sum(1), 1)  # less where a path leaves its line
        height, width = image.shape[:2]
        kept = [
            Detected(grid.outward(one, width, height), float(sure))
            for one, sure in zip(drawn, confidence, strict=True)
            if one is not None and sure >= self.least and len(one) >= settings.rows
        ]
        return uncrossed(apart(kept, settings.apart * width), TOUCHING * width)


def logits(confidence: np.ndarray) -> np.ndarray:
    """What a calibrator takes for confidences from 0 to 1."""
    return logit(np.clip(confidence, 1e-6, 1 - 1e-6))


def grid_of(model: Model) -> Grid:
    return Grid(model.width, model.height, model.top)


def apart(found: Sequence[Detected], distance: float) -> list[Detected]:
    """Of lines closer than `distance` pixels on average the surer ones, in the order given."""
    kept: list[int] = []
    for place in sorted(range(len(found)), key=lambda place: -found[place].confidence):
        if all(_distance(found[place], found[other]) > distance for other in kept):
            kept.append(place)
    return [found[place] for place in sorted(kept)]


def uncrossed(found: Sequence[Detected], distance: float) -> list[Detected]:
    """Lines that do not cross each other, in the order given: a less sure one ends where it would cross, or is left out.

    It is left out if most of it would be gone. Lines that are closer than `distance` pixels touch, but do not cross.
    """
    kept: dict[int, Detected] = {}
    for place in sorted(range(len(found)), key=lambda place: -found[place].confidence):
        drawn = found[place].line
        for other in kept.values():
            drawn = _one_side(drawn, other.line, distance)
        if len(drawn) >= max(2, WHOLE * len(found[place].line)):
            kept[place] = replace(found[place], line=drawn)
    return [kept[place] for place in sorted(kept)]


def _one_side(drawn: Line, other: Line, distance: float) -> Line:
    """The longer of a line's ends that stays on one side of another line; all of it if they do not cross."""
    away = at_rows(other, drawn[:, 1]) - drawn[:, 0]
    places = np.flatnonzero(np.abs(away) > distance)  # not where the other one has no rows: NaN is not greater
    changes = np.flatnonzero(np.diff(np.sign(away[places])))
    if not len(changes):
        return drawn
    far, near = places[changes[0]] + 1, places[changes[-1] + 1]
    return drawn[near:] if len(drawn) - near >= far else drawn[:far]


def _distance(one: Detected, other: Detected) -> float:
    """Mean distance where both have rows; infinite where they have none in common."""
    low = max(one.line[0, 1], other.line[0, 1])
    high = min(one.line[-1, 1], other.line[-1, 1])
    if low >= high:
        return np.inf
    rows = np.linspace(low, high, 16)
    ours, theirs = (np.interp(rows, each.line[:, 1], each.line[:, 0]) for each in (one, other))
    return float(np.abs(ours - theirs).mean())
