from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import lines, streaming
from shared.errors import UserError
from tests.shared.streaming_toy import Record, Toy, records

ROOT = Path(__file__).parents[2]


def go(source: Path, out: Path, toy: Toy | None = None, **options: Any) -> dict[str, Any]:
    return streaming.run(toy or Toy(), source, out, Path(f"{out}.state"), **{"identity": {}, "snapshot_every": 200, **options})


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(records(1000)))
    return path


@pytest.fixture
def expected(tmp_path: Path, source: Path) -> bytes:
    """What an uninterrupted run writes."""
    go(source, tmp_path / "expected.jsonl")
    return (tmp_path / "expected.jsonl").read_bytes()


def unnumbered(decisions: bytes) -> bytes:
    """What a pipe's lines get: those of another session may have been sent before."""
    return re.sub(rb'"line":\d+,', b"", decisions)


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.shared.streaming_toy", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **options)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_one_decision_a_line_in_order(tmp_path: Path, source: Path) -> None:
    summary = go(source, tmp_path / "out.jsonl")
    decisions = read(tmp_path / "out.jsonl")
    toy = Toy()
    usable = [json.loads(line) for line in dict.fromkeys(records(1000)) if line.startswith(b"{")]
    assert [d for d in decisions if "error" not in d] == toy.decide(usable)
    assert summary["records"] == len(decisions) == 1012
    assert summary["invalid"] == 12
    assert summary["repeated"] == 20
    assert summary["alerts"] == sum(r["amount"] > 95 for r in usable) > 0
    assert 0 < summary["latency_ms_p50"] <= summary["latency_ms_p99"]
    assert not summary["interrupted"]
    sent = source.read_text().splitlines()
    bad = [d for d in decisions if "error" in d]
    assert [sent[d["line"] - 1] for d in bad] == [d["text"] for d in bad]
    assert bad[0]["text"] == "bad 5"


FAULTS = ("before commit", "after commit", "half a line", "after the write", "half a snapshot", "snapshot not yet known")


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_at_the_worst_moments(tmp_path: Path, source: Path, expected: bytes, fault: str) -> None:
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        assert start(source, out, fault).wait(10) == -signal.SIGKILL
    summary = go(source, out)
    assert out.read_bytes() == expected
    assert summary["records"] < 1012  # it did go on, not begin again
    assert len(list((tmp_path / "out.jsonl.state" / "snapshots").iterdir())) == 1


def test_killed_at_random_moments(tmp_path: Path) -> None:
    source, out, rng = tmp_path / "in.jsonl", tmp_path / "out.jsonl", random.Random(os.urandom(8))
    source.write_bytes(b"".join(records(8000)))
    go(source, tmp_path / "expected.jsonl")
    expected = (tmp_path / "expected.jsonl").read_bytes()
    for part in sorted(rng.random() * 0.9 for _ in range(4)):
        process = start(source, out)
        while process.poll() is None and (not out.exists() or out.stat().st_size < part * len(expected)):
            time.sleep(0.002)
        process.kill()
        process.wait(10)
    go(source, out)
    assert out.read_bytes() == expected


def test_stdin_killed_and_sent_again(tmp_path: Path, source: Path, expected: bytes) -> None:
    out, sent = tmp_path / "out.jsonl", records(1000)
    process = start("-", out, stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b"".join(sent[:333]) + sent[333][:20])
    process.stdin.flush()
    decided = len(dict.fromkeys(sent[:333]))
    until(lambda: out.exists() and out.read_bytes().count(b"\n") == decided)  # it does not wait for a batch to fill
    process.kill()
    process.wait(10)
    process = start("-", out, stdin=subprocess.PIPE)
    process.communicate(b"".join(sent[100:]), 10)
    assert process.returncode == 0
    assert out.read_bytes() == unnumbered(expected)


