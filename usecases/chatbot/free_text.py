"""Slots that hold the customer's own words: a street, a town, an article, a description."""

from __future__ import annotations

import re
from collections.abc import Sequence

from usecases.chatbot.protocols import Entity

LONGEST = 200
"""Characters of a text slot."""

_LABEL = re.compile(r"(?:^|[\n;,.]\s{0,3}|-\s)(?P<label>[^\W\d_][\w' -]{0,29}):\s")
_VALUE_END = re.compile(r"[\n;]|[.!?]\s+(?=[A-Z])")
_IDLE = set(
    re.findall(
        r"\w+",
        "a an and are at for from i in is it like me my of on or our should the to us we what which with would you your new",
    )
)
CAPITAL = "[A-ZÄÖÜØÅÆŁŚÉ]"
TOWN = (
    rf"(?P<city>(?:St\.\s)?{CAPITAL}[\w'-]{{1,30}}"
    rf"(?:\s(?:am|an der|an|im|in|bei|der|de|la|sur|upon|{CAPITAL}[\w-]{{1,30}})\b){{0,3}})"
)
POSTCODE = r"(?:[A-Z]{1,2}-)?(?:[0-9]{4,5}(?:\s[A-Z]{2})?|[0-9]{2}-[0-9]{3}|[0-9]{3}\s[0-9]{2}|[0-9]{4}-[0-9]{3})"
STREET = (
    r"(?P<street>(?<![\w-])(?:(?!(?:Order|Send|To|Change|New|Address|Please|Deliver|The|FW)\b)(?:[A-ZÄÖÜØÅÆŁŚÉ][\w.'-]{1,40}\s"
    r"|(?:am|an|auf|der|dem|den|im|in der|zum|zur|via|rue|de|la|le|les|des|du)\s)){1,5}[0-9]{1,4}(?:/[0-9]{1,4})?\s?[a-zA-Z]?\b"
    r"|(?<![\w-])[0-9]{1,4}[a-z]?,?\s(?:rue|avenue|place|chemin|quai|[A-Z][\w'-]{1,30})(?:\s[\w'-]{1,30}){0,4}"
    r"|(?<![\w-])[^\W\d_]{1,40}(?:straße|strasse|str\.?|weg|platz|gasse|allee|gade|vej|gatan|straat|damm|ufer|ring)\s[0-9]{1,4}\s?[a-zA-Z]?\b)"
)
_ADDRESS = re.compile(rf"{STREET}\s{{0,2}},?\s{{0,2}}(?:{POSTCODE},?\s{TOWN}|$)")
_CITY = re.compile(rf"(?<![\w-]){POSTCODE},?\s{TOWN}")
_ITEM = re.compile(
    r"\b(?:return(?:ing)?(?: (?:of|for))?|send(?:ing)? back|giv(?:e|ing) back|sent back|exchange|refund for)"
    r"(?:\s(?:the|my|a|an|these|this|those|some|one)\s|:\s{1,3}(?:(?:the|my|an?)\s)?)"
    r"(?!(?:order|parcel|package|items?|things?|something|stuff|products?|articles?|goods|purchase)\b)(?P<item>[^\n.,;:!?()]{2,80}?)"
    r"(?=\s(?:from|of|in|out of|I|we|it|that|which|because|as|since|with)\b|[.,;:!?()\n]|$)",
    re.IGNORECASE,
)
_FROM_ORDER = re.compile(
    r"(?P<item>[^\n]{2,100}?),?\s(?:from|of|in|out of|on)\s(?:my\s)?(?:order\s)?(?:number\s)?$", re.IGNORECASE
)
_OF_ORDER = re.compile(
    r"\b(?:the|my|an?|this|that|these|those)\s(?P<item>[\w'-]+(?:\s(?!(?:order|of|from|is|was|in|on|to|and|for)\b)[\w'-]+){0,5})"
    r"\s(?:from|of|out of|in)\s(?:my\s|the\s)?(?:order\s)?(?:number\s|no\.?\s)?$",
    re.IGNORECASE,
)
_NO_ITEM = set(
    re.findall(
        r"\w+",
        "address article articles content contents damage delivery goods invoice item items money order package parcel product"
        " products refund rest return shipping something status stuff thing things whole",
    )
)
_FILLER = re.compile(
    r"^(?:(?:well|ok|okay|sure|yes|yeah|hm+|uh|um|so|then|great|please)\b[,.! ]{0,4}){0,3}"
    r"(?:(?:it's|it is|its|that's|that is|this is|that would be)\s)?(?:(?:in|to)\s(?=[A-ZÄÖÜ]))?",
    re.IGNORECASE,
)
_CALLED = re.compile(r"(?:the|my|our)\s(?P<label>[\w ]{2,30}?)\s(?:is|are)\s", re.IGNORECASE)


def written(about: str, text: str, firm: Sequence[Entity], asked: bool) -> Entity | None:
    """The customer's words for a slot.

    Args:
        about: the slot's name and question: its words tell labels, streets, towns and articles.
        text: the message.
        firm: e-mail addresses and numbers found in it: a reply with one of them is about something else.
        asked: the message replies to the question; then it is the value as a whole.
    """
    topics = set(re.findall(r"[^\W_]+", about.lower())) - _IDLE
    labels = list(_LABEL.finditer(text))
    for number, found in enumerate(labels):
        follows = labels[number + 1].start() if number + 1 < len(labels) else len(text)
        label = set(found["label"].lower().split()) - _IDLE
        if label and label <= topics:
            end = _VALUE_END.search(text, found.end(), follows)
            return _entity(text, found.end(), end.start() if end else follows)
    for topic, pattern in (("street", _ADDRESS), ("city", _CITY), ("town", _CITY), ("item", _ITEM), ("article", _ITEM)):
        if topic in topics and (match := pattern.search(text)):
            span = match.span({"town": "city", "article": "item"}.get(topic, topic))
            if not any(span[0] < entity.end and entity.start < span[1] for entity in firm):
                return _entity(text, *span)
    if not asked:
        match = _OF_ORDER.search(text[: firm[0].start]) if firm and topics & {"item", "article"} else None
        return _entity(text, *match.span("item")) if match and not _NO_ITEM & set(match["item"].lower().split()) else None
    filler = _FILLER.match(text)
    start = filler.end() if filler else 0
    if firm:
        match = _FROM_ORDER.match(text[: firm[0].start], start)
        return _entity(text, *match.span("item")) if match and topics & {"item", "article"} else None
    if (called := _CALLED.match(text, start)) and set(called["label"].lower().split()) - _IDLE <= topics:
        start = called.end()  # "the city is …", but not "the zip is torn"
    return _entity(text, start, len(text)) or _entity(text, 0, len(text))


def _entity(text: str, start: int, end: int) -> Entity | None:
    """Without control characters and blanks around; None without a letter or digit."""
    kept = "".join(c if c.isprintable() else " " for c in text[start : min(end, start + 4 * LONGEST)])
    value = " ".join(kept.split())[:LONGEST].strip(" .,;")
    return Entity("text", value, start, end) if any(c.isalnum() for c in value) else None
