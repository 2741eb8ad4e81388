"""Questions are split into halves that share nothing, and judged as the protocol says."""

from __future__ import annotations

import numpy as np
import pytest

from shared.evaluation.operating import proportion
from usecases.chatbot.content import Question
from usecases.chatbot.questions import Ranking, choose_threshold, halves, judge

QUESTIONS = [Question("a", ("x",)), Question("b", ("x", "y")), Question("c", ("y",)), Question("d"), Question("e")]


def test_halves_take_turns_within_each_kind() -> None:
    tuning, held_out = halves([Question("m", tuning=True), Question("u0"), *QUESTIONS[:3], Question("u1"), Question("u2")])
    assert [q.text for q in tuning] == ["a", "c", "u0", "u2", "m"]
    assert [q.text for q in held_out] == ["b", "u1"]


def test_a_refused_answerable_question_counts_as_wrong() -> None:
    ranking = Ranking(["x", "y", "x", "x", "x"], np.array([0.9, 0.3, 0.8, 0.6, 0.1]))
    quality = judge(QUESTIONS, ranking, 0.5)
    assert (quality.answered, quality.first, quality.refused) == (proportion(1, 3), proportion(2, 3), proportion(1, 2))
    assert quality.as_dict()["refused"]["value"] == 0.5


def test_the_threshold_is_the_lowest_that_refuses_enough() -> None:
    questions = [Question("known", ("x",)), *(Question(str(i)) for i in range(4))]
    ranking = Ranking(["x"] * 5, np.array([0.45, 0.1, 0.2, 0.3, 0.4]))
    assert choose_threshold(questions, ranking, 0.75) == pytest.approx(0.35)
    assert choose_threshold(questions, ranking, 0.76) == pytest.approx(0.425)
    ties = ranking._replace(score=np.array([0.1, 0.3, 0.3, 0.3, 0.3]))
    assert judge(questions, ties, choose_threshold(questions, ties, 0.5)).refused.value == 1
    for refused in (0.0, 1.1):
        with pytest.raises(ValueError, match="a share in"):
            choose_threshold(questions, ranking, refused)
    with pytest.raises(ValueError, match="there are 0"):
        choose_threshold(questions[:1], Ranking(["x"], np.ones(1)), 0.9)
