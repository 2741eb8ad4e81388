"""Label files to frames: CULane, polylines and LabelMe. Hostile files become findings, never tracebacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from shared import lines as json_lines
from shared.errors import Collector
from usecases.lane_detection.lanes import Frame, Line, from_left, line

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LINES = ("line", "linestrip")  # LabelMe's shapes that are lines
LABEL_LIMIT = 64 << 20  # bytes of one label file
FAR = 1e6  # pixels: no position in an image
TURN = 0.1  # share of a line's height by which it may go back
GENERIC = {"images", "image", "img", "imgs", "frames", "data", "labels", "train", "val", "valid", "validation", "test"}
NOT_UTF8 = "a text that is not UTF-8"


def is_number(value: Any) -> bool:
    """A finite number that can be a pixel; True and "1" are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -FAR <= value <= FAR


def text_of(file: Path, faults: Collector, where: Path) -> str | None:
    """The file's text (UTF-8, with or without a mark); None, with a finding, where it has none."""
    try:
        if file.stat().st_size > LABEL_LIMIT:
            fix = f"A label file may have {LABEL_LIMIT >> 20} MB; leave the image itself (imageData) out of it"
            faults.add("error", "a label file that is too large", fix, file.name, where=where)
            return None
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        faults.add("error", NOT_UTF8, "Save the file as UTF-8", file.name, where=where)
    except OSError as error:
        faults.add("error", "a file that cannot be read", "Mend or remove it", f"{file.name}: {error.strerror}", where=where)
    return None


def made(polylines: Iterable[Any], faults: Collector, where: Path, name: str, row: int = 0) -> tuple[Line, ...]:
    """Lines from left to right out of lists of [x, y]; what is none is left out and named.

    Args:
        name, row: of the frame and of the line in its file, for findings.
    """
    lines = []
    for points in polylines:
        whole = isinstance(points, list) and all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points)
        if not whole:
            fix = f"A line is a list of points [x, y], finite numbers up to {FAR:,.0f} pixels"
            faults.add("error", "a line that is no list of points", fix, name, row, where)
            continue
        given = np.array(points, np.float64).reshape(-1, 2)
        if len(np.unique(given[:, 1])) < 2:
            faults.add("warning", "a line with fewer than two points", "It was left out; one row is no line", name, row, where)
            continue
        there = float(np.ptp(given[:, 1]))
        if np.abs(np.diff(given[:, 1])).sum() > there * (1 + TURN) + 2:
            fix = "Points are sorted by row and those of one row averaged: draw a line from near to far, two where there are two"
            faults.add("warning", "a line that turns back on itself", fix, name, row, where)
        lines.append(line(given))
    return from_left(lines)


