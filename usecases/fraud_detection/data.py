"""Raw tables to validated transactions: every fault is found, named with its rows, then handled as configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared.data import cleaning, sources
from shared.data.cleaning import DOTTED, PLAIN, Faults, Notation
from shared.errors import Finding, nearest
from usecases.fraud_detection import checks, formats, labels, plain_data
from usecases.fraud_detection.checks import DAY_MS
from usecases.fraud_detection.config import Data, FraudConfig
from usecases.fraud_detection.labels import PAYMENTS, Words

NO_IDS = ("time", "amount", "label", "label_time")
NUMBERS = 0.95  # a column of words of which this share are numbers is one of numbers, with faults


@dataclass(frozen=True)
class Transactions:
    """Valid transactions in time order (stable for equal times); index 0, 1, … Or rows that stand for themselves, without time.

    Attributes:
        frame: transaction (str), time (int64 ms since 1970), account (str, if the source has accounts), counterparty (str, if
            any; '' where unknown), amount (float64 >= 0), label (float64: 1 fraud, 0 not, NaN unknown; if any), label_time
            (int64 ms: when the label is known), scenario (str, if any), then the inputs.
        numeric: further numeric inputs, columns of `frame`: float64, NaN is missing.
        categorical: further categorical inputs, columns of `frame`: str, '' is missing.
        mapping: the source's column of each role; 'a|b' is made of the columns a and b.
        time_unit: of the source's numeric times, as data.time_unit.
        findings: what was noticed, and handled, on the way.
        words: what rows and findings are called.
    """

    frame: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    name: str
    simulated: bool
    mapping: dict[str, str]
    time_unit: str
    findings: list[Finding]
    words: Words = PAYMENTS

    def describe(self) -> dict[str, Any]:
        """For metrics.json and the model card."""
        frame = self.frame
        if "time" not in frame:
            return plain_data.describe(self.name, frame, self.words)
        times = pd.to_datetime(frame["time"].iloc[[0, -1]], unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S")
        return {
            "name": self.name,
            "simulated": self.simulated,
            "fingerprint": sources.fingerprint(frame.drop(columns="label_time")),
            "transactions": len(frame),
            "accounts": int(frame["account"].nunique()) if "account" in frame else None,
            "counterparties": int(frame["counterparty"].nunique()) if "counterparty" in frame else None,
            "frauds": int(frame["label"].sum()) if "label" in frame else None,
            "first": times.iloc[0],
            "last": times.iloc[-1],
        }


@dataclass(frozen=True)
class Source:
    """How the training data's columns are read; see `Transactions`."""

    mapping: dict[str, str]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    time_unit: str
    delay_days: float
    labelled: bool
    timed: bool = True
    words: Words = PAYMENTS

    @property
    def payee(self) -> str:
        """What the data calls a counterparty."""
        column = self.mapping.get("counterparty", "").lower()
        return next((word for word in ("terminal", "merchant", "payee", "shop") if word in column), "counterparty")


def load(config: FraudConfig, like: Source | None = None) -> Transactions:
    """Read, validate and clean the transactions.

    Args:
        like: read the columns of an earlier training, even if they are of no use here.

    Raises:
        UserError: the source cannot be read at all.
        DataError: lists every fault that stops a run.
    """
    transactions = inspect(config, like)
    cleaning.stop_on_errors(transactions.findings)
    return transactions


def check(config: FraudConfig) -> list[Finding]:
    """Every fault at once; never raises for bad data."""
    return cleaning.check(lambda: inspect(config).findings, config.data.source)


