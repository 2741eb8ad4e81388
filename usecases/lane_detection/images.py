"""A frame's image read with care, and prints of frames by which those that are nearly the same are found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from shared.data.images import Print, Prints, collected, content, decoded, printed
from usecases.lane_detection.lanes import Frame


class Look(NamedTuple):
    """What is kept of an image that was looked at: its print, (width, height), and a hash of the file's bytes."""

    print: Print
    size: tuple[int, int]
    digest: str


def look(frame: Frame) -> Look:
    """Read and decode the image once.

    Raises:
        OSError: as `grey`.
    """
    if isinstance(frame.image, np.ndarray):
        image, data = grey(frame), frame.image.tobytes()
    else:
        data = content(frame.image)
        image = decoded(data)
    return Look(printed(image), (image.shape[1], image.shape[0]), hashlib.sha256(data).hexdigest()[:16])


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


def prints(frames: Iterable[Frame], known: Mapping[str, Print] | None = None) -> Prints:
    """Prints of frames, one image in memory at a time; those `known` by the frame's name are not made again."""
    found: list[Print | None] = []
    for frame in frames:
        try:
            found.append((known or {}).get(frame.name) or printed(grey(frame)))
        except OSError:
            found.append(None)
    return collected(found)
