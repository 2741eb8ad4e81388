from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.usecases.fraud_detection.conftest import configured, make_frame, transactions
from usecases.fraud_detection import ledger as ledgers
from usecases.fraud_detection import prepare as preparing
from usecases.fraud_detection import timeline
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.prepare import prepare
from usecases.fraud_detection.timeline import DAY, HOUR, Columns

LENGTH = 6
LAYOUT = Layout(True, True, ("channel",), 2 * DAY)
OPERATIONS = ("none", "restore", "forget", "copy", "cut")


def at_once(frame: pd.DataFrame, layout: Layout = LAYOUT) -> tuple[np.ndarray, np.ndarray]:
    """Features and histories of all transactions, computed together."""
    whole = Ledger(layout)
    return whole.add(frame), whole.histories(np.arange(len(frame)), LENGTH)


def changed(ledger: Ledger, operation: str, junk: pd.DataFrame) -> Ledger:
    """After something that later transactions must not notice."""
    if operation == "restore":
        arrays, values = ledger.state()
        return Ledger.restore(ledger.layout, arrays, json.loads(json.dumps(values)))
    if operation == "forget":
        ledger.forget()
    if operation == "copy":
        copy = ledger.before(None)
        ledger.add(junk)
        return copy
    if operation == "cut":
        length, mark = len(ledger), ledger.mark()
        ledger.add(junk)
        ledger.histories(np.arange(length, len(ledger)), LENGTH)
        ledger.cut(mark)
    return ledger


def assert_bit_by_bit(
    frame: pd.DataFrame, layout: Layout = LAYOUT, seed: int = 0, operations: tuple[str, ...] = OPERATIONS
) -> None:
    """Random micro-batches, with something done between them, give what all at once gives."""
    rng = np.random.default_rng(seed)
    features, histories = at_once(frame, layout)
    ledger, start = Ledger(layout), 0
    while start < len(frame):
        batch = frame.iloc[start : start + rng.integers(1, 41)]
        found = ledger.add(batch)
        rows = np.arange(len(ledger) - len(batch), len(ledger))
        np.testing.assert_array_equal(found, features[start : start + len(batch)], err_msg=f"from {start}")
        np.testing.assert_array_equal(ledger.histories(rows, LENGTH), histories[start : start + len(batch)])
        start += len(batch)
        junk = frame.sample(5, random_state=start).assign(
            time=batch["time"].iloc[-1] + DAY, label=1.0, label_time=batch["time"].iloc[-1]
        )
        junk = junk.assign(transaction=[f"junk{start}-{n}" for n in range(5)], account=["", "new", *junk["account"].iloc[2:]])
        ledger = changed(ledger, str(rng.choice(operations)), junk)


@pytest.mark.parametrize("seed", range(3))
def test_micro_batches_give_what_all_at_once_gives(seed: int) -> None:
    assert_bit_by_bit(make_frame(rows=500, days=60, late=0.3 * (seed == 1), seed=seed), seed=seed)


def test_a_long_record_is_forgotten_without_a_trace() -> None:
    frame = make_frame(rows=500, days=280, seed=4)
    frame["label"] = frame["label"].where(frame.index % 20 != 0, 1.0)
    ledger = Ledger(LAYOUT)
    ledger.add(frame)
    ledger.forget()
    assert 0 < len(ledger) < len(frame) / 2
    assert_bit_by_bit(frame, seed=4)


def test_frauds_that_became_known_late_are_remembered_as_long_as_they_count() -> None:
    assert_bit_by_bit(make_frame(rows=500, days=280, late=0.5, seed=5), operations=("forget",))


def test_a_transaction_dated_far_ahead_does_not_wipe_out_the_memory() -> None:
    frame = make_frame(rows=400, days=60, seed=6)
    stray = frame.iloc[:1].assign(
        transaction="stray", time=frame["time"].iloc[-1] + 300 * DAY, account="other", counterparty="other"
    )
    plain, forgetful = Ledger(LAYOUT), Ledger(LAYOUT)
    for ledger in (plain, forgetful):
        ledger.add(frame.iloc[:300])
        ledger.add(stray)
    forgetful.state()
    np.testing.assert_array_equal(forgetful.add(frame.iloc[300:]), plain.add(frame.iloc[300:]))


