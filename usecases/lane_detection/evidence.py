"""How good methods are on labelled frames: every frame is looked at once, by all methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np

from shared.evaluation.intervals import Bootstrap, bootstrap_groups
from usecases.lane_detection import metrics
from usecases.lane_detection.formats import sampled
from usecases.lane_detection.lanes import Frame, Line, scaled
from usecases.lane_detection.metrics import Accuracy, Hits, Lateral, Matched
from usecases.lane_detection.tracking import Detected

Method = Callable[[Sequence[np.ndarray]], list[list[Detected]]]
WIDTH = 1280  # columns of the image in whose pixels the metrics are, whatever the image's own size
TOP, STEP = 0.22, 10  # rows are judged from this share of the height on, every so many pixels
AT_ONCE = 16
SMALL = 480  # columns of the images kept for the report
HEADLINE = "accuracy"
SMALLEST_SLICE = 10  # frames


@dataclass(frozen=True)
class Seen:
    """What is kept of a judged frame."""

    name: str
    clip: str
    about: Mapping[str, Any]
    small: np.ndarray  # JPEG, for the report
    size: tuple[int, int]
    lines: tuple[Line, ...]


@dataclass
class Judged:
    """One method on all frames; lists have an entry for each frame."""

    accuracy: list[Accuracy] = field(default_factory=list)
    hits: list[Hits] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    lateral: list[Lateral] = field(default_factory=list)
    matched: list[Matched] = field(default_factory=list)
    found: list[list[Detected]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, frame: Frame, image: np.ndarray, found: list[Detected], milliseconds: float) -> None:
        rows, truth, ours = (
            judged_rows(frame, image),
            in_width(frame.lines or (), image),
            in_width([d.line for d in found], image),
        )
        height = round(image.shape[0] * WIDTH / image.shape[1])
        given, labelled = (sampled(lines, rows.tolist(), WIDTH) for lines in (ours, truth))
        self.accuracy.append(metrics.tusimple(given, labelled, rows))
        self.hits.append(metrics.culane(ours, truth, WIDTH, height, (0.5,)))
        self.labels.append(len(truth))
        camera = frame.camera and frame.camera.resized(WIDTH, height)
        self.lateral.append(metrics.lateral_error(ours, truth, rows, WIDTH, height, camera))
        self.matched.append(metrics.matched(given, np.array([d.confidence for d in found]), labelled, rows))
        self.found.append(found)
        self.milliseconds.append(milliseconds)

    def statistics(self) -> dict[str, Callable[[np.ndarray], float]]:
        """Metric name to a function of the frames' weights."""
        labelled = np.array(self.labels) > 0  # TuSimple gives nothing for frames without lines; these count in F1
        scores = np.array([[one.accuracy, one.fp, one.fn] for one in self.accuracy])
        frames = np.repeat(np.arange(len(self.matched)), [len(one.confidence) for one in self.matched])

        def mean(place: int) -> Callable[[np.ndarray], float]:
            return lambda weights: float(np.average(scores[labelled, place], weights=weights[labelled] + 1e-12))

        made: dict[str, Callable[[np.ndarray], float]] = {"accuracy": mean(0), "fp": mean(1), "fn": mean(2)}
        made["f1"] = lambda weights: float(metrics.f1(self.hits, weights)[0])
        for name, errors in (
            ("lateral_px", [one.pixels for one in self.lateral]),
            ("lateral_m", [one.metres for one in self.lateral]),
        ):
            known = np.array([np.nan if error is None else _mean_size(error) for error in errors])
            if np.isfinite(known).any():
                made[name] = partial(_average, known)
        if len(frames):
            calibration = metrics.calibration(self.matched)
            made["ece"] = lambda weights: calibration.ece(weights[frames])
        return made


def _mean_size(errors: np.ndarray) -> float:
    known = np.abs(errors[np.isfinite(errors)])
    return float(known.mean()) if len(known) else np.nan


def _average(values: np.ndarray, weights: np.ndarray) -> float:
    """Of the frames where the value is known."""
    known = np.isfinite(values)
    return float(np.average(values[known], weights=weights[known] + 1e-12))


