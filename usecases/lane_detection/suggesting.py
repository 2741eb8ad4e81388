"""What somebody's recordings of the road are: how their labels, if any, are laid out, and which of these are lanes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from shared import lines as json_lines
from shared.data import guessing, video
from shared.data.guessing import Assumed
from shared.errors import UserError
from shared.usecase import Assumption
from usecases.lane_detection import formats, layouts
from usecases.lane_detection.checks import FEWEST
from usecases.lane_detection.config import Simulation
from usecases.lane_detection.data import SIMULATED

VIDEOS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts")
LOOKED_FOR = f"{formats.LOOKED_FOR}, or videos ({', '.join(VIDEOS)})"
LOOKED_AT = 200  # label files, and frames of which one must have its image
START = 8 << 20  # bytes of an XML file that tell its labels
LANE = ("lane", "line", "mark", "solid", "dash", "broken", "white", "yellow", "stripe", "ego")  # parts of names of lanes' lines
NO_LANE = ("stop", "cross", "pedestrian", "zebra", "rail", "power")  # that those of other lines have as well


def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
    """What makes lane detection run on frames of one's own; see `shared.usecase.UseCase.suggest`.

    Raises:
        UserError: there are no frames, or none with labels and their images: says what is needed and what can be done without.
    """
    assumed = Assumed(given)
    rendered = given.get("data.source") == SIMULATED
    source = guessing.existing(source if rendered else Path(given.get("data.source", source)), LOOKED_FOR)
    if rendered:
        _like_them(source, assumed)
        return assumed
    unlabelled = _videos(source)
    if unlabelled and (source.is_file() or not layouts.images_in(source)):
        raise _no_labels(source, f"{unlabelled} video(s)")
    read = formats.inspect(source, given.get("data.layout", "auto"), tuple(given.get("data.names", ())))
    labelled = [frame for frame in read.frames if frame.lines is not None]
    if not labelled and not any(finding.severity == "error" for finding in read.findings):
        raise _no_labels(source, f"{len(read.frames):,} images" + (f" and {unlabelled} video(s)" if unlabelled else ""))
    there = [isinstance(frame.image, Path) and layouts.is_file(frame.image) for frame in labelled[:LOOKED_AT]]
    if labelled and not any(there):
        raise UserError(
            f"{source} labels {len(labelled):,} frames whose images are not there, such as {labelled[0].name}. "
            f"Put the images where the labels say, for example {labelled[0].image}."
        )
    assumed.add("data.source", str(source.resolve()), f"{source.name}, as given")
    assumed.add("data.layout", read.layout, f"{len(labelled):,} of {len(read.frames):,} frames have labels that are laid out so")
    _names(source, read.layout, assumed)
    if len(labelled) < FEWEST:
        why = f"{len(labelled)} labelled frames are too few to train on alone: rendered ones are trained on as well"
        assumed.add("data.simulated_too", True, why)
    return assumed


def _videos(source: Path) -> int:
    """How many videos there are."""
    files = [source] if source.is_file() else source.rglob("*")
    return sum(file.suffix.lower() in VIDEOS for file in files)


def _no_labels(source: Path, what: str) -> UserError:
    return UserError(
        f"{source} has {what} without labels, of which nothing can be learnt or judged. Label some frames, a few hundred of "
        "several recordings, in CVAT or LabelMe (a polyline for each line of a lane) and give the folder with images and labels. "
        f"Without labels, data.source={SIMULATED} trains on rendered roads; try that model on these recordings with "
        f"`usecases predict RUN {source}`, and label where it errs. Looked for: {formats.LOOKED_FOR}."
    )


def _like_them(source: Path, assumed: Assumed) -> None:
    """Rendered frames as wide for their height as those of an unlabelled recording."""
    files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.suffix.lower() in VIDEOS)
    images = layouts.images_in(source) if source.is_dir() else []
    if not (found := [*images, *files]):
        raise UserError(f"{source} has no images or videos. Looked for: {LOOKED_FOR}.")
    with video.frames(found[0]) as shots:
        image = next((shot.image for shot in shots if shot.image is not None), None)
    if image is None:
        raise UserError(f"{found[0]} cannot be read as an image or a video.")
    height, width = image.shape[:2]
    usual = Simulation()
    suited = max(64, 2 * round(usual.width * height / width / 2))
    if suited != usual.height:
        assumed.add(
            "data.simulation.height", suited, f"{found[0].name} has {width} x {height} pixels: rendered ones in proportion"
        )


def _names(source: Path, layout: str, assumed: Assumed) -> None:
    """The labels of polylines that are lines of lanes, where some of them are not."""
    found = _labels(source, layout)
    lanes = [name for name in found if _has(name, LANE) and not _has(name, NO_LANE)]
    if lanes and len(lanes) < len(found):
        others = ", ".join(f"'{name}'" for name in list(found)[:8] if name not in lanes)
        why = f"named like lines of lanes; {others} {'are' if len(found) - len(lanes) > 1 else 'is'} not"
        assumed.add("data.names", sorted(lanes), why)


def _has(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name.lower() for part in parts)


def _labels(source: Path, layout: str) -> Counter[str]:
    """The labels of polylines, by the first files."""
    found: Counter[str] = Counter()
    if layout == "cvat":
        file = source if source.is_file() else next(source.glob("*.xml"))
        with file.open("rb") as content:
            start = content.read(START).decode(errors="replace")
        return Counter(re.findall(r'<polyline\b[^>]*?\blabel="([^"]+)"', start))
    if layout == "labelme":
        for file in islice([source] if source.is_file() else source.rglob("*.json"), LOOKED_AT):
            try:
                shapes = json_lines.parse(file.read_text(encoding="utf-8-sig")).get("shapes")
            except (OSError, ValueError, RecursionError):  # `check` names it
                continue
            drawn = [one for one in shapes if isinstance(one, dict)] if isinstance(shapes, list) else []
            found.update(str(one.get("label")) for one in drawn if one.get("shape_type", "linestrip") in layouts.LINES)
    return found
