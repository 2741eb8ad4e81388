"""A run's folder: where it lies, how it is found again, and how things are written into it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.config import RunConfig, dump
from shared.errors import UserError, require
from shared.files import read_json, write_json, write_text


def runs_root() -> Path:
    """`USECASES_RUNS`, or `runs` in the current folder."""
    return Path(os.environ.get("USECASES_RUNS") or "runs")


class Validated(Exception):  # noqa: N818 (no error)
    """Ends a run whose validation figure is all that is wanted of it; see `Run.validated`."""


class StillRunningError(UserError):
    """Another process is at work on the run, so nothing of it may be touched."""


class Run:
    """One run's folder. Under several processes only the main one writes (`is_main`)."""

    def __init__(self, folder: Path, usecase: str, *, is_main: bool = True, tensorboard: bool = False) -> None:
        self.folder = folder
        self.made: Sequence[Path] = ()  # the folders that were made for it, itself first
        self.usecase = usecase
        self.is_main = is_main
        self.tensorboard = tensorboard
        self.until_validated = False
        self.started = time.monotonic()

    @classmethod
    def create(cls, usecase: str, config: RunConfig, out: Path | None = None) -> Run:
        """Make a new folder (`out`, or a fresh one below `runs_root()`) that holds the resolved configuration."""
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        folder = out or runs_root() / usecase / name
        made = make_folder(folder)
        write_text(folder / "config.yaml", dump(config.settled()))
        write_json(folder / "run.json", {"usecase": usecase, "state": "running", "started": _now(), "pid": os.getpid()})
        run = cls(folder, usecase, tensorboard=config.tensorboard)
        run.made = made
        return run

    @property
    def artifact_dir(self) -> Path:
        return self.folder / "artifact"

    def checkpoint_dir(self, name: str) -> Path:
        return self.folder / "checkpoints" / name

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to events.jsonl."""
        if self.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": _now(), "event": kind, **fields}) + "\n")

    def say(self, line: str) -> None:
        """Tell the user on stderr, and keep it as an event."""
        self.event("log", text=line)
        if self.is_main:
            print(line, file=sys.stderr, flush=True)

    def scalars(self, fit: str, step: int, values: dict[str, float]) -> None:
        """Record the numbers of one epoch: an event always, TensorBoard where the configuration asks for it."""
        self.event("epoch", fit=fit, **values)
        if self.is_main and self.tensorboard:
            writer = require("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(self.folder / "tensorboard" / fit))
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.close()

    def validated(self, metric: str, value: float) -> None:
        """Record how good what was chosen is on validation (higher is better), before anything is judged on the test part.

        Raises:
            Validated: the run was begun to learn just this, as `usecases tune` begins its trials.
        """
        self.event("validation", metric=metric, value=value)
        if self.until_validated:
            raise Validated

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value)

    @classmethod
    def reopen(cls, folder: Path, config: RunConfig, *, is_main: bool = True) -> Run:
        """Go on with an unfinished run; see `unfinished`."""
        found = state(folder)
        if is_main:
            write_json(folder / "run.json", {**found, "state": "running", "pid": os.getpid()})
        return cls(folder, found["usecase"], is_main=is_main, tensorboard=config.tensorboard)

    def fail(self, error: Exception) -> None:
        """Mark the run as ended by an error, the user's or a defect, also one that could not be begun."""
        found = state(self.folder) if (self.folder / "run.json").exists() else {"usecase": self.usecase}
        write_json(self.folder / "run.json", {**found, "state": "failed", "ended": _now(), "reason": reason(error)})

    def discard(self) -> bool:
        """Take away what `create` made if no training has begun and nothing else was written; whether that is so."""
        own = {"config.yaml", "events.jsonl", "run.json"}
        has_begun = any(event["event"] != "log" for event in _events(self.folder))
        if has_begun or not {file.name for file in self.folder.iterdir()} <= own:
            return False
        with suppress(OSError):  # what cannot be taken away, or holds something by now, stays
            for name in own:
                (self.folder / name).unlink(missing_ok=True)
            for folder in self.made:
                folder.rmdir()
        return True

    def finish(self, ended: str = "done") -> None:
        """Mark the run as ended well and point `latest` beside it to it; or as ended for now, with another state."""
        seconds = round(time.monotonic() - self.started, 2)
        write_json(self.folder / "run.json", {**state(self.folder), "state": ended, "ended": _now(), "seconds": seconds})
        default_place = runs_root() / self.usecase
        if self.folder.parent.resolve() == default_place.resolve():
            link = default_place / f".latest-{uuid.uuid4().hex[:8]}"
            link.symlink_to(self.folder.name)
            link.replace(default_place / "latest")


