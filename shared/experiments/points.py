"""What experiments of many runs share: a folder that says what it is, and runs in it that are not done twice."""

from __future__ import annotations

import json
import math
import os
import shutil
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from shared.config import RunConfig, dump, resolve
from shared.errors import UserError
from shared.files import read_json, write_json, write_text
from shared.runs import Run, Validated, make_folder, runs_root, state, unfinished, validation
from shared.usecase import UseCase

C = TypeVar("C", bound=RunConfig)
MARKER = "experiment.json"
KILLED = "its process ended twice without a word and without an epoch between, perhaps because memory ran out"


def begin(kind: str, usecase: str, config: RunConfig, out: Path | None, about: Mapping[str, Any] | None = None) -> Path:
    """A new folder, `out` or one below `runs_root()`, that holds the configuration and what kind of experiment it is.

    Raises:
        UserError: the folder cannot be made, or is not empty.
    """
    _one_process(kind)
    folder = out or runs_root() / usecase / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    make_folder(folder)
    write_text(folder / "config.yaml", dump(config.settled()))
    write_json(folder / MARKER, {"kind": kind, "usecase": usecase, **(about or {})})
    return folder


def reopen(kind: str, usecase: str, out: Path | None) -> tuple[Path, dict[str, Any]]:
    """The experiment that `--resume` goes on with, the one in `out` or the newest, and what its marker says.

    Raises:
        UserError: there is none, or it is something else.
    """
    _one_process(kind)
    made = sorted((runs_root() / usecase).glob(f"{kind}-*/{MARKER}"))
    if out is None and not made:
        raise UserError(f"There is no {kind} of {usecase} below {runs_root()} to go on with. Begin one without --resume.")
    folder = made[-1].parent if out is None else out
    if not (folder / MARKER).exists():
        raise UserError(f"{folder} holds no {kind}: it has no {MARKER}. Give its folder with --out, or leave out --resume.")
    about = read_json(folder / MARKER)
    if (about["kind"], about["usecase"]) != (kind, usecase):
        raise UserError(f"{folder} holds a {about['kind']} of {about['usecase']}, not a {kind} of {usecase}.")
    return folder, about


def _one_process(kind: str) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"A {kind} is many runs, one after the other, in one process. Start it without accelerate or torchrun.")


def settings(cls: type[C], folder: Path, changes: Mapping[str, Any]) -> C:
    """The experiment's configuration with some keys changed.

    Raises:
        UserError: they cannot be changed so.
    """
    return resolve(cls, [folder / "config.yaml"], [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def trained(
    usecase: UseCase, experiment: Path, changes: Mapping[str, Any], folder: Path, *, until_validated: bool = False
) -> None:
    """Have a run in the folder: nothing to do if it ended well, gone on with if it was stopped, else begun.

    Args:
        experiment: the folder with the configuration, in which the run `changes` some keys.
        until_validated: end it once its validation figure is known, before anything is judged on the test part.

    Raises:
        StillRunningError: another process is at work on it; it is left alone.
        UserError: the recipe cannot do it, such as for want of data.
        Exception: whatever else ends it, a defect, too little memory or a validation figure of no use; `reason` of it is in the
            run's state, its traceback among the run's events.
    """
    found = state(folder) if (folder / "run.json").exists() else {"state": None}
    if found["state"] in ("done", "validated"):
        return
    if stopped := found["state"] == "running":
        unfinished(usecase.name, folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # of one that failed, which may have been mended since
    try:
        config = settings(usecase.config, experiment, changes)
    except UserError as error:
        Run(folder, usecase.name).fail(error)
        raise
    current = Run.reopen(folder, config) if stopped else Run.create(usecase.name, config, folder)
    current.until_validated = until_validated
    killed = _count_killed(folder, found) if stopped else 0
    try:
        if killed > 1:
            raise RuntimeError(KILLED)
        ended = _train(usecase, config, current)
    except KeyboardInterrupt:
        current.write_json("run.json", {**state(folder), "interrupted": True})
        raise
    except Exception as error:
        current.fail(error)
        current.event("failed", traceback=traceback.format_exc())
        raise
    current.finish(ended)


def _train(usecase: UseCase, config: RunConfig, run: Run) -> str:
    """Returns the state that it ends in."""
    try:
        usecase.train(config, run)
    except Validated:
        found = validation(run.folder)
        if found and not math.isfinite(found[1]):
            raise FloatingPointError(f"its {found[0]} on validation is {found[1]}") from None
        return "validated"
    return "done"


def _count_killed(folder: Path, found: Mapping[str, Any]) -> int:
    """How often the run's process has ended without a word since its last whole epoch, if any; its state keeps that, too."""
    events = folder / "events.jsonl"
    epochs = events.read_text(encoding="utf-8").count('"event": "epoch"') if events.exists() else 0
    before = found.get("killed", 0) if epochs == found.get("epochs") else 0
    killed = before if found.get("interrupted") else before + 1
    write_json(folder / "run.json", {**state(folder), "killed": killed, "epochs": epochs, "interrupted": False})
    return killed
