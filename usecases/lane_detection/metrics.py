"""How good detected lines are: TuSimple's scores, CULane's F1, lateral error, and whether confidence can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from shared.evaluation.calibration import Calibration
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.formats import sampled
from usecases.lane_detection.lanes import Line

TOLERANCE = 20.0  # pixels, across a line; TuSimple images are 1280 wide
ENOUGH = 0.85  # share of rows right from which on a lane is found
ABSENT = -100.0  # x of a row without a line
MOST_LANES = 4
SPARE_LANES = 2
SLOWEST_MS = 200.0
CULANE_WIDTH, DRAWN_WIDTH = 1640, 30  # pixels of an image and of a drawn line
IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
BEND = 0.03  # sagitta of a line as a share of its length from which on the road is called a curve
MOST_VALUES = 12  # of a slice


@dataclass(frozen=True)
class Accuracy:
    """Of one frame, or the mean over frames: TuSimple's accuracy, and shares of false and of missed lanes."""

    accuracy: float
    fp: float
    fn: float


def right_rows(predicted: np.ndarray, labelled: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Share of rows at which each predicted lane is right for each label: [predicted, labelled].

    Right: nearer than `TOLERANCE` / cos(a), a being the angle of the straight line fitted to the label; or missing in both.

    Args:
        predicted: [p, rows] x in pixels, negative or NaN where the lane is not.
        labelled: [l, rows].
        rows: [rows] pixels.

    Raises:
        ValueError: there are no rows, or not one x for each.
    """
    rows = np.asarray(rows, np.float64)
    given, truth = _absent(predicted, rows.size), _absent(labelled, rows.size)
    tolerance = np.empty(len(truth))
    for place, lane in enumerate(truth):
        there = lane >= 0
        slope = 0.0
        if there.sum() > 1:
            y, x = rows[there] - rows[there].mean(), lane[there] - lane[there].mean()
            slope = float(y @ x / (y @ y))
        tolerance[place] = TOLERANCE / np.cos(np.arctan(slope))
    return (np.abs(given[:, None] - truth[None]) < tolerance[None, :, None]).sum(axis=2) / rows.size


def _absent(lanes: np.ndarray, rows: int) -> np.ndarray:
    lanes = np.asarray(lanes, np.float64)
    lanes = lanes.reshape(0, rows) if lanes.size == 0 and len(lanes) == 0 else lanes
    if rows == 0 or lanes.ndim != 2 or lanes.shape[1] != rows:
        raise ValueError(f"lanes need one x for each of the {rows} rows, and rows: found the shape {lanes.shape}")
    return np.where(lanes >= 0, lanes, ABSENT)


def tusimple(predicted: np.ndarray, labelled: np.ndarray, rows: np.ndarray, run_time_ms: float = 0.0) -> Accuracy:
    """The scores of one frame, as `evaluate/lane.py` of the TuSimple benchmark defines them, its oddities included.

    A label is found where some prediction is right at `ENOUGH` of the rows; two labels may be found by one prediction.
    With more than 4 labels the worst one is left out of the accuracy and one missed label is forgiven. More than labels + 2
    predictions, or more than 200 ms, score 0, 0, 1. A frame without labels has the accuracy 0. Empty labels, with which some
    of TuSimple's files are padded, count if they are passed.

    Args and errors: as `right_rows`.
    """
    shares = right_rows(predicted, labelled, rows)
    lanes, labels = shares.shape
    if run_time_ms > SLOWEST_MS or lanes > labels + SPARE_LANES:
        return Accuracy(0.0, 0.0, 1.0)
    best = shares.max(axis=0, initial=0.0)
    found = int((best >= ENOUGH).sum())
    missed, total = labels - found, float(best.sum())
    if labels > MOST_LANES:
        missed = max(missed - 1, 0)
        total -= float(best.min())
    counted = max(min(labels, MOST_LANES), 1)
    return Accuracy(total / counted, (lanes - found) / lanes if lanes else 0.0, missed / counted)


def mean(scores: Sequence[Accuracy], weights: np.ndarray | None = None) -> Accuracy:
    """TuSimple's scores over frames. `weights`: [frames], as a bootstrap over clips draws them.

    Raises:
        ValueError: there are no frames.
    """
    if not scores:
        raise ValueError("no frames to average")
    table = np.array([[one.accuracy, one.fp, one.fn] for one in scores])
    return Accuracy(*np.average(table, axis=0, weights=weights).tolist())


@dataclass(frozen=True)
class Hits:
    """Of one frame, for each IoU threshold: int [thresholds] lines found, false and missed."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


def culane(predicted: Sequence[Line], labelled: Sequence[Line], width: int, height: int, ious: Sequence[float] = IOUS) -> Hits:
    """Lines found at IoU thresholds, after CULane's scorer (Pan et al. 2018, SCNN, section 4.1).

    Lines are drawn 30 pixels wide at CULane's 1640 x 590, in proportion in other images, and matched one to one so that the
    sum of IoUs is the largest; found are those above the threshold. Unlike the official scorer's, points are joined by
    straight pieces, not by a spline: points a few rows apart make that the same to less than a pixel.

    Args:
        width, height: of the image, pixels.
    """
    overlaps = drawn_iou(predicted, labelled, width, height)
    matched = overlaps[linear_sum_assignment(overlaps, maximize=True)]
    tp = (matched[None] > np.asarray(ious)[:, None]).sum(axis=1)
    return Hits(tp, len(predicted) - tp, len(labelled) - tp)


def drawn_iou(predicted: Sequence[Line], labelled: Sequence[Line], width: int, height: int) -> np.ndarray:
    """IoU of the lines as drawn in the image: [predicted, labelled]; 0 where both are outside of it."""
    thick = max(1, round(DRAWN_WIDTH * width / CULANE_WIDTH))
    ours, theirs = ([_drawn(one, width, height, thick) for one in lines] for lines in (predicted, labelled))
    areas = [[cv2.countNonZero(mask) for mask in masks] for masks in (ours, theirs)]
    overlaps = np.zeros((len(ours), len(theirs)))
    for i, one in enumerate(ours):
        for j, other in enumerate(theirs):
            both = cv2.countNonZero(cv2.bitwise_and(one, other))
            overlaps[i, j] = both / max(areas[0][i] + areas[1][j] - both, 1)
    return overlaps


def _drawn(drawn: Line, width: int, height: int, thick: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    return cv2.polylines(mask, [np.rint(drawn).astype(np.int32)], False, 1, thick)


def f1(hits: Sequence[Hits], weights: np.ndarray | None = None) -> np.ndarray:
    """F1 over frames, for each threshold: [thresholds]; the mean of it over `IOUS` is mF1. 1 where there is nothing to find
    and nothing was found.

    Args:
        weights: [frames], as a bootstrap over clips draws them.

    Raises:
        ValueError: there are no frames.
    """
    if not hits:
        raise ValueError("no frames to average")
    weights = np.ones(len(hits)) if weights is None else weights
    tp, fp, fn = (np.tensordot(weights, np.array([getattr(one, name) for one in hits]), 1) for name in ("tp", "fp", "fn"))
    total = 2 * tp + fp + fn
    return np.where(total > 0, 2 * tp / np.where(total > 0, total, 1), 1.0)


@dataclass(frozen=True)
class Lateral:
    """Of one frame: predicted minus labelled position of the left and the right ego line, positive to the right.

    Attributes:
        pixels: [2, rows], NaN where one of both is not.
        metres: [2, rows] on the road; None without a camera.
        labelled: [2] is there such a line in the label?
        found: [2] is there one in the prediction as well?
    """

    pixels: np.ndarray
    metres: np.ndarray | None
    labelled: np.ndarray
    found: np.ndarray


def lateral_error(
    predicted: Sequence[Line],
    labelled: Sequence[Line],
    rows: np.ndarray,
    width: int,
    height: int,
    camera: Camera | None = None,
) -> Lateral:
    """Lateral error of the ego lines: those nearest to the bottom's centre, left and right, in prediction and in label.

    A prediction whose ego line is another one than the label's has a large error, as a car that follows it has.

    Args:
        rows: [rows] pixels at which to measure.
        width, height: of the image, pixels.
        camera: of images of this size, for metres; the road is taken as flat, and both lines at one row as equally far.
    """
    rows = np.asarray(rows, np.float64)
    ours, theirs = (ego(lines, width, height) for lines in (predicted, labelled))
    x = np.full((2, 2, rows.size), np.nan)  # of prediction and label, left and right
    for who, pair in enumerate((ours, theirs)):
        for side, one in enumerate(pair):
            if one is not None:
                x[who, side] = sampled([one], rows.tolist())[0]
    metres = None
    if camera is not None:
        pixels = np.stack([x, np.broadcast_to(rows, x.shape)], axis=-1).reshape(-1, 2)
        right = np.full(len(pixels), np.nan)
        seen = ~np.isnan(pixels[:, 0])
        right[seen] = camera.ground(pixels[seen])[:, 0]
        metres = right.reshape(x.shape)[0] - right.reshape(x.shape)[1]
    there = np.array([[one is not None for one in pair] for pair in (ours, theirs)])
    return Lateral(x[0] - x[1], metres, there[1], there[0] & there[1])


def ego(lines: Sequence[Line], width: int, height: int) -> tuple[Line | None, Line | None]:
    """The nearest lines left and right of the bottom's centre, continued straight down to the bottom where they end above."""
    ends = [_at_bottom(one, height - 1) for one in lines]
    centre = (width - 1) / 2
    left = max((end, place) for end, place in [*zip(ends, range(len(ends)), strict=True), (-np.inf, -1)] if end < centre)
    right = min((end, place) for end, place in [*zip(ends, range(len(ends)), strict=True), (np.inf, -1)] if end >= centre)
    return (lines[left[1]] if left[1] >= 0 else None), (lines[right[1]] if right[1] >= 0 else None)


def _at_bottom(drawn: Line, bottom: float) -> float:
    """x at the bottom row; a line that ends above goes on as the straight line through its nearest third."""
    if drawn[-1, 1] >= bottom:
        return float(np.interp(bottom, drawn[:, 1], drawn[:, 0]))
    near = drawn[-max(2, len(drawn) // 3) :].astype(np.float64)
    slope = (near[-1, 0] - near[0, 0]) / (near[-1, 1] - near[0, 1])
    return float(near[-1, 0] + slope * (bottom - near[-1, 1]))


@dataclass(frozen=True)
class Matched:
    """Of one frame, for each predicted line: [predicted] its confidence, and whether it is right."""

    confidence: np.ndarray
    right: np.ndarray


def matched(predicted: np.ndarray, confidence: np.ndarray, labelled: np.ndarray, rows: np.ndarray) -> Matched:
    """Which predicted lines are right: by TuSimple's measure, but one to one, so that of two on one label only one is.

    Args:
        predicted, labelled, rows: as `right_rows`.
        confidence: [predicted] from 0 to 1.
    """
    shares = right_rows(predicted, labelled, rows)
    ours, theirs = linear_sum_assignment(shares * (shares >= ENOUGH), maximize=True)
    right = np.zeros(len(shares), bool)
    right[ours] = shares[ours, theirs] >= ENOUGH
    return Matched(np.asarray(confidence, np.float64).reshape(len(shares)), right)


def matched_f1(right: np.ndarray, labelled: int) -> float:
    """F1 of lines that were found, of which `right` [found] are right, with so many labels."""
    return 2 * float(np.sum(right)) / max(len(right) + labelled, 1)


def calibration(matches: Iterable[Matched], bins: int = 10) -> Calibration:
    """Confidence against truth, over the predicted lines of all frames: `.ece()`, `.brier()`, `.reliability()`.

    Raises:
        ValueError: there are no lines, or confidences outside 0 to 1.
    """
    confidence, right = (
        np.concatenate([np.zeros(0), *part]) for part in zip(*((m.confidence, m.right) for m in matches), strict=True)
    )
    return Calibration(confidence, right, bins)


def described(lines: Sequence[Line]) -> dict[str, Any]:
    """What labels alone say of a frame, for slices: the number of lines, and whether the road bends."""
    return {"lines": len(lines), "curve": any(_bend(one) > BEND for one in lines)}


def _bend(drawn: Line) -> float:
    """Largest distance of a line's points from the straight line between its ends, as a share of that one's length."""
    along = (drawn[-1] - drawn[0]).astype(np.float64)
    length = float(np.hypot(*along))
    away = drawn.astype(np.float64) - drawn[0]
    return float(np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]).max()) / length**2


def slices(about: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Places of the frames of each slice, such as "night=True" or "lines=4", by name: int64 [frames of it].

    What has numbers with a fraction, lists, or more than `MOST_VALUES` values makes no slices, and of slices with the same frames
    (night, and weather that is "night") only the first is there.
    """
    found: dict[str, dict[Any, list[int]]] = {}
    for place, known in enumerate(about):
        for name, value in known.items():
            if isinstance(value, bool | int | str | np.integer | np.bool_):
                found.setdefault(name, {}).setdefault(str(value), []).append(place)
    named = {
        f"{name}={value}": np.array(values[value])
        for name, values in sorted(found.items())
        if len(values) <= MOST_VALUES
        for value in sorted(values)
    }
    once = {places.tobytes(): name for name, places in reversed(named.items())}
    return {name: places for name, places in named.items() if once[places.tobytes()] == name}
