"""What a message says that a slot can hold: numbers, e-mail addresses, days, amounts, choices and words.

Every expression takes time linear in the message: repetitions are bounded, a lookbehind keeps them from starting inside a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache

from usecases.chatbot.content import PATTERNS, Coded, Slot, SlotType
from usecases.chatbot.dates import MONTHS, NUMBER, count, days
from usecases.chatbot.free_text import written
from usecases.chatbot.protocols import Entity

LIMIT = 4_000
"""Characters of a message that are read."""
CODES: tuple[Coded, ...] = ("order_number", "return_number", "gift_card")

_PLAIN = {ord(c): "-" for c in "‐‑‒–—−﹣"} | {ord(c): " " for c in "\u00a0\u2009\u202f\u200b\u2060\t\r\ufeff"}
_PLAIN |= {ord(c): "'" for c in "’‘´`"} | {0xFF01 + i: chr(0x21 + i) for i in range(94)}  # and full-width letters
_AT = r"(?:\s{0,2}@\s{0,2}|\s{0,2}[(\[{]\s?(?:at|@)\s?[)\]}]\s{0,2})"
_DOT = r"(?:\.|\s\.\s|\s{0,2}[(\[{]\s?(?:dot|\.)\s?[)\]}]\s{0,2}|\sdot\s)"
_WORD = r"[^\W_][\w+%'-]{0,63}"
_LOCAL = rf"(?<![\w.+%-]){_WORD}(?:{_DOT}{_WORD}){{0,4}}[.+_-]?"
_LABEL = r"[^\W_][\w-]{0,62}"
EMAIL = re.compile(
    rf"{_LOCAL}(?:{_AT}{_LABEL}(?:{_DOT}{_LABEL}){{0,4}}{_DOT}[^\W\d_]{{2,24}}"
    rf"|\sat\s{_LABEL}(?:{_DOT}{_LABEL}){{0,4}}\s?(?:dot\s|[(\[{{]dot[)\]}}]\s?)[^\W\d_]{{2,24}})(?![\w@])",
    re.IGNORECASE,
)
_ASKED_EMAIL = re.compile(rf"{_LOCAL}\sat\s{_LABEL}(?:\.{_LABEL}){{0,4}}\.[^\W\d_]{{2,24}}(?![\w@])", re.IGNORECASE)
_FIGURE = r"(?P<figure>[0-9]{1,3}(?:[.,' ][0-9]{3}){1,2}(?:[.,][0-9]{1,2})?|[0-9]{1,7}(?:[.,][0-9]{1,2})?)"
_EURO = r"(?:€|euros?\b|eur\b)"
_OTHER = r"(?!\s?(?:%|hundred|thousand|\$|£|percent|dollars?|usd|chf|francs?|pounds?|cm|mm|kg|g\b|km|h\b|am\b|pm\b|o'clock|°))"
_AMOUNTS = (
    re.compile(
        rf"(?<![\w.,-]){_FIGURE}(?:,--?|\.-)?\s?{_EURO}"
        r"(?:(?:\sand)?\s(?P<cents>[0-9]{2})(?:\s?(?:cents?|ct)\b|(?<!and\s..)(?=[,;!?]|\.?\s*$)))?",
        re.IGNORECASE,
    ),
    re.compile(rf"(?:€|\beuros?|\beur)\s?{_FIGURE}(?![\w€])", re.IGNORECASE),
    re.compile(rf"\b(?P<words>{NUMBER})\s{_EURO}", re.IGNORECASE),
    re.compile(rf"(?<![\w.,:/-])(?P<figure>[0-9]{{1,5}}[.,][0-9]{{2}})(?![\w:/-]|[.,][0-9]){_OTHER}", re.IGNORECASE),
)
_BARE_AMOUNT = re.compile(
    rf"(?<![\w.,:/$£-])(?:{_FIGURE}(?:,--?|\.-)?|(?!one\b)(?P<words>{NUMBER}))(?![\w:/]|[.,][0-9]){_OTHER}", re.IGNORECASE
)
_POSTCODE = re.compile(  # 79102, A-6020, 60-533, 1000-001; 8000 Aarhus and 411 05 Göteborg only before a town's capital letter
    r"(?<![\w/#+-])(?<![0-9]\.)(?<!\b[A-Z]{2} )(?:(?:[ABDFIL]|AT|BE|CH|CZ|DE|DK|ES|FI|FR|HR|IT|L[TUV]|NL|S[EIK])-[0-9]{4,5}"
    r"|[0-9]{2}-[0-9]{3}|[0-9]{4}-[0-9]{3}|[0-9]{5}"
    r"|(?:(?!(?:19|20)[0-9]{2}\b)[0-9]{4}(?:\s[A-Z]{2})?|[0-9]{3}\s[0-9]{2})(?=,?\s[A-ZÄÖÜØÅÆŁŚÉ][a-zß-ž])"
    r"|(?:(?<=[Cc]ode: )|(?<=PLZ: )|(?<=PLZ )|(?<=zip: ))[0-9]{4})(?![\w€%-]|[.,][0-9])"
)
_BARE_POSTCODE = re.compile(r"(?<![\w.,/#+-])(?:[0-9]{4}(?:\s?[A-Z]{2})?|[0-9]{3}\s[0-9]{2})(?![\w€%-]|[.,][0-9])", re.IGNORECASE)
_BARE_DAY = re.compile(r"(?:the |on )*([0-9]{1,2})(?:[./]([0-9]{1,2}))?(?:st|nd|rd|th)?", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|no longer|instead of|rather than|wrong)(?: (?:the|for|from|order|number|on|under|is))*[ :]*$", re.IGNORECASE
)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|nothing|without|neither|nor|isn'?t|wasn'?t|aren'?t|won'?t|do not"
    r"|don'?t|doesn'?t|didn'?t|rather than|instead of)"
    r"(?: (?!but\b)[\w']{1,20}){0,3}|\b(?:no|than)(?: (?:a|an|the|new))?) $",
    re.IGNORECASE,
)
_CORRECTION = re.compile(r"\b(?:no|sorry|actually|rather|i mean|wait|correction|oops|better)\b", re.IGNORECASE)
_YES_NO = re.compile(
    r"\b(?P<open>not sure|don'?t know|no idea|maybe|perhaps)\b"
    r"|(?P<no>\b(?:no(?! (?:problem|worries|doubt|objections?))|nope|nah|nein|never|wrong|incorrect|false|not"
    r"|(?:do|is|does|did|are|was|would|have)(?:n'?t| not)|rather not|better not)\b|👎|❌)"
    r"|(?P<yes>\b(?:yes|yeah|yea|yeh|yep|yup|jep|jup|aye|ye|y|ja|sure|ok|okay|right|correct|exactly|of course|definitely"
    r"|absolutely|certainly|true|agreed|affirmative|perfect|please do|go (?:ahead|on|for it)|do (?:it|so|that)|spot on|jawohl"
    r"|(?:all|sounds|looks|that's|that is) (?:good|fine|great)"
    r"|no (?:problem|worries|doubt|objections?))\b|^\W*(?:please|pls|plz|go|si|oui)\W*$|👍|✅|👌)",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """The start of a message with one kind of dash, blank and apostrophe; places in it are places in the message."""
    return text[:LIMIT].translate(_PLAIN)


@lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?<!\w-)(?:{pattern})(?![^\W_]|-\w)", re.IGNORECASE)


def _code(kind: Coded, found: re.Match[str]) -> Entity | None:
    value = "-".join(filter(None, found.groups())) or found[0]
    return Entity(kind, value.upper(), *found.span()) if any(c.isdigit() for c in value) else None


def codes(text: str, patterns: Mapping[Coded, str]) -> Iterator[Entity]:
    for kind in CODES:
        for found in _compiled(patterns[kind]).finditer(text):
            if entity := _code(kind, found):
                yield entity


def _bare_code(kind: Coded, text: str, patterns: Mapping[Coded, str]) -> Iterator[Entity]:
    """Numbers in a reply without the letters that they start with."""
    lead = re.match(r"\(?([A-Za-z]{1,8})\)?", patterns[kind])
    if lead:
        for word in re.finditer(r"(?<![\w-])[0-9A-Z](?:[0-9A-Z-]{0,30}[0-9A-Z])?(?![\w-])", text, re.IGNORECASE):
            found = _compiled(patterns[kind]).fullmatch(lead[1] + word[0])
            if found and (entity := _code(kind, found)):
                yield entity._replace(start=word.start(), end=word.end())


def _emails(text: str, pattern: re.Pattern[str] = EMAIL) -> Iterator[Entity]:
    for found in pattern.finditer(text):
        value = re.sub(r"\s?[(\[{]?\s?\bdot\b\s?[)\]}]?\s?", ".", found[0], flags=re.IGNORECASE)
        value = re.sub(r"\s{0,2}[(\[{]\s?(?:at|@)\s?[)\]}]\s{0,2}|\sat\s", "@", value, count=1, flags=re.IGNORECASE)
        value = re.sub(r"[\s()\[\]{}]", "", value).lower()
        if value.count("@") == 1 and ".." not in value:
            yield Entity("email", value, *found.span())


def _number(figure: str) -> float:
    """ "1.490,00", "1,490.00", "49,90", "1 490" as a number: the last mark is the decimal one, unless three digits follow it."""
    whole, _, decimals = re.sub(r"[,' ]", ".", figure).rpartition(".")
    if not whole or len(decimals) == 3:
        whole, decimals = whole + decimals, "0"
    return float(f"{whole.replace('.', '')}.{decimals}")


def _amounts(text: str, patterns: Iterable[re.Pattern[str]]) -> Iterator[Entity]:
    for pattern in patterns:
        for found in pattern.finditer(text):
            groups = found.groupdict()
            value = float(count(groups["words"])) if groups.get("words") else _number(groups["figure"])
            yield Entity("amount", value + int(groups.get("cents") or 0) / 100, *found.span())


def _dates(text: str, today: date) -> Iterator[Entity]:
    return (Entity("date", day.day.isoformat(), day.start, day.end) for day in days(text, today))


def _postcodes(text: str, patterns: Iterable[re.Pattern[str]]) -> Iterator[Entity]:
    for pattern in patterns:
        for found in pattern.finditer(text):
            if not text[found.end() : found.end() + 4].strip().lower().startswith(MONTHS):  # "2026 June", "1500 Mar"
                yield Entity("postcode", found[0].upper(), *found.span())


def apart(candidates: Iterable[Entity]) -> list[Entity]:
    """The candidates in their order in the text; of overlapping ones the earlier listed."""
    covered = bytearray(LIMIT)  # quick where there are a thousand of them
    taken = []
    for entity in candidates:
        if not any(covered[entity.start : entity.end]):
            covered[entity.start : entity.end] = b"\1" * (entity.end - entity.start)
            taken.append(entity)
    return sorted(taken, key=lambda entity: entity.start)


def find(text: str, today: date, patterns: Mapping[Coded, str] = PATTERNS) -> list[Entity]:
    """Everything in a message that has a form of its own, in its order, without overlaps.

    Args:
        text: the message; what lies behind its first `LIMIT` characters is not read.
        today: what "tomorrow" is counted from; a day without a year is the first such one from today on.
        patterns: `Desk.patterns`.
    """
    text = plain(text)
    return apart(
        [
            *_emails(text),
            *codes(text, patterns),
            *_dates(text, today),
            *_amounts(text, _AMOUNTS),
            *_postcodes(text, (_POSTCODE,)),
        ]
    )


def _asked_for(kind: SlotType, text: str, today: date, taken: list[Entity], patterns: Mapping[Coded, str]) -> list[Entity]:
    """What a reply to the question for a slot may be, though elsewhere in a conversation it would mean nothing."""
    found: list[Entity] = []
    if kind in CODES:
        found = list(_bare_code(kind, text, patterns))
    elif kind == "amount" and len(text.split()) <= 6:  # in a longer reply a number may count anything
        found = list(_amounts(text, (_BARE_AMOUNT,)))
    elif kind == "email":
        found = list(_emails(text, _ASKED_EMAIL))  # "jo at example.com" may be a place elsewhere
    elif kind == "postcode":
        found = list(_postcodes(text, (_BARE_POSTCODE,)))
    elif kind == "date":
        reply = text.strip(" .!?,")
        bare = _BARE_DAY.fullmatch(reply)
        words = re.sub(r"\b(?:on )?the ", "", reply, flags=re.IGNORECASE)  # "the Tuesday"
        if bare:
            words = f"{bare[1]}.{bare[2]}." if bare[2] else f"the {bare[1]}th"
        found = [entity._replace(start=0, end=len(text)) for entity in _dates(words, today)]
    return [entity for entity in apart([*taken, *found]) if entity.type == kind]


def _choice(slot: Slot, text: str) -> Entity | None:
    """The choice that is named, not one that is denied; the longest of the names behind the last word that corrects."""
    names = [(word, choice) for choice, words in slot.words.items() for word in words if word]
    names += [(choice, choice) for choice in slot.of]
    if not names:
        return None
    names.sort(key=lambda name: -len(name[0]))
    spaced = [re.escape(name.replace("_", " ").translate(_PLAIN)).replace(r"\ ", r"\s+").replace("'", "'?") for name, _ in names]
    wanted = "|".join(f"({name})" for name in spaced)
    text = text.replace("_", " ")
    found = [
        m
        for m in re.finditer(rf"(?<!\w)(?:{wanted})(?!\w)", text, re.IGNORECASE)
        if not _NEGATION.search(text[max(0, m.start() - 90) : m.start()])
    ]
    if not found:
        return None
    corrected = [match.end() for match in _CORRECTION.finditer(text) if match.end() <= found[-1].start()]
    last = [match for match in found if match.start() >= (corrected[-1] if corrected else 0)]
    best = max(last, key=lambda match: (len(match[0].split()), match.start()))
    return Entity("choice", names[(best.lastindex or 1) - 1][1], *best.span())


def _yes_no(text: str) -> Entity | None:
    """What a reply says first."""
    found = list(_YES_NO.finditer(text))
    if not found or found[0].lastgroup == "open":
        return None
    return Entity("yes_no", found[0].lastgroup == "yes", *found[0].span())


def fill(
    slot: Slot, text: str, today: date, asked: bool, name: str = "", patterns: Mapping[Coded, str] = PATTERNS
) -> Entity | None:
    """What a message says for one slot; of several values the last that is not denied.

    Args:
        asked: the message replies to the question for this slot: bare numbers, yes and no, and words of the customer's own count.
        name: of the slot, for labelled lists ("City: Kiel") and addresses.
        patterns: `Desk.patterns`.
    """
    text = plain(text)
    if slot.type == "choice":
        return _choice(slot, text)
    if slot.type == "yes_no":
        return _yes_no(text) if asked else None
    firm = apart([*_emails(text), *codes(text, patterns)])
    if slot.type == "text":
        return written(f"{name} {slot.ask}", text, firm, asked)
    kinds = {
        "date": lambda: _dates(text, today),
        "amount": lambda: _amounts(text, _AMOUNTS),
        "postcode": lambda: _postcodes(text, (_POSTCODE,)),
    }
    if slot.type in kinds:
        firm = apart([*firm, *kinds[slot.type]()])
    found = [entity for entity in firm if entity.type == slot.type]
    if not found and asked:
        found = _asked_for(slot.type, text, today, firm, patterns)
    meant = [entity for entity in found if not _DENIED.search(text[max(0, entity.start - 60) : entity.start])]
    return max(meant, key=lambda entity: entity.start, default=None)
