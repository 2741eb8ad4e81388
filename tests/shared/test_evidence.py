from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from shared.errors import UserError
from shared.evaluation.intervals import Interval, bootstrap_mean, t_mean
from shared.report import Report, Section, Table, plots, write_card


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    ours = bootstrap_mean(values, resamples=5000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    trials = [bootstrap_mean(rng.normal(size=80), resamples=400, seed=s) for s in range(300)]
    assert 0.9 < np.mean([trial.low <= 0 <= trial.high for trial in trials]) < 0.99


@pytest.mark.parametrize("size", [4, 7, 14])
def test_of_few_values_students_interval_covers_what_a_bootstrap_does_not(size: int) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=size) for _ in range(1000)]
    ours = t_mean(samples[0])
    theirs = stats.ttest_1samp(samples[0], 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert 0.93 < np.mean([trial.low <= 0 <= trial.high for trial in map(t_mean, samples)]) < 0.97
    assert np.mean([b.low <= 0 <= b.high for b in (bootstrap_mean(s, resamples=300) for s in samples)]) < 0.93


def test_students_interval_stays_within_what_is_possible() -> None:
    assert t_mean(np.array([0.1, 0.9]), low=0, high=1) == Interval(0.5, 0, 1)
    assert t_mean(np.array([0.4]), low=-1, high=1) == Interval(0.4, -1, 1)
    with pytest.raises(ValueError, match="no values"):
        t_mean(np.empty(0))


def test_no_values_are_refused_and_one_value_has_no_width() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean(np.empty(0))
    assert bootstrap_mean(np.array([2.0])) == Interval(2, 2, 2)


def test_the_report_is_one_file_and_escapes_what_it_shows(tmp_path: Path) -> None:
    chart = plots.bars({"<b>ours</b>": Interval(0.5, 0.4, 0.6), "theirs": Interval(0.3, 0.2, 0.4)}, "NDCG", ["<b>ours</b>"])
    curve = plots.lines({"a": ([1, 2], [0.1, 0.2]), "b": ([1, 2], [0.2, 0.3])}, "epoch", "NDCG")
    table = Table(["method", "value"], [["<script>alert(1)</script>", 0.5]], best=0)
    section = Section("How", "text & more", [(chart, "a chart"), (curve, "a curve")], [table])
    Report("T", "V", ["f"], [("k", "v")], [section]).write(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert html.count("<svg") == 2
    assert "<script" not in html
    assert "<b>" not in html
    assert "0.5000" in html
    assert not re.search(r"(src|href)=\"(?!#)|url\((?!#)|@import", html)


def test_the_card_has_every_metric(tmp_path: Path) -> None:
    number = {"value": 0.5, "low": 0.4, "high": 0.6}
    metrics = {"name": "net", "model": {"auc": number}, "baselines": {"lr": {"auc": number}}, "data": {"rows": 3},
               "protocol": "by time", "conclusion": "fine", "hardware": {"device": "cpu"}, "seed": 1}  # fmt: skip
    write_card(tmp_path / "card.md", title="T", summary="S", intended="I", limits=["L"], metrics=metrics)
    assert "| auc | 0.5000 | 0.4000 to 0.6000 | 0.5000 |" in (tmp_path / "card.md").read_text()


def test_a_page_is_not_written_over_data(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("user,item")
    with pytest.raises(UserError, match=r"ends in \.html"):
        Report("T", "V", [], []).write(tmp_path / "shop.csv")
    assert (tmp_path / "shop.csv").read_text() == "user,item"
