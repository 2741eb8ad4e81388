"""What is wrong with labelled frames: every fault at once, with examples and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from shared.data.images import Print, alike, collected
from shared.errors import Collector, Finding, UserError
from usecases.lane_detection import formats
from usecases.lane_detection.formats import Layout, sampled
from usecases.lane_detection.images import Look, look
from usecases.lane_detection.lanes import Frame, Line
from usecases.lane_detection.splits import near_duplicates

MARGIN = 5.0  # pixels by which a label may lie outside the image
CROSSED = 3.0  # pixels on either side, from which on two lines cross; less is the pen's width
FEWEST = 50  # labelled frames

Size = tuple[int, int]  # width, height


def check(source: Path, layout: Layout = "auto", names: Sequence[str] = ()) -> list[Finding]:
    """Every fault of a source, in its files and in its frames; never raises for bad data. All images are read."""
    try:
        read = formats.inspect(source, layout, names)
        return [*read.findings, *check_frames(read.frames, str(source))]
    except (UserError, OSError) as error:
        return [Finding("error", str(error).rstrip("."), str(source), "Give another file or folder, or name its layout")]


def check_frames(frames: Sequence[Frame], where: str, training: bool = True) -> list[Finding]:
    """Faults of frames: their images, the place of their lines, and images that come again. All images are read.

    Args:
        where: the source, for messages.
        training: whether they are trained on; to judge on them, none needs a line.

    Returns:
        findings, errors first; none for data without faults.
    """
    return looked_at(frames, where, training)[0]


def looked_at(frames: Sequence[Frame], where: str, training: bool) -> tuple[list[Finding], dict[str, Look]]:
    """As `check_frames`, and what was seen of each image that can be read, by the frame's name."""
    faults = Collector(where)
    looks: list[Look | None] = []
    for frame in frames:
        try:
            looks.append(look(frame))
        except OSError as error:
            looks.append(None)
            what = f"an image that cannot be used: {error.strerror or error}"
            faults.add("error", what, "Restore the image, or remove its label", frame.name, left_out=_without(frame))
        _geometry(frame, looks[-1] and looks[-1].size, faults)
    _numbers(frames, training, faults)
    _sizes({frame.name: one.size for frame, one in zip(frames, looks, strict=True) if one}, faults)
    _copies(frames, looks, faults)
    for first, again in alike(collected([one and one.print for one in looks])):
        one, other = frames[first], frames[again]
        if one.clip != other.clip:
            fix = "Keep one of them if it is a copy; both clips stay on one side of the split"
            faults.add("warning", "an image of another clip again", fix, f"{other.name} is as {one.name}")
    return faults.findings, {frame.name: one for frame, one in zip(frames, looks, strict=True) if one}


def _without(frame: Frame) -> list[tuple[Path, int]]:
    """What of a data set is left out for a frame: its image and its label; () where its label lies among others."""
    if not isinstance(frame.image, Path) or (frame.lines is not None and frame.label is None):
        return []
    return [(frame.image, 0), *([frame.label] if frame.label else [])]


def _copies(frames: Sequence[Frame], looks: Sequence[Look | None], faults: Collector) -> None:
    """The same file again, under another name."""
    first: dict[str, Frame] = {}
    for frame, one in zip(frames, looks, strict=True):
        kept = first.setdefault(one.digest, frame) if one else frame
        if kept is frame or kept.image == frame.image:
            continue
        example = f"{frame.name} is as {kept.name}"
        if kept.lines is not None and frame.lines is not None and not _equal(kept.lines, frame.lines):
            fix = "Look at both: one may lack lines or be wrong, or what counts as a line was understood in two ways. Keep one"
            faults.add("warning", "the same image with different lines", fix, example)
        elif kept.clip == frame.clip:
            dropped = kept if kept.lines is None else frame
            first[one.digest if one else ""] = frame if dropped is kept else kept
            fix = "It stays in one part of the split; better remove one"
            faults.add("info", "the same image twice in a clip", fix, example, left_out=_without(dropped))


