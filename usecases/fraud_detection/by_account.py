"""What an account usually does, and how a transaction of it differs."""

from __future__ import annotations

import numpy as np

from usecases.fraud_detection.timeline import DAY, HOUR, MEMORY, RECENT, Arrivals, Block, Columns, Timeline, total

OUTLYING, FAR_OUT = 2.5, 3.0  # times what is usual
LARGEST_UNITS = 3 * 10**7  # larger amounts count as this much in the spread; their squares' sums fit into 64 bits
WINDOWS = {"1h": HOUR, "1d": DAY, "3d": 3 * DAY, "7d": 7 * DAY, "14d": 14 * DAY, "30d": 30 * DAY, "90d": MEMORY}
FEW = 3  # transactions before which nothing is usual yet
_FILL = np.iinfo(np.int64).max


class ByAccount:
    """Call the methods in the order in which they stand here: each needs the sums that the one before it makes possible."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.timeline = Timeline(columns.account, columns.time, MEMORY)
        self.cents = self.timeline.in_order(columns.cents)
        self.spent = self.timeline.sums(columns.cents)
        self.frauds = Arrivals(columns.account, columns.known_at, MEMORY)

    def amounts(self, rows: np.ndarray) -> Block:
        """The amount beside the account's recent ones; decides which amounts are outlying."""
        columns = self.columns
        span = self.timeline.last(rows, MEMORY)
        places, there = self.timeline.recent(span, RECENT)
        own = columns.cents[rows]
        before = np.where(there, self.cents[places], _FILL)
        count = there.sum(0)
        before = np.sort(before.T, axis=1)
        at, last = np.arange(len(rows)), np.maximum(count - 1, 0)
        median = np.where(count > 0, before[at, last // 2], own)
        upper = np.where(count > 0, before[at, last * 3 // 4], own)
        largest = np.where(count > 0, before[at, last], own)
        columns.outlying[rows] = (count >= FEW) & (own > OUTLYING * median)
        return {
            "amount_over_median": own / (median + 100),
            "amount_over_upper": own / (upper + 100),
            "amount_over_largest": own / (largest + 100),
        }

    def sum_usual(self) -> None:
        usual = ~self.columns.outlying
        self.usual_count = self.timeline.sums(usual)
        self.usual_cents = self.timeline.sums(np.where(usual, self.columns.cents, 0))
        units = np.minimum(self.columns.cents // 100, LARGEST_UNITS)
        self.usual_squares = self.timeline.sums(np.where(usual, units * units, 0))

    def ratios(self, rows: np.ndarray) -> Block:
        """The amount beside mean and spread of those that are not outlying."""
        span = self.timeline.last(rows, MEMORY)
        count = total(self.usual_count, span)
        mean = total(self.usual_cents, span) / np.maximum(count, 1)
        square = total(self.usual_squares, span) / np.maximum(count, 1)
        spread = 100 * np.sqrt(np.maximum(square - (mean / 100) ** 2, 0))
        own = self.columns.cents[rows]
        ratio = np.where(count > 0, own / (mean + 100), 1.0).astype(np.float32)
        self.columns.ratio[rows] = ratio
        return {
            "amount_over_usual": ratio,
            "amount_deviation": np.where(count > 0, (own - mean) / (spread + 100), 0),
            "usual_amount": np.log2(mean / 100 + 1),
            "usual_spread": spread / (mean + 100),
            "account_transactions": np.log2(span.count + 1),
        }

    def sum_outliers(self) -> None:
        self.ratio = self.timeline.in_order(self.columns.ratio)
        self.time = self.timeline.in_order(self.columns.time)
        self.large = self.timeline.sums(self.columns.ratio > OUTLYING)
        self.very_large = self.timeline.sums(self.columns.ratio > FAR_OUT)

    def activity(self, rows: np.ndarray) -> Block:
        """How often and how much the account paid lately, and how unusual that was."""
        made: Block = {}
        spans = {name: self.timeline.last(rows, age) for name, age in WINDOWS.items()}
        now = self.columns.time[rows]
        for name in ("1h", "1d", "7d"):
            made[f"account_count_{name}"] = spans[name].count
        for name in ("1h", "1d"):
            made[f"account_spent_{name}"] = np.log2(total(self.spent, spans[name]) / 100 + 1)
        for name in ("1d", "3d", "7d", "14d"):
            made[f"account_large_{name}"] = total(self.large, spans[name])
        for name in ("3d", "7d", "14d"):
            made[f"account_very_large_{name}"] = total(self.very_large, spans[name])
        places, there = self.timeline.recent(self.timeline.last(rows, MEMORY), RECENT)
        ratio = np.where(there, self.ratio[places], 0)
        age = np.where(there, now - self.time[places], MEMORY)
        for name in ("3d", "7d", "14d"):
            made[f"account_largest_{name}"] = np.where(age < WINDOWS[name], ratio, 0).max(axis=0)
        made["hours_since_last"] = np.log2(age[0] / HOUR + 1)
        made["hours_since_large"] = np.log2(np.where(ratio > OUTLYING, age, MEMORY).min(axis=0) / HOUR + 1)
        account = self.columns.account[rows]
        for name in ("7d", "14d", "90d"):
            made[f"account_frauds_{name}"] = self.frauds.between(account, now, WINDOWS[name])
        made["days_since_account_fraud"] = np.minimum(self.frauds.since(account, now), MEMORY) / DAY
        return made

    def novelty(self, rows: np.ndarray, categories: tuple[str, ...]) -> Block:
        """Is the counterparty, or the value of a categorical input, new among the account's recent ones?"""
        places, there = self.timeline.recent(self.timeline.last(rows, MEMORY), RECENT)
        before = self.timeline.order[places]
        made = {"new_counterparty": _new(self.columns.counterparty, rows, before, there)}
        same = there & (self.columns.counterparty[before] == self.columns.counterparty[rows])
        apart = np.abs(self.cents[places] / (self.columns.cents[rows] + 100.0) - 1)
        made["nearest_repeat"] = np.where(same, np.minimum(apart, 1), 1).min(axis=0)
        for place, name in enumerate(categories):
            made[f"new_{name}"] = _new(self.columns.categories[:, place], rows, before, there)
        return made


def _new(codes: np.ndarray, rows: np.ndarray, before: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The share of recent transactions with another value; a half where there are none."""
    other = ((codes[before] != codes[rows]) & there).sum(0)
    count = there.sum(0)
    return np.where(count > 0, other / np.maximum(count, 1), 0.5)
