"""`usecases check --fix`: a repaired copy, with the original as it was."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pandas as pd
import pytest

from shared.data.repair import Copy
from shared.errors import UserError
from tests.usecases.broken import cut, events, labelled, payments, road, scans, utterances
from tests.usecases.conftest import Ended
from tests.usecases.test_broken_files import hashes

Command = Callable[..., Ended]


def repaired(command: Command, usecase: str, source: Path, out: Path) -> dict[str, dict[str, object]]:
    """What was changed, by its words."""
    before = hashes(source.parent)
    done = command("check", usecase, "--data", str(source), "--fix", str(out), "--json")
    assert done.code == 0, done.out + done.err
    told = json.loads(done.out)
    assert {name: digest for name, digest in hashes(source.parent).items() if name in before} == before
    assert told["command"] == f"usecases run {usecase} --data {out}"
    assert not [one for one in told["left"] if one["severity"] == "error"]
    return {one["what"]: one for one in told["changes"]}


def dropped(out: Path) -> list[tuple[str, str, str]]:
    with out.with_name(f"{out.name}.dropped.csv").open() as file:
        return [(row["file"], row["row"], row["reason"]) for row in csv.DictReader(file)]


def test_a_table_is_written_plainly_without_rows_that_cannot_be_used(tmp_path: Path, command_here: Command) -> None:
    rows = [line.split(",") for line in payments()]
    for number, row in enumerate(rows[1:]):
        row[4] = f"1.{100 + number % 900},50"
        row[5] = ("YES", "yes ")[number % 2] if row[5] == "1" else "no"
        if number % 2:
            row[1] = pd.Timestamp(row[1]).strftime("%d.%m.%Y %H:%M:%S")
    rows[3] = rows[3][:2]
    rows[10][4] = "unknown"
    rows[1][2] = "café"
    rows.insert(21, rows[20])
    source, out = tmp_path / "pay.csv", tmp_path / "fixed.csv"
    text = "\n".join(";".join(row) for row in rows)
    source.write_bytes(b"\xef\xbb\xbf" + text.encode().replace("é".encode(), "é".encode("cp1252")))
    changes = repaired(command_here, "fraud_detection", source, out)
    for what in ("decimal point", "ISO 8601", "spaces around", "spellings", "cp1252", "mark of utf-8"):
        assert any(what in one for one in changes), what
    assert [row[1:] for row in dropped(out)] == [
        ("3", "not 6 values in the line"), ("10", "no usable amount"), ("21", "a transaction that is given twice")
    ]  # fmt: skip
    table = pd.read_csv(out, sep=";", encoding="utf-8")
    assert len(table) == len(rows) - 1 - 3
    assert table["amount"].iloc[0] == 1100.5
    assert set(table["label"]) == {"no", "yes"} or set(table["label"]) == {"no", "YES"}
    assert pd.to_datetime(table["time"], format="ISO8601").dt.year.unique().tolist() == [2024]
    assert "café" in set(table["account"])


def test_what_can_be_read_in_two_ways_is_left_as_it_is(tmp_path: Path, command_here: Command) -> None:
    lines = [line.replace(",", ";") for line in payments()]
    for number, line in enumerate(lines[1:], 1):
        cells = line.split(";")
        cells[1] = pd.Timestamp(cells[1]).strftime("%m/%d/%Y") if number % 2 else pd.Timestamp(cells[1]).strftime("%d/%m/%Y")
        lines[number] = ";".join([*cells, f"{number % 9 + 1},500"])
    lines[0] += ";fee"
    (tmp_path / "pay.csv").write_text("\n".join(lines))
    done = command_here(
        "check", "fraud_detection", "--data", str(tmp_path / "pay.csv"), "--fix", str(tmp_path / "b.csv"), "--json"
    )
    told = {one["column"]: one["what"] for one in json.loads(done.out)["changes"] if "left as they are" in one["what"]}
    assert set(told) == {"time", "fee"} or set(told) == {"fee", "time"}
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == lines[1]


def test_json_lines_keep_numbers_absent_keys_and_nulls(tmp_path: Path) -> None:
    source, out = tmp_path / "shop.jsonl", tmp_path / "fixed.jsonl"
    rows = ['{"user": " u1 ", "p": 1.5e-11, "n": null, "id": 123456789012345678901}', '{"user": null, "at": 52.123456789012345}']
    source.write_text("\n".join([*rows, '{"user": "ü", "tags": [1, null]}']))
    Copy(source, out)
    records = [json.loads(line) for line in source.read_text().splitlines()]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [records[0] | {"user": "u1"}, *records[1:]]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('item\tname\ni1\t 12" pipe\ni2\t"a"\n', 'item\tname\ni1\t12" pipe\ni2\t"a"\n'),
        ('"a\tb"\tc\n1\t x\n', '"a\tb"\tc\n1\tx\n'),
        ("n\n a\n \nNA\n", "n\na\nNA\nNA\n"),
    ],
)
def test_a_quote_in_a_table_with_tabs_stays_a_sign_like_others(given: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "items.tsv").write_text(given)
    Copy(tmp_path / "items.tsv", tmp_path / "fixed.tsv")
    assert (tmp_path / "fixed.tsv").read_text() == wanted


def test_events_that_are_there_twice_and_bad_ones_are_left_out(tmp_path: Path, command_here: Command) -> None:
    lines = events()
    lines[5] = lines[5].replace("u0", " ")
    lines.append(lines[9])
    (tmp_path / "shop.csv").write_text("\n".join(lines))
    repaired(command_here, "recommendation", tmp_path / "shop.csv", tmp_path / "fixed.csv")
    assert [row[1:] for row in dropped(tmp_path / "fixed.csv")] == [
        ("5", "no user or no item"), (str(len(lines) - 1), "the same user and item again")
    ]  # fmt: skip


@pytest.mark.parametrize("usecase", ["medical_imaging", "lane_detection"])
def test_images_that_cannot_be_read_or_are_there_twice_are_left_out(usecase: str, tmp_path: Path, command_here: Command) -> None:
    source, out = tmp_path / "data", tmp_path / "fixed"
    source.mkdir()
    if usecase == "medical_imaging":
        scans(lambda _: None)(source)
        place, again = source / "ill/3.png", source / "ill/z.png"
    else:
        road(lambda _: None)(source)
        place, again = source / "3.png", source / "z.png"
        labelled(source / "z.json", [[[60, 40], [10, 85]], [[100, 40], [150, 85]]])
    cut(place)
    twin = place.with_name("5.png")
    cv2.imwrite(str(again), cv2.imread(str(twin), cv2.IMREAD_GRAYSCALE))
    repaired(command_here, usecase, source, out)
    gone = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    gone -= {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert gone == {row[0] for row in dropped(out)}
    assert {Path(name).name for name in gone if name.endswith("png")} == {"3.png", "z.png"}
    if usecase == "lane_detection":
        assert {"3.json", "z.json"} < gone


def test_messages_that_are_empty_or_there_twice_are_left_out(tmp_path: Path, command_here: Command) -> None:
    lines = [*utterances(), '" ",order', "Where is my parcel ALPHA,order"]
    (tmp_path / "chat.csv").write_text("\n".join(lines))
    repaired(command_here, "chatbot", tmp_path / "chat.csv", tmp_path / "fixed.csv")
    assert {row[1] for row in dropped(tmp_path / "fixed.csv")} == {"25", "26"}


def test_nothing_is_written_over_or_into_the_data(tmp_path: Path, command_here: Command) -> None:
    source = tmp_path / "shop.csv"
    source.write_text("\n".join(events()))
    before = hashes(tmp_path)
    for data, out, said in (
        (source, source, "is there already"),
        (tmp_path, tmp_path / "inside", "lies inside"),
        (source, tmp_path / "other.json", "ends in .csv"),
    ):
        done = command_here("check", "recommendation", "--data", str(data), "--fix", str(out))
        assert done.code == 1
        assert said in done.err
    done = command_here("check", "recommendation", "--data", str(source), "--fix", str(tmp_path / "b.csv"), "--html", str(source))
    assert done.code == 1
    assert "ends in .html" in done.err
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("out", [".", "none/..", "/"])
def test_a_folder_that_is_there_is_refused_and_kept_however_it_is_written(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="is there already"):
        Copy(tmp_path / "data", Path(out))
    assert (tmp_path / "here").is_dir()


def test_links_to_files_and_folders_are_told_and_not_copied(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("a")
    (tmp_path / "data" / "folder").symlink_to(tmp_path / "more")
    (tmp_path / "data" / "file").symlink_to(tmp_path / "more" / "a.txt")
    told = Copy(tmp_path / "data", tmp_path / "fixed").changes
    assert [(one.what, one.examples) for one in told] == [("a link that was not copied", ["file", "folder"])]
    assert list((tmp_path / "fixed").iterdir()) == []


def test_the_page_has_every_finding_and_nothing_from_elsewhere(tmp_path: Path, command_here: Command) -> None:
    (tmp_path / "shop.csv").write_text("\n".join([*events(), "<b>,i1,x,1700000000"]))
    done = command_here(
        "check", "recommendation", "--data", str(tmp_path / "shop.csv"), "--html", str(tmp_path / "p.html"), "--json"
    )
    page = (tmp_path / "p.html").read_text()
    assert all(one["what"] in page for one in json.loads(done.out))
    assert "column rating" in page
    assert "http" not in page.replace("http://www.w3.org", "")
