"""A stand-in for a trained detector, and roads that it sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from shared.data.video import Writer
from shared.evaluation.calibration import Calibrator
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.config import LaneConfig, Model
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.lanes import line
from usecases.lane_detection.network import LaneNetwork
from usecases.lane_detection.predictor import LanePredictor
from usecases.lane_detection.tracking import Detected

WIDTH, HEIGHT = 320, 180
CONFIG = LaneConfig(model=Model(width=64, height=64, widths=(8, 16), blocks=(1, 1), features=8))
CAMERA = Camera(WIDTH, HEIGHT, (256.0, 256.0), (160.0, 90.0), 1.4, 0.06)


class Bright(LaneDetector):
    """Stands for a trained network: sees white lines where one was drawn, in the left and in the right half."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detected]]:
        return [self.one(image) for image in images]

    def one(self, image: np.ndarray) -> list[Detected]:
        found, half = [], image.shape[1] // 2
        for start, part in ((0, image[:, :half]), (half, image[:, half:])):
            rows, columns = np.nonzero(part.min(2) > 200)
            if len(rows) > 50:
                found.append(Detected(line(np.column_stack([columns + start, rows])), 0.9))
            else:
                found.append(Detected(line([(start + half / 2, 100), (start + half / 2, image.shape[0] - 1)]), 0.1))
        return [one for one in found if one.confidence >= self.least]


def network() -> LaneNetwork:
    torch.manual_seed(0)
    return LaneNetwork(CONFIG.model).eval()


def guessing() -> LanePredictor:
    """An untrained network."""
    return LanePredictor(LaneDetector(CONFIG, network(), Calibrator(0.7, 0.2), least=0.3))


def seeing() -> LanePredictor:
    """Finds what `road` draws."""
    return LanePredictor(Bright(CONFIG, network(), least=0.5))


def road(offset: float = 0.0, sides: Sequence[float] = (-1.8, 1.8)) -> np.ndarray:
    """Lines 1.8 m left and right of the lane's middle, seen from `offset` right of it."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for side in sides:
        points = CAMERA.project(np.array([[side - offset, y, 0.0] for y in np.linspace(4.5, 60, 80)]))
        cv2.polylines(image, [np.round(points).astype(np.int32)], False, (255, 255, 255), 2)
    return image


def record(path: Path, images: Sequence[np.ndarray]) -> Path:
    with Writer(path, 25) as writer:
        for image in images:
            writer.write(image)
    return path


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (out / "frames.jsonl").read_text().splitlines()]


def numbered(folder: Path, images: list[np.ndarray]) -> Path:
    """A folder of images that follow each other."""
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def run(predictor: LanePredictor, source: str | Path, out: Path, **options: Any) -> dict[str, Any]:
    return predictor.process(source, out, options, lambda count: None)
