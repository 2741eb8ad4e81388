"""Questions written apart from the articles: reading, the split into two halves, and what a retriever is worth on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from shared.errors import Collector, DataError, nearest
from shared.evaluation.intervals import Interval
from shared.evaluation.operating import proportion
from usecases.chatbot.content import Desk


class Question(NamedTuple):
    """A customer's question and the articles each of which answers it; none: nothing in the library does."""

    text: str
    articles: tuple[str, ...] = ()


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


def read(path: Path, desk: Desk) -> list[Question]:
    """The questions of a YAML file: `answerable:` with {question, article or a list of them}, `unanswerable:` with texts.

    Raises:
        DataError: lists everything that is not so, and each article that the desk does not have.
    """
    found = Collector(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        found.add("error", f"cannot be read as YAML ({error})", "Save it as YAML in UTF-8.")
        raise DataError(found.findings) from None
    content = content if isinstance(content, dict) else {}
    for key in {"answerable", "unanswerable"} - {key for key, value in content.items() if isinstance(value, list) and value}:
        found.add(
            "error", f"has no list `{key}`", "Write `answerable:` and `unanswerable:`, each with a list of questions below."
        )
    questions = [*_answerable(content, desk, found), *_unanswerable(content, found)]
    for text in sorted({q.text for q in questions if [other.text for other in questions].count(q.text) > 1}):
        found.add("error", "a question stands here twice", "Keep one of them, so that no half tests what the other taught.", text)
    if any(finding.severity == "error" for finding in found.findings):
        raise DataError(found.findings)
    return questions


def halves(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """(tuning, held out): every second one, in turn, within the answerable and within the unanswerable questions."""
    kinds = [[q for q in questions if q.articles], [q for q in questions if not q.articles]]
    return [q for kind in kinds for q in kind[::2]], [q for kind in kinds for q in kind[1::2]]


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


def compare(
    rankings: Mapping[str, tuple[Ranking, Ranking]], tuning: Sequence[Question], held_out: Sequence[Question], refused: float
) -> dict[str, Quality]:
    """Each retriever on the held-out questions, at its own threshold, chosen by `choose_threshold` on the tuning questions.

    Args:
        rankings: name to (of the tuning questions, of the held-out ones); that of the tuning questions must not come from a
            model fitted on them.
    """
    return {name: judge(held_out, held, choose_threshold(tuning, tuned, refused)) for name, (tuned, held) in rankings.items()}


def _right(questions: Sequence[Question], ranking: Ranking) -> np.ndarray:
    return np.array([article in q.articles for q, article in zip(questions, ranking.first, strict=True)])


def _answerable(content: dict[str, Any], desk: Desk, found: Collector) -> list[Question]:
    questions = []
    for entry in content.get("answerable") or ():
        text = entry.get("question") if isinstance(entry, dict) else None
        articles = entry.get("article") if isinstance(entry, dict) else None
        articles = [articles] if isinstance(articles, str) else articles
        if not (isinstance(text, str) and text.strip() and isinstance(articles, list) and articles):
            found.add("error", "an answerable question is not {question: text, article: name}", "Write both.", str(entry))
            continue
        for article in articles:
            if article not in desk.articles:
                found.add("error", f"there is no article '{article}'", nearest(str(article), desk.articles), text)
        questions.append(Question(text, tuple(map(str, articles))))
    return questions


def _unanswerable(content: dict[str, Any], found: Collector) -> list[Question]:
    questions = []
    for entry in content.get("unanswerable") or ():
        if isinstance(entry, str) and entry.strip():
            questions.append(Question(entry))
        else:
            found.add("error", "an unanswerable question is not a text", "Write the question alone, in quotes.", str(entry))
    return questions
