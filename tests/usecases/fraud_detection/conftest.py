from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared.config import resolve
from shared.runs import Run
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Transactions
from usecases.fraud_detection.pipeline import train
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.simulator import simulate
from usecases.fraud_detection.timeline import DAY, HOUR

START = 17_000 * DAY


def make_frame(
    rows: int = 400,
    days: int = 130,
    accounts: int = 7,
    counterparties: int = 6,
    delay: int = 2 * DAY,
    late: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Random transactions in time order, as `data.Transactions.frame`, many at equal times.

    Args:
        delay: until labels are known, ms; the share `late` of them becomes known up to 60 days after that.
    """
    rng = np.random.default_rng(seed)
    time = START + np.sort(rng.integers(0, days * 4, rows)) * 6 * HOUR
    amount = rng.lognormal(3, 1.2, rows).round(2)
    amount[rng.random(rows) < 0.05] = 0
    amount[rng.random(rows) < 0.01] = 1e14
    label = (rng.random(rows) < 0.3).astype(float)
    label[rng.random(rows) < 0.05] = np.nan
    label_time = time + delay + np.where(rng.random(rows) < late, rng.integers(0, 60 * DAY, rows), 0)
    some = rng.random((3, rows)) > 0.05  # the others are not known
    return pd.DataFrame(
        {
            "transaction": [f"t{n}" for n in range(rows)],
            "time": time,
            "account": np.where(some[0], [f"a{n}" for n in rng.integers(0, accounts, rows)], ""),
            "counterparty": np.where(some[1], [f"m{n}" for n in rng.integers(0, counterparties, rows)], ""),
            "amount": amount,
            "label": label,
            "label_time": label_time,
            "channel": np.where(some[2], rng.choice(["web", "shop"], rows), ""),
        }
    )


def transactions(frame: pd.DataFrame, categorical: tuple[str, ...] = ()) -> Transactions:
    return Transactions(frame, (), categorical, "made up", False, {}, "ms", [])


def configured(**sections: Any) -> FraudConfig:
    return FraudConfig.model_validate(sections)


TINY = [
    "hardware.threads=1", "model.members=[logistic, boosting, tabular]",
    "model.tabular.hidden=16", "model.tabular.copies=2", "model.tabular.bins=4",
    "model.tabular.training.epochs=4", "model.tabular.training.batch_size=256",
    "model.sequence.length=4", "model.sequence.hidden=8", "model.sequence.copies=2", "model.sequence.training.epochs=1",
    "model.anomaly.hidden=32", "model.anomaly.latent=4", "model.anomaly.training.batch_size=256",
]  # fmt: skip


def run_on(table: pd.DataFrame, folder: Path, overrides: list[str]) -> Run:
    """A finished run on a table, which is kept beside it."""
    table.to_csv(folder / "data.csv", index=False)
    config = resolve(FraudConfig, [], [f"data.source={folder / 'data.csv'}", *TINY, *overrides])
    run = Run.create("fraud_detection", config, folder / "run")
    train(config, run)
    run.finish()
    return run


@pytest.fixture(scope="session")
def record() -> pd.DataFrame:
    """Simulated transactions, as a user would have them."""
    return simulate(customers=250, terminals=250, days=60, seed=3)


@pytest.fixture(scope="session")
def run(record: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose data lies beside its folder, as data.csv."""
    return run_on(record, tmp_path_factory.mktemp("fraud"), ["data.exclude=[device]"])


@pytest.fixture
def detector(run: Run) -> FraudDetector:
    return FraudDetector.load(run.artifact_dir)
