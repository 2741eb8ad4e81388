"""What the use cases' contract is tested on: of each a run, and the same run killed and resumed.

`python -m tests.twins FOLDER NAME…` makes them, beside the other tests, which keep but one core busy.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

HANGS = 900  # seconds after which a run counts as hung
CODES = "codes.json"


class Twins(NamedTuple):
    """Of `--quick` runs: one that nothing interrupted; one killed after its first epoch and resumed."""

    place: Path  # holds NAME.out and NAME.err of each command: unbroken, refused, resumed
    codes: dict[str, int]  # with which these ended

    @property
    def unbroken(self) -> Path:
        return self.place / "run"

    @property
    def resumed(self) -> Path:
        return self.place / "killed"

    def said(self, command: str, kind: str = "err") -> str:
        return (self.place / f"{command}.{kind}").read_text()


@contextmanager
def begun(names: Sequence[str], folder: Path) -> Iterator[Callable[[str], Twins]]:
    """They are made from now on, one use case after the other; yields what waits for those of one."""
    env = {"USECASES_RUNS": str(folder / "runs"), "USECASES_DATA": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.twins", str(folder), *names]
    maker = subprocess.Popen(command, env={**os.environ, **env}, cwd=Path(__file__).parents[1], start_new_session=True)

    def of(name: str) -> Twins:
        codes = folder / name / CODES
        while not codes.exists():
            assert maker.poll() is None or codes.exists(), f"the twins of {name} could not be made"
            time.sleep(0.1)
        return Twins(folder / name, json.loads(codes.read_text()))

    try:
        yield of
    finally:
        with suppress(ProcessLookupError):  # there is none where all has ended
            os.killpg(maker.pid, signal.SIGKILL)  # with the runs that it has begun
        maker.wait()


def make(name: str, place: Path) -> None:
    """Both at once, on one thread each: small networks are hardly faster on two."""
    place.mkdir()
    killed = place / "killed"
    quick = ["run", name, "--quick", "hardware.threads=1", "--out"]
    unbroken = _start([*quick, str(place / "run"), "--json"], place / "unbroken")
    victim = _start([*quick, str(killed)], place / "victim")
    events, deadline = killed / "events.jsonl", time.monotonic() + HANGS
    while victim.poll() is None and time.monotonic() < deadline:
        if events.exists() and '"event": "epoch"' in events.read_text():
            victim.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    codes = {"victim": victim.wait(HANGS)}
    codes["refused"] = _start(["predict", str(killed), "{}"], place / "refused").wait(HANGS)
    codes["resumed"] = _start(["run", name, "--resume", "--out", str(killed)], place / "resumed").wait(HANGS)
    codes["unbroken"] = unbroken.wait(HANGS)
    (place / "partial").write_text(json.dumps(codes))
    (place / "partial").rename(place / CODES)


def _start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.with_suffix(".out").open("wb") as results, log.with_suffix(".err").open("wb") as messages:
        return subprocess.Popen([sys.executable, "-m", "usecases", *arguments], stdout=results, stderr=messages)


if __name__ == "__main__":
    for one in sys.argv[2:]:
        make(one, Path(sys.argv[1]) / one)
