"""Messages in; what they are about, the reply and the conversation's state out."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from shared import artifact
from shared.config import Section
from shared.data import tables
from shared.errors import UserError
from shared.export import Compute, Exportable
from shared.records import Fault, RecordError, read_options
from shared.usecase import Progress
from usecases.chatbot import entities, export, files
from usecases.chatbot.answering import Searched
from usecases.chatbot.answers import ChatRequest, ChatResponse, Found, Guess
from usecases.chatbot.assistant import NAME, Assistant
from usecases.chatbot.chat import converse, kept_turn
from usecases.chatbot.content import Desk
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.memory import Memory, Overtaken, default_file
from usecases.chatbot.messages import Reading
from usecases.chatbot.protocols import Actions
from usecases.chatbot.state import Reply, State, signed, verified

BLOCK = 512  # messages
OPEN = 10_000  # conversations of a file that are remembered at a time, some kilobytes each
TALKS = 32  # messages at a time that wait for the company's services
GUESSES = 3  # intents told of a message
DIGITS = 4


class FileOptions(Section):
    """What `usecases predict RUN FILE` takes as KEY=VALUE."""

    replies: bool = Field(True, description="false: only what messages are about, which is faster")
    act: bool = Field(False, description="true: forms call the company's services (actions.yaml), as in a real conversation")


class Chatbot:
    """The contract's predictor. It remembers nothing: a conversation's state goes out with a response and comes back in.

    One that is `keeping` conversations goes on with those that requests name.
    """

    Request, Response = ChatRequest, ChatResponse

    def __init__(self, assistant: Assistant, actions: Actions | None = None, memory: Memory | None = None) -> None:
        """`actions`: what forms do; None: the company's services, or the demonstration shop."""
        self.assistant, self._actions, self._memory = assistant, actions, memory

    def keeping(self, memory: Memory) -> Chatbot:
        """The same assistant, which keeps the conversations that requests name.

        Raises:
            UserError: there is nothing to say.
        """
        self._must_talk()
        return Chatbot(self.assistant, self._actions, memory)

    def keeping_in(self, folder: Path) -> Chatbot:
        """The same, in a file of this folder; see `Predictor`. A model of labelled messages has nothing to keep."""
        if self.assistant.desk is None:
            return self
        return self.keeping(Memory(folder / f"{NAME}.sqlite", patterns=self.assistant.desk.patterns))

    def rehearsing(self) -> Chatbot:
        """The same assistant, whose forms act on a copy of the demonstration shop, where it has one, and on nothing else."""
        return Chatbot(self.assistant, self.assistant.rehearsal())

    @cached_property
    def _dialogue(self) -> Dialogue | None:
        """Made when it is asked for: services may need what judging a model does not, such as passwords."""
        return self.assistant.dialogue(self._actions) if self.assistant.desk else None

    @cached_property
    def _pool(self) -> ThreadPoolExecutor | None:
        """Answers in threads where forms call the company's services, which may take minutes."""
        return ThreadPoolExecutor(TALKS, "talk") if self.assistant.services and self._actions is None else None

    @property
    def about(self) -> dict[str, Any]:
        """The artefact's metadata, once loaded."""
        return self.assistant.about

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        tensors, preprocess = self.assistant.parts()
        artifact.save(
            folder, usecase=NAME, tensors=tensors, preprocess=preprocess, request=ChatRequest, response=ChatResponse, about=about
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and verify the artefact; see `shared.artifact.load` for what it refuses."""
        saved = artifact.load(folder, NAME)
        try:
            assistant = Assistant.from_parts(saved.tensors, saved.preprocess)
        except (KeyError, TypeError, ValueError, ValidationError, RuntimeError) as error:
            raise UserError(f"{folder} does not hold what its version promises ({type(error).__name__}). Train again.") from None
        assistant.about = saved.metadata
        return cls(assistant)

    def examples(self) -> list[ChatRequest]:
        """The first utterances of the first intents, and a message about nothing known."""
        return [ChatRequest(message=text) for text in (*self.assistant.samples, "zxcv qwerty 12 blorp")]

    def exportable(self, requests: Sequence[ChatRequest]) -> Exportable:
        """See `shared.export.Exportable`: the intent classifier's networks."""
        return export.exportable(self.assistant.classifier, [request.message for request in requests])

    def with_network(self, compute: Compute) -> Chatbot:
        classifier = replace(self.assistant.classifier, exported=export.looking(compute))
        return Chatbot(replace(self.assistant, classifier=classifier), self._actions, self._memory)

    def predict(self, requests: Sequence[ChatRequest]) -> list[ChatResponse]:
        """Each by itself, in order; with a `state` or a `conversation` it is the next message of that one.

        Raises:
            RecordError: a state is none that this model gave; conversations are not kept, several records name one (what is done
                for the first would be lost with what fails in the next), or somebody else is answering that one.
        """
        answered = self.predict_groups([requests])[0]
        if isinstance(answered, Exception):
            raise answered
        return answered.result() if isinstance(answered, Future) else answered

    def predict_groups(
        self, groups: Sequence[Sequence[ChatRequest]]
    ) -> list[list[ChatResponse] | Exception | Future[list[ChatResponse]]]:
        """The same for lists that know nothing of one another; the networks see the messages of all of them together.

        What goes wrong with a list is its answer: the others' turns may have acted on the company's services, and must not be
        repeated. With such services the answers are futures: nobody waits for what another one's form calls.
        """
        reader = self.assistant.reader if self._dialogue is None else self._dialogue.reader
        readings = reader.read([request.message for requests in groups for request in requests])
        found = self._dialogue.search(readings) if self._dialogue and len(readings) > 1 else {}
        left = iter(readings)
        answers: list[list[ChatResponse] | Exception | Future[list[ChatResponse]]] = []
        for requests in groups:
            own = [next(left) for _ in requests]
            if self._pool:
                answers.append(self._pool.submit(self._answered, requests, own, found))
                continue
            try:
                answers.append(self._answered(requests, own, found))
            except Exception as error:
                answers.append(error)
        return answers

    def _answered(self, requests: Sequence[ChatRequest], own: Sequence[Reading], found: Searched) -> list[ChatResponse]:
        states = [self._state(number, request) for number, request in enumerate(requests, 1)]  # before anything is done
        named = [number for number, request in enumerate(requests, 1) if request.conversation is not None]
        if len(named) > 1:
            raise _unfit(named[1], "conversation", "another record names one, too; send each by itself")
        dialogue = self._dialogue
        if dialogue is None:
            return [ChatResponse(reply="", **self._told(reading)) for reading in own]
        responses = []
        for number, (request, state, reading) in enumerate(zip(requests, states, own, strict=True), 1):
            if request.conversation is None or self._memory is None:
                reply = dialogue.answer(state, reading, found)
                responses.append(self._response(reading, reply, signed(reply.state, self.assistant.key)))
                continue
            try:
                reply = kept_turn(dialogue, self._memory, request.conversation, reading, found=found)
            except Overtaken:
                raise _unfit(
                    number, "conversation", "a message of it is being answered just now; wait, then send it again"
                ) from None
            responses.append(self._response(reading, reply, None))
        return responses

    def _state(self, number: int, request: ChatRequest) -> State:
        """Raises:
        RecordError: see `predict`.
        """
        if request.conversation is not None and self._memory is None:
            raise _unfit(number, "conversation", "none are kept here; give `state` of the response before instead")
        if request.state is None or self._dialogue is None:
            return State()
        try:
            state = verified(request.state, self.assistant.key)
            if not self._dialogue.knows(state):
                raise ValueError("another desk's")
        except ValueError:  # pydantic's, too
            raise _unfit(number, "state", "not one of this model's responses; give it unchanged.") from None
        return state

    def understand(self, messages: Sequence[str]) -> list[ChatResponse]:
        """What messages are about, without a reply."""
        return [ChatResponse(reply="", **self._told(reading)) for reading in self.assistant.reader.read(messages)]

    def _response(self, reading: Reading, reply: Reply, state: dict[str, Any] | None) -> ChatResponse:
        return ChatResponse(
            reply=reply.text,
            events=reply.events,
            sources=reply.sources,
            suggestions=reply.suggestions,
            summary=None if reply.summary is None else str(reply.summary),
            state=state,
            **self._told(reading),
        )

    def _told(self, reading: Reading) -> dict[str, Any]:
        """Of several things in a message the likeliest intent of each; of one its likeliest intents."""
        parts = reading.parts
        ranked = [part.ranked[0] for part in parts] if len(parts) > 1 else parts[0].ranked[:GUESSES] if parts else []
        outside = min((part.outside for part in parts), default=1.0)
        found = entities.find(reading.text, self.assistant.today, self.assistant.patterns)
        return {
            "intents": [Guess(intent=name, probability=round(p, DIGITS)) for name, p in ranked],
            "outside": round(outside, DIGITS),
            "understood": outside < self.assistant.config.talking.outside,
            "entities": [Found(type=e.type, value=e.value, text=reading.text[e.start : e.end]) for e in found],
        }

    def converse(self, file: Path | None, conversation: str) -> None:
        """Talk in the terminal; turns are kept in `file` (None: the user's), under the conversation's name ("": a new one).

        Raises:
            UserError: there is nothing to say, or the file cannot be used.
        """
        desk, file = self._must_talk(), file or default_file()
        memory = Memory(file, patterns=desk.patterns)
        name = conversation or f"talk-{uuid.uuid4().hex[:8]}"
        print(f"Conversation {name}, kept in {file}", file=sys.stderr)
        converse(self.assistant.dialogue(self._actions), input, print, memory, name)

    def _must_talk(self) -> Desk:
        if self.assistant.desk is None:
            raise UserError("This model was trained on labelled messages alone: it tells intents and has nothing to say.")
        return self.assistant.desk

    def process(self, source: Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Read and answer a file of messages; see `usecases.chatbot.files` for what it may be.

        Rows that name the same conversation are its turns, in the file's order; the others are each by themselves. Of more than
        `OPEN` conversations at a time, the one whose last turn is furthest back is forgotten, which is told. Forms act on a copy
        of the demonstration shop, where the assistant has one, unless `act` is true.
        """
        wanted = read_options(FileOptions, options)
        actions = self.assistant.actions() if wanted.act else self.assistant.rehearsal()
        talks = _Conversations(self, actions) if wanted.replies and self.assistant.desk else None
        summary: dict[str, Any] = {"messages": 0, "about nothing known": 0, "handed over": 0, "out": str(out)}
        with tables.writer(out) as append:
            for messages, names in files.blocks(source, BLOCK):
                responses = talks(messages, names) if talks else self.understand(messages)
                append(files.rows_of(messages, names, responses))
                summary["messages"] += len(messages)
                summary["about nothing known"] += sum(not response.understood for response in responses)
                summary["handed over"] += sum("hands_over" in event for one in responses for event in one.events)
                progress(len(messages))
            if not summary["messages"]:
                raise UserError(f"{source} has no messages.")
        if talks and talks.forgotten:
            summary["conversations forgotten"] = talks.forgotten
        return summary


def _unfit(number: int, field: str, why: str) -> RecordError:
    return RecordError([Fault(number, field, why)])


class _Conversations:
    """Answers messages in order, with a state for each of the `OPEN` conversations whose turns came last.

    A conversation that has ended begins anew.
    """

    def __init__(self, chatbot: Chatbot, actions: Actions) -> None:
        self.chatbot, self.dialogue = chatbot, chatbot.assistant.dialogue(actions)
        self.states: dict[str, State] = {}  # the one whose turn came last stands last
        self.forgotten = 0

    def __call__(self, messages: list[str], names: list[str | None]) -> list[ChatResponse]:
        responses = []
        for reading, name in zip(self.dialogue.reader.read(messages), names, strict=True):
            state = State() if name is None else self.states.pop(name, State())
            reply = self.dialogue.answer(state, reading)
            if name is not None and not reply.ended:
                self.states[name] = reply.state
                if len(self.states) > OPEN:
                    del self.states[next(iter(self.states))]
                    self.forgotten += 1
            responses.append(self.chatbot._response(reading, reply, None))
        return responses
