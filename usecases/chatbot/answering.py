"""One turn outside of a form: answers, small talk, clarification, fallback, hand-over."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import numpy as np

from usecases.chatbot import forms, replies
from usecases.chatbot.config import Talking
from usecases.chatbot.content import Desk, Form
from usecases.chatbot.corpus import normalised
from usecases.chatbot.entities import CODES, find
from usecases.chatbot.messages import Part, Reading, asks, scores_of
from usecases.chatbot.protocols import Answer, Classifier, Library, Voice
from usecases.chatbot.state import Event, Reply, Source, State, Summary

EVIDENCE = 3.0  # how much more often a message with such a number is about a form that asks for it
DOUBT = 0.3  # weight of an intent whose articles say nothing of the message
SETTLED = 0.6  # probability of an intent from which on the articles are not asked
ANSWERS = 5  # of the library, looked at
ALSO = 0.4  # of the likeliest passage's probability, from which on the next one is quoted, too: it answers 6% of questions
Searched = Mapping[tuple[str, bytes], list[Answer]]  # of the library, by `Part.asked`
NOTHING: Searched = MappingProxyType({})
SHORT = 6  # words
COURTESIES = ("greeting", "thanks", "goodbye", "praise", "how_are_you", "help", "affirm", "deny", "repeat", "cancel")
SHORT_ONLY = ("affirm", "deny")
INSULT = "insult"
LEAST = 0.05  # probability of what may be meant by somebody who only says what it is about
OPTIONS = 3  # intents between which the customer may be asked to choose

_VAGUE = re.compile(
    r"^(?:\W*(?:hi|hello|hey|so|ok|okay|well|please|just|quick)\b)*\W*"
    r"(?:(?:(?:I(?:'ve| have)(?: got)?|there is|it's|this is)\s)?(?:(?:a|an|some|another)\s)?(?:\w+\s)?"
    r"(?:question|problem|issue|query|thing|trouble|something)s?\s(?:about|with|regarding|concerning)"
    r"|(?:it's|it is|this is)\s(?:about|regarding|concerning))\s(?:\w++\W*+){1,5}$",
    re.IGNORECASE,
)
_ORDINAL = {
    word: place
    for place, words in enumerate(("1 first one former", "2 second two latter", "3 third three"))
    for word in words.split()
}


class Answering(ABC):
    """One message and what is being answered to it."""

    def __init__(
        self,
        desk: Desk,
        classifier: Classifier,
        library: Library,
        voice: Voice,
        today: date,
        settings: Talking,
        state: State,
        reading: Reading,
        found: Searched,
    ) -> None:
        self.desk, self.classifier, self.library, self.voice, self.today, self.settings = (
            desk,
            classifier,
            library,
            voice,
            today,
            settings,
        )
        self.state, self.text = state, reading.text
        self.chosen: str | None = None  # of the intents that were asked about
        self.read = {part.text: part for part in (*reading.questions, *reading.parts)}  # as the classifier has it
        self.found = {part.text: found[part.asked] for part in reading.parts if part.asked in found}
        self.reading = replace(reading, parts=tuple(self.settled(self.weighed(part)) for part in reading.parts))
        self.paragraphs: list[str] = []
        self.events: list[Event] = []
        self.sources: list[Source] = []
        self.suggestions: list[str] = []
        self.summary: Summary | None = None

    def reply(self) -> Reply:
        text = "\n\n".join(self.paragraphs)
        self.state.said = text
        return Reply(
            text=text,
            events=self.events,
            sources=self.sources,
            suggestions=self.suggestions,
            summary=self.summary,
            state=self.state,
        )

    def say(self, text: str, event: Event | None = None) -> None:
        self.paragraphs.append(text)
        if event:
            self.events.append(event)

    @property
    def form(self) -> Form | None:
        return self.desk.forms[self.state.form] if self.state.form else None

    # ------------------------------------------------------------------ outside of a form

    def open(self, parts: Sequence[Part]) -> None:
        """Deal with everything that a message wants, or say that it was not understood."""
        people = next((part for part in parts if self.sure(part) and self.desk.intents[part.top].hands_over), None)
        if people is not None:
            self.hand_over(f"the customer wants it ({self.label(people.top)})")
            return
        if any(not self.desk.intents[part.top].says for part in parts):  # "Thanks! Can you help me? …"
            parts = [part for part in parts if part.top not in COURTESIES]
        ordered = sorted(parts, key=lambda part: self.desk.intents[part.top].form is not None)  # questions come at the end
        understood = [self.deal(part, len(ordered) == 1) for part in ordered]
        if any(understood) or self.aside(parts):
            self.state.misses = 0
        elif self.summary is None:
            self.fall_back()

    def aside(self, parts: Sequence[Part]) -> bool:
        """Answer questions of which it is not certain what they are about, as far as the articles can."""
        asked = {part.text: part for part in (*parts, *self.reading.questions) if asks(part.text)}
        answered = [self.answer(part) for part in asked.values()]
        whole = self.reading.whole
        return any(answered) or (whole is not None and asks(whole.text) and self.answer(whole))

    def weighed(self, part: Part) -> Part:
        """The intents' probabilities with what the classifier does not know, by Bayes' rule.

        With a number in the message that some forms ask for, an intent of such a form is the likelier; a question, or more than a
        few words, is hardly a yes or no.
        """
        kinds = {entity.type for entity in find(part.text, self.today, self.desk.patterns)} & set(CODES)
        asking = {name for name, form in self.desk.forms.items() if kinds & {slot.type for slot in form.slots.values()}}
        long = asks(part.text) or len(part.text.split()) > SHORT
        weights = [
            EVIDENCE if self.desk.intents[name].form in asking else 1 / EVIDENCE**2 if long and name in SHORT_ONLY else 1.0
            for name in part.intents
        ]
        return _times(part, np.array(weights), scaled=bool(kinds))

    def settled(self, part: Part) -> Part:
        """Where the classifier is in doubt, what the articles say of the message counts as well: a product of experts."""
        if part.probabilities.max() >= SETTLED or part.outside >= self.settings.outside:
            return part
        if self.state.form is not None and not asks(part.text):
            return part
        about: dict[str, float] = {}
        for answer in self.search(part):
            for intent in self.desk.about(answer.passage.article):
                about[intent] = max(about.get(intent, 0.0), answer.probability)
        none = 1 - max(about.values(), default=0.0)  # that no article speaks of it, as for small talk
        written = {intent for article in self.desk.articles.values() for intent in article.intents}
        weights = [DOUBT + (about.get(name, 0.0) if name in written else none) for name in part.intents]
        return _times(part, np.array(weights))

    def search(self, part: Part) -> list[Answer]:
        if part.text not in self.found:
            own = self.read.get(part.text)
            scores = scores_of([own]) if own else self.classifier([part.text])
            (self.found[part.text],) = self.library([part.text], scores, ANSWERS)
        return self.found[part.text]

    def sure(self, part: Part) -> bool:
        return part.outside < self.settings.outside and part.probability >= self.settings.certain

    def deal(self, part: Part, alone: bool) -> bool:
        """Act on one thing that is wanted; False if it is not understood."""
        if part.outside >= self.settings.outside:
            return False
        (first, most), *others = part.ranked
        if self.desk.intents[first].says:
            talk = sum(p for name, p in part.ranked if self.desk.intents[name].says)
            return talk * (1 - part.outside) >= self.settings.certain and self.act(first, part)
        close = [name for name, p in others[: OPTIONS - 1] if self.near(part, most, p) and not self.desk.intents[name].says]
        if self.sure(part) and not close:
            return self.act(first, part)
        harmless = [
            name for name in (first, *close) if self.looks_up(name) and (self.fits(name) or (name == first and part.request))
        ]
        if close and len(harmless) == 1:  # looking up does no harm, and what else is wanted will be said
            return self.act(harmless[0], part)
        articles = all(self.desk.intents[name].articles for name in (first, *close))
        if articles and (asks(part.text) or not close) and self.answer(part):
            return True
        together = sum(p for _, p in part.ranked[: 1 + len(close)]) * (1 - part.outside)
        if close and alone and together >= self.settings.certain:
            self.clarify([first, *close], self.text)
            return True
        return self.sure(part) and self.act(first, part)

    def near(self, part: Part, most: float, second: float) -> bool:
        """Whether the customer may as well want what comes second: a few words that only tell something may want much."""
        if _VAGUE.search(part.text):
            return second >= LEAST
        if part.request or len(part.text.split()) > SHORT:
            return most - second < self.settings.margin
        return second >= (self.settings.second if self.sure(part) else self.settings.second / 2)

    def looks_up(self, name: str) -> bool:
        """Whether the intent's form changes nothing."""
        form = self.desk.forms.get(self.desk.intents[name].form or "")
        return form is not None and form.confirm is None

    def fits(self, name: str) -> bool:
        """Whether the message holds a number or an address that the intent's form asks for."""
        form = self.desk.forms.get(self.desk.intents[name].form or "")
        found = forms.values(form, self.text, self.today, None, self.desk.patterns) if form else {}
        return any(entity.type not in ("choice", "text") for entity in found.values())

    def act(self, name: str, part: Part) -> bool:
        intent = self.desk.intents[name]
        if intent.hands_over:
            self.hand_over(f"the customer wants it ({self.label(name)})")
        elif intent.form:
            self.start(intent.form)
        elif intent.says:
            self.small_talk(name)
        else:
            return self.answer(part)
        return True

    def small_talk(self, name: str) -> None:
        if name == INSULT:
            self.state.insults += 1
            if self.state.insults >= self.settings.insults:
                self.hand_over("the customer is annoyed")
                return
        says = self.desk.intents[name].says
        again = self.state.said if name == "repeat" else ""
        self.say(again or says[(self.state.turns - 1) % len(says)], {"says": name})

    def answer(self, part: Part) -> bool:
        """Quote the passage that answers, and the next one if it is about as likely; False if none does."""
        found = [one for one in self.search(part) if self.chosen is None or self.chosen in self.desk.about(one.passage.article)]
        if not found or found[0].probability < self.library.threshold:
            return False
        self.quote(found[0], part)
        if len(found) > 1 and found[1].probability >= ALSO * found[0].probability:
            self.quote(found[1], part, f"{replies.ALSO}\n")
        return True

    def quote(self, answer: Answer, part: Part, lead: str = "") -> None:
        """Say a passage, unless it has been said already."""
        passage = answer.passage
        if all(passage.text != other.text for other in self.sources):
            self.sources.append(Source(**passage._asdict(), probability=answer.probability))
            text, problem = self.voice(part.text, answer)
            self.say(lead + text, {"answers": passage.article, "quoted": problem} if problem else {"answers": passage.article})

    def clarify(self, names: list[str], text: str) -> None:
        names = list(dict.fromkeys(names))
        labels = [self.label(name) for name in names]
        self.say(replies.put(replies.WHICH, lambda _: replies.listed(labels)), {"clarifies": names})
        self.state.options, self.state.unclear = names, text
        self.suggestions += labels

    def label(self, name: str) -> str:
        """What the customer is offered for an intent."""
        return self.desk.intents[name].description or name.replace("_", " ")

    def choose(self) -> bool:
        """Take up the answer to "Do you mean …?"; False if it is about something else."""
        options, unclear = self.state.options, self.state.unclear
        self.state.options, self.state.unclear = [], ""
        part, words = self.reading.parts[0], re.findall(r"\w+", self.text.lower())
        labels = [normalised(self.label(name)) for name in options]
        numbers = [_ORDINAL[word] for word in words if word in _ORDINAL]
        chosen = None
        if (said := normalised(self.text)) in labels:
            chosen = options[labels.index(said)]
        elif len(words) <= 3 and numbers and numbers[0] < len(options):
            chosen = options[numbers[0]]
        if chosen is None and len(words) <= 3 and forms.agreed(self.text, self.today):
            self.clarify(options, unclear)  # "yes", but to which of them?
            return True
        fitting = [name for name in options if self.fits(name)]
        if chosen is None and len(fitting) == 1 and not part.request:
            chosen, unclear = fitting[0], f"{unclear}\n{self.text}"
        if chosen is None:
            part = self.in_context(part, unclear)
            if len(self.reading.parts) > 1 or (part.top not in options and self.sure(part)):
                return False
            among = {name: dict(part.ranked).get(name, 0.0) for name in options}
            best = max(among, key=lambda name: among[name])
            if part.outside >= self.settings.outside or among[best] < 0.6 * sum(among.values()) or among[best] < 0.15:
                return False
            chosen, unclear = best, f"{unclear}\n{self.text}"
        self.text, self.chosen = unclear, chosen
        self.state.misses = 0
        meant = np.array([float(name == chosen) for name in part.intents])
        if not self.act(chosen, Part(unclear, part.intents, meant, 0.0, True)):
            self.fall_back()
        return True

    def in_context(self, part: Part, before: str) -> Part:
        """A reply as it is understood by itself, and behind what was said before."""
        both = self.classifier([f"{before} {part.text}"])
        outside = (part.outside + float(both.outside[0])) / 2
        return replace(part, probabilities=(part.probabilities + both.probabilities[0]) / 2, outside=outside)

    def fall_back(self) -> None:
        self.state.misses += 1
        stage = min(self.state.misses, self.settings.stages)
        if stage >= self.settings.stages:
            self.state.offered = True
            self.suggestions += [replies.YES, replies.NO]
        nothing = replies.NOTHING if not self.reading.parts else replies.REPHRASE
        self.say(replies.OFFER if self.state.offered else nothing, {"falls_back": stage})

    def hand_over(self, reason: str) -> None:
        self.summary = replies.summary_so_far(self.state, reason)
        self.say(replies.HANDED_OVER, {"hands_over": True})
        self.leave()
        self.state.queue, self.state.misses = [], 0

    # what forms add to this

    @abstractmethod
    def start(self, name: str) -> None:
        """Begin a form."""

    @abstractmethod
    def leave(self) -> None:
        """End the form that is being filled, if there is one."""


def _times(part: Part, weights: np.ndarray, scaled: bool = False) -> Part:
    """The part with its probabilities multiplied; `scaled`: what it is about none of gains or loses by it."""
    new = part.probabilities * weights
    inside = (1 - part.outside) * (new.sum() if scaled else 1.0)
    return replace(part, probabilities=new / new.sum(), outside=part.outside / (part.outside + inside))
