"""Replays scripted conversations and tells where the assistant does something else than expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.data import cleaning
from shared.errors import Collector, UserError
from usecases.chatbot import desk, documents
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.scripts import Script
from usecases.chatbot.state import Event, Reply, State


@dataclass(frozen=True)
class Difference:
    """Something expected that did not come."""

    turn: int  # from 1
    user: str
    key: str
    expected: Any
    got: list[Event]
    text: str


@dataclass(frozen=True)
class Result:
    script: Script
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def load_scripts(path: Path) -> list[Script]:
    """Read `conversations:` of a YAML file.

    Raises:
        UserError: there is nothing to read.
        DataError: names file, line and entry of everything that is wrong.
    """
    faults = Collector(path)
    scripts = list(desk.scripts(documents.read(path, faults, typed=True), faults))
    cleaning.stop_on_errors(faults.findings)
    if not scripts:
        raise UserError(f"{path} holds no list `conversations:` of scripts with `name` and `turns`.")
    return scripts


def replay(script: Script, make_dialogue: Callable[[], Dialogue]) -> Result:
    """Have a conversation with a fresh assistant; it goes on after a difference."""
    dialogue, state, found = make_dialogue(), State(), []
    for number, turn in enumerate(script.turns, 1):
        reply = dialogue.turn(state, turn.user)
        state = State.model_validate_json(reply.state.model_dump_json())  # as if it had been stored
        for key, expected in turn.expect.items():
            if not _met(key, expected, turn.expect, reply):
                found.append(Difference(number, turn.user, key, expected, reply.events, reply.text))
    return Result(script, tuple(found))


def pass_rates(results: Iterable[Result]) -> dict[str, tuple[int, int]]:
    """Conversations passed and replayed, of each kind: what stands before the colon of the name."""
    rates: dict[str, tuple[int, int]] = {}
    for result in results:
        kind = result.script.name.partition(":")[0].strip()
        passed, count = rates.get(kind, (0, 0))
        rates[kind] = passed + result.passed, count + 1
    return rates


def told(results: Sequence[Result]) -> str:
    """What differs, then the rates."""
    lines = []
    for result in results:
        if not result.passed:
            lines.append(f"✗ {result.script.name}")
        for difference in result.differences:
            got = "; ".join(f"{key}: {value}" for event in difference.got for key, value in event.items()) or "nothing"
            lines += [
                f"  turn {difference.turn}: {_short(difference.user)}",
                f"    expected  {difference.key}: {difference.expected}",
                f"    got       {got}",
                f"    reply     {_short(difference.text)}",
            ]
    passed = sum(result.passed for result in results)
    lines += [f"{good}/{count}  {kind}" for kind, (good, count) in pass_rates(results).items()]
    return "\n".join([*lines, f"{passed} of {len(results)} conversations passed ({passed / max(len(results), 1):.1%})."])


def _met(key: str, expected: Any, expect: dict[str, Any], reply: Reply) -> bool:
    if key == "contains":
        return all(str(text).lower() in reply.text.lower() for text in expected)
    if key == "not_contains":
        return not any(str(text).lower() in reply.text.lower() for text in expected)
    values = [event[key] for event in reply.events if key in event]  # type: ignore[literal-required]
    if key == "with":
        return any(all(name in got and _same(got[name], value) for name, value in expected.items()) for got in values)
    if key == "clarifies":
        return any(set(expected) <= set(got) for got in values)
    return any(value == one for value in values for one in (expected if isinstance(expected, list) else [expected]))


def _same(got: Any, expected: Any) -> bool:
    if isinstance(got, float) and isinstance(expected, int | float):
        return abs(got - expected) < 0.005
    return got == expected


def _short(text: str, length: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
