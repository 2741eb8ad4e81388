"""What is wrong with labelled images: every fault at once, with examples and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared.data import images
from shared.errors import SHOWN, Collector, Finding, Severity
from usecases.medical_imaging import anonymous, confounders
from usecases.medical_imaging.cases import Case
from usecases.medical_imaging.items import is_healthy
from usecases.medical_imaging.prepare import Seen, file_of, placeholder
from usecases.medical_imaging.splits import PARTS, VALIDATION, units

# Measured: copies of one image (JPEG, half size, another brightness) lie up to 1.5 apart; slices of one brain 1 mm apart 1 to 3,
# 5 mm apart 4 to 18; different patients' brains (JPEG) from 9.2 on, with hashes at least 10 apart; different chest X-rays of
# 28 pixels from 7.6 on.
NEAR = 7.0  # distance of prints of 32 x 32 pixels; see `shared.data.images.alike`
NEAR_HASH = 10  # bits of 64
EMPTY = 2 * NEAR  # mean of a print's sizes, below which so little is on an image that any two would be near; most have 40
LARGEST = 200  # images that those which are nearly the same may join: such links are no proof, and go on from image to image
PERSON = 20  # images as many as which a known patient counts there
FEWEST = 30  # images of a class
FEWEST_UNITS = 10  # patients of a class
CONFOUNDED = 0.6  # AUC from facts about the files, from which on they matter
UNTOLD = 0.7  # upper limit of that AUC, from which on they may well matter
SMALLEST = 8  # pixels in height and width, below which nothing can be seen
ODD = 0.1  # share of files up to which those with colour, or those without, are odd ones
MANY = 10  # classes, beyond which they are not listed one by one
UNUSABLE = 0.5  # share of images that cannot be used, from which on something else is wrong


class Pairs(NamedTuple):
    """Places of images that are the same or nearly so: int64 [pairs, 2], the lower first.

    Attributes:
        linked: those that are never divided.
        refused: those nearly the same that would join more than `LARGEST` images.
    """

    linked: np.ndarray
    refused: np.ndarray


def pairs(seen: Sequence[Seen]) -> Pairs:
    """Images that are the same or nearly so."""
    first: dict[str, int] = {}
    digests = [one.case.digest for one in seen]
    same = [(first[one], place) for place, one in enumerate(digests) if one and first.setdefault(one, place) < place]
    prints = [one.print if one.print is not None and np.abs(one.print[1]).mean() >= EMPTY else None for one in seen]
    known = images.collected(prints)
    near = images.alike(known, hash_distance=NEAR_HASH, thumb_distance=NEAR)
    apart = np.array([np.abs(known.thumbs[one] - known.thumbs[other]).mean() for one, other in near])
    near, refused = _bounded(near[np.argsort(apart, kind="stable")], [one.case.patient for one in seen])
    return Pairs(np.unique(np.concatenate([np.array(same, np.int64).reshape(-1, 2), near]), axis=0), refused)


def _bounded(near: np.ndarray, patients: Sequence[str]) -> Pairs:
    """The links, closest first, without those that would join more than `LARGEST` images."""
    group = units(patients, np.zeros((0, 2), np.int64))
    size = {int(one): PERSON if patient else 1 for one, patient in zip(group, patients, strict=True)}
    parent = {one: one for one in size}

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    kept, refused = [], []
    for pair in near:
        a, b = (root(int(group[place])) for place in pair)
        if a != b:
            if size[a] + size[b] > LARGEST:
                refused.append(pair)
                continue
            parent[a] = b
            size[b] += size[a]
        kept.append(pair)
    return Pairs(np.array(kept, np.int64).reshape(-1, 2), np.array(refused, np.int64).reshape(-1, 2))


def check(seen: Sequence[Seen], parts: Sequence[str], classes: Sequence[str], alike: Pairs, where: str) -> list[Finding]:
    """Faults of images that were looked at.

    Args:
        parts: the split that the data set came with, "" where none.
        alike: see `pairs`.
        where: the source, for messages.

    Returns:
        findings, errors first; none for data without faults.
    """
    faults = Collector(where)
    _unreadable(seen, faults)
    _masks(seen, classes, faults)
    unit = units([one.case.patient for one in seen], alike.linked)
    _counts(seen, classes, faults)
    _empty(seen, faults)
    _colours(seen, faults)
    _classes(seen, classes, unit, faults)
    _copies(seen, parts, alike.linked, faults)
    _divided(seen, alike.refused, unit, faults)
    _patients(seen, parts, faults)
    _exposed(seen, faults)
    _confounders(seen, unit, faults)
    return faults.findings


def lacking(labels: np.ndarray, parts: np.ndarray, classes: Sequence[str], where: str) -> list[Finding]:
    """Classes that a part of the split has no image of.

    Args:
        labels: int [images]. parts: [images], as they are used.
    """
    faults = Collector(where)
    for part in PARTS:
        for label, name in enumerate(classes):
            if label in labels[parts == part]:
                continue
            what = f"class '{name}' has no image in the {part} part of the split"
            if part == VALIDATION:
                fix = "Move patients there: what is chosen on validation, as the operating point is, is not chosen for this class"
                faults.add("warning", what, fix)
            else:
                fix = "Move patients there, or give images without a split or in cross-validation (split.folds), which keeps none"
                faults.add("error", what, fix)
    return faults.findings


def _unreadable(seen: Sequence[Seen], faults: Collector) -> None:
    failed = [one for one in seen if one.error]
    files = Counter(file_of(one.case) for one in seen)  # a file may hold thousands
    for one in failed:
        fix = "Give the file again as it was exported, or remove it; the image was left out"
        if one.error.startswith("a mask"):
            fix = "Mend it (a mask is drawn on the image as it is) or remove it; the image was left out"
        single = files[file_of(one.case)] == 1  # images of one file are of one row, and are counted
        row = one.case.row if single else 0
        faults.add("warning", one.error, fix, one.case.name, row, left_out=_without(one.case, files))
    if failed and sum(1 / files[file_of(one.case)] for one in failed) >= UNUSABLE * len(files):
        fix = "Look at one of them: probably all have the same fault"
        what = f"{len(failed):,} of {len(seen):,} images cannot be used"
        faults.add("error", what, fix, [one.case.name for one in failed], count=len(failed))


def _without(case: Case, files: Mapping[str, int]) -> bool | list[tuple[Path, int]]:
    """What of a data set is left out for an image: its row in a table, else its file and masks, unless these hold others."""
    if files[file_of(case)] > 1:
        return False
    return bool(case.row) or [(file, 0) for file in case.files]


def _counts(seen: Sequence[Seen], classes: Sequence[str], faults: Collector) -> None:
    usable = [one.case for one in seen if not one.error]
    files, patients = len({file_of(case) for case in usable}), len({case.patient for case in usable if case.patient})
    counts = [sum(case.label == label for case in usable) for label in range(len(classes))]
    each = ", ".join(f"{count:,} of '{name}'" for count, name in zip(counts, classes, strict=True))
    if len(classes) > MANY:
        each = f"{min(counts):,} to {max(counts):,} of each of {len(classes):,} classes"
    people = f" of {patients:,} patient(s)" if patients else ""
    what = f"{len(usable):,} image(s) in {files:,} file(s){people}: {each or 'no classes'}"
    faults.add("info", what, "Compare it with what you meant to give", count=len(usable))


def _empty(seen: Sequence[Seen], faults: Collector) -> None:
    """Files in which nothing can be seen. Of a volume the slices at the ends may be black."""
    shown = {file_of(one.case) for one in seen if one.case.digest or one.error}
    for one in seen:
        if one.error:
            continue
        if min(one.shape) < SMALLEST:
            what = f"an image of fewer than {SMALLEST} pixels in height or width"
            faults.add("warning", what, "Give it as large as it was taken, or remove it", one.case.name, one.case.row)
        elif file_of(one.case) not in shown:
            fix = "Remove it, unless it is a slice at the end of a volume"
            faults.add("warning", "an image that shows nothing: all of it is equally bright", fix, one.case.name, one.case.row)


def _colours(seen: Sequence[Seen], faults: Collector) -> None:
    files = {file_of(one.case): one for one in seen if one.case.digest}
    for colour, usual in (("colour", "grey"), ("grey", "colour")):
        odd = [one for one in files.values() if one.case.about["colour"] == colour]
        if len(odd) <= ODD * len(files):
            for one in odd:
                fix = f"Look whether it belongs there; all others are in {usual}"
                what = f"an image in {colour} among {len(files) - len(odd):,} in {usual}"
                faults.add("warning", what, fix, one.case.name, one.case.row)


def _masks(seen: Sequence[Seen], classes: Sequence[str], faults: Collector) -> None:
    without = 0
    for one in seen:
        name, label = one.case.name, one.case.label
        if one.error:
            continue
        if one.outlined is None:
            without += 1
        elif one.outlined and label == 0 and is_healthy(classes[0]):
            fix = "Correct the label or the mask"
            faults.add("warning", f"a mask that marks something on an image of class '{classes[0]}'", fix, name)
        elif not one.outlined and label == len(classes) - 1 and len(classes) > 1:
            fix = "Correct the label or the mask"
            faults.add("warning", f"an empty mask on an image of class '{classes[-1]}'", fix, name)
    if 0 < without < sum(not one.error for one in seen):
        fix = "Give masks to all; an empty one where nothing is to be seen. Without them no outlines are learnt"
        what, names = f"{without:,} of {len(seen):,} images have no mask", [one.case.name for one in seen if one.outlined is None]
        faults.add("warning", what, fix, names, count=without)


def _classes(seen: Sequence[Seen], classes: Sequence[str], unit: np.ndarray, faults: Collector) -> None:
    labels = np.array([-1 if one.error or one.case.label is None else one.case.label for one in seen], np.int64)
    usable = [one.case for one in seen if not one.error]
    unnamed = sum(not case.patient for case in usable)
    known = unnamed < len(usable)
    if not (labels >= 0).any():
        return
    none, few = list[str](), list[str]()
    for label, name in enumerate(classes):
        count, groups = int((labels == label).sum()), len(np.unique(unit[labels == label]))
        told = f"class '{name}' has {count} image(s)" + (f" of {groups} patient(s)" if known else "")
        if groups < 3:
            none.append(told if known or count < 3 else f"{told}, all nearly the same")
        elif count < FEWEST or groups < FEWEST_UNITS:
            few.append(told)
    fix = "Give at least 3 patients, better hundreds: one each to train, to choose and to judge"
    if len(classes) > MANY and all(_is_number(name) for name in classes):
        fix = f"Is the column a measurement? Give one of few classes, made from it. {fix}"
    _too_small("error", "", "fewer than 3 images or patients", none, fix, faults)
    fix = "Give more: a model and its numbers say little of so few"
    _too_small("warning", "only few: ", f"fewer than {FEWEST} images or {FEWEST_UNITS} patients", few, fix, faults)
    if unnamed:
        what = f"{unnamed:,} of {len(usable):,} images have no patient" if known else "patients are not known"
        fix = "Name them, as folders in the classes, by data.patient_pattern or in a table: one may be in training and in test"
        names = [case.name for case in usable if not case.patient]
        faults.add("info", what, fix, names, count=unnamed)


def _too_small(severity: Severity, start: str, many: str, told: Sequence[str], fix: str, faults: Collector) -> None:
    """Names classes one by one, or where there are more than `SHOWN`, as one finding.

    Args:
        many: what those of one finding have in common. told: of each class, what it has.
    """
    if len(told) > SHOWN:
        what = f"{len(told):,} classes have {many}"
        faults.given.append(Finding(severity, what, faults.where, fix, len(told), examples=told[:SHOWN]))
        return
    for one in told:
        faults.add(severity, start + one, fix)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _copies(seen: Sequence[Seen], parts: Sequence[str], linked: np.ndarray, faults: Collector) -> None:
    files = Counter(file_of(one.case) for one in seen)
    for one, other in linked:
        a, b = seen[one], seen[other]
        same = a.case.digest == b.case.digest
        how = "the same image" if same else "nearly the same image"
        example = f"{b.case.name} is as {a.case.name}"
        if a.case.label != b.case.label and None not in (a.case.label, b.case.label):
            fix = "Look at both: one may be wrong, or readers disagree, or what tells the classes apart is not on the image"
            faults.add("warning", f"{how} with different labels", fix, example)
        if parts[one] != parts[other]:
            fix = "A test on what was trained on proves nothing: it counts in the later part only"
            first, second = sorted((parts[one], parts[other]), key=("train", "validation", "test", "").index)
            faults.add("warning", f"{how} in {first or 'no part'} and in {second or 'no part'}", fix, example)
        elif same:
            fix = "It stays in one part of the split; better remove one"
            left_out = a.case.label == b.case.label and _without(b.case, files)
            faults.add("info", "the same image twice", fix, example, left_out=left_out)
        elif not a.case.patient or a.case.patient != b.case.patient:
            fix = f"Up to {LARGEST} such images stay together in one part of the split"
            faults.add("info", "nearly the same image twice, not known to be of one patient", fix, example)


def _divided(seen: Sequence[Seen], refused: np.ndarray, unit: np.ndarray, faults: Collector) -> None:
    apart = refused[unit[refused[:, 0]] != unit[refused[:, 1]]]
    if len(apart):
        a, b = (seen[place].case.name for place in apart[0])
        what = f"{len(np.unique(apart)):,} images, too many to keep together, look alike: some may be on both sides of the split"
        fix = "Remove copies, and name patients: else the model may be judged on what is like its training"
        faults.add("warning", what, fix, f"{b} is as {a}", count=len(np.unique(apart)))


def _patients(seen: Sequence[Seen], parts: Sequence[str], faults: Collector) -> None:
    if nobody := placeholder(seen):
        what = "nearly all headers have the same patient's id, of what folders, files or a table tell to be several patients"
        names = [one.case.name for one in seen if one.header == nobody]
        faults.add("warning", what, "It was taken for a placeholder. Correct it if it is not", names, count=len(names))
    where: dict[str, set[str]] = {}
    for one, part in zip(seen, parts, strict=True):
        if one.case.patient and part:
            where.setdefault(one.case.patient, set()).add(part)
    for patient, several in where.items():
        if len(several) > 1:
            fix = "Keep each patient in one part; the images count in the later part only"
            faults.add("warning", f"a patient in {' and in '.join(sorted(several, reverse=True))}", fix, f"pseudonym {patient}")


def _exposed(seen: Sequence[Seen], faults: Collector) -> None:
    for one in seen:
        if anonymous.exposed(one.case.about):
            what = "the header says that text is burnt into the image, but none was found to cover"
            faults.add("warning", what, "Look at it, and cover what may name a patient", one.case.name)


def _confounders(seen: Sequence[Seen], unit: np.ndarray, faults: Collector) -> None:
    rows = [place for place, one in enumerate(seen) if not one.error and one.case.label is not None]
    cases = [seen[place].case for place in rows]
    found = confounders.probe(cases, np.array([case.label for case in cases], np.int64), unit[rows]) if rows else None
    if found is None:
        return
    told = f"AUC {found.auc.value:.2f} [{found.auc.low:.2f}, {found.auc.high:.2f}]; '{found.column}' alone {found.alone:.2f}"
    if found.auc.low > CONFOUNDED:
        fix = (
            "A model may learn where an image comes from instead of what it shows. Take images of all classes from the same "
            "places, exported in the same way, and judge the model on another place's"
        )
        faults.add("warning", f"labels can be guessed from facts about the files, without their pixels: {told}", fix)
    elif found.auc.high > UNTOLD:
        fix = "Give more patients, or compare yourself whether images of all classes come from the same places, in the same way"
        faults.add("info", f"whether labels follow facts about the files cannot be told from so few: {told}", fix)
    else:
        faults.add("info", f"labels do not follow facts about the files: {told}", "Nothing is to be done")
