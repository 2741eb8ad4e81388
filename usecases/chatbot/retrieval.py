"""Retriever: questions to the passage of a help article that answers them, or to "I don't know"."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from shared.errors import UserError
from shared.hardware import Choice
from shared.models.prepacked import prepacked
from shared.models.transformer import Bert
from shared.pretrained import embed, tokenise
from shared.runs import Run
from shared.training import fit
from usecases.chatbot import questions as judging
from usecases.chatbot.config import Retrieval
from usecases.chatbot.content import ANY, Desk, Passage, Question
from usecases.chatbot.interaction import Asked, Interaction, Reader, build, groups, objective
from usecases.chatbot.lexical import BM25
from usecases.chatbot.protocols import Answer, Classifier, Scores
from usecases.chatbot.questions import Quality, Ranking
from usecases.chatbot.rerank import Evidence, Opinion, Reranker, evidence

SHARED = ("words.", "places.")  # of the encoder, which no training changes
LONGEST_PASSAGE = 256  # tokens
BATCH = 32  # questions at a time, which bounds the memory that comparing tokens takes
KEPT = 5  # every so many examples are kept to fit the reranker on, where no questions were written for that
FOLDS = 5
NEAREST = 3  # known questions of each kind that are looked at
ENOUGH = 20  # questions of a kind, to fit the reranker and the threshold on them


class Library:
    """Passages in the order of their articles, and the search by words over both; articles with what is asked of them.

    Args:
        asked: article -> questions that it answers.
        intents: article -> numbers of the classifier's intents that it speaks of; `count` is how many there are.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        asked: Mapping[str, Sequence[str]],
        intents: Mapping[str, Sequence[int]],
        count: int,
    ) -> None:
        self.asked = {name: list(questions) for name, questions in asked.items()}
        self.passages = sorted(passages, key=lambda passage: passage.article)  # stable: sections keep their order
        self.articles = sorted({passage.article for passage in passages})
        place = {name: i for i, name in enumerate(self.articles)}
        self.owner = np.array([place[passage.article] for passage in self.passages])
        self.intents = {name: list(numbers) for name, numbers in intents.items()}
        self.speaks_of = np.zeros((len(self.articles), count))  # 1 where an article does of an intent
        for name, numbers in self.intents.items():
            self.speaks_of[place[name], numbers] = 1
        self.texts = [". ".join(filter(None, (p.title, p.heading, p.text))) for p in self.passages]
        whole = [
            " ".join([*(self.texts[i] for i in np.flatnonzero(self.owner == place)), *self.asked.get(name, ())])
            for name, place in place.items()
        ]
        self.by_passage, self.by_article = BM25(self.texts), BM25(whole)

    def by_words(self, questions: Sequence[str]) -> Ranking:
        """A simple method: BM25 of the articles with what is asked of them."""
        return self._ranked(self.by_article(questions))

    def by_vectors(self, tokenizer: Tokenizer, model: Bert, questions: Sequence[str]) -> Ranking:
        """A simple method: the cosine of the pretrained encoder's vectors to the nearest passage or question of an article."""
        known = [*self.texts, *(text for texts in self.asked.values() for text in texts)]
        owner = [*self.owner, *(self.articles.index(name) for name, texts in self.asked.items() for _ in texts)]
        vectors, sought = (
            F.normalize(embed(model, tokenise(tokenizer, texts, LONGEST_PASSAGE)), dim=-1) for texts in (known, questions)
        )
        best = torch.full((len(questions), len(self.articles)), -1.0)
        best = best.scatter_reduce(1, torch.tensor(owner).expand(len(questions), -1), sought @ vectors.T, "amax")
        return self._ranked(best.numpy())

    def _ranked(self, scores: np.ndarray) -> Ranking:
        """`scores`: [n, articles]."""
        return Ranking([self.articles[place] for place in scores.argmax(1)], scores.max(1))

    def rows(self, questions: Sequence[Question]) -> np.ndarray:
        """[n, passages + 1] what may answer: the passages of the question's articles below its heading, or the last column."""
        of = self.right(questions)
        answering = of[:, self.owner]
        headings = np.array([passage.heading for passage in self.passages])
        for row, question in zip(answering, questions, strict=True):
            row &= (question.heading == ANY) | (headings == question.heading)
        return np.c_[answering, ~of.any(1)]

    def right(self, questions: Sequence[Question]) -> np.ndarray:
        """[n, articles] which of them answer."""
        right = [[name in question.articles for name in self.articles] for question in questions]
        return np.array(right, dtype=bool).reshape(len(questions), len(self.articles))


