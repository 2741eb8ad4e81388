from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from usecases.fraud_detection.simulator import SCENARIOS, simulate


@pytest.fixture(scope="module")
def record() -> pd.DataFrame:
    return simulate(customers=1000, terminals=1200, days=84, seed=1)


@pytest.fixture(scope="module")
def large() -> pd.DataFrame:
    return simulate(customers=10_000, terminals=5000, days=35, seed=2)


def test_the_seed_decides_everything() -> None:
    first, second = (simulate(customers=100, terminals=100, days=35, seed=5) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    other = simulate(customers=100, terminals=100, days=35, seed=6)
    assert not np.array_equal(first["amount"][:100], other["amount"][:100])


def test_the_table(record: pd.DataFrame) -> None:
    columns = "transaction time account counterparty amount device country channel label scenario"
    assert record.columns.tolist() == columns.split()
    assert not record.isna().any(axis=None)
    assert record["time"].is_monotonic_increasing
    assert record["transaction"].is_unique
    assert record["transaction"].is_monotonic_increasing
    assert record["time"].dt.date.min() == date(2025, 1, 1)
    assert record["time"].dt.date.max() == date(2025, 3, 25)  # the 84th day
    assert record["account"].nunique() <= 1000
    assert record["counterparty"].nunique() <= 1200
    assert set(record["channel"]) == {"terminal", "online"}
    assert record["amount"].min() > 0
    assert np.allclose(record["amount"] * 100, (record["amount"] * 100).round(), atol=1e-6)
    assert record.groupby("device")["account"].nunique().max() == 1
    assert record["label"].dtype == np.int8
    assert np.array_equal(record["label"] == 1, record["scenario"] != "")


def test_rates_hold_at_every_size(record: pd.DataFrame, large: pd.DataFrame) -> None:
    small, sparse = (simulate(300, terminals, days=112, seed=2) for terminals in (400, 3000))
    for data, expected in ((small, 67_200), (sparse, 67_200), (record, 168_000), (large, 700_000)):
        assert 0.85 < len(data) / expected < 1.2
        assert 0.007 < data["label"].mean() < 0.011
        shares = data["scenario"].value_counts(normalize=True)
        noise = 4 if expected < 100_000 else 1.5  # where each attack weighs much
        for name, scenario in SCENARIOS.items():
            assert 1 / noise < shares[name] / scenario.share < noise, name


@pytest.mark.parametrize("terminals", [50, 4000])
def test_the_smallest_record(terminals: int) -> None:
    for seed in range(5):
        data = simulate(customers=50, terminals=terminals, days=35, seed=seed)
        assert len(set(data["scenario"]) - {""}) >= len(SCENARIOS) - 1
        assert 0.004 < data["label"].mean() < 0.03


def test_no_column_alone_tells_fraud(record: pd.DataFrame) -> None:
    fraud = record["label"]
    past = record["time"] < "2025-02-15"
    signs = {
        "amount": record["amount"],
        "amount over the account's mean": record["amount"] / record.groupby("account")["amount"].transform("mean"),
        "time of day": record["time"].dt.hour,
        "time since the last": record.groupby("account")["time"].diff().dt.total_seconds(),
        "id": record["transaction"].str[1:].astype(int),
    }
    for column in ("account", "counterparty", "device", "country", "channel"):
        signs[column] = record[column].map(fraud[past].groupby(record[column][past]).mean()).fillna(fraud[past].mean())
        signs[f"number of the {column}"] = pd.Series(pd.factorize(record[column], sort=True)[0])
        signs[f"new {column}"] = ~record.duplicated(["account", column])
    for name, sign in signs.items():
        auc = roc_auc_score(fraud[~past], sign[~past].fillna(sign.min()))
        assert max(auc, 1 - auc) < 0.85, name
    new = ~past & signs["new device"]
    assert 2 * fraud[~past].mean() < fraud[new].mean() < 0.5  # a sign of fraud, but most new devices are honest


def test_scenarios_are_what_they_say(record: pd.DataFrame) -> None:
    usual = record[record["label"] == 0].groupby("account")["amount"].mean()
    ratio = record["amount"] / record["account"].map(usual)
    kind = record["scenario"]
    assert ratio[kind == "stolen card"].median() > 2
    assert record["amount"][kind == "large amount"].median() > 250
    assert record["amount"][kind == "card testing"].median() < 8
    assert (record["amount"][kind == ""] > 250).sum() > 2 * (record["amount"][kind == "large amount"] > 250).sum()
    fresh = ~record.duplicated(["account", "device"])
    assert fresh[kind == "account takeover"].mean() > 5 * fresh[kind == ""].mean()
    by_terminal = record.groupby(["counterparty", kind.rename("kind")]).size().unstack(fill_value=0)
    colluding = by_terminal[by_terminal["collusive terminal"] > 5]
    assert (colluding[""] > colluding["collusive terminal"]).all()
    assert by_terminal["compromised terminal"].nlargest(20).sum() > 0.5 * (kind == "compromised terminal").sum()
    visits = record[kind != "collusive terminal"].groupby("account")["counterparty"].agg(set)
    again = record[kind == "collusive terminal"]
    assert all(m in visits[a] for a, m in zip(again["account"], again["counterparty"], strict=True))


def test_the_past_is_not_the_future(large: pd.DataFrame) -> None:
    day = (large["time"] - large["time"].min()).dt.days
    early, late = large[day < 12], large[day >= 23]
    growth = late["scenario"].value_counts() / early["scenario"].value_counts()
    assert growth["card testing"] > 1.7
    assert growth["large amount"] < 0.85
    assert (late["channel"] == "online").mean() > (early["channel"] == "online").mean() + 0.02
    usual = large[large["label"] == 0].groupby("account")["amount"].median()

    def raised(part: pd.DataFrame) -> float:
        """By how much, in logarithms, amounts at compromised terminals are above the usual ones of their accounts."""
        fraud = part[part["scenario"] == "compromised terminal"]
        return np.log(fraud["amount"] / fraud["account"].map(usual)).mean()

    assert raised(late) > raised(early) + 0.1
