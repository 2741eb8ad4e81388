"""What a table's columns hold, told from its first rows: for suggestions, and for questions to its owner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from shared.data import cleaning, tables
from shared.data.cleaning import PLAIN, Faults, Notation

HEAD = 50_000  # rows
SAMPLE = 2_000  # values by which times are recognised
MOSTLY = 0.95
FIRST_SECONDS = 3e8  # 1979: smaller whole numbers are counts, or ids
COMMON = 20  # values that are kept
Kind = Literal["empty", "constant", "time", "number", "words"]


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        given: share of the rows that have a value.
        distinct: number of different values.
        common: the most frequent values as text, with how often each is there.
        unique: every row has one of its own.
        whole: numbers, all of them whole.
    """

    name: str
    kind: Kind
    given: float
    distinct: int
    common: dict[str, int]
    unique: bool
    whole: bool


def head(path: Path, encoding: str = "utf-8", rows: int = HEAD) -> pd.DataFrame:
    """The first rows of a table, as `tables.stream` reads them; the rest of the file is not read.

    Raises:
        UserError: as `tables.read`.
    """
    return next(tables.stream(path, rows, encoding), pd.DataFrame())


def describe(values: pd.Series, notation: Notation = PLAIN) -> Column:
    """What the values of a column are."""
    given = values.dropna()
    counts = cleaning.tidy_ids(given).value_counts()
    numbers = cleaning.numbers(given, notation)
    kind: Kind = "words"
    if not len(given):
        kind = "empty"
    elif len(counts) == 1 and len(given) == len(values):
        kind = "constant"
    elif holds_times(given):
        kind = "time"
    elif numbers.notna().mean() >= MOSTLY:
        kind = "number"
    whole = kind == "number" and bool((numbers.dropna() % 1 == 0).all())
    common = {str(value): int(count) for value, count in counts.head(COMMON).items()}
    unique = len(counts) == len(values) > 0
    return Column(str(values.name), kind, len(given) / max(len(values), 1), len(counts), common, unique, whole)


def holds_times(values: pd.Series) -> bool:
    """Whether they are dates or times: written as such, or numbers of Unix seconds or milliseconds of this century or so."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return True
    given = values.dropna()
    given = given.iloc[:: max(1, len(given) // SAMPLE)]
    numbers = cleaning.numbers(given)
    if not len(given) or pd.api.types.is_bool_dtype(values):
        return False
    if numbers.notna().mean() >= MOSTLY:
        seconds = numbers.where(numbers < cleaning.LARGEST_SECONDS, numbers / 1000)
        return given.nunique() > 1 and bool(seconds.between(FIRST_SECONDS, cleaning.latest()).mean() >= MOSTLY)
    return bool(cleaning.seconds(given.where(numbers.isna()), Faults(""), day_first=True).notna().mean() >= MOSTLY)


def counts_rows(values: pd.Series) -> bool:
    """Whether they number the rows: whole, none twice, without gaps or under a name of ids."""
    numbers = cleaning.numbers(values)
    if len(values) < 2 or numbers.isna().any() or (numbers % 1 != 0).any() or numbers.duplicated().any():
        return False
    name = str(values.name).lower().replace(" ", "_")
    named = name in ("", "id", "index", "rownames", "row", "rowid") or name.startswith("unnamed") or name.endswith(("_id", "_no"))
    return named or bool(numbers.max() - numbers.min() + 1 == len(numbers))
