"""Confidence intervals over independent units (users, cards, patients, days)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided interval."""

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


def t_mean(values: np.ndarray, *, level: float = 0.95, low: float = -np.inf, high: float = np.inf) -> Interval:
    """Student's t interval of the mean: for few values, where a percentile bootstrap is too narrow.

    Args:
        values: [n], one value for each independent unit; of a single one the interval is all there can be.
        low, high: what the mean cannot leave.

    Raises:
        ValueError: there are no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no values")
    mean, half = float(values.mean()), np.inf
    if values.size > 1:
        half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values))
    return Interval(mean, max(low, mean - half), min(high, mean + half))


@dataclass(frozen=True)
class Bootstrap:
    """Statistics of the data and of each resample of it, so that two of them can be compared draw by draw.

    Attributes:
        values: statistic name to its value in the data.
        draws: statistic name to [resamples] values; nan where a resample left it undefined.
        level: of the intervals.
    """

    values: dict[str, float]
    draws: dict[str, np.ndarray]
    level: float

    def interval(self, name: str) -> Interval:
        return _percentile(self.values[name], self.draws[name], self.level)

    def difference(self, name: str, other: str) -> Interval:
        """Paired: the first minus the other, in the same draws."""
        return _percentile(self.values[name] - self.values[other], self.draws[name] - self.draws[other], self.level)


def bootstrap_groups(
    groups: np.ndarray,
    statistics: Mapping[str, Callable[[np.ndarray], float]],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Percentile bootstrap that draws whole groups, whose rows depend on each other (Davison & Hinkley 1997, section 3.8).

    A resample is not copied out of the data: each statistic gets, for every row, how often the row's group was drawn. Below
    about 20 groups the intervals are too narrow (Cameron, Gelbach & Miller 2008): prefer accounts to the seven days of a week.

    Args:
        groups: [rows], the day, card or patient of each row.
        statistics: name to a function of the rows' weights, [rows] whole numbers as floats, such as
            `Ranked(labels, scores).roc_auc`; all see the same draws.

    Raises:
        ValueError: there are no rows.
    """
    codes, names = pd.factorize(np.asarray(groups), use_na_sentinel=False)
    if len(names) == 0:
        raise ValueError("no groups to bootstrap")
    values = {name: float(statistic(np.ones(len(codes)))) for name, statistic in statistics.items()}
    draws = {name: np.empty(resamples) for name in statistics}
    rng = np.random.default_rng(seed)
    for draw in range(resamples):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weights = times.astype(np.float64)[codes]
        for name, statistic in statistics.items():
            draws[name][draw] = statistic(weights)
    return Bootstrap(values, draws, level)


def _percentile(value: float, draws: np.ndarray, level: float) -> Interval:
    """Resamples in which the statistic is undefined (say, without a positive) are left out; with no other it is nan."""
    defined = draws[~np.isnan(draws)]
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined.size else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
