"""Malformed files through the command line: each gives pictures or one reason, in bounded time and memory.

What a header says of a person must stand nowhere in what is printed or written. All bombs are always among the files, and so
many others that there are `COUNT`; a thousand are run with

    MALFORMED=1000 python -m pytest tests/usecases/medical_imaging/test_malformed.py
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.usecases.medical_imaging.conftest import Trained

pytest.importorskip("pydicom")
pytest.importorskip("nibabel")
pytest.importorskip("resource", reason="memory is measured as Unix does")

from tests.usecases.medical_imaging import malformed
from tests.usecases.medical_imaging.malformed import SECRET

COUNT = int(os.environ.get("MALFORMED", "200"))
MEMORY = 2e9  # bytes that a command may take
HANGS = 300  # seconds after which a command counts as hung
REASON = 120  # characters at most
MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run(json.loads(sys.argv[1]), capture_output=True, timeout=float(sys.argv[2]))
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "code": done.returncode, "memory": unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    "out": done.stdout.decode("utf-8", "backslashreplace"), "err": done.stderr.decode("utf-8", "backslashreplace"),
}))
"""  # in a process of its own, because a child is taken for as large as its parent was when it began


SEVERAL = """
import contextlib, io, json, sys, traceback
from usecases import cli
for source in sys.argv[1:]:
    code, said = None, io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.argv = ["usecases", "check", "medical_imaging", "--data", source]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        except Exception:
            traceback.print_exc()
    said.flush()
    print(json.dumps([code, said.buffer.getvalue().decode()]))
"""  # one after the other, because a command's imports take far longer than its work here


@dataclass(frozen=True)
class Done:
    """How a command ended, the most memory that it had, bytes, and what it printed."""

    code: int
    memory: int
    out: str
    err: str


def command(*arguments: str, script: str = "") -> Done:
    """Run `usecases`, or a script; fails where it hangs, prints a traceback or a name, or takes too much memory."""
    told = json.dumps([sys.executable, *(["-c", script] if script else ["-m", "usecases"]), *arguments])
    ran = subprocess.run([sys.executable, "-c", MEASURED, told, str(HANGS)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"it hangs: {ran.stderr[-2000:]}"
    done = Done(**json.loads(ran.stdout))
    assert "Traceback" not in done.err, done.err[-5000:]
    assert SECRET.lower() not in (done.out + done.err).lower()
    print("MEM", arguments[0][:10], done.memory / 1e9)
    assert done.memory < MEMORY, f"{done.memory / 1e9:.2f} GB"
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The folder, and the names of the files in it that may be images."""
    root = tmp_path_factory.mktemp("malformed") / "scans"
    with warnings.catch_warnings(action="ignore"):  # of pydicom, which is made to write what it should not
        return root, malformed.folder(root, COUNT)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_malformed_files_are_predicted_on_or_named_with_one_reason(
    made: tuple[Path, set[str]], simulated: Trained, tmp_path: Path
) -> None:
    (source, names), out = made, tmp_path / "out"
    assert len(names) == COUNT
    done = command("predict", str(simulated.folder), str(source), "--out", str(out), "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["ended"] == "after all files"
    seen, unreadable = rows(out / "findings.csv"), rows(out / "unreadable.csv")
    assert {row["name"] for row in seen} | {row["name"] for row in unreadable} == names
    assert len({row["name"] for row in unreadable}) == len(unreadable) == summary["files not readable"]
    for reason in {row["reason"] for row in unreadable}:
        assert 0 < len(reason) < REASON
        assert "\n" not in reason
    assert 0.3 < len(unreadable) / COUNT < 0.9, "the files are too much alike"
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert SECRET.lower().encode() not in file.read_bytes().lower(), file
        assert SECRET.lower() not in file.name.lower()


def test_the_check_of_malformed_files_names_what_is_wrong(made: tuple[Path, set[str]]) -> None:
    source, _ = made
    done = command("check", "medical_imaging", "--data", str(source), "--json")
    findings = json.loads(done.out)
    assert done.code == int(any(finding["severity"] == "error" for finding in findings))
    unreadable = [finding for finding in findings if finding["what"].startswith("an image that cannot be read: ")]
    assert len(unreadable) > 10
    assert 0.3 < sum(finding["count"] for finding in unreadable) / COUNT < 3
    assert max(len(finding["what"]) for finding in findings) < 2 * REASON


def test_malformed_arrays_and_tables_are_findings(tmp_path: Path) -> None:
    sources = malformed.sources(tmp_path)
    assert len(sources) > 100
    done = command(*(str(one) for one in sources), script=SEVERAL)
    for source, (code, said) in zip(sources, (json.loads(line) for line in done.out.splitlines()), strict=True):
        assert code in (0, 1), (source.name, said[-2000:])
        assert len(said.strip()) > 20
