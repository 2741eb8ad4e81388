"""How well scores rank positives above negatives, under any weighting of the rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Steps(NamedTuple):
    """A ranking at its positives, by falling score. All but the last two are [positives].

    Attributes:
        each: weight of the positive.
        found: weight of the positives that score at least as high.
        above, false: weight of the negatives that score higher, and at least as high.
        positive, negative: weight of all positives, and of all negatives.
    """

    each: np.ndarray
    found: np.ndarray
    above: np.ndarray
    false: np.ndarray
    positive: float
    negative: float


class Ranked:
    """Scores sorted once, then judged under many weightings of the rows, as a bootstrap needs.

    The curves of a ranking rise at positives only, so it is enough to know how many negatives lie between two of these. Equal
    scores are one step, as in scikit-learn, with which every value agrees. A metric that is undefined, because no positive or
    no negative has any weight, is nan.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """
        Args:
            labels: [rows] of 0 and 1.
            scores: [rows], higher is more likely positive.

        Raises:
            ValueError: the shapes differ, a label is something else, or a score is nan.
        """
        labels, falling = np.asarray(labels), -np.asarray(scores, dtype=np.float64)
        if labels.shape != falling.shape or labels.ndim != 1:
            raise ValueError(f"labels and scores must be [rows] both, not {labels.shape} and {falling.shape}")
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("labels must be 0 or 1")
        if np.isnan(falling).any():
            raise ValueError(f"{np.isnan(falling).sum()} of {len(falling)} scores are nan")
        rows = np.flatnonzero(labels)
        self._positives = rows[np.argsort(falling[rows], kind="stable")]
        own = falling[self._positives]
        self._through = np.searchsorted(own, own, "right") - 1  # the last of the positives that tie with each
        values, self._value = np.unique(own, return_inverse=True)
        # where the negatives lie: an odd block is on one of these values, an even one before the next; positives are set apart
        self._block = np.searchsorted(values, falling, "left") + np.searchsorted(values, falling, "right")
        self._block[rows] = self._apart = 2 * len(values) + 1

    def roc_auc(self, weights: np.ndarray | None = None) -> float:
        """Chance that a positive scores above a negative, ties counting half (Hanley & McNeil 1982). `weights`: [rows]."""
        s = self.steps(weights)
        pairs = s.positive * s.negative
        return 1 - float(s.each @ (s.above + s.false)) / 2 / pairs if pairs > 0 else float("nan")

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Mean of the precision at each positive, not interpolated (Davis & Goadrich 2006). `weights`: [rows]."""
        s = self.steps(weights)
        return float(s.each @ _precision(s)) / s.positive if s.positive > 0 else float("nan")

    def recall_at_fpr(self, fpr: float, weights: np.ndarray | None = None) -> float:
        """Largest share of positives found while at most `fpr` of the negatives are; not interpolated. `weights`: [rows]."""
        s = self.steps(weights)
        if s.positive * s.negative == 0:
            return float("nan")
        return float(np.max(s.found[s.false / s.negative <= fpr], initial=0)) / s.positive

    def precision_recall(self, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """(recall, precision), [at most `points`] each, for a chart in steps; recall rises."""
        s = self.steps()
        kept = np.unique(np.linspace(0, len(s.found) - 1, min(points, len(s.found))).astype(int))
        return s.found[kept] / max(s.positive, 1), _precision(s)[kept]

    def steps(self, weights: np.ndarray | None = None) -> Steps:
        weights = np.ones(len(self._block)) if weights is None else np.asarray(weights)
        each = weights[self._positives]
        negatives = np.cumsum(np.bincount(self._block, weights, minlength=self._apart + 1)[: self._apart])
        above, false = negatives[2 * self._value], negatives[2 * self._value + 1]
        return Steps(each, np.cumsum(each)[self._through], above, false, float(each.sum()), float(negatives[-1]))


def _precision(steps: Steps) -> np.ndarray:
    """[positives] share of the positives among what scores at least as high; 0 where that has no weight."""
    alerts = steps.found + steps.false
    return np.divide(steps.found, alerts, out=np.zeros(len(alerts)), where=alerts > 0)