class Retriever:
    """Implements `protocols.Library`.

    All passages are scored by `Interaction` and by BM25; `Reranker` weighs both, and what the classifier of intents says, names
    the articles and says how probable it is that any of them answers.

    Attributes:
        threshold: from this probability on an answer is given.
        quality: in cross-validation, at the threshold; None for a retriever that was loaded.
    """

    def __init__(
        self,
        library: Library,
        reranker: Reranker,
        threshold: float,
        meaning: Meaning | None = None,
        quality: Quality | None = None,
    ) -> None:
        self.library, self.reranker, self.threshold, self.meaning, self.quality = library, reranker, threshold, meaning, quality

    @classmethod
    def fit(
        cls,
        desk: Desk,
        encoder: tuple[Tokenizer, Bert] | None,
        classifier: Classifier,
        questions: Sequence[Question],
        config: Retrieval,
        run: Run,
        chip: Choice,
        seed: int,
    ) -> Retriever:
        """Learn from what the articles' questions, headings and intents' utterances are answered by, and what nothing answers.

        The reranker and the threshold are fitted on `questions`, which the network does not learn from. With fewer than 20 of a
        kind, every fifth of the articles' own questions, of the utterances and of what nothing answers is kept for that; the
        classifier, which knows these, is then not listened to.

        Args:
            encoder: the sentence encoder's, in evaluation mode; None: the search is by words alone.
            questions: written apart from the articles.

        Raises:
            UserError: there is nothing to search, or no message that nothing answers.
        """
        outside = [Question(text) for text in (*desk.out_of_scope, *desk.unanswered)]
        if not desk.articles or not outside:
            raise UserError("Retrieval needs articles, and messages in out_of_scope.yaml that none of them answers.")
        numbers = {name: [i for i, one in enumerate(classifier.intents) if one in desk.about(name)] for name in desk.articles}
        own = [question for name, article in desk.articles.items() for question in article.asked(name)]
        library = Library(desk.passages(), _by_article(own), numbers, len(classifier.intents))
        utterances = [Question(text, one.articles) for one in desk.intents.values() if one.articles for text in one.examples]
        known = sum(bool(question.articles) for question in questions)
        apart = min(known, len(questions) - known) >= ENOUGH
        if apart:
            judged, taught = list(questions), [*utterances, *own, *outside]
        else:
            kinds = [[*own, *utterances], outside]
            if min(map(len, kinds)) < 2 * KEPT:
                raise UserError(
                    f"Search learns from {2 * KEPT} questions or utterances that articles answer, and as many that none does."
                )
            judged = [one for kind in kinds for one in kind[::KEPT]]
            taught = [*(one for kind in kinds for place, one in enumerate(kind) if place % KEPT), *questions]
        fitted = cls(library, Reranker.even(), 0.0)
        if encoder is not None:
            fitted.meaning = _train(library, Reader(*encoder, config.frozen_layers), taught, config, run, chip, seed)
        texts = [question.text for question in judged]
        found, right = fitted.evidence(texts, classifier(texts) if apart else None), library.right(judged)
        ranking = _cross_ranked(found, right, library, seed)
        fitted.reranker, fitted.threshold = Reranker.fit(found, right), judging.choose_threshold(judged, ranking, config.refused)
        fitted.quality = judging.judge(judged, ranking, fitted.threshold)
        return fitted

    def __call__(self, questions: Sequence[str], scores: Scores, count: int = 3) -> list[list[Answer]]:
        """The best passage of each of the `count` likeliest articles."""
        if not questions:
            return []
        found = self.evidence(questions, scores)
        answers = []
        for likely, best in zip(self.reranker(found), found.best, strict=True):
            order = np.argsort(-likely, kind="stable")[:count]
            answers.append([Answer(self.library.passages[best[i]], float(likely[i])) for i in order])
        return answers

    def rank(self, questions: Sequence[str], scores: Scores) -> Ranking:
        """For `questions.judge`."""
        answers = [answers[0] for answers in self(questions, scores, 1)]
        return Ranking([answer.passage.article for answer in answers], np.array([answer.probability for answer in answers]))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that was learnt, and the encoder's lower layers; its word vectors are the caller's to keep."""
        learnt = {name: torch.as_tensor(values) for name, values in vars(self.reranker).items()}
        return learnt | (self.meaning.tensors() if self.meaning else {})

    def settings(self) -> dict[str, Any]:
        """For JSON: the passages too, so that the content folder is not needed again."""
        return {
            "threshold": self.threshold,
            "frozen_layers": self.meaning.reader.frozen if self.meaning else None,
            "passages": [list(passage) for passage in self.library.passages],
            "asked": self.library.asked,
            "intents": self.library.intents,
            "count": self.library.speaks_of.shape[1],
        }

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any], encoder: tuple[Tokenizer, Bert] | None
    ) -> Retriever:
        """The retriever that gave `tensors()` and `settings()`.

        Args:
            encoder: one with the same word vectors, which is not changed, where it was fitted with one.
        """
        reranker = Reranker(*(tensors[name].numpy() for name in ("weights", "scales", "answerable")))
        passages = [Passage(*passage) for passage in settings["passages"]]
        library = Library(passages, settings["asked"], settings["intents"], settings["count"])
        frozen = settings["frozen_layers"]
        meaning = Meaning.from_tensors(tensors, *encoder, frozen) if encoder and frozen is not None else None
        return cls(library, reranker, settings["threshold"], meaning)

    def evidence(self, questions: Sequence[str], scores: Scores | None) -> Evidence:
        """What the searches say of questions, and the classifier's `scores`; None: it is not listened to."""
        library = self.library
        words, whole = library.by_passage(questions), library.by_article(questions)
        nothing = np.zeros(len(questions))
        logits, near = self.meaning(questions) if self.meaning else (np.c_[words, nothing], np.c_[nothing, nothing])
        return evidence(logits, near, words, whole, library.owner, Opinion.of(scores, library.speaks_of, len(questions)))


