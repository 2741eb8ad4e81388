"""What can be read in one way only, written plainly: UTF-8, numbers with a decimal point, ISO dates, one spelling of a word."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from shared.data import cleaning
from shared.data.cleaning import DAY_FIRST, Faults, year_first
from shared.errors import SHOWN, Collector, UserError

MOSTLY = 0.95  # share of a column's values by which its kind is told
WORDS = re.compile(r"[^\W\d]+(?:[ _-]+[^\W\d]+)*")  # a name without digits: in ids capitals may tell two apart
MOST_WORDS, ROWS_EACH = 200, 5  # names of a column, and how often each is there on average, as labels are
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
BINARY = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF")
NOTHING_TO_DO = "Nothing is to be done"


def text(data: bytes, encoding: str, where: Path, faults: Collector) -> str | None:
    """The text of a file's bytes; None where it is none.

    A mark at its start tells the encoding. Lines that are not of the usual one are taken for UTF-8, else for Windows-1252.

    Raises:
        UserError: there is no such encoding.
    """
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UserError(f"There is no text encoding named '{encoding}'. Try utf-8, latin-1 or cp1252.") from None
    if data.startswith(BINARY):
        return None
    for mark, marked in MARKS.items():
        if data.startswith(mark):
            faults.add("info", f"the mark of {marked} at its start was removed", NOTHING_TO_DO, where=where)
            data, encoding = data[len(mark) :], marked
    if encoding.startswith("utf-16-"):
        return data.decode(encoding, errors="replace")
    if nulls := data.count(b"\0"):
        if nulls > len(data) / 100:
            return None
        faults.add("info", "NUL bytes were removed", NOTHING_TO_DO, where=where, count=nulls)
        data = data.replace(b"\0", b"")
    made = []
    for row, line in enumerate(data.splitlines(keepends=True)):
        decoded, used = _line(line, encoding)
        if used:
            what = f"a line of another encoding was taken for {used}"
            faults.add("info", what, "Look at one of them", decoded.strip()[:60], row or 1, where)
        made.append(decoded)
    if codecs.lookup(encoding).name != "utf-8":
        faults.add("info", f"text in {encoding} was written as UTF-8", NOTHING_TO_DO, where=where)
    return "".join(made)


def _line(line: bytes, encoding: str) -> tuple[str, str]:
    """The text, and the encoding if it is another one."""
    for one in dict.fromkeys((encoding, "utf-8", "cp1252")):
        try:
            return line.decode(one), "" if one == encoding else one
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1"), "latin-1"


def values(table: pd.DataFrame, notations: bool, where: Path, faults: Collector) -> pd.DataFrame | None:
    """The table with text written plainly; None where nothing was to be changed.

    Args:
        notations: whether numbers and dates are changed, too.
    """
    changed = False
    for column in table.columns:
        given = table[column]
        if not cleaning.is_text(given):
            continue
        made = given.str.strip()
        changed |= _told(given, made, "spaces around a value were removed", column, where, faults)
        if notations:
            for change in (_numbers, _dates):
                before, (made, what) = made, change(made, str(column), where, faults)
                changed |= _told(before, made, what, column, where, faults)
        before, made = made, _words(made)
        changed |= _told(before, made, "spellings of one word were unified", column, where, faults)
        table[column] = made
    return table if changed else None


def _told(before: pd.Series, after: pd.Series, what: str, column: str, where: Path, faults: Collector) -> bool:
    """Names the values that differ; whether there are any."""
    differ = before.notna() & (before != after)
    if not differ.any():
        return False
    pairs = zip(before[differ].head(2), after[differ].head(2), strict=True)
    examples = [f"{one} → {other}" for one, other in pairs]
    faults.add("info", what, NOTHING_TO_DO, examples, where=where, column=str(column), count=int(differ.sum()))
    return True


def _numbers(given: pd.Series, column: str, where: Path, faults: Collector) -> tuple[pd.Series, str]:
    """Numbers of another notation than the plain one, where all notations that read most of them agree."""
    shares = cleaning.notations(given)
    best = max(shares.values(), default=0.0)
    plain = float(cleaning.numbers(given.dropna()).notna().mean()) if shares else 1.0
    what = "numbers were written with a decimal point, without signs between thousands"
    if best < MOSTLY or plain >= MOSTLY:
        return given, what
    first, *others = [cleaning.plain(given, one) for one, share in shares.items() if share == best]
    read = cleaning.numbers(first)
    if not all(read.equals(cleaning.numbers(other)) for other in others):
        fix = "Set data.decimal or data.thousands, if the use case has them, or write a decimal point"
        examples = given.dropna().iloc[:SHOWN].tolist()
        told = "numbers that can be read in more than one way were left as they are"
        faults.add("info", told, fix, examples, where=where, column=column, count=int(given.notna().sum()))
        return given, what
    return first.where(read.notna(), given), what


def _dates(given: pd.Series, column: str, where: Path, faults: Collector) -> tuple[pd.Series, str]:
    """Dates of several ways of writing as ISO 8601, where day and month cannot be mistaken for each other."""
    what = "dates were written as ISO 8601"
    parts = given.dropna().str.extract(cleaning.DATE).dropna()
    known = cleaning.seconds(given.drop(parts.index).dropna(), Faults("")).notna().sum() if len(parts) else 0
    if not len(parts) or len(parts) + known < MOSTLY * given.notna().sum():
        return given, what
    order = cleaning.date_order(parts)
    if not order:
        fix = "Write dates as 2025-12-24"
        told = "dates whose day and month may be mistaken for each other were left as they are"
        examples = given[parts.index].iloc[:SHOWN].tolist()
        faults.add("info", told, fix, examples, where=where, column=column, count=len(parts))
        return given, what
    made = given.copy()
    chosen = made[parts.index]
    if order == "month":
        chosen = chosen.str.replace(r"^(\s*)(\d{1,2})([./-])(\d{1,2})", r"\1\4\3\2", regex=True)
    written = chosen.str.replace(DAY_FIRST, year_first, regex=True)
    right = cleaning.seconds(written, Faults("")).notna()
    made[parts.index] = written.where(right, given[parts.index])
    return made, what


def _words(given: pd.Series) -> pd.Series:
    """Names that differ in case or spaces alone get the spelling that is most frequent, of a column of few names."""
    counts = Counter(given.dropna())
    folded: dict[str, Counter[str]] = {}
    for one, count in counts.items():
        folded.setdefault(" ".join(one.casefold().split()), Counter())[one] = count
    if len(folded) > MOST_WORDS or len(folded) * ROWS_EACH > len(given):
        return given
    spellings = {
        one: kinds.most_common(1)[0][0]
        for name, kinds in folded.items()
        if len(kinds) > 1 and WORDS.fullmatch(name)
        for one in kinds
    }
    return given.map(lambda one: spellings.get(one, one), na_action="ignore") if spellings else given
