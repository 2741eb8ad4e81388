from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from usecases.recommendation import linear
from usecases.recommendation.linear import Linear, Settings
from usecases.recommendation.splits import Histories


def histories(users: int = 60, items: int = 12, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    return Histories.of([rng.permutation(items)[: rng.integers(2, 8)].tolist() for _ in range(users)])


def dense(known: Histories, items: int) -> np.ndarray:
    table = np.zeros((len(known), items))
    table[known.rows, known.items] = 1
    return table


def test_ease_is_ridge_regression_of_each_item_on_the_others() -> None:
    past, items, settings = histories(), 12, Settings(l2=3.0)
    fitted = linear.fit_ease(linear.count_pairs(past, items, 0.0, 10.0, 1.0), sp.csr_matrix((items, 0)), settings)
    table = dense(past, items)
    for item in range(items):
        others = np.delete(np.arange(items), item)
        expected = Ridge(alpha=3.0, fit_intercept=False).fit(table[:, others], table[:, item]).coef_
        assert fitted.matrix[others, item] == pytest.approx(expected, abs=1e-4)
    assert np.diag(fitted.matrix).tolist() == [0] * items
    np.testing.assert_allclose(fitted.score(past).numpy(), table @ fitted.matrix, atol=1e-5)


def test_item_knn_keeps_the_strongest_normalised_pairs() -> None:
    past, items = histories(), 12
    pairs = linear.count_pairs(past, items, 0.0, 10.0, 1.0)
    before = pairs.copy()
    fitted = linear.fit_item_knn(pairs, Settings(row_power=0.5, column_power=0.3, neighbours=3)).matrix.toarray()
    together = dense(past, items).T @ dense(past, items)
    np.fill_diagonal(together, 0)
    degree = together.sum(0)
    expected = together / degree[:, None] ** 0.5 / degree[None] ** 0.3
    for found, row in zip(fitted, expected, strict=True):
        np.testing.assert_allclose(np.sort(found)[-3:], np.sort(row)[-3:], rtol=1e-5)
        np.testing.assert_allclose(found[found > 0], row[found > 0], rtol=1e-5)
        assert np.count_nonzero(found) == 3
    assert np.array_equal(pairs, before)


def test_fitting_leaves_shared_counts_as_they_were() -> None:
    pairs = linear.count_pairs(histories(), 12, 1.0, 10.0, 1.0)
    before = sp.csr_matrix(pairs, copy=True)
    linear.fit_item_knn(pairs, Settings(near=1.0, row_power=0.5))
    linear.fit_ease(pairs, sp.csr_matrix((12, 0)), Settings(near=1.0))
    assert abs(sp.csr_matrix(pairs) - before).sum() == 0


@pytest.mark.parametrize("near", [0.4, 1.0])
def test_near_pairs_are_counted_as_by_hand(near: float) -> None:
    past, items, scale, backward = histories(20), 12, 3.0, 0.3
    expected = np.zeros((items, items))
    for user in range(len(past)):
        events = past.take(np.array([user])).items
        for a, first in enumerate(events):
            for b, second in enumerate(events):
                weight = 1.0 if a == b else np.exp(-abs(a - b) / scale) * (1.0 if b > a else backward)
                expected[first, second] += (1 - near) + near * weight
    counted = linear.count_pairs(past, items, near, scale, backward)
    counted = counted.toarray() if sp.issparse(counted) else counted
    np.testing.assert_allclose(counted, expected, rtol=1e-4, atol=1e-4)


def test_events_at_the_same_instant_share_their_rank() -> None:
    past = Histories.of([[0, 1, 2]])
    past = Histories(past.offsets, past.items, past.weights, np.array([5.0, 5.0, 9.0]))
    counted = sp.csr_matrix(linear.count_pairs(past, 3, 1.0, 2.0, 0.0)).toarray()
    assert counted[0, 1] == pytest.approx(1.0)
    assert counted[0, 2] == counted[1, 2] == pytest.approx(np.exp(-1.5 / 2))


@pytest.mark.parametrize("sparse", [False, True])
def test_recent_events_count_more_and_the_state_restores(sparse: bool) -> None:
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3)
    member = Linear(sp.csr_matrix(matrix) if sparse else matrix, Settings(decay=0.5))
    known = Histories.of([[0, 2], [1]])
    expected = np.stack([0.5 * matrix[0] + matrix[2], matrix[1]])
    np.testing.assert_allclose(member.score(known).numpy(), expected)
    tensors, settings = member.state()
    np.testing.assert_allclose(Linear.restore(tensors, settings).score(known).numpy(), expected)