def images_in(folder: Path) -> list[Path]:
    """Every image of the tree, in the order of the names; hidden folders are left out."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGES)
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def culane(source: Path, faults: Collector) -> list[Frame]:
    """A tree of `x.jpg` with `x.lines.txt` beside (one line of the road a text line: x y x y …); or a list of such images.

    A clip is a folder. The lists of scenes in `list/test_split` become `about["scene"]`.
    """
    if source.is_file():
        listed = [row.split()[0].lstrip("/") for row in (text_of(source, faults, source) or "").splitlines() if row.strip()]
        names = [path.as_posix() for name in listed if (path := inside(name))]
        root = next((up for up in source.parents if names and is_file(up / names[0])), source.parent)
        for name in listed:
            if inside(name) is None:
                fix = "An image's path is relative to the data's folder"
                faults.add("error", "a path that leads out of the data", fix, name)
    else:
        root = source
        labelled = {file.with_name(file.name.removesuffix(".lines.txt")) for file in root.rglob("*.lines.txt")}
        found = images_in(root)
        absent = labelled - {image.with_suffix("") for image in found}
        files = sorted([*found, *(file.with_name(file.name + ".jpg") for file in absent)])
        names = [file.relative_to(root).as_posix() for file in files]
    scenes = _scenes(root, faults)
    frames = []
    for name in names:
        labels = root / PurePosixPath(name).with_suffix(".lines.txt")
        text = text_of(labels, faults, source) if is_file(labels) else None
        lines = None if text is None else made(map(_points, filter(str.strip, text.splitlines())), faults, source, name)
        about = {"scene": scenes[name]} if name in scenes else {}
        clip, label = "/".join(PurePosixPath(name).parent.parts), None if text is None else (labels, 0)
        frames.append(Frame(name, root / name, lines, clip, about, label=label))
    return frames


def _points(row: str) -> list[list[float]] | None:
    """x y x y … as points; None where it is no such list."""
    try:
        numbers = [float(word) for word in row.split()]
        return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    except ValueError:
        return None


def _scenes(root: Path, faults: Collector) -> dict[str, str]:
    scenes = {}
    for file in sorted((root / "list" / "test_split").glob("test*_*.txt")):
        for row in (text_of(file, faults, root) or "").split():
            scenes[row.lstrip("/")] = file.stem.partition("_")[2]
    return scenes


def annotated(source: Path, key: str, names: Sequence[str], faults: Collector) -> list[Frame]:
    """Images with one JSON each: `{"lines": [[[x, y], …], …]}` or LabelMe's `{"shapes": […], "imagePath": …}`.

    Images without a JSON are frames without labels. A clip is a folder, unless all images share one, or `"clip"` names it;
    `"about"` holds what slices are made of.

    Args:
        source: one JSON file or a folder.
        key: "lines" or "shapes".
        names: labels of the shapes that count; (): all of them.
    """
    root = source if source.is_dir() else source.parent
    files = sorted(root.rglob("*.json")) if source.is_dir() else [source]
    frames = {}
    for file in files:
        if (text := text_of(file, faults, source)) is None:
            continue
        where = file.relative_to(root).as_posix()
        try:
            record = json_lines.parse(text)
        except (ValueError, RecursionError):
            fix = "Write one JSON object a file; NaN is none"
            faults.add("error", "a file that is not a JSON object", fix, where, left_out=[(file, 0)])
            continue
        if not isinstance(record.get(key), list):
            fix = f'It was left out: it has no list "{key}"'
            faults.add("warning", "a JSON file that does not label an image", fix, where)
            continue
        image = _image_of(file, record.get("imagePath"), root)
        name = image.relative_to(root).as_posix()
        polylines = record[key] if key == "lines" else _shapes(record[key], names)
        lines = made(polylines, faults, source, name)
        frame = Frame(name, image, lines, folder_of(name), _about(record), label=(file, 0))
        clip = record.get("clip")
        frames[where] = replace(frame, clip=clip) if isinstance(clip, str) and clip else frame
    known = {frame.name for frame in frames.values()}
    free = [image.relative_to(root).as_posix() for image in images_in(root)] if source.is_dir() else []
    unlabelled = [Frame(name, root / name, clip=folder_of(name)) for name in free if name not in known]
    return together(sorted([*frames.values(), *unlabelled], key=lambda frame: frame.name))


def _shapes(shapes: list[Any], names: Sequence[str]) -> list[Any]:
    """The points of lines; other shapes, such as boxes of cars, are not for us."""
    kept = [s for s in shapes if not isinstance(s, dict) or s.get("shape_type", "linestrip") in LINES]
    kept = [s for s in kept if not names or not isinstance(s, dict) or s.get("label") in names]
    return [s.get("points") if isinstance(s, dict) else None for s in kept]


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    given = record.get("about")
    about = {k: v for k, v in given.items() if isinstance(v, str | int | float)} if isinstance(given, dict) else {}
    size = (record.get("imageWidth"), record.get("imageHeight"))
    return about | {"labelled_size": size} if all(map(is_number, size)) else about


def _image_of(file: Path, given: Any, root: Path) -> Path:
    """The image that a JSON labels: as it says, else of the same name, beside or in `images/`; may not exist."""
    here = PurePosixPath(file.parent.relative_to(root).as_posix())
    said = inside(given, here) if isinstance(given, str) else None
    if said and is_file(root / said):
        return root / said
    for folder in dict.fromkeys((here, here / "images", here.parent / "images", PurePosixPath("images"))):
        for stem in (said.stem, file.stem) if said else (file.stem,):
            for suffix in IMAGES:
                if is_file(image := root / folder / (stem + suffix)):
                    return image
    return file.with_suffix(".jpg")


def is_file(path: Path) -> bool:
    """As the path's own method, also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def inside(given: str, folder: PurePosixPath | None = None) -> PurePosixPath | None:
    """Where in the data a path leads that a label file in `folder` gives; None: out of it, which is not followed."""
    path, parts = PureWindowsPath(given), list(folder.parts if folder else ())
    if not path.parts or path.anchor or "\0" in given:
        return None
    for part in path.parts:
        if part == ".." and not parts:
            return None
        parts = parts[:-1] if part == ".." else [*parts, part]
    return PurePosixPath(*parts)


def folder_of(name: str) -> str:
    """The folder as a clip's name, without parts that say nothing of a recording."""
    return "/".join(part for part in PurePosixPath(name).parent.parts if part.lower() not in GENERIC)


def together(frames: list[Frame]) -> list[Frame]:
    """One folder with everything says nothing of clips: without them, images that are alike stay together in a split."""
    return [replace(frame, clip="") for frame in frames] if len({frame.clip for frame in frames}) == 1 else frames
