"""Errors that are the user's to mend. The command line prints them as one message, never as a traceback."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

Severity = Literal["error", "warning", "info"]
SHOWN = 5  # rows and examples of a finding


class UserError(Exception):
    """A problem with what the user gave: says what is wrong, where, and how to fix it."""


@dataclass(frozen=True)
class Finding:
    """One thing that `check` noticed in the user's data.

    Attributes:
        where: the file or folder, and `column` the column or columns of a table.
        count: of the rows, files or the like concerned; `rows` holds the numbers of the first few (1 is the first row after the
            header, or a text's first line), `examples` what is in them, or the files.
        fix: what to do.
        left_out: of each file all rows that a run leaves out for it; (): the whole file. A copy without them has the fault no
            more (`usecases check --fix`).
    """

    severity: Severity
    what: str
    where: str
    fix: str
    count: int = 1
    rows: Sequence[int] = field(default_factory=tuple)
    examples: Sequence[str] = field(default_factory=tuple)
    column: str = ""
    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without `left_out`, which may be as long as the data."""
        return {key: value for key, value in asdict(self).items() if key != "left_out"}

    @property
    def place(self) -> str:
        """File and column."""
        return f"{self.where}, column '{self.column}'" if self.column else self.where

    @property
    def told(self) -> str:
        """What, how often, in which rows and such as which, in words."""
        listed = ", ".join(map(str, self.rows))
        rows = f" (row {listed})" if len(self.rows) == 1 == self.count else ""
        if self.rows and not rows:
            rows = f" ({self.count:,} rows: {listed}{', …' if self.count > len(self.rows) else ''})"
        elif self.count > 1 and not self.rows and not re.search(rf"(?<![\d,]){self.count:,}(?![\d,])", self.what):
            rows = f" ({self.count:,} times)"
        shown = [one for one in dict.fromkeys(self.examples) if not self.where.endswith(f"/{one}")]
        return f"{self.what}{rows}" + (f", such as {', '.join(map(repr, shown))}" if shown else "")

    def __str__(self) -> str:
        said = any(before + self.where in f" {self.what}" for before in " '")  # by an error that has become a finding
        told = self.told
        return f"{'' if said else f'{self.place}: '}{told}{'' if told.endswith('?') else '.'} {self.fix}"


class DataError(UserError):
    """The data cannot be used as configured; carries every finding at once."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        super().__init__(f"The data has {len(self.findings)} problem(s):\n{lines}")


@dataclass
class _Noted:
    """What findings that say the same have of their own."""

    count: int = 0
    rows: list[int] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)


class Collector:
    """Collects findings while a source is gone through: those that say the same become one, with a count and examples."""

    def __init__(self, where: Path | str) -> None:
        """`where`: the source, for messages."""
        self.where = str(where)
        self.given: list[Finding] = []  # what others have found: it is kept as it is
        self._found: dict[tuple[Severity, str, str, str, str], _Noted] = {}

    def add(
        self,
        severity: Severity,
        what: str,
        fix: str,
        example: str | Sequence[str] = (),
        row: int = 0,
        where: Path | str | None = None,
        *,
        column: str = "",
        count: int = 1,
        left_out: bool | Iterable[tuple[Path, int]] = False,
    ) -> None:
        """Note one thing.

        Args:
            example: the image, file or the like concerned, or several.
            row: number of the line in a table or file, 0 where there is none.
            where: a file of the source; None: the source itself.
            count: how many rows or the like are concerned.
            left_out: whether a run leaves the row out for it; or files with the row that it leaves out, 0: the whole file.
        """
        place = self.where if where is None else str(where)
        noted = self._found.setdefault((severity, what, place, fix, column), _Noted())
        noted.count += count
        if row:
            noted.rows.append(row)
        for one in [example] * bool(example) if isinstance(example, str) else example:
            if len(noted.examples) < SHOWN:
                noted.examples.append(one[:120].encode(errors="backslashreplace").decode())  # a file's name may be no text
        if left_out is True:
            noted.left_out.setdefault(place, []).append(row)
        elif left_out:
            for file, number in left_out:
                noted.left_out.setdefault(str(file), []).extend([number] if number else [])

    @property
    def findings(self) -> list[Finding]:
        """Errors first. What concerns one file of a folder has that as its place."""
        found = []
        for (severity, what, where, fix, column), noted in self._found.items():
            rows = noted.rows[:SHOWN]
            if noted.count == 1 == len(noted.examples) and not rows and _is_file(Path(where) / noted.examples[0]):
                where = str(Path(where) / noted.examples[0])
            found.append(Finding(severity, what, where, fix, noted.count, rows, noted.examples, column, noted.left_out))
        return errors_first([*self.given, *found])


def _is_file(path: Path) -> bool:
    """As the path's own method, also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, in their order otherwise."""
    return sorted(findings, key=lambda finding: get_args(Severity).index(finding.severity))


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that offers the valid name closest to a mistyped one, or lists them all if none is close."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Valid: {', '.join(valid[:20])}{', …' if len(valid) > 20 else ''}." if valid else "There are none."


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which command installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise UserError(
            f"This needs the package '{module}', which is not installed. Install it: pip install \"usecases[{extra}]\""
            f' (in a clone of the repository: pip install -e ".[{extra}]").'
        ) from None
