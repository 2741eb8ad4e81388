"""A trained assistant: what a message is about, what the articles say, and what the team has written, in one artefact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Self

import torch

from usecases.chatbot import replies
from usecases.chatbot.actions import HttpAction, HttpActions, LocalActions, PythonAction, entry_type, functions
from usecases.chatbot.classifier import IntentClassifier
from usecases.chatbot.config import ChatConfig
from usecases.chatbot.content import Coded, Desk, Intent, Patterns
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.messages import Reader
from usecases.chatbot.protocols import Actions, Answer, Outcome, Voice
from usecases.chatbot.retrieval import Retriever
from usecases.chatbot.shop import Shop
from usecases.chatbot.wording import Writer

NAME = "chatbot"
VERSION = 3  # of what the artefact holds
INTENTS, ARTICLES = "intents.", "articles."  # before the names of their tensors
SIGNING = 1000  # values of each tensor that the key for signing is made of


class Nothing:
    """The library of a desk without articles."""

    threshold = 1.0

    def __call__(self, questions: Sequence[str], scores: Any = None, count: int = 3) -> list[list[Answer]]:
        return [[] for _ in questions]


@dataclass
class Assistant:
    """
    Attributes:
        desk: what the team has written, without the utterances; None: only labelled messages were given.
        library: None where there are no articles.
        shop: content of the demonstration shop; None: there is none.
        services: actions of the company, as in actions.yaml; of Python functions their names alone.
        samples: messages to try it with.
    """

    config: ChatConfig
    classifier: IntentClassifier
    desk: Desk | None = None
    library: Retriever | None = None
    shop: dict[str, Any] | None = None
    services: dict[str, Any] = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reader(self) -> Reader:
        desk = self.desk or Desk(intents={name: Intent() for name in self.classifier.intents})
        return Reader(self.classifier, desk, self.config.talking)

    @cached_property
    def voice(self) -> Voice:
        """Passages as they stand, or in the words of a language model where these pass the check."""
        if self.config.wording.model is None:
            return replies.quoted
        writer = Writer.load(self.config.wording, self.classifier.encode)

        def say(question: str, answer: Answer) -> tuple[str, str]:
            worded = writer(question, [answer.passage])
            return replies.titled(answer.passage, worded.text), worded.problem

        return say

    @cached_property
    def key(self) -> bytes:
        """Signs states: the same in every process that loads the artefact, and known only to who has its weights.

        Floating tensors are hashed as bfloat16, in which some hosts keep what others keep as float32.
        """
        key = hashlib.sha256(b"states of conversations")
        for name, tensor in sorted(self.parts()[0].items()):
            some = tensor.detach().cpu().flatten()[:SIGNING]
            some = some.to(torch.bfloat16) if some.is_floating_point() else some
            key.update(name.encode() + some.contiguous().view(torch.uint8).numpy().tobytes())
        return key.digest()

    @property
    def patterns(self) -> Mapping[Coded, str]:
        """How numbers are written."""
        return (self.desk or Patterns()).patterns

    @property
    def today(self) -> date:
        """The day in the demonstration shop, else the real one."""
        told = (self.shop or {}).get("today")
        return date.fromisoformat(str(told)) if told else date.today()

    def actions(self) -> Actions:
        """The company's services and functions, and for what they do not do a fresh copy of the demonstration shop.

        Raises:
            UserError: a service or function cannot be used.
        """
        named = {name: entry_type(entry).model_validate(entry) for name, entry in self.services.items()}
        services = {name: one for name, one in named.items() if isinstance(one, HttpAction)}
        own = functions({name: one for name, one in named.items() if isinstance(one, PythonAction)})
        return HttpActions(services, LocalActions(self._shop() | own))

    def rehearsal(self) -> LocalActions:
        """The demonstration shop alone, or nothing that can be done: for scripts, which must not act on the company's orders."""
        return LocalActions(self._shop())

    def _shop(self) -> dict[str, Callable[..., Outcome]]:
        return Shop(self.shop).functions if self.shop else {}

    def dialogue(self, actions: Actions | None = None) -> Dialogue:
        """Raises:
        ValueError: the assistant has no content.
        """
        if self.desk is None:
            raise ValueError("without content there is nothing to say")
        actions = actions or self.actions()
        return Dialogue(
            self.desk, self.reader, self.library or Nothing(), actions, lambda: self.today, self.config.talking, self.voice
        )

    def parts(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What `from_parts` makes the same assistant of: tensors, and JSON."""
        tensors = {INTENTS + name: tensor for name, tensor in self.classifier.tensors().items()}
        if self.library:
            tensors |= {ARTICLES + name: tensor for name, tensor in self.library.tensors().items()}
        return tensors, {
            "version": VERSION,
            "config": self.config.model_dump(mode="json"),
            "classifier": self.classifier.settings(),
            "library": self.library.settings() if self.library else None,
            "desk": self.desk.model_dump(mode="json") if self.desk else None,
            "shop": self.shop,
            "services": self.services,
            "samples": list(self.samples),
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], saved: Mapping[str, Any]) -> Self:
        if saved["version"] != VERSION:
            raise ValueError(f"version {saved['version']}")
        classifier = IntentClassifier.from_parts(_below(tensors, INTENTS), saved["classifier"])
        return cls(
            ChatConfig.model_validate(saved["config"]),
            classifier,
            Desk.model_validate(saved["desk"]) if saved["desk"] else None,
            Retriever.from_parts(_below(tensors, ARTICLES), saved["library"], classifier.encoder) if saved["library"] else None,
            saved["shop"],
            saved["services"],
            tuple(saved["samples"]),
        )


def _below(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(name): tensor for key, tensor in tensors.items() if key.startswith(name)}
