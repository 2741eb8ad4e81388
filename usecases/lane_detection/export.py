"""The network as a graph for other programs: the part of a frame that it sees in, where lines are out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from shared.export import Exportable
from usecases.lane_detection.anchors import SLOTS, STRIDE
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.network import LaneNetwork


class Graph(nn.Module):
    """What `LaneDetector` computes with a network, from the image to probabilities."""

    def __init__(self, network: LaneNetwork, calibrator: Calibrator) -> None:
        super().__init__()
        self.network, self.scale, self.offset = network, calibrator.scale, calibrator.offset

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 [batch, 3, height, width] to the three outputs that `exportable` describes."""
        said = self.network(image)
        return said["columns"], said["rows"].sigmoid(), (self.scale * said["exist"] + self.offset).sigmoid()


def exportable(detector: LaneDetector, images: Sequence[np.ndarray]) -> Exportable:
    """
    Args:
        images: BGR, for the samples.

    Raises:
        UserError: the classical method was better on validation, which has no network.
    """
    if detector.method == "classical":
        raise UserError("This run's model is the classical method, which was better on validation: it has no network to export.")
    model, settings = detector.config.model, detector.config.decide
    place = f"its top {model.top:.0%} cut off, the rest resized" if model.top else "resized"
    return Exportable(
        module=Graph(detector.network, detector.calibrator).eval(),
        samples={"image": detector.batch(images)},
        inputs={"image": f"BGR, 0..255: a frame, {place} to {model.width} x {model.height} pixels"},
        outputs={
            "columns": f"[batch, {SLOTS} slots, rows, columns] logits of a line's place in each row, in cells of {STRIDE} pixels",
            "rows": f"[batch, {SLOTS} slots, rows] chance that the line is in the row; from `row` on it is",
            "exist": f"[batch, {SLOTS} slots] calibrated chance that there is a line; from `least` on it is reported",
        },
        usual=lambda arrays: detector.look(arrays["image"]),
        decide=lambda outputs: outputs["exist"] >= detector.least,
        answer="exist",
        names=[f"{side} {place}" for side, places in (("left", (3, 2, 1)), ("right", (1, 2, 3))) for place in places],
        about={
            "slots": "lines from the outermost on the left of the car to the outermost on its right; 1 is the car's own lane's",
            "least": detector.least,
            "row": settings.row,
            "in_the_graph": "normalisation, sigmoids, calibration",
            "not_in_the_graph": "cutting and resizing; the path of each line through its rows' columns; distances in metres",
        },
    )
