"""What a support team needs around the assistant."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from shared.config import Section
from shared.errors import UserError, nearest
from shared.files import write_text
from shared.records import read_options
from shared.runs import find
from usecases.chatbot import tester
from usecases.chatbot.assistant import NAME
from usecases.chatbot.memory import Memory
from usecases.chatbot.predictor import Chatbot


class TestOptions(Section):
    run: str = Field(NAME, description=f"a run's folder, or {NAME} for the newest one")
    part: Literal["tuning", "held_out", "all"] = Field("all", description="which of the scripts")


def test(source: Path, out: Path | None, options: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Replay scripted conversations (YAML) with the assistant of run=RUN and print what differs; part=tuning|held_out."""
    wanted = read_options(TestOptions, options)
    folder, usecase = find(wanted.run, [NAME])
    if usecase != NAME:
        raise UserError(f"The run in {folder} is one of {usecase}, not of {NAME}.")
    assistant = Chatbot.load(folder / "artifact").assistant
    if assistant.desk is None:
        raise UserError(f"The model in {folder} was trained on labelled messages alone: it has no conversations.")
    scripts = [one for one in tester.load_scripts(source) if wanted.part in ("all", one.part)]
    if not scripts:
        raise UserError(f"{source} has no conversations of part={wanted.part}.")
    results = [tester.replay(script, lambda: assistant.dialogue(assistant.rehearsal())) for script in scripts]
    report = tester.told(results)
    say(report)
    if out is not None:
        write_text(out, report + "\n")
    passed = sum(result.passed for result in results)
    if passed < len(results):
        raise UserError(f"{len(results) - passed} of {len(results)} conversations went otherwise than their scripts.")
    return {"conversations": len(results), "passed": passed}


class LogOptions(Section):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # of KEY=VALUE, where 4711 is a number

    conversation: str | None = Field(None, description="the name of one; without it all of them are listed")


KEEP = timedelta.max
"""How long states may be silent is for the service that keeps the file to say: looking at it erases none."""


def log(source: Path, out: Path | None, options: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """List the conversations that a file keeps, or print the masked turns of one: conversation=NAME."""
    wanted = read_options(LogOptions, options)
    with closing(Memory(source, KEEP)) as memory:
        if wanted.conversation is None:
            told = [
                f"{one.conversation}: {one.turns} turn(s), {_at(one.first)} to {_at(one.last)}" for one in memory.conversations()
            ]
            counted = {"conversations": len(told)}
        else:
            turns = memory.turns(_known(memory, source, wanted.conversation))
            told = [
                f"{turn.number}  {_at(turn.at)}\n> {turn.message}\n{turn.reply}\n{json.dumps(turn.events, ensure_ascii=False)}\n"
                for turn in turns
            ]
            counted = {"turns": len(turns)}
    report = "\n".join(told)
    say(report)
    if out is not None:
        write_text(out, report + "\n")
    return counted


class ForgetOptions(LogOptions):
    conversation: str | None = Field(None, description="the name of the one to erase")
    days: float | None = Field(None, ge=0, description="erase the turns that are older")


def forget(source: Path, out: Path | None, options: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Erase what a file keeps: conversation=NAME, or all turns older than days=N."""
    wanted = read_options(ForgetOptions, options)
    with closing(Memory(source, KEEP)) as memory:
        if wanted.conversation is not None and wanted.days is None:
            return {"erased turns": memory.delete(_known(memory, source, wanted.conversation))}
        if wanted.days is not None and wanted.conversation is None:
            return {"erased turns": memory.delete_older(wanted.days)}
    raise UserError(
        "Say what to erase: conversation=NAME, or days=N for all turns that are older. `log` lists the conversations."
    )


def _known(memory: Memory, source: Path, name: str) -> str:
    names = [one.conversation for one in memory.conversations()]
    if name not in names:
        raise UserError(f"{source} has no conversation '{name}'. {nearest(name, names)}")
    return name


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {"test": test, "log": log, "forget": forget}
