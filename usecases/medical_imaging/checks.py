"""What is wrong with labelled images: every fault at once, with examples and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.data.images import alike, collected
from shared.errors import Finding
from usecases.medical_imaging import confounders
from usecases.medical_imaging.faults import Faults
from usecases.medical_imaging.items import is_healthy
from usecases.medical_imaging.prepare import Seen
from usecases.medical_imaging.splits import units

# Measured: copies of one image (JPEG, half size, another brightness) lie up to 1.5 apart; slices of one brain 1 mm apart 1 to 3,
# 5 mm apart 4 to 18; different patients' brains (JPEG) from 9.2 on, with hashes at least 10 apart; different chest X-rays of
# 28 pixels from 7.6 on.
NEAR = 7.0  # distance of prints of 32 x 32 pixels; see `shared.data.images.alike`
NEAR_HASH = 10  # bits of 64
FEWEST = 30  # images of a class
FEWEST_UNITS = 10  # patients of a class
CONFOUNDED = 0.6  # AUC from facts about the files, from which on they matter
UNUSABLE = 0.5  # share of images that cannot be used, from which on something else is wrong


def pairs(seen: Sequence[Seen]) -> np.ndarray:
    """Places of images that are the same or nearly so: int64 [pairs, 2], the lower first."""
    first: dict[bytes, int] = {}
    same = [
        (first[one.digest], place) for place, one in enumerate(seen) if one.digest and first.setdefault(one.digest, place) < place
    ]
    near = alike(collected([one.print for one in seen]), hash_distance=NEAR_HASH, thumb_distance=NEAR)
    return np.unique(np.concatenate([np.array(same, np.int64).reshape(-1, 2), near]), axis=0)


def check(seen: Sequence[Seen], parts: Sequence[str], classes: Sequence[str], linked: np.ndarray, where: str) -> list[Finding]:
    """Faults of images that were looked at.

    Args:
        parts: the split that the data set came with, "" where none.
        linked: see `pairs`.
        where: the source, for messages.

    Returns:
        findings, errors first; none for data without faults.
    """
    faults = Faults(where)
    _unreadable(seen, faults)
    _masks(seen, classes, faults)
    unit = units([one.case.patient for one in seen], linked)
    _classes(seen, classes, unit, faults)
    _copies(seen, parts, linked, faults)
    _patients(seen, parts, faults)
    _confounders(seen, unit, faults)
    return faults.findings


def _unreadable(seen: Sequence[Seen], faults: Faults) -> None:
    failed = [one for one in seen if one.error]
    for one in failed:
        faults.add("warning", f"an image that cannot be read: {one.error}", "Restore it; it was left out", one.case.name)
    if failed and len(failed) >= UNUSABLE * len(seen):
        fix = "Look at one of them: probably all have the same fault"
        faults.add("error", f"{len(failed):,} of {len(seen):,} images cannot be read", fix)


def _masks(seen: Sequence[Seen], classes: Sequence[str], faults: Faults) -> None:
    without = 0
    for one in seen:
        name, label = one.case.name, one.case.label
        if one.mask_error:
            without += 1
            faults.add("warning", one.mask_error, "Draw it on the image as it is, or remove it", name)
        elif one.outlined is None:
            without += not one.error
        elif one.outlined and label == 0 and is_healthy(classes[0]):
            fix = "Correct the label or the mask"
            faults.add("warning", f"a mask that marks something on an image of class '{classes[0]}'", fix, name)
        elif not one.outlined and label == len(classes) - 1 and len(classes) > 1:
            fix = "Correct the label or the mask"
            faults.add("warning", f"an empty mask on an image of class '{classes[-1]}'", fix, name)
    if 0 < without < sum(not one.error for one in seen):
        fix = "Give masks to all; an empty one where nothing is to be seen. Without them no outlines are learnt"
        faults.add("warning", f"{without:,} of {len(seen):,} images have no mask that can be used", fix)


def _classes(seen: Sequence[Seen], classes: Sequence[str], unit: np.ndarray, faults: Faults) -> None:
    labels = np.array([-1 if one.error or one.case.label is None else one.case.label for one in seen], np.int64)
    known = any(one.case.patient for one in seen)
    if not (labels >= 0).any():
        return
    for label, name in enumerate(classes):
        count, groups = int((labels == label).sum()), len(np.unique(unit[labels == label]))
        told = f"class '{name}' has {count} image(s)" + (f" of {groups} patient(s)" if known else "")
        if groups < 3:
            fix = "Give at least 3 patients, better hundreds: one each to train, to choose and to judge"
            faults.add("error", told if known or count < 3 else f"{told}, all nearly the same", fix)
        elif count < FEWEST or groups < FEWEST_UNITS:
            faults.add("warning", f"only few: {told}", "Give more: a model and its numbers say little of so few")
    if not known:
        fix = "Name them, as folders in the classes, by data.patient_pattern or in a table: one may be in training and in test"
        faults.add("info", "patients are not known", fix)


def _copies(seen: Sequence[Seen], parts: Sequence[str], linked: np.ndarray, faults: Faults) -> None:
    for one, other in linked:
        a, b = seen[one], seen[other]
        how = "the same image" if a.digest == b.digest else "nearly the same image"
        example = f"{b.case.name} is as {a.case.name}"
        if a.case.label != b.case.label and None not in (a.case.label, b.case.label):
            faults.add("warning", f"{how} with different labels", "One of the labels is wrong", example)
        if parts[one] != parts[other]:
            fix = "A test on what was trained on proves nothing: it counts in the later part only"
            first, second = sorted((parts[one], parts[other]), key=("train", "validation", "test", "").index)
            faults.add("warning", f"{how} in {first or 'no part'} and in {second or 'no part'}", fix, example)
        elif a.digest == b.digest:
            faults.add("info", "the same image twice", "It stays in one part of the split; better remove one", example)
        elif not a.case.patient or a.case.patient != b.case.patient:
            fix = "They stay in one part of the split"
            faults.add("info", "nearly the same image twice, not known to be of one patient", fix, example)


def _patients(seen: Sequence[Seen], parts: Sequence[str], faults: Faults) -> None:
    where: dict[str, set[str]] = {}
    for one, part in zip(seen, parts, strict=True):
        if one.case.patient and part:
            where.setdefault(one.case.patient, set()).add(part)
    for patient, several in where.items():
        if len(several) > 1:
            fix = "Keep each patient in one part; the images count in the later part only"
            faults.add("warning", f"a patient in {' and in '.join(sorted(several, reverse=True))}", fix, f"pseudonym {patient}")


def _confounders(seen: Sequence[Seen], unit: np.ndarray, faults: Faults) -> None:
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
    else:
        faults.add("info", f"labels do not clearly follow facts about the files: {told}", "Nothing is to be done")
