"""Past frauds that are most like a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

KEPT = 2_000  # frauds, the newest of training


@dataclass(frozen=True)
class Similar:
    """A past fraud.

    Attributes:
        time: ISO 8601.
        scenario: kind of fraud, '' where the data does not tell.
        similarity: 1 / (1 + d), where d is the root of the mean squared difference of the standardised inputs: 1 for the
            same inputs, one half where they differ by about a standard deviation each.
    """

    transaction: str
    time: str
    amount: float
    scenario: str
    similarity: float


@dataclass(frozen=True)
class PastFrauds:
    """Frauds of the training data in order of time.

    Attributes:
        mean, deviation: [inputs] float32, by which inputs are standardised: asinh((x - mean) / deviation).
        vectors: [frauds, inputs] float16, standardised.
        time: [frauds] int64 ms since 1970.
        amount: [frauds] float64.
        ids, scenarios: [frauds] words.
    """

    mean: np.ndarray
    deviation: np.ndarray
    vectors: np.ndarray
    time: np.ndarray
    amount: np.ndarray
    ids: list[str]
    scenarios: list[str]

    @classmethod
    def learn(cls, x: np.ndarray, labels: np.ndarray, frauds: pd.DataFrame) -> Self:
        """Remember the newest frauds.

        Args:
            x: [rows, inputs] of all training rows.
            labels: [rows], 1 is fraud.
            frauds: the rows with label 1 of `data.Transactions.frame`, in the same order.
        """
        deviation = x.std(0, dtype=np.float64)
        mean, deviation = (
            x.mean(0, dtype=np.float64).astype(np.float32),
            np.where(deviation > 1e-6, deviation, 1).astype(np.float32),
        )
        newest = np.argsort(frauds["time"].to_numpy(), kind="stable")[-KEPT:]
        own = frauds.iloc[newest]
        return cls(
            mean,
            deviation,
            _standardise(x[labels == 1][newest], mean, deviation),
            own["time"].to_numpy(np.int64),
            own["amount"].to_numpy(np.float64),
            own["transaction"].astype(str).tolist(),
            own["scenario"].astype(str).tolist() if "scenario" in own else [""] * len(own),
        )

    def nearest(self, x: np.ndarray, k: int) -> list[list[Similar]]:
        """For each row of x [rows, inputs] the k most similar, the nearest first; of equal ones the older first."""
        vectors = _standardise(x, self.mean, self.deviation)
        distance = cdist(vectors.astype(np.float64), self.vectors.astype(np.float64)) / np.sqrt(x.shape[1])
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
        return [[self._similar(i, 1 / (1 + own[i])) for i in places] for own, places in zip(distance, nearest, strict=True)]

    def _similar(self, i: int, similarity: float) -> Similar:
        time = str(np.datetime64(int(self.time[i]), "ms").astype("datetime64[s]"))
        return Similar(self.ids[i], time, float(self.amount[i]), self.scenarios[i], round(float(similarity), 4))

    def arrays(self) -> dict[str, np.ndarray]:
        """With `values`, from which `restore` makes an equal one."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def values(self) -> dict[str, Any]:
        """JSON-able."""
        return {"ids": self.ids, "scenarios": self.scenarios}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Self:
        return cls(**{**arrays, **values})


def _standardise(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.arcsinh((x - mean) / deviation).astype(np.float16)
