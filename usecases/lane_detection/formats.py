"""The layouts in which labelled frames come, and which of them a source has."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from shared import lines as json_lines
from shared.data import sources
from shared.errors import Collector, DataError, Finding, UserError, nearest
from usecases.lane_detection import cvat, layouts
from usecases.lane_detection.lanes import Frame, Line, at_rows

Layout = Literal["auto", "tusimple", "culane", "polylines", "labelme", "cvat"]
JSON_LINES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
LINE_LIMIT = 1 << 20  # bytes of one line
LINES_LIMIT = 10_000_000  # of a file, which may be compressed
HEAD = 65_536  # bytes by which a JSON file is recognised
MISSING = -2  # TuSimple's x where a line is not
LOOKED_FOR = (
    "TuSimple label files (*.json, *.json.gz with lanes, h_samples and raw_file in each line), CULane's *.lines.txt, "
    "annotations.xml of CVAT, JSON files of LabelMe (shapes) or of polylines (lines), and images"
)


@dataclass(frozen=True)
class Source:
    """What was read. The findings tell what was wrong; a frame that is named in an error is left out or without a line."""

    frames: list[Frame]
    layout: str
    findings: list[Finding]


@dataclass(frozen=True)
class Record:
    """A line of a TuSimple file.

    Attributes:
        lanes: float32 [lanes, rows] x of each lane, NaN where it is not; a lane may be empty.
        rows: in pixels, rising.
        number: of the line in its file, from 1.
    """

    raw_file: str
    lanes: np.ndarray
    rows: tuple[int, ...]
    number: int


def load(source: Path, layout: Layout = "auto", names: Sequence[str] = ()) -> list[Frame]:
    """The frames of a file or folder, their images not opened yet; see `inspect`.

    Raises:
        UserError: it cannot be read at all.
        DataError: lists every fault that stops a run.
    """
    read = inspect(source, layout, names)
    if any(finding.severity == "error" for finding in read.findings):
        raise DataError([finding for finding in read.findings if finding.severity != "info"])
    return read.frames


def inspect(source: Path, layout: Layout = "auto", names: Sequence[str] = ()) -> Source:
    """Read the labels of a file or folder. Images without labels are frames without lines (None).

    Args:
        names: labels of the polylines that count, in LabelMe and CVAT; (): all of them.

    Raises:
        UserError: it does not exist, or nothing of the layout is there; says what was looked for.
    """
    if layout not in get_args(Layout):
        raise UserError(f"There is no layout '{layout}'. {nearest(layout, get_args(Layout))}")
    if not layouts.is_file(source) and not source.is_dir():
        raise UserError(f"There is no file or folder '{source}'. {sources.near(source)}")
    if source.suffix.lower() == ".zip":
        raise UserError(f"{source} is a zip file. Unpack it and give the folder.")
    kind = recognise(source) if layout == "auto" else layout
    faults = Collector(source)
    if kind == "tusimple":
        frames = _tusimple(source, faults)
    elif kind == "culane":
        frames = layouts.culane(source, faults)
    elif kind == "cvat":
        frames = cvat.read(_one_xml(source), names, faults)
    else:
        frames = layouts.annotated(source, "lines" if kind == "polylines" else "shapes", names, faults)
    if not frames and not faults.findings:
        raise UserError(f"{source} holds no frames of the layout {kind}. Looked for: {LOOKED_FOR}.")
    return Source(frames, kind, faults.findings)


def recognise(source: Path) -> str:
    """The layout of a file or folder.

    Raises:
        UserError: it has none that is known.
    """
    if source.is_file():
        found = {".xml": "cvat", ".txt": "culane"}.get(source.suffix.lower()) or _kind(source)
        if found:
            return found
        raise UserError(f"{source} has none of the layouts that are known. Looked for: {LOOKED_FOR}.")
    if next(source.rglob("*.lines.txt"), None):
        return "culane"
    if _label_files(source):
        return "tusimple"
    if next(source.glob("*.xml"), None):
        return "cvat"
    kinds = (kind for file in islice(source.rglob("*.json"), 1000) if (kind := _kind(file)))
    if found := next(kinds, None):
        return found
    if layouts.images_in(source):
        return "polylines"  # none of which has lines yet
    there = ", ".join(sorted(path.name for path in source.iterdir())[:8]) or "nothing"
    raise UserError(f"{source} has none of the layouts that are known. Looked for: {LOOKED_FOR}. There: {there}.")


def _kind(file: Path) -> str | None:
    """What a JSON file begins with."""
    try:
        with _opened(file) as content:
            head = content.read(HEAD).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return None
    marks = {"tusimple": ("h_samples", "lanes"), "labelme": ("shapes",), "polylines": ("lines",)}
    return next((kind for kind, keys in marks.items() if all(re.search(rf'"{key}"\s*:', head) for key in keys)), None)


def _one_xml(source: Path) -> Path:
    files = [source] if source.is_file() else sorted(source.glob("*.xml"))
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:5]) or "none"
    raise UserError(f"{source} has to hold one XML file of CVAT. There: {names}. Give the file.")


def _opened(file: Path) -> Any:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


def _label_files(folder: Path) -> list[Path]:
    """TuSimple's label files at the top of a folder; those that are named so, if any are."""
    files = sorted(file for file in folder.iterdir() if file.name.endswith(JSON_LINES) and layouts.is_file(file))
    named = [file for file in files if "label" in file.name.lower()]
    return [file for file in named or files if _kind(file) == "tusimple"]


