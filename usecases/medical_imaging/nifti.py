"""NIfTI volumes as axial slices the way radiologists look at them, and masks of such slices as volumes."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from shared.errors import require
from shared.files import whole
from usecases.medical_imaging.cases import Known, Picture
from usecases.medical_imaging.found import NOTICE
from usecases.medical_imaging.scaling import FILE_LIMIT, VOLUME_LIMIT, Unreadable, damaged, limited, robust, stretched

HEADER = 540  # bytes of the second version's; the first has 348
UNPACKED_LIMIT = 4 << 30  # bytes of all volumes of a gzipped file
BLOCK = 4 << 20  # bytes
EXTENSIONS = 16 << 20  # bytes between header and voxels
GZIP = b"\x1f\x8b"
RATIO = 1032  # what gzip can shrink at most
RAS = np.array([[0, 1], [1, 1], [2, 1]])  # axes to the patient's right, front and head
BROKEN = "the NIfTI file is damaged: what its header says contradicts itself"
SHORT = "the voxels of the NIfTI file are cut short"


def recognised(head: bytes) -> bool:
    """Is this the header of a single-file NIfTI, of a pair's first file, or of Analyze 7.5?"""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n") or _analyze(head)


def header(path: Path) -> bytes:
    """The first `HEADER` bytes, unpacked where the file is gzipped; b"" where that cannot be done."""
    with path.open("rb") as file:
        if file.read(2) != GZIP:
            file.seek(0)
            return file.read(HEADER)
    try:
        with gzip.open(path) as unpacked:
            return unpacked.read(HEADER)
    except (OSError, EOFError, zlib.error):
        return b""


def frames(path: Path) -> Iterator[Picture]:
    """The axial slices of each volume, from the feet to the head.

    Each is seen from the feet, the patient's front at the top and the patient's left on the image's right (radiological
    convention), whatever order and direction the file's axes have; slices of an oblique volume are those of the nearest axes.
    Values are stretched over the robust range of the whole volume.

    Raises:
        Unreadable: damaged, too large, of another dimension than 3 or 4, or with values that are not plain numbers.
    """
    grid = _grid(path)
    orient = require("nibabel", "medical").orientations.apply_orientation
    _, _, slices, volumes = grid.shape
    about: dict[str, Known] = {"format": "NIfTI", "photometric": "MONOCHROME2", "bits": 8 * grid.kind.itemsize}
    with _unpacked(path) as file:
        for number in range(volumes):
            with damaged(SHORT):
                voxels = _voxels(file, grid, number)
                low, high = sorted(end * grid.slope + grid.intercept for end in robust(voxels))
                volume = orient(voxels.reshape(grid.stored, order="F"), grid.orientation)
            for place in range(slices):
                with damaged(BROKEN):
                    plane = np.ascontiguousarray(volume[::-1, ::-1, place].T)
                    pixels = stretched(plane, low, high, grid.slope, grid.intercept)
                height, width = pixels.shape
                name = f"{path.name}#{number * slices + place + 1}" if slices * volumes > 1 else path.name
                yield Picture(
                    name, pixels, grid.spacing, "", about | {"width": width, "height": height, "frames": slices * volumes}
                )


def count(path: Path) -> int:
    """How many slices `frames` gives; only the header is read.

    Raises:
        Unreadable: as `frames`.
    """
    _, _, slices, volumes = _grid(path).shape
    return slices * volumes


def volumes(path: Path) -> int:
    """How many volumes `frames` gives the slices of; only the header is read.

    Raises:
        Unreadable: as `frames`.
    """
    return _grid(path).shape[3]


def marked(path: Path) -> Iterator[np.ndarray]:
    """Where a mask's volume is not 0: bool [height, width] of each slice, in the order and orientation of `frames`.

    Raises:
        Unreadable: as `frames`.
    """
    grid = _grid(path)
    orient = require("nibabel", "medical").orientations.apply_orientation
    with _unpacked(path) as file:
        for number in range(grid.shape[3]):
            with damaged(SHORT):
                volume = orient(_voxels(file, grid, number).reshape(grid.stored, order="F"), grid.orientation)
            planes = volume[::-1, ::-1].T
            for place in range(len(planes)):
                plane = planes[place] * np.float64(grid.slope) + grid.intercept
                if place == len(planes) - 1:
                    del planes, volume  # who reads the last slice may wait long before asking for another
                yield np.isfinite(plane) & (plane != 0)


def write_mask(reference: Path, mask: np.ndarray, out: Path) -> None:
    """Write what was marked on slices as a NIfTI volume that lies on the volume which they came from.

    Args:
        reference: the file that was read.
        mask: [slices, height, width], 0 or 1 (or labels up to 255), in the order and orientation in which `frames` gives slices.
        out: `.nii`, or `.nii.gz`, which is compressed.

    Raises:
        Unreadable: `reference` cannot be read.
        ValueError: the mask has another shape than the slices.
    """
    nibabel = require("nibabel", "medical")
    grid = _grid(reference)
    right, front, head, times = grid.shape
    if mask.shape != (head * times, front, right):
        raise ValueError(f"the mask has the shape {mask.shape}, the slices of the file have {(head * times, front, right)}")
    volumes = np.asarray(mask, np.uint8).reshape(times, head, front, right).transpose(3, 2, 1, 0)[::-1, ::-1]
    back = nibabel.orientations.ornt_transform(RAS, grid.orientation)
    stored = nibabel.orientations.apply_orientation(volumes, back)
    known = grid.header.copy()
    known.set_data_dtype(np.uint8)
    known.set_slope_inter(1, 0)
    known["cal_min"], known["cal_max"], known["vox_offset"] = 0, 0, 0  # the window and the place of other voxels
    for text in ("descrip", "aux_file", "intent_name", "db_name"):  # free text, which may name a person
        if text in known.keys():  # noqa: SIM118 (a header is no mapping)
            known[text] = b""
    known["descrip"] = NOTICE.rstrip(".")  # has room for 80 bytes
    kind = nibabel.Nifti1Image if grid.first else nibabel.Nifti2Image
    data = kind(stored if times > 1 else stored[..., 0], None, known).to_bytes()
    with whole(out) as partial:
        partial.write_bytes(gzip.compress(data, 6, mtime=0) if out.suffix.lower() == ".gz" else data)


