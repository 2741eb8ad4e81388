"""What somebody's table is taken for: payments with a time, or rows that stand for themselves; its roles, label and words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared.data import cleaning, columns, guessing, tables
from shared.data.cleaning import Faults
from shared.data.columns import normal
from shared.data.guessing import Assumed, Kind, ask, listed, named_like
from shared.errors import UserError
from shared.usecase import Assumption
from usecases.fraud_detection import labels, plain_data
from usecases.fraud_detection.checks import NEARLY_UNIQUE, SEPARATES, separation
from usecases.fraud_detection.config import AlertCosts
from usecases.fraud_detection.detector import NAME
from usecases.fraud_detection.formats import FORMATS, LABELS, NONE, TABLES, USUAL, joined, recognise

ROWS = 100_000  # that are looked at: findings may be rare
FEW_VALUES = 10  # of a label
FEWEST = 20  # findings by which it is judged whether a column gives them away
WORTH, BASE_RATES = 0.2, 4  # this probability is worth a look, or so many times the usual one where findings are rarer
RISING = 0.99  # share of the steps of a count of time that do not fall
SHORT, DELAYS = 28.0, 6  # days of a record, and its share of them, from which on the delay of labels must be shorter
OTHERS = ("target", "label", "class", "outcome", "response", "result", "flag")  # names that labels have
RECORDS = {
    **{
        word: word for word in ("customer", "client", "subscriber", "employee", "patient", "applicant", "loan", "policy", "claim")
    },
    "credit": "loan",
}
OF_FINDINGS = {"churn": "customer", "default": "loan"}  # where no column and no file says it
ROLE = "data.columns."


def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
    """The settings that a table needs; see `shared.usecase.UseCase`.

    Raises:
        UserError: it cannot be read, or does not tell its label, the value that is to be found, or its time.
    """
    file = _table(guessing.existing(source, "a table of payments or of labelled rows"))
    assumed = Assumed(given)
    binary = file.suffix.lower() in (".parquet", ".pq")
    encoding = str(given.get("data.encoding") or ("utf-8" if binary else guessing.encoding(file)))
    if encoding != "utf-8":
        assumed.add("data.encoding", encoding, "it is no text in utf-8")
    guessing.head(file, encoding)  # says what is wrong with a table without names or rows
    table = tables.head(file, ROWS, encoding)
    if twice := sorted({str(name) for name in table.columns[table.columns.duplicated()]}):
        raise UserError(f"{file}: more than one column is named {', '.join(twice)}. Give each column a name of its own.")
    if layout := next((name for name, one in FORMATS.items() if one is recognise(table)), None):
        assumed.add("data.format", layout, f"its columns are those of {layout}: {listed(sorted(FORMATS[layout].marks)[:4])}")
        _few_days(table, FORMATS[layout].columns["time"], FORMATS[layout].unit, assumed)
        return assumed
    wanted = [str(value) for key, value in given.items() if key.startswith(ROLE)]
    for column in wanted:
        if (together := joined(table, column)) is not None:
            table[column] = together
    kinds = guessing.kinds(table)
    _notation(table, kinds, assumed)
    named = {role: _named(role, table, kinds, given) for role in USUAL}
    label = _label(table, kinds, given)
    timed = _time(table, kinds, named, label, file, assumed)
    numbered = _ids(table, kinds, named, label, timed, assumed)
    if label is None:
        _exclude(numbered, [], assumed)
        return assumed
    found = _positive(table[label], given, assumed)
    assumed.add(
        ROLE + "label",
        label,
        f"it has {listed(map(str, table[label].dropna().unique()[:4]))}: {found.mean():.1%} are to be found",
    )
    roles = {one.value for one in assumed if one.key.startswith(ROLE)} | {label, *wanted, *numbered}
    after = _afterwards(table, kinds, found, roles)
    _exclude(numbered, after, assumed)
    used = {*roles, *after, *named.values(), *assumed.given.get("data.exclude", ())}
    if inputs := [name for name, kind in kinds.items() if name not in used and not _says_nothing(table[name], kind)]:
        assumed.also(ROLE + "label", f"inputs are {listed(inputs)}")
    if not timed:
        _alone(table, file, label, found, named, assumed, given)
    return assumed


def _table(source: Path) -> Path:
    """The file, or of a folder the first one."""
    if source.is_file():
        return source
    if (known := source / "train_transaction.csv").exists():
        return known
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in TABLES and not file.name.startswith((".", "_")))
    if not files:
        raise UserError(f"{source} holds no table ({' '.join(TABLES)}). Give a file, or a folder of such files.")
    return files[0]


def _notation(table: pd.DataFrame, kinds: dict[str, Kind], assumed: Assumed) -> None:
    """How numbers and dates are written, where that is not the usual way; their columns are taken for what they are then."""
    for name in [name for name, kind in kinds.items() if kind.what == "text"]:
        values = table[name].dropna()
        when = cleaning.seconds(values, Faults(""), day_first=True)
        if when.notna().mean() >= guessing.NEARLY_ALL:
            assumed.add("data.day_first", True, f"'{name}' has dates such as {values.iloc[0]}")
            kinds[name] = Kind("time", len(table), len(values), values.nunique(), low=when.min(), high=when.max())
        elif (found := cleaning.notations(values)) and max(found.values()) >= guessing.NEARLY_ALL:
            best = max(found, key=lambda one: found[one])
            assumed.add("data.decimal", best.decimal, f"'{name}' has numbers such as {values.iloc[0]}")
            if best.thousands:
                assumed.add("data.thousands", best.thousands, f"'{name}' has numbers such as {values.iloc[0]}")
            numbers = cleaning.numbers(values, best)
            kinds[name] = Kind("number", len(table), len(values), values.nunique(), low=numbers.min(), high=numbers.max())


def _named(role: str, table: pd.DataFrame, kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> Any:
    """The column that is given for a role, or has a usual name of it; None: there is none.

    Raises:
        UserError: there is no column of the given name.
    """
    column = given.get(ROLE + role)
    if column is None:
        return columns.usual(USUAL[role], table.columns)
    if column == NONE and role != "label":
        return None
    if column not in table:
        nearest_first = [*difflib.get_close_matches(str(column), kinds, n=1), *kinds]
        what = f"There is no column '{column}' for the {role.replace('_', ' ')}."
        raise ask(what, ROLE + role, dict.fromkeys(nearest_first), dict(kinds))
    return column


def _label(table: pd.DataFrame, kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> str | None:
    """The column of the label; None: there is none, for payments without labels can be searched for the unusual.

    Raises:
        UserError: it cannot be told which one it is.
    """
    if named := given.get(ROLE + "label"):
        return str(named)
    able = [name for name, kind in kinds.items() if _able(table[name], kind)]
    usual = columns.usual(USUAL["label"] + LABELS, able)
    hinted = [usual] if usual else named_like(able, (*plain_data.FINDINGS, *OTHERS))
    if len(hinted) == 1:
        return hinted[0]
    two = hinted or [name for name in able if kinds[name].distinct == 2]
    payments = all(columns.usual(USUAL[role], table.columns) for role in ("time", "amount"))
    if payments and not hinted:
        return None
    if not two:
        raise UserError(
            f"No column has two values, as a label has. Columns: {listed(table.columns)}. Name one with data.columns.label=, and "
            "the value that is to be found with data.positive="
        )
    raise ask("It cannot be told which column is the label, which says what is to be found.", ROLE + "label", two, dict(kinds))


def _able(values: pd.Series, kind: Kind) -> bool:
    """Whether it can be a label: two values, or a few of which one says by its name that it is to be found."""
    return kind.distinct == 2 or (
        2 < kind.distinct <= FEW_VALUES and sum(normal(str(one)) in labels.FOUND for one in values.dropna().unique()) == 1
    )


def _positive(values: pd.Series, given: Mapping[str, Any], assumed: Assumed) -> np.ndarray:
    """[rows] whether it has the value that is to be found.

    Raises:
        UserError: nobody says which value that is.
    """
    text = cleaning.tidy_ids(values).fillna("")
    counts = text[text != ""].value_counts()
    meant = labels.meaning([str(one).lower() for one in counts.index], given.get("data.positive"))
    told = [str(one) for one in counts.index if normal(str(one)) in labels.FOUND]
    if set(meant.values()) != {0.0, 1.0} and len(told) == 1:
        meant = {str(one).lower(): float(one == told[0]) for one in counts.index}
    if set(meant.values()) != {0.0, 1.0}:
        rarest = [str(one) for one in counts.index[::-1]]
        amounts = ", ".join(f"'{one}' ({count:,} rows)" for one, count in counts.items())
        raise UserError(
            f"Which value of '{values.name}' is to be found? It has {amounts}. Say it, for example "
            f"data.positive={rarest[0]}, the rarest."
        )
    found = [str(one) for one in counts.index if meant.get(str(one).lower())]
    if found[0].lower() not in ("1", "1.0", "true"):
        assumed.add("data.positive", found[0], f"of {listed(counts.index[:4])} this says that there is something")
    return text.str.lower().map(meant).fillna(0).to_numpy() == 1


def _time(
    table: pd.DataFrame, kinds: Mapping[str, Kind], named: dict[str, Any], label: str | None, file: Path, assumed: Assumed
) -> bool:
    """Whether rows are payments, with a time and an amount; else they stand for themselves.

    Raises:
        UserError: several columns could be the time, or nobody knows what its numbers count.
    """
    dates = guessing.unread_dates(table[[name for name, kind in kinds.items() if kind.what == "text"]], file, NAME)
    alone = "no column holds times: each row stands for itself" + (f" ({dates})" if dates else "")
    if assumed.given.get(ROLE + "time"):
        return bool(assumed.given[ROLE + "time"] != NONE)
    times = [name for name, kind in kinds.items() if kind.what == "time"]
    time = named["time"]
    if time is not None and time not in times and not _rises(table[time]):
        assumed.add(ROLE + "time", NONE, f"'{time}' has {kinds[time]}, which are no times: each row stands for itself")
        return False
    if plain_data.finding(label or "") == "churn" or named["amount"] is None or kinds[named["amount"]].what != "number":
        if time or times:
            why = f"there are times ({listed(times or [time])}), but no payments with an amount: each row stands for itself"
            assumed.add(ROLE + "time", NONE, why)
        elif label is not None:
            assumed.add(ROLE + "time", NONE, alone)
        return False
    if time is None and len(times) > 1:
        raise ask("Several columns hold times; which one is when a row happened?", ROLE + "time", [*times, NONE])
    if time is None and not times:
        assumed.add(ROLE + "time", NONE, alone)
        return False
    time = time or times[0]
    assumed.add(ROLE + "time", time, f"it has {kinds[time]}: judged on the last days")
    assumed.add(ROLE + "amount", named["amount"], f"it has {kinds[named['amount']]}")
    if time not in times:
        if "data.time_unit" not in assumed.given:
            raise ask(f"'{time}' counts something from 0 on. Which unit?", "data.time_unit", ("s", "min", "h", "D"))
        return True
    _few_days(table, time, "auto", assumed)
    return True


def _few_days(table: pd.DataFrame, time: str, unit: str, assumed: Assumed) -> None:
    """What a short record needs: one that was looked at as a whole."""
    seconds = cleaning.seconds(table[time], Faults(""), unit, day_first=True)
    days = float(seconds.max() - seconds.min()) / cleaning.DAY_S
    if len(table) < ROWS and 0 < days < SHORT:
        why = f"the record covers {days:.1f} days alone"
        assumed.add("data.label_delay_days", float(f"{days / DELAYS:.1g}") if days > 3 else 0.0, why)
        assumed.add("split.validation", "accounts", why)


def _rises(values: pd.Series) -> bool:
    """As a count of time does in a record."""
    numbers = cleaning.numbers(values).dropna()
    return len(numbers) > 1 and numbers.nunique() > FEW_VALUES and bool((numbers.diff().dropna() >= 0).mean() >= RISING)


def _ids(
    table: pd.DataFrame, kinds: Mapping[str, Kind], named: Mapping[str, Any], label: str | None, timed: bool, assumed: Assumed
) -> list[str]:
    """Ids of rows, and of who comes again; returns columns that number the rows as well."""
    account, row = named["account"], named["transaction"]
    if account and not kinds[account].repeats and kinds[account].distinct > NEARLY_UNIQUE * kinds[account].count:
        account, row = None, row or account
    if account and account != label:
        how = "its past counts" if timed else "it stays in one part of the split"
        assumed.add(ROLE + "account", account, f"{kinds[account]}: it comes again, and {how}")
    numbered = [name for name in table.columns if name not in (label, account) and plain_data.counts_rows(table[name])]
    row = row or next((name for name in numbered if table[name].nunique() == len(table)), None)
    if row and row not in (label, account) and kinds[row].distinct == kinds[row].rows:
        assumed.add(ROLE + "transaction", row, "another value in every row: it names the row, and is no input")
    if timed and (other := named["counterparty"]):
        assumed.add(ROLE + "counterparty", other, str(kinds[other]))
    given = {value for key, value in assumed.given.items() if key.startswith(ROLE)}
    return [name for name in numbered if name not in {row, *named.values(), *given}]


def _says_nothing(values: pd.Series, kind: Kind) -> bool:
    """Whether it is no input: the same everywhere, a time, or text that differs in nearly every row."""
    is_text = kind.what != "number" and not pd.api.types.is_numeric_dtype(values)
    different = is_text and kind.distinct > NEARLY_UNIQUE * kind.count
    return kind.distinct < 2 or different or pd.api.types.is_datetime64_any_dtype(values)


def _exclude(numbered: list[str], after: list[str], assumed: Assumed) -> None:
    """Columns that are no inputs: those that number the rows, and those that alone tell the label."""
    why = []
    if numbered:
        number = "numbers" if len(numbered) == 1 else "number"
        why.append(f"{listed(numbered)} {number} the rows, if with a slip here and there: ids, no inputs")
    if after:
        tells = "it tells" if len(after) == 1 else "each of them tells"
        why.append(f"alone {tells} the label, so it is known only afterwards, probably" + f" ({listed(after)})" * bool(numbered))
    if why:
        assumed.add("data.exclude", [*numbered, *after], "; ".join(why))


def _afterwards(table: pd.DataFrame, kinds: Mapping[str, Kind], found: np.ndarray, roles: set[Any]) -> list[str]:
    """Columns that alone tell the label, as what is written down only afterwards does."""
    if min(found.sum(), (~found).sum()) < FEWEST:
        return []
    order = np.random.default_rng(0).permutation(len(table))
    after = []
    for name, kind in kinds.items():
        if name in roles or kind.distinct + (kind.count < kind.rows) < 2:
            continue
        values = cleaning.numbers(table[name]) if kind.what == "number" else table[name].astype("object").fillna("")
        if separation(values.to_numpy()[order], found[order]) >= SEPARATES:
            after.append(name)
    return after


def _alone(
    table: pd.DataFrame,
    file: Path,
    label: str,
    found: np.ndarray,
    named: Mapping[str, Any],
    assumed: Assumed,
    given: Mapping[str, Any],
) -> None:
    """What rows that stand for themselves need: folds, costs, words."""
    rate, alert = float(found.mean()), float(given.get("costs.alert", AlertCosts().alert))
    worth = min(WORTH, BASE_RATES * rate)  # the probability from which on a look pays
    group = any(one.key == ROLE + "account" for one in assumed) or given.get(ROLE + "account") not in (None, NONE)
    assumed.add("split.folds", 5, "rows have no time: each is judged once" + (", whole accounts together" if group else ""))
    positive = next((one.value for one in assumed if one.key == "data.positive"), given.get("data.positive"))
    finding = plain_data.finding(label, positive)
    if amount := named["amount"]:
        assumed.add(ROLE + "amount", amount, "a miss costs costs.loss_share of it; it is an input as well")
        usual = float(cleaning.numbers(table[amount]).median())
        if usual > 0:
            why = (
                f"{rate:.1%} have {finding}: with this a probability of {worth:.0%} is worth a look at the median of {usual:,.0f}"
            )
            assumed.add("costs.alert", float(f"{usual * worth:.2g}"), why)
    else:
        loss = float(f"{alert / max(worth, 1e-6):.2g}")
        assumed.add(
            "costs.loss_fixed", loss, f"{rate:.1%} have {finding}: with this a probability of {alert / loss:.1%} is worth a look"
        )
    places = [*map(str, table.columns), file.stem]
    said = next((word for word in RECORDS for place in places if word in normal(place)), None)
    record = RECORDS[said] if said else None
    why = f"a column or the file says {said}" if record else f"the label is '{label}'"
    assumed.add("words.finding", finding, f"the label is '{label}'")
    assumed.add("words.record", record or OF_FINDINGS.get(finding, "record"), why)
