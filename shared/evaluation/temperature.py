"""Logits of several classes as probabilities that are true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

RANGE = (1e-3, 1e3)  # of inverse temperatures, over the logits' own spread


@dataclass(frozen=True)
class Temperature:
    """Probabilities = softmax(logits / temperature) (Guo et al. 2017): one number, so the ranking of a row's classes stays."""

    temperature: float = 1.0

    @classmethod
    def fit(cls, logits: np.ndarray, labels: np.ndarray) -> Temperature:
        """The temperature of least negative log-likelihood, found where its derivative (it is convex in 1/T) crosses 0.

        The targets of n rows are mixed with 1 part in n + 1 of an even guess: where every row is classified rightly, as may be
        in a small validation part, plain likelihood would want a temperature of 0. (Platt's targets, which `Calibrator` takes
        for two classes, do the same, but of several thousand rows with large logits they still move the temperature by 5 %.)

        Args:
            logits: [rows, classes] of a part that the model was not trained on.
            labels: [rows] of class numbers.

        Raises:
            ValueError: there are no rows, or logits that are not finite, or labels outside the classes.
        """
        logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.intp)
        if logits.ndim != 2 or logits.size == 0 or not np.isfinite(logits).all():
            raise ValueError("a temperature needs finite logits [rows, classes] of at least one row")
        rows, classes = logits.shape
        if labels.shape != (rows,) or labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels must be [{rows}] class numbers from 0 to {classes - 1}")
        of_labels = np.take_along_axis(logits, labels[:, None], axis=1)
        wanted = (rows * of_labels.mean() + logits.mean()) / (rows + 1)

        def slope(log_inverse: float) -> float:
            """Of the negative log-likelihood over 1/T."""
            return float(np.sum(softmax(np.exp(log_inverse) * logits, axis=1) * logits) / rows - wanted)

        spread = float(logits.std(axis=1).mean()) or 1.0
        flattest, steepest = np.log(np.array(RANGE) / spread)
        if slope(flattest) >= 0:  # the logits say nothing, or the opposite
            return cls(float(np.exp(-flattest)))
        if slope(steepest) <= 0:
            return cls(float(np.exp(-steepest)))
        return cls(float(np.exp(-brentq(slope, flattest, steepest, xtol=1e-10))))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, of the same shape [..., classes]."""
        return softmax(np.asarray(logits, dtype=np.float64) / self.temperature, axis=-1)