class Grid(NamedTuple):
    """What a header says.

    Attributes:
        header: nibabel's.
        first: of the format's first version, not the second.
        shape: voxels to the patient's right, front and head, and volumes.
        stored: voxels along the file's three axes.
        orientation: for each of the file's axes, where it points; see nibabel.orientations.
        kind: of the stored values.
        slope, intercept: from stored to real values.
        start: of the voxels, bytes.
        spacing: millimetres between rows and between columns of a slice; None: not known.
    """

    header: Any
    first: bool
    shape: tuple[int, int, int, int]
    stored: tuple[int, int, int]
    orientation: np.ndarray
    kind: np.dtype[Any]
    slope: float
    intercept: float
    start: int
    spacing: tuple[float, float] | None


def _grid(path: Path) -> Grid:
    """What a file's header says, after it was compared with the limits and the file's size.

    nibabel parses the header only: reading voxels, or an extension of the header, it believes whatever length it is told.
    """
    nibabel = require("nibabel", "medical")
    with damaged(BROKEN):
        told = header(path)
        if _analyze(told):
            raise Unreadable("the file is in the old format Analyze 7.5: save it as NIfTI")
        if told[344:347] == b"ni1" or told[4:7] == b"ni2":
            raise Unreadable("the file is half of a pair (.hdr and .img): save the volume as one file (.nii or .nii.gz)")
        first = told[344:347] == b"n+1"
        nibabel.imageglobals.logger.setLevel(logging.CRITICAL)
        known = (nibabel.Nifti1Header if first else nibabel.Nifti2Header)(told[: 348 if first else HEADER])
        axes, kind = known.get_data_shape(), known.get_data_dtype()
        if not 3 <= len(axes) <= 4 + sum(one == 1 for one in axes[4:]):
            raise Unreadable(f"the NIfTI file has {len(axes)} dimensions: 3 or 4 can be read")
        if kind.kind not in "iuf" or kind.itemsize > 8:
            raise Unreadable("the voxels of the NIfTI file are not plain numbers (but colours, or complex)")
        affine = known.get_best_affine()
        orientation = nibabel.orientations.io_orientation(affine)
        if np.isnan(orientation).any() or not np.isfinite(affine).all():
            raise Unreadable("the NIfTI file does not tell how its axes lie in the patient")
        stored = int(axes[0]), int(axes[1]), int(axes[2])
        volumes = int(axes[3]) if len(axes) > 3 else 1
        place = [int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3)]
        right, front, head = (stored[one] for one in place)
        limited(front, right, 1, head * volumes)
        start, slope, intercept = _values(known, path, kind.itemsize * front * right * head, volumes)
        spacing = _spacing(known, place)
    return Grid(known, first, (right, front, head, volumes), stored, orientation, kind, slope, intercept, start, spacing)


def _values(known: Any, path: Path, size: int, volumes: int) -> tuple[int, float, float]:
    """Where the voxels begin, slope and intercept, after the bytes of a volume were compared with the limits and the file."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    there = path.stat().st_size
    start = int(max(known["vox_offset"], len(known.binaryblock)))
    if size > VOLUME_LIMIT or (packed and (there > FILE_LIMIT or size * volumes > UNPACKED_LIMIT)):
        raise Unreadable(
            f"a volume of the NIfTI file has more than {VOLUME_LIMIT >> 20} MB, or all of them are too large to unpack"
        )
    if start > EXTENSIONS or start + size * volumes > there * (RATIO if packed else 1):
        raise Unreadable(SHORT)
    slope, intercept = known.get_slope_inter()
    return start, 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _spacing(known: Any, place: list[int]) -> tuple[float, float] | None:
    """Millimetres between rows (along the axis to the front) and between columns (to the right)."""
    unit = {"meter": 1000.0, "micron": 0.001}.get(known.get_xyzt_units()[0], 1.0)
    right, front = (float(known["pixdim"][1 + axis]) * unit for axis in place[:2])
    return (front, right) if 0 < front < 1000 and 0 < right < 1000 else None


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _voxels(file: IO[bytes], grid: Grid, number: int) -> np.ndarray:
    """Stored values of one volume, in the file's order."""
    size = grid.kind.itemsize * int(np.prod(grid.stored))
    file.seek(grid.start + number * size)  # volumes come in turn: nothing is unpacked twice
    data = np.empty(size, np.uint8)
    for start in range(0, size, BLOCK):  # in parts, because unpacking all at once takes the memory twice
        part = file.read(min(BLOCK, size - start))
        if len(part) < min(BLOCK, size - start):
            raise Unreadable(SHORT)
        data[start : start + len(part)] = np.frombuffer(part, np.uint8)
    return data.view(grid.kind)


def _analyze(head: bytes) -> bool:
    """Analyze 7.5 has no magic number: its header begins with its length, and says "r" at byte 38."""
    return head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") and head[38:39] == b"r" and head[344:345] != b"n"
