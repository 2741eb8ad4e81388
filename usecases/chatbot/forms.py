"""Filling a form from messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from usecases.chatbot.content import Coded, Form, Slot
from usecases.chatbot.entities import fill
from usecases.chatbot.messages import opens_as_question
from usecases.chatbot.protocols import Entity

_WRONG = re.compile(
    r"\b(?:wrong|other|another|different|incorrect|not right|not correct|mistake|change|typo|correct(?:ion)?)\b", re.IGNORECASE
)
_KEEP = re.compile(r"\b(?:keep|leave)\s(?:it|this|that|them|everything|(?:the|my)\s\w+)\b", re.IGNORECASE)
_FINE = r"^\W*(?:(?:yes|great|good|perfect|fine|ok|okay|please|so|then|now|right|alright|all right|thanks|and|just)\W+)*"
_COMMON = set(re.findall(r"\w+", "what which would like your with that this please from arrived should send back does want tell"))
LONGEST = 8  # words of a correction
_COPULA = re.compile(r"\b(?:it's|it is|they're|they are|because|is|are|was|well|oh)\b", re.IGNORECASE)
_YES_NO = Slot(type="yes_no", ask="")
_TURNED = re.compile(r"\b(?:but|however|only|instead|rather|actually|make it|change|except|wait|no|not)\b|👎|❌", re.IGNORECASE)
_RESERVED = re.compile(
    r"\b(?:but|however|except|wait|only if|unless|no(?! (?:problem|worries|doubt|objections?|longer|more|rush|need)))\b|👎|❌",
    re.IGNORECASE,
)
_CHANGES = re.compile(r"\b(?:make (?:it|that)|instead|(?:change|switch|move) (?:it |that |this )?to)\b", re.IGNORECASE)
_KEPT = re.compile(
    r"\b(?:keep|leave|stay|forget|nothing|thanks|thank you|don't|do not|dont|not|never|stop|cancel|later|anyway)\b", re.IGNORECASE
)
_REPLACED = re.compile(
    r"^\W*(?:(?:no|nope|nah|wait|sorry|oops|hm+|oh|well|typo|wrong|actually|i meant?|i mean|it's|it is|it should be|should be"
    r"|make (?:it|that)|rather|better|that's wrong|not correct|the)\b[\s,.:!-]*)+",
    re.IGNORECASE,
)


_IS = r"(?:\W|\b(?:is|was|wrong|it|it's|should be|must be)\b)*"
_THE = r"(?:the |my |an? )?"
_NEW = r"(?P<new>(?!(?:I|we|no|yes)\b)[^,;.]{2,80})"
_RATHER = (  # "not the mug but the tent"; "it's the tent, not the mug"
    re.compile(rf"(?:^|[,;.!:]\s|it's\s|is\s)not\s{_THE}(?P<old>[^,;.]{{2,60}}?),?\s(?:but|rather)\s{_THE}{_NEW}", re.IGNORECASE),
    re.compile(rf"^(?:.*?\b(?:is|was|it's|be|to)\s)?{_THE}{_NEW},?\snot\s{_THE}(?P<old>[^,;.]{{2,60}})\W*$", re.IGNORECASE),
)


def values(form: Form, text: str, today: date, asked: str | None, patterns: Mapping[Coded, str]) -> dict[str, Entity]:
    """What a message says for the slots of a form.

    Args:
        asked: the slot whose question it replies to.
    """
    found = {}
    for name, slot in form.slots.items():
        if entity := fill(slot, text, today, name == asked, name, patterns):
            found[name] = entity
    return found


def missing(form: Form, slots: Mapping[str, Any]) -> str | None:
    """The next slot to ask for."""
    return next((name for name in form.slots if name not in slots), None)


def agreed(text: str, today: date) -> bool | None:
    """Whether a message begins by saying yes or no; None if it does neither."""
    entity = fill(_YES_NO, text, today, True)
    return bool(entity.value) if entity else None


def keeps(text: str) -> bool:
    """Whether the customer would rather have everything stay as it is."""
    return _KEEP.search(text) is not None


def commands(text: str, form: str) -> bool:
    """Whether a message tells to go on with what a form of this name is for: "great, book it"."""
    verbs = "|".join(map(re.escape, [form.partition("_")[0] or "do", "do", "register", "reserve", "file", "send", "submit"]))
    return (
        re.match(rf"{_FINE}(?:(?:{verbs})\s(?:it|that|this|so|them)\b|(?:I\s)?confirm|by all means|proceed\b)", text, re.I)
        is not None
    )


def own_words(found: dict[str, Entity], text: str, asked: str) -> dict[str, Entity]:
    """Without what is none of the customer's own words for the slot: a question, another slot's value that is called so ("the
    postcode is 80331") or that is all of the reply ("it's too small"), or a choice that one word names.
    """
    kept = {name: e for name, e in found.items() if name == asked or e.type != "choice" or " " in text[e.start : e.end].strip()}
    own, words = kept.get(asked), re.findall(r"\w+", text.lower())
    question = text.endswith("?") and (opens_as_question(text) or len(words) > LONGEST)
    called = (e for name, e in kept.items() if e.type not in ("choice", "text") and set(name.split("_")) & set(words))
    alone = (
        e.type == "choice" and not re.search(r"\w", _COPULA.sub("", text[: e.start] + text[e.end :]))
        for name, e in kept.items()
        if name != asked
    )
    if own and (question or any(alone) or any(own.start <= e.start < own.end for e in called)):
        del kept[asked]
    return kept


def hesitates(text: str) -> bool:
    """Whether a message is no more than a pause for thought."""
    return (
        re.fullmatch(r"\W*(?:(?:h+m+|u+m+|u+h+|e+r+m*|well|wait|so|let me (?:see|think)|a moment|one moment)\W*)+", text, re.I)
        is not None
    )


def reserved(text: str) -> bool:
    """Whether a "yes" is no plain one."""
    return _RESERVED.search(text) is not None


def corrects(text: str) -> bool:
    """Whether what follows a "yes" takes some of it back."""
    return _TURNED.search(text) is not None


def changes(text: str) -> bool:
    """Whether a message puts a new value in an old one's place."""
    return _CHANGES.search(text) is not None


def doubted(form: Form, text: str) -> str | None:
    """The slot that a message calls wrong without giving another value: "no, the other order"."""
    if not _WRONG.search(text):
        return None
    words = set(re.findall(r"[a-z]+", text.lower().replace("e-mail", "email")))
    for name, slot in form.slots.items():
        own = set(name.split("_")) - {"number", "card"} | ({"mail", "address"} if slot.type == "email" else set())
        own |= {"day"} if slot.type == "date" else set()
        if words & own:
            return name
    return None


def bare(form: Form, text: str, today: date, patterns: Mapping[Coded, str]) -> dict[str, Entity]:
    """A value written as in reply to a question ("no, 15"), where only one slot could hold it."""
    found = {}
    for name, slot in form.slots.items():
        if slot.type not in ("text", "choice", "yes_no") and (entity := fill(slot, text, today, True, name, patterns)):
            found[name] = entity
    return found if len(found) == 1 else {}


def meant(form: Form, slots: Mapping[str, Any], text: str, today: date, patterns: Mapping[Coded, str]) -> dict[str, Entity]:
    """Another value of a slot that has one, in a reply to the question for another: "sorry, I meant 24105"."""
    rest = _REPLACED.sub("", text)
    found = bare(form, rest, today, patterns) if rest != text else {}
    return {name: e for name, e in found.items() if name in slots and not re.search(r"\w", rest[: e.start] + rest[e.end :])}


def replaced(form: Form, slots: Mapping[str, Any], text: str) -> dict[str, str]:
    """A text slot that a reply to the confirmation gives anew.

    It is named ("no, the item is the tent"), the old one is ("not the mug but the tent"), or the new value shares a word with the
    old one, or holds a number as it does: "No, Talstraße 19" replaces the street "Talstraße 17"; "no, I will keep it" replaces
    nothing.
    """
    texts = {name: slot for name, slot in form.slots.items() if slot.type == "text" and name in slots}
    for swapped in filter(None, (pattern.search(text) for pattern in _RATHER)):
        for name in texts:
            if _words(swapped["old"]) & _words(slots[name]):
                return {name: swapped["new"].strip()}
    rest = _REPLACED.sub("", text).strip(" .,!")
    if not rest or rest == text.strip(" .,!") or _KEPT.search(rest) or rest.endswith("?"):
        return {}
    for name, slot in texts.items():
        topics = set(re.findall(r"\w{4,}", f"{name} {slot.ask}".lower())) - _COMMON
        named = "|".join(map(re.escape, sorted(topics)))
        if found := re.match(rf"(?:the |my |new )*(?:{named})\b{_IS}", rest, re.IGNORECASE):
            value = rest[found.end() :]
            return {name: value} if 0 < len(value.split()) <= LONGEST else {}
    for name in texts if len(rest.split()) <= LONGEST else ():
        if _words(slots[name]) & _words(rest) or (re.search(r"\d", rest) and re.search(r"\d", str(slots[name]))):
            return {name: rest}
    return {}


def _words(text: Any) -> set[str]:
    return set(re.findall(r"\w{2,}", str(text).lower()))
