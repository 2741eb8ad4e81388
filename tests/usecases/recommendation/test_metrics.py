from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from shared.evaluation.intervals import Interval
from usecases.recommendation import metrics
from usecases.recommendation.evidence import conclusion
from usecases.recommendation.splits import Histories


def test_ndcg_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    users, items, k = 40, 30, 10
    scores = rng.random((users, items))
    wanted = rng.random((users, items)) < 0.2
    wanted[:, 0] = True
    targets = Histories.of([np.flatnonzero(row).tolist() for row in wanted])
    top = np.argsort(-scores, axis=1)[:, :k]
    hit = metrics.hits(top, targets, items)
    assert np.array_equal(hit, np.take_along_axis(wanted, top, 1))
    values = metrics.per_user(hit, targets.lengths, (5, k))
    for at in (5, k):
        assert values[f"ndcg@{at}"].mean() == pytest.approx(ndcg_score(wanted, scores, k=at))


def test_a_worked_example() -> None:
    hit = np.array([[False, True, False, True], [False, False, False, False]])
    values = metrics.per_user(hit, np.array([5, 1]), (2, 4))
    assert values["recall@4"].tolist() == [2 / 5, 0]
    assert values["precision@4"].tolist() == [2 / 4, 0]
    assert values["mrr@4"].tolist() == [1 / 2, 0]
    assert values["hit_rate@2"].tolist() == [1, 0]
    discounted = 1 / np.log2(3) + 1 / np.log2(5)
    ideal = sum(1 / np.log2(rank + 1) for rank in (1, 2, 3, 4))
    assert values["ndcg@4"][0] == pytest.approx(discounted / ideal)


def test_lists_as_a_whole() -> None:
    top = np.array([[0, 1], [0, 2]])
    popularity = np.array([0.5, 0.25, 0.25, 0.0])
    values = metrics.beyond_accuracy(top, np.ones_like(top, bool), popularity, 2)
    assert values["coverage@2"] == 3 / 4
    assert values["novelty@2"] == pytest.approx((1 + 2 + 1 + 2) / 4)
    assert values["popularity_percentile@2"] == pytest.approx((100 + 75 + 100 + 75) / 4)


def test_the_conclusion_says_what_was_found() -> None:
    better, unsure, worse = Interval(0.02, 0.01, 0.03), Interval(-0.01, -0.02, 0.01), Interval(-0.02, -0.03, -0.01)
    assert "is better than" in conclusion(better, "ease", "ndcg@10", ["near_ease", "vae"])
    assert "behind" in conclusion(unsure, "ease", "ndcg@10", ["vae"])
    assert "model.members=[ease]" in conclusion(worse, "ease", "ndcg@10", ["vae"])
    assert "the model is the simple method EASE near in time" in conclusion(better, "ease", "ndcg@10", ["near_ease"])
