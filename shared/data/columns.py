"""Which column is what: named by the configuration, or recognised by its usual names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from shared.errors import DataError, Finding


def normal(name: str) -> str:
    """A name as it is compared: without case, spaces, underscores and hyphens."""
    return "".join(c for c in name.lower() if c.isalnum())


def usual(names: Sequence[str], columns: Iterable[str]) -> str | None:
    """The column that has one of the (normal) `names`, most specific first."""
    by_name = {normal(str(column)): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def assign(
    table: pd.DataFrame,
    names: Mapping[str, Sequence[str]],
    wanted: Mapping[str, str | None],
    required: Collection[str],
    where: str,
) -> dict[str, str]:
    """The column of each role that the table has.

    Args:
        names: the usual names of each role, normal, most specific first.
        wanted: the columns that the configuration names (data.columns.*); null: recognised by the usual names.
        required: roles that a table must have.
        where: the file, for messages.

    Raises:
        DataError: names every column that is absent, given twice, or cannot be told.
    """
    if twice := sorted({str(name) for name in table.columns[table.columns.duplicated()]}):
        fix = "Give each column a name of its own"
        what = f"more than one column is named {', '.join(twice)}"
        raise DataError([Finding("error", what, where, fix, len(twice), examples=twice, column=", ".join(twice))])
    findings: list[Finding] = []
    chosen: dict[str, str] = {}
    taken = {column for column in wanted.values() if column is not None}
    listed = f"The file has the columns: {', '.join(map(str, table.columns))}. Set data.columns."
    for role in names:
        column = wanted[role] if wanted[role] is not None else usual(names[role], [c for c in table.columns if c not in taken])
        if column is not None and column in table.columns:
            chosen[role] = column
            taken.add(column)
        elif column is not None:
            what = f"there is no column '{column}'"
            findings.append(Finding("error", what, where, f"{listed}{role} to one of them", column=column))
        elif role in required:
            findings.append(
                Finding("error", f"it cannot be told which column is the {role}", where, f"{listed}{role} to the right one")
            )
    if len(set(chosen.values())) < len(chosen):
        twice = [column for column in dict.fromkeys(chosen.values()) if list(chosen.values()).count(column) > 1]
        fix, given = "Set data.columns.* to different columns", ", ".join(twice)
        findings.append(Finding("error", "one column is given two roles", where, fix, len(twice), examples=twice, column=given))
    if findings:
        raise DataError(findings)
    return chosen
