"""Images read with care, and prints of them by which those that are nearly the same are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from usecases.lane_detection.lanes import Frame

FILE_LIMIT = 64 << 20  # bytes
PIXEL_LIMIT = 100_000_000
THUMB = (32, 18)
HASH_DISTANCE = 10  # bits of 64; frames 1/25 s apart differ by up to 9, of different recordings by 9 and more
THUMB_DISTANCE = 5.0  # see `alike`; frames 1/25 s apart: up to 3.2, 1 s apart: from 5.5 on, of different recordings: from 13 on
NEAREST = 32  # candidates by hash that are looked at

Print = tuple[np.uint64, np.ndarray]


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
    return decoded(_content(frame.image))


def colour(frame: Frame) -> np.ndarray:
    """The image, BGR uint8 [height, width, 3].

    Raises:
        OSError: as `grey`.
    """
    return frame.image if isinstance(frame.image, np.ndarray) else decoded(_content(frame.image), colour=True)


def _content(file: Path) -> bytes:
    try:
        if not file.is_file():
            raise FileNotFoundError("the file does not exist")
        if file.stat().st_size > FILE_LIMIT:
            raise OSError(f"the file has more than {FILE_LIMIT >> 20} MB")
        return file.read_bytes()
    except ValueError:
        raise OSError("no file can have this name") from None


def decoded(data: bytes, colour: bool = False) -> np.ndarray:
    """An image file's content as uint8 [height, width], or in colour: BGR [height, width, 3].

    Raises:
        OSError: it is too large, cut short or no image.
    """
    if _pixels(data) > PIXEL_LIMIT:
        raise OSError(f"the image has more than {PIXEL_LIMIT // 10**6} million pixels")
    # A decoder may fill what is missing with grey. The end marker of a thumbnail comes before the picture's own start.
    jpeg = data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    if jpeg or (data.startswith(b"\x89PNG") and b"IEND" not in data):
        raise OSError("the file is cut short")
    try:
        mode = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise OSError("the file is not an image that can be read")
    return image


def _pixels(data: bytes) -> int:
    """What the header of a PNG or JPEG says, before memory is taken for it; 0 for others, which OpenCV limits."""
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    place = 2
    while data.startswith(b"\xff\xd8") and place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[place + 5 : place + 7]) * int.from_bytes(data[place + 7 : place + 9])
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0


@dataclass(frozen=True)
class Prints:
    """What is kept of images to compare them.

    Attributes:
        hashes: uint64 [n], dHash: is a pixel of the image at 9 x 8 brighter than its left neighbour?
        thumbs: float32 [n, 576], the image at 32 x 18 with mean 0 and deviation 50.
        there: [n] bool, the image could be read.
    """

    hashes: np.ndarray
    thumbs: np.ndarray
    there: np.ndarray


def printed(image: np.ndarray) -> Print:
    """Hash and thumbnail of a grey image; see `Prints`."""
    small = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)[0]
    thumb = cv2.resize(image, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    return bits, (thumb - thumb.mean()) * (50 / max(float(thumb.std()), 1.0))


def prints(frames: Iterable[Frame]) -> Prints:
    """Prints of frames, one image in memory at a time."""
    found: list[Print | None] = []
    for frame in frames:
        try:
            found.append(printed(grey(frame)))
        except OSError:
            found.append(None)
    return collected(found)


def collected(found: Sequence[Print | None]) -> Prints:
    """`printed` of each image, None where it could not be read."""
    nothing = (np.uint64(0), np.zeros(THUMB[0] * THUMB[1], np.float32))
    hashes, thumbs = zip(*(one or nothing for one in found), strict=True) if found else ((), np.zeros((0, nothing[1].size)))
    return Prints(np.array(hashes, np.uint64), np.array(thumbs, np.float32), np.array([one is not None for one in found], bool))


def alike(a: Prints, b: Prints | None = None) -> np.ndarray:
    """Pairs of images that are nearly the same: int64 [pairs, 2], places in `a` and in `b`.

    Nearly the same: their hashes differ in at most `HASH_DISTANCE` bits and their thumbnails by less than `THUMB_DISTANCE`
    on average, which survives another compression, size or brightness, but not another second of a drive (measured on
    TuSimple's and Udacity's frames). Of each image in `a` at most `NEAREST` candidates are looked at.

    Args:
        b: None: among the images of `a` themselves, each pair once, the lower place first.
    """
    other = a if b is None else b
    found = []
    for place in np.flatnonzero(a.there):
        first = place + 1 if b is None else 0
        distance = np.bitwise_count(other.hashes[first:] ^ a.hashes[place])
        near = np.flatnonzero((distance <= HASH_DISTANCE) & other.there[first:])
        if len(near) > NEAREST:
            near = near[np.argpartition(distance[near], NEAREST)[:NEAREST]]
        near = near + first
        apart = np.abs(other.thumbs[near] - a.thumbs[place]).mean(axis=1)
        found += [(place, match) for match in near[apart < THUMB_DISTANCE]]
    return np.array(found, np.int64).reshape(-1, 2)
