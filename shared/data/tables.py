"""Tables in and out: CSV, TSV, Parquet and JSON lines, whole or streamed; every bad line named by its row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shared.errors import DataError, Finding, UserError
from shared.files import whole

pa.enable_signal_handlers(False)  # its own lose one Ctrl-C in twenty that comes while a file is read

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
QUOTED = ",;"  # between values that may be quoted; in tables with tabs a quote is a sign like others
JSON_LINES = (".jsonl", ".ndjson", ".json")
NO_TABLES = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
SHOWN = 5
MISSING = ["", "NA", "NaN", "null"]  # in text tables
FIRST = 100  # lines of JSON that tell a table's columns


def read(
    path: Path, encoding: str = "utf-8", delimiter: str | None = None, header: list[str] | None = None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a table; columns of text files come as strings (missing: NA), those of Parquet as they are.

    The index holds row numbers: 1 is the first row after the header. Lines that cannot be read are left out and named
    in the findings.

    Args:
        header: the column names, for files that have no header line.

    Raises:
        UserError: the file does not exist, is empty or of an unknown kind.
    """
    kind = _kind(path, delimiter)
    findings: list[Finding] = []
    if kind == "parquet":
        file = _open_parquet(path)
        try:
            table = file.read().to_pandas(integer_object_nulls=True).reset_index(drop=True)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is not a readable Parquet file: {error}") from None
        table.index += 1
    elif kind == "jsonl":
        table, findings = _read_json_lines(path, encoding)
    else:
        table, findings = _read_delimited(path, kind, encoding, header)
    return table, findings


def header(path: Path, encoding: str = "utf-8") -> list[str]:
    """The names of a table's columns, of JSON lines those of the first ones; the rest is not read.

    Raises:
        UserError: as `read`.
    """
    kind = _kind(path, None)
    if kind == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        if kind != "jsonl":
            return _names(path, file, kind)
        found: dict[str, None] = {}
        for line in islice(file, FIRST):
            found |= dict.fromkeys(_record(line) or ())
        return list(found)


def head(path: Path, rows: int, encoding: str = "utf-8") -> pd.DataFrame:
    """The first rows of a table, with columns as of `read`; lines that cannot be read are passed over, the rest is not read.

    Raises:
        UserError: as `read`.
    """
    kind = _kind(path, None)
    if kind == "parquet":
        batch = next(_open_parquet(path).iter_batches(rows), None)
        return pd.DataFrame(columns=header(path)) if batch is None else batch.to_pandas(integer_object_nulls=True)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        if kind == "jsonl":
            records = [record for line in islice(file, rows) if (record := _record(line)) is not None]
            return pd.DataFrame(records, dtype="object")
        names = _names(path, file, kind)
        reader = csv.reader(file, delimiter=kind, quoting=csv.QUOTE_MINIMAL if kind in QUOTED else csv.QUOTE_NONE)
        try:
            lines = [line for line in islice(reader, rows) if len(line) == len(names)]
        except csv.Error as error:
            raise UserError(f"{path} cannot be read as a table: {error}, near line {reader.line_num + 1}.") from None
    table = pd.DataFrame(lines, columns=names, dtype="str")
    return table.mask(table.isin(MISSING))


def stream(path: Path, rows: int, encoding: str = "utf-8") -> Iterator[pd.DataFrame]:
    """Read a table in pieces of about `rows` rows, in constant memory. A bad line is an error with its row number.

    Raises:
        UserError: as `read`, and for lines that cannot be read.
    """
    kind = _kind(path, None)
    if kind == "parquet":
        for batch in _open_parquet(path).iter_batches(rows):
            yield batch.to_pandas(integer_object_nulls=True)
        return
    if kind == "jsonl":
        yield from _stream_json_lines(path, rows, encoding)
        return
    try:
        with pd.read_csv(path, sep=kind, dtype="str", chunksize=rows, encoding=encoding) as reader:
            yield from reader
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no text in {encoding} ({error.reason} at byte {error.start}). Save it as {encoding}."
        ) from None
    except pd.errors.ParserError as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None


