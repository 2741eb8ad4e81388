"""Files, folders, series and volumes through the finder, to tables, overlays, masks and a page; nothing is held for long."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa

from shared.data import tables
from shared.data.video import Ahead
from shared.errors import UserError
from shared.files import whole
from shared.usecase import Progress
from usecases.medical_imaging import reading, series
from usecases.medical_imaging.answers import MedicalOptions
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import NOTICE, Found
from usecases.medical_imaging.recording import Recorder, Row
from usecases.medical_imaging.series import Study
from usecases.medical_imaging.summary import Journal

BATCH = 16  # pictures that are looked at together
VALUES = 8_000_000  # of a batch's pictures, from which on it is full
ROWS = 512  # rows that are written together
FILES = frozenset([".csv", ".tsv", ".parquet", ".json", ".jsonl", ".html", ".png"])  # endings that no folder should have
CASE: dict[str, pa.DataType] = {
    "case": pa.string(),
    "kind": pa.string(),
    "pictures": pa.int64(),
    "unreadable": pa.int64(),
    "finding": pa.string(),
    "probability": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "picture": pa.string(),
    "with_finding": pa.int64(),
    "refer": pa.bool_(),
    "referred": pa.int64(),
    "reasons": pa.string(),
    "novelty": pa.float64(),
    "lesions": pa.int64(),
    "diameter_mm": pa.float64(),
    "area_mm2": pa.float64(),
    "volume_ml": pa.float64(),
    "patient": pa.string(),
    "mask": pa.string(),
    "overlays": pa.int64(),
    "notes": pa.string(),
    "notice": pa.string(),
}
FAULT: dict[str, pa.DataType] = dict.fromkeys(("name", "case", "reason", "notice"), pa.string())


class Finder(Protocol):
    """What looks at pictures."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def threshold(self) -> float: ...

    def __call__(self, pictures: Sequence[Picture], heat: bool = True) -> list[Found]: ...


@dataclass(frozen=True)
class Item:
    """One picture of a study; a file's fault, if there is no picture; or the study's end, if there is neither."""

    study: Study
    file: int = 0
    frame: int = 0
    picture: Picture | None = None
    fault: str = ""


class Sheet:
    """A table as CSV, and as Parquet if wanted, that appears whole at the end."""

    def __init__(self, path: Path, columns: dict[str, pa.DataType], parquet: bool = False) -> None:
        self.path, self.schema, self.parquet = path, pa.schema(columns), parquet
        self.rows: list[Row] = []
        self.stack = ExitStack()
        self.append: Callable[[pa.Table], None] | None = None

    def __enter__(self) -> Self:
        partial = self.stack.enter_context(whole(self.path))
        file = self.stack.enter_context(partial.open("w", encoding="utf-8", newline=""))
        self.lines = csv.DictWriter(file, self.schema.names, lineterminator="\n")
        self.lines.writeheader()
        if self.parquet:
            self.append = self.stack.enter_context(tables.writer(self.path.with_suffix(".parquet")))
            self.append(self.schema.empty_table())
        return self

    def __exit__(self, *problem: Any) -> None:
        if problem[0] is None:
            self._flush()
        self.stack.__exit__(*problem)

    def write(self, rows: Iterable[Row]) -> None:
        self.rows += rows
        if len(self.rows) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        self.lines.writerows(self.rows)
        if self.append and self.rows:
            self.append(pa.Table.from_pylist(self.rows, self.schema))
        self.rows = []


def process(source: Path, out: Path, finder: Finder, salt: str, options: MedicalOptions, progress: Progress) -> dict[str, Any]:
    """Look at every picture and write the folder `out`.

    findings.csv and .parquet have a row for each picture, cases.csv one for each case (an image, a series, a volume),
    unreadable.csv the files that were skipped and why; overlays/ and masks/ hold images; summary.json and summary.html tell of
    all. On Ctrl-C what was done is kept: of a case in the middle its pictures, without a row in cases.csv.

    Args:
        source: a file, or a folder, which is gone through with all that are in it.
        salt: of the patients' pseudonyms.

    Returns:
        The summary's main numbers.

    Raises:
        UserError: `out` cannot be written to, there is nothing in the source, or nothing of it could be read.
    """
    _prepare(source, out)
    with warnings.catch_warnings():  # libraries that read and write DICOM quote names; threads share what is set here
        warnings.simplefilter("ignore")
        found = series.studies(source, series.files(source))
        if not found:
            raise UserError(f"{source} holds no files that may be images. Give DICOM, NIfTI, PNG, JPEG, BMP or TIFF files.")
        journal = Journal(source, finder.classes, finder.threshold, sum(len(one.paths) for one in found))
        try:
            with Tables(out, finder.classes) as sheets:
                error = _look(found, finder, salt, options, progress, Writer(out, finder.classes, options, sheets, journal))
                if not journal.pictures:  # nothing is left behind
                    raise error or UserError(journal.nothing())
        finally:
            with suppress(OSError):  # which it is where something was written
                out.rmdir()
        summary = journal.write(out)
    if error:
        raise error
    return summary


