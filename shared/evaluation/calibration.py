"""Scores as probabilities: fitting them on validation, and measuring how true they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

FLATTEST = 1e-6  # slope over one deviation of the logits: a score that ranks no better than chance is never turned round


@dataclass(frozen=True)
class Calibrator:
    """Probability = sigmoid(scale * logit + offset). The scale is positive, so the ranking stays as it is.

    The scale is the inverse of a temperature (Guo et al. 2017); the offset also undoes a change of the base rate, as from
    sampling or weighting the classes in training.
    """

    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def fit(cls, logits: np.ndarray, labels: np.ndarray) -> Calibrator:
        """Maximum likelihood with targets drawn in a little from 0 and 1 (Platt 1999).

        Args:
            logits: [rows] of a part that the model was not trained on; of probabilities, `scipy.special.logit`, clipped.
            labels: [rows] of 0 and 1.

        Raises:
            ValueError: there are no rows, or logits that are not finite.
        """
        logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        if logits.size == 0 or not np.isfinite(logits).all():
            raise ValueError("calibration needs rows with finite logits; clip probabilities of 0 and 1 first")
        positives = int(labels.sum())
        targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))
        centre, spread = logits.mean(), logits.std() or 1.0
        standard = (logits - centre) / spread

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            fitted = parameters[0] * standard + parameters[1]
            error = expit(fitted) - targets
            return np.mean(np.logaddexp(0, fitted) - targets * fitted), np.array([np.mean(error * standard), np.mean(error)])

        base_rate = targets.mean()
        start = np.array([1.0, np.log(base_rate / (1 - base_rate))])
        bounds = [(FLATTEST, None), (None, None)]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9})
        slope, level = found.x
        return cls(float(slope / spread), float(level - slope * centre / spread))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, of the same shape."""
        return expit(self.scale * np.asarray(logits, dtype=np.float64) + self.offset)


@dataclass(frozen=True)
class Reliability:
    """[bins] each, by rising probability: the mean probability, the share of positives, and the number of rows."""

    predicted: np.ndarray
    observed: np.ndarray
    rows: np.ndarray


class Calibration:
    """Probabilities in bins, judged under any weighting of the rows (the bins stay).

    Bins of equal numbers of rows are the usual ones (Nguyen & O'Connor 2015). Where positives are rare these lump everything
    that matters into the last bin; bins with the same number of *expected* positives then resolve the high probabilities.
    Equal probabilities share a bin.
    """

    def __init__(
        self, probabilities: np.ndarray, labels: np.ndarray, bins: int = 10, equal: Literal["rows", "positives"] = "rows"
    ) -> None:
        """
        Args:
            probabilities: [rows] from 0 to 1.
            labels: [rows] of 0 and 1.
            bins: how many at most.
            equal: what each bin has as much of.

        Raises:
            ValueError: there are no rows, or probabilities outside 0 to 1.
        """
        self.probabilities, self.labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if self.probabilities.size == 0 or not ((self.probabilities >= 0) & (self.probabilities <= 1)).all():
            raise ValueError("calibration needs rows with probabilities from 0 to 1")
        values, value = np.unique(self.probabilities, return_inverse=True)
        mass = np.bincount(value) * (values if equal == "positives" else 1.0)
        middle = np.cumsum(mass) - mass / 2
        place = np.floor(middle / max(mass.sum(), np.finfo(float).tiny) * bins).clip(max=bins - 1)
        self._bin = np.unique(place, return_inverse=True)[1][value]  # without the empty ones

    def reliability(self, weights: np.ndarray | None = None) -> Reliability:
        """The reliability diagram. `weights`: [rows]; bins without any weight are left out."""
        weights = np.ones(len(self._bin)) if weights is None else weights
        rows, predicted, positives = (
            np.bincount(self._bin, weights * values) for values in (1.0, self.probabilities, self.labels)
        )
        there = rows > 0
        return Reliability(predicted[there] / rows[there], positives[there] / rows[there], rows[there])

    def ece(self, weights: np.ndarray | None = None) -> float:
        """Expected calibration error: mean distance of a row's bin from the diagonal (Naeini et al. 2015). `weights`: [rows].

        It cannot exceed the base rate by much, so where positives are rare hold it against that.
        """
        curve = self.reliability(weights)
        return float(np.average(np.abs(curve.observed - curve.predicted), weights=curve.rows))

    def brier(self, weights: np.ndarray | None = None) -> float:
        """Mean squared error of the probabilities (Brier 1950). `weights`: [rows]."""
        return float(np.average((self.probabilities - self.labels) ** 2, weights=weights))
