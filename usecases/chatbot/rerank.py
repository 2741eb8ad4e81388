"""From the evidence of several searches to the article that answers, and to the probability that one does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from usecases.chatbot.protocols import Scores

OF_ARTICLES = ("all passages", "best passage", "words of a passage", "words of the article", "intents")
OF_QUESTIONS = ("none", "strongest", "words of a passage", "nearest known", "near known", "outside")
OF_SHARES = ("share of the first", "lead")
SEEN = len(OF_QUESTIONS) + len(OF_SHARES) + 2 * len(OF_ARTICLES)  # the first article's evidence, and its lead in each
DOUBT = 0.02  # probability that a question is about an article of which the classifier says that it is not


@dataclass(frozen=True)
class Evidence:
    """What the searches say of n questions.

    Attributes:
        articles: [n, articles, len(OF_ARTICLES)].
        questions: [n, len(OF_QUESTIONS)].
        best: [n, articles] the passage of each article to quote.
    """

    articles: np.ndarray
    questions: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class Opinion:
    """What a classifier of intents says of n questions.

    Attributes:
        about: [n, articles] log-probability of the intents that an article speaks of.
        outside: [n] log-odds that the question is about none of the intents.
    """

    about: np.ndarray
    outside: np.ndarray

    @classmethod
    def of(cls, scores: Scores | None, speaks_of: np.ndarray, count: int) -> Opinion:
        """
        Args:
            scores: of `count` questions; None: no opinion.
            speaks_of: [articles, intents], 1 where an article does of an intent.
        """
        told = speaks_of.any(1)
        if scores is None or not told.any():
            return cls(np.zeros((count, len(speaks_of))), np.zeros(count))
        about = np.log(scores.probabilities @ speaks_of.T + DOUBT)
        about[:, ~told] = about[:, told].mean(1, keepdims=True)  # of an article that names no intent it says nothing
        return cls(about, logit(scores.outside.clip(1e-4, 1 - 1e-4)))


def evidence(
    logits: np.ndarray, near: np.ndarray, words: np.ndarray, whole: np.ndarray, owner: np.ndarray, opinion: Opinion
) -> Evidence:
    """
    Args:
        logits: [n, passages + 1] of `Interaction`.
        near: [n, 2] how much nearer the question is to known ones that something answers than to such that nothing does.
        words, whole: [n, passages] and [n, articles] BM25 scores.
        owner: [passages] the article of each, ascending.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(owner) > 0])
    passages = logits[:, :-1]
    likely = passages - np.logaddexp.reduce(passages, 1, keepdims=True)
    highest = np.maximum.reduceat(passages, starts, 1)
    articles = [
        np.logaddexp.reduceat(likely, starts, 1),
        highest - highest.max(1, keepdims=True),
        np.maximum.reduceat(words, starts, 1),
        whole,
        opinion.about,
    ]
    best = [start + passages[:, start:end].argmax(1) for start, end in zip(starts, [*starts[1:], len(owner)], strict=True)]
    questions = [logits[:, -1] - np.logaddexp.reduce(passages, 1), passages.max(1), words.max(1), *near.T, opinion.outside]
    return Evidence(np.stack(articles, -1), np.stack(questions, -1), np.stack(best, 1))


@dataclass(frozen=True)
class Reranker:
    """A conditional logit over articles (McFadden 1974), and a logistic regression for whether any of them answers.

    Attributes:
        weights: [len(OF_ARTICLES)] of the articles' evidence, each divided by its scale.
        scales: [len(OF_ARTICLES)].
        answerable: [len(OF_QUESTIONS) + len(OF_SHARES) + 1], the last is the intercept.
    """

    weights: np.ndarray
    scales: np.ndarray
    answerable: np.ndarray

    @classmethod
    def fit(cls, found: Evidence, right: np.ndarray, strength: float = 0.02) -> Reranker:
        """
        Args:
            right: [n, articles], true where an article answers; a row without one is an unanswerable question.
            strength: of the penalty on the squared weights.

        Raises:
            ValueError: all questions can be answered, or none.
        """
        known = right.any(1)
        if known.all() or not known.any():
            raise ValueError("a reranker needs questions that have an answer, and others that have none")
        scales = found.articles[known].std((0, 1)) + 1e-6
        inputs = torch.tensor(found.articles[known] / scales, dtype=torch.float64)
        answers, weights = torch.tensor(right[known]), torch.zeros(len(scales), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            scores = inputs @ weights
            value = (scores.logsumexp(1) - scores.masked_fill(~answers, -1e9).logsumexp(1)).mean()
            value = value + strength * (weights**2).sum()
            value.backward()
            return value

        optimizer.step(loss)
        partial = cls(weights.detach().numpy(), scales, np.zeros(SEEN + 1))
        inputs_of_questions = partial._of_questions(found)
        spread = inputs_of_questions.std(0) + 1e-6
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000).fit(inputs_of_questions / spread, known)
        return cls(partial.weights, scales, np.r_[model.coef_[0] / spread, model.intercept_])

    @classmethod
    def even(cls) -> Reranker:
        """One that has learnt nothing yet."""
        return cls(np.ones(len(OF_ARTICLES)), np.ones(len(OF_ARTICLES)), np.zeros(SEEN + 1))

    def shares(self, found: Evidence) -> np.ndarray:
        """[n, articles] probability of each, given that one answers."""
        scores = found.articles / self.scales @ self.weights
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(scores / scores.sum(1, keepdims=True))

    def __call__(self, found: Evidence) -> np.ndarray:
        """[n, articles] the first one's is the probability that an article answers at all, the others' are in proportion.

        That it is the right one is not multiplied in: where two are as likely, both are worth quoting, and of as many
        unanswerable questions refused more of the others are answered.
        """
        shares = self.shares(found)
        odds = self._of_questions(found) @ self.answerable[:-1] + self.answerable[-1]
        return np.asarray(shares / shares.max(1, keepdims=True) / (1 + np.exp(-odds))[:, None])

    def _of_questions(self, found: Evidence) -> np.ndarray:
        shares = self.shares(found)
        rows, best = np.arange(len(shares)), shares.argmax(1)
        first, others = found.articles[rows, best], found.articles.copy()
        others[rows, best] = -np.inf
        lead = first - others.max(1) if shares.shape[1] > 1 else np.zeros_like(first)
        shares = np.log(np.sort(shares, 1)[:, ::-1] + 1e-9)
        return np.c_[found.questions, shares[:, 0], shares[:, 0] - shares[:, min(1, shares.shape[1] - 1)], first, lead]
