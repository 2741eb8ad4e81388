"""Quick trainings that visitors ask for: one at a time, each in a process of its own."""

from __future__ import annotations

import collections
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

COMMAND = (sys.executable, "-u", "-m", "usecases", "run", "{name}", "--quick", "--json")
SHOWN = 12  # last lines of what the training says
LOG = logging.getLogger("usecases.serving")


@dataclass
class Training:
    """One training. `lines` are the last ones that it wrote; of a failed one they say why."""

    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    began: float = field(default_factory=time.monotonic)
    lines: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=SHOWN))

    @property
    def is_going_on(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def seconds(self) -> int:
        """Since it was asked for, or since it began."""
        return round(time.monotonic() - self.began)


class Trainings:
    """The newest training of each use case."""

    def __init__(self, trained: Callable[[str, Path], None], command: Sequence[str] = COMMAND) -> None:
        """`trained(name, folder)` is called in a thread after one; `command` prints a JSON object with its `run` on stdout."""
        self.trained, self.command = trained, command
        self._newest: dict[str, Training] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="train")
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def __getitem__(self, name: str) -> Training | None:
        return self._newest.get(name)

    def start(self, name: str) -> bool:
        """Begin, or wait for those that are before it; False if this use case is being trained already."""
        with self._lock:
            newest = self._newest.get(name)
            if self._closed or (newest and newest.is_going_on):
                return False
            self._newest[name] = training = Training()
            self._worker.submit(self._train, name, training)
            return True

    def close(self) -> None:
        """Stop the one that is running, and forget those that wait. `usecases run NAME --resume` could go on with it."""
        with self._lock:
            self._closed = True
            if self._process:
                self._process.terminate()
        self._worker.shutdown(cancel_futures=True)

    def _train(self, name: str, training: Training) -> None:
        training.state, training.began = "running", time.monotonic()
        try:
            folder = self._run([part.format(name=name) for part in self.command], training)
            if folder:
                self.trained(name, folder)
            training.state = "done" if folder else "failed"
        except Exception as error:  # whatever it is, the next visitor may try again
            LOG.exception("%s: the quick training ended in an error", name)
            training.lines.append(str(error))
            training.state = "failed"

    def _run(self, command: list[str], training: Training) -> Path | None:
        """The run's folder, None if it failed."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as result:
            with self._lock:
                if self._closed:
                    return None
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=result, stderr=subprocess.PIPE, text=True, errors="replace"
                )
            with self._process as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if line.strip():
                        training.lines.append(line.strip())
            if process.returncode:
                return None
            result.seek(0)
            return Path(json.load(result)["run"])
