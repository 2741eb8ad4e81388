"""A table that lists images: path, and as far as there: label, patient, mask, split, source."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from shared.data import columns, tables
from shared.errors import SHOWN, Collector, DataError, Finding, UserError, nearest
from usecases.medical_imaging import anonymous, reading
from usecases.medical_imaging.config import Data
from usecases.medical_imaging.items import SPLITS, Item, name_of

TABLES = (".csv", ".tsv", ".tab", ".parquet", ".jsonl")
ROLES = {  # usual names of the columns
    "path": (
        "path",
        "filepath",
        "imagepath",
        "imgpath",
        "file",
        "filename",
        "image",
        "img",
        "imagefile",
        "imageindex",
        "imageid",
    ),
    "label": ("label", "diagnosis", "dx", "class", "classname", "finding", "target", "category", "level"),
    "patient": ("patient", "patientid", "subject", "subjectid", "person", "personid", "caseid"),
    "mask": ("mask", "maskpath", "maskfile", "segmentation", "seg"),
    "split": ("split", "subset", "partition", "set"),
    "source": ("source", "site", "hospital", "center", "centre", "institution", "scanner", "dataset"),
}
SEVERAL = ";"  # between masks of one image
WORD = re.compile("[A-Za-z]{1,12}")  # a part's name is shown if it is a short word, and one of few: else it may be a patient's


def lists_images(file: Path, config: Data) -> bool:
    """Has the table a column of paths and one of labels or masks?"""
    try:
        header = tables.header(file)
    except (UserError, OSError):
        return False
    found = {role for role, names in ROLES.items() if config.columns.get(role) in header or columns.usual(names, header)}
    return "path" in found and bool(found & {"label", "mask"})


def items(file: Path, config: Data, faults: Collector) -> list[Item]:
    """The images of a table. Relative paths are below its folder; a name without folder or ending is looked for there.

    Args:
        file: CSV, TSV, Parquet or JSON lines; see `ROLES` for the columns.

    Raises:
        UserError: the table cannot be read at all.
        DataError: a column is missing (labels may be, where there are masks), or no row can be used.
    """
    if unknown := [role for role in config.columns if role not in ROLES]:
        fixes = [f"'{role}': {nearest(role, ROLES)}" for role in unknown]
        raise DataError([Finding("error", "data.columns has roles that there are not", str(file), " ".join(fixes))])
    table, found = tables.read(file)
    found = [replace(finding, examples=[]) for finding in found]  # lines of the table, which may name patients
    if errors := [finding for finding in found if finding.severity == "error"]:
        raise DataError(errors)
    faults.given += found
    wanted = {role: config.columns.get(role) for role in ROLES}
    masked = wanted["mask"] or columns.usual(ROLES["mask"], table.columns)
    chosen = columns.assign(table, ROLES, wanted, ("path",) if masked else ("path", "label"), str(file))
    listed = list(_items(table, chosen, _Places(file.parent), faults))
    if not listed:
        fix = (
            f"Paths are absolute, or relative to {file.parent}"
            if len(table)
            else "List the images below the header, one in a row"
        )
        faults.add("error", "no row can be used" if len(table) else "the table has no rows", fix)
        raise DataError(faults.findings)
    return listed


def _items(table: pd.DataFrame, chosen: dict[str, str], places: _Places, faults: Collector) -> Iterator[Item]:
    salt = anonymous.salt()
    seen: set[Path] = set()
    texts = {role: table[column].astype("string").str.strip().fillna("") for role, column in chosen.items()}
    unknown = {value for value in texts.get("split", ()) if value and value.lower() not in SPLITS}
    for place, row in enumerate(table.index):
        given = {role: str(values.iloc[place]) for role, values in texts.items()}
        path = places.find(given["path"], faults, row)
        if path is None:
            continue
        if path in seen:
            faults.add(
                "warning", "an image that is listed again", "List each image once; the first row counts", row=row, left_out=True
            )
            continue
        seen.add(path)
        label = given.get("label") or None
        part = SPLITS.get(given.get("split", "").lower(), "")
        if given.get("split") and not part:
            shown = len(unknown) <= SHOWN and WORD.fullmatch(given["split"])
            what = f"a part that is none: '{given['split']}'" if shown else "a part that is none"
            faults.add("warning", what, "Use train, val and test; the row was left out", row=row, left_out=True)
            continue
        named = [mask for mask in given.get("mask", "").split(SEVERAL) if mask.strip()]
        masks = [mask for name in named if (mask := places.find(name.strip(), faults, row, "a mask"))]
        if len(masks) < len(named):
            continue
        patient = given.get("patient", "")
        inner = path.relative_to(places.root if path.is_relative_to(places.root) else path.anchor)
        name = name_of(inner, [one for one in (label, given.get("split")) if one], patient, salt)
        yield Item(path, name, _plain(label), tuple(masks), patient, given.get("source", ""), part, row)


def _plain(label: str | None) -> str | None:
    """1.0, as a table writes whole numbers where one is missing, as 1."""
    return label[:-2] if label and label.endswith(".0") and label[:-2].isdigit() else label


class _Places:
    """Finds the files that a table names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: dict[str, list[Path]] = {}

    def find(self, given: str, faults: Collector, row: int, what: str = "an image") -> Path | None:
        """The file, or None with a finding, which has the row alone: a path may name a patient."""
        path = PureWindowsPath(given)  # takes / and \\ both
        if not given or "\0" in given:
            faults.add("warning", "a row without a path", "It was left out", row=row, left_out=True)
            return None
        if Path(given).is_absolute():
            place = Path(given)
        elif path.anchor or ".." in path.parts:
            fix = "Write paths below the table's folder, or absolute ones; the row was left out"
            faults.add("error", "a path that leads out of the table's folder", fix, row=row)
            return None
        else:
            place = self.root.joinpath(*path.parts)
        if os.path.isfile(place):  # noqa: PTH113 - Path.is_file raises where a name is longer than any file's
            return place
        matches = self._named(path.name) if len(path.parts) == 1 else []
        if len(matches) == 1:
            return matches[0]
        fix = "Correct the path, or add the file; the row was left out"
        also = "" if not matches else f" ({len(matches)} files have this name: give the folder, too)"
        faults.add("warning", f"{what} that is not there{also}", fix, row=row, left_out=True)
        return None

    def _named(self, name: str) -> list[Path]:
        """Files below the folder that are called so, with or without their ending."""
        if not self._by_name:
            by_name: dict[str, list[Path]] = defaultdict(list)
            for file in reading.files(self.root):
                for key in {file.name, file.stem, file.name.partition(".")[0]}:
                    by_name[key].append(file)
            self._by_name = by_name
        return self._by_name.get(name, [])
