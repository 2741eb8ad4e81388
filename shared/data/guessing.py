"""What the data of somebody else is: first rows, kinds of columns, and what is assumed of them."""

from __future__ import annotations

import codecs
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pandas.api.types import is_scalar

from shared.config import read_value
from shared.data import cleaning, tables
from shared.data.columns import normal
from shared.errors import UserError
from shared.usecase import Assumption

ROWS = 10_000  # of a table, which tell what it is
START = 1 << 20  # bytes of a text, which tell its encoding
EARLIEST = 3e8  # Unix seconds (1979); smaller whole numbers are ids or amounts
NEARLY_ALL = 0.95  # of the values
SHOWN = 20  # columns that a message names


class Assumed(list[Assumption]):
    """The assumptions of a `suggest`; a key that the user has given stays as it was given.

    Args:
        given: keys that the user has decided, with their values.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.given = given

    def add(self, key: str, value: Any, why: str) -> None:
        if key not in self.given:
            self.append(Assumption(key, value, why))

    def also(self, key: str, why: str) -> None:
        """A further reason of what was assumed, if it was."""
        self[:] = [replace(one, why=f"{one.why}; {why}") if one.key == key else one for one in self]


@dataclass(frozen=True)
class Kind:
    """What a column holds, by the rows that were looked at.

    Attributes:
        what: of nearly all its values; time: ISO 8601 or Unix seconds or milliseconds.
        count: values that are there, `rows` with those that are missing.
        whole: numbers without decimals.
        low, high: of numbers and times, the latter in seconds since 1970; else 0.
        words: in a value, on average.
    """

    what: Literal["nothing", "time", "number", "text"]
    rows: int
    count: int
    distinct: int
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    words: float = 0.0

    @property
    def repeats(self) -> bool:
        """As ids of who and what do, and a row's own id does not."""
        return 1 < self.distinct <= 0.9 * self.count

    def __str__(self) -> str:
        if self.what == "nothing":
            return "no values"
        told = f"{self.distinct:,} different values in {self.count:,} rows"
        if self.what == "time":
            return f"times from {_day(self.low)} to {_day(self.high)}"
        return f"{told}, {self.low:g} to {self.high:g}" if self.what == "number" else told


def existing(source: Path, looked_for: str) -> Path:
    """The source, where there is anything.

    Raises:
        UserError: there is nothing, which names what was `looked_for`.
    """
    if not source.exists():
        raise UserError(f"There is no file or folder {source}. Looked for: {looked_for}.")
    if source.is_dir() and not any(source.iterdir()):
        raise UserError(f"{source} is an empty folder. Looked for: {looked_for}.")
    return source


def encoding(path: Path) -> str:
    """utf-8, or where a text's start is none, what most old tables are in."""
    with path.open("rb") as file:
        start = file.read(START)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a letter may be cut at the end
    except UnicodeDecodeError:
        try:
            start.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1"
        return "cp1252"
    return "utf-8"


def head(path: Path, written: str = "utf-8") -> pd.DataFrame:
    """The first rows of a table, fit to be looked at; see `usable`.

    Raises:
        UserError: it is not usable, or there is no such encoding.
    """
    try:
        "".encode(written)
    except LookupError:
        raise UserError(f"There is no text encoding named '{written}'. Try utf-8, latin-1 or cp1252.") from None
    return usable(tables.head(path, ROWS, written), path)


