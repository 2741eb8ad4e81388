from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import entropy
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from shared.evaluation.calibration import Calibration, Calibrator
from shared.evaluation.classification import Ranked
from shared.evaluation.costs import Costs
from shared.evaluation.drift import Reference, psi_by_period, reading
from shared.evaluation.intervals import bootstrap_groups, bootstrap_mean
from shared.report import plots


def rows(n: int = 400, seed: int = 0, decimals: int = 1, base_rate: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < base_rate).astype(int)
    return labels, np.round(rng.normal(size=n) + 1.5 * labels, decimals)


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("weighted", [None, "times", "fractions"])
def test_ranking_metrics_agree_with_scikit_learn(decimals: int, weighted: str | None) -> None:
    for seed in range(5):
        labels, scores = rows(seed=seed, decimals=decimals)
        rng = np.random.default_rng(seed)
        weights = {None: None, "times": rng.poisson(1, len(labels)), "fractions": rng.random(len(labels))}[weighted]
        ranked = Ranked(labels, scores)
        assert ranked.roc_auc(weights) == pytest.approx(metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
        theirs = metrics.average_precision_score(labels, scores, sample_weight=weights)
        assert ranked.average_precision(weights) == pytest.approx(theirs, abs=1e-12)
        fpr, tpr, _ = metrics.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
        for limit in (0.0, 0.013, 0.1, 1.0):
            assert ranked.recall_at_fpr(limit, weights) == pytest.approx(tpr[fpr <= limit].max(), abs=1e-12)


def test_ranking_metrics_of_one_class_are_undefined_and_bad_input_is_refused() -> None:
    labels, scores = rows()
    assert np.isnan(Ranked(np.zeros(400), scores).average_precision())
    assert np.isnan(Ranked(np.ones(400), scores).roc_auc())
    assert np.isnan(Ranked(labels, scores).recall_at_fpr(0.1, 1 - labels))
    for bad in ((labels[:-1], scores), (labels * 2, scores), (labels, np.where(scores > 1, np.nan, scores))):
        with pytest.raises(ValueError, match=r"labels|scores"):
            Ranked(*bad)


def test_the_precision_recall_curve_lies_on_scikit_learns_and_is_thin() -> None:
    labels, scores = rows(20000, decimals=2)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    ours = np.column_stack(Ranked(labels, scores).precision_recall())
    assert len(ours) <= 200
    theirs = {(round(r, 9), round(p, 9)) for r, p in zip(recall, precision, strict=True)}
    assert {(round(r, 9), round(p, 9)) for r, p in ours} <= theirs
    assert ours[-1, 0] == 1


def test_a_resample_of_groups_equals_its_rows_written_out() -> None:
    labels, scores = rows(300)
    groups = np.repeat(np.arange(30), 10).astype(str)
    drawn: list[float] = []

    def written_out(weights: np.ndarray) -> float:
        assert len({tuple(block) for block in weights.reshape(30, 10).T}) == 1  # a group comes as a whole
        assert weights.sum() == 300
        times = weights.astype(int)
        drawn.append(metrics.roc_auc_score(np.repeat(labels, times), np.repeat(scores, times)))
        return drawn[-1]

    result = bootstrap_groups(groups, {"ours": Ranked(labels, scores).roc_auc, "theirs": written_out}, resamples=50)
    np.testing.assert_allclose(result.draws["ours"], drawn[1:], atol=1e-12)
    assert result.values["ours"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    difference = result.difference("ours", "theirs")  # paired: the same method has no difference in any draw
    assert (difference.low, difference.high) == pytest.approx((0, 0), abs=1e-12)


def test_the_group_bootstrap_of_a_mean_is_the_plain_one_if_groups_are_rows_and_wider_if_they_agree() -> None:
    values = np.random.default_rng(1).exponential(size=200)
    plain = bootstrap_mean(values, resamples=4000)
    alone = bootstrap_groups(np.arange(200), {"mean": lambda w: w @ values / w.sum()}, resamples=4000).interval("mean")
    assert (alone.value, alone.low, alone.high) == pytest.approx((plain.value, plain.low, plain.high), abs=0.02)
    fours, groups = np.repeat(values[:50], 4), np.repeat(np.arange(50), 4)  # the same value four times tells nothing new
    wide = bootstrap_groups(groups, {"mean": lambda w: w @ fours / w.sum()}, resamples=4000).interval("mean")
    honest = bootstrap_mean(values[:50], resamples=4000)
    assert wide.high - wide.low == pytest.approx(honest.high - honest.low, rel=0.1)


def test_resamples_without_positives_are_left_out() -> None:
    labels, scores = np.array([1, 0, 0, 0]), np.array([3.0, 2, 1, 0])
    result = bootstrap_groups(np.arange(4), {"auc": Ranked(labels, scores).roc_auc}, resamples=200)
    assert np.isnan(result.draws["auc"]).any()
    assert result.interval("auc").as_dict() == {"value": 1, "low": 1, "high": 1}
    with pytest.raises(ValueError, match="no groups"):
        bootstrap_groups(np.empty(0), {})


class Logit(LogisticRegression):
    """A fitted classifier whose decision function is its only input."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0]


def test_the_calibrator_is_platts_as_scikit_learn_has_it() -> None:
    labels, logits = rows(3000, decimals=12, base_rate=0.02)
    ours = Calibrator.fit(logits, labels)
    fitted = Logit().fit(logits[:, None], labels)
    theirs = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid", ensemble=False).fit(logits[:, None], labels)
    np.testing.assert_allclose(ours(logits), theirs.predict_proba(logits[:, None])[:, 1], rtol=1e-3)
    assert ours(logits).mean() == pytest.approx(labels.mean(), rel=0.02)  # it fits the base rate, but for Platt's targets


def test_the_calibrator_finds_what_was_done_to_true_logits_and_never_turns_them_round() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 2, 200_000)
    labels = (rng.random(len(logits)) < expit(logits)).astype(int)
    found = Calibrator.fit(logits * 4 + 10, labels)
    assert (found.scale, found.offset) == pytest.approx((0.25, -2.5), abs=0.05)
    assert Calibrator(**json.loads(json.dumps(asdict(found)))) == found
    inverted = Calibrator.fit(-logits, labels)
    assert 0 < inverted.scale < 1e-3
    assert inverted(np.array([0.0])) == pytest.approx(labels.mean(), rel=0.01)
    with pytest.raises(ValueError, match="finite"):
        Calibrator.fit(np.array([np.inf, 0]), np.array([1, 0]))


def test_equal_count_bins_and_brier_agree_with_scikit_learn() -> None:
    labels, logits = rows(1000, decimals=12)
    ours = Calibration(expit(logits), labels)
    observed, predicted = calibration_curve(labels, expit(logits), n_bins=10, strategy="quantile")
    curve = ours.reliability()
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    assert curve.rows.tolist() == [100] * 10
    assert ours.ece() == pytest.approx(np.abs(observed - predicted).mean())
    assert ours.brier() == pytest.approx(metrics.brier_score_loss(labels, expit(logits)))


def test_weights_count_as_rows_in_calibration() -> None:
    probabilities, labels = np.array([0.1, 0.1, 0.6, 0.8]), np.array([0, 1, 0, 1])
    two = Calibration(probabilities, labels, bins=2)
    assert two.ece() == pytest.approx((0.4 * 2 + 0.2 * 2) / 4)  # |0.5 - 0.1| and |0.5 - 0.7|
    assert two.ece(np.array([3, 1, 0, 2])) == pytest.approx((0.15 * 4 + 0.2 * 2) / 6)  # |0.25 - 0.1| and |1 - 0.8|
    assert two.ece(np.array([0, 0, 1, 1])) == pytest.approx(0.2)  # the empty bin is left out
    assert two.brier(np.array([3, 1, 0, 4])) == pytest.approx((3 * 0.01 + 0.81 + 4 * 0.04) / 8)


def test_bins_of_equal_expected_positives_resolve_rare_ones() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.05, 5, 50_000)
    labels = (rng.random(50_000) < probabilities).astype(int)
    rare = Calibration(probabilities, labels, equal="positives").reliability()
    np.testing.assert_allclose(rare.predicted * rare.rows, probabilities.sum() / 10, rtol=0.02)
    usual = Calibration(probabilities, labels).reliability()
    assert (rare.predicted > 0.05).sum() > 5 > (usual.predicted > 0.05).sum()
    assert len(Calibration(np.zeros(5), np.zeros(5), equal="positives").reliability().rows) == 1
    with pytest.raises(ValueError, match="from 0 to 1"):
        Calibration(np.array([1.2]), np.array([1]))


COSTS = Costs(alert=5, miss_share=0.5, miss=2)


def test_a_bill_worked_by_hand() -> None:
    labels, amounts = np.array([1, 1, 0, 0, 1]), np.array([100, 40, 30, 20, 4])
    bill = COSTS.bill(np.array([True, False, True, False, False]), labels, amounts)
    assert bill.as_dict() == pytest.approx({
        "alerts": 2, "caught": 1, "missed": 2,
        "cost": 5 + (20 + 2) + 5 + 0 + (2 + 2),
        "nothing": 52 + 22 + 4, "everything": 25,
        "perfect": 5 + 5 + 4,  # the loss of the last is less than an alert
        "saved": 78 - 36, "saved_share": 42 / 64,
    })  # fmt: skip
    assert COSTS.per_row(labels == 0, labels, amounts).tolist() == [52, 22, 5, 5, 4]
    assert COSTS.bill(labels == 0, 0 * labels, amounts).saved_share == 0
    assert Costs(alert=1, miss=50).bill(labels == 0, labels).cost == 2 + 150  # no amounts: an image, say


def test_the_cost_curve_is_the_bill_of_every_threshold() -> None:
    labels, scores = rows(200)
    amounts = np.random.default_rng(3).gamma(2, 20, 200)
    curve = COSTS.curve(scores, labels, amounts)
    assert len(curve.thresholds) == len(np.unique(scores)) + 1
    bills = [COSTS.bill(scores >= threshold, labels, amounts) for threshold in curve.thresholds]
    np.testing.assert_allclose(curve.costs, [bill.cost for bill in bills])
    assert curve.alerts.tolist() == [bill.alerts for bill in bills]
    assert bills[0].cost == pytest.approx(bills[0].nothing)
    assert bills[-1].cost == pytest.approx(bills[-1].everything)
    assert COSTS.bill(scores >= curve.threshold, labels, amounts).cost == pytest.approx(min(bill.cost for bill in bills))
    assert min(bill.perfect for bill in bills) <= curve.costs.min()


def test_where_no_alert_pays_the_threshold_is_above_all_and_still_a_number() -> None:
    curve = Costs(alert=1000).curve(np.array([1.0, 0.5]), np.array([1, 0]), np.array([10.0, 10.0]))
    assert curve.alerts[curve.best] == 0
    assert 1 < curve.threshold < 1.001
    with pytest.raises(ValueError, match="no rows"):
        COSTS.curve(np.empty(0), np.empty(0), 0.0)


@pytest.mark.parametrize("n", [1, 2, 150, 30_000])
def test_a_thinned_curve_keeps_what_matters(n: int) -> None:
    labels, scores = rows(n, decimals=12)
    curve = COSTS.curve(scores, labels, np.full(n, 40.0))
    thin = curve.thinned(200)
    assert len(thin.costs) <= 200
    assert thin.threshold == curve.threshold
    assert (thin.alerts[0], thin.alerts[-1]) == (0, n)
    assert all(a < b for a, b in pairwise(thin.alerts))


def test_the_expected_cost_rule_needs_no_threshold_if_probabilities_are_true() -> None:
    rng = np.random.default_rng(0)
    probabilities, amounts = rng.beta(0.1, 5, 100_000), rng.gamma(2, 40, 100_000)
    labels = (rng.random(100_000) < probabilities).astype(int)
    assert COSTS.expected_cost_rule(np.array([0.1, 0.1]), np.array([95, 97])).tolist() == [False, True]  # 4.95 and 5.05
    rule = COSTS.bill(COSTS.expected_cost_rule(probabilities, amounts), labels, amounts)
    by_probability = COSTS.curve(probabilities, labels, amounts).costs.min()
    by_loss = COSTS.curve(probabilities * COSTS.loss(amounts), labels, amounts)
    assert rule.cost < by_probability
    assert rule.cost == pytest.approx(by_loss.costs.min(), rel=0.01)
    assert by_loss.threshold == pytest.approx(COSTS.alert, rel=0.25)


def test_psi_worked_by_hand_and_as_two_divergences() -> None:
    then, now = pd.Series(list("aaaaabbbbb")), pd.Series(list("aaaaaaaabb"))
    assert Reference.fit(then).psi(now) == pytest.approx(0.3 * np.log(4))  # (0.8 - 0.5) ln 1.6 + (0.2 - 0.5) ln 0.4
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=5000), rng.normal(0.4, 1.2, 3000)
    edges = [-np.inf, *np.quantile(before, np.arange(1, 10) / 10, method="inverted_cdf"), np.inf]
    p, q = (np.diff([np.sum(v <= edge) for edge in edges]) / len(v) for v in (before, after))
    reference = Reference.fit(pd.Series(before))
    assert reference.psi(pd.Series(after)) == pytest.approx(entropy(p, q) + entropy(q, p))
    assert reference.psi(pd.Series(before)) == 0


def test_psi_by_chance_is_as_large_as_yurdakul_says() -> None:
    rng = np.random.default_rng(0)
    by_chance = [Reference.fit(pd.Series(rng.normal(size=4000))).psi(pd.Series(rng.normal(size=1000))) for _ in range(200)]
    assert np.mean(by_chance) == pytest.approx(9 * (1 / 4000 + 1 / 1000), rel=0.15)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ([1.0] * 99 + [0.0], [1.0] * 70 + [0.0] * 30),  # a flag that was nearly always 1
        ([7.0] * 100, [6.0] * 50 + [7.0] * 50),  # a constant
        ([1.0, 2.0] * 50, [1.0, 2.0] * 20 + [np.nan] * 60),  # missing values
        (["a", "b"] * 50, ["a", "b"] * 20 + ["new"] * 60),  # a category never seen
        ([True, False] * 50, [True] * 90 + [False] * 10),
        ([None] * 100, ["a"] * 100),
    ],
)
def test_psi_sees(then: list, now: list) -> None:
    reference = Reference.fit(pd.Series(then))
    assert reading(reference.psi(pd.Series(now))) == "shifted"
    assert reading(reference.psi(pd.Series(then))) == "stable"
    again = Reference(**json.loads(json.dumps(asdict(reference))))
    assert again.psi(pd.Series(now)) == reference.psi(pd.Series(now))


def test_psi_by_period_and_its_readings() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"amount": rng.normal(size=4000), "kind": rng.choice(["a", "b"], 4000)}, index=range(7, 4007))
    weeks = pd.Series(np.repeat([2, 1, 3, 4], 1000))
    frame.loc[(weeks == 4).to_numpy(), "amount"] += 1
    references = {name: Reference.fit(frame[name][:3000]) for name in frame}
    index = psi_by_period(references, frame, weeks)
    assert index.index.tolist() == [1, 2, 3, 4]
    assert index.loc[4, "amount"] == pytest.approx(references["amount"].psi(frame["amount"][3000:]))
    assert (index > 0.25).to_numpy().nonzero() == (np.array([3]), np.array([0]))
    assert [reading(value) for value in (0.05, 0.1, 0.25, 0.3)] == ["stable", "moderate", "moderate", "shifted"]
    with pytest.raises(ValueError, match="no rows"):
        Reference.fit(pd.Series(dtype=float))


def test_charts_are_drawn_even_of_little(tmp_path: Path) -> None:
    labels, scores = rows(50)
    ranked, curve = Ranked(labels, scores), COSTS.curve(scores, labels, np.full(50, 40.0))
    bill = COSTS.bill(scores >= curve.threshold, labels, np.full(50, 40.0))
    none = Costs(alert=0).curve(scores, 0 * labels)  # nothing costs anything
    charts = [
        plots.precision_recall({"a": ranked.precision_recall(), "none": Ranked(0 * labels, scores).precision_recall()}, 0.1),
        plots.reliability({"a": Calibration(expit(scores), labels).reliability()}),
        plots.reliability({"rare": Calibration(expit(scores - 9), 0 * labels).reliability()}),
        plots.costs({"a": curve}, {"chosen": bill}, y="cost (EUR)"),
        plots.costs({"none": none}, {}),
        plots.drift(pd.DataFrame({"amount": [0.0, 0.2, 0.5]}, index=["w1", "w2", "w3"]), "week"),
        plots.drift(pd.DataFrame({"amount": np.linspace(0, 1, 40)}), "week"),
    ]
    for place, chart in enumerate(charts):
        chart.savefig(tmp_path / f"{place}.svg")
    labels_of = charts[3].axes[0].get_legend_handles_labels()[1]
    assert labels_of == ["a", "chosen", "no alerts"]