def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST", 8)
    monkeypatch.setattr(ledgers, "MOST", 8)
    monkeypatch.setattr(ledgers, "BULK", 30)


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """The same without equal times."""
    return frame.assign(time=frame["time"] + np.arange(len(frame)), label_time=frame["label_time"] + np.arange(len(frame)))


def test_busy_entities_are_looked_at_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch)
    for delay in (0, 2 * DAY):
        frame = apart(make_frame(rows=600, days=25, accounts=3, counterparties=3, delay=delay, seed=7)).assign(label=0.0)
        assert_bit_by_bit(frame, Layout(True, True, ("channel",), delay), seed=7)


def test_busy_entities_are_looked_at_alike_at_equal_times(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch)
    assert_bit_by_bit(make_frame(rows=600, days=25, accounts=3, counterparties=3, seed=7).assign(label=0.0), seed=7)


def test_all_frauds_of_busy_entities_count(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch)
    assert_bit_by_bit(apart(make_frame(rows=600, days=25, accounts=3, counterparties=3, seed=7)), seed=7)


def test_the_work_for_a_busy_entity_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch)
    frame = apart(make_frame(rows=600, days=25, accounts=1, counterparties=1, seed=8)).assign(label=0.0)
    ledger = Ledger(LAYOUT)
    ledger.add(frame.iloc[:-1])
    asked: list[int] = []
    build = ledgers.features.build

    def watched(columns: Columns, *rest: Any) -> np.ndarray:
        asked.append(len(columns))
        return build(columns, *rest)

    monkeypatch.setattr(ledgers.features, "build", watched)
    ledger.add(frame.iloc[-1:])
    assert 8 <= asked[0] <= 5 * 8


def test_what_comes_late_does_not_change_what_was_given() -> None:
    frame = make_frame(rows=200, days=30)
    order = np.argsort(np.arange(200) + np.random.default_rng(0).integers(0, 30, 200), kind="stable")
    ledger = Ledger(LAYOUT)
    for start in range(0, 200, 10):
        steps = ledger.steps[:start].copy()
        assert np.isfinite(ledger.add(frame.iloc[order[start : start + 10]])).all()
        np.testing.assert_array_equal(ledger.steps[:start], steps)
    oldest = frame.iloc[:1].assign(transaction="late", time=frame["time"].iloc[0] - 400 * DAY)
    assert np.isfinite(ledger.add(oldest)).all()
    last = frame[frame["account"] != ""].iloc[-1:]
    later = last["time"].iloc[0] + HOUR
    found = ledger.add(last.assign(transaction="next", time=later))[0, ledger.names.index("account_count_7d")]
    expected = (frame["account"] == last["account"].iloc[0]) & (frame["time"] > later - 7 * DAY) & (frame["time"] <= later)
    assert found == expected.sum()


def test_what_comes_out_of_order_is_seen_alike_in_any_batches() -> None:
    frame = make_frame(rows=120, days=10, accounts=2, counterparties=2)
    order = np.argsort(np.arange(120) + np.random.default_rng(1).integers(0, 9, 120), kind="stable")
    frame = frame.iloc[order]
    given = []
    for size in (1, 7, 40):
        ledger = Ledger(LAYOUT)
        given.append(np.concatenate([ledger.add(frame.iloc[start : start + size]) for start in range(0, 120, size)]))
    np.testing.assert_array_equal(given[1], given[0])
    np.testing.assert_array_equal(given[2], given[0])


