"""Splits by time that cannot leak: training days, the delay until labels are known, test days."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from shared.data import cleaning
from shared.errors import DataError, Finding
from usecases.fraud_detection import data
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Transactions
from usecases.fraud_detection.timeline import DAY, HOUR

MOST_TRAIN, MOST_TEST = 28.0, 14.0  # days, where the configuration leaves it open
VALIDATION = 0.25  # of the training days, or of the accounts
FEWEST_FRAUDS = 10


@dataclass(frozen=True)
class Part:
    """Rows to fit on, and later rows to judge on.

    Attributes:
        fit, judge: [rows] places in the frame; only labelled rows (all rows, where there are no labels).
        learnt: [fit] of 0 and 1, the labels as they were known at the beginning of the test days.
        truth: [judge] of 0 and 1; to choose on, again as they were known at the beginning of the test days.
        day: [judge] the day of each, counted from the first judged one.
        words: what was done, for the report.
    """

    fit: np.ndarray
    judge: np.ndarray
    learnt: np.ndarray
    truth: np.ndarray
    day: np.ndarray
    words: str


@dataclass(frozen=True)
class Period:
    """Milliseconds since 1970: training [start, train_end), test [test_start, test_end)."""

    start: int
    train_end: int
    test_start: int
    test_end: int


def split(transactions: Transactions, config: FraudConfig) -> tuple[Part, Part]:
    """The part to choose on, cut out of the training days, and the part to judge on.

    Raises:
        DataError: the record is too short, or has too few frauds in a part.
    """
    period = plan(transactions, config)
    final = _part(transactions.frame, period, config)
    if config.split.validation == "time":
        length = period.train_end - period.start
        validation = int(length * VALIDATION)
        delay = period.test_start - period.train_end
        inner = Period(period.start, period.train_end - validation - delay, period.train_end - validation, period.train_end)
        choosing = (
            _part(transactions.frame, inner, config, period.test_start)
            if inner.train_end > inner.start
            else replace(final, fit=final.fit[:0], learnt=final.learnt[:0])
        )
    else:
        choosing = _by_accounts(transactions.frame, final, period, config)
    choosing, final = (_latest(part, config.train_share) for part in (choosing, final))
    _enough(transactions, choosing, final, config)
    return choosing, final


def check(config: FraudConfig) -> list[Finding]:
    """Every fault of the data at once, the split's included; never raises for bad data."""

    def found() -> list[Finding]:
        transactions = data.inspect(config)
        findings = list(transactions.findings)
        if "time" in transactions.frame and not any(finding.severity == "error" for finding in findings):
            try:
                split(transactions, config)
            except DataError as error:
                findings += [replace(finding, where=config.data.source) for finding in error.findings]
        return findings

    return cleaning.check(found, config.data.source)


def plan(transactions: Transactions, config: FraudConfig) -> Period:
    """Where the parts begin and end.

    Raises:
        DataError: the record does not reach that far.
    """
    first, last = (int(transactions.frame["time"].iloc[place]) for place in (0, -1))
    delay = int(config.data.label_delay_days * DAY)
    if config.split.start is not None:
        start = int(pd.Timestamp(config.split.start).timestamp() * 1000)
        usable = last + 1 - start - delay
    else:
        start, usable = None, last + 1 - first - delay
    test = int((config.split.test_days or min(MOST_TEST, max(usable, 0) / DAY / 3)) * DAY)
    train = int((config.split.train_days or min(MOST_TRAIN, (max(usable, 0) - test) / DAY)) * DAY)
    if start is None:
        start = last + 1 - test - delay - train
        if start - start % DAY + DAY + train + delay + test <= last + DAY:  # whole days, where the last one is not cut short
            start = start - start % DAY if start % DAY < DAY // 2 else start - start % DAY + DAY
    if min(test, train) < HOUR or start < first - DAY or start + train + delay + test > last + DAY:
        have, need = (last - first) / DAY, (train + delay + test) / DAY
        fix = (
            "Give a longer record, or set split.start, split.train_days, split.test_days, data.label_delay_days to fit, such as "
            f"data.label_delay_days={min(config.data.label_delay_days, have / 6):.1g} with the others left open"
        )
        what = f"the record covers {have:.1f} days, the split needs {need:.1f}"
        if config.split.start is not None:
            what = f"the split would go from {_date(start)} to {_date(start + train + delay + test)}"
            what += f", the record goes from {_date(first)} to {_date(last)}"
        raise DataError([Finding("error", what, transactions.name, fix)])
    return Period(start, start + train, start + train + delay, start + train + delay + test)