def test_stdout_answers_what_is_sent_again(tmp_path: Path, source: Path, expected: bytes) -> None:
    sent, state = records(1000), tmp_path / "state"
    answers = dict(zip(dict.fromkeys(sent), unnumbered(expected).splitlines(keepends=True), strict=True))
    for part in (sent[:300], sent[200:]):
        process = start("-", "-", state, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.communicate(b"".join(part), 10)[0] == b"".join(answers[line] for line in part)
    for _ in range(2):  # of a file, each time all
        process = start(source, "-", state, stdout=subprocess.PIPE)
        assert process.communicate(timeout=10)[0] == b"".join(answers[line] for line in sent)


def test_bad_lines_never_stop_the_stream(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = b'{"id":"%d","card":"c","amount":1}'
    bad = [b"{", b"[1]", b"\xff\xfe", b'{"id":"x","card":"c","amount":NaN}', b'{"id":"\\ud800"}', b'{"card":"c"}', b"[" * 100_000]
    source.write_bytes(
        b"\xef\xbb\xbf" + good % 1 + b"\r\n" + b"\n".join(bad) + b"\n\n  \n" + good % 2 + b"\n" + bad[0] + b"\nend"
    )
    summary = go(source, out)
    decisions = read(out)
    assert [d.get("count") for d in decisions] == [1, *[None] * len(bad), 2, None]
    assert [d["error"] for d in decisions[2:5:2]] + [decisions[6]["error"]] == [
        "not a JSON object",
        "NaN is not JSON",
        "a record needs an id",
    ]
    assert decisions[-1]["text"] == "end"
    assert (summary["invalid"], summary["repeated"]) == (len(bad) + 1, 1)


def test_the_first_record_of_an_id_counts(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = '{"id":"%s","card":"c","amount":%d}\n'
    source.write_text(line % ("a", 1) + line % ("b", 2) + line % ("a", 50))
    assert go(source, out)["repeated"] == 1
    with source.open("a") as file:
        file.write(line % ("b", 50) + line % ("c", 3))
    assert go(source, out)["repeated"] == 1
    assert [d["sum"] for d in read(out)] == [1, 3, 6]


def test_a_line_without_end_is_cut_and_the_next_ones_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_LIMIT", 1000)
    monkeypatch.setattr(streaming, "LINE_LIMIT", 1000)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = records(1)[0]
    source.write_bytes(b'"' + b"x" * 100_000 + b'"\n' + line)
    go(source, out)
    assert [("error" in d) for d in read(out)] == [True, False]
    with source.open("ab") as file:
        file.write(records(1, first=1)[0])
    summary = go(source, out)
    assert (summary["records"], summary["repeated"], summary["invalid"]) == (1, 0, 0)  # the offset was right


def test_replay_is_of_what_the_snapshot_lacks(tmp_path: Path, source: Path, expected: bytes) -> None:
    def stop() -> None:
        raise ZeroDivisionError

    out = tmp_path / "out.jsonl"
    with pytest.raises(ZeroDivisionError):
        go(source, out, Toy({"t777": stop}))
    toy, said = Toy(), list[str]()
    decided = read(out)
    go(source, out, toy, say=said.append)
    assert toy.restored is not None
    assert 200 <= int(toy.restored) < len(decided)
    assert toy.learned == [d["id"] for d in decided[int(toy.restored) :] if "error" not in d]
    assert toy.learned
    assert f"{len(toy.learned):,} records learned again" in said[0]
    assert out.read_bytes() == expected
    after_clean_end = Toy()
    assert go(source, out, after_clean_end)["records"] == 0
    assert after_clean_end.learned == []


def test_ctrl_c_finishes_what_was_read_and_keeps_it(tmp_path: Path, source: Path, expected: bytes) -> None:
    out = tmp_path / "out.jsonl"
    summary = go(source, out, Toy({"t400": lambda: os.kill(os.getpid(), signal.SIGINT)}))
    assert summary["interrupted"]
    assert 400 < summary["records"] < 1012
    toy = Toy()
    assert go(source, out, toy)["records"] == 1012 - summary["records"]
    assert (toy.restored, toy.learned) == (str(summary["records"]), [])
    assert out.read_bytes() == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_out_file_is_mended_or_refused(tmp_path: Path, source: Path, expected: bytes) -> None:
    out = tmp_path / "out.jsonl"
    go(source, out)
    first, second = expected.splitlines(keepends=True)[:2]
    for damaged in (expected[:-1], expected[:5000], first + second[:4], first[:4], b"", expected + first):
        out.write_bytes(damaged)
        go(source, out)
        assert out.read_bytes() == expected
    out.unlink()
    go(source, out)
    assert out.read_bytes() == expected
    for other in (b"mine\n", b"mine", first + b"mine\n", second):
        out.write_bytes(other)
        with pytest.raises(UserError, match="other lines"):
            go(source, out)
        assert out.read_bytes() == other
    shutil.rmtree(f"{out}.state")
    out.write_bytes(expected)
    with pytest.raises(UserError, match="other lines"):
        go(source, out)


def test_a_state_in_use_or_of_another_model_is_refused(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.jsonl"
    go(source, out, identity={"model": "a"})
    with pytest.raises(UserError, match="another model or other options"):
        go(source, out, identity={"model": "b"})
    journal = streaming.Journal(Path(f"{out}.state"), {"format": 3, "model": "a"})
    process = start(source, out)
    assert b"Another process is using the state" in process.communicate(timeout=10)[1]
    journal.close()
    go(source, out, identity={"model": "a"})


def test_a_file_goes_on_where_it_was_left_unless_it_is_another(tmp_path: Path, source: Path) -> None:
    out, said = tmp_path / "out.jsonl", list[str]()
    with source.open("ab") as file:
        file.write(b'{"id":"last","car')
    assert go(source, out, say=said.append)["records"] == 1012
    assert "not whole" in said[-1]
    with source.open("ab") as file:
        file.write(b'd":"c","amount":1}')
    summary = go(source, out, say=said.append)
    assert (summary["records"], summary["repeated"]) == (1, 0)
    with source.open("ab") as file:
        file.write(b"\n" + b"".join(records(10, first=5010)))
    summary = go(source, out, say=said.append)
    assert (summary["records"], summary["repeated"]) == (10, 0)
    assert not any("not the file it was" in message for message in said)
    source.write_bytes(b"".join([*records(20, first=6010), *records(1000)]))
    summary = go(source, out, say=said.append)
    assert (summary["records"], summary["repeated"]) == (20, 1032)
    assert any("not the file it was" in message for message in said)


def test_follow_picks_up_lines_and_files_that_come_later(tmp_path: Path) -> None:
    source, out, sent = tmp_path / "in.jsonl", tmp_path / "out.jsonl", records(30)
    source.write_bytes(b"".join(sent[:10]) + sent[10][:9])
    process = start(source, out, "follow")

    def decided(n: int) -> Callable[[], bool]:
        return lambda: out.exists() and out.read_bytes().count(b"\n") == len(dict.fromkeys(sent[:n]))

    until(decided(10))
    with source.open("ab") as file:
        file.write(sent[10][9:] + b"".join(sent[11:20]))
    until(decided(20))
    with source.open("ab") as file:
        file.write(b'{"never": "ended')
    source.rename(tmp_path / "in.1.jsonl")
    time.sleep(0.1)
    source.write_bytes(b"".join(sent[20:]))
    until(decided(len(sent)))
    process.send_signal(signal.SIGINT)
    assert b"'interrupted': True" in process.communicate(timeout=10)[1]
    go(tmp_path / "in.1.jsonl", tmp_path / "expected.jsonl")
    go(source, tmp_path / "expected.jsonl")
    assert out.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


class Predictor:
    def open_stream(self, options: dict[str, Any]) -> Toy:
        if options != {"k": 3}:
            raise UserError(f"Options {options}")
        return Toy()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`usecases stream toy ...` with a toy for a run; returns the exit code."""
    from usecases import cli, live_commands

    class UseCase:
        predictor: Any = Predictor()

        def load(self, folder: Path) -> Any:
            return self.predictor

    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "metadata.json").write_text("{}")
    monkeypatch.setattr(live_commands, "load_run", lambda run: ("toy", UseCase(), tmp_path))

    def run(*arguments: object, predictor: Any = UseCase.predictor) -> int:
        monkeypatch.setattr(UseCase, "predictor", predictor)
        monkeypatch.setattr(sys, "argv", ["usecases", "stream", "toy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


def test_the_command(
    tmp_path: Path, source: Path, expected: bytes, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert command(source, "k=3", "--out", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["records"], summary["invalid"]) == (1012, 12)
    assert out.read_bytes() == expected
    assert (tmp_path / "out.jsonl.state" / "journal.sqlite").exists()
    assert command(source, "k=3", "--state", tmp_path / "state") == 0
    assert capsys.readouterr().out.encode().startswith(expected[:200])
    assert command(source, "k=4", "--out", out) == 1
    assert command(source, "k=3", "--out", out, predictor=object()) == 1
    assert "open_stream" in capsys.readouterr().err
    assert command(source, "k=3") == 2
    assert "--state" in capsys.readouterr().err
    assert command(tmp_path / "none", "k=3", "--out", out) == 1
    assert command("k=3", "--out", out, "--follow") == 2
