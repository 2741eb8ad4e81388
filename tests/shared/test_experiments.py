from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import binomtest

from shared.config import RunConfig, Training
from shared.errors import UserError
from shared.evaluation.classification import Ranked
from shared.experiments import comparing, power_law, tuning
from shared.experiments.comparing import Compared
from shared.usecase import JudgedRows

SHARES = np.array([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0])


@pytest.mark.parametrize(("a", "b", "c"), [(0.9, 0.2, 0.5), (0.7, 0.05, 0.25), (0.95, 0.01, 1.4)])
def test_the_fit_finds_the_parameters_that_made_a_curve(a: float, b: float, c: float) -> None:
    found = power_law.fit(SHARES, a - b * SHARES**-c)
    assert found.c == pytest.approx(c, rel=0.01)
    assert found.a == pytest.approx(a, abs=0.01)
    assert found.b == pytest.approx(b, rel=0.05)
    assert found(2.0) == pytest.approx(a - b * 2**-c, abs=1e-4)


def test_the_fit_is_as_close_as_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = 0.8 - 0.1 * SHARES**-0.5 + rng.normal(0, 0.01, 5)

        def law(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
            return np.asarray(a - b * n**-c)

        theirs, _ = curve_fit(law, SHARES, values, p0=[0.8, 0.1, 0.5], bounds=([-9, -9, 0.02], [9, 9, 3]), maxfev=20_000)
        ours = power_law.fit(SHARES, values)
        assert ((values - ours(SHARES)) ** 2).sum() <= 1.001 * ((values - law(SHARES, *theirs)) ** 2).sum() + 1e-8


def test_the_interval_of_the_gain_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 0.1 - 0.1 * 2**-0.5
    held = 0
    for seed in range(100):
        rows = rng.normal(0, 0.02)  # the judged rows move all points together
        values = 0.8 - 0.1 * SHARES**-0.5 + rows + rng.normal(0, 0.004, 5)
        resampled = values + rng.normal(0, 0.02, (150, 1))
        gain = power_law.extrapolate(SHARES, values, resampled, seed).gain
        held += gain.low <= truth <= gain.high
    assert held >= 85


def test_points_without_a_trend_tell_nothing_of_more_data() -> None:
    values = np.array([0.70, 0.74, 0.71, 0.73, 0.70])
    found = power_law.extrapolate(SHARES, values, np.random.default_rng(0).normal(values, 0.01, (200, 5)))
    assert not found.tells
    with pytest.raises(ValueError, match="4 different amounts"):
        power_law.fit(SHARES[:3], values[:3])


def run_of(label: str, scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, order: np.ndarray) -> Compared:
    """A run whose predictions file has the rows in this order."""
    ranked = Ranked(labels[order], scores[order])
    rows = JudgedRows([f"row {n}" for n in order], labels[order].tolist(), groups[order].tolist(), {"auc": ranked.roc_auc})
    value = ranked.roc_auc()
    model = {"auc": {"value": value, "low": value - 0.05, "high": value + 0.05}}
    data = {"name": "made up", "fingerprint": "0"}
    metrics: dict[str, Any] = {"usecase": "x", "headline": "auc", "name": label, "model": model, "data": data, "seed": 0}
    return Compared(Path(label), label, metrics | {"timing": {"train_s": 1}}, {"seed": 0}, rows)


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, groups, and scores of two methods, the second better."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 400)
    hard = rng.normal(0, 1, 60)[groups]
    labels = (rng.random(400) < 0.3).astype(int)
    return labels, groups, labels + hard + rng.normal(0, 1, 400), 1.3 * labels + hard + rng.normal(0, 1, 400)


def test_a_paired_interval_is_that_of_whole_groups_drawn_and_copied(
    made: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels, groups, one, two = made
    order, other = np.arange(400), np.random.default_rng(5).permutation(400)
    found = comparing.compare([run_of("a", one, labels, groups, order), run_of("b", two, labels, groups, other)])
    gap = found["differences"]["b"]["auc"]
    assert gap["paired"]
    rng, drawn = np.random.default_rng(9), []
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for _ in range(4000):
        rows = np.concatenate([members[place] for place in rng.integers(0, len(members), len(members))])
        drawn.append(Ranked(labels[rows], two[rows]).roc_auc() - Ranked(labels[rows], one[rows]).roc_auc())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert gap["value"] == pytest.approx(Ranked(labels, two).roc_auc() - Ranked(labels, one).roc_auc(), abs=1e-6)
    assert (gap["low"], gap["high"]) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    same_order = comparing.compare([run_of("a", one, labels, groups, order), run_of("b", two, labels, groups, order)])
    assert same_order["differences"] == found["differences"]
    assert "b is not reliably different" in found["conclusion"]


def test_an_unpaired_interval_is_newcombes() -> None:
    def share(hits: int, of: int) -> dict[str, float]:
        interval = binomtest(hits, of).proportion_ci(method="wilson")
        return {"value": hits / of, "low": interval.low, "high": interval.high}

    gap = comparing.unpaired(share(56, 70), share(48, 80))  # Newcombe 1998, table II (a), method 10
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def left_out(run: Compared) -> Compared:
    assert run.rows is not None
    rows = run.rows
    kept = JudgedRows(rows.ids[1:], rows.truths[1:], rows.groups[1:], rows.statistics)
    return Compared(run.folder, run.label, run.metrics, run.settings | {"seed": 1}, kept)


def other_truth(run: Compared) -> Compared:
    assert run.rows is not None
    changed = JudgedRows(run.rows.ids, [1 - run.rows.truths[0], *run.rows.truths[1:]], run.rows.groups, run.rows.statistics)
    return Compared(run.folder, run.label, run.metrics, run.settings, changed)


@pytest.mark.parametrize(
    ("change", "said"), [(left_out, "other rows: 399, of which 399"), (other_truth, "what is known of 1 of 400 differs")]
)
def test_runs_that_judged_other_rows_are_not_paired(
    change: Callable[[Compared], Compared], said: str, made: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    labels, groups, one, two = made
    first, second = (run_of(name, scores, labels, groups, np.arange(400)) for name, scores in (("a", one), ("b", two)))
    found = comparing.compare([first, change(second)])
    assert not found["differences"]["b"]["auc"]["paired"]
    assert said in found["warnings"][0]
    assert ("seed is 1, not 0" in found["warnings"][0]) == (change is left_out)
    assert "b cannot be compared" in found["conclusion"]


class Knobs(RunConfig):
    training: Training = Training()
    hidden: int = 48
    kind: str = "a"


def test_a_space_keeps_kinds_of_numbers_and_holds_the_defaults() -> None:
    texts = {"training.learning_rate": "1e-4..5e-4", "hidden": "64..128", "training.warmup": "0.01,0.1", "kind": "b,c",
             "training.epochs": "2..40"}  # fmt: skip
    space: dict[str, Any] = tuning.read_space(texts, Knobs())
    rate, hidden, epochs = space["training.learning_rate"], space["hidden"], space["training.epochs"]
    assert (rate.low, rate.high, rate.log) == (1e-4, 1e-3, True)  # the default is 1e-3
    assert (hidden.low, hidden.high, hidden.log) == (48, 128, False)
    assert isinstance(hidden.low, int)
    assert epochs.log
    assert space["training.warmup"].choices == (0.05, 0.01, 0.1)
    assert space["kind"].choices == ("a", "b", "c")
    tuning.check_space(texts, Knobs())


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("hiden", "1..2", "Did you mean 'hidden'|hidden"),
        ("hidden", "8..low", "low..high"),
        ("kind", "1..2", "no range can be searched"),
        ("hidden", "9..3", "low..high"),
        ("training.warmup", "0.1..2", "less than 1"),
        ("hidden", "1.5,2.5", "integer"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(key: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        tuning.check_space({key: text}, Knobs())
