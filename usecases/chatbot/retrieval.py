"""Retriever: questions to the passage of a help article that answers them, or to "I don't know"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from shared.errors import UserError
from shared.pretrained import SentenceEncoder
from usecases.chatbot import questions as judging
from usecases.chatbot.config import Retrieval
from usecases.chatbot.content import Desk, Passage
from usecases.chatbot.interaction import Interaction, Reader, build, pad, train
from usecases.chatbot.lexical import BM25
from usecases.chatbot.protocols import Answer
from usecases.chatbot.questions import Quality, Question, Ranking
from usecases.chatbot.rerank import Evidence, Reranker, evidence

ENOUGH = 20  # questions of a kind, to fit the reranker and the threshold on them


class Library:
    """Passages in the order of their articles, and the search by words over both."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = sorted(passages, key=lambda passage: passage.article)  # stable: sections keep their order
        self.articles = sorted({passage.article for passage in passages})
        place = {name: i for i, name in enumerate(self.articles)}
        self.owner = np.array([place[passage.article] for passage in self.passages])
        self.texts = [". ".join(filter(None, (p.title, p.heading, p.text))) for p in self.passages]
        whole = [" ".join(self.texts[i] for i in np.flatnonzero(self.owner == j)) for j in range(len(self.articles))]
        self.by_passage, self.by_article = BM25(self.texts), BM25(whole)

    def rows(self, questions: Sequence[Question]) -> np.ndarray:
        """[n, passages + 1] what may answer: the passages of the question's articles, or the last column."""
        of = np.array([[name in question.articles for name in self.articles] for question in questions]).reshape(
            len(questions), -1
        )
        return np.c_[of[:, self.owner], ~of.any(1)]

    def right(self, questions: Sequence[Question]) -> np.ndarray:
        """[n, articles]"""
        return np.array([[name in question.articles for name in self.articles] for question in questions])


