from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from shared.evaluation.temperature import Temperature


def drawn(rows: int, true_temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 3
    chances = softmax(logits / true_temperature, axis=1)
    return logits, (rng.random((rows, 1)) > np.cumsum(chances, axis=1)).sum(1).clip(max=3)


def test_the_true_temperature_is_found_and_is_that_of_a_search_by_torch() -> None:
    for true in (0.5, 1.0, 4.0):
        logits, labels = drawn(3_000, true)
        found = Temperature.fit(logits, labels).temperature
        assert found == pytest.approx(true, rel=0.04)
        targets = torch.from_numpy((len(labels) * np.eye(4)[labels] + 0.25) / (len(labels) + 1))
        inverse = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([inverse], max_iter=40, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

        def loss(logits: np.ndarray = logits, targets: torch.Tensor = targets, inverse: torch.Tensor = inverse) -> torch.Tensor:
            value = torch.nn.functional.cross_entropy(inverse * torch.from_numpy(logits), targets)
            inverse.grad = torch.autograd.grad(value, inverse)[0]
            return value

        search.step(loss)
        assert found == pytest.approx(1 / inverse.item(), rel=1e-5)


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
