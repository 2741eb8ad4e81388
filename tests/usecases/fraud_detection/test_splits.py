from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.errors import DataError
from tests.usecases.fraud_detection.conftest import START, configured, make_frame, transactions
from usecases.fraud_detection import data, splits
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.timeline import DAY


def settings(delay: float = 2, **split: object) -> FraudConfig:
    return configured(data={"label_delay_days": delay}, split=split)


def day_of(frame: pd.DataFrame, first: int = START) -> np.ndarray:
    return ((frame["time"] - first) // DAY).to_numpy()


def by_the_handbook(frame: pd.DataFrame, first: int, train: int, delay: int, test: int) -> tuple[list[int], list[int]]:
    """`get_train_test_set` of the Handbook (section 4.2 of its `shared_functions`), day by day; places in the frame."""
    day, fraud = day_of(frame), (frame["label"] == 1).to_numpy()
    accounts = frame["account"].to_numpy()
    fit = np.flatnonzero((day >= first) & (day < first + train))
    known = set(accounts[fit][fraud[fit]])
    judge: list[int] = []
    for step in range(test):
        known |= set(accounts[fraud & (day == first + train + step - 1)])
        today = np.flatnonzero(day == first + train + delay + step)
        judge += [int(row) for row in today if accounts[row] not in known]
    return fit.tolist(), judge


@pytest.mark.parametrize(("train", "delay", "test"), [(7, 2, 5), (5, 7, 7), (6, 0, 4)])
def test_known_accounts_are_removed_as_the_handbook_does_it(
    train: int, delay: int, test: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "FEWEST_FRAUDS", 0)
    frame = make_frame(rows=900, days=30, accounts=150, delay=delay * DAY)
    frame["label"] = (np.random.default_rng(0).random(900) < 0.08).astype(float)
    start = pd.Timestamp(START + 4 * DAY, unit="ms").date()
    part = splits.split(transactions(frame), settings(delay, start=start, train_days=train, test_days=test))[1]
    fit, judge = by_the_handbook(frame, 4, train, delay, test)
    assert part.fit.tolist() == fit
    assert part.judge.tolist() == judge
    assert part.day.tolist() == (day_of(frame)[judge] - 4 - train - delay).tolist()
    kept = splits.split(
        transactions(frame), settings(delay, start=start, train_days=train, test_days=test, known_accounts="keep")
    )[1]
    assert len(kept.judge) > len(judge)
    assert f"without {len(kept.judge) - len(judge):,} of accounts" in part.words


def test_the_handbooks_week_has_the_published_rows(shared_data: Path) -> None:
    file = shared_data / "fraud" / "handbook" / "transactions.parquet"
    if not file.exists():
        pytest.skip(f"needs {file}")
    config = configured(
        data={"source": str(file), "label_delay_days": 7},
        split={"start": "2018-07-25", "train_days": 7, "test_days": 7, "validation": "accounts"},
    )
    loaded = data.load(config)
    part = splits.split(loaded, config)[1]
    assert (len(part.fit), len(part.judge)) == (67_240, 58_264)
    assert loaded.frame["label"].to_numpy()[part.judge].sum() == 385


def test_models_are_chosen_on_later_days_whose_labels_were_not_known_yet() -> None:
    frame = make_frame(rows=3000, days=60, accounts=500, delay=2 * DAY)
    config = settings(2, train_days=28, test_days=10)
    choosing, final = splits.split(transactions(frame), config)
    time, label_time = frame["time"].to_numpy(), frame["label_time"].to_numpy()
    for part in (choosing, final):
        assert label_time[part.fit].max() <= time[part.judge].min()
        assert label_time[part.fit].max() > time[part.judge].min() - DAY  # and not later than needed
    assert set(choosing.fit) | set(choosing.judge) <= set(final.fit)
    assert time[choosing.judge].min() == time[final.fit][time[final.fit] >= START + 50 * DAY - 2 * DAY - 7 * DAY].min()
    assert time[final.judge].max() == time[-1]


def test_models_can_be_chosen_on_other_accounts() -> None:
    frame = make_frame(rows=3000, days=60, accounts=500, delay=2 * DAY)
    accounts = frame["account"].to_numpy()
    keep = settings(2, validation="accounts", train_days=28, test_days=10, known_accounts="keep")
    choosing, final = splits.split(transactions(frame), keep)
    assert not set(accounts[choosing.fit]) & set(accounts[choosing.judge])
    assert sorted([*choosing.fit, *choosing.judge]) == final.fit.tolist()
    assert 0.15 < len(choosing.judge) / len(final.fit) < 0.35
    without = splits.split(transactions(frame), settings(2, validation="accounts", train_days=28, test_days=10))[0]
    assert set(without.judge) < set(choosing.judge)  # accounts known as compromised by then are gone
    bare = frame.drop(columns="account")
    choosing, final = splits.split(transactions(bare), settings(2, validation="accounts", train_days=28, test_days=10))
    assert sorted([*choosing.fit, *choosing.judge]) == final.fit.tolist()


def test_left_open_the_split_uses_what_there_is_and_whole_days() -> None:
    for days in (20, 45, 100):
        frame = make_frame(rows=60 * days, days=days, accounts=900)
        period = splits.plan(transactions(frame), settings(2))
        assert period.start >= frame["time"].iloc[0] - DAY
        assert frame["time"].iloc[-1] - DAY < period.test_end <= frame["time"].iloc[-1] + DAY
        assert period.test_start - period.train_end == 2 * DAY
        assert period.train_end - period.start <= 28 * DAY
        assert DAY < period.test_end - period.test_start <= 14 * DAY
        if days == 100:
            assert period.start % DAY == 0


def test_labels_that_are_not_known_are_neither_fitted_nor_judged() -> None:
    frame = make_frame(rows=3000, days=60, accounts=500)
    rows = transactions(frame)
    for validation in ("time", "accounts"):
        for part in splits.split(rows, settings(2, train_days=28, test_days=10, validation=validation)):
            labels = frame["label"].to_numpy()
            assert not np.isnan(labels[part.fit]).any()
            assert not np.isnan(labels[part.judge]).any()
    every = splits.split(transactions(frame.drop(columns="label")), settings(2, train_days=28, test_days=10))[1]
    assert every.fit.tolist() == np.flatnonzero((day_of(frame) >= 20) & (day_of(frame) < 48)).tolist()


def test_a_record_that_is_too_short_is_refused_with_a_fix_that_works() -> None:
    frame = make_frame(rows=2000, days=6, accounts=1500, delay=0)
    with pytest.raises(DataError, match=r"covers 5.* days, the split needs") as caught:
        splits.split(transactions(frame), settings(7))
    match = re.search(r"data\.label_delay_days=([\d.e+-]+)", str(caught.value))
    assert match
    choosing, final = splits.split(transactions(frame), settings(float(match[1])))
    assert len(choosing.fit)
    assert len(choosing.judge)
    assert len(final.judge)
    with pytest.raises(DataError, match="the split would go from"):
        splits.split(transactions(frame), settings(1, start=pd.Timestamp(START + 5 * DAY, unit="ms").date(), train_days=3))


def test_too_few_frauds_are_named_for_each_part_at_once() -> None:
    frame = make_frame(rows=3000, days=60, accounts=500)
    frame["label"] = (frame.index % 600 == 0).astype(float)
    with pytest.raises(DataError) as caught:
        splits.split(transactions(frame), settings(2))
    found = [finding.what for finding in caught.value.findings]
    for part in (
        "the training days",
        "the test days",
        "the part that models are chosen on",
        "the part that is fitted to choose on",
    ):
        assert any(what.startswith(part) for what in found)
    assert all(finding.fix for finding in caught.value.findings)


def test_the_check_names_a_record_that_is_too_short(tmp_path: Path) -> None:
    make_frame(rows=200, days=3).to_csv(tmp_path / "a.csv", index=False)
    findings = splits.check(configured(data={"source": str(tmp_path / "a.csv")}))
    assert any(finding.severity == "error" and "the split needs" in finding.what for finding in findings)


def test_labels_that_come_late_are_not_learnt_from() -> None:
    frame = make_frame(rows=3000, days=60, accounts=500, delay=0)
    frame["label_time"] = frame["time"] + 8 * DAY
    choosing, final = splits.split(transactions(frame), settings(0, train_days=40, test_days=10, known_accounts="keep"))
    labels, known = frame["label"].to_numpy(), frame["label_time"].to_numpy() <= START + 50 * DAY
    assert final.learnt.tolist() == np.where(known, labels, 0)[final.fit].tolist()
    assert 0 < final.learnt.sum() < labels[final.fit].sum()
    assert final.truth.tolist() == labels[final.judge].tolist()
    assert choosing.learnt.sum() < labels[choosing.fit].sum()
    assert "not known by then" in final.words
