"""Bootstrap confidence intervals over independent units (users, cards, patients, days)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided percentile interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(number, 6) for name, number in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_mean(values: np.ndarray, *, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean (Efron & Tibshirani 1993, chapter 13).

    For a paired comparison of two methods pass the differences, one for each unit.

    Args:
        values: [n], one value for each independent unit.

    Raises:
        ValueError: there are no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no values to bootstrap")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 10_000_000 // values.size)  # bounds the memory of the drawn indices
    for start in range(0, resamples, block):
        draws = rng.integers(0, values.size, (min(block, resamples - start), values.size))
        means[start : start + block] = values[draws].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))
