"""Training the network, and choosing on validation from which confidence on a line is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from shared import hardware
from shared.data import rows
from shared.evaluation.calibration import Calibrator
from shared.hardware import Choice
from shared.runs import Run
from shared.training import Fitted, Validation, fit
from usecases.lane_detection import evidence
from usecases.lane_detection.anchors import Grid
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.data import Part
from usecases.lane_detection.detector import LaneDetector, logits
from usecases.lane_detection.metrics import TOLERANCE, matched_f1
from usecases.lane_detection.network import Batch, LaneNetwork, expected, objective
from usecases.lane_detection.packing import Packed

FLOOR = 0.02  # confidence from which on lines are looked at to choose the threshold
UNKNOWN = 0.5  # the threshold where nothing was found to choose it on
CANDIDATES = np.linspace(0.1, 0.9, 33)


def pack(part: Part, grid: Grid, changed: bool, tell: Callable[[int], None]) -> Packed:
    """A part's frames, ready for training."""
    made = Packed(grid, changed)
    for frame in part:
        assert isinstance(frame.image, np.ndarray)
        made.add(frame.image, frame.lines or ())
        tell(1)
    return made


def train_network(config: LaneConfig, train: Packed, validation: Packed, run: Run, chip: Choice) -> tuple[LaneNetwork, Fitted]:
    """A network with the weights of its best epoch on validation."""
    torch.manual_seed(config.seed)
    network = hardware.channels_last(LaneNetwork(config.model))
    judged = Validation(validation, right_rows, "share of the labels' rows found")
    fitted = fit(
        network, objective, train, judged, config.model.training, run, chip, name="network", seed=config.seed, collate=rows.take
    )
    return network, fitted


def right_rows(model: nn.Module, batch: Batch) -> torch.Tensor:
    """[batch] share of rows with a line, in label or answer, where both have it nearly at one place; see `Grid.encode`."""
    output = model(batch["image"])
    return torch.maximum(_right_rows(output, batch["columns"]), _right_rows(output, batch["other"]))


def _right_rows(output: Batch, target: torch.Tensor) -> torch.Tensor:
    there = ~target.isnan()
    tolerance = TOLERANCE / evidence.WIDTH * output["columns"].shape[-1]
    near = (expected(output["columns"]) - target).abs() < tolerance
    shown = (output["rows"] > 0) & (output["exist"] > 0).unsqueeze(2)
    right = (near & shown & there).flatten(1).sum(1)
    return (right + 1) / ((shown | there).flatten(1).sum(1) + 1)


def choose(detector: LaneDetector, validation: Part) -> tuple[LaneDetector, dict[str, Any]]:
    """What does better on validation, by F1: the network or the classical method, with its own calibration and threshold."""
    open_minded = {name: replace(detector, least=FLOOR, method=name) for name in ("network", "classical")}
    _, judged = evidence.judge(validation, open_minded)
    made = {name: _calibrated(one, judged[name]) for name, one in open_minded.items()}
    method = max(made, key=lambda name: made[name][1])  # of equal ones the network
    chosen = made[method][0]
    return chosen, {"method": method, "threshold": chosen.least, "validation_f1": {name: f1 for name, (_, f1) in made.items()}}


def _calibrated(detector: LaneDetector, judged: evidence.Judged) -> tuple[LaneDetector, float]:
    """The detector with a calibrator and a threshold, and its F1."""
    confidence = np.concatenate([frame.confidence for frame in judged.matched])
    right = np.concatenate([frame.right for frame in judged.matched])
    least = detector.config.decide.least
    if not len(confidence):
        return replace(detector, least=UNKNOWN if least is None else least), 0.0
    calibrator = Calibrator.fit(logits(confidence), right.astype(np.int64))
    sure, labelled = calibrator(logits(confidence)), sum(judged.labels)
    scores = {float(least): matched_f1(right[sure >= least], labelled) for least in CANDIDATES}
    least = max(scores, key=lambda one: scores[one]) if least is None else least
    return replace(detector, calibrator=calibrator, least=least), matched_f1(right[sure >= least], labelled)
