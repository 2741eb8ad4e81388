"""What a lane is here: a line that bounds lanes, as points in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from usecases.lane_detection.camera import Camera

Line = np.ndarray  # [n, 2] float32 pixels (x, y), y strictly rising: from far to near


@dataclass(frozen=True)
class Frame:
    """An image with the lines in it.

    Attributes:
        name: unique in its data set, such as `clips/0531/1.jpg`.
        image: BGR uint8 [height, width, 3], or the file that holds it.
        lines: from left to right at the image's bottom; None where the frame has no labels.
        clip: frames of one clip are never divided between training and test.
        about: what is known of the frame, for slices, such as {"night": True, "lanes": 3}.
        rows: the rows at which the labels were taken, pixels; () where any row will do.
        camera: where it is known, for errors in metres.
        label: the file that has its lines, and the line there, 0: it has nothing else; None: none, or one of another kind.
    """

    name: str
    image: np.ndarray | Path
    lines: tuple[Line, ...] | None = None
    clip: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    camera: Camera | None = None
    label: tuple[Path, int] | None = None


def line(points: Sequence[Sequence[float]] | np.ndarray) -> Line:
    """Points in any order as a line: rows strictly rising, points on one row averaged.

    Raises:
        ValueError: fewer than two rows, or a number that is not finite.
    """
    given = np.asarray(points, np.float64).reshape(-1, 2)
    if not np.isfinite(given).all():
        raise ValueError("a point is not finite")
    rows, place, count = np.unique(given[:, 1], return_inverse=True, return_counts=True)
    if len(rows) < 2:
        raise ValueError("a line needs points on at least two rows")
    columns = np.bincount(place, given[:, 0]) / count
    return np.column_stack([columns, rows]).astype(np.float32)


def at_rows(drawn: Line, rows: np.ndarray) -> np.ndarray:
    """x of the line at rows [m], NaN beyond its ends: [m] float32."""
    found = np.interp(rows, drawn[:, 1], drawn[:, 0], left=np.nan, right=np.nan)
    return found.astype(np.float32)


def scaled(lines: Sequence[Line], sx: float, sy: float) -> tuple[Line, ...]:
    """Lines in an image that was resized by these factors."""
    return tuple((one * (sx, sy)).astype(np.float32) for one in lines)


def from_left(lines: Sequence[Line]) -> tuple[Line, ...]:
    """In order from left to right where they meet, or would meet, the row of the nearest point of all."""
    near = max((float(one[-1, 1]) for one in lines), default=0.0)
    return tuple(sorted(lines, key=lambda one: meets(one, near)))


def sides(reached: Sequence[float], width: int) -> list[str]:
    """Which lines bound the car's own lane: the nearest "left" and "right" of the image's middle; "" for the others.

    Args:
        reached: x where each line meets the image's bottom row, pixels.
        width: of the image, pixels.
    """
    away = [x - (width - 1) / 2 for x in reached]
    named = [""] * len(away)
    for side, left in (("left", True), ("right", False)):
        there = [place for place, x in enumerate(away) if (x < 0) == left]
        if there:
            named[min(there, key=lambda place: abs(away[place]))] = side
    return named


def meets(drawn: Line, row: float) -> float:
    """x where the line's nearer half, continued straight, meets the row."""
    half = drawn[len(drawn) // 2 - 1 :] if len(drawn) > 3 else drawn
    slope = (half[-1, 0] - half[0, 0]) / (half[-1, 1] - half[0, 1])
    return float(half[-1, 0] + slope * (row - half[-1, 1]))