def inspect(config: FraudConfig, like: Source | None = None) -> Transactions:
    """Read and clean; the findings tell what was wrong, errors included.

    Raises:
        UserError: the source cannot be read at all.
        DataError: its columns cannot be told, or no row is usable.
    """
    settings = config.data
    raw = formats.read(settings, config.seed)
    timed, words = "time" in raw.mapping, plain_data.words(raw.table, raw.mapping, config)
    faults = Faults(raw.where, settings.faults == "refuse", names=raw.mapping)
    faults.findings += raw.findings
    if not timed and like is None:
        raw = plain_data.identified(raw, words, faults, settings.exclude)
    numeric, categorical = _inputs(raw, settings, faults) if like is None else (list(like.numeric), list(like.categorical))
    if not timed and like is None and (amount := raw.mapping.get("amount")) and amount not in settings.exclude:
        numeric.append(amount)  # it weighs the costs, and says something besides
    unit = raw.format.unit if settings.time_unit == "auto" else settings.time_unit
    mapping = raw.mapping if like is None else _same_roles(raw.mapping, like.mapping)
    frame = canonical(
        raw.table,
        mapping,
        numeric,
        categorical,
        faults,
        unit,
        settings.label_delay_days,
        settings.notation,
        words,
        settings.positive,
    )
    frame = checks.duplicates(frame, "transaction" in mapping, faults, words)
    if frame.empty:
        faults.add("error", f"no usable {words.record} is left", "Check data.columns and data.time_unit")
        cleaning.stop_on_errors(faults.findings)
    spelled = labels.spelled(raw.table.get(mapping.get("label")), settings.positive)
    if timed:
        checks.histories(frame, faults)
        checks.gaps(frame, faults)
        checks.label_rate(frame, faults, spelled)
    else:
        plain_data.label_rate(frame, words, faults, spelled)
    if "label" in frame and not (frame["label"] == 1).any():
        frame = frame.drop(columns="label")
    if like is None:
        numeric, categorical = checks.useful(frame, numeric, categorical, faults)
        checks.leaks(frame, numeric, categorical, config.seed, faults, words)
    roles = ", ".join(f"{plain_data.role(role, timed)} = {column}" for role, column in mapping.items())
    inputs = f"numeric inputs: {formats.listed(numeric)}; categorical inputs: {formats.listed(categorical)}"
    faults.add("info", f"{roles}; {inputs}", "Set data.columns, data.numeric, data.categorical or data.exclude to change that")
    return Transactions(
        frame.drop(columns=frame.columns.difference([*numeric, *categorical, *formats.USUAL])).reset_index(drop=True),
        tuple(numeric),
        tuple(categorical),
        Path(settings.source).name,
        settings.source == formats.SIMULATED,
        mapping,
        unit,
        faults.findings,
        words,
    )


