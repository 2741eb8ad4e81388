from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import pandas as pd
import pytest

from tests.usecases.fraud_detection.conftest import START, make_frame
from usecases.fraud_detection import features
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.timeline import DAY, HOUR

MEMORY = 90 * DAY
WINDOWS = {"1h": HOUR, "1d": DAY, "3d": 3 * DAY, "7d": 7 * DAY, "14d": 14 * DAY, "30d": 30 * DAY, "90d": MEMORY}
LARGE, VERY_LARGE = 2.5, 3.0
NEVER = 10**18


class Reference:
    """The features of one transaction after the other, from plain loops over those before it."""

    def __init__(self, frame: pd.DataFrame, delay: int) -> None:
        self.rows = frame.to_dict("list")
        self.cents = [min(round(amount * 100), 10**13) for amount in frame["amount"]]
        self.known_at = [t if label == 1 else NEVER for t, label in zip(frame["label_time"], frame["label"], strict=True)]
        self.delay = delay
        self.outlying: list[bool] = []
        self.ratio: list[float] = []

    def all(self) -> list[dict[str, float]]:
        made = []
        for i in range(len(self.cents)):
            own: dict[str, float] = {"amount": math.log2(self.cents[i] / 100 + 1), "hour": self.rows["time"][i] % DAY / HOUR}
            own |= self.amounts(i) | self.account_activity(i) | self.novelty(i) | self.counterparty(i) | self.risk(i)
            made.append(own)
        return made

    def past(self, role: str, i: int, age: int, delay: int = 0) -> list[int]:
        """Earlier transactions of the same account or counterparty, newest first."""
        time, who = self.rows["time"], self.rows[role]
        latest = time[i] - delay
        return [j for j in range(i - 1, -1, -1) if who[i] and who[j] == who[i] and latest - age < time[j] <= latest]

    def frauds(self, role: str, i: int, age: int, unexplained: bool = False) -> int:
        """How many of the entity became known as fraud in the last `age` ms before transaction i."""
        now, who = self.rows["time"][i], self.rows[role]
        known = [j for j in range(len(who)) if who[i] and who[j] == who[i] and now - age <= self.known_at[j] < now]
        return sum(not unexplained or self.ratio[j] <= LARGE for j in known)

    def ages(self, i: int, places: Sequence[int]) -> list[int]:
        return [self.rows["time"][i] - self.rows["time"][j] for j in places]

    def amounts(self, i: int) -> dict[str, float]:
        own, past = self.cents[i], self.past("account", i, MEMORY)
        recent = sorted(self.cents[j] for j in past[:32])
        last = len(recent) - 1
        median, upper, largest = (recent[last // 2], recent[last * 3 // 4], recent[last]) if recent else (own, own, own)
        usual = [self.cents[j] for j in past if not self.outlying[j]]
        mean = sum(usual) / max(len(usual), 1)
        squares = [min(c // 100, 3 * 10**7) ** 2 for c in usual]
        spread = 100 * math.sqrt(max(sum(squares) / max(len(usual), 1) - (mean / 100) ** 2, 0))
        self.outlying.append(len(recent) >= 3 and own > 2.5 * median)
        self.ratio.append(float(np.float32(own / (mean + 100))) if usual else 1.0)
        return {
            "amount_over_median": own / (median + 100),
            "amount_over_upper": own / (upper + 100),
            "amount_over_largest": own / (largest + 100),
            "amount_over_usual": self.ratio[i],
            "amount_deviation": (own - mean) / (spread + 100) if usual else 0,
            "usual_amount": math.log2(mean / 100 + 1),
            "usual_spread": spread / (mean + 100),
            "account_transactions": math.log2(len(past) + 1),
        }

    def account_activity(self, i: int) -> dict[str, float]:
        now = self.rows["time"][i]
        made: dict[str, float] = {}
        for name, age in WINDOWS.items():
            past = self.past("account", i, age)
            made[f"account_count_{name}"] = len(past)
            made[f"account_spent_{name}"] = math.log2(sum(self.cents[j] for j in past) / 100 + 1)
            made[f"account_large_{name}"] = sum(self.ratio[j] > LARGE for j in past)
            made[f"account_very_large_{name}"] = sum(self.ratio[j] > VERY_LARGE for j in past)
            made[f"account_largest_{name}"] = max((self.ratio[j] for j in past[:32]), default=0)
            made[f"account_frauds_{name}"] = self.frauds("account", i, age)
        recent = self.past("account", i, MEMORY)[:32]
        made["hours_since_last"] = math.log2(min(self.ages(i, recent), default=MEMORY) / HOUR + 1)
        large = self.ages(i, [j for j in recent if self.ratio[j] > LARGE])
        made["hours_since_large"] = math.log2(min(large, default=MEMORY) / HOUR + 1)
        account = self.rows["account"]
        since = [now - k for a, k in zip(account, self.known_at, strict=True) if account[i] and a == account[i] and k < now]
        made["days_since_account_fraud"] = min([*since, MEMORY]) / DAY
        return made

    def novelty(self, i: int) -> dict[str, float]:
        recent = self.past("account", i, MEMORY)[:32]
        made: dict[str, float] = {}
        for name in ("counterparty", "channel"):
            values = self.rows[name]
            made[f"new_{name}"] = sum(values[j] != values[i] for j in recent) / len(recent) if recent else 0.5
        same = [j for j in recent if self.rows["counterparty"][j] == self.rows["counterparty"][i]]
        made["nearest_repeat"] = min([1.0, *(abs(self.cents[j] / (self.cents[i] + 100) - 1) for j in same)])
        return made

    def counterparty(self, i: int) -> dict[str, float]:
        made: dict[str, float] = {}
        for name, age in WINDOWS.items():
            past = self.past("counterparty", i, age)
            made[f"counterparty_count_{name}"] = len(past)
            made[f"counterparty_large_{name}"] = sum(self.ratio[j] > LARGE for j in past)
        month = self.past("counterparty", i, WINDOWS["30d"])
        mean = sum(self.cents[j] for j in month) / max(len(month), 1)
        return {**made, "amount_over_counterparty": self.cents[i] / (mean + 100) if month else 1}

    def risk(self, i: int) -> dict[str, float]:
        now = self.rows["time"][i]
        made: dict[str, float] = {}
        for name, age in WINDOWS.items():
            made[f"unexplained_{name}"] = self.frauds("counterparty", i, age, unexplained=True)
            made[f"frauds_{name}"] = self.frauds("counterparty", i, age)
            made[f"settled_{name}"] = len(self.past("counterparty", i, age, self.delay))
            made[f"fraud_share_{name}"] = made[f"frauds_{name}"] / (made[f"settled_{name}"] + 1)
        settled = self.past("counterparty", i, MEMORY, self.delay)[:32]
        fraud = [self.known_at[j] <= now for j in settled]
        bare = [is_fraud and self.ratio[j] <= LARGE for is_fraud, j in zip(fraud, settled, strict=True)]
        days = [age / DAY for age in self.ages(i, settled)]
        for k in (1, 2, 5, 10):
            made[f"frauds_last_{k}"], made[f"unexplained_last_{k}"] = sum(fraud[:k]), sum(bare[:k])
        run = len(list(takewhile(bool, fraud)))
        honest = [day for day, is_fraud in zip(days, fraud, strict=True) if not is_fraud]
        made |= {"fraud_run": run, "fraud_run_unexplained": sum(bare[:run]), "fraud_run_days": days[run - 1] if run else 0}
        made["fraud_run_days_most"] = min(honest, default=90) if run else 0
        made["days_since_legitimate"] = min(honest, default=90)
        made["days_since_settled"] = days[0] if days else 90
        made["last_fraud_ratio"] = min(self.ratio[settled[fraud.index(True)]], 6) if any(fraud) else 0
        for name, kind in (("fraud", fraud), ("unexplained", bare)):
            made[f"days_since_{name}"] = min((day for day, it in zip(days, kind, strict=True) if it), default=90)
            made[f"legitimate_since_{name}"] = kind.index(True) if any(kind) else 32
        return made


def check(frame: pd.DataFrame, layout: Layout) -> None:
    names = features.names(layout)
    assert len(set(names)) == len(names)
    expected = pd.DataFrame(Reference(frame, layout.delay).all())
    known = [name for name in names if name in expected]
    assert len(known) >= 0.75 * len(names), f"the reference lacks {sorted(set(names) - set(known))}"
    found = pd.DataFrame(Ledger(layout).add(frame), columns=names)
    for name in known:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("late", [0.0, 0.5], ids=["usual", "late"])
@pytest.mark.parametrize("delay", [0, 2 * DAY, 7 * DAY], ids=["0d", "2d", "7d"])
def test_features_equal_plain_loops_over_the_past(delay: int, late: float) -> None:
    check(make_frame(days=60, delay=delay, late=late), Layout(True, True, ("channel",), delay))


@pytest.mark.parametrize("accounts", [1, 400], ids=["one account", "hardly one twice"])
def test_features_of_few_or_busy_accounts(accounts: int) -> None:
    frame = make_frame(rows=250, days=40, accounts=accounts, counterparties=1, delay=DAY, seed=accounts)
    check(frame, Layout(True, True, ("channel",), DAY))


def test_what_is_older_than_the_memory_does_not_count() -> None:
    frame = make_frame(rows=200, days=300, delay=DAY, seed=1)
    frame["label"] = frame["label"].where(frame["time"] < START + 100 * DAY, 0)
    check(frame, Layout(True, True, ("channel",), DAY))


def test_a_layout_without_a_role_lacks_its_features() -> None:
    frame = make_frame(rows=150, days=30)
    everything = Layout(True, True, ("channel",), 2 * DAY)
    full = pd.DataFrame(Ledger(everything).add(frame), columns=features.names(everything))
    for accounts, counterparties in ((True, False), (False, True), (False, False)):
        layout = Layout(accounts, counterparties, ("channel",), 2 * DAY)
        names = features.names(layout)
        assert set(names) < set(full)
        gone = [role for role, there in (("account", accounts), ("counterparty", counterparties)) if not there]
        made = Ledger(layout).add(frame.drop(columns=gone))
        assert made.shape == (len(frame), len(names))
        assert np.isfinite(made).all()
        if accounts:  # without counterparties, all that the account says stays
            same = [name for name in names if "counterparty" not in name and name != "nearest_repeat"]
            np.testing.assert_array_equal(pd.DataFrame(made, columns=names)[same], full[same])


@pytest.mark.parametrize("delay", [0, 3 * DAY], ids=["0d", "3d"])
def test_nothing_later_and_no_label_unknown_at_the_time_changes_a_feature(delay: int) -> None:
    layout = Layout(True, True, ("channel",), delay)
    frame = make_frame(rows=300, days=40, delay=delay, late=0.3)
    before = Ledger(layout).add(frame)
    rng = np.random.default_rng(5)
    for place in (1, 40, 150, 299):
        other = make_frame(rows=300, days=40, delay=delay, seed=6)
        later = frame.iloc[place:].assign(
            **{c: other[c].iloc[place:] for c in ("account", "counterparty", "amount", "label", "channel")}
        )
        more = other.iloc[:50].assign(time=frame["time"].iloc[place], label=1.0, label_time=frame["time"].iloc[place])
        changed = pd.concat([frame.iloc[:place], more, later])
        hidden = (np.arange(len(changed)) < place) & (changed["label_time"] > frame["time"].iloc[place - 1])
        changed.loc[hidden, "label"] = rng.choice([0.0, 1.0, np.nan], hidden.sum())
        np.testing.assert_array_equal(Ledger(layout).add(changed)[:place], before[:place])
        np.testing.assert_array_equal(Ledger(layout).add(frame.iloc[:place]), before[:place])


def test_a_known_label_does_change_features() -> None:
    frame = make_frame(rows=300, days=40, delay=DAY)
    layout = Layout(True, True, ("channel",), DAY)
    known = frame["label_time"] < frame["time"].iloc[-1] - DAY
    changed = frame.assign(label=frame["label"].where(~known, 1 - frame["label"]))
    last = [Ledger(layout).add(table)[-20:] for table in (frame, changed)]
    differ = {name for name, moved in zip(features.names(layout), (last[0] != last[1]).any(0), strict=True) if moved}
    assert differ
    assert all("fraud" in name or "unexplained" in name or "legitimate" in name for name in differ)


def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = make_frame(rows=300)
    layout = Layout(True, True, ("channel",), DAY)
    whole = Ledger(layout).add(frame)
    monkeypatch.setattr(features, "BLOCK", 17)
    np.testing.assert_array_equal(Ledger(layout, threads=3).add(frame), whole)
