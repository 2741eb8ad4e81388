from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from shared.evaluation.operating import (
    OperatingPoint,
    decision_curve,
    net_benefit,
    operate,
    proportion,
    threshold_for_sensitivity,
)


def rows(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    return np.round(rng.normal(size=n) + 1.3 * labels, 1), labels


@pytest.mark.parametrize("method", ["wilson", "clopper-pearson"])
def test_intervals_of_shares_agree_with_scipy(method: str) -> None:
    names = {"wilson": "wilson", "clopper-pearson": "exact"}
    for hits, trials in ((0, 9), (1, 9), (5, 9), (9, 9), (37, 390), (999, 1000)):
        theirs = stats.binomtest(hits, trials).proportion_ci(0.9, names[method])
        ours = proportion(hits, trials, method=method, level=0.9)  # type: ignore[arg-type]
        assert (ours.value, ours.low, ours.high) == pytest.approx((hits / trials, theirs.low, theirs.high), abs=1e-12)
    assert np.isnan(proportion(0, 0).low)


@pytest.mark.parametrize("wanted", [0.01, 0.5, 0.9, 0.95, 1.0])
def test_thresholds_are_the_best_of_all_that_there_are(wanted: float) -> None:
    for seed in range(5):
        scores, labels = rows(seed=seed)
        fpr, tpr, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
        chosen = operate(scores, labels, threshold_for_sensitivity(scores, labels, wanted))
        assert chosen.sensitivity.value >= wanted
        assert chosen.specificity.value == pytest.approx(1 - fpr[tpr >= wanted].min())
        assert chosen.threshold == thresholds[tpr >= wanted][0]


def test_counts_are_those_of_the_confusion_matrix_and_json_can_hold_them() -> None:
    scores, labels = rows()
    point = operate(scores, labels, 0.7)
    expected = metrics.confusion_matrix(labels, scores >= 0.7).ravel()
    counts = (point.true_negatives, point.false_positives, point.false_negatives, point.true_positives)
    assert counts == tuple(expected)
    assert json.loads(json.dumps(point.as_dict()))["sensitivity"]["value"] == pytest.approx(point.sensitivity.value, abs=1e-6)
    with pytest.raises(ValueError, match="there are 0"):
        threshold_for_sensitivity(scores, labels * 0, 0.9)


def test_several_images_of_a_patient_widen_the_intervals_to_those_of_the_patients() -> None:
    scores, labels = rows(400)
    alone = operate(scores, labels, 0.5)
    repeated = operate(np.tile(scores, 9), np.tile(labels, 9), 0.5, groups=np.tile(np.arange(400), 9))
    fooled = operate(np.tile(scores, 9), np.tile(labels, 9), 0.5)
    for name in ("sensitivity", "specificity"):
        right, ours, wrong = (getattr(point, name) for point in (alone, repeated, fooled))
        assert (ours.value, ours.low, ours.high) == pytest.approx((right.value, right.low, right.high), abs=0.03)
        assert wrong.high - wrong.low < 0.5 * (right.high - right.low)


def test_where_nothing_is_missed_the_number_of_patients_bounds_what_is_known() -> None:
    labels = np.repeat([1, 1, 1, 0, 0, 0], 20)
    point = operate(labels, labels, 0.5, groups=np.repeat(np.arange(6), 20))
    assert point.sensitivity == point.specificity == proportion(3, 3)
    assert point.sensitivity.low < 0.5
    missed = operate(-labels, labels, 0.5, groups=np.repeat(np.arange(6), 20))
    assert missed.sensitivity == proportion(0, 3)


def test_predictive_values_are_those_of_bayes_rule() -> None:
    scores, labels = rows()
    point = operate(scores, labels, 0.7)
    positive, negative = point.predictive_values(labels.mean())  # at the sample's own prevalence, those of the sample
    assert positive.value == pytest.approx(metrics.precision_score(labels, scores >= 0.7))
    assert negative.value == pytest.approx(metrics.precision_score(1 - labels, scores < 0.7))
    assert positive.low < positive.value < positive.high
    perfect, _ = proportion(10, 10), None
    screening = OperatingPoint(0.5, proportion(90, 100), proportion(91, 100), 0, 0, 0, 0)
    assert screening.predictive_values(0.01)[0].value == pytest.approx(0.0917, abs=1e-4)  # the textbook's mammogram: 9 %
    assert np.isnan(OperatingPoint(9.0, proportion(0, 10), perfect, 0, 0, 0, 0).predictive_values(0.1)[0].value)


def test_net_benefit_is_what_counting_by_hand_gives() -> None:
    rng = np.random.default_rng(0)
    probabilities, weights = np.round(rng.random(200), 2), rng.integers(0, 3, 200)
    labels = (rng.random(200) < probabilities).astype(int)
    curve = decision_curve({"a": probabilities, "b": 1 - probabilities}, labels)
    weighted = net_benefit(probabilities, labels, curve.thresholds, weights)
    again_p, again_l = np.repeat(probabilities, weights), np.repeat(labels, weights)
    for place, threshold in enumerate(curve.thresholds):
        for p, y, ours in ((probabilities, labels, curve.models["a"]), (again_p, again_l, weighted)):
            treated = p >= threshold
            by_hand = (treated & (y == 1)).mean() - (treated & (y == 0)).mean() * threshold / (1 - threshold)
            assert ours[place] == pytest.approx(by_hand, abs=1e-12)
        assert curve.everyone[place] == pytest.approx(labels.mean() - (1 - labels.mean()) * threshold / (1 - threshold))
    assert (curve.models["a"] > curve.models["b"] - 1e-9).mean() > 0.9
