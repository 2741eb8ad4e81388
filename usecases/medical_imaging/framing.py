"""Pictures of any size into the network's square, and what it says of the square back onto the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

THUMB = 64  # longer side, pixels, at which it is told where a picture shows something; smaller ones are taken whole
DARK = 0.1  # of the picture's brightness: below it there is nothing
LIT = 0.02  # share of a row, or column, that must show something


@dataclass(frozen=True)
class Frame:
    """Where the network's square lies on a picture.

    Dark borders are left out, since they tell nothing and cost resolution. What is left is in the middle of a black square, as
    large as it fits, its aspect kept.

    Attributes:
        shape: height and width of the picture.
        rows, columns: of it, that are in the square.
        side: of the square, pixels.
    """

    shape: tuple[int, int]
    rows: slice
    columns: slice
    side: int

    @classmethod
    def of(cls, pixels: np.ndarray, side: int) -> Frame:
        """The frame of a picture, 0..1, [height, width] or [height, width, 3] RGB."""
        height, width = shape = (pixels.shape[0], pixels.shape[1])
        factor = THUMB / max(shape)
        if factor > 0.5:
            return cls(shape, slice(0, height), slice(0, width), side)
        size = max(1, round(factor * width)), max(1, round(factor * height))
        small = cv2.resize(pixels.astype(np.float32, copy=False), size, interpolation=cv2.INTER_AREA)
        small = small.max(2) if small.ndim == 3 else small
        lit = small > DARK * np.percentile(small, 99)
        return cls(shape, _span(lit.mean(1) > LIT, height), _span(lit.mean(0) > LIT, width), side)

    def image(self, pixels: np.ndarray, channels: int) -> np.ndarray:
        """The picture in the square: uint8 [side, side], or [side, side, 3].

        Args:
            channels: 1 or 3; colours become grey, and grey becomes colours, as wanted.
        """
        pixels = pixels[self.rows, self.columns]
        if channels == 1 and pixels.ndim == 3:
            pixels = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)
        smaller = max(pixels.shape[:2]) > self.side
        method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        made = self._placed((255 * pixels).round().clip(0, 255).astype(np.uint8), method)
        return cv2.cvtColor(made, cv2.COLOR_GRAY2RGB) if channels == 3 and made.ndim == 2 else made

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the picture, bool [height, width], placed like it: uint8 [side, side] of 0 and 1.

        Pixels count that are marked by half; where none is, though something is marked, the one with most of it: what is small
        in a large image is not taken for nothing.
        """
        made = self._placed(mask[self.rows, self.columns].astype(np.float32), cv2.INTER_AREA)
        return (made >= min(0.5, float(made.max()) or 1.0)).astype(np.uint8)

    def back(self, square: np.ndarray) -> np.ndarray:
        """Values on the square, float [side, side], as values on the picture: float32 [height, width], 0 where it is dark."""
        height, width, top, left = self._place()
        inside = np.ascontiguousarray(square[top : top + height, left : left + width], np.float32)
        made = np.zeros(self.shape, np.float32)
        made[self.rows, self.columns] = cv2.resize(inside, self._size, interpolation=cv2.INTER_LINEAR)
        return made

    @property
    def _size(self) -> tuple[int, int]:
        """Width and height of what is in the square, in the picture's pixels."""
        return self.columns.stop - self.columns.start, self.rows.stop - self.rows.start

    def _place(self) -> tuple[int, int, int, int]:
        """Height, width, top and left of it in the square, whose middle is its own: a mirrored picture is a mirrored square."""
        factor = self.side / max(self._size) / 2
        width, height = (2 * max(1, round(factor * length)) for length in self._size)
        return height, width, (self.side - height) // 2, (self.side - width) // 2

    def _placed(self, inside: np.ndarray, method: int) -> np.ndarray:
        height, width, top, left = self._place()
        if inside.shape[:2] != (height, width):
            inside = cv2.resize(inside, (width, height), interpolation=method)
        if (height, width) == (self.side, self.side):
            return inside
        made = np.zeros((self.side, self.side, *inside.shape[2:]), inside.dtype)
        made[top : top + height, left : left + width] = inside
        return made


def _span(lit: np.ndarray, length: int) -> slice:
    """From the first to the last of the thumbnail's lines that show something, and one more: of `length` lines, half or more."""
    found = np.flatnonzero(lit)
    if not len(found):
        return slice(0, length)
    step = length / len(lit)
    start, stop = max(0, int((found[0] - 1) * step)), min(length, int(np.ceil((found[-1] + 2) * step)))
    lacking = max(0, length // 2 - (stop - start))
    start = max(0, min(start - lacking // 2, length - length // 2))
    return slice(start, max(stop, start + length // 2))
