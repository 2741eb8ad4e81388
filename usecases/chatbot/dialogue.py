"""A conversation as a state machine: forms, digressions, clarification, fallback in stages, hand-over.

Every turn takes a state and gives the next one; nothing is kept elsewhere, so a state can be stored after each turn and taken up
by another process. Some intents steer by their names, where a desk has them: `affirm`, `deny`, `cancel`, `repeat`, `insult`,
`goodbye`.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from usecases.chatbot import forms, replies
from usecases.chatbot.answering import ANSWERS, INSULT, NOTHING, Answering, Searched
from usecases.chatbot.config import Talking
from usecases.chatbot.content import Desk, Form
from usecases.chatbot.corpus import normalised
from usecases.chatbot.masking import mask
from usecases.chatbot.messages import Part, Reader, Reading, asks, requests, scores_of
from usecases.chatbot.protocols import Actions, Entity, Library, Voice
from usecases.chatbot.state import Pending, Reply, State

CONTROLS = ("affirm", "deny", "cancel", "repeat")
KEPT = 30  # messages of the customer for the summary
SHOWN = 300  # characters of each
SHORT = 8  # words
FEW = 60  # characters
SURE_YES = 0.85
SWITCH = 0.7  # probability from which on a reply to a form's question is a request for something else

_STOP = re.compile(
    r"\b(?:don't bother|(?:I'd )?rather not|forget (?:about )?(?:it|this|that|everything)|never ?mind|nvm|leave it|drop it"
    r"|skip it|abort|quit|exit|start over|(?:stop|end|cancel) (?:it|this|that|here|please|the form|asking|now)|let's (?:not|stop)"
    r"|call it off|another time|no longer interested)\b|\bno,? thank(?:s| you)(?=\W*(?:$|I\b|we\b))"
    r"|^\W*(?:(?:please|no|oh|ok|okay|just)\W+)*(?:stop|cancel|end)(?:\s*[,.!;]|\W*(?:please\W*)?$)",
    re.IGNORECASE,
)
_SAME = re.compile(r"\b(?:same (?:order|e-?mail|address|one|number)|(?:that|this) order)\b", re.IGNORECASE)


class _Turn(Answering):
    """A turn that may begin, fill and end forms."""

    def __init__(self, talk: Dialogue, state: State, reading: Reading, found: Searched) -> None:
        super().__init__(
            talk.desk, talk.reader.classifier, talk.library, talk.voice, talk.today(), talk.settings, state, reading, found
        )
        self.actions = talk.actions

    def run(self) -> None:
        state = self.state
        state.conversation = state.conversation or uuid.uuid4().hex
        state.turns += 1
        if self.text:
            state.messages = [*state.messages, self.text[:SHOWN]][-KEPT:]
        if self.reading.cut:
            self.say(replies.CUT)
        offered, state.offered = state.offered, False
        wanted = [part for part in self.reading.parts if self.sure(part) and not self.desk.intents[part.top].says]
        if offered and not wanted and forms.agreed(self.text, self.today):
            self.hand_over("the customer accepted the offer of a colleague")
        elif normalised(self.text) in (replies.CALLED, normalised(replies.HUMAN)):  # as customers are told to write
            self.hand_over("the customer wants it")
        elif state.options and self.reading.parts and self.choose():
            pass
        elif self.reading.refused and not self.reading.parts:
            self.refuse()
        elif self.form is not None:
            self.in_form(self.form)
        else:
            self.open(self.reading.parts)

    def refuse(self) -> None:
        """The customer only says what is not wanted."""
        if self.form is not None and any(self.desk.intents[name].form == self.state.form for name in self.reading.refused):
            self.cancel()
        elif self.form is not None:
            self.in_form(self.form)
        else:
            self.state.misses = 0
            self.say(replies.NOT_THAT, {"says": "deny"})

    # ------------------------------------------------------------------ in a form

    def start(self, name: str) -> None:
        """Begin a form with what a message says; a form that is being filled gives way and hands on what both ask for."""
        form = self.desk.forms[name]
        slots = {
            slot: entity.value for slot, entity in forms.values(form, self.text, self.today, None, self.desk.patterns).items()
        }
        if any("asks" in event or "confirms" in event for event in self.events):
            self.state.queue.append(Pending(form=name, slots=slots))
            return
        before = self.state.slots if self.form is not None else self.state.known if _SAME.search(self.text) else {}
        handed = {
            slot: value
            for slot, value in before.items()
            if slot in form.slots and form.slots[slot].type not in ("text", "choice")
        }
        if self.form is not None and self.state.form == name:
            handed = dict(before)
        self.leave()
        self.state.form, self.state.slots = name, handed | slots
        self.advance(form)

    def advance(self, form: Form) -> None:
        """Ask for what is missing, have it confirmed, or act."""
        state, slot = self.state, forms.missing(form, self.state.slots)
        state.failed, state.lost = False, 0
        if slot is not None or form.confirm:
            self.prompt(form)
        else:
            self.do(form)

    def prompt(self, form: Form) -> None:
        """Put the form's open question."""
        state = self.state
        state.asked = forms.missing(form, state.slots)
        state.confirming = state.asked is None
        if state.asked is not None:
            slot = form.slots[state.asked]
            self.say(slot.ask, {"asks": state.asked})
            self.suggestions += [replies.spoken(choice, slot) for choice in slot.of]
            self.suggestions += [replies.YES, replies.NO] if slot.type == "yes_no" else []
        else:
            self.say(replies.filled(form.confirm or "", form, state.slots), {"confirms": state.form or ""})
            self.suggestions += [replies.YES, replies.NO]

    def do(self, form: Form) -> None:
        state = self.state
        outcome = self.actions(form.action, dict(state.slots), self.key(form.action))
        given = ", ".join(f"{name}={value}" for name, value in state.slots.items())
        state.tried = [*state.tried, f"{form.action}({given}): {'done' if outcome.done else 'failed'}"][-KEPT:]
        if outcome.problem:  # a service's own words are for who runs it: the state goes out to the client
            told = mask(outcome.problem, self.desk.patterns, {str(value): name for name, value in state.slots.items()})
            logging.getLogger(__name__).warning("The action %s: %r", form.action, told)
        if not outcome.done:
            self.say(
                replies.filled(form.failed, form, state.slots, outcome.values), {"fails": form.action, "with": dict(state.slots)}
            )
            self.say(replies.CORRECT_IT)
            self.suggestions.append(replies.HUMAN)
            state.asked, state.confirming, state.failed = None, False, True
            return
        self.say(replies.filled(form.done, form, state.slots, outcome.values), {"does": form.action, "with": dict(state.slots)})
        state.known = dict(state.slots)
        self.leave()
        self.go_on()

    def key(self, action: str) -> str:
        """Of an action in this turn: a turn that is sent again has the same one, and nothing else has."""
        state = self.state
        return str(
            uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([state.conversation, state.turns, action, state.slots], sort_keys=True))
        )

    def go_on(self) -> None:
        """Turn to the form that waits, if there is one."""
        state = self.state
        if state.queue:
            following = state.queue.pop(0)
            self.say(replies.NEXT)
            state.form, state.slots = following.form, following.slots
            self.advance(self.desk.forms[following.form])

    def leave(self) -> None:
        state = self.state
        state.form, state.slots, state.asked, state.confirming, state.failed, state.lost = None, {}, None, False, False, 0

    def cancel(self) -> None:
        self.say(replies.CANCELLED, {"cancels": self.state.form or ""})
        self.leave()
        self.state.misses = 0
        self.go_on()

    def in_form(self, form: Form) -> None:
        """A message while a form is open: a value, a correction, yes or no, a digression, a stop, or nothing of use."""
        state, parts = self.state, self.reading.parts
        found = self.named(form)
        people = next((part for part in parts if self.sure(part) and self.desk.intents[part.top].hands_over), None)
        short = len(self.text.split()) <= SHORT and (self.free(form) or not found)
        plain = people is not None and people.probability >= SWITCH and (requests(self.text) or short)
        if people is not None and (plain or not (self.free(form) or found)):
            self.open([people])
            return
        others = [part for part in parts if self.digresses(part, form, found)]
        if state.confirming and self.agreed() and not asks(self.text):
            others = []  # "yes, cancel it": an answer, whatever it sounds like
        replaced = forms.replaced(form, state.slots, self.text) if state.confirming and not found and not self.agreed() else {}
        new = any(state.slots.get(name) != entity.value for name, entity in found.items())
        if replaced or (state.confirming and new and forms.changes(self.text)):
            others = []  # "could we make it the afternoon instead?"
        doubted = forms.doubted(form, self.text)
        found = self.meant(form, found, others, doubted)
        given = replaced | {slot: entity.value for slot, entity in found.items() if state.slots.get(slot) != entity.value}
        switch = next((part for part in others if self.desk.intents[part.top].form), None)
        if self.stops(form, given):
            self.cancel()
        elif switch is not None:
            self.open(others)
        elif state.confirming:
            self.confirmed(form, given, others)
        elif given:
            state.slots |= given
            self.digress(others)
            if not others:
                self.answer_beside(form)
            self.advance(form)
        elif state.failed:
            self.after_failure(form, others)
        elif doubted in state.slots and not others and not asks(self.text):
            state.slots.pop(doubted or "")
            self.prompt(form)
        else:
            self.digress(others)
            understood = bool(others) or self.control("repeat", self.settings.certain) or self.aside(parts)
            state.lost = 0 if understood else state.lost + 1
            if not understood:
                lost = replies.UNKNOWN if asks(self.text) else replies.NO_VALUE
                self.say(lost if state.lost == 1 else f"{lost} {replies.HUMAN_TOO}")
            if self.summary is None:
                self.prompt(form)

    def named(self, form: Form) -> dict[str, Entity]:
        """What a message says for the form's slots, as far as words go."""
        state = self.state
        found = forms.values(form, self.text, self.today, state.asked, self.desk.patterns)
        if self.free(form):
            found = forms.own_words(found, self.text, state.asked or "")
            found = forms.meant(form, state.slots, self.text, self.today, self.desk.patterns) or found
        if not found and (state.failed or (state.confirming and self.agreed() is False)):
            found = forms.bare(form, self.text, self.today, self.desk.patterns)
        return found

    def meant(self, form: Form, found: dict[str, Entity], others: Sequence[Part], doubted: str | None) -> dict[str, Entity]:
        """Those values that are meant for the slots, where a message is also about `others`, or doubts a slot."""
        state = self.state
        if self.free(form) and (others or self.control("repeat", SWITCH) or self.stops(form, {})):
            certain = forms.values(form, self.text, self.today, None, self.desk.patterns)  # "Great. It's Lindenallee 8"
            found = {name: entity for name, entity in found.items() if name != state.asked or name in certain}
        if others and all(self.desk.intents[part.top].says for part in others):  # "how are you today?" names no day
            found = {name: entity for name, entity in found.items() if entity.type not in ("date", "choice")}
        if others and asks(self.text):  # a choice that a question names is none that is made
            found = {name: entity for name, entity in found.items() if entity.type != "choice" or name == state.asked}
        generic = all(entity.type == "choice" and name not in (state.asked, doubted) for name, entity in found.items())
        return {} if doubted in state.slots and generic else found  # "no, the other order" chooses no "other"

    def answer_beside(self, form: Form) -> None:
        """Answer what a message asks beside giving a value: "After lunch. Do I need to bring anything?"."""
        for question in self.reading.questions:
            if not forms.values(form, question.text, self.today, self.state.asked, self.desk.patterns):
                self.answer(question)

    def free(self, form: Form) -> bool:
        """Whether the customer's own words are asked for."""
        return self.state.asked is not None and form.slots[self.state.asked].type == "text"

    def control(self, name: str, least: float) -> bool:
        return any(part.top == name and part.probability >= least for part in self.reading.parts)

    def agreed(self) -> bool | None:
        """Yes or no to the confirmation."""
        if forms.keeps(self.text):
            return False
        if forms.commands(self.text, self.state.form or ""):
            return True
        return forms.agreed(self.text, self.today)

    def affirmed(self) -> bool:
        """Whether the classifier hears a yes in a few words that no rule knows; an action may hang on it."""
        known = [part for part in self.reading.parts if self.sure(part) and len(part.text) <= FEW]
        return any(
            part.top == "affirm" and part.probability >= SURE_YES and re.search(r"[^\W\d_]{2}", part.text) for part in known
        )

    def stops(self, form: Form, given: dict[str, Any]) -> bool:
        if given or (self.state.confirming and self.agreed()) or asks(self.text):
            return False
        return (len(self.text.split()) <= 12 and _STOP.search(self.text) is not None) or self.control(
            "cancel", SWITCH if self.free(form) else self.settings.certain
        )

    def digresses(self, part: Part, form: Form, found: dict[str, Any]) -> bool:
        """Whether a part of a message in a form is about something else than the form."""
        intent, question = self.desk.intents[part.top], asks(part.text)
        if not self.sure(part) or part.top in CONTROLS or (intent.form is not None and intent.form == self.state.form):
            return False
        if intent.hands_over:
            return False
        asked, sure = self.state.asked, part.probability >= SWITCH
        if self.free(form):
            return question or (sure and (part.request or bool(intent.says)) and not set(found) - {asked})
        if asked in found and form.slots[asked].type == "choice":
            return question and bool(intent.articles)
        if found:
            return question or (intent.form is not None and part.request and sure) or part.top == INSULT
        if intent.form is not None and asked is not None and form.slots[asked].type == "choice":
            return part.request and sure  # it may be why, or which, in other words
        return question or part.request or bool(intent.says) or len(part.text.split()) >= 4

    def digress(self, others: Sequence[Part]) -> None:
        for part in others:
            if not self.act(part.top, part):
                self.say(replies.UNKNOWN)
            self.state.misses = 0

    def confirmed(self, form: Form, given: dict[str, Any], others: Sequence[Part]) -> None:
        """The reply to a form's confirmation."""
        state = self.state
        said = self.agreed()
        if others and asks(self.text):
            said = None
        if said is None and not others and not forms.hesitates(self.text):
            said = self.affirmed() or (False if self.control("deny", self.settings.certain) else None)
        if said and not forms.corrects(self.text):
            self.do(form)
            return
        doubted = forms.doubted(form, self.text) if not given and not said else None
        if given:
            state.slots |= given
        elif said and not forms.reserved(self.text):
            self.do(form)
            return
        elif doubted:
            state.slots.pop(doubted, None)
        elif said is False:
            self.cancel()
            if others:
                self.open(others)
            return
        elif not others and not self.control("repeat", self.settings.certain) and not self.aside(self.reading.parts):
            self.say(replies.UNKNOWN if asks(self.text) else replies.NO_VALUE)
        self.digress(others)
        if self.summary is None:
            self.prompt(form)

    def after_failure(self, form: Form, others: Sequence[Part]) -> None:
        """A message after a form's action has found nothing, without a new value."""
        said = forms.agreed(self.text, self.today) if not asks(self.text) else None
        doubted = forms.doubted(form, self.text) if not others else None
        if doubted:
            self.state.slots.pop(doubted, None)
            self.advance(form)
        elif said is False and not others:
            self.cancel()
        else:
            self.open(others or self.reading.parts)


