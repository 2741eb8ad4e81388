"""How good methods are on labelled frames: every frame is looked at once, by all methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np

from shared.evaluation.intervals import Interval, bootstrap_groups, t_mean
from usecases.lane_detection import metrics
from usecases.lane_detection.formats import sampled
from usecases.lane_detection.lanes import Frame, Line, scaled
from usecases.lane_detection.metrics import Accuracy, Hits, Lateral, Matched
from usecases.lane_detection.tracking import Detected

Method = Callable[[Sequence[np.ndarray]], list[list[Detected]]]
WIDTH = 1280  # columns of the image in whose pixels the metrics are, whatever the image's own size
TOP, STEP = 0.22, 10  # rows are judged from this share of the height on, every so many pixels
SMALL = 480  # columns of the images kept for the report
SMALLEST_SLICE = 10  # frames
FEW = 20  # clips, below which a percentile bootstrap is too narrow
ORDER = ("accuracy", "fp", "fn", "f1", "invented", "ego_found", "lateral_px", "lateral_m", "ece")
SHARES = ("accuracy", "fp", "fn", "invented", "ego_found")  # means over frames that lie from 0 to 1


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

    def add(self, frame: Frame, image: np.ndarray, found: list[Detected]) -> None:
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

    def by_frame(self) -> dict[str, np.ndarray]:
        """Metrics that are means over frames: name to [frames], NaN where the frame has none."""
        empty = np.array(self.labels) == 0  # TuSimple gives nothing for frames without lines; these count in F1
        scores = np.array([[one.accuracy, one.fp, one.fn] for one in self.accuracy]).reshape(-1, 3)
        table = dict(zip(("accuracy", "fp", "fn"), np.where(empty, np.nan, scores.T), strict=True))
        table["invented"] = np.where(empty, [bool(lines) for lines in self.found], np.nan)
        table["ego_found"] = np.array(
            [one.found.sum() / one.labelled.sum() if one.labelled.any() else np.nan for one in self.lateral]
        )
        table["lateral_px"] = np.array([_mean_size(one.pixels) for one in self.lateral])
        table["lateral_m"] = np.array([_mean_size(one.metres) for one in self.lateral])
        return {name: values for name, values in table.items() if np.isfinite(values).any()}

    def ratio(self, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Of a share or F1: [frames] what is above, and [frames] what is below the line; None for other metrics."""
        if metric == "f1":
            tp, fp, fn = (np.array([getattr(one, name)[0] for one in self.hits]) for name in ("tp", "fp", "fn"))
            return 2 * tp, 2 * tp + fp + fn
        if metric not in SHARES:
            return None
        values = self.by_frame()[metric]
        return np.nan_to_num(values), np.isfinite(values)

    def statistics(self) -> dict[str, Callable[[np.ndarray], float]]:
        """Metric name to a function of the frames' weights; it is nan where no frame that has the metric has any weight."""
        made: dict[str, Callable[[np.ndarray], float]] = {
            name: partial(average, values) for name, values in self.by_frame().items()
        }
        made["f1"] = lambda weights: float(metrics.f1(self.hits, weights)[0])
        frames = np.repeat(np.arange(len(self.matched)), [len(one.confidence) for one in self.matched])
        if len(frames):
            calibration = metrics.calibration(self.matched)
            made["ece"] = lambda weights: calibration.ece(weights[frames]) if weights[frames].any() else np.nan
        return {name: made[name] for name in ORDER if name in made}


def _mean_size(errors: np.ndarray | None) -> float:
    known = np.zeros(0) if errors is None else np.abs(errors[np.isfinite(errors)])
    return float(known.mean()) if len(known) else np.nan


def average(values: np.ndarray, weights: np.ndarray) -> float:
    """Of the frames where the value is known."""
    known = np.isfinite(values)
    return float(np.average(values[known], weights=weights[known])) if weights[known].any() else np.nan


