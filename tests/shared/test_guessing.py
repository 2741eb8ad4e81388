from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from shared.data import guessing, tables
from shared.errors import UserError


@pytest.mark.parametrize(
    ("values", "what", "repeats"),
    [
        (["1", "2", "2", "3", None] * 20, "number", True),
        (["881250949", "891717742"] * 50, "time", True),
        (["1700000000123", "1700000000456"] * 50, "time", True),
        (["2025-12-24T18:00:00", "2025-12-25"] * 50, "time", True),
        (["24.12.2025"] * 100, "text", False),
        ([f"u{n}" for n in range(100)], "text", False),
        ([True, False] * 50, "number", True),
        ([None] * 100, "nothing", False),
        (["4006381333931", "4006381333948"] * 50, "number", True),  # an EAN is no time in milliseconds
    ],
)
def test_what_a_column_holds(values: list[object], what: str, repeats: bool) -> None:
    found = guessing.kind(pd.Series(values))
    assert (found.what, found.repeats) == (what, repeats)


@pytest.mark.parametrize(("name", "line"), [("t.csv", 'a;b\n"x;1";2\nbad\n{}'), ("t.tsv", 'a\tb\n"x;1"\t2\nbad\n{}')])
def test_the_head_of_a_table_is_the_start_of_what_is_read(tmp_path: Path, name: str, line: str) -> None:
    end = "y;3\nz;\n" if name == "t.csv" else "y\t3\nz\t\n"
    (tmp_path / name).write_text(line.replace("{}", end))
    whole, findings = tables.read(tmp_path / name)
    assert [finding.rows for finding in findings] == [[2]]
    pd.testing.assert_frame_equal(tables.head(tmp_path / name, 100), whole.reset_index(drop=True), check_dtype=False)
    assert len(tables.head(tmp_path / name, 2)) == 1  # the second line is bad


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_the_head_of_other_tables_has_their_first_rows(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    table.to_parquet(tmp_path / name) if name == "t.parquet" else table.to_json(tmp_path / name, orient="records", lines=True)
    head = tables.head(tmp_path / name, 2)
    assert head["a"].tolist() == [1, 2]
    assert head["b"].isna().tolist() == [False, True]


@pytest.mark.parametrize("written", ["utf8x", "base64"])
def test_an_encoding_that_no_text_is_in_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    with pytest.raises(UserError, match=f"no text encoding named '{written}'"):
        guessing.head(tmp_path / "a.csv", written)


def test_an_answer_is_what_the_command_line_reads_back() -> None:
    assert guessing.answer("data.columns.label", "intent") == "data.columns.label=intent"
    assert guessing.answer("data.columns.label", "no") == "'data.columns.label=\"no\"'"