def reason(error: Exception) -> str:
    """Why a run failed; a defect's says of which kind it is, as its text alone may tell nothing."""
    return str(error) if isinstance(error, UserError) else "".join(traceback.format_exception_only(error)).strip()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder for something new; returns which were not there before, it and those that it lies in, itself first.

    Raises:
        UserError: it cannot be made, or holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty. Give another --out, or --resume to go on with the run in it.")
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder}: {error.strerror}. Give another --out.") from None
    return made


def state(folder: Path) -> dict[str, Any]:
    """What run.json says.

    Raises:
        UserError: the folder is no run's.
    """
    try:
        return read_json(folder / "run.json")
    except (OSError, json.JSONDecodeError):
        raise UserError(f"{folder} is not a run's folder: it has no readable run.json.") from None


def validation(folder: Path) -> tuple[str, float] | None:
    """Metric and value that the run in the folder has recorded with `Run.validated`, the last ones; None: none yet."""
    found = [entry for entry in _events(folder) if entry["event"] == "validation"]
    return (found[-1]["metric"], found[-1]["value"]) if found else None


def _events(folder: Path) -> list[dict[str, Any]]:
    file = folder / "events.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def find(name: str, usecases: list[str]) -> tuple[Path, str]:
    """The folder and use case of a finished run, given its folder or a use case's name (its newest run).

    Raises:
        UserError: there is no such run, or it did not end well.
    """
    folder = Path(name)
    if name in usecases and not (folder / "run.json").exists():
        folder = runs_root() / name / "latest"
        if not folder.exists():
            raise UserError(f"There is no finished run of {name} below {runs_root()}. Make one: usecases run {name}")
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Give a run's folder or one of: {', '.join(usecases)}.")
    found = state(folder)
    if found["state"] != "done":
        raise UserError(
            f"The run in {folder} did not finish. Go on with it: usecases run {found['usecase']} --resume --out {folder}"
        )
    return folder.resolve(), found["usecase"]


def finished(usecase: str) -> list[Path]:
    """The use case's runs below `runs_root()` that ended well, the newest first."""
    markers = sorted((runs_root() / usecase).glob("[!l]*/run.json"), reverse=True)
    return [marker.parent for marker in markers if state(marker.parent)["state"] == "done"]


def unfinished(usecase: str, out: Path | None = None) -> Path:
    """The run that `--resume` goes on with: the one in `out`, else the newest unfinished one.

    Raises:
        StillRunningError: the one in `out` is still going on.
        UserError: there is none, or it has ended already, or is another use case's.
    """
    if out is not None:
        found = state(out)
        if found["usecase"] != usecase:
            raise UserError(f"The run in {out} is one of {found['usecase']}, not of {usecase}.")
        if found["state"] == "done":
            raise UserError(f"The run in {out} has ended well already. Nothing to resume.")
        if _is_alive(found):
            raise StillRunningError(f"The run in {out} is still going on, in process {found['pid']}.")
        return out
    for marker in sorted((runs_root() / usecase).glob("[!l]*/run.json"), reverse=True):
        found = state(marker.parent)
        if found["state"] == "running" and not _is_alive(found):
            return marker.parent
    raise UserError(f"There is no unfinished run of {usecase} below {runs_root()}. Start one without --resume.")


def _is_alive(found: dict[str, Any]) -> bool:
    """Does the process that runs it (on this machine) still exist?"""
    pid = found.get("pid")
    if found["state"] != "running" or pid is None or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