def judge(
    frames: Iterable[Frame], methods: Mapping[str, Method], tell: Callable[[int], None] | None = None
) -> tuple[list[Seen], dict[str, Judged]]:
    """Every method on every labelled frame."""
    seen, judged = [], {name: Judged() for name in methods}
    for frame in frames:
        image = frame.image
        assert isinstance(image, np.ndarray)
        for name, method in methods.items():
            judged[name].add(frame, image, method([image])[0])
        small = cv2.resize(image, (SMALL, round(SMALL * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        about = {**metrics.described(frame.lines or ()), **frame.about}
        seen.append(Seen(frame.name, frame.clip or frame.name, about, jpeg, image.shape[1::-1], tuple(frame.lines or ())))
        if tell:
            tell(1)
    return seen, judged


class Intervals:
    """Of the methods' metrics, over clips: in the same resamples for all; for shares and F1 of few clips Student's t."""

    def __init__(self, seen: Sequence[Seen], judged: Mapping[str, Judged]) -> None:
        self.names = {name: list(own.statistics()) for name, own in judged.items()}
        statistics = {f"{metric} {name}": one for name, own in judged.items() for metric, one in own.statistics().items()}
        clips = [frame.clip for frame in seen]
        self.draws = bootstrap_groups(np.array(clips), statistics)
        self.clips = np.unique(clips, return_inverse=True)[1]
        self.judged = judged

    def of(self, metric: str, name: str) -> Interval:
        values = self._by_clip(metric, name)
        return self.draws.interval(f"{metric} {name}") if values is None else t_mean(values, low=0.0, high=1.0)

    def between(self, metric: str, name: str, other: str) -> Interval:
        """Paired: the first method's minus the other's."""
        values, others = self._by_clip(metric, name), self._by_clip(metric, other)
        if values is None or others is None:
            return self.draws.difference(f"{metric} {name}", f"{metric} {other}")
        return t_mean(values - others, low=-1.0, high=1.0)

    def _by_clip(self, metric: str, name: str) -> np.ndarray | None:
        """[clips that have it] values whose mean is the metric; None where it is neither a share nor F1, or the clips are many.

        The metric is a ratio of sums over clips: each gives its part of it, linearised (Cochran 1977, section 6.4).
        """
        ratio = self.judged[name].ratio(metric)
        if ratio is None:
            return None
        above, below = (np.bincount(self.clips, part) for part in ratio)
        there = (below > 0) | (metric == "f1")  # F1 counts what is found, too: other clips with every method
        if there.sum() >= FEW or not below.any():
            return None
        value = above.sum() / below.sum()
        return value + (above - value * below)[there] / below[there].mean()


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
    intervals = Intervals(seen, judged)
    both = [metric for metric in intervals.names[ours] if metric in intervals.names[other]]
    tables = {name: {metric: intervals.of(metric, name).as_dict() for metric in both} for name in judged}
    empty = np.array(judged[ours].labels) == 0
    invented = {
        name: sum(bool(lines) for lines, none in zip(one.found, empty, strict=True) if none) for name, one in judged.items()
    }
    clips = len({frame.clip for frame in seen})
    result: dict[str, Any] = {
        "usecase": "lane_detection",
        "headline": both[0],
        "name": ours,
        "model": tables[ours],
        "baselines": {other: tables[other]} if other == simple else {},
        "parts": {} if other == simple else {other: tables[other]},
        "best_baseline": other if other == simple else None,
        "alone": {
            name: {metric: intervals.of(metric, name).as_dict() for metric in intervals.names[name] if metric not in both}
            for name in judged
        },
        "differences": {other: {metric: intervals.between(metric, ours, other).as_dict() for metric in both}},
        "intervals": f"95%, bootstrap over {counted(clips, 'clip')}; Student's t for shares and F1 in fewer than {FEW} clips",
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
    gap = result["differences"][other]["f1"]
    verdict = "is better than" if gap["low"] > 0 else "is worse than" if gap["high"] < 0 else "is about as good as"
    told = f"By F1 the {ours} {verdict} the {other}: {mine['f1']['value']:.3f} against {theirs['f1']['value']:.3f}"
    if "accuracy" in mine:
        told += f", accuracy {mine['accuracy']['value']:.3f} against {theirs['accuracy']['value']:.3f}"
        told += f". {mine['fp']['value']:.1%} of its lines are wrong, {mine['fn']['value']:.1%} of the labelled lines are missed"
    return f"{told}. {inventions(result, ours, other)}".strip()


def inventions(result: Mapping[str, Any], ours: str, other: str) -> str:
    """A sentence on lines that were reported where there are none; empty where every frame has some."""
    empty = result["without_lines"]
    if not empty["frames"]:
        return ""
    frames = counted(empty["frames"], "frame")
    return f"Of {frames} without any line, lines were reported in {empty[ours]} by the {ours}, in {empty[other]} by the {other}."


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
