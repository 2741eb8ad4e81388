"""Ordinary image files: PNG, JPEG, BMP and TIFF of 8 and 16 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shared.data import images
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.scaling import PIXEL_LIMIT, VALUE_LIMIT, Unreadable, no_bomb, robust, stretched

FORMATS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"BM": "BMP", b"II": "TIFF", b"MM": "TIFF"}


def frames(data: bytes, name: str) -> Iterator[Picture]:
    """The image, or the pages of a TIFF.

    Eight bits are shown as they are, and so are sixteen in colour. Other grey images (a radiograph of 12 bits kept in 16)
    are stretched over their own range of values, as a DICOM image without a window is.

    Raises:
        Unreadable: it is too large, damaged or no image.
    """
    kind = next(name for magic, name in FORMATS.items() if data.startswith(magic))
    try:
        several = count(data)
        for number, page in enumerate(images.pages(data, VALUE_LIMIT), 1):
            height, width = page.shape[:2]
            about = {"format": kind, "photometric": "RGB" if page.ndim == 3 else "MONOCHROME2", "bits": page.dtype.itemsize * 8}
            about |= {"width": width, "height": height, "frames": several}
            yield Picture(f"{name}#{number}" if several > 1 else name, shown(page), about=about)
    except OSError as error:
        raise Unreadable(str(error)) from None


def count(data: bytes) -> int:
    """How many images `frames` gives, after their sizes were compared with the limits.

    Raises:
        OSError: as `frames`, as far as the headers tell.
    """
    known = images.headers(data)
    if not known:
        raise Unreadable("the file holds no image")
    if any(page.height * page.width > PIXEL_LIMIT for page in known):
        raise Unreadable(f"the image has more than {PIXEL_LIMIT // 10**6} million pixels")
    no_bomb(sum(page.height * page.width * page.samples for page in known), len(data))
    return len(known)


def shown(image: np.ndarray) -> np.ndarray:
    """Stored values as what a screen shows, float32 in 0..1; see `frames`."""
    if image.dtype.kind == "u" and (image.dtype.itemsize == 1 or image.ndim == 3):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return stretched(image, *robust(image))
