from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from shared.evaluation.venn_abers import VennAbers, fit_classes, interval_classes


def by_two_fits(scores: np.ndarray, labels: np.ndarray, query: float) -> tuple[float, float]:
    """The definition: an isotonic fit with the query as a negative, and one with it as a positive."""
    ends = [
        IsotonicRegression().fit(np.append(scores, query), np.append(labels, label)).predict([query])[0] for label in (0.0, 1.0)
    ]
    return ends[0], ends[1]


@pytest.mark.parametrize(("rows", "decimals", "slope"), [(1, 1, 1), (7, 0, 1), (40, 1, 1), (60, 8, 1), (60, 1, -1), (50, 1, 30)])
def test_intervals_are_those_of_two_isotonic_fits_for_every_query(rows: int, decimals: int, slope: float) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scores = np.round(rng.normal(size=rows), decimals)
        labels = (rng.random(rows) < 1 / (1 + np.exp(-slope * scores))).astype(int)
        queries = np.concatenate([scores, rng.normal(size=15) * 2, [-9, 9]])
        predictor = VennAbers.from_dict(json.loads(json.dumps(VennAbers.fit(scores, labels).as_dict())))
        low, high = predictor.interval(queries)
        np.testing.assert_allclose(np.stack([low, high], 1), [by_two_fits(scores, labels, q) for q in queries], atol=1e-9)


def test_intervals_narrow_with_more_rows_and_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for rows in (50, 500, 50_000):
        truth = rng.random(rows)
        predictor = VennAbers.fit(truth**3, rng.random(rows) < truth)
        low, high = predictor.interval(np.linspace(0.1, 0.9, 50) ** 3)
        widths.append((high - low).mean())
    assert widths[0] > 2 * widths[1] > 8 * widths[2]
    assert np.abs((low + high) / 2 - np.linspace(0.1, 0.9, 50)).max() < 0.05
    assert len(predictor.low) + len(predictor.high) < 5_000  # steps are kept, not rows


def test_classes_are_predicted_one_against_the_rest() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 90)
    scores = rng.normal(size=(90, 3)) + np.eye(3)[labels]
    low, high = interval_classes(fit_classes(scores, labels), scores[:5])
    expected = [[by_two_fits(scores[:, c], labels == c, scores[row, c]) for c in range(3)] for row in range(5)]
    np.testing.assert_allclose(np.stack([low, high], axis=2), expected, atol=1e-9)


def test_nothing_to_calibrate_on_is_refused() -> None:
    for scores in (np.empty(0), np.array([np.nan])):
        with pytest.raises(ValueError, match="finite scores"):
            VennAbers.fit(scores, np.zeros(len(scores)))
