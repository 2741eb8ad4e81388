"""Raw values to ids, numbers and times; what does not fit is collected with its rows, so that all is named at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import DataError, Finding, Severity, UserError

DAY_S = 86_400.0
LARGEST_SECONDS = 1e11  # a larger number is a time in milliseconds
SECONDS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "D": DAY_S}
SHOWN = 5
ARROW_FAILURES = (pa.ArrowException, OverflowError, TypeError)
DAY_FIRST = re.compile(r"^\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?:[ T,]+(\d{1,2})(:\d\d.*))?$")
DATE = r"^\s*(\d{1,2})([./-])(\d{1,2})[./-]\d{4}(?:\D|$)"  # whichever of day and month comes first
SPACE = "space"
LEFT_OUT = "these rows were left out"
ROUNDED = r"^\s*[1-9]([.,][0-9]+)?[eE]\+[0-9]{2}\s*$"  # 1.23457E+15
EARLY_S, USUAL_S = 365 * DAY_S, 3e8  # times before the first are odd where most are after the second
LOOKED_AT = 100_000  # values by which the writing of a column is told


@dataclass(frozen=True)
class Notation:
    """How a table writes numbers and dates in text.

    Attributes:
        decimal: the sign before the decimals, "." or ",".
        thousands: the sign between groups of three digits, SPACE for any kind of it, None for none.
        day_first: 1.2.2025 is the first of February; ISO 8601 is read as well.
    """

    decimal: str = "."
    thousands: str | None = None
    day_first: bool = False

    @property
    def group(self) -> str:
        """A regular expression of the sign between thousands."""
        return "[ \u00a0\u202f]" if self.thousands == SPACE else re.escape(self.thousands or "")

    @property
    def number(self) -> str:
        """A regular expression of a number; one that is grouped wrongly is none, so that 12.50 never becomes 1250."""
        grouped = f"|[1-9][0-9]{{0,2}}(?:{self.group}[0-9]{{3}})+" if self.thousands else ""
        return rf"^\s*[+-]?(?:[0-9]*{grouped})(?:{re.escape(self.decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*$"

    def __str__(self) -> str:
        decimal = f'data.decimal="{self.decimal}"' if self.decimal != "." else ""
        return f'{decimal} data.thousands="{self.thousands}"'.strip() if self.thousands else decimal


PLAIN = Notation()
DOTTED = Notation(",", ".")
NOTATIONS = (DOTTED, Notation(","), *(Notation(d, sign) for sign in (",", SPACE, "'") for d in ",." if d != sign))


class Faults:
    """Collects findings about one source.

    Args:
        where: the file, for messages.
        refuse: rows with faults are an error (data.faults=refuse), instead of being left out with a warning.
        remedy: what to say of such rows instead of that.
        names: what the source calls a column, by the name that it has here.
    """

    def __init__(
        self, where: str, refuse: bool = False, remedy: str | None = None, names: Mapping[str, str] | None = None
    ) -> None:
        self.where, self.refuse, self.remedy, self.names = where, refuse, remedy, names or {}
        self.findings: list[Finding] = []

    def add(
        self,
        severity: Severity,
        what: str,
        fix: str,
        rows: Sequence[int] = (),
        examples: Sequence[str] = (),
        *,
        column: str = "",
        count: int = 1,
        left_out: Sequence[int] = (),
    ) -> None:
        """Note one thing; `rows` are all that it concerns, `count` is for what has none; for `left_out` see `Finding`."""
        without = {self.where: [int(row) for row in left_out]} if len(left_out) else {}
        name, first = self.names.get(column, column), [int(row) for row in rows[:SHOWN]]
        self.findings.append(Finding(severity, what, self.where, fix, len(rows) or count, first, examples, name, without))

    def report(self, shown: pd.DataFrame, bad: pd.Series | np.ndarray, what: str, fix: str, handled: str = LEFT_OUT) -> None:
        """Name the rows where `bad`, with the values of `shown` (index: row numbers); `handled` says what became of them."""
        places = np.flatnonzero(bad)
        if not len(places):
            return
        examples = [" / ".join(map(str, row)) for row in shown.iloc[places[:2]].itertuples(index=False)]
        if not self.refuse:
            fix += self.remedy or f"; {handled} (data.faults=refuse stops instead)"
        column = ", ".join(self.names.get(str(name), str(name)) for name in shown.columns)
        severity: Severity = "error" if self.refuse else "warning"
        rows = shown.index[places]
        self.add(severity, what, fix, rows, examples, column=column, left_out=rows if handled == LEFT_OUT else ())

    def drop(self, frame: pd.DataFrame, bad: pd.Series | np.ndarray, what: str, shown: Sequence[str], fix: str) -> pd.DataFrame:
        """Name the rows where `bad` and return the others."""
        self.report(frame[list(shown)], bad, what, fix)
        return frame[~bad] if bad.any() else frame

    def leave_out(self, frame: pd.DataFrame, gone: pd.Series | np.ndarray, what: str, fix: str) -> None:
        """Name the rows that a setting of the user's leaves out."""
        if gone.any():
            self.add("info", what, fix, frame.index[gone])


def check(inspect: Callable[[], Sequence[Finding]], source: str) -> list[Finding]:
    """The findings of `inspect`, also where it raises because the data cannot be read at all."""
    try:
        return list(inspect())
    except DataError as error:
        return error.findings
    except (UserError, UnicodeDecodeError, OSError, pa.ArrowException) as error:
        return [Finding("error", str(error).rstrip("."), source, "Give another --data")]


