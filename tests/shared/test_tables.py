from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from shared.data import tables
from shared.errors import UserError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_bad_lines_are_named_by_row_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'user,item\n1,a\n2\n3,c,d\n4,"x,y"\n')
    table, findings = tables.read(file)
    assert table.index.tolist() == [1, 4]
    assert table.loc[4].tolist() == ["4", "x,y"]
    assert findings[0].rows == [2, 3]
    assert findings[0].count == 2


def test_bytes_that_are_not_utf8_are_named_with_their_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "user,item\n1,a\n2,café\n".encode("latin-1"))
    table, findings = tables.read(file)
    assert [(f.severity, f.rows) for f in findings] == [("error", [2])]
    assert "data.encoding" in findings[0].fix
    table, findings = tables.read(file, "latin-1")
    assert (table.loc[2, "item"], findings) == ("café", [])
    with pytest.raises(UserError, match="no text encoding named 'utf-88'"):
        tables.read(file, "utf-88")


def test_a_byte_order_mark_and_missing_values(tmp_path: Path) -> None:
    table, _ = tables.read(write(tmp_path / "a.csv", "\ufeffuser,item\n1,\n,b\n"))
    assert table.columns.tolist() == ["user", "item"]
    assert table.isna().to_numpy().tolist() == [[False, True], [True, False]]


def test_json_lines_name_what_is_no_object(tmp_path: Path) -> None:
    table, findings = tables.read(write(tmp_path / "a.jsonl", '{"a": 1}\nnope\n[1]\n\n{"a": 2}\n'))
    assert table["a"].tolist() == [1, 2]
    assert findings[0].rows == [2, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.xls", "x", "unknown kind of table"),
        ("a.parquet", "not parquet", "not a readable Parquet"),
        ("absent.csv", None, "There is no file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    file = tmp_path / name
    if content is not None:
        write(file, content)
    with pytest.raises(UserError, match=message):
        tables.read(file)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_what_is_written_in_pieces_is_streamed_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    with tables.writer(file) as append:
        for start in (0, 3):
            append(pa.table({"n": [str(i) for i in range(start, start + 3)], "t": ["ä"] * 3}))
    pieces = list(tables.stream(file, 4))
    assert [len(piece) for piece in pieces] == [4, 2]
    assert pd.concat(pieces)["n"].astype(str).tolist() == list("012345")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_the_columns_are_told_without_reading_the_rest(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    with tables.writer(path) as append:
        append(pa.table({"path": ["a", "b"], "label": ["x", "ü"]}))
    assert tables.header(path) == ["path", "label"]
    if suffix != ".parquet":
        with path.open("ab") as file:
            file.write(b'"\xff\xfe')  # where it would no longer be a table
        assert tables.header(path) == ["path", "label"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), tables.writer(tmp_path / "a.parquet") as append:
        append(pa.table({"n": [1]}))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="must end in"), tables.writer(tmp_path / "a.doc"):
        pass


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_recognised_by_the_header(tmp_path: Path, delimiter: str) -> None:
    table, findings = tables.read(write(tmp_path / "a.csv", f"user{delimiter}item\n1{delimiter}a\n"))
    assert (table.loc[1].tolist(), findings) == (["1", "a"], [])


@pytest.mark.parametrize("content", [b"%PDF-1.4 x", "user,item\n1,a\n".encode("utf-16"), b"a,b\0\n"])
def test_what_is_no_text_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="not a text table"):
        tables.read(write(tmp_path / "a.csv", content))


def test_what_parsers_stumble_over_is_a_finding_or_one_error(tmp_path: Path) -> None:
    good = '{"a": 1}\n'
    lines = [b'{"a": ' + b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "\\ud800"}']
    file = write(tmp_path / "a.jsonl", good.encode() + b"\n".join(lines))
    table, findings = tables.read(file)
    assert (tables.header(file), table.index.tolist(), findings[0].rows) == (["a"], [1], [2, 3, 4])
    wide = write(tmp_path / "a.csv", b"a,b" + b"x" * 200_000 + b"\n1,2\n")
    for reading in (tables.header, tables.read):
        with pytest.raises(UserError, match="in the header"):
            reading(wide)
    pd.DataFrame({"a": range(1000)}).to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(UserError, match="not a readable Parquet file"):
        tables.read(write(tmp_path / "b.parquet", whole[:4] + b"\xff" * 400 + whole[404:]))
