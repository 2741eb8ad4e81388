"""What all readers of images share: the limits, the one kind of error, and how values become what a screen shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from warnings import catch_warnings, simplefilter

import numpy as np

FILE_LIMIT = 512 << 20  # bytes of one file
VALUE_LIMIT = 75_000_000  # pixels times channels of one image
PIXEL_LIMIT = 40_000_000  # pixels of one image: the largest mammograms have 28 million
FRAME_LIMIT = 100_000  # images in one file; they are read one by one
TINY, TINY_LIMIT = 16, 1000  # pixels of an image's shorter side, below which a file may not have more than so many
UNPACKED, RATIO = 1 << 30, 2000  # values of all images of a file, beyond which these may not be so many times its bytes
VOLUME_LIMIT = 512 << 20  # bytes of one volume of a NIfTI file, unpacked: 1024 slices of 512 x 512 in 16 bits
PERCENTILES = 0.5, 99.5  # where no window is given
SAMPLE = 1_000_000  # values that these are taken from
BAND = 1_000_000  # values that are brought to a screen's at once: of all of a large image they would take gigabytes


class Unreadable(OSError):  # noqa: N818 (it reads as what it says)
    """The one clear reason, in plain words, why a file cannot be read. It quotes nothing from the file's header."""


@contextmanager
def damaged(reason: str) -> Iterator[None]:
    """Say `reason` for whatever a parser of foreign files runs into.

    Everything is caught because the parsers promise no kinds of errors (on malformed files they raise AttributeError,
    struct.error, RecursionError, ...), and nothing of it is passed on because their words, and their warnings, quote values of
    the header, such as a date of birth.
    """
    with catch_warnings():
        simplefilter("ignore")
        try:
            yield
        except Unreadable:
            raise
        except BaseException as error:
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # of a decoder written in Rust
                raise Unreadable(reason) from None
            raise


def limited(height: int, width: int, channels: int = 1, frames: int = 1) -> None:
    """Refuse what a header claims before memory is taken for it.

    Raises:
        Unreadable: the image is empty or too large, or there are too many in the file.
    """
    if min(height, width, channels, frames) < 1:
        raise Unreadable("the header says that the image is empty")
    if height * width * channels > VALUE_LIMIT:
        raise Unreadable(f"the image has more than {VALUE_LIMIT // 10**6} million values")
    if height * width > PIXEL_LIMIT:
        raise Unreadable(f"the image has more than {PIXEL_LIMIT // 10**6} million pixels")
    if frames > FRAME_LIMIT:
        raise Unreadable(f"the file claims more than {FRAME_LIMIT:,} images")
    if frames > TINY_LIMIT and min(height, width) < TINY:  # a small file can claim many
        raise Unreadable(f"the file claims more than {TINY_LIMIT:,} images that are less than {TINY} pixels wide or high")


def no_bomb(values: int, size: int) -> None:
    """Refuse a file of `size` bytes whose images together unpack to more values than an honest one's can.

    Each of them may be small enough; together they take hours.
    """
    if values > max(UNPACKED, RATIO * size):
        raise Unreadable(f"the images of the file unpack to more than {RATIO:,} times its size")


def robust(values: np.ndarray) -> tuple[float, float]:
    """The darkest and the brightest value to show, of an array of any shape: percentiles that a few hot pixels do not move.

    Of large arrays evenly spaced values are looked at. Values that are not finite do not count. Where nearly all values are
    the same, all that there are decide.
    """
    flat = sampled(values)
    flat = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if not flat.size:
        return 0.0, 0.0
    low, high = np.percentile(flat, PERCENTILES)
    return (float(low), float(high)) if low < high else (float(flat.min()), float(flat.max()))


def sampled(values: np.ndarray) -> np.ndarray:
    """About `SAMPLE` evenly spaced values of an array of any shape, in order; all if it has no more."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLE)]


def bands(values: np.ndarray) -> Iterator[slice]:
    """Rows of an image, some at a time: together about `BAND` values."""
    rows = max(1, BAND * len(values) // max(1, values.size))
    yield from (slice(start, start + rows) for start in range(0, len(values), rows))


def stretched(values: np.ndarray, low: float, high: float, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Values as float32 in 0..1, `low` as 0 and `high` as 1; what is not a number as 0. All 0 where `low` is `high`.

    Args:
        slope, intercept: from the values to those that `low` and `high` are of.
    """
    moved = (slope, intercept) != (1, 0)
    exact = np.float64 if moved or (values.dtype.itemsize > 2 and values.dtype != np.float32) else np.float32
    shown = np.empty(values.shape, np.float32)
    for band in bands(values):
        part = values[band].astype(exact)
        if moved:
            np.multiply(part, slope, out=part)
            np.add(part, intercept, out=part)
        np.subtract(part, low, out=part)
        np.divide(part, high - low if high > low else np.inf, out=part)
        np.nan_to_num(part, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(part, 0, 1, out=shown[band])
    return shown
