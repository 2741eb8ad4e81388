"""What a record of transactions as a whole says: duplicates, gaps, labels, and inputs that are useless or leak the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import rankdata

from shared.data.cleaning import Faults
from usecases.fraud_detection.labels import PAYMENTS, Words

DAY_MS = 86_400_000
NEARLY_UNIQUE, ENOUGH_ROWS = 0.9, 50
SEPARATES = 0.99  # no honest input reaches this AUC alone
ENOUGH_FRAUDS, MOST_FRAUDS, MOST_OTHERS = 20, 5_000, 20_000  # of the sample on which that is judged
GAP_TIMES = 20


def duplicates(frame: pd.DataFrame, identified: bool, faults: Faults, words: Words = PAYMENTS) -> pd.DataFrame:
    """Without rows that are given twice; the same id with other content is an error."""
    if not identified:
        first = [c for c in ("time", "amount", "account") if c in frame] if "time" in frame else frame.columns.drop("transaction")
        alike = frame[frame.duplicated(first, keep=False)]
        if (again := alike.drop(columns="transaction").duplicated()).any():
            fix = f"They all count, as without ids they may be different {words.records}; else give ids, or remove them"
            examples = [" / ".join(map(str, row)) for row in alike[again].drop(columns="transaction").head(2).to_numpy()]
            faults.add(
                "info", f"a {words.record} that says the same as an earlier one", fix, sorted(alike.index[again]), examples
            )
        return frame
    ids = frame["transaction"]
    if pc.count_distinct(pa.array(ids)).as_py() == len(frame):  # a quarter of the time of duplicated()
        return frame
    shared = frame[ids.duplicated(keep=False)]
    again = shared.duplicated()
    if (clash := shared[~again]["transaction"].duplicated()).any():
        rows = shared[~again].index[clash]
        fix = f"Give each {words.record} an id of its own, or check data.columns.transaction"
        faults.add("error", f"the id of another {words.record}", fix, sorted(rows), list(ids[rows[:2]]), column="transaction")
    if again.any():
        rows = sorted(shared.index[again])
        fix = "They were left out; the first counts"
        examples = list(ids[rows[:2]])
        faults.add("warning", f"a {words.record} that is given twice", fix, rows, examples, column="transaction", left_out=rows)
    return frame.drop(index=shared.index[again])


def histories(frame: pd.DataFrame, faults: Faults) -> None:
    """Name what leaves an account without a past."""
    if "account" not in frame:
        faults.add(
            "info", "there is no account", "Transactions are judged without their account's past; set data.columns.account"
        )
    elif len(frame) >= ENOUGH_ROWS and frame["account"].nunique() > NEARLY_UNIQUE * len(frame):
        fix = "The account's past says nothing here; check data.columns.account"
        what, count = "nearly every transaction has an account of its own", int(frame["account"].nunique())
        faults.add("warning", what, fix, examples=list(frame["account"].head(2)), column="account", count=count)


def gaps(frame: pd.DataFrame, faults: Faults) -> None:
    times = frame["time"].to_numpy()
    spacing = np.diff(times)
    usual = np.quantile(spacing[spacing > 0], 0.99) if (spacing > 0).any() else 0
    gaps = np.flatnonzero((spacing >= DAY_MS) & (spacing > GAP_TIMES * usual))
    if len(gaps):
        dates = pd.to_datetime(times, unit="ms")
        examples = [f"{dates[gap]:%Y-%m-%d %H:%M} to {dates[gap + 1]:%Y-%m-%d %H:%M}" for gap in gaps[:3]]
        fix = "Features that count the past are too small after it; add what is missing, or start later"
        faults.add("warning", "a gap in the record before this transaction", fix, frame.index[gaps + 1], examples, column="time")


def label_rate(frame: pd.DataFrame, faults: Faults, spelled: tuple[str, str] = ("1", "0")) -> None:
    """`spelled`: how a fraud, and that there is none, are written."""
    if "label" not in frame:
        faults.add("info", "there is no label", "Only the anomaly model can be trained; else set data.columns.label")
        return
    known, frauds = int(frame["label"].notna().sum()), int(frame["label"].sum())
    if not frauds:
        what = f"no transaction is labelled as fraud ({known:,} labels)"
        fix = "It counts as unlabelled: only the anomaly model is trained; else check data.columns.label"
        faults.add("warning", what, fix, column="label", count=max(1, known))
    elif frauds > known / 2:
        what = f"{frauds / known:.0%} of the labels say fraud"
        faults.add(
            "warning",
            what,
            f"Are {spelled[0]} and {spelled[1]} swapped? {spelled[0]} is fraud",
            frame.index[frame["label"] == 1],
            column="label",
        )


def useful(
    frame: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str], faults: Faults
) -> tuple[list[str], list[str]]:
    """Without inputs that are constant, or that name each transaction."""
    constant, unique = [], []
    for column in numeric:
        values = frame[column].to_numpy()
        if (values == values[0]).all() or np.isnan(values).all():
            constant.append(column)
    for column in categorical:
        given, kinds = int((frame[column] != "").sum()), frame[column].nunique()
        if kinds == 1:
            constant.append(column)
        elif given >= ENOUGH_ROWS and kinds - (given < len(frame)) > NEARLY_UNIQUE * given:
            unique.append(column)
    if constant:
        what, fix = f"the same value in every row: {', '.join(constant)}", "They say nothing and were left out"
        examples = [f"{column} = {frame[column].iloc[0]}" for column in constant[:2]]
        faults.add("info", what, fix, examples=examples, column=", ".join(constant), count=len(frame))
    if unique:
        what, fix = f"nearly another value in every row: {', '.join(unique)}", "They are ids, no inputs, and were left out"
        examples = [f"{column} = {frame[column].iloc[0]}" for column in unique[:2]]
        faults.add("info", what, fix, examples=examples, column=", ".join(unique), count=len(frame))
    gone = {*constant, *unique}
    return [c for c in numeric if c not in gone], [c for c in categorical if c not in gone]


def leaks(
    frame: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str], seed: int, faults: Faults, words: Words = PAYMENTS
) -> None:
    """Name inputs that alone tell findings from the rest, on a sample."""
    if "label" not in frame:
        return
    rng = np.random.default_rng(seed)
    labels = frame["label"].to_numpy()
    classes = [rng.permutation(np.flatnonzero(labels == label))[:most] for label, most in ((1, MOST_FRAUDS), (0, MOST_OTHERS))]
    if min(map(len, classes)) < ENOUGH_FRAUDS:
        return
    rows = rng.permutation(np.concatenate(classes))
    sample, fraud = frame.iloc[rows], labels[rows] == 1
    for column in (*numeric, *categorical):
        auc = separation(sample[column].to_numpy(), fraud)
        if auc >= SEPARATES:
            what = f"'{column}' alone tells {words.finding} from the rest (AUC {auc:.3f})"
            fix = f"It is known only afterwards, probably: data.exclude=[{column}]"
            examples = [f"{sample[column].iloc[place]} ({said})" for place, said in _one_each(fraud, words)]
            faults.add("warning", what, fix, examples=examples, column=column, count=len(frame))


def _one_each(fraud: np.ndarray, words: Words) -> list[tuple[int, str]]:
    """Places of the first finding and of the first of the rest, and what each is."""
    return [(int(np.argmax(fraud)), words.finding), (int(np.argmin(fraud)), f"no {words.finding}")]


def separation(values: np.ndarray, fraud: np.ndarray) -> float:
    """How well one input separates: the largest AUC of its order, either way, and of its values' fraud rates.

    Args:
        values: [rows] floats (NaN is a value of its own: the smallest, or the largest) or strings, in random order.
        fraud: [rows] bool, both kinds.
    """
    codes, kinds = pd.factorize(values, use_na_sentinel=False)
    half = len(fraud) // 2  # rates are learned on one half and judged on the other, or rare values would look telling
    counts = np.bincount(codes[:half], minlength=len(kinds))
    rate = (np.bincount(codes[:half], fraud[:half], len(kinds)) + fraud.mean()) / (counts + 1)
    best = _auc(rate[codes[half:]], fraud[half:])
    if values.dtype.kind == "f":
        orders = (_auc(np.where(np.isnan(values), missing, values), fraud) for missing in (-np.inf, np.inf))
        best = max(best, *(max(auc, 1 - auc) for auc in orders))
    return best


def _auc(scores: np.ndarray, fraud: np.ndarray) -> float:
    """Area under the ROC curve, by the Mann-Whitney statistic."""
    frauds = int(fraud.sum())
    others = len(fraud) - frauds
    if not frauds or not others:
        return 0.5
    return float((rankdata(scores)[fraud].sum() - frauds * (frauds + 1) / 2) / (frauds * others))
