"""Messages in; what they are about, the reply and the conversation's state out."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from shared import artifact
from shared.config import Section
from shared.data import tables
from shared.errors import UserError
from shared.records import Fault, RecordError, read_options
from shared.usecase import Progress
from usecases.chatbot import entities, files
from usecases.chatbot.answering import Searched
from usecases.chatbot.answers import ChatRequest, ChatResponse, Found, Guess, Quoted
from usecases.chatbot.assistant import NAME, Assistant
from usecases.chatbot.chat import converse
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.memory import Memory
from usecases.chatbot.messages import Reading
from usecases.chatbot.protocols import Actions
from usecases.chatbot.state import State

BLOCK = 512  # messages
GUESSES = 3  # intents told of a message
DIGITS = 4


class FileOptions(Section):
    """What `usecases predict RUN FILE` takes as KEY=VALUE."""

    replies: bool = Field(True, description="false: only what messages are about, which is faster")
    act: bool = Field(False, description="true: forms call the company's services (actions.yaml), as in a real conversation")


class Chatbot:
    """The contract's predictor. It remembers nothing: a conversation's state goes out with a response and comes back in."""

    Request, Response = ChatRequest, ChatResponse

    def __init__(self, assistant: Assistant, actions: Actions | None = None) -> None:
        """`actions`: what forms do; None: the company's services, or the demonstration shop."""
        self.assistant, self._actions = assistant, actions

    @cached_property
    def _dialogue(self) -> Dialogue | None:
        """Made when it is asked for: services may need what judging a model does not, such as passwords."""
        return self.assistant.dialogue(self._actions) if self.assistant.desk else None

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

    def predict(self, requests: Sequence[ChatRequest]) -> list[ChatResponse]:
        """Each by itself, in order; with a `state` it is the next message of that conversation.

        Raises:
            RecordError: a state is none that this model gave.
        """
        answered = self.predict_groups([requests])[0]
        if isinstance(answered, Exception):
            raise answered
        return answered

    def predict_groups(self, groups: Sequence[Sequence[ChatRequest]]) -> list[list[ChatResponse] | Exception]:
        """The same for lists that know nothing of one another; the networks see the messages of all of them together.

        What goes wrong with a list is its answer: the others' turns may have acted on the company's services, and must not be
        repeated.
        """
        reader = self.assistant.reader if self._dialogue is None else self._dialogue.reader
        readings = reader.read([request.message for requests in groups for request in requests])
        found = self._dialogue.search(readings) if self._dialogue and len(readings) > 1 else None
        left = iter(readings)
        answers: list[list[ChatResponse] | Exception] = []
        for requests in groups:
            own = [next(left) for _ in requests]
            try:
                answers.append(self._answered(requests, own, found))
            except Exception as error:
                answers.append(error)
        return answers

    def _answered(self, requests: Sequence[ChatRequest], own: Sequence[Reading], found: Searched | None) -> list[ChatResponse]:
        dialogue = self._dialogue
        if dialogue is None:
            return [ChatResponse(reply="", **self._told(reading)) for reading in own]
        states = [self._state(dialogue, number, one) for number, one in enumerate(requests, 1)]  # before anything acts
        return [self._turn(dialogue, *turn, found) for turn in zip(states, own, strict=True)]

    def _state(self, dialogue: Dialogue, number: int, request: ChatRequest) -> State:
        try:
            state = State() if request.state is None else State.model_validate(request.state)
            if not dialogue.knows(state):
                raise ValueError("another desk's")
        except ValueError:  # pydantic's, too
            raise RecordError([Fault(number, "state", "not one of this model's responses; give it unchanged.")]) from None
        return state

    def understand(self, messages: Sequence[str]) -> list[ChatResponse]:
        """What messages are about, without a reply."""
        return [ChatResponse(reply="", **self._told(self.assistant.reader(message))) for message in messages]

    def _turn(self, dialogue: Dialogue, state: State, reading: Reading, found: Searched | None = None) -> ChatResponse:
        reply = dialogue.answer(state, reading, found)
        return ChatResponse(
            reply=reply.text,
            events=reply.events,
            sources=[Quoted(**source.model_dump()) for source in reply.sources],
            suggestions=reply.suggestions,
            summary=None if reply.summary is None else str(reply.summary),
            state=reply.state.model_dump(mode="json"),
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

    def converse(self, file: Path, conversation: str) -> None:
        """Talk in the terminal; turns are kept in `file`, under the conversation's name ("": a new one).

        Raises:
            UserError: there is nothing to say, or the file cannot be used.
        """
        if self.assistant.desk is None:
            raise UserError("This model was trained on labelled messages alone: it tells intents and has nothing to say.")
        memory = Memory(file, patterns=self.assistant.desk.patterns)
        name = conversation or uuid.uuid4().hex[:8]
        print(f"Conversation {name}, kept in {file}", file=sys.stderr)
        converse(self.assistant.dialogue(), input, print, memory, name)

    def process(self, source: Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Read and answer a file of messages; see `usecases.chatbot.files` for what it may be.

        Rows that name the same conversation are its turns, in the file's order; the others are each by themselves. Forms act on a
        copy of the demonstration shop, where the assistant has one, unless `act` is true.
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
        return summary


class _Conversations:
    """Answers messages in order, with a state for each conversation that the file names."""

    def __init__(self, chatbot: Chatbot, actions: Actions) -> None:
        self.chatbot, self.dialogue = chatbot, chatbot.assistant.dialogue(actions)
        self.states: dict[str, State] = {}

    def __call__(self, messages: list[str], names: list[str | None]) -> list[ChatResponse]:
        responses = []
        for message, name in zip(messages, names, strict=True):
            state = State() if name is None else self.states.get(name, State())
            response = self.chatbot._turn(self.dialogue, state, self.dialogue.reader(message))
            if name is not None:
                self.states[name] = State.model_validate(response.state)
            responses.append(response)
        return responses
