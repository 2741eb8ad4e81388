"""Labelled images, one's own or simulated, in parts for training, choosing and judging."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shared import hardware
from shared.data import sources
from shared.errors import SHOWN, DataError, Finding, UserError, errors_first
from usecases.medical_imaging import checks, layouts, prepare, simulator, splits
from usecases.medical_imaging.config import SIMULATED, MedicalConfig
from usecases.medical_imaging.items import Source, is_healthy
from usecases.medical_imaging.prepare import Prepared, Seen

OVERVIEW = 64  # pixels; enough to check


@dataclass(frozen=True)
class Cases:
    """The data of a run.

    Attributes:
        train, validation, test: see `Prepared`; no patient is in two of them.
        classes: names of the labels, the finding last.
        masks: whether every image has one.
        about: what metrics.json says of the data.
        findings: what `check` found, none of them an error.
    """

    train: Prepared
    validation: Prepared
    test: Prepared
    classes: tuple[str, ...]
    masks: bool
    about: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)

    @property
    def known(self) -> list[str]:
        """Hashes of the pixels that are trained or chosen on, by which `evaluate` leaves them out; of simulated images none.

        A copy whose pixels differ, as one that was compressed or resized, has another hash.
        """
        if self.about["simulated"]:
            return []
        return sorted({case.digest for part in (self.train, self.validation) for case in part.cases if case.digest})


@dataclass(frozen=True)
class Gathered:
    """One's own images, looked at.

    Attributes:
        everything: images that have a label and could be read.
        parts: [images] of the split that the data set came with.
        unit: [images] which are never divided; see `splits.units`.
    """

    source: Source
    everything: Prepared
    parts: np.ndarray
    unit: np.ndarray
    findings: list[Finding]


def load(config: MedicalConfig, size: int, threads: int) -> Cases:
    """The images that the configuration names, split.

    Args:
        size: of the square that images are brought to, pixels.

    Raises:
        DataError: they cannot be used; it lists every fault.
    """
    if config.data.source == SIMULATED:
        return _simulated(config, size, threads, splits.PARTS)
    found = gather(config, size, threads)
    parts, faults = _parts(found, config)
    _no_errors(faults)
    return _split(replace(found, findings=[*found.findings, *faults]), parts, config)


def folds(config: MedicalConfig, size: int, threads: int) -> Iterator[Cases]:
    """`split.folds` divisions of one's own images; each image is in the test part of one of them. Images are read once.

    A data set's own split is not kept: all its images take part.

    Raises:
        DataError: as `load`.
        UserError: the data is simulated.
    """
    if config.data.source == SIMULATED:
        raise UserError("Cross-validation (split.folds) is for one's own images; simulated ones can be had in any number.")
    found = gather(config, size, threads)
    shares, names = (config.split.folds, config.split.validation), found.source.classes
    for parts in splits.folds(found.everything.labels, found.unit, *shares, config.seed, names):
        yield _split(found, parts, config)


def all_of(config: MedicalConfig, size: int, threads: int, known: Collection[str] = ()) -> Cases:
    """What a trained model can be judged on, as test part: all labelled images but those known to be trained or chosen on.

    Known are images whose pixels are equal, whatever file they lie in. They are left out, and with them the data's other images
    of the same patients and those that are nearly the same. Not recognised are copies whose pixels differ and other images of
    the training's patients, where the data has no equal image beside them. Of a data set with a split of its own the test part,
    if anything of that is left.

    Args:
        known: `Cases.known` of the model's training.

    Raises:
        DataError: as `load`.
        UserError: no image of some class is left.
    """
    if config.data.source == SIMULATED:
        return _simulated(config, size, threads, (splits.TEST,))
    found = gather(config, size, threads)
    seen = np.isin([case.digest for case in found.everything.cases], list(known))
    new = ~np.isin(found.unit, found.unit[seen])
    own_test = new & (found.parts == splits.TEST)
    chosen = own_test if own_test.any() else new
    _judgeable(found, new, chosen, config.data.source)
    cases = _split(found, np.where(chosen, splits.TEST, ""), config)
    return replace(cases, about={**cases.about, "known": int((~new).sum()), "own_test": bool(own_test.any())})


def _judgeable(found: Gathered, new: np.ndarray, chosen: np.ndarray, where: str) -> None:
    """Raises UserError if the `chosen` images are not of all classes. `new`, `chosen`: bool [images], see `all_of`."""
    labels = found.everything.labels[chosen]
    if missing := [name for place, name in enumerate(found.source.classes) if place not in labels]:
        left = f"none is left of class {', '.join(missing)}" if len(labels) else "none is left"
        raise UserError(
            f"Of the {len(new):,} labelled images of {where} the model was trained or chosen on {(~new).sum():,}, or on others "
            f"of the same patients: {left} to judge it by. Give other images with --data. The result of its own test or "
            "cross-validation is in metrics.json."
        )


def check(config: MedicalConfig) -> list[Finding]:
    """Every mismatch of the data at once; never raises for bad data. All images are read."""
    if config.data.source == SIMULATED:
        return []
    threads = hardware.select(config.hardware).threads
    try:
        looked = _looked_at(config, OVERVIEW, threads)
        findings = looked[3]
        if config.split.folds > 1 or any(finding.severity == "error" for finding in findings):
            return findings
        return errors_first([*_parts(_gathered(*looked, OVERVIEW), config)[1], *findings])
    except DataError as error:
        return error.findings
    except (UserError, OSError) as error:
        return [
            Finding(
                "error",
                str(error).rstrip("."),
                config.data.source,
                "Give another file or folder, or say how it is laid out: data.layout",
            )
        ]


def gather(config: MedicalConfig, size: int, threads: int) -> Gathered:
    """Read and check one's own images.

    Raises:
        DataError: they cannot be learnt from; it lists every fault.
    """
    looked = _looked_at(config, size, threads)
    _no_errors(looked[3])
    return _gathered(*looked, size)


def _no_errors(findings: list[Finding]) -> None:
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise DataError(errors)


def _gathered(source: Source, seen: list[Seen], unit: np.ndarray, findings: list[Finding], size: int) -> Gathered:
    usable = [place for place, one in enumerate(seen) if not one.error and one.case.label is not None]
    everything = prepare.stacked([seen[place] for place in usable], size)
    parts = np.array([source.parts[place] for place in usable], dtype="<U10")
    return Gathered(source, everything, parts, np.unique(unit[usable], return_inverse=True)[1], findings)


def _looked_at(config: MedicalConfig, size: int, threads: int) -> tuple[Source, list[Seen], np.ndarray, list[Finding]]:
    """The source, what was seen of each case, which cases are never divided, and all findings."""
    where = config.data.source
    path = sources.locate(where)
    if not isinstance(path, Path):
        raise UserError(f"The data set {where} holds a table, not images.")
    source = layouts.inspect(path, config.data)
    seen = prepare.look_at(source.cases, size, threads)
    prepare.join_patients(seen)
    if source.classes and is_healthy(source.classes[0]):
        prepare.without_findings(seen, 0)
    alike = checks.pairs(seen)
    findings = errors_first([*source.findings, *checks.check(seen, source.parts, source.classes, alike, source.place)])
    unit = splits.units([one.case.patient for one in seen], alike.linked)
    return source, seen, unit, findings


def _parts(found: Gathered, config: MedicalConfig) -> tuple[np.ndarray, list[Finding]]:
    """The part of each image, and what is wrong with them."""
    labels, shares, names = found.everything.labels, (config.split.validation, config.split.test), found.source.classes
    where, faults = config.data.source, list[Finding]()
    try:
        if (found.parts != "").any():
            given, faults = _given(found.parts, [case.name for case in found.everything.cases], where)
            parts = splits.within(labels, found.unit, given.tolist(), *shares, config.seed, names)
        else:
            parts = splits.split(labels, found.unit, *shares, config.seed, names)
    except DataError as error:
        return found.parts, [replace(finding, where=where) for finding in error.findings]
    return parts, [*faults, *checks.lacking(labels, parts, names, where)]


def _given(parts: np.ndarray, names: Sequence[str], where: str) -> tuple[np.ndarray, list[Finding]]:
    """The split that the data came with, in which the unmarked images are those to train on where none is marked so.

    Raises:
        DataError: there are none to train on.
    """
    unmarked = parts == ""
    if not (parts == splits.TRAIN).any():
        if unmarked.any():
            return np.where(unmarked, splits.TRAIN, parts), []
        fix = "Give images to train on, or cross-validate (split.folds), which keeps no split"
        raise DataError([Finding("error", "the data comes with a split, but without any image to train on", where, fix)])
    if not unmarked.any():
        return parts, []
    fix = "They were left out. Mark those that are to be learnt from as train"
    what = f"{unmarked.sum():,} image(s) of no part, where others are marked as train"
    shown = [name for name, left_out in zip(names, unmarked, strict=True) if left_out][:SHOWN]
    return parts, [Finding("warning", what, where, fix, int(unmarked.sum()), examples=shown)]


def _split(found: Gathered, parts: np.ndarray, config: MedicalConfig) -> Cases:
    parts = splits.share(found.everything.labels, found.unit, parts, config.train_share, config.seed)
    train, validation, test = (found.everything.take(np.flatnonzero(parts == part)) for part in splits.PARTS)
    about = {
        "name": Path(config.data.source).name,
        "simulated": False,
        "layout": found.source.layout,
        **_counts(train, validation, test),
        "left_out": int((parts == "").sum()),
        "classes": list(found.source.classes),
    }
    return Cases(
        train,
        validation,
        test,
        found.source.classes,
        all(part.masks is not None for part in (train, validation, test)),
        about,
        found.findings,
    )


def _counts(*parts: Prepared) -> dict[str, dict[str, int]]:
    images = {name: len(part) for name, part in zip(splits.PARTS, parts, strict=True)}
    patients = {name: len({c.patient for c in part.cases if c.patient}) for name, part in zip(splits.PARTS, parts, strict=True)}
    return {"images": images, "patients": patients}


def _simulated(config: MedicalConfig, size: int, threads: int, wanted: Collection[str]) -> Cases:
    """Training, validation and test images, each of their own people; those for judging are the same for every seed.

    Args:
        wanted: the parts to make; others stay empty.
    """
    knobs = config.data.simulation
    people = knobs.patients
    judging = [max(4, round(people * share)) for share in (config.split.validation, config.split.test)]
    counts = [round(people * config.train_share), *judging]
    made = []
    for part, seed, count in zip(splits.PARTS, (1000 + config.seed, 1, 2), counts, strict=True):
        cases = simulator.cases(seed, 0, count if part in wanted else 0, knobs.slices, knobs.ill)
        seen = prepare.look_at(cases, size, threads, processes=threads > 1)
        made.append(prepare.stacked(seen, size))
    about = {"name": SIMULATED, "simulated": True, **_counts(*made), "classes": list(simulator.CLASSES)}
    return Cases(made[0], made[1], made[2], simulator.CLASSES, True, about)