@contextmanager
def writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that appends rows to `path` (.parquet, .csv, .tsv, .jsonl); it appears whole at the end.

    In .csv and .tsv, lists are written as their values joined by |.
    """
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv", ".tsv", *JSON_LINES):
        raise UserError(f"Cannot write {path}: its name must end in .parquet, .csv, .tsv or .jsonl.")
    with whole(path) as partial, ExitStack() as stack:
        sinks: list[pq.ParquetWriter] = []
        partial.touch()

        def append(rows: pa.Table) -> None:
            if suffix == ".parquet":
                if not sinks:
                    sinks.append(stack.enter_context(pq.ParquetWriter(partial, rows.schema)))
                sinks[0].write_table(rows)
            elif suffix in JSON_LINES:
                rows.to_pandas().to_json(partial, orient="records", lines=True, mode="a", force_ascii=False)
            else:
                table = rows.to_pandas()
                for field in rows.schema:
                    if pa.types.is_list(field.type):
                        table[field.name] = ["|".join(map(str, values)) for values in table[field.name]]
                table.to_csv(partial, sep=DELIMITERS[suffix], mode="a", header=partial.stat().st_size == 0, index=False)

        yield append


def _kind(path: Path, delimiter: str | None) -> str:
    """`parquet`, `jsonl`, or the delimiter of a text table."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes). Give a table with a header line and at least one row.")
    if delimiter:
        return delimiter
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix in JSON_LINES:
        return "jsonl"
    if suffix in DELIMITERS:
        return _delimiter(path, DELIMITERS[suffix])
    raise UserError(f"{path}: unknown kind of table '{suffix}'. Known: .csv .tsv .parquet .jsonl, RecBole's .inter .item .user.")


def delimiter(path: Path) -> str:
    """What is between the values of a text table of one of the kinds in `DELIMITERS`; raises as `_delimiter`."""
    return _delimiter(path, DELIMITERS[path.suffix.lower()])


def _delimiter(path: Path, usual: str) -> str:
    """The usual delimiter of the file's kind, or another one where the first line has only that.

    Raises:
        UserError: the file is no text.
    """
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if kind := next((kind for magic, kind in NO_TABLES.items() if start.startswith(magic)), None):
        raise UserError(f"{path} is not a text table but {kind}. Save it as CSV in UTF-8.")
    if b"\0" in start:
        row = start.partition(b"\0")[0].count(b"\n")
        fix = "If it is a table, save it as CSV in UTF-8"
        raise DataError([Finding("error", "not a text table: a NUL byte (binary)", str(path), fix, rows=(row,))])
    first = start.partition(b"\n")[0].decode("latin-1")
    counts = {delimiter: first.count(delimiter) for delimiter in (usual, ",", ";", "\t", "|")}
    return usual if counts[usual] else max(counts, key=lambda delimiter: counts[delimiter])


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}") from None


def _undecodable(path: Path, encoding: str, first: int) -> list[Finding]:
    """A finding for the lines that are not valid in `encoding`; `first` is the first line's row number, 0 for a header."""
    bad: list[int] = []
    examples: list[str] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, first):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError:
                    bad.append(number)
                    examples.append(line.decode("latin-1").strip()[:60])
    except LookupError:
        raise UserError(f"There is no text encoding named '{encoding}'. Try utf-8, latin-1 or cp1252.") from None
    if not bad:
        return []
    fix = "Set data.encoding to the file's encoding, often latin-1 or cp1252"
    return [Finding("error", f"not valid {encoding}", str(path), fix, len(bad), bad[:SHOWN], examples[:2])]


