"""Masks out of files: where a finding was outlined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np

from shared.data import images
from usecases.medical_imaging import nifti, reading, segmentations

HALF = 127  # a JPEG's black is not quite black

_opened = reading.InTurn[np.ndarray]()


def read(files: Sequence[Path], number: int, image: Path) -> np.ndarray:
    """The union of masks, bool [height, width]. What is not 0 is marked; in a JPEG what is above half.

    Args:
        files: PNG, JPEG, BMP, TIFF, NIfTI, or DICOM segmentations, which refer to their images themselves.
        number: of the image among those of its file, from 0. A mask with a single image is that of all, and a NIfTI mask with
            as many slices as a volume of its image is that of each volume.
        image: the image's file.

    Raises:
        OSError: one cannot be read, or they differ in size or in depth; the message says why.
    """
    if not files:
        raise OSError("no file is given")
    return _opened.take((image, *files), number, partial(_united, files, image))


def _united(files: Sequence[Path], image: Path) -> Iterator[np.ndarray]:
    for several in zip(*(_planes(file, image) for file in files), strict=False):
        if len({one.shape for one in several}) > 1:
            raise OSError("its parts are of different sizes")
        yield np.logical_or.reduce(several)


def _planes(file: Path, image: Path) -> Iterator[np.ndarray]:
    """Of each image, one at a time; without an end where there is only one."""
    if segmentations.recognised(file):
        planes = segmentations.marked(file, image)
    else:
        planes = _slices(file, image) if nifti.recognised(nifti.header(file)) else _pages(file)
    first, second = next(planes, None), next(planes, None)
    if first is None:
        raise OSError("it holds no image")
    yield first
    if second is None:
        yield from repeat(first)
    else:
        yield second
        yield from planes


def _slices(file: Path, image: Path) -> Iterator[np.ndarray]:
    """Of a NIfTI mask; that of a volume is the mask of each volume of its image."""
    slices, wanted = nifti.count(file), reading.count(image)
    times = 1
    if slices not in (1, wanted):
        times = nifti.volumes(image) if nifti.recognised(nifti.header(image)) else 1
        if slices * times != wanted:
            raise OSError(f"the mask has {slices:,} slices, the image {wanted:,}")
    for _ in range(times):
        yield from nifti.marked(file)


def _pages(file: Path) -> Iterator[np.ndarray]:
    data = images.content(file)
    for page in images.pages(data):
        marked = page > HALF if data.startswith(b"\xff\xd8") else page != 0
        yield np.asarray(marked.any(axis=2) if marked.ndim == 3 else marked)
