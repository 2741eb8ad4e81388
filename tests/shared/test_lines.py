"""What a stream says of its input and of its state when they are not what they should be, and how much it reads ahead."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.files import write_text
from shared.lines import Interrupt, Lines
from tests.shared.streaming_toy import Toy, records
from tests.shared.test_streaming import go, read

GOOD = '{"id":"%s","card":"c","amount":1}\n'


@pytest.mark.parametrize("step", [1, 2, 5, 13])
def test_an_invalid_line_has_its_number_in_the_file_also_after_a_restart(tmp_path: Path, step: int) -> None:
    texts = ["bad 1", GOOD % 1, "", "  ", "bad 2", "bad 1", GOOD % 2, "bad 3", "x" * 3000, GOOD % 3, "bad 4"]
    whole = "\n".join(text.strip("\n") for text in texts).encode()
    source, out, expected = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "expected.jsonl"))
    source.write_bytes(whole)
    go(source, expected)
    assert [(d["line"], d["text"]) for d in read(expected) if "error" in d] == [
        (1, "bad 1"),
        (5, "bad 2"),
        (8, "bad 3"),
        (9, "x" * 100),
        (11, "bad 4"),
    ]
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for end in [*ends[1::step], len(whole)]:  # a session each; the file grows between them
        source.write_bytes(whole[:end])
        go(source, out)
    assert out.read_bytes() == expected.read_bytes()


def test_numbers_begin_again_with_the_file(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(GOOD % 1 + "bad 1\nbad")  # the last line has no end yet
    go(source, out)
    with source.open("a") as file:
        file.write("\n\nbad 2\n")
    go(source, out)
    source.write_text(GOOD % 2 + "bad 3\n")
    go(source, out)
    assert [(d["line"], d["text"]) for d in read(out) if "error" in d] == [(2, "bad 1"), (3, "bad"), (5, "bad 2"), (2, "bad 3")]


WRONG = {
    "table": b"id,card,amount\n1,c,1\n2,c,2\n",
    "array": b'[{"id":"1","card":"c","amount":1}]',
    "array of lines": b"[\n" + b'{"id":"1","card":"c","amount":1},\n' * 100 + b'{"id":"2","card":"c","amount":1}\n]\n',
    "indented object": b'{\n  "id": "1"\n}\n',
    "picture": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 50,
    "UTF-16": (GOOD % 1).encode("utf-16"),
    "good too late": b"bad\n\n" * 100 + (GOOD % 1).encode(),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_a_file_that_is_something_else_is_refused_before_anything_is_written(tmp_path: Path, content: bytes) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(content)
    with pytest.raises(UserError, match=r"in\.jsonl does not hold JSON lines.*one object a line"):
        go(source, out)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b'{"id":"1",', b"bad\n" * 99 + (GOOD % 1).encode(), b"\xef\xbb\xbf" + (GOOD % 1).encode()]
)
def test_a_file_that_can_be_json_lines_goes_through(tmp_path: Path, content: bytes) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(content)
    assert go(source, out)["invalid"] == (b"bad" in content)


def test_a_pipe_that_is_something_else_is_answered(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, b"bad\n" * 100 + (GOOD % "last").encode())
    summary = go(pipe, out, Toy({"last": lambda: os.close(writer)}))
    assert (summary["invalid"], summary["repeated"]) == (1, 99)
    assert read(out)[0] == {"error": "Expecting value: line 1 column 1 (char 0)", "text": "bad"}


def damage(journal: Path, kind: str) -> None:
    content = journal.read_bytes()
    if kind == "missing":
        journal.unlink()
    elif kind == "pages":
        journal.write_bytes(content[:8192] + os.urandom(len(content) - 8192))
    else:
        journal.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "another": b"not a database" * 1000}[kind])


@pytest.mark.parametrize("kind", ["file missing", "file cut", "digit changed", "hashes missing", "hashes cut"])
def test_a_damaged_snapshot_is_named_with_the_way_on(tmp_path: Path, kind: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(records(500)))
    go(source, out)
    before = out.read_bytes()
    (snapshot,) = (tmp_path / "out.jsonl.state" / "snapshots").iterdir()
    part, how = kind.split()
    path = snapshot / ("cards.json" if part != "hashes" else "sha256.json")
    text = path.read_text()
    path.write_text({"cut": text[: len(text) // 2], "changed": text.replace("1", "2", 1), "missing": ""}[how])
    if how == "missing":
        path.unlink()
    with pytest.raises(UserError, match=rf"snapshots.{snapshot.name} is damaged .*another --state and --out"):
        go(source, out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "another", "pages"])
def test_a_damaged_journal_is_named_with_the_way_on(tmp_path: Path, kind: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(records(500)))
    go(source, out)
    before = out.read_bytes()
    damage(tmp_path / "out.jsonl.state" / "journal.sqlite", kind)
    with source.open("ab") as file:
        file.write(b"".join(records(300, first=500)))
    with pytest.raises(UserError, match=r"journal\.sqlite is damaged .*another --state and --out.*stay in the old out file"):
        go(source, out)
    assert out.read_bytes() == before


def test_names_are_made_durable_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, synced = tmp_path / "in.jsonl", tmp_path / "out.jsonl", list[int]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    source.write_bytes(b"".join(records(10)))
    go(source, out)
    state = tmp_path / "out.jsonl.state"
    (snapshot,) = (state / "snapshots").iterdir()
    files = [path.stat().st_ino for path in (snapshot / "cards.json", snapshot / "sha256.json")]
    assert set(synced[2:4]) == set(files)
    places = [state.parent, state, snapshot, snapshot.parent, state]
    assert synced[:2] + synced[4:] == [place.stat().st_ino for place in places]
    synced.clear()
    write_text(tmp_path / "file", "text")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("length", [40, 110, 3000])
def test_little_is_read_ahead(tmp_path: Path, length: int) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes((b"x" * (length - 1) + b"\n") * 500)
    reader = Lines(path, False, Interrupt(pipes=False), print)
    sizes = [len(chunk) for chunk in reader.chunks()]
    reader.close()
    assert sum(sizes) == 500
    assert set(sizes[1:-1]) <= {7, 8, 9}


def test_a_snapshot_counts_as_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(records(60)))
    assert go(source, tmp_path / "out.jsonl", snapshot_every=1000)["latency_ms_max"] < 1000
    monkeypatch.setattr(Toy, "snapshot", lambda toy, folder: time.sleep(1))
    summary = go(source, tmp_path / "other.jsonl", snapshot_every=40)
    assert summary["latency_ms_max"] >= 980
    assert summary["records_per_s"] < 100