def _read_delimited(path: Path, delimiter: str, encoding: str, header: list[str] | None) -> tuple[pd.DataFrame, list[Finding]]:
    findings = _undecodable(path, encoding, 1 if header else 0)
    usable = "latin-1" if findings else encoding  # never fails, so that the other faults are found as well
    if len(delimiter) > 1:
        return _split_lines(path, delimiter, usable, header or []), findings
    with path.open(encoding=usable, newline="") as file:
        names = header or _names(path, file, delimiter)
    bad: list[pa_csv.InvalidRow] = []

    def collect(row: pa_csv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=0 if header else 1, encoding=usable),
            pa_csv.ParseOptions(
                delimiter=delimiter,
                invalid_row_handler=collect,
                newlines_in_values=delimiter in QUOTED,
                quote_char='"' if delimiter in QUOTED else False,
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=MISSING,
            ),
        )
    except pa.ArrowInvalid as error:
        if unclosed := _unclosed(path, delimiter):
            raise DataError([*findings, unclosed]) from None
        raise UserError(f"{path} cannot be read as a table: {error}. Is it a text table?") from None
    # Row numbers count the lines that were left out, so that they match what an editor shows.
    offset = 1 if header else 2
    missing = sorted(row.number - offset + 1 for row in bad if row.number is not None)
    numbers = pd.RangeIndex(1, table.num_rows + len(missing) + 1).difference(pd.Index(missing), sort=True)
    frame = table.to_pandas()
    frame.index = numbers
    last = [row.text for row in bad[-1:]] + [str(value) for value in frame.tail(1).to_numpy().ravel()]
    if any("\n" in text for text in last) and (unclosed := _unclosed(path, delimiter)):  # it swallows all that follows
        findings.append(unclosed)
    elif bad:
        what = f"not {len(names)} values in the line"
        fix = f"Mend these lines, or quote values that hold the delimiter {delimiter!r}; they were left out"
        examples = [row.text[:60] for row in bad[:2]]
        without = {str(path): missing}
        findings.append(Finding("warning", what, str(path), fix, len(bad), missing[:SHOWN], examples, left_out=without))
    return frame, findings


def _unclosed(path: Path, delimiter: str) -> Finding | None:
    """A finding for lines with an odd number of quotes (row 0: the header), if there are so many that one is never closed."""
    if delimiter not in QUOTED:
        return None
    with path.open("rb") as file:
        odd = [number for number, line in enumerate(file) if line.count(b'"') % 2]
    if len(odd) % 2 == 0:
        return None
    fix = "Close it, or write it twice where it is a sign of the text: all that follows is taken for one value"
    return Finding("error", "a quote is opened and never closed", str(path), fix, len(odd), odd[:SHOWN])


def _names(path: Path, file: IO[str], delimiter: str) -> list[str]:
    try:
        return [name.strip().lstrip("\ufeff") for name in next(csv.reader(file, delimiter=delimiter), [])]
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as a table: {error} in the header.") from None


def _split_lines(path: Path, delimiter: str, encoding: str, header: list[str]) -> pd.DataFrame:
    lines = path.read_text(encoding=encoding).splitlines()
    rows = [line.split(delimiter)[: len(header)] for line in lines]
    return pd.DataFrame(rows, columns=header, index=pd.RangeIndex(1, len(rows) + 1), dtype="str")


def _read_json_lines(path: Path, encoding: str) -> tuple[pd.DataFrame, list[Finding]]:
    findings = _undecodable(path, encoding, 1)
    records, numbers, bad, texts = list[dict[str, Any]](), list[int](), list[int](), list[str]()
    with path.open(encoding="latin-1" if findings else encoding) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if (record := _record(line)) is not None:
                records.append(record)
                numbers.append(number)
            else:
                bad.append(number)
                texts += [line.strip()[:60]] if len(texts) < 2 else []
    if bad:
        fix = "Write one JSON object a line; these lines were left out"
        without = {str(path): bad}
        findings.append(Finding("warning", "not a JSON object", str(path), fix, len(bad), bad[:SHOWN], texts, left_out=without))
    if not records:
        raise DataError([*findings, Finding("error", "no row could be read", str(path), "Give one JSON object a line")])
    return pd.DataFrame(records, index=pd.Index(numbers), dtype="object"), findings  # large whole ids stay whole


def _record(line: str) -> dict[str, Any] | None:
    """The JSON object in a line; None: there is none."""
    try:
        record = json.loads(line)
        if "\\ud" in line.lower():  # half of a surrogate pair is no text
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or thousands of brackets
        return None
    return record if isinstance(record, dict) else None


def _stream_json_lines(path: Path, rows: int, encoding: str) -> Iterator[pd.DataFrame]:
    records: list[dict[str, Any]] = []
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number}: not a JSON object.")
            records.append(record)
            if len(records) == rows:
                yield pd.DataFrame(records, dtype="object")
                records = []
    if records:
        yield pd.DataFrame(records, dtype="object")
