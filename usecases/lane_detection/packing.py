"""Frames made ready for training: small JPEG images and the lines in them, kept in memory and changed anew for each use."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from usecases.lane_detection.anchors import Grid
from usecases.lane_detection.lanes import Line

QUALITY = 95


class Packed(Dataset[dict[str, torch.Tensor]]):
    """Images of one size, encoded, with their lines. A batch is cut out at once: use it with `collate=rows.take`.

    Args:
        grid: size of the images.
        changed: each use of a frame differs at random, by torch's seed; else frames are given as they are.
    """

    def __init__(self, grid: Grid, changed: bool = False) -> None:
        self.grid = grid
        self.images: list[np.ndarray] = []
        self.lines: list[tuple[Line, ...]] = []
        self.changed = changed

    def add(self, image: np.ndarray, lines: Sequence[Line]) -> None:
        """Take in a BGR image of any size."""
        self.images.append(cv2.imencode(".jpg", self.grid.cut(image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
        self.lines.append(tuple(self.grid.inward(lines, image.shape[1], image.shape[0])))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        return {name: tensor[0] for name, tensor in self.__getitems__([place]).items()}

    def __getitems__(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        random = np.random.default_rng(int(torch.randint(2**62, ()))) if self.changed else None
        made = [self._one(place, random) for place in places]
        image, columns, other = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
        return {"image": image.permute(0, 3, 1, 2), "columns": columns, "other": other}

    def _one(self, place: int, random: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image, lines = cv2.imdecode(self.images[place], cv2.IMREAD_COLOR), self.lines[place]
        assert image is not None  # it was encoded here
        if random is not None:
            image, lines = moved(image, lines, random)
            image = tinted(image, random)
        return image, *self.grid.encode(lines)


def moved(image: np.ndarray, lines: Sequence[Line], random: np.random.Generator) -> tuple[np.ndarray, tuple[Line, ...]]:
    """Mirrored, zoomed, shifted and turned a little, lines and all."""
    height, width = image.shape[:2]
    zoom, turn = random.uniform(1.0, 1.2), np.deg2rad(random.uniform(-2, 2))
    stretch = random.uniform(0.9, 1.1)
    mirror = -1.0 if random.random() < 0.5 else 1.0
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    matrix = np.array([[cos * mirror, -sin, 0], [sin * mirror * stretch, cos * stretch, 0]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = random.uniform(-0.1, 0.1, 2) * (width, height)
    matrix[:, 2] = centre + shift - matrix[:, :2] @ centre
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    made = []
    for one in lines:
        points = one @ matrix[:, :2].T + matrix[:, 2]
        points = points[np.append(True, np.diff(np.maximum.accumulate(points[:, 1])) > 1e-3)]  # rows still rise
        if len(points) > 1:
            made.append(points.astype(np.float32))
    return image, tuple(made)


def tinted(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light, contrast and colours, sometimes blurred, noisy or grey."""
    levels = np.linspace(0, 1, 256)[:, None]
    gamma, gain = np.exp(random.normal(0, 0.25)), np.exp(random.normal(0, 0.2, 1) + random.normal(0, 0.05, 3))
    table = np.clip(255 * (levels**gamma * gain + random.normal(0, 0.05)), 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))
    if random.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if random.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.2))
    if random.random() < 0.3:
        cv2.setRNGSeed(int(random.integers(2**31)))
        noise = cv2.randn(np.zeros(image.shape, np.int16), np.zeros(3), np.full(3, random.uniform(2, 12)))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    return image