class Retriever:
    """Implements `protocols.Library`.

    All passages are scored by `Interaction` and by BM25; `Reranker` weighs both, names the articles and says how probable it is
    that any of them answers. The network has learnt the intents' utterances itself: a classifier's `intents` would tell it
    nothing new, and they are not looked at.

    Attributes:
        threshold: from this probability on an answer is given.
        quality: in cross-validation, at the threshold; None for a retriever that was loaded.
    """

    def __init__(
        self,
        library: Library,
        reader: Reader,
        network: Interaction,
        rarity: torch.Tensor,
        reranker: Reranker,
        threshold: float,
        quality: Quality | None = None,
    ) -> None:
        self.library, self.network, self.rarity, self.reranker = library, network.eval(), rarity, reranker
        self.threshold, self.quality, self._frozen = threshold, quality, reader.frozen
        self._read = reader.attached(network.layers)

    @classmethod
    def fit(
        cls,
        desk: Desk,
        encoder: SentenceEncoder,
        questions: Sequence[Question] = (),
        config: Retrieval | None = None,
        *,
        bf16: bool = False,
        seed: int = 0,
    ) -> Retriever:
        """Learn from utterances (their intents' articles), headings, messages out of scope and, where there are any, questions.

        The reranker and the threshold are fitted on questions that the network did not learn from (cross-validation). With fewer
        than 20 of a kind, utterances and messages out of scope take their place.

        Raises:
            UserError: there is nothing to search, or no message that nothing answers.
        """
        config = config or Retrieval()
        if not desk.articles or not desk.out_of_scope:
            raise UserError("Retrieval needs articles, and messages in out_of_scope.yaml that none of them answers.")
        library, reader = Library(desk.passages()), Reader(encoder, config.frozen_layers)
        utterances = [
            Question(text, intent.articles) for intent in desk.intents.values() if intent.articles for text in intent.examples
        ]
        outside = [Question(text) for text in desk.out_of_scope]
        known = sum(bool(question.articles) for question in questions)
        if min(known, len(questions) - known) >= ENOUGH:
            judged, taught = list(questions), [*utterances, *outside]
        else:
            judged, taught = [*utterances, *outside], list(questions)
        fitting = _Fitting(library, reader, encoder, [*taught, *judged], config, bf16, seed)
        logits = fitting.cross_validate(len(taught))
        found, right = fitting.evidence(judged, logits), library.right(judged)
        ranking = _cross_ranked(found, right, library, fitting.folds(len(taught)))
        threshold = judging.choose_threshold(judged, ranking)
        network = fitting.train(np.arange(len(fitting.examples)))
        quality = judging.judge(judged, ranking, threshold)
        return cls(library, reader, network, fitting.units.rarity, Reranker.fit(found, right), threshold, quality)

    @torch.no_grad()
    def __call__(self, questions: Sequence[str], intents: np.ndarray | None = None, count: int = 3) -> list[list[Answer]]:
        """The best passage of each of the `count` likeliest articles."""
        if not questions:
            return []
        found = self._evidence(questions)
        shares, answerable = self.reranker(found)
        answers = []
        for share, best, probability in zip(shares, found.best, answerable, strict=True):
            order = np.argsort(-share, kind="stable")[:count]
            answers.append([Answer(self.library.passages[best[i]], float(share[i] * probability)) for i in order])
        return answers

    def rank(self, questions: Sequence[str]) -> Ranking:
        """For `questions.judge`."""
        answers = [answers[0] for answers in self(questions, count=1)]
        return Ranking([answer.passage.article for answer in answers], np.array([answer.probability for answer in answers]))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that was learnt; the encoder's lower layers are the caller's to keep."""
        learnt = {
            "weights": self.reranker.weights,
            "scales": self.reranker.scales,
            "answerable": self.reranker.answerable,
        }
        network = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return network | {"rarity": self.rarity} | {name: torch.as_tensor(values) for name, values in learnt.items()}

    def settings(self) -> dict[str, Any]:
        """For JSON: the passages too, so that the content folder is not needed again."""
        return {
            "threshold": self.threshold,
            "frozen_layers": self._frozen,
            "passages": [list(passage) for passage in self.library.passages],
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any], encoder: SentenceEncoder) -> Retriever:
        """The retriever that gave `tensors()` and `settings()`, over the encoder that it was fitted with."""
        state = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
        reader = Reader(encoder, settings["frozen_layers"])
        network = Interaction(
            reader.layers(), state["table"], state["projection"], state["tokens"], state["mask"], state["owner"]
        )
        network.load_state_dict(state)
        reranker = Reranker(*(tensors[name].numpy() for name in ("weights", "scales", "answerable")))
        library = Library([Passage(*passage) for passage in settings["passages"]])
        return cls(library, reader, network, tensors["rarity"], reranker, settings["threshold"])

    def _evidence(self, questions: Sequence[str]) -> Evidence:
        logits = self.network.score(self._read(questions, self.rarity)).numpy()
        library = self.library
        return evidence(logits, library.by_passage(questions), library.by_article(questions), library.owner)


class _Fitting:
    """The library and the examples, read once; networks are trained on any of them."""

    def __init__(
        self,
        library: Library,
        reader: Reader,
        encoder: SentenceEncoder,
        examples: Sequence[Question],
        config: Retrieval,
        bf16: bool,
        seed: int,
    ) -> None:
        headings = [" ".join(filter(None, (p.title, p.heading))) for p in library.passages]
        self.library, self.reader, self.config, self.bf16, self.seed = library, reader, config, bf16, seed
        self.examples = list(examples)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            self.units = reader.units(library.texts, range(len(library.texts)))
            self.vectors = encoder(library.texts, max_tokens=256)
            texts = [*(example.text for example in self.examples), *headings]
            self.reads = [read._replace(hidden=read.hidden.float()) for read in reader.read(texts, self.units.rarity)]
        own = np.eye(len(headings), len(headings) + 1, dtype=bool)
        self.answers = np.r_[library.rows(self.examples), own]

    def folds(self, first: int) -> np.ndarray:
        """[examples - first] the fold of each: drawn within those with and those without an answer."""
        generator, judged = np.random.default_rng(self.seed), self.examples[first:]
        folds, known = np.empty(len(judged), int), np.array([bool(question.articles) for question in judged])
        for kind in (known, ~known):
            folds[kind] = generator.permutation(int(kind.sum())) % self.config.folds
        return folds

    def train(self, rows: np.ndarray) -> Interaction:
        """A network that learns from these examples and from the headings."""
        rows = np.r_[rows, len(self.examples) : len(self.reads)]
        network = build(self.reader, self.units, self.vectors, self.config.token_dim)
        train(
            network,
            [self.reads[i] for i in rows],
            self.answers[rows],
            epochs=self.config.epochs,
            learning_rate=self.config.learning_rate,
            bf16=self.bf16,
            seed=self.seed,
        )
        return network

    def cross_validate(self, first: int) -> np.ndarray:
        """[examples - first, passages + 1] logits of networks that did not learn from the question; all learn from the others."""
        folds = self.folds(first)
        logits = np.empty((len(folds), self.answers.shape[1]), np.float32)
        for fold in range(self.config.folds):
            network = self.train(np.r_[:first, first + np.flatnonzero(folds != fold)])
            rows = np.flatnonzero(folds == fold)
            with torch.no_grad():
                for start in range(0, len(rows), 32):
                    part = rows[start : start + 32]
                    logits[part] = network(pad([self.reads[first + i] for i in part])).numpy()
        return logits

    def evidence(self, judged: Sequence[Question], logits: np.ndarray) -> Evidence:
        texts = [question.text for question in judged]
        return evidence(logits, self.library.by_passage(texts), self.library.by_article(texts), self.library.owner)


def _cross_ranked(found: Evidence, right: np.ndarray, library: Library, folds: np.ndarray) -> Ranking:
    """What rerankers say of questions that they were not fitted on."""
    first, score = np.empty(len(folds), int), np.empty(len(folds))
    for fold in np.unique(folds):
        inside, outside = (
            Evidence(*(values[rows] for values in vars(found).values())) for rows in (folds == fold, folds != fold)
        )
        shares, answerable = Reranker.fit(outside, right[folds != fold])(inside)
        first[folds == fold] = shares.argmax(1)
        score[folds == fold] = shares.max(1) * answerable
    return Ranking([library.articles[i] for i in first], score)
