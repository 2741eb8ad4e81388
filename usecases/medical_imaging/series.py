"""Which files belong together: a DICOM series is one volume in the order of its slices; every other file is by itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.data.video import natural
from shared.errors import require
from usecases.medical_imaging import dicom, nifti, reading
from usecases.medical_imaging.scaling import damaged

Kind = Literal["DICOM", "NIfTI", "image"]
ENDINGS = (".nii.gz", ".nii", ".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")  # not part of a name
RESULTS = ("findings.csv", "cases.csv", "summary.json")  # of an earlier prediction
TAGS = (  # what is needed of a header; nothing that tells of a person
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
ALIKE = 0.01  # by which directions of one volume may differ: scanners round them
LONGEST = 100  # characters of an output's name; some file systems take 255 bytes


@dataclass(frozen=True)
class Study:
    """What is reported as one case: the slices of a series, a volume, or an image.

    Attributes:
        name: path within the source, of the file, or of the folder in which the series lies. Never from a header.
        stem: what its outputs are named after: safe for any file system, and of this study alone.
        paths: its files in order.
        names: of the files, paths within the source.
        places: mm along the slices' normal, one for each file, ascending; None: not known, or it is one file.
    """

    name: str
    stem: str
    kind: Kind
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    places: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Slice:
    """A DICOM file's place in its series.

    Attributes:
        series: what files of one series and size share; empty: the file is by itself.
        position, axes: of the first pixel in mm, and the directions of rows and columns; empty where they are not given.
    """

    path: Path
    series: tuple[Any, ...] = ()
    position: tuple[float, ...] = ()
    axes: tuple[float, ...] = ()
    number: int = 0


def files(source: Path) -> list[Path]:
    """The files that may be images, in natural order; none in a folder that holds results of an earlier prediction."""
    if source.is_file():
        return [source]
    old: dict[Path, bool] = {}

    def results(folder: Path) -> bool:
        if folder not in old:
            own = all(os.access(folder / name, os.R_OK) for name in RESULTS)
            old[folder] = own or (folder != source and results(folder.parent))
        return old[folder]

    return [path for path in reading.files(source) if not results(path.parent)]


def studies(source: Path, paths: Sequence[Path]) -> list[Study]:
    """Group the files below `source`, or the one file that it is, in their order. Reads DICOM headers, no pixels.

    Files of one series that repeat a slice's position (echoes, moments, b-values) become one volume each.
    """
    root = source if source.is_dir() else source.parent
    groups = _grouped([(path, _kind(path)) for path in paths])
    taken: set[str] = set()
    crowded: dict[Path, int] = defaultdict(int)
    result = []
    for kind, slices in groups:
        members = tuple(one.path for one in slices)
        names = tuple(_shown(path, root) for path in members)
        name = names[0]
        if len(members) > 1:
            folder = Path(os.path.commonpath([path.parent for path in members]))
            crowded[folder] += 1
            name = _shown(folder, root) if folder != root else root.name or "series"
            name += f" ({crowded[folder]})" if crowded[folder] > 1 else ""
        places = _along([(one.position, one.axes) for one in slices]) if len(slices) > 1 else None
        stem = _stem(name if len(members) > 1 else _bare(name), taken)
        result.append(Study(name, stem, kind, members, names, None if places is None else tuple(places)))
    return result


def _kind(path: Path) -> Kind:
    """By its content; what cannot be read counts as an image, and reading it gives the reason."""
    try:
        with path.open("rb") as file:
            if dicom.recognised(file.read(reading.HEAD)):
                return "DICOM"
        return "NIfTI" if nifti.recognised(nifti.header(path)) else "image"
    except OSError:
        return "image"


def _grouped(paths: Iterable[tuple[Path, Kind]]) -> list[tuple[Kind, list[Slice]]]:
    groups: list[tuple[Kind, list[Slice]]] = []
    series: dict[tuple[Any, ...], list[Slice]] = {}
    for path, kind in paths:
        one = _header(path) if kind == "DICOM" else Slice(path)
        if one.series in series:
            series[one.series].append(one)
            continue
        group = [one]
        if one.series:
            series[one.series] = group
        groups.append((kind, group))
    return [(kind, volume) for kind, group in groups for volume in _volumes(group)]


def _volumes(slices: list[Slice]) -> list[list[Slice]]:
    """The volumes in a series: slices that lie alike, in order; by their number where a position is missing."""
    slices = sorted(slices, key=lambda one: (one.number, natural(one.path)))
    alike: list[list[Slice]] = []
    for one in slices:
        for group in alike:
            if len(group[0].axes) == len(one.axes) and np.allclose(group[0].axes, one.axes, rtol=0, atol=ALIKE):
                group.append(one)
                break
        else:
            alike.append([one])
    return [volume for group in alike for volume in _stacked(group)]


def _stacked(slices: list[Slice]) -> list[list[Slice]]:
    """Slices that lie alike from one end to the other; what repeats a place begins another volume."""
    places = _along([(one.position, one.axes) for one in slices])
    if places is None:
        return [slices]
    at: dict[float, list[Slice]] = defaultdict(list)
    for place, one in zip(places, slices, strict=True):
        at[round(place, 2)].append(one)
    return [[at[place][turn] for place in sorted(at) if turn < len(at[place])] for turn in range(max(map(len, at.values())))]


def _header(path: Path) -> Slice:
    """What the header tells of the slice's place; a file with several frames, or with a fault, is by itself."""
    pydicom = dicom.library()
    alone = Slice(path)
    try:
        with damaged("the header cannot be read"):
            if dicom.deflated(path):
                return alone  # its header cannot be had without unpacking all of it
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS), force=True)
            uid, frames = str(header.get("SeriesInstanceUID") or ""), int(header.get("NumberOfFrames") or 1)
            size = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
            number = int(header.get("InstanceNumber") or 0)
            position = _numbers(header.get("ImagePositionPatient"), 3)
            axes = _numbers(header.get("ImageOrientationPatient"), 6)
    except OSError:  # reading the image gives the reason
        return alone
    return alone if not uid or frames > 1 else Slice(path, (uid, *size), position, axes, number)


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    found = tuple(float(value) for value in values or ())
    return found if len(found) == count and np.isfinite(found).all() else ()