def test_a_label_learned_later_counts_from_its_time_on() -> None:
    frame = make_frame(rows=400, days=80, late=0.3, seed=9)
    features, _ = at_once(frame)
    ledger, start = Ledger(LAYOUT), 0
    blank = frame.assign(label=np.nan)
    waiting = frame[frame["label"].notna()].sort_values("label_time")
    rng = np.random.default_rng(9)
    for start in range(0, len(frame), 4):
        batch = blank.iloc[start : start + 4]
        assert batch["time"].iloc[-1] - batch["time"].iloc[0] < 2 * DAY
        due = (waiting["label_time"] <= batch["time"].iloc[-1]).to_numpy()
        for entry in waiting[due].itertuples():
            usual = entry.label_time == entry.time + 2 * DAY and rng.random() < 0.5
            assert ledger.learn(entry.transaction, entry.label == 1, None if usual else entry.label_time)
        waiting = waiting[~due]
        np.testing.assert_array_equal(ledger.add(batch), features[start : start + 4])
        if start % 40 == 0:
            ledger = changed(ledger, "restore", batch)
    assert not ledger.learn("never seen", True, None)


def test_a_label_can_be_taken_back_and_is_never_known_before_the_transaction() -> None:
    frame = make_frame(rows=100, days=20, accounts=1, counterparties=1).assign(label=0.0, account="a0", counterparty="m0")
    asked = frame.iloc[-1:].assign(transaction="next", time=frame["time"].iloc[-1] + 5 * DAY)
    plain, told, withdrawn = (Ledger(LAYOUT) for _ in range(3))
    for ledger in (plain, told, withdrawn):
        ledger.add(frame)
    assert told.learn("t99", True, 0)
    assert told.columns.known_at[99] == frame["time"].iloc[99]
    assert withdrawn.learn("t99", True, None)
    assert withdrawn.learn("t99", False, None)
    values = [ledger.add(asked) for ledger in (plain, told, withdrawn)]
    assert (values[1] != values[0]).any()
    np.testing.assert_array_equal(values[2], values[0])


def test_a_copy_from_before_a_time_knows_nothing_later() -> None:
    frame = make_frame(rows=300, days=60)
    moment = int(frame["time"].iloc[200])
    features, histories = at_once(frame)
    ledger = Ledger(LAYOUT)
    ledger.add(frame)
    place = int((frame["time"] < moment).sum())
    for _ in range(2):  # the copy's additions are not in the original
        copy = ledger.before(moment)
        np.testing.assert_array_equal(copy.add(frame.iloc[place:]), features[place:])
        np.testing.assert_array_equal(copy.histories(np.arange(place, 300), LENGTH), histories[place:])
    assert len(ledger) == 300


def test_pieces_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    data = transactions(make_frame(rows=400, days=200), ("channel",))
    config = configured(data={"label_delay_days": 2}, model={"sequence": {"length": LENGTH}})
    wanted = np.flatnonzero(np.random.default_rng(0).random(400) < 0.4)
    whole = prepare(data, config, wanted, 1)
    features, histories = at_once(data.frame)
    np.testing.assert_array_equal(whole.built, features[wanted])
    np.testing.assert_array_equal(whole.history, histories[wanted])
    short = prepare(data, config, wanted, 1, members=["boosting"]).history  # nobody looks at what was before
    np.testing.assert_array_equal(short, whole.history[:, -1:])
    for piece, bulk in ((37, 4_096), (37, 10)):
        monkeypatch.setattr(preparing, "PIECE", piece)
        monkeypatch.setattr(ledgers, "BULK", bulk)
        parts = prepare(data, config, wanted, 1)
        np.testing.assert_array_equal(parts.built, whole.built)
        np.testing.assert_array_equal(parts.history, whole.history)


def test_a_history_ends_with_the_transaction_itself_and_starts_with_nothing() -> None:
    frame = make_frame(rows=60, days=20, accounts=2)
    features, histories = at_once(frame)
    ledger = Ledger(LAYOUT)
    ledger.add(frame)
    assert ledger.histories(np.arange(0), LENGTH).shape == (0, *histories.shape[1:])  # a piece of a file without wanted rows
    steps = np.clip(features[:, ledger.kept], -ledgers.LARGEST_STEP, ledgers.LARGEST_STEP).astype(np.float16)
    for row, history in enumerate(histories):
        who = frame["account"].iloc[row]
        before = [j for j in range(row) if who and frame["account"].iloc[j] == who][-(LENGTH - 1) :]
        expected = np.zeros_like(history)
        for step, j in enumerate([*before, row], LENGTH - len(before) - 1):
            expected[step] = [*steps[j], 1]
        np.testing.assert_array_equal(history, expected)
