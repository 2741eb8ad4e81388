"""What a support team needs around the assistant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from shared.config import Section
from shared.errors import UserError
from shared.files import write_text
from shared.records import read_options
from shared.runs import find
from usecases.chatbot import tester
from usecases.chatbot.assistant import NAME
from usecases.chatbot.predictor import Chatbot


class TestOptions(Section):
    run: str = Field(NAME, description="a run's folder, or chatbot for the newest one")
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


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {"test": test}