def _records(file: Path, faults: Collector) -> Iterator[Record]:
    number = 0
    try:
        with _opened(file) as content:
            while (text := content.readline(LINE_LIMIT + 1)) and number < LINES_LIMIT:
                number += 1
                if len(text) > LINE_LIMIT:
                    fix = "Write one frame a line; what follows was not read"
                    faults.add("error", f"a line of more than {LINE_LIMIT >> 20} MB", fix, row=number, where=file)
                    return
                if record := _record(text.removeprefix(b"\xef\xbb\xbf"), number, file, faults):
                    yield record
    except (OSError, EOFError, zlib.error) as error:
        faults.add("error", "the file is damaged or cut short", "Get it again", str(error), number + 1, file)


def _record(text: bytes, number: int, file: Path, faults: Collector) -> Record | None:
    """A line's record; None where there is none, with a finding unless it is blank."""
    if not text.strip():
        return None
    try:
        given = json_lines.parse(text.decode())
    except UnicodeDecodeError:
        faults.add("error", layouts.NOT_UTF8, "Save the file as UTF-8", row=number, where=file, left_out=True)
        return None
    except (ValueError, RecursionError):
        fix = "Write one JSON object a line, as TuSimple does; NaN is none"
        faults.add(
            "error", "a line that is not a JSON object", fix, text[:40].decode(errors="replace"), number, file, left_out=True
        )
        return None
    name, lanes, rows = given.get("raw_file"), given.get("lanes"), given.get("h_samples")
    if wrong := _wrong(name, lanes, rows):
        faults.add("error", *wrong, name if isinstance(name, str) else "", number, file, left_out=True)
        return None
    across = np.array(lanes, np.float32).reshape(-1, len(given["h_samples"]))
    across[across < 0] = np.nan
    return Record(given["raw_file"], across, tuple(map(int, given["h_samples"])), number)


def _wrong(name: Any, lanes: Any, rows: Any) -> tuple[str, str] | None:
    """What is wrong with a line's values, and how to mend it."""
    missing = f"Write {MISSING} at rows where the line is not"
    if not isinstance(name, str) or layouts.inside(name) is None:
        return "no raw_file", "It is the image's path, relative to the file's folder, without .."
    if not isinstance(rows, list) or not all(map(layouts.is_number, rows)) or any(row % 1 for row in rows):
        return "h_samples that are not rows", "They are a list of whole numbers of pixels"
    if len(rows) < 2 or rows[0] < 0 or any(above >= below for above, below in pairwise(rows)):
        return "h_samples that do not rise from 0 on", "They are two or more rows, from far to near"
    if not isinstance(lanes, list) or not all(isinstance(lane, list) for lane in lanes):
        return "no lanes", "They are a list of lists of x, one for each row; [] where there are none"
    if any(len(lane) != len(rows) for lane in lanes):
        return "a lane that has not as many x as there are h_samples", missing
    if not all(layouts.is_number(x) for lane in lanes for x in lane):
        return "a lane with an x that is no number", missing
    return None


def _tusimple(source: Path, faults: Collector) -> list[Frame]:
    """Lanes of TuSimple that are empty, with which some of its files are padded, are left out."""
    files = [source] if source.is_file() else _label_files(source)
    frames = []
    for file in files:
        records = list(_records(file, faults))
        for record, image in zip(records, _images(file, records, faults), strict=True):
            seen = ~np.isnan(record.lanes)
            polylines = [
                [[float(x), float(row)] for x, row, there in zip(lane, record.rows, where, strict=True) if there]
                for lane, where in zip(record.lanes, seen, strict=True)
                if where.any()
            ]
            lines = layouts.made(polylines, faults, file, record.raw_file, record.number)
            clip = PurePosixPath(record.raw_file).parent.as_posix()
            place = file, record.number
            frames.append(Frame(record.raw_file, image, lines, "" if clip == "." else clip, {}, record.rows, label=place))
    return frames


def _images(file: Path, records: Sequence[Record], faults: Collector) -> list[Path]:
    """The image of each line: raw_file, from the file's folder or one in it; where no such file exists and `images/` has
    as many images as there are lines, line n is image n."""
    folders = [file.parent, *sorted(folder for folder in file.parent.iterdir() if folder.is_dir())]
    root = next((root for record in records[:20] for root in folders if layouts.is_file(root / record.raw_file)), file.parent)
    paths = [root / record.raw_file for record in records]
    beside = file.parent / "images"
    if beside.is_dir() and not any(map(layouts.is_file, paths)):
        images = sorted((image for image in beside.iterdir() if image.suffix.lower() in layouts.IMAGES), key=_by_number)
        if records and records[-1].number == len(images):
            fix = "Put the images where raw_file says, if that is not so"
            faults.add("info", "no raw_file exists: line n was taken as the label of image n", fix, str(beside), where=file)
            return [images[record.number - 1] for record in records]
    return paths


def _by_number(path: Path) -> list[tuple[int, str]]:
    """10.jpg comes after 9.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", path.name)]


def sampled(lines: Sequence[Line], rows: Sequence[int], width: int | None = None) -> np.ndarray:
    """x of each line at rows, NaN where it is not or outside the image: float32 [lines, rows]."""
    found = [at_rows(one, np.asarray(rows, np.float64)) for one in lines]
    across = np.array(found, np.float32).reshape(len(lines), len(rows))
    across[(across < 0) | (across > (np.inf if width is None else width - 1))] = np.nan
    return across
