"""Files with what is known of them, as cases: one for each image in a file, decoded only when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from shared.data.columns import normal
from shared.errors import Collector, Finding
from usecases.medical_imaging import anonymous, masks, reading
from usecases.medical_imaging.cases import Case, Picture

_HEALTHY = """
    healthy normal nofinding nofindings none no negative neg absent control controls clear notumor notumour nontumor
    nodisease nolesion nopneumonia uninfected 0 false
"""
HEALTHY = _HEALTHY.split()  # names of classes without any finding, as they are compared: letters and digits only
HARMLESS = ["normalbenign", "benign"]  # come next
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
MASKED = ("no finding", "finding")  # classes where only masks tell
IMAGES = {"image", "images", "img", "imgs", "imagestr", "imagests", "scans"}  # folders that only say what is in them
MASKS = {"mask", "masks", "seg", "segmentation", "segmentations", "groundtruth", "gt", "labelstr", "labels"}


@dataclass(frozen=True)
class Item:
    """A file as a layout found it.

    Attributes:
        name: of the case; shows no patient.
        label: name of its class; None: not labelled.
        masks: files whose union is where the finding is.
        patient: as the data set calls it; kept only as a pseudonym.
        part: "train", "validation" or "test" where the data set says; else "".
        row: of the table that lists it, from 1; 0: no table does.
    """

    path: Path
    name: str
    label: str | None = None
    masks: tuple[Path, ...] = ()
    patient: str = ""
    source: str = ""
    part: str = ""
    row: int = 0


@dataclass(frozen=True)
class Source:
    """What a layout found.

    Attributes:
        cases: nothing of them is decoded yet; those with a mask and no label get theirs from it, see `classes`.
        parts: [cases] "train", "validation" or "test" where the data set says so, else "".
        classes: names of the labels, the finding last.
        layout: how it was read.
        place: the file or folder that has it, for messages.
    """

    cases: list[Case]
    parts: list[str]
    classes: tuple[str, ...]
    layout: str
    findings: list[Finding] = field(default_factory=list)
    place: str = ""


def source_of(items: Sequence[Item], wanted: Sequence[str], layout: str, faults: Collector) -> Source:
    """Cases of files, one for each image in them; a file that cannot be opened stays one case, which says so when it is read.

    Args:
        wanted: classes in order, as the configuration names them; (): as they sort, healthy names first.
    """
    names = {item.label for item in items if item.label is not None}
    classes = tuple(wanted) or ordered(names) or (MASKED if any(item.masks for item in items) else ())
    place = {name: number for number, name in enumerate(classes)}
    for item in items:
        if item.label is not None and item.label not in place:
            fix = f"Correct it, or add it to data.classes, which are: {', '.join(classes)}; the image was left out"
            faults.add("error", f"a label that is none of the classes: '{item.label[:40]}'", fix, item.name, item.row)
    if not names and any(item.masks for item in items):
        masked = [item.name for item in items if item.masks]
        fix = f"An image counts as '{classes[-1]}' where its mask is not empty"
        faults.add("info", "no labels, but masks", fix, masked, count=len(masked))
    elif len(names) == 1:
        fix = "Add images of another class: one class teaches nothing"
        labelled = [item.name for item in items if item.label is not None]
        faults.add("error", f"only one class, '{next(iter(names))}'", fix, labelled, count=len(labelled))
    elif not names:
        fix = "To train: a folder for each class, masks (x_mask.png beside x.png), or a table with the columns path and label"
        what = "no labels; these images can be predicted on, not learnt from"
        faults.add("error", what, fix, [item.name for item in items], count=len(items))
    salt = anonymous.salt()
    cases: list[Case] = []
    parts: list[str] = []
    for item in items:
        if item.label is not None and item.label not in place:
            continue
        if names and item.label is None:
            faults.add("info", "an image without a label", "It is not learnt from", item.name, item.row)
        for case in _cases(item, place, salt, use_masks=bool(item.masks) and (item.label is not None or not names)):
            cases.append(case)
            parts.append(item.part)
    return Source(cases, parts, classes, layout, faults.findings, faults.where)


def _cases(item: Item, place: dict[str, int], salt: str, use_masks: bool) -> Iterator[Case]:
    """One for each image in the file. Images of one file are of one patient, if it says nothing else."""
    count = reading.count(item.path)
    unnamed = anonymous.pseudonym(str(item.path), salt) if count > 1 else ""
    case = Case(
        name=item.name,
        picture=partial(picture, item.path, 0, salt),
        label=None if item.label is None else place[item.label],
        mask=partial(masks.read, item.masks, 0, item.path) if use_masks else None,
        patient=anonymous.pseudonym(item.patient, salt) if item.patient else unnamed,
        source=item.source,
        row=item.row,
        files=(item.path, *item.masks),
    )
    if count == 1:
        yield case
        return
    for number in range(count):
        mask = partial(masks.read, item.masks, number, item.path) if use_masks else None
        yield replace(case, name=f"{item.name}#{number + 1}", picture=partial(picture, item.path, number, salt), mask=mask)


_opened = reading.InTurn[Picture]()


def picture(path: Path, number: int, salt: str) -> Picture:
    """The image of that number, from 0, of a file.

    Raises:
        OSError: it cannot be read; the message says why.
    """
    image = _opened.take(path, number, partial(reading.read, path, salt))
    return replace(image, about={**image.about, "bytes": path.stat().st_size})


def name_of(path: Path, known: Iterable[str], patient: str, salt: str) -> str:
    """What a file is called in findings and results: its path, with pseudonyms for folders, which may be named after persons.

    Args:
        path: within the source.
        known: folders that keep their names, besides those that say what part of the data is in them.
        patient: what becomes a pseudonym in the file's own name, too; "": nothing.
    """
    *folders, file = path.parts
    kept = {*SPLITS, *(one.lower() for one in known)}
    shown = [one if one.lower() in kept or says(one, IMAGES | MASKS) else anonymous.pseudonym(one, salt) for one in folders]
    if patient:
        file = re.sub(re.escape(patient), anonymous.pseudonym(patient, salt), file, flags=re.IGNORECASE)
    return "/".join([*shown, file])


def says(folder: str, names: set[str]) -> bool:
    """Is a folder called by one of the names, however it is written?"""
    return re.sub(r"[-_ ]", "", folder.lower()) in names


def is_healthy(name: str) -> bool:
    """Does a class of this name have no finding? Then its images need no masks."""
    return normal(name) in [*HEALTHY, normal(MASKED[0])]


def is_finding(classes: Sequence[str], name: str) -> bool:
    """Is a class something to be found? The second of two is; of more, all but a healthy first one."""
    return name != classes[0] or (len(classes) > 2 and not is_healthy(name))


def ordered(names: set[str]) -> tuple[str, ...]:
    """Classes as one reads them: healthy names first (see `HEALTHY`, `HARMLESS`), the others as they sort."""
    first = [*HEALTHY, *HARMLESS]

    def key(name: str) -> tuple[int, list[tuple[int, str]], str]:
        rank = first.index(normal(name)) if normal(name) in first else len(first)
        return rank, [(int(digits or -1), text) for digits, text in re.findall(r"(\d{1,18})|(\D+)", name.lower())], name

    return tuple(sorted(names, key=key))
