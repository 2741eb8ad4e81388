"""What all readers of images share: the limits, the one kind of error, and how values become what a screen shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from warnings import catch_warnings, simplefilter

import numpy as np

FILE_LIMIT = 512 << 20  # bytes of one file
VALUE_LIMIT = 75_000_000  # pixels times channels of one image: the largest mammograms have 28 million
FRAME_LIMIT = 100_000  # images in one file; they are read one by one
VOLUME_LIMIT = 512 << 20  # bytes of one volume of a NIfTI file, unpacked: 1024 slices of 512 x 512 in 16 bits
PERCENTILES = 0.5, 99.5  # where no window is given
SAMPLE = 1_000_000  # values that these are taken from


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
    if frames > FRAME_LIMIT:
        raise Unreadable(f"the file claims more than {FRAME_LIMIT:,} images")


def robust(values: np.ndarray) -> tuple[float, float]:
    """The darkest and the brightest value to show, of an array of any shape: percentiles that a few hot pixels do not move.

    Of large arrays evenly spaced values are looked at. Values that are not finite do not count. Where nearly all values are
    the same, all that there are decide.
    """
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // SAMPLE)]
    flat = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if not flat.size:
        return 0.0, 0.0
    low, high = np.percentile(flat, PERCENTILES)
    return (float(low), float(high)) if low < high else (float(flat.min()), float(flat.max()))


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as float32 in 0..1, `low` as 0 and `high` as 1; what is not a number as 0. All 0 where `low` is `high`."""
    exact = np.float64 if values.dtype.itemsize > 2 and values.dtype != np.float32 else np.float32
    shown = values.astype(exact)
    np.subtract(shown, low, out=shown)
    np.divide(shown, high - low if high > low else np.inf, out=shown)
    np.nan_to_num(shown, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(shown, 0, 1, out=shown).astype(np.float32, copy=False)
