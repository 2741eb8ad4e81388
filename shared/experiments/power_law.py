"""A curve through the points of a learning curve, and what it says of more data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.evaluation.intervals import Interval

SMALLEST, LARGEST = 0.02, 3.0  # c; a smaller one is as good as a logarithm, a larger one as a step
PASSES = (np.geomspace(SMALLEST, LARGEST, 50), np.geomspace(1 / 1.12, 1.12, 21), np.geomspace(1 / 1.012, 1.012, 21))  # times c
FEWEST = 4  # points, as there are three parameters
LEVEL = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """a - b n^-c, for one or many curves at once: [...] each.

    What errors of learning machines follow over decades of data (Cortes et al. 1993, "Learning curves: asymptotic values and
    rate of convergence"; Hestness et al. 2017, "Deep learning scaling is predictable, empirically"; POW3 in the review of
    Viering & Loog 2023, which also lists where it fails).
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def __call__(self, n: np.ndarray | float) -> np.ndarray:
        return np.asarray(self.a - self.b * np.asarray(n, dtype=np.float64) ** -self.c)


def fit(n: np.ndarray, values: np.ndarray) -> PowerLaw:
    """Least squares; for each exponent c the best a and b follow linearly (Golub & Pereyra 1973).

    b may be negative: nothing makes a curve rise that does not.

    Args:
        n: [points] amounts of data, in any unit.
        values: [..., points] metrics at these, of one or many curves.

    Raises:
        ValueError: there are fewer than four different amounts.
    """
    n, values = np.asarray(n, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(np.unique(n)) < FEWEST:
        raise ValueError(f"{FEWEST} different amounts of data are needed, there are {len(np.unique(n))}")
    best, least = np.ones(values.shape[:-1]), np.full(values.shape[:-1], np.inf)
    for factors in PASSES:
        centre = best
        for factor in factors:
            c = np.clip(factor * centre, SMALLEST, LARGEST)
            a, b = _line(n, values, c)
            loss = ((values - a[..., None] + b[..., None] * n ** -c[..., None]) ** 2).sum(-1)
            best, least = np.where(loss < least, c, best), np.minimum(loss, least)
    return PowerLaw(*_line(n, values, best), best)


def _line(n: np.ndarray, values: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best a and b [...] of curves whose exponents c [...] are given."""
    x = n ** -c[..., None]
    middle, mean = x.mean(-1), values.mean(-1)
    apart = x - middle[..., None]
    b = -(apart * (values - mean[..., None])).sum(-1) / (apart**2).sum(-1)
    return mean + b * middle, b


@dataclass(frozen=True)
class Extrapolated:
    """A fitted curve and how sure it is.

    Attributes:
        curve: through the values themselves.
        draws: through resampled values, [draws] curves.
        gain: what twice the data would add to the metric at the largest amount, by the curve.
        scatter: standard deviation of the points around the curve, as far as five points tell it.
    """

    curve: PowerLaw
    draws: PowerLaw
    gain: Interval
    scatter: float

    def band(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[amounts] lower and upper end of the interval of the curve."""
        drawn = self.draws.a[:, None] - self.draws.b[:, None] * np.asarray(n)[None, :] ** -self.draws.c[:, None]
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low, high

    @property
    def tells(self) -> bool:
        """Is it clear whether more data helps at all?"""
        return self.gain.low > 0 or self.gain.high < 0


def extrapolate(n: np.ndarray, values: np.ndarray, resampled: np.ndarray, seed: int = 0) -> Extrapolated:
    """The curve through the values, with intervals.

    Two things are uncertain: which rows are judged, which moves all points together, and what a training happens to end in,
    which moves each by itself. The first is in `resampled`, the second is drawn from a normal law as wide as the points
    scatter around the curve.

    Args:
        n: [points] amounts of data.
        values: [points] metrics at these.
        resampled: [draws, points] the metrics in resamples of the judged rows, the same rows for all points.
    """
    curve = fit(n, values)
    free = max(1, len(values) - 3)
    scatter = float(np.sqrt(((values - curve(n)) ** 2).sum() / free))
    noise = np.random.default_rng(seed).normal(0, scatter, resampled.shape)
    draws = fit(n, resampled + noise)
    last = float(np.max(n))
    gains = draws(2 * last) - draws(last)
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Extrapolated(curve, draws, Interval(float(curve(2 * last) - curve(last)), float(low), float(high)), scatter)
