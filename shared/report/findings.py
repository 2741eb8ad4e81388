"""What a check found, as one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shared.errors import Finding
from shared.report.html import Report, Section, Table

HEADS = {
    "error": ("Errors", "A run stops at each of them. Mend them first."),
    "warning": ("Warnings", "A run goes on, but leaves data out, or its result may mislead."),
    "info": ("Notes", "What was made of the data. Look whether it is what you meant."),
}
SHOWN = 3  # examples
COLUMNS = ("What", "Where", "Examples", "What to do", "Count")
MEANINGS = {"error": "errors: stop a run", "warning": "warnings", "info": "notes"}


def write(
    path: Path, title: str, source: str, findings: Sequence[Finding], changes: Sequence[Finding] = (), command: str = ""
) -> None:
    """Write the page, whole or not at all.

    Args:
        source: what was checked.
        changes: what was changed in a copy before, which is the source then.
        command: what runs on it.
    """
    counts = {severity: sum(one.severity == severity for one in findings) for severity in HEADS}
    sections = [
        Section(head, text, tables=[_table(own, source)])
        for severity, (head, text) in HEADS.items()
        if (own := [one for one in findings if one.severity == severity])
    ]
    if changes:
        text = "The original is as it was; these are the differences of the copy."
        sections.append(Section("Changed in the copy", text, tables=[_table(changes, source)]))
    Report(
        title=title,
        verdict=_verdict(counts),
        findings=(),
        facts=[("data", source), *([("run it", command)] if command else [])],
        sections=sections,
        tiles=[(str(count), MEANINGS[severity]) for severity, count in counts.items()],
    ).write(path)


def _verdict(counts: dict[str, int]) -> str:
    if counts["error"]:
        return f"{counts['error']} fault(s) stop a run: this data cannot be used yet."
    return "Nothing stops a run" + (", but read the warnings." if counts["warning"] else ".")


def _table(findings: Sequence[Finding], source: str) -> Table:
    def shown(one: Finding) -> str:
        return "\n".join(list(dict.fromkeys(one.examples))[:SHOWN])

    rows = [(one.what, _place(one, source), shown(one), one.fix, one.count) for one in findings]
    return Table(COLUMNS, rows, stacked=True)


def _place(finding: Finding, source: str) -> str:
    """File, where it is not the source itself, column and rows, a line each."""
    file = finding.where.removeprefix(f"{source.rstrip('/')}/")
    lines = [Path(file).name if finding.where == source else file]
    lines += [f"column {finding.column}"] * bool(finding.column)
    if finding.rows:
        more = ", …" if finding.count > len(finding.rows) else ""
        lines.append(f"row {', '.join(map(str, finding.rows))}{more}")
    return "\n".join(lines)
