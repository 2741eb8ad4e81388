from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from shared.evaluation.selective import Abstention, RiskCoverage, decision_confidence


def test_the_risk_coverage_curve_is_that_of_deciding_the_surest_first() -> None:
    curve = RiskCoverage.of(np.array([0.9, 0.5, 0.8, 0.6]), np.array([False, True, False, True]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert curve.excess == pytest.approx(0)  # both errors came last
    worst = RiskCoverage.of(-np.array([0.9, 0.5, 0.8, 0.6]), np.array([False, True, False, True]))
    assert worst.excess > 0.4


def test_equal_confidences_count_as_the_mean_over_their_orders() -> None:
    confidences, wrong = np.array([3, 2, 2, 2, 1]), np.array([0, 1, 0, 0, 1])
    curves = []
    for order in permutations([1, 2, 3]):
        errors = wrong[[0, *order, 4]]
        curves.append(np.cumsum(errors) / np.arange(1, 6))
    np.testing.assert_allclose(RiskCoverage.of(confidences, wrong).risk, np.mean(curves, axis=0))


def test_the_promised_risk_is_exceeded_no_more_often_than_said() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(150_000)
    wrong = rng.random(150_000) < 0.5 * (1 - sure) ** 2  # 17 % in all; 10 % if the least sure 42 % are referred
    broken, coverages = [], []
    for trial in range(150):
        part = slice(trial * 1000, trial * 1000 + 1000)
        rule = Abstention.fit(sure[part], wrong[part], 0.1, certainty=0.8)
        assert rule is not None
        decided = ~rule.refer(sure)
        broken.append(wrong[decided].mean() > 0.1)
        coverages.append(decided.mean())
        assert rule.risk <= rule.bound <= 0.1
        assert (~rule.refer(sure[part])).mean() == pytest.approx(rule.coverage)
    curve = RiskCoverage.of(sure, wrong)
    best = curve.coverage[curve.risk <= 0.1].max()
    assert np.mean(broken) < 0.2
    assert best - 0.15 < np.mean(coverages) < best


def test_the_bound_is_clopper_and_pearsons_and_the_rule_goes_through_json() -> None:
    confidences, wrong = np.arange(400) / 400, np.arange(400) < 4
    rule = Abstention.fit(confidences, wrong, 0.05)
    assert rule is not None
    assert rule.coverage == 1
    assert rule.bound == pytest.approx(stats.binomtest(4, 400, alternative="less").proportion_ci(1 - 0.05 / 10).high)
    again = Abstention(**json.loads(json.dumps(rule.as_dict())))
    assert not again.refer(np.array([-1e9, 0.0, 1.0])).any()
    assert again.refer(np.array([np.nan])).all()


def test_equal_confidences_are_decided_together_and_what_cannot_be_promised_is_not() -> None:
    confidences = np.repeat([0.9, 0.8, 0.5], 200)
    wrong = np.concatenate([np.zeros(200), np.arange(200) < 2, np.arange(200) < 100])
    rule = Abstention.fit(confidences, wrong, 0.05)
    assert rule is not None
    assert rule.threshold == 0.5
    assert rule.refer(np.array([0.9, 0.8, 0.5, 0.79])).tolist() == [False, False, True, False]
    assert Abstention.fit(confidences, wrong, 0.001) is None
    assert Abstention.fit(np.empty(0), np.empty(0), 0.1) is None
    assert Abstention.fit(confidences, np.ones(600), 0.5) is None


def test_confidence_is_the_chance_that_the_decision_is_right() -> None:
    assert decision_confidence(np.array([0.2, 0.4, 0.9]), 0.3).tolist() == [0.8, 0.4, 0.9]
