"""Personal data in logs, masked. Rather too much than too little, as long as one can follow the conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from usecases.chatbot.content import PATTERNS, Coded, Desk, SlotType
from usecases.chatbot.entities import EMAIL, apart, codes, plain
from usecases.chatbot.free_text import CAPITAL, POSTCODE, STREET, TOWN
from usecases.chatbot.state import State

PRIVATE: tuple[SlotType, ...] = ("text", "email", "postcode")
"""Slots whose values are masked whatever they look like."""

_NAME = rf"{CAPITAL}[^\W\d_]{{0,30}}\.?(?:[ -]{CAPITAL}[^\W\d_]{{0,30}}){{0,2}}"
_NO_NAME = r"(?:and|but|from|my|i|the|order|with|email)\b"
_SIMPLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"(?<![\w.+%-])[\w.+%'-]{1,64}@(?:[\w.-]{1,255}|\[[0-9.]{7,15}\])", "[e-mail]"),  # also what is none quite
        (r"(?<![\w-])(?:\+|\(?0)[0-9()](?:[ ()/.-]{0,2}[0-9]){6,14}(?![0-9])", "[phone]"),
    )
)
_ADDRESS = re.compile(rf"{STREET}\s{{0,2}},?\s{{0,2}}{POSTCODE}(?:,?\s{TOWN})?")
_DATED = re.compile(  # no street: "12 June 2026", "Monday to Saturday, 10:00"
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_STREET = re.compile(
    r"(?<![\w-])(?:[^\W\d_]{1,40}(?:straße|strasse|str\.?|weg|platz|gasse|allee|gade|vej|gatan|straat|damm|ufer)\s[0-9]{1,4}\s?[a-z]?\b"
    r"|(?:via|rue|am|an der)\s[^\W\d_]{1,40}\s[0-9]{1,4}\b|[0-9]{1,4}\s(?:rue|avenue|chemin|quai)(?:\s[^\W\d_]{1,30}){1,3}"
    r"|[0-9]{1,4}\s[^\W\d_]{1,40}\s(?:street|road|lane|avenue)\b)",
    re.IGNORECASE,
)
_NAMES = re.compile(
    rf"(?P<before>(?i:\b(?:i am|i'm|this is|name:|mr\.?|mrs\.?|ms\.?|(?:regards|greetings|cheers|sincerely|wishes),?)\s{{1,3}}))"
    rf"{_NAME}|(?P<told>(?i:\bmy (?:full )?name(?: is|'s|:) ))"
    rf"(?i:(?!{_NO_NAME})[^\W\d_]{{1,30}}(?:[ -](?!{_NO_NAME})[^\W\d_]{{1,30}}){{0,2}})\b"
    rf"|(?<!\w){_NAME}(?P<after>\s?<\[e-mail\]>)"
)
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
_LONG = re.compile(r"(?<![\w-])(?![0-9]{4}-[0-9]{2}-[0-9]{2}\b)[0-9](?:[ -]?[0-9]){8,18}(?![0-9])")
_DIGITS = re.compile(r"[0-9]{3,}(?=[0-9]{2}(?![0-9]))")


def luhn(digits: str) -> bool:
    """Whether the check digit of a payment card's number is right (ISO/IEC 7812-1, annex B)."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _long(found: re.Match[str]) -> str:
    digits = re.sub("[ -]", "", found[0])
    return "[card]" if len(digits) >= 13 and luhn(digits) else "[number]"


def _account(found: re.Match[str]) -> str:
    signs = [c for c in found[0] if c.isalnum()]  # Norway's, the shortest, has 15
    return "[account]" if len(signs) >= 15 and sum(map(str.isdecimal, signs)) >= 10 else found[0]


def private(desk: Desk, states: Iterable[State], events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the customer gave for `PRIVATE` slots, each with its slot's name: what states hold and actions were done with."""
    slots = {name for form in desk.forms.values() for name, slot in form.slots.items() if slot.type in PRIVATE}
    given = [event["with"] for event in events if "with" in event]
    for state in states:
        given += [state.slots, state.known, *(pending.slots for pending in state.queue)]
    return {value: name for one in given for name, value in one.items() if name in slots and isinstance(value, str)}


def mask(text: str, patterns: Mapping[Coded, str] = PATTERNS, known: Mapping[str, str] | None = None) -> str:
    """A message as a log may keep it: its start, as far as `entities.find` reads it, with what tells a person masked.

    E-mail and postal addresses, phone, account and card numbers, gift cards (who knows the number has the money) and names
    that are announced become words in brackets; other numbers keep their last two digits. Masking twice changes nothing more.

    Args:
        patterns: `Desk.patterns`.
        known: what else is personal, each with its name, which takes its place: `private`.
    """
    text = _named(plain(text), known or {})
    for _ in range(4):  # what was masked can leave a new word beside it, such as a number that now ends
        masked = _once(text, patterns)
        if masked == text:
            break
        text = masked
    return text


def _named(text: str, known: Mapping[str, str]) -> str:
    """In one pass, the longest first: a name that was put in is not looked into."""
    names = {" ".join(plain(value).lower().split()): name for value, name in known.items()}
    words = (r"\s+".join(map(re.escape, value.split())) for value in sorted(filter(None, names), key=len, reverse=True))
    pattern = "|".join(words)
    if not pattern:
        return text
    return re.sub(
        rf"(?<!\w)(?:{pattern})(?!\w)",
        lambda found: f"[{names.get(' '.join(found[0].lower().split()), 'masked').replace('_', ' ')}]",
        text,
        flags=re.IGNORECASE,
    )


def _once(text: str, patterns: Mapping[Coded, str]) -> str:
    text = plain(text)
    for entity in reversed(apart(codes(text, patterns))):
        told = "[gift card]" if entity.type == "gift_card" else _keep_two(str(entity.value))
        text = text[: entity.start] + told + text[entity.end :]
    text = EMAIL.sub("[e-mail]", text)
    text = _IBAN.sub(_account, text)
    for pattern, told in _SIMPLE:
        text = pattern.sub(told, text)
    text = _LONG.sub(_long, text)
    text = _STREET.sub("[address]", _ADDRESS.sub(lambda found: found[0] if _DATED.search(found[0]) else "[address]", text))
    text = _NAMES.sub(lambda found: f"{found['before'] or found['told'] or ''}[name]{found['after'] or ''}", text)
    return plain(_DIGITS.sub(lambda found: "*" * len(found[0]), text))


def _keep_two(number: str) -> str:
    return re.sub(r"[0-9](?=(?:[^0-9]*[0-9]){2})", "*", number)