def usable(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A table with names of its columns, and with lists and objects as text.

    Raises:
        UserError: it has no line of names, two columns of one name, or no rows.
    """
    table = table.set_axis(table.columns.astype("str"), axis=1)
    if bare := [name for name in table.columns if cleaning.numbers(pd.Series([name])).notna().all()]:
        raise UserError(
            f"{path} has no line with the columns' names: it begins with {', '.join(table.columns[:6])}. "
            f"Write one above the first row ('{bare[0]}' is a value, not a name)."
        )
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise UserError(f"{path} has more than one column named {', '.join(twice)}. Give each column a name of its own.")
    if table.empty:
        raise UserError(f"{path} has no rows below its columns: {listed(table.columns)}.")
    nested = {name: table[name].map(lambda one: one if is_scalar(one) else str(one)) for name in table.select_dtypes("object")}
    return table.assign(**nested)


def kinds(table: pd.DataFrame) -> dict[str, Kind]:
    """What each column of a table holds."""
    return {name: kind(table[name]) for name in table.columns}


def kind(values: pd.Series) -> Kind:
    """What a column holds."""
    given = values.dropna()
    text = given.astype("str").str.strip()
    counts = len(values), len(given), int(text.nunique())
    if given.empty:
        return Kind("nothing", *counts)
    times = cleaning.seconds(given, cleaning.Faults(""))
    parsed = times if pd.api.types.is_datetime64_any_dtype(given) else cleaning.numbers(given)
    numeric = bool(parsed.notna().mean() >= NEARLY_ALL)
    believable = bool(times.between(EARLIEST if numeric else 0, cleaning.latest()).mean() >= NEARLY_ALL)
    if believable:
        return Kind("time", *counts, low=float(times.min()), high=float(times.max()))
    if numeric:
        whole = bool((parsed.dropna() % 1 == 0).all())
        return Kind("number", *counts, whole, low=float(parsed.min()), high=float(parsed.max()), words=1.0)
    return Kind("text", *counts, words=float(text.str.count(r"\S+").mean()))


def named_like(names: Iterable[str], hints: Sequence[str]) -> list[str]:
    """The columns whose names hold one of the (normal) `hints`, those of earlier hints first."""
    return sorted(
        (name for name in names if any(hint in normal(name) for hint in hints)),
        key=lambda name: next(place for place, hint in enumerate(hints) if hint in normal(name)),
    )


def unread_dates(table: pd.DataFrame, file: Path, usecase: str) -> str:
    """Of columns of text the one with dates that are not read as they are written, and what to do; "": there is none."""
    for name in table.columns:
        values = table[name].dropna().astype("str") if cleaning.is_text(table[name]) else pd.Series(dtype="str")
        parts = values.str.extract(cleaning.DATE).dropna()
        if not len(parts) or len(parts) < NEARLY_ALL * len(values):
            continue
        told = f"'{name}' has dates such as {values[parts.index[-1]]}"
        if not cleaning.date_order(parts):
            return f"{told}, whose day and month may be mistaken for each other: write 2025-12-24"
        mended = file.with_name(f"{file.stem}-mended{file.suffix}")
        command = shlex.join(["usecases", "check", usecase, "--data", str(file), "--fix", str(mended)])
        return f"{told}, which are read as 2025-12-24 alone: {command} writes them so; begin again with that copy"
    return ""


def listed(names: Iterable[Any], told: Mapping[str, Kind] | None = None) -> str:
    """Columns for a message, each with what it holds."""
    columns = list(map(str, names))
    shown = [f"{name} ({told[name]})" if told else name for name in columns[:SHOWN]]
    return ", ".join([*shown, *(["…"] if len(columns) > SHOWN else [])]) or "none"


def ask(question: str, key: str, candidates: Iterable[str], told: Mapping[str, Kind] | None = None) -> UserError:
    """The error that asks for what the data cannot tell."""
    names = list(candidates)
    return UserError(f"{question} Candidates: {listed(names, told)}. Say which, for example {answer(key, names[0])}.")


def unused(names: Iterable[str]) -> str:
    """A reason that names columns which nothing is learnt from; "": there are none."""
    columns = list(names)
    return f"of its columns nothing is learnt from {listed(columns)}" if columns else ""


def answer(key: str, value: Any) -> str:
    """KEY=VALUE as a command line takes it: text that YAML would read as something else is quoted, and so is the whole."""
    plain = isinstance(value, str) and read_value(value) == value
    return shlex.quote(f"{key}={value if plain else json.dumps(value, ensure_ascii=False)}")


def _day(seconds: float) -> str:
    return str(pd.Timestamp(seconds, unit="s").date())