@dataclass(frozen=True)
class Meaning:
    """The search by meaning.

    Attributes:
        rarity: [vocabulary] see `interaction.Units`.
        taught: [questions, dim] unit vectors of those that it has learnt from.
        answered: bool [questions], whether something answers them.
    """

    reader: Reader
    network: Interaction
    rarity: torch.Tensor
    taught: torch.Tensor
    answered: torch.Tensor

    @torch.no_grad()
    def __call__(self, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Logits [n, passages + 1], the last column of none, and `near` of `rerank.evidence`; some questions at a time."""
        logits, near = [], []
        for start in range(0, len(questions), BATCH):
            some, vectors = self.network(self.reader.read(questions[start : start + BATCH], self.rarity))
            known, none = ((vectors @ kind.T).topk(min(NEAREST, len(kind)), 1).values for kind in self.kinds)
            logits.append(some.numpy())
            near.append(torch.stack([known[:, 0] - none[:, 0], known.mean(1) - none.mean(1)], 1).numpy())
        return np.concatenate(logits), np.concatenate(near)

    @cached_property
    def kinds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[questions, dim] of those that something answers, and of the others."""
        return self.taught[self.answered].float(), self.taught[~self.answered].float()

    def tensors(self) -> dict[str, torch.Tensor]:
        made = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        made["network.tokens"] = made["network.tokens"].to(torch.bfloat16)  # nothing is lost: see `Interaction`
        for name, tensor in self.reader.model.state_dict().items():
            layer = int(name.split(".")[1]) if name.startswith("blocks.") else 0
            if not name.startswith(SHARED) and layer < self.reader.frozen:
                made[f"lower.{name}"] = tensor
        return made | {"rarity": self.rarity, "taught": self.taught, "answered": self.answered}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], tokenizer: Tokenizer, model: Bert, frozen: int) -> Meaning:
        model = copy.deepcopy(model)
        lower = {name.removeprefix("lower."): tensor for name, tensor in tensors.items() if name.startswith("lower.")}
        model.load_state_dict(lower, strict=False)
        reader, dtype = Reader(tokenizer, model, frozen), next(model.parameters()).dtype
        state = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
        network = Interaction(
            reader.layers(),
            state["table"],
            state["projection"],
            state["tokens"],
            state["mask"],
            state["owner"],
            dtype == torch.bfloat16,
        )
        network.load_state_dict(state)
        prepacked(model)
        prepacked(network.layers.to(dtype))
        return cls(reader, network.eval(), tensors["rarity"], tensors["taught"], tensors["answered"])


