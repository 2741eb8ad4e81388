"""A frame's image read with care, and prints of frames by which those that are nearly the same are found."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from shared.data.images import Print, Prints, collected, content, decoded, printed
from usecases.lane_detection.lanes import Frame


def grey(frame: Frame) -> np.ndarray:
    """The image, uint8 [height, width].

    Raises:
        OSError: the file is missing, too large, cut short or no image; the message says which.
    """
    if isinstance(frame.image, np.ndarray):
        image = frame.image
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in ((), (3,)):
            raise OSError("the array is not a BGR image of uint8")
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return decoded(content(frame.image))


def colour(frame: Frame) -> np.ndarray:
    """The image, BGR uint8 [height, width, 3].

    Raises:
        OSError: as `grey`.
    """
    return frame.image if isinstance(frame.image, np.ndarray) else decoded(content(frame.image), colour=True)


def prints(frames: Iterable[Frame]) -> Prints:
    """Prints of frames, one image in memory at a time."""
    found: list[Print | None] = []
    for frame in frames:
        try:
            found.append(printed(grey(frame)))
        except OSError:
            found.append(None)
    return collected(found)
