"""How busy a terminal, merchant or payee is, and how risky by the labels that were known at the time."""

from __future__ import annotations

import numpy as np

from usecases.fraud_detection.by_account import OUTLYING, WINDOWS
from usecases.fraud_detection.timeline import DAY, MEMORY, NEVER, RECENT, Arrivals, Block, Columns, Timeline, total

RISK_WINDOWS = ("7d", "14d", "30d")
LAST = (1, 2, 5)
LARGEST_RATIO = 6.0


class ByCounterparty:
    """Labels count from the moment at which they are known: `columns.known_at`, or `delay` ms after the transaction."""

    def __init__(self, columns: Columns, delay: int) -> None:
        self.columns, self.delay = columns, delay
        self.timeline = Timeline(columns.counterparty, columns.time, MEMORY + delay)
        self.cents = self.timeline.sums(columns.cents)
        self.large = self.timeline.sums(columns.ratio > OUTLYING)
        self.time = self.timeline.in_order(columns.time)
        self.known_at = self.timeline.in_order(columns.known_at)
        unexplained = columns.ratio <= OUTLYING  # fraud that the amount does not give away says more of the counterparty
        self.ratio = self.timeline.in_order(columns.ratio)
        self.unexplained = self.timeline.in_order(unexplained)
        self.frauds = Arrivals(columns.counterparty, columns.known_at, MEMORY)
        self.unexplained_frauds = Arrivals(columns.counterparty, np.where(unexplained, columns.known_at, NEVER), MEMORY)

    def activity(self, rows: np.ndarray) -> Block:
        """How often it is paid, and how the amount compares with what it usually gets."""
        made: Block = {}
        for name in ("1h", "1d"):
            made[f"counterparty_count_{name}"] = self.timeline.last(rows, WINDOWS[name]).count
        month, week = self.timeline.last(rows, WINDOWS["30d"]), self.timeline.last(rows, WINDOWS["7d"])
        mean = total(self.cents, month) / np.maximum(month.count, 1)
        own = self.columns.cents[rows]
        made["amount_over_counterparty"] = np.where(month.count > 0, own / (mean + 100), 1)
        made["counterparty_large_7d"] = total(self.large, week)
        return made

    def risk(self, rows: np.ndarray) -> Block:
        """Fraud at the counterparty as far as it was known."""
        made: Block = {}
        entity, now = self.columns.counterparty[rows], self.columns.time[rows]
        for name in RISK_WINDOWS:
            made[f"unexplained_{name}"] = self.unexplained_frauds.between(entity, now, WINDOWS[name])
        settled = self.timeline.settled(rows, WINDOWS["30d"], self.delay).count
        made["fraud_share_30d"] = self.frauds.between(entity, now, WINDOWS["30d"]) / (settled + 1)
        made["frauds_90d"] = self.frauds.between(entity, now, WINDOWS["90d"])
        return made | self._last(rows)

    def _last(self, rows: np.ndarray) -> Block:
        """The newest transactions whose labels are known, one by one."""
        now = self.columns.time[rows]
        places, there = self.timeline.recent(self.timeline.settled(rows, MEMORY, self.delay), RECENT)
        fraud = there & (self.known_at[places] <= now)
        unexplained = fraud & self.unexplained[places]
        days = np.where(there, now - self.time[places], MEMORY) / DAY
        none = MEMORY / DAY
        made: Block = {}
        made["frauds_last_1"] = fraud[0]
        for k in LAST:
            made[f"unexplained_last_{k}"] = unexplained[:k].sum(0)
        at = np.arange(len(rows))
        run = np.where(fraud.all(0), RECENT, np.argmin(fraud, axis=0))  # how many of the newest are all fraud
        broken = there & ~fraud
        made["fraud_run"] = run
        made["fraud_run_unexplained"] = (unexplained & (np.arange(RECENT)[:, None] < run)).sum(0)
        made["fraud_run_days"] = np.where(run > 0, days[np.maximum(run - 1, 0), at], 0)
        # the run began after the legitimate transaction before it, which may be long ago
        made["fraud_run_days_most"] = np.where(run > 0, np.where(broken, days, none).min(axis=0), 0)
        newest = np.argmax(fraud, axis=0)
        made["last_fraud_ratio"] = np.where(fraud.any(0), np.minimum(self.ratio[places[newest, at]], LARGEST_RATIO), 0)
        made["days_since_legitimate"] = np.where(broken, days, none).min(axis=0)
        made["days_since_settled"] = days[0]
        for name, kind in (("fraud", fraud), ("unexplained", unexplained)):
            made[f"days_since_{name}"] = np.where(kind, days, none).min(axis=0)
            made[f"legitimate_since_{name}"] = np.where(kind.any(0), np.argmax(kind, axis=0), RECENT)
        return made
