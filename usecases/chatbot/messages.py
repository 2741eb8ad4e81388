"""A customer's message: cleaned, cut into clauses, and read for what is wanted."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.errors import UserError
from usecases.chatbot.config import Talking
from usecases.chatbot.content import Desk
from usecases.chatbot.protocols import Classifier, Scores

CLAUSES = 8
"""Clauses of a message that are classified beside the whole of it: questions first, then the last ones."""
REFUSED = 2  # clauses that refuse something, of which is asked what
WHOLE = 300
"""Characters up to which a message is classified as a whole; an encoder sees no more of it."""

LEAST, SURE = 0.3, 0.5  # probability of each of several things that clauses want, and of the surest of them

_TAG = re.compile(
    r"<!--.{0,2000}?-->|<(script|style)\b[^<>]{0,500}>.{0,4000}?</\1\s*>|</?[a-z][^<>@]{0,500}>", re.IGNORECASE | re.DOTALL
)
_SENTENCE = re.compile(r"(?<=[.!?…])(?<!\b[0-9]\.)(?<!\b[0-9]{2}\.)\s+|\n+|;\s+")
_WH = "what|whats|when|where|wheres|which|who|why|how|hows"
_AUXILIARY = "can|could|do|does|did|is|are|was|were|will|would|may|should|have|has|must"
_ACTION = "tell|know|show|track|book|check|cancel|return|refund|exchange|change"
_MORE_ACTIONS = f"{_ACTION}|give|send|find|look|put|let|file|start|open|report|reserve|register|pass|connect|redirect|talk|speak"
_NOT = r"(?:no|not|don't|do not|dont)"
_OPENING = rf"(?:{_WH}|whether|{_AUXILIARY}|I|I'm|I'd|I've|we|we'd|please|instead of|rather than|just|only|{_ACTION})"
_JOINT = re.compile(  # between two parts of a sentence that have each something to say
    rf",?\s+(?:and|but|plus|also)\s+(?:(?:also|then|by the way),?\s+)?(?={_OPENING}\b)"
    rf"|,\s+(?=(?:so\s+|then\s+|first\s+)?(?:{_OPENING}|{_MORE_ACTIONS}|{_NOT}|but)\b)"
    rf"|\s+(?=(?:instead of|rather than)\s)|,?\s+(?=(?:but|and)\s+{_NOT}\s)|\s+(?=but\s)",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"(?:^|(?<=[.!?]\s))((?:instead of|rather than)\s[^.,;!?]{1,60}?)\s+(?=(?:I|I'd|we|we'd|please|can|could)\s)", re.IGNORECASE
)
_GREETED = r"(?:(?:and|so|but|ok|okay|hi|hello|hey|well|then|also|actually|first|please|by the way)\b[,.!]?\s+)*"
_LED = rf"(?:(?:oh|ah|h+m+|no|right|sorry|thanks|great|anyway|meanwhile|just|wait|hold on|hang on)\b[,.!]?\s+{_GREETED})+"
_ASKS = rf"(?:{_AUXILIARY})\s(?:I|you|we|they|he|she|it|there|this|that|the|my)"  # but not "thanks, will do"
_QUESTION = re.compile(
    rf"\?|^{_GREETED}(?:{_WH}|{_AUXILIARY}|{_LED}(?:{_WH}|{_ASKS}))\s\w"
    rf"|\b(?:ask(?:ing)?|wonder(?:ing)?|to know|tell me|curious)\s(?:\w+\s)?(?:{_WH}|whether|if)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    rf"\?|^{_GREETED}(?:{_WH}|{_AUXILIARY}|{_MORE_ACTIONS}|{_LED}(?:{_WH}|{_ASKS}|{_MORE_ACTIONS}))\b|[,:;.!]\s(?:{_MORE_ACTIONS})\s"
    r"|\b(?:want|wanna|need|(?:would|I'd) like|(?:like|love) to|I'd rather|(?:I|we) (?:must|have to|should)|please|pls|plz"
    r"|wish to|looking for|wonder\w*|asking|curious|can you|could you)\b",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.+-]{1,64}\s?@\s?[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}|<[^<>\s]{0,64}@[^<>]{0,64}>")
_SIGNS = "👍👎✅❌👌"
_SAID = re.compile(rf"[^\W_]{{2}}|[0-9a-z]|[{_SIGNS}]", re.IGNORECASE)
_NEVER = "(?:do not|don't|dont|did not|didn't|would not|wouldn't|will not|won't|never)"
_LEAD = r"^(?:(?:well|no|nope|please|sorry|hi|hello|hey|but|and|so|actually|then|just)\b[,.!]?\s+)*"


def clean(message: str, longest: int) -> tuple[str, bool]:
    """The text of a message, and whether it was longer than `longest` characters and has lost its end.

    Markup, control characters and everything invisible are gone (full-width letters are plain ones: Unicode's NFKC); lines stay.
    """
    cut = len(message) > longest
    text = unicodedata.normalize("NFKC", html.unescape(message[: 2 * longest]))
    text = _TAG.sub(" ", text)
    kept = (
        "\n" if c in "\n\r\u2028\u2029" else " " if c.isspace() else c
        for c in text
        if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    lines = (" ".join(line.split()) for line in "".join(kept).split("\n"))
    text = "\n".join(line for line in lines if line)
    return text[:longest], cut or len(text) > longest


def clauses(text: str) -> list[str]:
    """Sentences, and their parts that ask, want or refuse something for themselves."""
    found: list[str] = []
    for sentence in _SENTENCE.split(_INSTEAD.sub(r"\1; ", text)):
        parts = [part.strip(" ,") for part in _JOINT.split(sentence)]
        pieces: list[str] = []
        for part in parts:
            short = len(part.split()) < 3 and not re.match(_NOT + r"\b", part, re.IGNORECASE)
            if pieces and short:
                pieces[-1] += f", {part}"
            elif part:
                pieces.append(part)
        found += pieces
    return found


def asks(text: str) -> bool:
    """Whether it is written as a question."""
    return any(_QUESTION.search(sentence) for sentence in _SENTENCE.split(text.replace("’", "'")))


def opens_as_question(text: str) -> bool:
    """Whether it begins as a question does."""
    return re.match(rf"{_GREETED}(?:{_WH}|{_AUXILIARY})\s\w", text, re.IGNORECASE) is not None


def requests(text: str) -> bool:
    """Whether it asks or wants something, rather than telling."""
    return _REQUEST.search(text.replace("’", "'")) is not None


@dataclass(frozen=True)
class Part:
    """One thing that a message is about.

    Attributes:
        probabilities: [intents] of the classifier, given that it is about one of them.
        outside: probability that it is about none.
        request: it asks or wants something, rather than telling.
    """

    text: str
    intents: tuple[str, ...]
    probabilities: np.ndarray
    outside: float
    request: bool

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Intents with their probabilities, likeliest first."""
        return [(self.intents[i], float(self.probabilities[i])) for i in np.argsort(-self.probabilities, kind="stable")]

    @property
    def asked(self) -> tuple[str, bytes]:
        """What the answer to it hangs on: parts of other messages with the same text may have other scores."""
        return self.text, np.append(self.probabilities, self.outside).tobytes()

    @property
    def top(self) -> str:
        return self.ranked[0][0]

    @property
    def probability(self) -> float:
        """That the likeliest intent is wanted."""
        return float(self.probabilities.max()) * (1 - self.outside)


def scores_of(parts: Sequence[Part]) -> Scores:
    """What the classifier has said of parts; there is at least one."""
    return Scores(np.stack([part.probabilities for part in parts]), np.array([part.outside for part in parts]))


@dataclass(frozen=True)
class Reading:
    """What a message says. No parts: it says nothing.

    Attributes:
        text: cleaned.
        cut: its end was not read.
        refused: intents that the customer does not want.
        whole: all of it, where something is refused: what is left may say too little.
        questions: clauses that ask something, each by itself.
    """

    text: str
    cut: bool
    parts: tuple[Part, ...]
    refused: tuple[str, ...] = ()
    whole: Part | None = None
    questions: tuple[Part, ...] = ()


@dataclass(frozen=True)
class _Draft:
    """A message before it is classified; nothing but `text` and `cut` where it says nothing.

    Attributes:
        flat: all that is classified, in one line.
        rest: that without what is refused, if something is left.
        chosen: clauses that are classified for themselves.
        refused: clauses that say what is not wanted.
        kept: whether there are others.
    """

    text: str
    cut: bool
    flat: str = ""
    rest: str = ""
    chosen: Sequence[str] = ()
    refused: Sequence[str] = ()
    kept: bool = True

    @property
    def texts(self) -> list[str]:
        """What to classify."""
        return [self.flat, self.rest, *self.chosen, *self.refused[:REFUSED]] if self.flat else []


class Reader:
    """Messages to readings.

    Args:
        classifier: called with the whole of a message and its clauses.
        desk: its intents' names are the words that "no …" refuses.

    Raises:
        UserError: the classifier was trained for other intents.
    """

    def __init__(self, classifier: Classifier, desk: Desk, settings: Talking) -> None:
        gone = sorted(set(classifier.intents) - desk.intents.keys())
        if gone:
            raise UserError(f"The classifier knows intents that the content no longer has ({', '.join(gone)}). Train it again.")
        self.classifier, self.settings = classifier, settings
        self.talk = {name for name, intent in desk.intents.items() if intent.says}
        words = {word[:6] for name, intent in desk.intents.items() if not intent.says for word in re.split(r"[\W_]+", name)}
        stems = "|".join(sorted((re.escape(word) for word in words if len(word) > 3), key=len, reverse=True)) or r"(?!)"
        wants = "want(?:ed)?|wanna|need(?:ed)?|wish|meant?|ask(?:ed)?|intend(?:ed)?|plan(?:ned)?"
        others = "you|we|they|I|know|see|understand|worry|have|get|find"  # "don't you …?", "don't know where …"
        self._refusal = re.compile(
            rf"{_LEAD}(?:(?:I|we)\s(?:(?:really|just|actually)\s)?{_NEVER}\s(?:(?:really|actually|even)\s)?(?:{wants})\b"
            r"|(?:I\s?am|I'm|im|we're|we\sare)\snot\s(?:(?:looking|trying|asking|planning|talking|interested|here|after)\b"
            rf"|(?:going to )?(?:{stems})\w*)"
            rf"|(?:don't|do not|dont|never)\s(?!(?:{others})\b)\w+"
            r"|(?:(?:it's|it is|this is|that's)\s)?not?\s(?:(?:an?|the|to|my|any|about|for|new|another|start)\s){0,3}"
            rf"(?:{stems})\w*|not\s(?:{_WH})\b|instead of\s|rather than\s)",
            re.IGNORECASE,
        )
        self._named = re.compile(rf"\b(?:not|don't|dont|no|never)\b.*\b(?:{stems})", re.IGNORECASE)

    def __call__(self, message: str) -> Reading:
        return self.read([message])[0]

    def read(self, messages: Sequence[str]) -> list[Reading]:
        """Each by itself; the classifier is called once for all of them, which is quicker than once for each."""
        drafts = [self._draft(message) for message in messages]
        parts = self._classify([text for draft in drafts for text in draft.texts])
        return [self._settled(draft, parts) for draft in drafts]

    def _draft(self, message: str) -> _Draft:
        text, cut = clean(message, self.settings.longest)
        told = _EMAIL.sub("", text.replace("’", "'"))  # an address says nothing about what is wanted
        told = "".join(c for c in told if c in _SIGNS or unicodedata.category(c) not in ("So", "Sk"))  # nor do most pictures
        flat = " ".join(told.split())
        if not _SAID.search(flat):
            return _Draft(text, cut)
        pieces = [part for piece in clauses(told) for part in self._apart(piece)]
        refused = [piece for piece in pieces if self._refusal.match(piece)]
        kept = [piece for piece in pieces if piece not in refused]
        wanted = [piece for piece in kept if requests(piece) and any(c.isalpha() for c in piece)]
        long = len(flat) > WHOLE
        chosen = (wanted if long and wanted else kept)[-CLAUSES:]
        rest = " ".join(kept) if refused and kept else flat
        return _Draft(text, cut, flat, rest, chosen if wanted or long else [], refused, bool(kept))

    def _apart(self, piece: str) -> list[str]:
        """A refusal and what follows its comma: "I don't want to cancel it, the street is wrong"."""
        refusal, _, rest = piece.partition(", ")
        return [refusal, rest] if len(rest.split()) > 2 and self._refusal.match(refusal) else [piece]

    def _settled(self, draft: _Draft, parts: Mapping[str, Part]) -> Reading:
        if not draft.flat:
            return Reading(draft.text, draft.cut, ())
        long = len(draft.flat) > WHOLE
        whole, refused = parts[draft.flat], draft.refused
        no = tuple(name for piece in refused[:REFUSED] if (name := self._meant(parts[piece])))
        found = self._parts(parts[draft.rest], [parts[piece] for piece in draft.chosen], long)
        if refused and (not draft.kept or (found[0].top in self.talk or found[0].probability < self.settings.certain)):
            found = self._parts(whole, [], False)  # what is left says too little
            if no and self._meant(whole) in no and not self._still(refused):
                return Reading(draft.text, draft.cut, (), no)
        questions = tuple(parts[piece] for piece in draft.chosen if asks(piece))
        return Reading(draft.text, draft.cut, tuple(found), no, whole if refused else None, questions)

    def _meant(self, part: Part) -> str | None:
        """What a refusal is about; a "no" in it is no small talk."""
        name, probability = next(((name, p) for name, p in part.ranked if name not in self.talk), ("", 0.0))
        small = sum(p for other, p in part.ranked if other in self.talk)
        return name if probability * (1 - part.outside) >= self.settings.certain * (1 - small) and probability > 0 else None

    def _still(self, refused: Sequence[str]) -> bool:
        """Whether what sounds like a refusal is how the intent itself is said: "I don't want it any more", not "no refund"."""
        return any(
            re.search(r"any ?more|any longer|\b(?:bot|robot|machine|computer|program)\b", piece) or not self._named.search(piece)
            for piece in refused
        )

    def _classify(self, texts: Sequence[str]) -> dict[str, Part]:
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        scores, names = self.classifier(distinct), self.classifier.intents
        rows = zip(distinct, scores.probabilities, scores.outside, strict=True)
        return {text: Part(text, names, shares, float(outside), requests(text)) for text, shares, outside in rows}

    def _parts(self, whole: Part, each: Sequence[Part], long: bool) -> list[Part]:
        """Several parts if several clauses are certain of different things, else one that clause and whole agree on."""
        apart: dict[str, Part] = {}
        for part in each:
            if part.request and part.probability >= LEAST:
                apart[part.top] = _joined(apart[part.top], part) if part.top in apart else part
        if len(apart) > 1 and any(part.probability >= SURE for part in apart.values()):
            return list(apart.values())
        best = max((part for part in each if part.request or long), key=lambda part: part.probability, default=None)
        if best is None or best.text == whole.text:
            return [whole]
        if long:
            return [best]
        spoken = [part for part in each if len(part.text.split()) > 2]  # what is told beside a question may say what it is about
        shares = np.mean([part.probabilities for part in spoken or [best]], axis=0)
        outside = min(best.outside, float(np.mean([part.outside for part in spoken or [best]])))
        return [replace(whole, probabilities=(whole.probabilities + shares) / 2, outside=(whole.outside + outside) / 2)]


def _joined(one: Part, other: Part) -> Part:
    more = one if one.probability >= other.probability else other
    return Part(f"{one.text} {other.text}", one.intents, more.probabilities, more.outside, True)