def _labels(frame: pd.DataFrame, moment: int | None) -> np.ndarray:
    """[rows] 1 fraud, 0 not, NaN unknown, as they were known at a moment (ms; None: in the end)."""
    label = frame["label"].to_numpy() if "label" in frame else np.zeros(len(frame))
    return label if moment is None else np.where((label == 1) & (frame["label_time"].to_numpy() > moment), 0.0, label)


def _part(frame: pd.DataFrame, period: Period, config: FraudConfig, known: int | None = None) -> Part:
    """Judged by the labels as they were known at the moment `known`."""
    time = frame["time"].to_numpy()
    label = _labels(frame, known)
    able = ~np.isnan(label)
    fit = np.flatnonzero((time >= period.start) & (time < period.train_end) & able)
    judged = (time >= period.test_start) & (time < period.test_end) & able
    day = (time - period.test_start) // DAY
    judge, without = _not_blocked(frame, judged, period.start, label, config)
    words = (
        f"trained on {len(fit):,} transactions from {_date(period.start)} for {_days(period.train_end - period.start)}, "
        f"labels known after {_days(period.test_start - period.train_end)}, judged on {len(judge):,} "
        f"from {_date(period.test_start)} for {_days(period.test_end - period.test_start)}{without}"
    )
    learnt = _labels(frame, period.test_start)[fit]
    if late := int((label[fit] == 1).sum() - learnt.sum()):
        words += f"; {late:,} frauds of the training days were not known by then and count as legitimate"
    return Part(fit, judge, learnt, label[judge], day[judge], words)


