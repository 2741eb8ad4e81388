"""Masks out of files: where a finding was outlined."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.data import images
from shared.errors import require
from usecases.medical_imaging.scaling import VOLUME_LIMIT, damaged

HALF = 127  # a JPEG's black is not quite black


def read(files: Sequence[Path], number: int) -> np.ndarray:
    """The union of masks, bool [height, width]. What is not 0 is marked; in a JPEG what is above half.

    Args:
        number: of the image among those of its file, from 0. A mask with a single image is that of all.

    Raises:
        OSError: one cannot be read, or they differ in size; the message says why.
    """
    found: np.ndarray | None = None
    for file in files:
        one = _slice(file, number) if file.name.lower().endswith((".nii", ".nii.gz")) else _flat(file, number)
        if found is not None and found.shape != one.shape:
            raise OSError("its parts are of different sizes")
        found = one if found is None else found | one
    if found is None:
        raise OSError("no file is given")
    return found


def _flat(file: Path, number: int) -> np.ndarray:
    data = images.content(file)
    pages = list(images.pages(data))
    page = pages[number if number < len(pages) else 0]
    marked = page > HALF if data.startswith(b"\xff\xd8") else page != 0
    return np.asarray(marked.any(axis=2) if marked.ndim == 3 else marked)


class _Opened(threading.local):
    """The volume that this thread reads slices of."""

    path: Path | None = None
    volume: np.ndarray = np.zeros((0, 0, 0), bool)


_opened = _Opened()


def slices(file: Path) -> int:
    """How many slices `nifti.frames` gives of a volume; only the header is read.

    Raises:
        OSError: it cannot be read.
    """
    return int(np.prod(_grid(file)[1][2:]))


def _slice(file: Path, number: int) -> np.ndarray:
    """As `nifti.frames` shows slices."""
    if _opened.path != file:
        _opened.path = None
        image, shape, orientation = _grid(file)
        if np.prod(shape, dtype=float) > VOLUME_LIMIT:
            raise OSError(f"the volume has more than {VOLUME_LIMIT >> 20} million voxels")
        with damaged("the voxels of the NIfTI file are cut short"):
            stored = np.asanyarray(image.dataobj)
            marked = (np.isfinite(stored) & (stored != 0)).reshape((*stored.shape, 1, 1)[:4])
            turned = require("nibabel", "medical").orientations.apply_orientation(marked, orientation)
            _opened.volume = turned.transpose(3, 2, 1, 0).reshape(-1, shape[1], shape[0])[:, ::-1, ::-1]
        _opened.path = file
    if number >= len(_opened.volume):
        raise OSError(f"the mask has only {len(_opened.volume)} slices")
    return np.ascontiguousarray(_opened.volume[number])


def _grid(file: Path) -> tuple[Any, tuple[int, ...], np.ndarray]:
    """The volume without its voxels, its shape to the patient's right, front, head and in time, and where its axes point."""
    nibabel = require("nibabel", "medical")
    with damaged("the NIfTI file is damaged"):
        image = nibabel.load(file)
        orientation = nibabel.orientations.io_orientation(image.affine)
        stored = (*image.shape, 1, 1)[:4]
        shape = [0, 0, 0, stored[3]]
        for axis, (to, _) in enumerate(orientation):
            shape[int(to)] = stored[axis]
    return image, tuple(shape), orientation
