"""What the assistant says besides what the support team has written, and how values are put into sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from typing import Any

from usecases.chatbot.content import Form, Passage, Slot
from usecases.chatbot.protocols import Answer
from usecases.chatbot.state import State, Summary

NOTHING = "I could not read anything in your message."
REPHRASE = "I am not sure that I understood you, or I do not know the answer. Could you put it in other words?"
OFFER = "I still cannot help with that, I am sorry. Shall I pass you on to a colleague?"
ALSO = "This may help, too:"
UNKNOWN = "I am afraid I do not know that: our help pages do not say."
NO_VALUE = "I could not find that in your message."
CALLED = "human"
HUMAN_TOO = f"If you would rather speak to a colleague, write '{CALLED}'."
CANCELLED = "All right, I have stopped. Nothing has been done."
NOT_THAT = "All right, not that. What would you like instead?"
HANDED_OVER = "I am passing you on to a colleague, who gets a summary of our conversation so that you need not repeat anything."
CUT = "Your message was very long; I have read only its beginning."
NEXT = "Now to your other request."
WHICH = "Do you mean: {options}?"
CORRECT_IT = "If something in it is wrong, just send me the right one."
HUMAN = "Talk to a colleague"
YES, NO = "Yes", "No"

_PLACE = re.compile(r"\{(\w+)\}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def titled(passage: Passage, text: str) -> str:
    """An answer under its article's title."""
    return f"{passage.title}{f' – {passage.heading}' if passage.heading else ''}:\n{text}"


def quoted(question: str, answer: Answer) -> tuple[str, str]:
    """A passage as it stands; see `protocols.Voice`."""
    return titled(answer.passage, answer.passage.text), ""


def put(sentence: str, value: Callable[[str], str]) -> str:
    """The sentence with each {name} replaced, once: what a value holds is never read as a placeholder."""
    return _PLACE.sub(lambda found: value(found[1]), sentence)


def filled(sentence: str, form: Form, slots: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> str:
    """A form's sentence with its slots and with what the action gave; "–" for what nothing gave."""

    def told(name: str) -> str:
        if values and name in values:
            return spoken(values[name])
        return spoken(slots[name], form.slots[name]) if name in form.slots and name in slots else "–"

    return put(sentence, told)


def spoken(value: Any, slot: Slot | None = None) -> str:
    """A value as it is said: 12.90 €, Tuesday, 23 June 2026, Munich."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f} €" if slot is not None and slot.type == "amount" else f"{value:g}"
    text = str(value)
    if slot is not None and slot.type == "choice":
        text = text.replace("_", " ")
        shown = re.search(rf"\b{re.escape(text)}\b", slot.ask, re.IGNORECASE)  # with the capitals of the question
        return shown[0] if shown else slot.words.get(str(value), (text,))[0]
    if (slot is None or slot.type == "date") and _DAY.fullmatch(text):
        with suppress(ValueError):  # 0000-00-00 is said as it is
            day = date.fromisoformat(text)
            return f"{day:%A}, {day.day} {day:%B} {day.year}"
    return text


def listed(options: list[str]) -> str:
    """1) one, 2) other"""
    return ", ".join(f"{number}) {option}" for number, option in enumerate(options, 1))


def summary_so_far(state: State, reason: str) -> Summary:
    """What a colleague would be told."""
    return Summary(reason=reason, asked=state.messages, known=state.slots or state.known, tried=state.tried)