def _same_roles(found: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The columns of the roles that there were before, and of the labels."""
    labels = {role: column for role, column in found.items() if role in ("label", "label_time", "scenario")}
    return {role: found.get(role, column) for role, column in before.items()} | labels


def canonical(
    table: pd.DataFrame,
    mapping: Mapping[str, str],
    numeric: Sequence[str],
    categorical: Sequence[str],
    faults: Faults,
    time_unit: str = "auto",
    label_delay_days: float = 7.0,
    notation: Notation = PLAIN,
    words: Words = PAYMENTS,
    positive: bool | int | float | str | None = None,
) -> pd.DataFrame:
    """A table of the source's columns, or with columns named by their roles, as `Transactions.frame` describes it.

    Used for training and for prediction alike. Rows that cannot be used are left out and named in `faults`; other columns
    are ignored; an input or counterparty that the table lacks is missing in every row, with a warning.

    Args:
        table: index: row numbers, for messages.
        mapping, numeric, categorical, time_unit: as in `Transactions`; without a time in the mapping, rows have none.
        positive: the label that is to be found, as data.positive.

    Returns:
        in time order (without a time, in the table's), with the index of `table`, so that results can be put back in its order.

    Raises:
        DataError: there is no time, amount, or account where the mapping has one.
    """
    given = _given(table, mapping, faults)
    frame, unusable = _ids(table, given, words, faults)
    if "counterparty" in mapping and "counterparty" not in given:
        frame["counterparty"] = pd.Series("", table.index, dtype="str")
    frame["amount"], bad_amounts = (
        _amounts(given["amount"], notation, faults) if "amount" in mapping else (np.zeros(len(table)), False)
    )
    unusable |= bad_amounts
    if "label" in given:
        frame["label"] = labels.read(given["label"], positive, faults, words)
    inputs = _input_values(table, numeric, categorical, notation, faults)
    if "time" not in mapping:
        return pd.DataFrame(frame | inputs, index=table.index)[~unusable]
    frame["time"], bad_times = _times(given["time"], time_unit, notation.day_first, faults)
    unusable |= bad_times
    frame["label_time"] = frame["time"] + round(label_delay_days * DAY_MS)
    if "label_time" in given:
        seconds = cleaning.seconds(given["label_time"], faults, time_unit, notation.day_first).to_numpy()
        frame["label_time"] = _label_times(given["label_time"], seconds, frame["time"], frame["label_time"], faults)
    order = np.argsort(frame["time"], kind="stable")
    roles = {role: frame[role] for role in formats.USUAL if role in frame}
    return pd.DataFrame(roles | inputs, index=table.index).iloc[order[~unusable[order]]]


def _given(table: pd.DataFrame, mapping: Mapping[str, str], faults: Faults) -> dict[str, pd.Series]:
    """The column of each role, under the source's name or the role's own."""
    needed = (*formats.REQUIRED, "account")
    given: dict[str, pd.Series] = {}
    for role, column in mapping.items():
        together = formats.joined(table, column)
        if together is not None:
            given[role] = together.rename(column)
        elif (name := column if column in table else role) in table:
            given[role] = table[name]
        elif role in needed:
            found, names = ", ".join(map(str, table.columns)), "' or '".join(dict.fromkeys((column, role)))
            fix = f"The table has the columns: {found}. It needs one named '{names}'"
            faults.add("error", f"there is no column '{column}' (the {role})", fix)
        elif role == "counterparty":
            faults.add(
                "warning", f"there is no column '{column}' (the {role})", "It counts as not known; scores are less certain"
            )
    if any(role in mapping and role not in given for role in needed):
        cleaning.stop_on_errors(faults.findings)
    return given


def _ids(table: pd.DataFrame, given: Mapping[str, pd.Series], words: Words, faults: Faults) -> tuple[dict[str, Any], np.ndarray]:
    """Tidy ids, and the rows that lack one they need; row numbers serve where there are no transaction ids."""
    ids = {role: cleaning.tidy_ids(given[role]).fillna("") for role in given if role not in NO_IDS}
    for role in ids:
        cleaning.rounded_ids(given[role], faults)
    unusable = np.zeros(len(table), bool)
    for role in ("transaction", "account"):
        if role in ids:
            missing = (ids[role] == "").to_numpy(bool)
            name = words.record if role == "transaction" else role
            faults.report(given[role].to_frame(), missing, f"no {name} id", "Fill in the missing ids")
            unusable |= missing
    if "counterparty" in ids and (missing := (ids["counterparty"] == "").to_numpy(bool)).any():
        faults.add("info", "no counterparty", "It counts as not known there", table.index[missing], column="counterparty")
    return {"transaction": cleaning.tidy_ids(pd.Series(table.index, table.index))} | ids, unusable


def _times(given: pd.Series, unit: str, day_first: bool, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
    """[rows] int64 ms since 1970, and where they cannot be used."""
    seconds = cleaning.seconds(given, faults, unit, day_first).to_numpy()
    unparsable, future = ~(seconds >= 0), seconds > cleaning.latest()
    fix = "Use ISO 8601 (2018-04-01 10:00:00), or numbers from 1970 on, of data.time_unit"
    if unparsable.any() and not day_first:
        failed = given[unparsable].dropna()
        if cleaning.seconds(failed, Faults(""), unit, day_first=True).notna().mean() >= NUMBERS:
            fix = "Where the day comes first, data.day_first=true reads them; else use ISO 8601 (2018-04-01 10:00:00)"
    faults.report(given.to_frame(), unparsable, "no usable time", fix)
    faults.report(given.to_frame(), future, "a time in the future", "Mend them, or check data.time_unit")
    bad = unparsable | future
    return np.round(np.where(bad, 0, seconds) * 1000).astype(np.int64), bad


def _amounts(given: pd.Series, notation: Notation, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
    amounts = cleaning.numbers(given, notation).to_numpy()
    missing, negative = np.isnan(amounts), amounts < 0
    fix, others = "Write finite numbers with a decimal point, without currency", cleaning.notations(given)
    if (missing & given.notna().to_numpy()).any() and (best := max(others.values(), default=0)) >= NUMBERS:
        fix = f"{' or '.join(str(one) for one, share in others.items() if share == best)} reads them"
    elif notation == PLAIN and others.get(DOTTED) == 1:
        dotted = given[given.astype("str").str.contains(".", regex=False).to_numpy(bool)]
        what = "amounts whose dot may stand between thousands, for three digits follow it everywhere"
        mend = f"It was read as a decimal point; if it is none, set {DOTTED}"
        faults.add("warning", what, mend, dotted.index, list(dotted.iloc[:2]), column=str(given.name))
    faults.report(given.to_frame(), missing, "no usable amount", fix)
    faults.report(given.to_frame(), negative, "a negative amount", "Leave out refunds, or give their kind as a categorical input")
    return amounts, missing | negative


def _label_times(given: pd.Series, seconds: np.ndarray, times: np.ndarray, later: np.ndarray, faults: Faults) -> np.ndarray:
    """[rows] int64 ms; `later` where none is given."""
    known = (seconds >= 0) & (seconds <= cleaning.latest())
    given_ms = np.round(np.where(known, seconds, 0) * 1000).astype(np.int64)
    odd = given.notna().to_numpy() & ~(known & (given_ms >= times))
    faults.report(
        given.to_frame(), odd, "a label time that is unusable or before the transaction", "Mend them",
        "data.label_delay_days counts there",
    )  # fmt: skip
    return np.where(known & ~odd, given_ms, later)


def _input_values(
    table: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str], notation: Notation, faults: Faults
) -> dict[str, pd.Series]:
    inputs: dict[str, pd.Series] = {}
    if absent := [column for column in (*numeric, *categorical) if column not in table]:
        faults.add("warning", f"there is no column {', '.join(absent)}", "These inputs count as missing; scores are less certain")
    for column in numeric:
        values = table.get(column, pd.Series(np.nan, table.index))
        inputs[column] = cleaning.numbers(values, notation)
        odd = (inputs[column].isna() & values.notna()).to_numpy()
        fix = f"Write numbers, or add it to data.categorical or data.exclude: {column}"
        faults.report(values.to_frame(), odd, f"no finite number in '{column}'", fix, "they count as missing")
    for column in categorical:
        inputs[column] = cleaning.tidy_ids(table.get(column, pd.Series("", table.index))).fillna("")
    return inputs


def _inputs(raw: formats.Raw, settings: Data, faults: Faults) -> tuple[list[str], list[str]]:
    """The further inputs: those asked for, or every other column by the kind of its values."""
    others = [c for c in raw.table.columns if c not in raw.mapping.values()]
    if reserved := [c for c in others if c in formats.USUAL]:
        faults.add("info", f"{', '.join(reserved)} is not used", "It has the name of a role; rename it to make it an input")
    others = [c for c in others if c not in formats.USUAL]
    named = {kind: getattr(settings, kind) for kind in ("numeric", "categorical", "exclude")}
    for kind, columns in named.items():
        for column in columns or ():
            if column not in (raw.table.columns if kind == "exclude" else others):
                what = f"data.{kind} names '{column}', which is no further column"
                faults.add("error", what, nearest(column, others))
    asked = [*(settings.numeric or ()), *(settings.categorical or ())]
    left = [c for c in raw.format.no_inputs if c in others and c not in (*asked, *settings.exclude)]
    if left:
        what = f"{', '.join(left)} {raw.format.why}"
        faults.add("info", what, "They are no inputs; to use one all the same, name it in data.numeric or data.categorical")
    parts = {part for column in raw.mapping.values() for part in column.split(formats.JOIN)} - {*asked, *raw.format.categorical}
    kinds: dict[str, list[str]] = {"numeric": [], "categorical": [], "time": []}
    for column in others:
        if column in settings.exclude or column in left or column in parts:  # parts of an id are no quantities
            continue
        wanted = next((kind for kind in ("numeric", "categorical") if column in (named[kind] or ())), None)
        kind = wanted or ("categorical" if column in raw.format.categorical else _kind(raw.table[column], settings.notation))
        if wanted or kind == "time" or named[kind] is None:
            kinds[kind].append(column)
    if kinds["time"]:
        faults.add("info", f"{', '.join(kinds['time'])} hold times", "They are no inputs; give durations as numbers instead")
    return kinds["numeric"], kinds["categorical"]


def _kind(values: pd.Series, notation: Notation) -> str:
    if pd.api.types.is_datetime64_any_dtype(values):
        return "time"
    if pd.api.types.is_numeric_dtype(values):
        return "numeric"
    given = values.dropna()
    sample = given.iloc[:: max(1, len(given) // 10_000)]
    if cleaning.numbers(sample, notation).notna().mean() >= NUMBERS:
        return "numeric"
    times = cleaning.seconds(sample, Faults(""), day_first=notation.day_first)
    return "time" if times.notna().mean() >= NUMBERS else "categorical"
