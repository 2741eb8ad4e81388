"""One turn outside of a form: answers, small talk, clarification, fallback, hand-over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from usecases.chatbot import forms, replies
from usecases.chatbot.config import Talking
from usecases.chatbot.content import Desk, Form
from usecases.chatbot.entities import CODES, find
from usecases.chatbot.messages import Part, Reading, asks
from usecases.chatbot.protocols import Library
from usecases.chatbot.state import Event, Reply, Source, State, Summary

EVIDENCE = 3.0  # how much more often a message with such a number is about a form that asks for it
INSULT = "insult"
OPTIONS = 3  # intents between which the customer may be asked to choose

_ORDINAL = {
    word: place
    for place, words in enumerate(("1 first one former", "2 second two latter", "3 third three"))
    for word in words.split()
}


class Answering:
    """One message and what is being answered to it."""

    def __init__(self, desk: Desk, library: Library, today: date, settings: Talking, state: State, reading: Reading) -> None:
        self.desk, self.library, self.today, self.settings = desk, library, today, settings
        self.state, self.text = state, reading.text
        self.reading = replace(reading, parts=tuple(self.weighed(part) for part in reading.parts))
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
            self.hand_over(f"the customer wants it ({self.desk.intents[people.top].description or people.top})")
            return
        ordered = sorted(parts, key=lambda part: self.desk.intents[part.top].form is not None)  # questions come at the end
        understood = [self.deal(part, len(ordered) == 1) for part in ordered]
        if any(understood):
            self.state.misses = 0
        elif self.summary is None:
            self.fall_back()

    def weighed(self, part: Part) -> Part:
        """With a number in it that some forms ask for, an intent of such a form is the likelier, by Bayes' rule."""
        kinds = {entity.type for entity in find(part.text, self.today, self.desk.patterns)} & set(CODES)
        if not kinds:
            return part
        asking = {name for name, form in self.desk.forms.items() if kinds & {slot.type for slot in form.slots.values()}}
        fits = np.array([self.desk.intents[name].form in asking for name in part.intents])
        weights = part.probabilities * np.where(fits, EVIDENCE, 1.0)
        inside = (1 - part.outside) * weights.sum()
        return replace(part, probabilities=weights / weights.sum(), outside=part.outside / (part.outside + inside))

    def sure(self, part: Part) -> bool:
        return part.outside < self.settings.outside and part.probability >= self.settings.certain

    def deal(self, part: Part, alone: bool) -> bool:
        """Act on one thing that is wanted; False if it is not understood."""
        if part.outside >= self.settings.outside:
            return False
        (first, most), *others = part.ranked
        close = [name for name, p in others[: OPTIONS - 1] if most - p < self.settings.margin]
        if self.sure(part) and not close:
            return self.act(first, part)
        if (
            all(self.desk.intents[name].articles for name in (first, *close))
            and (asks(part.text) or not close)
            and self.answer(part)
        ):
            return True
        together = sum(p for _, p in part.ranked[: 1 + len(close)]) * (1 - part.outside)
        if close and alone and together >= self.settings.certain:
            self.clarify([first, *close], part.text)
            return True
        return self.sure(part) and self.act(first, part)

    def fits(self, name: str) -> bool:
        """Whether the message holds a number or an address that the intent's form asks for."""
        form = self.desk.forms.get(self.desk.intents[name].form or "")
        found = forms.values(form, self.text, self.today, None, self.desk.patterns) if form else {}
        return any(entity.type not in ("choice", "text") for entity in found.values())

    def act(self, name: str, part: Part) -> bool:
        intent = self.desk.intents[name]
        if intent.hands_over:
            self.hand_over(f"the customer wants it ({intent.description or name})")
        elif intent.form:
            self.start(intent.form)
        elif intent.says:
            self.small_talk(name)
        else:
            return self.answer(part, name)
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

    def answer(self, part: Part, name: str | None = None) -> bool:
        """Quote the passage that answers; False if none does. `name`: the intent, where it was chosen by the customer."""
        probabilities = part.probabilities
        if name is not None and name != part.top:
            probabilities = np.array([float(intent == name) for intent in part.intents])
        (found,) = self.library([part.text], probabilities[None], 1)
        if not found or found[0].probability < self.library.threshold:
            return False
        best = found[0]
        source = Source(
            article=best.passage.article,
            title=best.passage.title,
            heading=best.passage.heading,
            text=best.passage.text,
            probability=best.probability,
        )
        if all(source.text != other.text for other in self.sources):
            self.sources.append(source)
            self.say(replies.quoted(best), {"answers": source.article})
        return True

    def clarify(self, names: list[str], text: str) -> None:
        names = list(dict.fromkeys(names))
        labels = [self.desk.intents[name].description or name.replace("_", " ") for name in names]
        self.say(replies.put(replies.WHICH, lambda _: replies.listed(labels)), {"clarifies": names})
        self.state.options, self.state.unclear = names, text
        self.suggestions += labels

    def choose(self) -> bool:
        """Take up the answer to "Do you mean …?"; False if it is about something else."""
        options, unclear = self.state.options, self.state.unclear
        self.state.options, self.state.unclear = [], ""
        part, words = self.reading.parts[0], re.findall(r"\w+", self.text.lower())
        labels = [self.desk.intents[name].description.lower() for name in options]
        numbers = [_ORDINAL[word] for word in words if word in _ORDINAL]
        chosen = None
        if self.text.lower().strip(" .!") in labels:
            chosen = options[labels.index(self.text.lower().strip(" .!"))]
        elif len(words) <= 5 and numbers and numbers[0] < len(options):
            chosen = options[numbers[0]]
        fitting = [name for name in options if self.fits(name)]
        if chosen is None and len(fitting) == 1 and not part.request:
            chosen, unclear = fitting[0], f"{unclear}\n{self.text}"
        if chosen is None:
            if len(self.reading.parts) > 1 or (part.top not in options and self.sure(part)):
                return False
            among = {name: dict(part.ranked).get(name, 0.0) for name in options}
            best = max(among, key=lambda name: among[name])
            if part.outside >= self.settings.outside or among[best] < 0.6 * sum(among.values()) or among[best] < 0.15:
                return False
            chosen, unclear = best, f"{unclear}\n{self.text}"
        self.text = unclear
        self.state.misses = 0
        if not self.act(chosen, Part(unclear, part.intents, part.probabilities, part.outside, True)):
            self.fall_back()
        return True

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

    def start(self, name: str) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError
