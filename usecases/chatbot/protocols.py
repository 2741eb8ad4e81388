"""What the parts of the assistant give each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from usecases.chatbot.content import Passage


class Scores(NamedTuple):
    """What a classifier says of n messages.

    `probabilities` [n, intents] are calibrated, given that the message is about one of the intents; `outside` [n] is the
    probability that it is about none.
    """

    probabilities: np.ndarray
    outside: np.ndarray


class Classifier(Protocol):
    """Messages to intents."""

    intents: tuple[str, ...]

    def __call__(self, texts: Sequence[str]) -> Scores: ...


class Entity(NamedTuple):
    """Something in a message that a slot can hold, at `text[start:end]`."""

    type: str
    value: str | float | bool  # normalised: ISO date, amount in euros, lower-case e-mail, FW-482913, …
    start: int
    end: int


class Answer(NamedTuple):
    """A passage that may answer a question; `probability`: of the first, that one answers; of the others, in proportion."""

    passage: Passage
    probability: float


class Library(Protocol):
    """Questions to passages."""

    threshold: float
    """From this probability on an answer is given."""

    def __call__(self, questions: Sequence[str], scores: Scores, count: int = 3) -> list[list[Answer]]:
        """The best passages for each question, likeliest first. `scores`: what the classifier says of the questions."""
        ...


Voice = Callable[[str, Answer], tuple[str, str]]
"""What is said to a question that a passage answers, and why not in a model's words; "" if in these, or there is none."""


@dataclass(frozen=True)
class Outcome:
    """What an action gave: `done` with values for the form's sentence, or not."""

    done: bool
    values: dict[str, Any]
    problem: str = ""  # for the log, where slots' values are masked; "" if nothing was found


class Actions(Protocol):
    """What can be done outside of the conversation, by name. It never raises for what a customer said or a service did."""

    def __call__(self, name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        """`key`: the same each time that the same thing is asked for again, as by a client that had no answer; "": never."""
        ...