def _train(
    library: Library, reader: Reader, taught: Sequence[Question], config: Retrieval, run: Run, chip: Choice, seed: int
) -> Meaning:
    """What has learnt from examples and headings."""
    units = reader.units(library.texts, range(len(library.texts)))
    vectors = F.normalize(embed(reader.model, tokenise(reader.tokenizer, library.texts, LONGEST_PASSAGE)), dim=-1)
    dtype = next(reader.model.parameters()).dtype
    network = build(reader, units, vectors, config.token_dim, dtype == torch.bfloat16)
    headings = [" ".join(filter(None, (p.title, p.heading))) for p in library.passages]
    texts = [*(example.text for example in taught), *headings]
    answers = np.r_[library.rows(taught), np.eye(len(headings), len(headings) + 1, dtype=bool)]
    asked = Asked([reader.read([text], units.rarity) for text in texts], torch.from_numpy(answers))
    fit(
        network,
        objective,
        asked,
        None,
        config.training,
        run,
        chip,
        name="articles",
        seed=seed,
        collate=Asked.together,
        groups=groups(network),
    )
    prepacked(network.to("cpu").eval().requires_grad_(False).layers.to(dtype))
    with torch.no_grad():
        learnt = torch.cat([network(one)[1] for one in asked.reads[: len(taught)]])
    return Meaning(reader, network, units.rarity, learnt.bfloat16(), ~asked.answers[: len(taught), -1])


def _by_article(questions: Sequence[Question]) -> dict[str, list[str]]:
    asked: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        asked[question.articles[0]].append(question.text)
    return asked


def _cross_ranked(found: Evidence, right: np.ndarray, library: Library, seed: int) -> Ranking:
    """What rerankers say of questions that they were not fitted on: five folds, drawn within those with and without an answer."""
    folds, known, generator = np.empty(len(right), int), right.any(1), np.random.default_rng(seed)
    for kind in (known, ~known):
        folds[kind] = generator.permutation(int(kind.sum())) % FOLDS
    first, score = np.empty(len(folds), int), np.empty(len(folds))
    for fold in np.unique(folds):
        inside, outside = (
            Evidence(*(values[rows] for values in vars(found).values())) for rows in (folds == fold, folds != fold)
        )
        likely = Reranker.fit(outside, right[folds != fold])(inside)
        first[folds == fold], score[folds == fold] = likely.argmax(1), likely.max(1)
    return Ranking([library.articles[i] for i in first], score)