class Tables:
    """The three tables of a result."""

    def __init__(self, out: Path, classes: Sequence[str]) -> None:
        text, number, whole_number = pa.string(), pa.float64(), pa.int64()
        self.columns = {
            "case": text, "name": text, "frame": whole_number, "finding": text, "probability": number, "low": number,
            "high": number, "refer": pa.bool_(), "reasons": text, "novelty": number, **{f"p_{name}": number for name in classes},
            "area_mm2": number, "diameter_mm": number, "lesions": whole_number, "patient": text, "overlay": text, "mask": text,
            "notice": text,
        }  # fmt: skip
        self.out, self.stack = out, ExitStack()

    def __enter__(self) -> Self:
        self.findings = self.stack.enter_context(Sheet(self.out / "findings.csv", self.columns, parquet=True))
        self.cases = self.stack.enter_context(Sheet(self.out / "cases.csv", CASE))
        self.unreadable = self.stack.enter_context(Sheet(self.out / "unreadable.csv", FAULT))
        return self

    def __exit__(self, *problem: Any) -> None:
        self.stack.__exit__(*problem)


class Writer:
    """Takes in what was read and found, in order, and writes each case when it is complete."""

    def __init__(self, out: Path, classes: Sequence[str], options: MedicalOptions, sheets: Tables, journal: Journal) -> None:
        self.out, self.classes, self.options, self.sheets, self.journal = out, classes, options, sheets, journal
        self.case: Recorder | None = None

    def add(self, item: Item, found: Found | None) -> None:
        """`found` is None if, and only if, the item has no picture."""
        if self.case is None or self.case.study is not item.study:
            self.case = Recorder(item.study, self.classes, self.options, self.out)
        if item.picture is not None and found is not None:
            self.case.add(item.file, item.frame, item.picture, found)
            self.journal.picture(found)
        elif item.fault:
            self.case.fault(item.file, item.fault)
            name = item.study.names[item.file]
            told = {"name": name, "case": item.study.name, "reason": item.fault, "notice": NOTICE}
            self.sheets.unreadable.write([told])
            self.journal.fault(name, item.fault)
        else:
            finished = self.case.finish()
            self.sheets.findings.write(one.row for one in self.case.seen)
            self.case = None
            if finished is not None:
                self.sheets.cases.write([finished[0]])
                self.journal.case(*finished)

    def leave(self) -> None:
        """It ends in the middle of a case: its pictures are kept."""
        if self.case is not None and self.case.seen:
            self.sheets.findings.write(one.row for one in self.case.seen)
            self.journal.incomplete = self.case.study.name


def items(studies: Iterable[Study], salt: str) -> Iterator[Item]:
    """Every picture and every fault, in order, and after each study its end."""
    for study in studies:
        for file, path in enumerate(study.paths):
            try:
                for frame, picture in enumerate(reading.read(path, salt), 1):
                    yield Item(study, file, frame, picture)
            except OSError as error:
                yield Item(study, file, fault=str(error))
        yield Item(study)


def batches(stream: Iterable[Item]) -> Iterator[list[Item]]:
    """Items with up to `BATCH` pictures, or fewer where these are large."""
    batch: list[Item] = []
    pictures = values = 0
    for item in stream:
        batch.append(item)
        if item.picture is not None:
            pictures, values = pictures + 1, values + item.picture.pixels.size
        if pictures >= BATCH or values >= VALUES or len(batch) >= 4 * BATCH:
            yield batch
            batch, pictures, values = [], 0, 0
    if batch:
        yield batch


def _look(
    studies: Sequence[Study], finder: Finder, salt: str, options: MedicalOptions, progress: Progress, writer: Writer
) -> Exception | None:
    """Go through all of them; returns what broke it off, if that was no Ctrl-C."""
    journal = writer.journal
    with Ahead(batches(items(studies, salt)), 1) as stream:  # the next batch is read while this one is looked at
        try:
            for batch in stream:
                pictures = [item.picture for item in batch if item.picture is not None]
                found = iter(finder(pictures, heat=options.overlays) if pictures else [])
                for item in batch:
                    writer.add(item, None if item.picture is None else next(found))
                progress(len(pictures))
        except KeyboardInterrupt:
            if not journal.pictures:
                raise
            journal.interrupt()
            writer.leave()
        except Exception as caught:
            journal.ended = f"broke off: {caught if isinstance(caught, UserError) else type(caught).__name__}"
            writer.leave()
            return caught
    return None


def _prepare(source: Path, out: Path) -> None:
    """Refuse to mix results with anything else.

    Raises:
        UserError: there is no source, or `out` is a file or named like one, or holds something.
    """
    if not source.exists():
        raise UserError(f"There is no file or folder {source}.")
    if (out.exists() and not out.is_dir()) or out.suffix.lower() in FILES:
        raise UserError(f"{out} is a file's name. The result is a folder: give another --out.")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty, and results are not mixed with others. Give another --out, or delete it first.")
