"""The users that a run was judged on, as another run is compared with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from shared.usecase import JudgedRows
from usecases.recommendation import metrics


def judged(folder: Path) -> JudgedRows:
    """See `UseCase.judged`. Lists shorter than those asked for, of users who have nearly everything, end in misses."""
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    at = tuple(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["at"])
    hit = np.zeros((len(table["user"]), max(at)), bool)
    for row, chosen in zip(hit, table["chosen"], strict=True):
        row[: len(chosen)] = chosen
    values = metrics.per_user(hit, np.array(table["targets"]), at)
    statistics = {name: partial(_mean, own) for name, own in values.items()}
    return JudgedRows(table["user"], table["targets"], table["user"], statistics)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average(values, weights=weights))