def stop_on_errors(findings: Sequence[Finding]) -> None:
    """Raises DataError if one of the findings is an error; it lists the warnings as well, which may be the cause."""
    if any(finding.severity == "error" for finding in findings):
        raise DataError([finding for finding in findings if finding.severity != "info"])


def tidy_ids(values: pd.Series) -> pd.Series:
    """Strings without surrounding space; whole numbers that became floats because some are missing are written whole."""
    if pd.api.types.is_integer_dtype(values.dtype) and isinstance(values.dtype, np.dtype):
        return pa.array(values.to_numpy()).cast(pa.string()).to_pandas().set_axis(values.index)  # 5 times as fast
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("str").where(values.notna()).str.strip()


def rounded_ids(values: pd.Series, faults: Faults) -> None:
    """Name ids that a spreadsheet has taken for numbers."""
    if not is_text(values):
        return
    found = pc.match_substring_regex(pa.array(values, pa.string(), from_pandas=True), ROUNDED)
    fix = "Export it as text: a spreadsheet has rounded long numbers, so that different ids have become the same"
    bad = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    faults.report(values.to_frame(), bad, "an id in scientific notation", fix, "they count as they are written")


def numbers(values: pd.Series, notation: Notation = PLAIN) -> pd.Series:
    """float64; NaN where a value is missing, infinite or no number (text: of this notation)."""
    if (notation.decimal, notation.thousands) != (PLAIN.decimal, PLAIN.thousands) and is_text(values):
        values = plain(values, notation)
    if not pd.api.types.is_numeric_dtype(values):
        try:  # a tenth of the time of to_numeric, and it knows decimals
            values = pa.array(values, from_pandas=True).cast(pa.float64()).to_pandas().set_axis(values.index)
        except ARROW_FAILURES:
            values = pd.to_numeric(values.astype("str").where(values.notna()), errors="coerce")
    parsed = values.astype("float64")
    return parsed.where(np.isfinite(parsed))


def plain(values: pd.Series, notation: Notation) -> pd.Series:
    """Text in a notation, written as usual; missing where it is no number of that notation."""
    text = pa.array(values, pa.string(), from_pandas=True)
    text = pc.if_else(pc.match_substring_regex(text, notation.number), text, None)
    if notation.thousands:
        text = pc.replace_substring_regex(text, notation.group, "")
    return pc.utf8_trim_whitespace(pc.replace_substring(text, notation.decimal, ".")).to_pandas().set_axis(values.index)


def notations(values: pd.Series) -> dict[Notation, float]:
    """Notations whose own signs are in the text of numbers, and which share of it they read."""
    if not is_text(values):
        return {}
    given = values.dropna()
    text = pa.array(given.iloc[:: max(1, len(given) // LOOKED_AT)], pa.string())
    text = text.filter(pc.match_substring_regex(text, "[0-9]"))
    found = {}
    for one in NOTATIONS:
        if pc.any(pc.match_substring_regex(text, one.group or one.decimal)).as_py():
            found[one] = float(np.mean(pc.match_substring_regex(text, one.number).to_numpy(zero_copy_only=False)))
    return found


def is_text(values: pd.Series) -> bool:
    return pd.api.types.infer_dtype(values, skipna=True) == "string"


def seconds(values: pd.Series, faults: Faults, unit: str = "auto", day_first: bool = False) -> pd.Series:
    """Times as float64 seconds since 1970; NaN where one is missing or unparsable.

    Args:
        values: times, ISO 8601 (without a zone: UTC), or numbers.
        unit: of numbers: s, ms, min, h or D since 1970; auto: seconds, or milliseconds where they are that large.
        day_first: also read 24.12.2025, 24/12/2025 and 24-12-2025, with or without a time of day.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(_epoch(values), index=values.index)
    since = numbers(values) * SECONDS.get(unit, 1.0)
    text = since.isna() & values.notna()
    if text.any():
        written = values[text].astype("str")
        if day_first:
            written = written.str.replace(DAY_FIRST, year_first, regex=True)
        since[text] = _epoch(pd.to_datetime(written, errors="coerce", utc=True, format="ISO8601"))
    if unit == "auto" and (milliseconds := since > LARGEST_SECONDS).mean() > 0.5:
        faults.add("info", "timestamps are milliseconds", "They were divided by 1,000")
        since[milliseconds] /= 1000
    early = (since >= 0) & (since < EARLY_S)
    if early.any() and since.median() > USUAL_S:
        fix = "Mend them: a missing time may have become 0, or it is in another unit"
        faults.report(values.to_frame(), early, "a time in 1970, far before the others", fix, "they count as they are written")
    return since


def year_first(match: re.Match[str]) -> str:
    day, month, year, hour, rest = match.groups()
    return f"{year}-{month:0>2}-{day:0>2}" + (f" {hour:0>2}{rest}" if hour else "")


def date_order(dates: pd.DataFrame) -> Literal["day", "month", ""]:
    """Which of the two comes first in dates as `DATE` takes them apart; "": they may be mistaken for each other."""
    first, second = dates[0].astype(int), dates[2].astype(int)
    dotted = (dates[1] == ".").any()  # which is how days come first, as in German
    if not (second > 12).any() and (dotted or (first > 12).any()):
        return "day"
    return "month" if not dotted and not (first > 12).any() and (second > 12).any() else ""


def latest() -> float:
    """The latest believable time, in seconds since 1970: a day ahead, for time zones."""
    return time.time() + DAY_S


def _epoch(times: pd.Series) -> np.ndarray:
    stamps = pd.to_datetime(times, utc=True)
    return ((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy()
