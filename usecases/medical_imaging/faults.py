"""Findings that say the same of one source become one, with a count and examples."""

from __future__ import annotations

from pathlib import Path

from shared.errors import Finding, Severity

SHOWN = 5


class Faults:
    """Collects findings while a source is gone through."""

    def __init__(self, where: Path | str) -> None:
        """`where`: the source, for messages."""
        self.where = str(where)
        self._found: dict[tuple[Severity, str, str], tuple[list[int], list[str]]] = {}

    def add(self, severity: Severity, what: str, fix: str, example: str = "", row: int = 0) -> None:
        """`row`: number of the line in a table, 0 where there is none; `example`: the image or file concerned."""
        rows, examples = self._found.setdefault((severity, what, fix), ([], []))
        rows.append(row)
        if example and len(examples) < SHOWN:
            examples.append(example[:160])

    @property
    def findings(self) -> list[Finding]:
        """Errors first."""
        found = []
        for (severity, what, fix), (rows, examples) in self._found.items():
            numbers = [row for row in rows if row][:SHOWN]
            times = f" ({len(rows):,} times)" if len(rows) > 1 and not numbers else ""
            found.append(Finding(severity, what + times, self.where, fix, len(rows), numbers, examples))
        return sorted(found, key=lambda finding: ("error", "warning", "info").index(finding.severity))
