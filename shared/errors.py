"""Errors that are the user's to mend. The command line prints them as one message, never as a traceback."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
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

    `where` names the file and column, `rows` holds the first few row numbers (1 is the first row after the header),
    `count` is the number of rows concerned, `fix` says what to do.
    """

    severity: Severity
    what: str
    where: str
    fix: str
    count: int = 1
    rows: Sequence[int] = field(default_factory=tuple)
    examples: Sequence[str] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.rows))
        rows = f" (row {listed})" if len(self.rows) == 1 == self.count else ""
        if self.rows and not rows:
            rows = f" ({self.count:,} rows: {listed}{', …' if self.count > len(self.rows) else ''})"
        examples = f", such as {', '.join(repr(e) for e in dict.fromkeys(self.examples))}" if self.examples else ""
        told = f"{self.what}{rows}{examples}"
        said = any(before + self.where in f" {self.what}" for before in " '")  # by an error that has become a finding
        return f"{'' if said else f'{self.where}: '}{told}{'' if told.endswith('?') else '.'} {self.fix}"


class DataError(UserError):
    """The data cannot be used as configured; carries every finding at once."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        super().__init__(f"The data has {len(self.findings)} problem(s):\n{lines}")


class Collector:
    """Collects findings while a source is gone through: those that say the same become one, with a count and examples."""

    def __init__(self, where: Path | str) -> None:
        """`where`: the source, for messages."""
        self.where = str(where)
        self.given: list[Finding] = []  # what others have found: it is kept as it is
        self._found: dict[tuple[Severity, str, str, str], tuple[list[int], list[str]]] = {}

    def add(
        self, severity: Severity, what: str, fix: str, example: str = "", row: int = 0, where: Path | str | None = None
    ) -> None:
        """Note one thing.

        Args:
            example: the image, file or the like concerned.
            row: number of the line in a table or file, 0 where there is none.
            where: a file of the source; None: the source itself.
        """
        key = (severity, what, self.where if where is None else str(where), fix)
        rows, examples = self._found.setdefault(key, ([], []))
        rows.append(row)
        if example and len(examples) < SHOWN:
            examples.append(example[:120].encode(errors="backslashreplace").decode())  # a file's name may be no text

    @property
    def findings(self) -> list[Finding]:
        """Errors first."""
        found = []
        for (severity, what, where, fix), (rows, examples) in self._found.items():
            numbers = [row for row in rows if row][:SHOWN]
            times = f" ({len(rows):,} times)" if len(rows) > 1 and not numbers else ""
            found.append(Finding(severity, what + times, where, fix, len(rows), numbers, examples))
        return errors_first([*self.given, *found])


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
