from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from shared.evaluation.temperature import Temperature


def drawn(rows: int, true_temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 3
    chances = softmax(logits / true_temperature, axis=1)
    return logits, (rng.random((rows, 1)) > np.cumsum(chances, axis=1)).sum(1).clip(max=3)


def test_the_true_temperature_is_found_and_is_that_of_a_search_over_the_likelihood() -> None:
    for true in (0.5, 1.0, 4.0):
        logits, labels = drawn(3_000, true)
        targets = (len(labels) * np.eye(4)[labels] + 0.25) / (len(labels) + 1)
        found = Temperature.fit(logits, labels).temperature
        assert found == pytest.approx(true, rel=0.04)
        searched = minimize_scalar(
            lambda t, logits=logits, targets=targets: -np.mean(np.sum(targets * log_softmax(logits / t, axis=1), axis=1)),
            bounds=(0.1, 10),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert found == pytest.approx(searched.x, rel=1e-5)


def test_rows_that_are_all_right_do_not_end_in_certainty() -> None:
    logits = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 5
    fitted = Temperature.fit(logits, np.array([0, 1, 2, 0, 1, 2]))
    assert fitted(logits).max() == pytest.approx((6 + 1 / 3) / 7, abs=1e-6)
    np.testing.assert_allclose(fitted(logits).sum(1), 1)


def test_logits_that_mislead_become_an_even_guess_and_bad_ones_are_refused() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    np.testing.assert_allclose(Temperature.fit(logits, np.array([1, 2, 0, 1]))(logits), 1 / 3, atol=0.01)
    for bad, labels in ((np.empty((0, 3)), np.empty(0)), (logits * np.nan, np.zeros(4)), (logits, np.full(4, 3))):
        with pytest.raises(ValueError, match=r"finite logits|class numbers"):
            Temperature.fit(bad, labels)