class Dialogue:
    """The assistant of a desk.

    Args:
        desk: what the support team has written.
        reader: understands messages.
        library: finds passages; the only source of answers.
        actions: what forms do.
        today: gives the day from which "tomorrow" is counted.
    """

    def __init__(
        self,
        desk: Desk,
        reader: Reader,
        library: Library,
        actions: Actions,
        today: Callable[[], date],
        settings: Talking,
        voice: Voice = replies.quoted,
    ) -> None:
        self.desk, self.reader, self.library, self.actions = desk, reader, library, actions
        self.today, self.settings, self.voice = today, settings, voice

    def knows(self, state: State) -> bool:
        """Whether everything that a state names is there: it may have been changed, or come from another desk."""
        forms, intents = self.desk.forms, self.desk.intents
        named = {state.form, *(one.form for one in state.queue)} - {None}
        slots = forms[state.form].slots if state.form in forms else {}
        return named <= set(forms) and set(state.options) <= set(intents) and {state.asked, *state.slots} - {None} <= set(slots)

    def turn(self, state: State, message: str) -> Reply:
        """Answer a message. The state given is not changed."""
        return self.answer(state, self.reader(message))

    def search(self, readings: Sequence[Reading]) -> Searched:
        """What the library says of everything that messages may be about, asked at once: for `answer`."""
        parts = {part.asked: part for one in readings for part in one.parts if part.outside < self.settings.outside}
        if not parts:
            return {}
        answers = self.library([text for text, _ in parts], scores_of(list(parts.values())), ANSWERS)
        return dict(zip(parts, answers, strict=True))

    def answer(self, state: State, reading: Reading, found: Searched = NOTHING) -> Reply:
        """As `turn`, of a message that has been read, and perhaps searched for."""
        turn = _Turn(self, state.model_copy(deep=True), reading, found)
        turn.run()
        return turn.reply()