def later(transactions: Transactions, config: FraudConfig, learnt: tuple[int, int], delay: int, frauds: pd.DataFrame) -> Part:
    """What a trained model is judged on in other data: all that came once it could be used, or the last split.test_days of it.

    Args:
        learnt: its training days, ms since 1970; `delay` after them (ms) their labels were known, and it was trained.
        frauds: account and label_time of the frauds since then that `transactions` do not hold.

    Raises:
        DataError: there is nothing to judge it on.
    """
    frame, labels = transactions.frame, _labels(transactions.frame, None)
    time = frame["time"].to_numpy()
    ready = -(-(learnt[1] + delay) // DAY) * DAY
    end = (int(time[-1]) // DAY + 1) * DAY
    start = max(ready, int(time[0]) // DAY * DAY, end - int((config.split.test_days or end) * DAY))
    since = learnt[0] // DAY * DAY  # accounts are left out from the beginning of a day on
    judge, without = _not_blocked(frame, (time >= start) & ~np.isnan(labels), since, labels, config, frauds)
    found = int(labels[judge].sum())
    if not len(judge) or ("label" in frame and found in (0, len(judge))):
        what = f"of its transactions from {_date(start)} on, {len(judge):,} can be judged, with {found} frauds"
        fix = f"The model learnt from the days before {_date(learnt[1])}. Give later ones, with both labels, fraud and not"
        raise DataError([Finding("error", what, transactions.name, fix)])
    words = (
        f"trained before on {_date(learnt[0])} to {_date(learnt[1] - 1)}, judged on {len(judge):,} transactions from "
        f"{_date(start)} for {_days(end - start)}{without}"
    )
    if "label" in frame and found < FEWEST_FRAUDS:
        words += f"; with only {found} frauds among them the numbers say little"
    empty = judge[:0]
    return Part(empty, judge, labels[empty], labels[judge], (time[judge] - start) // DAY, words)


def _not_blocked(
    frame: pd.DataFrame,
    judged: np.ndarray,
    start: int,
    label: np.ndarray,
    config: FraudConfig,
    frauds: pd.DataFrame | None = None,
) -> tuple[np.ndarray, str]:
    """The places that are judged, and words for what was left out; see `_blocked`."""
    if "account" not in frame or config.split.known_accounts == "keep":
        return np.flatnonzero(judged), ""
    blocked = _blocked(frame, start, label, frauds)
    removed = int((judged & blocked).sum())
    words = f", without {removed:,} of accounts already known as compromised" if removed else ""
    return np.flatnonzero(judged & ~blocked), words


def _blocked(frame: pd.DataFrame, start: int, label: np.ndarray, frauds: pd.DataFrame | None = None) -> np.ndarray:
    """[rows] is the account known as compromised on the row's day, by fraud since `start` (ms), or by further `frauds`?"""
    time = frame["time"].to_numpy()
    own = frame.loc[(label == 1) & (time >= start), ["account", "label_time"]]
    known = own if frauds is None else pd.concat([own, frauds])
    earliest = ((known["label_time"] - start) // DAY).groupby(known["account"]).min()
    # from the first day on the whole of which it is known; NaN: never
    return (time - start) // DAY > frame["account"].map(earliest).to_numpy(np.float64)


def _by_accounts(frame: pd.DataFrame, final: Part, period: Period, config: FraudConfig) -> Part:
    """A quarter of the accounts (of the rows, where there are none) of the training days is held out."""
    rows = final.fit
    units = pd.factorize(frame["account"].to_numpy()[rows])[0] if "account" in frame else np.arange(len(rows))
    held = np.random.default_rng(config.seed).random(units.max(initial=0) + 1)[units] < VALIDATION
    labels, judged = _labels(frame, period.test_start), np.zeros(len(frame), bool)
    judged[rows[held]] = True
    judge, without = _not_blocked(frame, judged, period.start, labels, config)
    day = (frame["time"].to_numpy()[judge] - period.start) // DAY
    words = f"chosen on {len(judge):,} transactions of a quarter of the accounts in the training days{without}"
    return Part(rows[~held], judge, final.learnt[~held], labels[judge], day, words)


def _latest(part: Part, share: float) -> Part:
    """The part, fitted on the latest share of its rows alone, which are in time order."""
    if share == 1:
        return part
    begin = len(part.fit) - round(share * len(part.fit))
    words = f"{part.words}; fitted on the latest {share:.3g} of these alone"
    return replace(part, fit=part.fit[begin:], learnt=part.learnt[begin:], words=words)


def _enough(transactions: Transactions, choosing: Part, final: Part, config: FraudConfig) -> None:
    labelled, findings = "label" in transactions.frame, []
    parts = {
        "the part that models are chosen on has": choosing.truth,
        "the part that is fitted to choose on has": choosing.learnt,
        "the training days have": final.learnt,
        "the test days have": final.truth,
    }
    for name, rows in parts.items():
        frauds = int(rows.sum()) if labelled else FEWEST_FRAUDS
        if len(rows) - frauds < 10 * FEWEST_FRAUDS or frauds < FEWEST_FRAUDS:
            needed = f"{FEWEST_FRAUDS} frauds and {10 * FEWEST_FRAUDS} others are needed"
            what = f"{name} {len(rows):,} transactions with {frauds} frauds; {needed}"
            fix = "Give a longer record, change split.start, split.train_days, split.test_days or data.label_delay_days"
            if config.split.validation == "time" and rows is not final.truth:
                fix += ", or set split.validation=accounts"
            findings.append(Finding("error", what, transactions.name, fix))
    if findings:
        raise DataError(findings)


def _date(moment: int) -> str:
    return f"{pd.Timestamp(moment, unit='ms'):%Y-%m-%d}"


def _days(span: int) -> str:
    return f"{span / DAY:g} days" if span % DAY == 0 or span > 3 * DAY else f"{span / HOUR:.0f} hours"
