"""Labelled frames, one's own or rendered, in parts for training, choosing and judging."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib

from shared.errors import DataError, Finding, UserError
from usecases.lane_detection import checks, formats, images, simulator, splits
from usecases.lane_detection.config import LaneConfig, Simulation
from usecases.lane_detection.images import Look
from usecases.lane_detection.lanes import Frame

SIMULATED = "simulated"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Rendered:
    """Frames of one seed from `start` on, rendered whenever they are gone through."""

    seed: int
    start: int
    count: int
    width: int
    height: int

    def __len__(self) -> int:
        return self.count

    def jobs(self) -> Iterator[Callable[[], Frame]]:
        for index in range(self.start, self.start + self.count):
            yield partial(self._render, index)

    def _render(self, index: int) -> Frame:
        scene = simulator.render(self.seed, index, self.width, self.height)
        return Frame(f"simulated-{index}", scene.image, scene.lines, f"simulated-{index}", scene.about, camera=scene.camera)


@dataclass(frozen=True)
class Given:
    """One's own frames, read whenever they are gone through."""

    frames: list[Frame]

    def __len__(self) -> int:
        return len(self.frames)

    def jobs(self) -> Iterator[Callable[[], Frame]]:
        for frame in self.frames:  # a worker that was started before may stand in another folder
            image = frame.image.absolute() if isinstance(frame.image, Path) else frame.image
            yield partial(_with_image, replace(frame, image=image))


@dataclass(frozen=True)
class Part:
    """Frames with their images, in a fixed order; prepared by as many processes as there are `threads`, a few at a time."""

    sources: tuple[Rendered | Given, ...]
    threads: int = 1

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __iter__(self) -> Iterator[Frame]:
        return joblib.Parallel(self.threads, return_as="generator", pre_dispatch="4*n_jobs")(
            joblib.delayed(job)() for source in self.sources for job in source.jobs()
        )


@dataclass(frozen=True)
class Lanes:
    """The data of a run.

    Attributes:
        train, validation, test: frames with labels.
        about: what metrics.json says of the data.
        findings: what `check` found, none of them an error.
        known: hashes of the files that are trained or chosen on, by which a later `evaluate` leaves them out.
    """

    train: Part
    validation: Part
    test: Part
    about: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


def load(config: LaneConfig, threads: int) -> Lanes:
    """The frames that the configuration names, split.

    Raises:
        DataError: they cannot be used; it lists every fault.
    """
    settings = config.data
    if settings.source == SIMULATED:
        rendered = simulated(_share(settings.simulation, config.train_share), config.seed)
        about = {"name": SIMULATED, "simulated": True, "frames": _counts(rendered)}
        train, validation, test = (Part((part,), threads) for part in rendered)
        return Lanes(train, validation, test, about)
    source, findings, looks = inspect(config, training=True)
    labelled = [frame for frame in source.frames if frame.lines is not None]
    prints = {name: one.print for name, one in looks.items()}
    parts = splits.split(labelled, config.split.validation, config.split.test, config.seed, prints, config.train_share)
    findings += _sound(checks.check_parts(dict(zip(PARTS, parts, strict=True)), settings.source, prints))
    own = [Given(part) for part in parts]
    known = sorted({looks[frame.name].digest for part in parts[:2] for frame in part})
    beside = simulated(_share(settings.simulation, config.train_share), config.seed)[:1] if settings.simulated_too else ()
    about = {
        "name": Path(settings.source).name,
        "simulated": False,
        "layout": source.layout,
        "frames": {**_counts(own), "simulated": sum(map(len, beside))},
        "clips": len({frame.clip for frame in labelled}),
    }
    given = Part((*beside, own[0]), threads), Part((own[1],), threads), Part((own[2],), threads)
    return Lanes(*given, about, findings, known)


def all_of(config: LaneConfig, threads: int, known: Collection[str] = ()) -> Lanes:
    """All labelled frames that the configuration names, to judge a model on, but for those that it was trained or chosen on.

    Args:
        known: `Lanes.known` of the model's training.

    Raises:
        DataError: as `load`.
        UserError: no frame is left.
    """
    source, findings, looks = inspect(config, training=False)
    labelled = [frame for frame in source.frames if frame.lines is not None]
    new = [frame for frame in labelled if looks[frame.name].digest not in known]
    if not new:
        raise UserError(
            f"The model was trained on all {len(labelled)} labelled frames of {config.data.source}: judged on them it would look "
            "better than it is. Give other frames with --data."
        )
    about = {
        "name": Path(config.data.source).name,
        "simulated": False,
        "layout": source.layout,
        "frames": {"test": len(new), "left out": len(labelled) - len(new)},
    }
    return Lanes(Part(()), Part(()), Part((Given(new),), threads), about, findings)


def _share(settings: Simulation, share: float) -> Simulation:
    """With the first of the frames to train on alone."""
    return settings.model_copy(update={"frames": round(share * settings.frames)})


def _counts(parts: Sequence[Rendered | Given]) -> dict[str, int]:
    return dict(zip(PARTS, map(len, parts), strict=True))


def simulated(settings: Simulation, seed: int) -> tuple[Rendered, Rendered, Rendered]:
    """Training, validation and test frames, each of their own worlds; those for judging are the same for every seed."""
    size = settings.width, settings.height
    return (
        Rendered(1000 + seed, 0, settings.frames, *size),
        Rendered(1, 0, settings.validation, *size),
        Rendered(2, 0, settings.test, *size),
    )


def inspect(config: LaneConfig, training: bool) -> tuple[formats.Source, list[Finding], dict[str, Look]]:
    """One's own frames, what is found about them, and what was seen of each image, by the frame's name.

    Raises:
        DataError: they cannot be used; it lists every fault.
    """
    settings = config.data
    source = formats.inspect(Path(settings.source), settings.layout, settings.names)
    findings, looks = checks.looked_at(source.frames, settings.source, training)
    return source, _sound([*source.findings, *findings]), looks


def _sound(findings: list[Finding]) -> list[Finding]:
    """The findings, if none of them is an error."""
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise DataError(errors)
    return findings


def check(config: LaneConfig) -> list[Finding]:
    """Every mismatch of the data at once."""
    if config.data.source == SIMULATED:
        return []
    return checks.check(Path(config.data.source), config.data.layout, config.data.names)


def _with_image(frame: Frame) -> Frame:
    return replace(frame, image=images.colour(frame))
