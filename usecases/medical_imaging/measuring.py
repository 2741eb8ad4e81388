"""Areas, diameters, volumes and numbers of lesions, from masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def area_mm2(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    """Of all that is marked; `spacing` as in `diameter_mm`."""
    return float(np.count_nonzero(mask)) * spacing[0] * spacing[1]


def diameter_mm(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    """The largest distance between two corners of pixels of one lesion (the largest Feret diameter).

    Args:
        mask: bool [height, width].
        spacing: mm between rows and between columns.
    """
    largest = 0.0
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        centres = cv2.convexHull(contour)[:, 0].astype(np.float32)
        corners = np.concatenate([centres + np.array([x, y], np.float32) for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
        points = cv2.convexHull(corners)[:, 0].astype(np.float64) * (spacing[1], spacing[0])
        for point in points:  # not all pairs at once: memory
            largest = max(largest, float(((points - point) ** 2).sum(1).max()))
    return largest**0.5


def lesions(mask: np.ndarray) -> int:
    """Connected parts of one picture's mask, corners included."""
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


class Lesions:
    """Counts the connected parts of a volume (26 neighbours), of which it gets one slice after the other.

    Labels of a slice are joined with those that they touch in the slice before (union-find), so that memory holds two slices.
    """

    def __init__(self) -> None:
        self.parents: list[int] = [0]
        self.before: np.ndarray | None = None

    def add(self, mask: np.ndarray) -> None:
        """bool [height, width]; one of another size than the last touches nothing."""
        found, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        shift = len(self.parents) - 1
        self.parents += range(shift + 1, shift + found)
        labels = np.where(labels > 0, labels + shift, 0)
        if self.before is not None and self.before.shape == labels.shape and found > 1:
            self._join(labels, self.before)
        self.before = labels

    @property
    def count(self) -> int:
        return sum(label == parent for label, parent in enumerate(self.parents)) - 1

    def _join(self, labels: np.ndarray, before: np.ndarray) -> None:
        height, width = labels.shape
        around = np.pad(before, 1)
        for down in range(3):
            for right in range(3):
                other = around[down : down + height, right : right + width]
                both = (labels > 0) & (other > 0)
                for one, two in set(zip(labels[both].tolist(), other[both].tolist(), strict=True)):
                    self.parents[self._root(one)] = self._root(two)

    def _root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = label = self.parents[self.parents[label]]
        return label


def volume_ml(areas: Sequence[float], places: Sequence[float]) -> float | None:
    """From the marked area of each slice (mm2) and its place (mm, ascending): each stands for the half of the way to its
    neighbours, the first and the last for a whole step. None for less than two slices.
    """
    if len(areas) < 2 or len(areas) != len(places):
        return None
    gaps = np.diff(np.asarray(places, float))
    extent = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
    return float((np.asarray(areas, float) * extent).sum() / 1000)
