"""Whether later data still looks like the data that a model was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

MODERATE, SHIFTED = 0.1, 0.25


@dataclass(frozen=True)
class Reference:
    """How a column was distributed, in plain values that fit in JSON: what later data is held against.

    Attributes:
        cuts: upper edges of the bins of numbers, or the categories; one more bin takes what is above or other.
        counts: rows in each of these bins, then the missing.
        numeric: whether the cuts are edges.
    """

    cuts: tuple[float | str, ...]
    counts: tuple[int, ...]
    numeric: bool

    @classmethod
    def fit(cls, column: pd.Series, bins: int = 10) -> Reference:
        """Bins at the quantiles of numbers; for all else, one bin for each of the most frequent categories.

        A value that fills several bins gets one of its own, so that a flag that was nearly always 1 is seen to change.

        Raises:
            ValueError: there are no rows.
        """
        if len(column) == 0:
            raise ValueError("no rows to compare with")
        there, numeric = column.dropna(), pd.api.types.is_numeric_dtype(column)
        cuts: np.ndarray
        if numeric and len(there):
            edges = np.quantile(there.to_numpy(np.float64), np.arange(1, bins) / bins, method="inverted_cdf")
            values, times = np.unique(edges, return_counts=True)
            cuts = np.union1d(values, np.nextafter(values[times > 1], -np.inf))
        else:
            cuts = there.astype("str").value_counts().index[:bins].to_numpy()
        unfilled = cls(tuple(cuts.tolist()), (), numeric)
        return cls(unfilled.cuts, tuple(unfilled.count(column).tolist()), numeric)

    def count(self, column: pd.Series) -> np.ndarray:
        """[bins + 1] rows of the column in each bin, then the missing."""
        missing = column.isna().to_numpy()
        there = column[~missing]
        if self.numeric:
            place = np.searchsorted(np.asarray(self.cuts, dtype=np.float64), there.to_numpy(np.float64), side="left")
        else:
            place = pd.Index(self.cuts, dtype="object").get_indexer(there.astype("str").astype("object"))
            place = np.where(place < 0, len(self.cuts), place)
        return np.append(np.bincount(place, minlength=len(self.cuts) + 1), missing.sum())

    def psi(self, column: pd.Series) -> float:
        """Population stability index: the sum over bins of (p - q) ln(p / q) (Siddiqi 2006).

        A share below half a row of the smaller sample counts as that, for an empty bin would make it infinite. By chance alone
        it is about (bins - 1) (1/n + 1/m) for n and m rows (Yurdakul 2018), so a hundred rows in ten bins already give 0.1.

        Raises:
            ValueError: there are no rows.
        """
        then, now = np.asarray(self.counts), self.count(column)
        if now.sum() == 0:
            raise ValueError("no rows to compare")
        floor = 0.5 / min(then.sum(), now.sum())
        p, q = np.maximum(now / now.sum(), floor), np.maximum(then / then.sum(), floor)
        return float(((p - q) * np.log(p / q)).sum())


def psi_by_period(references: Mapping[str, Reference], rows: pd.DataFrame, periods: pd.Series) -> pd.DataFrame:
    """[periods, columns] index of each column in each period, periods in order.

    Args:
        references: column name to how it was distributed.
        rows: has these columns.
        periods: [rows] week or month of each row, in the order of `rows`.
    """
    found = {
        period: {name: reference.psi(part[name]) for name, reference in references.items()}
        for period, part in rows.groupby(np.asarray(periods))
    }
    return pd.DataFrame.from_dict(found, orient="index", columns=list(references))


def reading(psi: float) -> str:
    """The usual reading of the index, a rule of thumb (Siddiqi 2006)."""
    return "stable" if psi < MODERATE else "moderate" if psi <= SHIFTED else "shifted"