def _along(planes: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[float] | None:
    """mm along the first plane's normal (DICOM PS3.3 C.7.6.2.1.1) of planes with position and axes; None: not all are known."""
    if not planes or not all(len(position) == 3 and len(axes) == 6 for position, axes in planes):
        return None
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    return [float(normal @ np.asarray(position)) for position, _ in planes]


def stack(study: Study) -> list[float] | None:
    """mm along the slices' normal of each picture of a study whose pictures are one stack, ascending; None: not told.

    For a series, of each file.
    """
    if study.kind == "NIfTI" and (told := axial(study.paths[0])):
        return [told[1] * place for place in range(told[0])]
    if study.kind == "DICOM" and len(study.paths) == 1:
        return _frames(study.paths[0])
    return None if study.places is None else list(study.places)


def _frames(path: Path) -> list[float] | None:
    """The places of the frames of an enhanced object, which must be in the stack's order."""
    pydicom = dicom.library()
    tags = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
    try:
        with damaged("the header cannot be read"):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
            shared, planes = header.get("SharedFunctionalGroupsSequence") or [], []
            for frame in header.get("PerFrameFunctionalGroupsSequence") or []:
                holder = frame if "PlaneOrientationSequence" in frame else shared[0]
                axes = _numbers(holder.PlaneOrientationSequence[0].ImageOrientationPatient, 6)
                planes.append((_numbers(frame.PlanePositionSequence[0].ImagePositionPatient, 3), axes))
    except OSError:
        return None
    places = np.array(_along(planes) or [])
    if not len(places) or any(not np.allclose(axes, planes[0][1], rtol=0, atol=ALIKE) for _, axes in planes):
        return None
    steps = np.diff(places)
    if len(steps) and (steps < 0).all():
        places, steps = -places, -steps
    return places.tolist() if len(steps) and (steps > 0).all() else None


def axial(path: Path) -> tuple[int, float] | None:
    """Of a NIfTI volume: its number of axial slices and the mm between them, as `nifti.frames` gives them; None: not told."""
    nibabel = require("nibabel", "medical")
    told = nifti.header(path)
    kind = nibabel.Nifti1Header if told[344:348] == b"n+1\0" else nibabel.Nifti2Header
    try:
        with damaged("the header cannot be read"):
            header = kind(told[: kind.template_dtype.itemsize], check=False)
            affine = header.get_best_affine()
            axis = int(np.flatnonzero(nibabel.orientations.io_orientation(affine)[:, 0] == 2)[0])
            unit = {"meter": 1000.0, "micron": 0.001}.get(header.get_xyzt_units()[0], 1.0)
            return int(header.get_data_shape()[axis]), float(nibabel.affines.voxel_sizes(affine)[axis]) * unit
    except OSError:
        return None


def _shown(path: Path, root: Path) -> str:
    """The path within the source, as text that every encoding of a table can hold."""
    return path.relative_to(root).as_posix().encode("utf-8", "replace").decode("utf-8")


def _bare(name: str) -> str:
    """Without its ending, if that is one of an image."""
    ending = next((one for one in ENDINGS if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def _stem(name: str, taken: set[str]) -> str:
    """A file name made of a path: no folders, nothing a shell or a file system trips over, none twice."""
    plain = "__".join(re.sub(r"[^\w.-]+", "_", part).strip("._") or "_" for part in name.split("/"))
    if len(plain) > LONGEST:
        plain = f"{plain[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    stem, number = plain, 1
    while stem.lower() in taken:
        number += 1
        stem = f"{plain}-{number}"
    taken.add(stem.lower())
    return stem
