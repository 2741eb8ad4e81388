"""Pictures of any size into the network's square, and what it says of the square back onto the picture."""

from __future__ import annotations

import cv2
import numpy as np


def framed(pixels: np.ndarray, side: int, channels: int) -> np.ndarray:
    """The picture in the middle of a black square, as large as it fits, its aspect kept.

    Args:
        pixels: 0..1, [height, width] or [height, width, 3] RGB.
        side: of the square, pixels.
        channels: 1 or 3; colours become grey, and grey becomes colours, as wanted.

    Returns:
        uint8 [side, side], or [side, side, 3].
    """
    if channels == 1 and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)
    made = _placed((255 * pixels).round().clip(0, 255).astype(np.uint8), side, None)
    return cv2.cvtColor(made, cv2.COLOR_GRAY2RGB) if channels == 3 and made.ndim == 2 else made


def framed_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask, bool [height, width], placed like its picture: uint8 [side, side] of 0 and 1.

    Pixels count that are marked by half; where none is, though something is marked, the one with most of it: what is small in a
    large image is not taken for nothing.
    """
    made = _placed(mask.astype(np.float32), side, cv2.INTER_AREA)
    return (made >= min(0.5, float(made.max()) or 1.0)).astype(np.uint8)


def unframed(square: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values on the square, float [side, side], as values on the picture: float32 [height, width] = `shape`."""
    side = square.shape[0]
    height, width, top, left = _place(shape, side)
    inside = np.ascontiguousarray(square[top : top + height, left : left + width], np.float32)
    return cv2.resize(inside, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _placed(image: np.ndarray, side: int, method: int | None) -> np.ndarray:
    height, width, top, left = _place((image.shape[0], image.shape[1]), side)
    smaller = max(image.shape[:2]) > side
    method = method if method is not None else cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    inside = image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height), interpolation=method)
    if (height, width) == (side, side):
        return inside
    made = np.zeros((side, side, *image.shape[2:]), image.dtype)
    made[top : top + height, left : left + width] = inside
    return made


def _place(shape: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Height, width, top and left of a picture of this shape in the square."""
    factor = side / max(shape)
    height, width = (max(1, round(factor * length)) for length in shape)
    return height, width, (side - height) // 2, (side - width) // 2