def _equal(some: Sequence[Line], others: Sequence[Line]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def _numbers(frames: Sequence[Frame], training: bool, faults: Collector) -> None:
    """What concerns the frames as a whole."""
    for name, count in Counter(frame.name for frame in frames).items():
        if count > 1:
            faults.add("error", "a frame that is labelled more than once", "Keep one of its labels", name)
    named = [frame.name for frame in frames if frame.lines is not None]
    labelled = len(named)
    if not labelled:
        fix = "Add label files; without them nothing can be trained or judged"
        faults.add("error", "no frame has labels", fix, [frame.name for frame in frames], count=max(1, len(frames)))
    elif labelled < FEWEST:
        fix = f"Add frames: below {FEWEST} a trained model and its numbers say little"
        told = f"only {labelled} frames have labels" if labelled > 1 else "only 1 frame has labels"
        faults.add("warning", told, fix, named, count=labelled)
    if 0 < labelled < len(frames):
        fix = "They are not trained on; a frame without lines needs a label file that is empty"
        without = [frame.name for frame in frames if frame.lines is None]
        what = f"{len(without)} of {len(frames)} frames have no labels"
        faults.add("info", what, fix, without, count=len(without))
    if training and labelled and not any(frame.lines for frame in frames):
        fix = "Check the label files, and the names of the lines if you gave any"
        faults.add("error", "no frame has a line", fix, named, count=labelled)


def _sizes(sizes: Mapping[str, Size], faults: Collector) -> None:
    """More than one size of images; `sizes` by the frame's name."""
    counts = Counter(sizes.values()).most_common()
    if len(counts) > 1:
        common = ", ".join(f"{w} x {h} ({count})" for (w, h), count in counts[:4])
        odd = [f"{name}: {size[0]} x {size[1]}" for name, size in sizes.items() if size != counts[0][0]]
        fix = "They are scaled to one; the camera may differ, too"
        faults.add("info", f"images of {len(counts)} sizes: {common}", fix, odd, count=len(odd))


def _geometry(frame: Frame, size: Size | None, faults: Collector) -> None:
    lines = frame.lines or ()
    said = frame.about.get("labelled_size")
    if size and said and size != said:
        fix = "Use the images that were labelled, or scale the labels"
        example = f"{frame.name}: {size[0]} x {size[1]}, labelled at {said[0]} x {said[1]}"
        faults.add("error", "an image of another size than the labelled one", fix, example)
    if size and frame.rows and frame.rows[-1] >= size[1]:
        example = f"{frame.name}: {frame.rows[-1]} of {size[1]}"
        fix = "Scale h_samples and lanes to the image's size"
        faults.add("error", "h_samples beyond the image", fix, example)
    if any(count < 2 for count in map(len, lines)):
        faults.add("error", "a line with fewer than two points", "Remove it", frame.name)
        return
    if size and any(_outside(one, size) for one in lines):
        fix = "It is cut at the image's edge; if there are many, the labels are of images of another size"
        faults.add("warning", "a line that leaves the image", fix, frame.name)
    if crossing(lines, size):
        fix = "Look at the labels; lines may meet, not change places"
        faults.add("warning", "lines that cross", fix, frame.name)


def _outside(drawn: Line, size: Size) -> bool:
    return bool((drawn < -MARGIN).any() or (drawn > np.array(size) - 1 + MARGIN).any())


def crossing(lines: Sequence[Line], size: Size | None) -> bool:
    """Do two lines change places inside the image (size: width, height; None: anywhere)?"""
    if len(lines) < 2:
        return False
    rows = np.unique(np.concatenate([one[:, 1] for one in lines]))
    if size:
        rows = rows[(rows >= 0) & (rows < size[1])]
    across = sampled(lines, rows.tolist(), size[0] if size else None)
    for one, other in combinations(across, 2):
        apart = (one - other)[~np.isnan(one - other)]
        if apart.size and apart.min() < -CROSSED and apart.max() > CROSSED:
            return True
    return False


def check_parts(parts: Mapping[str, Sequence[Frame]], where: str, known: Mapping[str, Print] | None = None) -> list[Finding]:
    """Leaks between parts: clips in two of them, and images that are nearly the same.

    Args:
        parts: by name, such as "train" and "test".
        known: prints of frames, by name; images of others are read.
    """
    faults = Collector(where)
    for (name, one), (other_name, other) in combinations(parts.items(), 2):
        for clip in sorted({frame.clip for frame in one if frame.clip} & {frame.clip for frame in other}):
            faults.add("error", f"a clip in {name} and in {other_name}", "Keep each clip in one part", clip)
        for first, again in near_duplicates(one, other, known):
            example = f"{one[first].name} is as {other[again].name}"
            fix = "Remove one of them, or give both one clip: a test on what was trained on proves nothing"
            faults.add("error", f"nearly the same image in {name} and in {other_name}", fix, example)
    return faults.findings
