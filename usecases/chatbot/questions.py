"""Questions written apart from the articles: the split into two halves, and what a retriever is worth on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shared.evaluation.intervals import Interval
from shared.evaluation.operating import proportion
from usecases.chatbot.content import Question


class Ranking(NamedTuple):
    """What a retriever says of n questions: the article it puts first, and how sure it is that this one answers (any scale)."""

    first: list[str]
    score: np.ndarray  # [n]


@dataclass(frozen=True)
class Quality:
    """What a retriever is worth at one threshold.

    Attributes:
        answered: share of the answerable questions whose first article is right and whose score reaches the threshold.
        refused: share of the unanswerable questions whose score does not.
        first: share of the answerable questions whose first article is right, whatever its score.
    """

    threshold: float
    answered: Interval
    refused: Interval
    first: Interval

    def __str__(self) -> str:
        return (
            f"right article first {self.first.value:.1%}, and shown {self.answered.value:.1%}; unanswerable ones refused "
            f"{self.refused.value:.1%}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {"threshold": round(self.threshold, 6)} | {
            name: getattr(self, name).as_dict() for name in ("answered", "refused", "first")
        }


def halves(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """(tuning, held out): every second one, in turn, within the answerable and within the unanswerable questions.

    Those that are marked for tuning come on top of their half.
    """
    drawn, marked = [q for q in questions if not q.tuning], [q for q in questions if q.tuning]
    kinds = [[q for q in drawn if q.articles], [q for q in drawn if not q.articles]]
    return [*(q for kind in kinds for q in kind[::2]), *marked], [q for kind in kinds for q in kind[1::2]]


def choose_threshold(questions: Sequence[Question], ranking: Ranking, refused: float) -> float:
    """The lowest threshold that refuses at least the share `refused` (above 0, up to 1) of the unanswerable questions.

    It lies in the middle between two questions' scores.

    Raises:
        ValueError: there is no unanswerable question, or the share is out of range.
    """
    score = np.asarray(ranking.score, dtype=np.float64)
    unknown = np.sort(score[[not question.articles for question in questions]])
    if not unknown.size or not 0 < refused <= 1:
        raise ValueError(
            f"a threshold needs unanswerable questions (there are {unknown.size}) and a share in 0..1, not {refused}"
        )
    last = unknown[int(np.ceil(refused * unknown.size - 1e-9)) - 1]
    above = score[score > last]
    return float((last + above.min()) / 2 if above.size else np.nextafter(last, np.inf))


def judge(questions: Sequence[Question], ranking: Ranking, threshold: float) -> Quality:
    """Shares with Wilson's intervals. An answerable question that is refused counts as wrong."""
    right, reached = _right(questions, ranking), np.asarray(ranking.score) >= threshold
    answerable = np.array([bool(q.articles) for q in questions])
    known, unknown = int(answerable.sum()), int((~answerable).sum())
    return Quality(
        threshold,
        proportion((right & reached).sum(), known),
        proportion((~reached & ~answerable).sum(), unknown),
        proportion(right.sum(), known),
    )


def _right(questions: Sequence[Question], ranking: Ranking) -> np.ndarray:
    return np.array([article in q.articles for q, article in zip(questions, ranking.first, strict=True)])
