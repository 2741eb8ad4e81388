"""Replays scripted conversations and tells where the assistant does something else than expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from pydantic import Field, ValidationError, field_validator

from shared.config import Section
from shared.errors import Collector, DataError, UserError, nearest
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.state import Event, Reply, State

TEXTS = ("contains", "not_contains")
KEYS = (*get_type_hints(Event), *TEXTS)


class Turn(Section):
    """A message, and what must come of it (all of the keys)."""

    user: str
    expect: dict[str, Any] = Field(min_length=1)

    @field_validator("expect")
    @classmethod
    def _known(cls, expect: dict[str, Any]) -> dict[str, Any]:
        for key, value in expect.items():
            if key not in KEYS:
                raise ValueError(f"there is no expectation '{key}'. {nearest(key, KEYS)}")
            if key in TEXTS and not isinstance(value, list):
                raise ValueError(f"'{key}' is a list of texts")
            if key == "with" and not (isinstance(value, dict) and expect.keys() & {"does", "fails"}):
                raise ValueError("'with' holds slots, beside 'does' or 'fails'")
        return {key: _plain(value) for key, value in expect.items()}


class Script(Section):
    """A conversation."""

    name: str
    part: Literal["tuning", "held_out"] = "tuning"
    turns: tuple[Turn, ...] = Field(min_length=1)


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
        DataError: names file, conversation and key of everything that is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML ({error}).") from None
    entries = content.get("conversations") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{path} must hold a list `conversations:` of scripts with `name` and `turns`.")
    faults, scripts = Collector(path), []
    for number, entry in enumerate(entries, 1):
        try:
            scripts.append(Script.model_validate(entry))
        except ValidationError as error:
            name = entry.get("name", number) if isinstance(entry, dict) else number
            for fault in error.errors():
                place = ".".join(str(step + 1 if isinstance(step, int) else step) for step in fault["loc"])
                faults.add("error", f"conversation '{name}', {place or 'entry'}: {fault['msg']}", "Correct it", str(name))
    if faults.findings:
        raise DataError(faults.findings)
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


def _plain(value: Any) -> Any:
    """Dates as ISO text, as slots hold them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.isoformat() if isinstance(value, date) else value


def _short(text: str, length: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
