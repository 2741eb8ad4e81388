"""Raw values to ids, numbers and times; what does not fit is collected with its rows, so that all is named at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from shared.errors import DataError, Finding, Severity, UserError

DAY_S = 86_400.0
LARGEST_SECONDS = 1e11  # a larger number is a time in milliseconds
SECONDS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "D": DAY_S}
SHOWN = 5
ARROW_FAILURES = (pa.ArrowException, OverflowError, TypeError)


class Faults:
    """Collects findings about one source.

    Args:
        where: the file, for messages.
        refuse: rows with faults are an error (data.faults=refuse), instead of being left out with a warning.
        remedy: what to say of such rows instead of that.
    """

    def __init__(self, where: str, refuse: bool = False, remedy: str | None = None) -> None:
        self.where, self.refuse, self.remedy = where, refuse, remedy
        self.findings: list[Finding] = []

    def add(self, severity: Severity, what: str, fix: str, rows: Sequence[int] = (), examples: Sequence[str] = ()) -> None:
        count = max(1, len(rows))
        self.findings.append(Finding(severity, what, self.where, fix, count, [int(r) for r in rows[:SHOWN]], examples))

    def report(
        self, shown: pd.DataFrame, bad: pd.Series | np.ndarray, what: str, fix: str, handled: str = "these rows were left out"
    ) -> None:
        """Name the rows where `bad`, with the values of `shown` (index: row numbers); `handled` says what became of them."""
        places = np.flatnonzero(bad)
        if not len(places):
            return
        examples = [" / ".join(map(str, row)) for row in shown.iloc[places[:2]].itertuples(index=False)]
        if not self.refuse:
            fix += self.remedy or f"; {handled} (data.faults=refuse stops instead)"
        self.add("error" if self.refuse else "warning", what, fix, shown.index[places], examples)

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
        return [Finding("error", str(error).rstrip("."), source, "See `usecases data list` or give another --data")]


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


def numbers(values: pd.Series) -> pd.Series:
    """float64; NaN where a value is missing, infinite or no number."""
    if not pd.api.types.is_numeric_dtype(values):
        try:  # a tenth of the time of to_numeric, and it knows decimals
            values = pa.array(values, from_pandas=True).cast(pa.float64()).to_pandas().set_axis(values.index)
        except ARROW_FAILURES:
            values = pd.to_numeric(values.astype("str").where(values.notna()), errors="coerce")
    parsed = values.astype("float64")
    return parsed.where(np.isfinite(parsed))


def seconds(values: pd.Series, faults: Faults, unit: str = "auto") -> pd.Series:
    """Times as float64 seconds since 1970; NaN where one is missing or unparsable.

    Args:
        values: times, ISO 8601 (without a zone: UTC), or numbers.
        unit: of numbers: s, ms, min, h or D since 1970; auto: seconds, or milliseconds where they are that large.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(_epoch(values), index=values.index)
    since = numbers(values) * SECONDS.get(unit, 1.0)
    text = since.isna() & values.notna()
    if text.any():
        parsed = pd.to_datetime(values[text].astype("str"), errors="coerce", utc=True, format="ISO8601")
        since[text] = _epoch(parsed)
    if unit == "auto" and (milliseconds := since > LARGEST_SECONDS).mean() > 0.5:
        faults.add("info", "timestamps are milliseconds", "They were divided by 1,000")
        since[milliseconds] /= 1000
    return since


def latest() -> float:
    """The latest believable time, in seconds since 1970: a day ahead, for time zones."""
    return time.time() + DAY_S


def _epoch(times: pd.Series) -> np.ndarray:
    stamps = pd.to_datetime(times, utc=True)
    return ((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy()
