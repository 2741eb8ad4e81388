"""Lines as numbers that a network can learn, and back: a column for each row of a grid, in slots around the car's own lane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from usecases.lane_detection.lanes import Line, at_rows, meets

STRIDE = 4  # pixels of the network's input a cell
SIDE = 3  # lines that are told apart on each side of the car
SLOTS = 2 * SIDE
UNDECIDED = 0.1  # share of the width: so near the middle a line may be on either side
STIFFNESS, STRAIGHTER = 1.0, 6  # what a bend of one cell counts beside a distance of one cell; rows over which lines straighten
OUTLYING, ROUNDS = 2.0, 4  # cells, rounds


@dataclass(frozen=True)
class Grid:
    """The cells of a network's output.

    Attributes:
        width, height: of the network's input, pixels.
        top: share of an image's height, from its top, that the network does not see.
    """

    width: int
    height: int
    top: float = 0.0

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of an image that the network sees, in its size; every pixel of a larger one counts."""
        seen = image[round(self.top * image.shape[0]) :]
        while all(have >= 2 * want and have % 2 == 0 for have, want in zip(seen.shape, (self.height, self.width), strict=False)):
            seen = cv2.resize(seen, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # much quicker than all at once
        if seen.shape[:2] == (self.height, self.width):
            return seen
        smaller = seen.shape[1] > self.width
        return cv2.resize(seen, (self.width, self.height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)

    def inward(self, lines: Iterable[Line], width: int, height: int) -> list[Line]:
        """Lines of an image of that size in pixels of the network's input; rows above it are left out."""
        skipped, factors = self._scale(width, height)
        moved = [((one + 0.5 - (0, skipped)) * factors - 0.5).astype(np.float32) for one in lines]
        return [one[one[:, 1] > -STRIDE] for one in moved if (one[:, 1] > -STRIDE).sum() > 1]

    def outward(self, one: Line, width: int, height: int) -> Line:
        """A line of the network's input in pixels of an image of that size."""
        skipped, factors = self._scale(width, height)
        return ((one + 0.5) / factors - 0.5 + (0, skipped)).astype(np.float32)

    def _scale(self, width: int, height: int) -> tuple[int, tuple[float, float]]:
        skipped = round(self.top * height)
        return skipped, (self.width / width, self.height / (height - skipped))

    @property
    def rows(self) -> np.ndarray:
        """[height / 4] pixel row of each row of cells."""
        return (np.arange(self.height // STRIDE, dtype=np.float32) + 0.5) * STRIDE - 0.5

    def encode(self, lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
        """[slots, rows] column in cells of each line, NaN where there is none; and another reading that is as good.

        Slots go from the outermost line on the left to the outermost on the right; left are those that meet the image's
        bottom row to the left of its middle. Of more than three on a side the outer ones are left out. A line that meets it
        near the middle, as while the car changes lanes, may as well be on the other side: that is the other reading.

        Args:
            lines: in pixels of the network's input.
        """
        reached = np.array([meets(one, self.height - 1) for one in lines])
        middle = self.width / 2
        made = self._in_slots(lines, reached, middle)
        nearest = reached[np.abs(reached - middle).argmin()] if len(reached) else np.inf
        if abs(nearest - middle) > UNDECIDED * self.width:
            return made, made
        return made, self._in_slots(lines, reached, nearest + (1e-3 if nearest >= middle else 0.0))

    def _in_slots(self, lines: Sequence[Line], reached: np.ndarray, middle: float) -> np.ndarray:
        made = np.full((SLOTS, self.height // STRIDE), np.nan, np.float32)
        order = np.argsort(reached, kind="stable")
        left = [place for place in order if reached[place] < middle][::-1]
        right = [place for place in order if reached[place] >= middle]
        for slot, place in [*zip(range(SIDE - 1, -1, -1), left, strict=False), *zip(range(SIDE, SLOTS), right, strict=False)]:
            columns = at_rows(lines[place], self.rows)
            inside = (columns >= -0.5) & (columns < self.width - 0.5)
            made[slot, inside] = (columns[inside] + 0.5) / STRIDE - 0.5
        return made

    def decode(self, columns: np.ndarray, there: np.ndarray, sure: np.ndarray | None = None) -> list[Line | None]:
        """The line of each slot in pixels of the network's input; None where fewer than two rows are there, and in the image.

        Args:
            columns: [slots, rows] cells.
            there: [slots, rows] bool; gaps between a line's ends are filled in.
            sure: [slots, rows] how much each column counts; None: lines go through all of them.
        """
        found: list[Line | None] = []
        for slot, own in enumerate(there):
            places = np.flatnonzero(own)
            if len(places) < 2:
                found.append(None)
                continue
            column = columns[slot, places] if sure is None else smooth(columns[slot, places], sure[slot, places], places)
            x = (column + 0.5) * STRIDE - 0.5
            inside = (x > -STRIDE) & (x < self.width - 1 + STRIDE)  # what does not count is drawn on from what does
            found.append(np.column_stack([x, self.rows[places]])[inside].astype(np.float32) if inside.sum() > 1 else None)
        return found


def smooth(columns: np.ndarray, sure: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Columns [rows] on a curve that bends little and passes outliers by.

    The sum of weighted squared distances and of squared bends is least (Whittaker 1923; Eilers 2003, "A Perfect Smoother"); what
    lies far from the curve counts less in each of a few rounds (Tukey's biweight). In perspective a road's bend shows near the
    horizon, and the nearer to the car the straighter is its image, so bends count more from row to row.

    Args:
        columns: cells.
        sure: how much each counts.
        places: rows of cells, rising, from far to near; there may be gaps.
    """
    if len(columns) < 4:
        return columns
    steps = np.diff(places).astype(np.float64)
    bends = np.zeros((len(columns) - 2, len(columns)))
    at = np.arange(len(bends))
    bends[at, at], bends[at, at + 2] = 1 / steps[:-1], 1 / steps[1:]
    bends[at, at + 1] = -(bends[at, at] + bends[at, at + 2])
    near = 1 + (places[1:-1] - places[0]) / STRAIGHTER
    stiff = STIFFNESS * bends.T @ (near[:, None] ** 4 * bends)
    curve, weight = columns, np.maximum(sure, 1e-3)
    for _ in range(ROUNDS):
        curve = np.linalg.solve(np.diag(weight) + stiff, weight * columns)
        away = np.abs(columns - curve) / max(OUTLYING, 2 * float(np.median(np.abs(columns - curve))))
        weight = np.maximum(sure, 1e-3) * np.maximum(1 - away**2, 0.02) ** 2
    return curve
