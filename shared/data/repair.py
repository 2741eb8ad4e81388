"""A repaired copy of somebody's data: what is read in one way only is written plainly, what cannot be used is left out."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml

from shared.data import plainly, tables
from shared.data.tables import JSON_LINES
from shared.errors import Collector, Finding, UserError
from shared.files import whole

LINES = (".jsonl", ".ndjson")
TEXTS = (".yaml", ".yml", ".md")
LONGEST = 1 << 30  # characters of a value
ITEM = re.compile(r"\s*-\s+\S")  # an entry of a list in YAML that is one line


class Dropped(NamedTuple):
    """What the copy does without: a row of a file (0: the whole file), why, and what was in it."""

    file: Path
    row: int
    reason: str
    content: str


class Copy:
    """A copy of a file or folder, with its tables as text in UTF-8, and plain numbers, dates and labels (see `plainly`).

    Attributes:
        changes: what was changed, each an info.
        dropped: what was left out.
    """

    def __init__(self, source: Path, out: Path, encoding: str = "utf-8", plain: bool = True) -> None:
        """Write it; there is nothing at `out` if that fails.

        Args:
            encoding: of text files, where it is not told by themselves.
            plain: whether numbers and dates are written plainly; else the configuration tells how to read them.

        Raises:
            UserError: `out` is there already, lies inside the source or is of another kind.
        """
        _fits(source, out)
        self.out, self.encoding, self.plain = out.resolve(), encoding, plain
        self.changes: list[Finding] = []
        self.dropped: list[Dropped] = []
        faults = Collector(self.out)
        try:
            self._copy(source.resolve(), faults)
        except BaseException:
            self.remove()
            raise
        self.changes = [*faults.findings, *self.changes]

    def remove(self) -> None:
        """Take it away, where something failed."""
        if self.out.is_dir():
            shutil.rmtree(self.out)
        self.out.unlink(missing_ok=True)

    def _copy(self, source: Path, faults: Collector) -> None:
        if source.is_file():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._copy_file(source, self.out, faults)
            return
        for folder, folders, names in os.walk(source):
            place = self.out / Path(folder).relative_to(source)
            place.mkdir(parents=True)
            linked = [name for name in folders if Path(folder, name).is_symlink()]
            for name in sorted([*names, *linked]):
                file = Path(folder) / name
                if file.is_symlink() or not file.is_file():
                    faults.add("info", "a link that was not copied", "Copy what it leads to where it is needed", name)
                else:
                    self._copy_file(file, place / name, faults)

    def _copy_file(self, file: Path, out: Path, faults: Collector) -> None:
        kind = file.suffix.lower()
        if kind not in (*tables.DELIMITERS, *LINES, *TEXTS):
            shutil.copyfile(file, out)
            return
        data = file.read_bytes()
        text = plainly.text(data, self.encoding, out, faults)
        out.write_bytes(data if text is None else text.encode())
        if text is None or kind in TEXTS:
            return
        try:
            table, found = tables.read(out)
            if self.leave_out(found):  # lines that are no rows
                table, found = tables.read(out)
        except (UserError, UnicodeDecodeError):  # check tells it of the copy
            return
        if table.columns.is_unique and (changed := plainly.values(table, self.plain, out, faults)) is not None:
            _write(changed, out)

    def leave_out(self, findings: Iterable[Finding]) -> bool:
        """Remove the rows and files that findings say a run leaves out; whether there were any."""
        rows: dict[Path, dict[int, str]] = {}
        for finding in findings:
            for name, numbers in finding.left_out.items():
                file = Path(name).resolve()
                if file.is_relative_to(self.out) and file.is_file():
                    rows.setdefault(file, {}).update(dict.fromkeys(numbers or [0], finding.what))
        faults, before = Collector(self.out), len(self.dropped)
        for file, reasons in rows.items():
            if 0 not in reasons and _are_all(file, reasons):
                what = "no row can be used as it is read now, so none is left out"
                faults.add("info", what, "Mend what check says of the copy", where=file)
                continue
            if 0 in reasons:
                gone = [Dropped(file, 0, reasons[0], "")]
                file.unlink()
            else:
                taken = _without(file, reasons)
                numbers = self._in_source(file, [row for row, _ in taken])
                gone = [Dropped(file, number, reasons[row], text) for number, (row, text) in zip(numbers, taken, strict=True)]
            for one in gone:
                fix, row = f"Listed in {side_file(self.out)}", one.row
                example = one.content or ("" if file == self.out else file.relative_to(self.out).as_posix())
                faults.add("info", f"left out: {one.reason}", fix, example, row, file if row else None)
            self.dropped += gone
        self.changes += faults.findings
        return len(self.dropped) > before

    def _in_source(self, file: Path, rows: Sequence[int]) -> list[int]:
        """Numbers that rows of the copy have in the source, where those that were left out before are counted."""
        before = [one.row for one in self.dropped if one.file == file]
        if not rows or not before:
            return list(rows)
        still = np.setdiff1d(np.arange(1, max(rows) + len(before) + 1), before)
        return [int(still[row - 1]) for row in rows]

    def list_dropped(self) -> None:
        """Write beside the copy what it does without, as CSV; nothing where it is whole."""
        if not self.dropped:
            return
        with whole(side_file(self.out)) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "row", "reason", "content"))
            home = self.out if self.out.is_dir() else self.out.parent
            for one in self.dropped:
                writer.writerow((one.file.relative_to(home).as_posix(), one.row or "", one.reason, one.content))


def side_file(out: Path) -> Path:
    """Where it is listed what a copy does without."""
    out = out.resolve()
    return out.parent / f"{out.name}.dropped.csv"


def _fits(source: Path, out: Path) -> None:
    """Raises UserError if a copy of the source cannot be there."""
    for path in (out, out.resolve(), side_file(out)):  # of "none/.." only the second is there
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} is there already. Give a path that is not: nothing is overwritten.")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out} lies inside {source}, which stays as it is. Give a path beside it.")
    if source.is_file() and out.suffix.lower() != source.suffix.lower():
        raise UserError(f"The copy is of the same kind as {source.name}: give a name that ends in {source.suffix}.")


def _write(table: pd.DataFrame, out: Path) -> None:
    """In JSON lines a key that a record does not have is NaN in the table, and null is None."""
    with whole(out) as partial:
        if out.suffix.lower() in JSON_LINES:
            records = ({key: one for key, one in row.items() if not _is_nan(one)} for row in table.to_dict("records"))
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            delimiter = tables.delimiter(out)
            missing = "" if len(table.columns) > 1 else tables.MISSING[1]  # a line of nothing is no row
            plain = table.replace("", missing)
            with partial.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter=delimiter, lineterminator="\n").writerow(table.columns)  # read with quotes always
                plain.to_csv(file, sep=delimiter, index=False, header=False, na_rep=missing, quoting=_quoting(delimiter))


def _quoting(delimiter: str) -> Literal[0, 3]:
    """As `tables.read` takes it."""
    return csv.QUOTE_MINIMAL if delimiter in tables.QUOTED else csv.QUOTE_NONE


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _are_all(file: Path, rows: Collection[int]) -> bool:
    """Would a table have no row left?"""
    return file.suffix.lower() not in TEXTS and len(rows) == len(tables.read(file)[0])


def _without(file: Path, rows: Iterable[int]) -> list[tuple[int, str]]:
    """Remove rows from a file, which is written anew; gives them, with what was in them. Nothing of files of other kinds."""
    kind, gone = file.suffix.lower(), set(rows)
    if kind in (".parquet", ".pq"):
        table, _ = tables.read(file)
        taken = table[table.index.isin(gone)]
        with whole(file) as partial:
            table.drop(index=taken.index).to_parquet(partial, index=False)
        return [(int(row), json.dumps(one, default=str)) for row, one in zip(taken.index, taken.to_dict("records"), strict=True)]
    if kind in (".yaml", ".yml"):
        return _without_lines(file, {row for row in gone if _is_item(file, row)})
    if kind in JSON_LINES:
        whole_list = _json_list(file)
        if whole_list is None:
            return _without_lines(file, gone)
        with whole(file) as partial:
            kept = [one for row, one in enumerate(whole_list, 1) if row not in gone]
            partial.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
        return [(row, json.dumps(one, ensure_ascii=False)) for row, one in enumerate(whole_list, 1) if row in gone]
    return _without_rows(file, gone) if kind in tables.DELIMITERS else []


def _without_rows(file: Path, gone: set[int]) -> list[tuple[int, str]]:
    csv.field_size_limit(LONGEST)
    delimiter = tables.delimiter(file)
    quoting = _quoting(delimiter)
    taken: list[tuple[int, str]] = []
    with ExitStack() as stack:
        read = stack.enter_context(file.open(encoding="utf-8", newline=""))
        to = stack.enter_context(stack.enter_context(whole(file)).open("w", encoding="utf-8", newline=""))
        writer = csv.writer(to, delimiter=delimiter, quoting=quoting, quotechar=None if quoting else '"', lineterminator="\n")
        for number, row in enumerate(filter(None, csv.reader(read, delimiter=delimiter, quoting=quoting))):
            if number in gone:
                taken.append((number, delimiter.join(row)))
            else:
                writer.writerow(row)
    return taken


def _without_lines(file: Path, gone: set[int]) -> list[tuple[int, str]]:
    lines = file.read_bytes().splitlines(keepends=True)
    with whole(file) as partial:
        partial.write_bytes(b"".join(line for number, line in enumerate(lines, 1) if number not in gone))
    return [(n, line.decode(errors="replace").strip()) for n, line in enumerate(lines, 1) if n in gone]


def _is_item(file: Path, row: int) -> bool:
    """Is a line of YAML an entry of a list by itself?"""
    lines = file.read_text(encoding="utf-8").splitlines()
    line, after = lines[row - 1], next((one for one in lines[row:] if one.strip()), "")
    try:
        alone = isinstance(yaml.safe_load(line), list)
    except yaml.YAMLError:
        alone = False
    return bool(ITEM.match(line)) and alone and _indent(after) <= _indent(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _json_list(file: Path) -> list[Any] | None:
    """The list that a file is as a whole; None: it is none, such as JSON lines."""
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None
