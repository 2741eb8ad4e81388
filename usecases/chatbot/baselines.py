"""The simple methods beside which the assistant is judged: logistic regressions on words, and on an encoder left as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared import hardware, pretrained
from shared.evaluation.temperature import Temperature
from shared.pretrained import SentenceEncoder
from usecases.chatbot.config import Understanding
from usecases.chatbot.corpus import Examples
from usecases.chatbot.linear import Linear, Tfidf
from usecases.chatbot.protocols import Scores

Featurise = Callable[[Sequence[str]], Any]
WORDS, FROZEN = "TF-IDF + logistic regression", "frozen encoder + logistic regression"


@dataclass(frozen=True)
class Simple:
    """Logistic regression; the less probable its likeliest intent, the likelier the message is about none.

    Attributes:
        limit: from which `outside` on a message is taken for one about none.
    """

    intents: tuple[str, ...]
    featurise: Featurise
    linear: Linear
    temperature: Temperature
    limit: float

    def __call__(self, texts: Sequence[str]) -> Scores:
        probabilities = self.temperature(self.linear(self.featurise(texts)))
        return Scores(probabilities, 1 - probabilities.max(1))


def encoder(config: Understanding) -> Featurise | None:
    """The encoder as it came; None where the networks are trained from nothing."""
    if config.network != "encoder":
        return None
    folder = pretrained.locate(pretrained.SENTENCE_ENCODER, config.weights)
    encode = SentenceEncoder(folder, "bf16" if hardware.native_bf16() else "fp32")
    return lambda texts: encode(texts, max_tokens=config.max_tokens).numpy()


def fit(
    intents: tuple[str, ...], training: Examples, validation: Examples, encode: Featurise | None, outsiders: Sequence[str]
) -> dict[str, Simple]:
    """Both methods, learnt from training and validation; temperature and limit from what the training alone says of validation.

    Args:
        encode: messages to vectors [n, dim] of the encoder as it came; None: there is none.
        outsiders: further messages about no intent.
    """
    both = Examples([*training.texts, *validation.texts], [*training.labels, *validation.labels])
    made = {WORDS: _fit(intents, training, validation, both, outsiders, lambda part: Tfidf.fit(part.texts))}
    if encode is not None:
        made[FROZEN] = _fit(intents, training, validation, both, outsiders, lambda part: encode)
    return made


def _fit(
    intents: tuple[str, ...],
    training: Examples,
    validation: Examples,
    both: Examples,
    outsiders: Sequence[str],
    learn: Callable[[Examples], Featurise],
) -> Simple:
    known, judged = _known(training), _known(validation)
    featurise, places = learn(known), {name: place for place, name in enumerate(intents)}
    linear = Linear.fit(featurise(known.texts), np.array([places[label] for label in known.labels]))
    temperature = Temperature.fit(linear(featurise(judged.texts)), np.array([places[label] for label in judged.labels]))
    first = Simple(intents, featurise, linear, temperature, 0.5)
    others = [*(text for text, label in zip(validation.texts, validation.labels, strict=True) if not label), *outsiders]
    limit = _limit(first(judged.texts).outside, first(others).outside) if others else 0.5
    everything = _known(both)
    featurise = learn(everything)
    linear = Linear.fit(featurise(everything.texts), np.array([places[label] for label in everything.labels]))
    return Simple(intents, featurise, linear, temperature, limit)


def _known(part: Examples) -> Examples:
    kept = [(text, label) for text, label in zip(part.texts, part.labels, strict=True) if label]
    return Examples([text for text, _ in kept], [label for _, label in kept])


def _limit(inside: np.ndarray, outside: np.ndarray) -> float:
    """Where the mean of the shares that are taken rightly, inside and outside, is largest."""
    options = np.unique(np.concatenate([inside, outside]))
    right = [(inside < option).mean() + (outside >= option).mean() for option in options]
    return float(options[int(np.argmax(right))])
