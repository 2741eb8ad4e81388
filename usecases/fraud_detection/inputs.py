"""The numbers that every model sees: built features, the data's own numbers, and indicators of frequent categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd

FREQUENT = 0.005  # a category needs this share of the training rows for an indicator of its own
MOST_CATEGORIES = 30  # indicators a column
Frame: TypeAlias = pd.DataFrame | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Rows:
    """What models look at: `x` [rows, inputs] float32, and `history` [rows, length, steps + 1] float16."""

    x: np.ndarray
    history: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray) -> Rows:
        return Rows(self.x[rows], self.history[rows])


@dataclass(frozen=True)
class Inputs:
    """How rows become numbers; learnt on training rows, the same for all models.

    Attributes:
        built: names of the features from `Ledger`.
        medians: of each numeric input, which stands in for a missing value.
        gappy: numeric inputs that get an indicator of missing values, as they had some in training.
        categories: the frequent values of each categorical input.
    """

    built: tuple[str, ...]
    medians: dict[str, float]
    gappy: tuple[str, ...]
    categories: dict[str, list[str]]

    @classmethod
    def learn(cls, frame: pd.DataFrame, built: Sequence[str], numeric: Sequence[str], categorical: Sequence[str]) -> Self:
        """Look at the training rows."""
        medians = {name: float(frame[name].median()) if frame[name].notna().any() else 0.0 for name in numeric}
        gappy = tuple(name for name in numeric if frame[name].isna().any())
        categories = {}
        for name in categorical:
            shares = frame[name].value_counts(normalize=True)
            categories[name] = sorted(shares.index[(shares >= FREQUENT) & (shares.index != "")][:MOST_CATEGORIES])
        return cls(tuple(built), medians, gappy, categories)

    @property
    def names(self) -> list[str]:
        indicators = [f"{name} = {value}" for name, values in self.categories.items() for value in values]
        return [*self.built, *self.medians, *(f"{name} missing" for name in self.gappy), *indicators]

    def matrix(self, frame: Frame, built: np.ndarray) -> np.ndarray:
        """[rows, inputs] float32 without gaps, from the data's columns and the built features of the same rows."""
        columns: list[np.ndarray] = []
        for name, median in self.medians.items():
            values = np.asarray(frame[name], np.float64)
            columns.append(np.where(np.isnan(values), median, values))
        columns += [np.isnan(np.asarray(frame[name], np.float64)) for name in self.gappy]
        for name, kinds in self.categories.items():
            own = np.asarray(frame[name], dtype=object)
            columns += [np.asarray(own == kind) for kind in kinds]
        if not columns:
            return built
        return np.concatenate([built, np.stack(columns, 1).astype(np.float32)], axis=1)

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        return cls(tuple(state["built"]), state["medians"], tuple(state["gappy"]), state["categories"])