def judge(
    frames: Iterable[Frame], methods: Mapping[str, Method], tell: Callable[[int], None] | None = None
) -> tuple[list[Seen], dict[str, Judged]]:
    """Every method on every labelled frame."""
    seen, judged = [], {name: Judged() for name in methods}
    for frame in frames:
        image = frame.image
        assert isinstance(image, np.ndarray)
        for name, method in methods.items():
            begun = time.perf_counter()
            found = method([image])[0]
            judged[name].add(frame, image, found, 1000 * (time.perf_counter() - begun))
        small = cv2.resize(image, (SMALL, round(SMALL * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        about = {**metrics.described(frame.lines or ()), **frame.about}
        seen.append(Seen(frame.name, frame.clip or frame.name, about, jpeg, image.shape[1::-1], tuple(frame.lines or ())))
        if tell:
            tell(1)
    return seen, judged


def bootstrap(seen: Sequence[Seen], judged: Mapping[str, Judged]) -> Bootstrap:
    """All metrics of all methods in the same resamples of clips; names are `metric method`."""
    clips = np.array([frame.clip for frame in seen])
    statistics = {f"{metric} {name}": one for name, own in judged.items() for metric, one in own.statistics().items()}
    return bootstrap_groups(clips, statistics)


def judged_rows(frame: Frame, image: np.ndarray) -> np.ndarray:
    """The rows at which a frame is judged, pixels of an image that is `WIDTH` wide."""
    factor = WIDTH / image.shape[1]
    if frame.rows:
        return np.array(frame.rows) * factor
    height = image.shape[0] * factor
    return np.arange(np.ceil(TOP * height / STEP) * STEP, height, STEP)


def in_width(lines: Iterable[Line], image: np.ndarray) -> tuple[Line, ...]:
    """Lines as in an image that is `WIDTH` wide."""
    factor = WIDTH / image.shape[1]
    return scaled(list(lines), factor, factor)


def summarise(seen: Sequence[Seen], judged: Mapping[str, Judged], ours: str, other: str, simple: str) -> dict[str, Any]:
    """The numbers for metrics.json.

    Args:
        ours: the method that is used; `other`: the one beside it.
        simple: whichever of these is the baseline.
    """
    draws = bootstrap(seen, judged)
    found = {name: [key.removesuffix(f" {name}") for key in draws.values if key.endswith(f" {name}")] for name in judged}
    common = [metric for metric in found[ours] if metric in found[other]]
    tables = {name: {m: draws.interval(f"{m} {name}").as_dict() for m in common} for name in judged}
    empty = np.array(judged[ours].labels) == 0
    invented = {
        name: sum(bool(lines) for lines, none in zip(one.found, empty, strict=True) if none) for name, one in judged.items()
    }
    result: dict[str, Any] = {
        "usecase": "lane_detection",
        "headline": HEADLINE,
        "name": ours,
        "model": tables[ours],
        "baselines": {other: tables[other]} if other == simple else {},
        "parts": {} if other == simple else {other: tables[other]},
        "best_baseline": other if other == simple else None,
        "differences": {other: {m: draws.difference(f"{m} {ours}", f"{m} {other}").as_dict() for m in common}},
        "intervals": f"95%, bootstrap over {len({frame.clip for frame in seen}):,} clips",
        "without_lines": {"frames": int(empty.sum()), **invented},
        "slices": _slices(seen, judged, ours, other),
    }
    return {**result, "conclusion": conclude(result, ours, other)}


def _slices(seen: Sequence[Seen], judged: Mapping[str, Judged], ours: str, other: str) -> list[dict[str, Any]]:
    found = []
    for name, places in metrics.slices([frame.about for frame in seen]).items():
        places = places[np.array(judged[ours].labels)[places] > 0]
        if len(places) >= SMALLEST_SLICE:
            mean, beside = (metrics.mean([judged[method].accuracy[place] for place in places]) for method in (ours, other))
            entry = {"slice": name, "frames": len(places), "accuracy": mean.accuracy, "fp": mean.fp, "fn": mean.fn}
            found.append(entry | {"baseline_accuracy": beside.accuracy})
    return found


def conclude(result: Mapping[str, Any], ours: str, other: str) -> str:
    """The sentence to remember."""
    mine, theirs = result["model"], {**result["baselines"], **result["parts"]}[other]
    gap = result["differences"][other][HEADLINE]
    verdict = "finds more than" if gap["low"] > 0 else "finds less than" if gap["high"] < 0 else "does about as well as"
    return (
        f"The {ours} {verdict} the {other}: accuracy {mine['accuracy']['value']:.3f} against {theirs['accuracy']['value']:.3f}; "
        f"{mine['fp']['value']:.1%} of its lines are wrong, and {mine['fn']['value']:.1%} of the labelled lines are missed."
    )
