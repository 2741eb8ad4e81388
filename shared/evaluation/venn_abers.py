"""Probabilities with an interval of their own: how sure one can be of 80 %."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class VennAbers:
    """Inductive Venn-Abers predictor (Vovk & Petej 2014; Vovk, Petej & Fedorova 2015).

    A new row is put among the calibration rows, once as a negative and once as a positive, and each time an isotonic fit gives
    it a probability. One of the two is perfectly calibrated, whatever the distribution, as long as rows are exchangeable. Where
    calibration rows are few the two lie apart.

    Both are step functions of the score, kept at their steps.

    Attributes:
        low_scores, low: [steps], [steps + 1]: the fit as a negative, for scores below the first, from the first on, ...
        high_scores, high: [steps], [steps + 1]: the fit as a positive, for scores up to the first, above it, ...
    """

    low_scores: np.ndarray
    low: np.ndarray
    high_scores: np.ndarray
    high: np.ndarray

    @classmethod
    def fit(cls, scores: np.ndarray, labels: np.ndarray) -> VennAbers:
        """
        Args:
            scores: [rows] of a part that the model was not trained on, higher is more likely positive.
            labels: [rows] of 0 and 1.

        Raises:
            ValueError: there are no rows, or scores that are not finite.
        """
        scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if scores.size == 0 or not np.isfinite(scores).all():
            raise ValueError("Venn-Abers prediction needs rows with finite scores")
        values, value = np.unique(scores, return_inverse=True)
        rows, positives = np.bincount(value).astype(np.float64), np.bincount(value, labels)
        high = np.append(_as_positive(rows, positives), 1.0)  # above every score it stands alone
        low = np.append(0.0, 1 - _as_positive(rows[::-1], (rows - positives)[::-1])[::-1])
        low_steps, high_steps = (np.flatnonzero(np.diff(fitted)) for fitted in (low, high))
        low_kept, high_kept = (np.append(steps, len(values)) for steps in (low_steps, high_steps))
        return cls(values[low_steps], low[low_kept], values[high_steps], high[high_kept])

    def interval(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) probabilities of the positive class, each of the scores' shape."""
        places = np.searchsorted(self.low_scores, scores, "right"), np.searchsorted(self.high_scores, scores, "left")
        return self.low[places[0]], self.high[places[1]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name).tolist() for name in ("low_scores", "low", "high_scores", "high")}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> VennAbers:
        return cls(**{name: np.asarray(values, dtype=np.float64) for name, values in state.items()})


def fit_classes(scores: np.ndarray, labels: np.ndarray) -> list[VennAbers]:
    """One predictor a class, of that class against the rest.

    Args:
        scores: [rows, classes]. labels: [rows] of class numbers.
    """
    return [VennAbers.fit(scores[:, place], np.asarray(labels) == place) for place in range(scores.shape[1])]


def interval_classes(predictors: list[VennAbers], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), each [rows, classes]; every class is by itself, so nothing makes the rows sum to 1."""
    ends = [predictor.interval(scores[:, place]) for place, predictor in enumerate(predictors)]
    return np.stack([low for low, _ in ends], axis=1), np.stack([high for _, high in ends], axis=1)


def _as_positive(rows: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """[values] isotonic fit of one more positive row at each value; linear time (Vovk, Petej & Fedorova 2015, algorithms 1, 2).

    The fit is the slope of the greatest convex minorant of the cumulative sums. The added row, a step of (1, 1), starts before
    the first value and is swapped with one value after another, while a stack holds the corners to its right.

    Args:
        rows, positives: [values] at each distinct score, by rising score.
    """
    xs = np.concatenate([[-1.0, 0.0], np.cumsum(rows)]).tolist()
    ys = np.concatenate([[-1.0, 0.0], np.cumsum(positives)]).tolist()
    corners: list[tuple[float, float]] = []
    for point in zip(xs[::-1], ys[::-1], strict=True):  # of the minorant, the leftmost last
        _push(corners, point)
    fitted = np.empty(len(rows))
    x, y = -1.0, -1.0  # where the added row stands
    for place in range(len(rows)):
        (left_x, left_y), (right_x, right_y) = corners[-1], corners[-2]
        fitted[place] = (right_y - left_y) / (right_x - left_x)
        x, y = x + rows[place], y + positives[place]
        if (y - left_y) * (right_x - left_x) < (right_y - left_y) * (x - left_x):  # below the line: a corner of its own
            corners.pop()
            _push(corners, (x, y))
    return fitted


def _push(corners: list[tuple[float, float]], point: tuple[float, float]) -> None:
    """Add a point on the left, and drop the corners that are no longer on the minorant."""
    while len(corners) > 1:
        (x1, y1), (x2, y2) = corners[-1], corners[-2]
        if (y1 - point[1]) * (x2 - point[0]) < (y2 - point[1]) * (x1 - point[0]):
            break
        corners.pop()
    corners.append(point)
