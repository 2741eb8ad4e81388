"""Labelled images, one's own or simulated, in parts for training, choosing and judging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared import hardware
from shared.data import sources
from shared.errors import DataError, Finding, UserError
from usecases.medical_imaging import checks, layouts, prepare, simulator, splits
from usecases.medical_imaging.config import SIMULATED, MedicalConfig
from usecases.medical_imaging.items import Source, is_healthy
from usecases.medical_imaging.prepare import Prepared, Seen

SIMULATED_CLASSES = ("no lesion", "lesion")
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
        return _simulated(config, size, threads)
    found = gather(config, size, threads)
    return _split(found, _parts(found, config), config)


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
    labels = found.everything.labels
    for parts in splits.folds(labels, found.unit, config.split.folds, config.split.validation, config.seed):
        yield _split(found, parts, config)


def all_of(config: MedicalConfig, size: int, threads: int) -> Cases:
    """All labelled images that the configuration names, as test part, to judge a model on that was trained on others.

    Of a data set with a split of its own only the test part.
    """
    if config.data.source == SIMULATED:
        return load(config, size, threads)
    found = gather(config, size, threads)
    own_test = found.parts == splits.TEST
    parts = np.where(own_test | ~own_test.any(), splits.TEST, "")
    return _split(found, parts, config)


def check(config: MedicalConfig) -> list[Finding]:
    """Every mismatch of the data at once; never raises for bad data. All images are read."""
    if config.data.source == SIMULATED:
        return []
    threads = hardware.select(config.hardware).threads
    try:
        return _looked_at(config, OVERVIEW, threads)[4]
    except DataError as error:
        return error.findings
    except (UserError, OSError) as error:
        return [Finding("error", str(error).rstrip("."), config.data.source, "Give another file or folder, or name its layout")]


def gather(config: MedicalConfig, size: int, threads: int) -> Gathered:
    """Read and check one's own images.

    Raises:
        DataError: they cannot be learnt from; it lists every fault.
    """
    source, seen, given, unit, findings = _looked_at(config, size, threads)
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise DataError(errors)
    usable = [place for place, one in enumerate(seen) if not one.error and one.case.label is not None]
    everything = prepare.packed([seen[place] for place in usable], size)
    parts = np.array([given[place] for place in usable], dtype="<U10")
    return Gathered(source, everything, parts, np.unique(unit[usable], return_inverse=True)[1], findings)


def _looked_at(config: MedicalConfig, size: int, threads: int) -> tuple[Source, list[Seen], list[str], np.ndarray, list[Finding]]:
    where = config.data.source
    path = sources.locate(where)
    if not isinstance(path, Path):
        raise UserError(f"The data set {where} holds a table, not images.")
    source = layouts.inspect(path, config.data)
    seen = prepare.look_at(source.cases, size, threads)
    if source.classes and is_healthy(source.classes[0]):
        prepare.without_findings(seen, 0)
    linked = checks.pairs(seen)
    findings = [*source.findings, *checks.check(seen, source.parts, source.classes, linked, where)]
    unit = splits.units([one.case.patient for one in seen], linked)
    findings.sort(key=lambda finding: ("error", "warning", "info").index(finding.severity))
    return source, seen, source.parts, unit, findings


def _parts(found: Gathered, config: MedicalConfig) -> np.ndarray:
    labels, shares = found.everything.labels, (config.split.validation, config.split.test)
    if (found.parts == splits.TRAIN).any():
        return splits.within(labels, found.unit, found.parts.tolist(), *shares, config.seed)
    return splits.split(labels, found.unit, *shares, config.seed)


def _split(found: Gathered, parts: np.ndarray, config: MedicalConfig) -> Cases:
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


def _simulated(config: MedicalConfig, size: int, threads: int) -> Cases:
    """Training, validation and test images, each of their own people; those for judging are the same for every seed."""
    knobs = config.data.simulation
    people = knobs.patients
    counts = [people, max(4, round(people * config.split.validation)), max(4, round(people * config.split.test))]
    made = []
    for seed, count in zip((1000 + config.seed, 1, 2), counts, strict=True):
        cases = simulator.cases(seed, 0, count, knobs.slices, knobs.ill)
        seen = prepare.look_at(cases, size, threads, processes=threads > 1)
        made.append(prepare.packed(seen, size))
    about = {"name": SIMULATED, "simulated": True, **_counts(*made), "classes": list(SIMULATED_CLASSES)}
    return Cases(made[0], made[1], made[2], SIMULATED_CLASSES, True, about)
