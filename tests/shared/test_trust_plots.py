from __future__ import annotations

from io import StringIO

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from shared.evaluation.operating import decision_curve, operate, threshold_for_sensitivity
from shared.evaluation.selective import RiskCoverage
from shared.report import plots


def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.6).astype(int)
    return 1 / (1 + np.exp(-rng.normal(size=500) * 1.7 - 4 * labels + 1.6)), labels


def words(figure: Figure) -> str:
    out = StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue()


def test_operating_points_lie_on_the_curve_and_their_intervals_are_written_out() -> None:
    chances, labels = rows()
    points = {
        "screening": operate(chances, labels, threshold_for_sensitivity(chances, labels, 0.95)),
        "balanced": operate(chances, labels, threshold_for_sensitivity(chances, labels, 0.8)),
    }
    false, true, _ = roc_curve(labels, chances, drop_intermediate=False)
    figure = plots.sensitivity_specificity({"network": (false, true)}, points)
    on_curve = set(zip(false.round(9), true.round(9), strict=True))
    drawn = [box.lines[0].get_xydata()[0] for box in figure.axes[0].containers]
    assert len(drawn) == 2
    assert all((round(x, 9), round(y, 9)) in on_curve for x, y in drawn)
    assert f"screening: sensitivity {points['screening'].sensitivity.value:.1%}" in words(figure)


def test_risk_and_benefit_are_drawn_with_what_is_marked() -> None:
    chances, labels = rows()
    curve = RiskCoverage.of(np.abs(chances - 0.5), (chances >= 0.5) != labels)
    figure = plots.risk_coverage({"network": curve}, {"chosen": (0.8, 0.03)})
    assert figure.axes[0].lines[1].get_xydata().tolist() == [[0.8, 0.03]]
    assert "chosen: 80.0% decided" in words(figure)
    never_wrong = plots.risk_coverage({"sure": RiskCoverage.of(chances, labels * 0)})
    assert never_wrong.axes[0].get_ylim()[1] > 0
    benefit = decision_curve({"network": chances, "worse": chances[::-1]}, labels)
    figure = plots.decision_curve(benefit, top=0.5)
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < benefit.models["network"].max() < high
    assert all(name in words(figure) for name in ("treat everyone", "treat no one", "worse"))
