from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import binomtest

from shared.config import RunConfig, Training
from shared.errors import UserError
from shared.evaluation.classification import Ranked
from shared.experiments import comparing, learning_curve, pages, points, power_law, tuning
from shared.experiments.comparing import Compared
from shared.files import read_json, write_json
from shared.runs import Run, StillRunningError, state
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


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["/runs/one", "/runs/two"], ["one", "two"]),
        (["/mine/small/r", "/mine/large/r"], ["small", "large"]),
        (["/mine/x/out/r", "/yours/x/out/r"], ["mine", "yours"]),
        (["/a/x/r", "/a/y/r", "/b/x/r"], ["a/x", "a/y", "b/x"]),
        (["/a/x", "/a/x/x"], ["a", "x"]),
    ],
)
def test_runs_are_called_what_tells_their_folders_apart(folders: list[str], labels: list[str]) -> None:
    assert comparing._labels([Path(folder) for folder in folders]) == labels


@pytest.mark.parametrize(
    ("hidden", "wanted"), [(48, {0.25: 12, 0.5: 24, 2.0: 96}), (8, {0.5: 4, 2.0: 16}), (4, {2.0: 8}), (2, {0.5: 4})]
)
def test_widths_that_come_out_the_same_are_trained_once(hidden: int, wanted: dict[float, int]) -> None:
    planned = [point for point in learning_curve.plan(Knobs(hidden=hidden), ["hidden"]) if point.varied == "width"]
    found = {point.changes["hidden"] for point in planned}
    assert found == set(wanted.values())
    assert len(planned) == len(found)
    if hidden > 2:
        assert {point.amount: point.changes["hidden"] for point in planned} == wanted


class Faulty:
    """A use case whose trainings end so, one after the other: by an exception, or with a figure."""

    name = "faulty"
    config = Knobs

    def __init__(self, *ends: BaseException | float) -> None:
        self.ends = list(ends)

    def train(self, config: Knobs, run: Run) -> None:
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        run.validated("auc", end)


def searched(folder: Path, *ends: BaseException | float, trials: int | None = None) -> dict[str, Any]:
    """A search with as many trials as there are ends; gone on with, if there is one in the folder."""
    pytest.importorskip("optuna")
    if not folder.exists():
        points.begin(tuning.KIND, Faulty.name, Knobs(), folder)
    usecase: Any = Faulty(*ends)
    return tuning.run(usecase, folder, {"hidden": "8..64"}, trials or len(ends), None, lambda _: None)


def test_a_search_goes_on_past_trials_that_fail_and_tells_why(tmp_path: Path) -> None:
    out = tmp_path / "search"
    found = searched(out, 0.5, ValueError("no room"), MemoryError(), float("nan"), UserError("Too wide."), 0.7)
    assert [row.get("failed") for row in found["trials"]] == [
        None, "ValueError: no room", "MemoryError", "FloatingPointError: its auc on validation is nan", "Too wide.", None,
    ]  # fmt: skip
    assert found["best"]["trial"] == 6
    assert found["best"]["gain"] == pytest.approx(0.2)
    assert "4 more failed" in found["conclusion"]
    assert "no room" in read_json(out / "trials" / "0001" / "run.json")["reason"]
    ended = [read_json(out / "trials" / f"{number:04d}" / "run.json").get("ended") for number in range(6)]
    assert all(ended)
    assert "in train" in (out / "trials" / "0001" / "events.jsonl").read_text()  # of the traceback


def test_settings_that_a_configuration_refuses_are_a_failed_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = points.settings

    def settings(cls: type[Knobs], folder: Path, changes: dict[str, Any]) -> Knobs:
        if changes.get("hidden", 48) != 48:
            raise UserError("hidden does not suit kind.")
        return plain(cls, folder, changes)

    monkeypatch.setattr(points, "settings", settings)
    found = searched(tmp_path / "search", 0.5, trials=2)
    assert [row.get("failed") for row in found["trials"]] == [None, "hidden does not suit kind."]


def test_a_search_whose_first_trials_all_fail_ends_with_their_reasons_and_can_go_on(tmp_path: Path) -> None:
    out = tmp_path / "search"
    broken = RuntimeError("a defect")
    with pytest.raises(UserError, match=r"(?s)No trial succeeded.*trial 1, 2, 3: RuntimeError: a defect"):
        searched(out, broken, broken, broken, trials=9)
    with pytest.raises(UserError, match=r"(?s)trial 1, 2, 3: RuntimeError: a defect\n.*trial 4: KeyError"):
        searched(out, KeyError("y"), trials=9)
    found = searched(out, 0.5, 0.4, trials=6)
    assert found["best"]["trial"] == 5
    assert found["best"]["defaults"] == {"hidden": 48}
    assert "the defaults failed" in found["conclusion"]
    pages.tuned(found, out)
    assert "failed: RuntimeError: a defect" in (out / "report.html").read_text()
    with pytest.raises(UserError, match="No trial succeeded"):
        searched(tmp_path / "short", broken, broken)


def test_a_mistake_of_the_users_in_the_first_trial_ends_the_search_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^The data is empty\.$"):
        searched(tmp_path / "search", UserError("The data is empty."), trials=9)


def test_a_trial_in_which_the_process_was_killed_twice_is_given_up(tmp_path: Path) -> None:
    out = tmp_path / "search"
    asked, killed = KeyboardInterrupt, SystemExit  # which nothing writes down, as if it had been killed
    for given in ([0.5, asked()], [asked()], [killed()], [asked()], [killed()]):
        with pytest.raises((asked, killed)):
            searched(out, *given, trials=3)
    found = searched(out, 0.6, trials=3)
    assert [row.get("failed") for row in found["trials"]] == [None, f"RuntimeError: {points.KILLED}", None]


def test_a_trial_that_another_process_is_at_work_on_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        searched(out, 0.5, KeyboardInterrupt(), trials=3)
    live = held_by(out / "trials" / "0001", os.getppid())
    with pytest.raises(StillRunningError, match="still going on"):
        searched(out, 0.6, trials=3)
    assert state(live)["state"] == "running"
    assert (live / "checkpoints").is_dir()
    held_by(live, os.getpid())
    assert [row["value"] for row in searched(out, 0.6, 0.7, trials=3)["trials"]] == [0.5, 0.6, 0.7]


def held_by(folder: Path, process: int) -> Path:
    """The run, as if it were in that process and had checkpoints."""
    write_json(folder / "run.json", {**state(folder), "pid": process})
    (folder / "checkpoints").mkdir(exist_ok=True)
    return folder


def test_a_point_that_another_process_is_at_work_on_is_no_failed_one(tmp_path: Path) -> None:
    points.begin(learning_curve.KIND, Faulty.name, Knobs(), tmp_path / "curve")
    usecase: Any = SimpleNamespace(name=Faulty.name, config=Knobs, widths=None, judged=None)
    usecase.train = Faulty(0.5, KeyboardInterrupt(), 0.4, 0.4, 0.4).train
    with pytest.raises(KeyboardInterrupt):
        learning_curve.run(usecase, tmp_path / "curve", lambda _: None)
    live = held_by(tmp_path / "curve" / "points" / "data-0.0625", os.getppid())
    with pytest.raises(StillRunningError, match="still going on"):
        learning_curve.run(usecase, tmp_path / "curve", lambda _: None)
    assert state(live)["state"] == "running"


def test_a_point_of_a_learning_curve_that_fails_by_a_defect_is_told_and_the_others_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "read", lambda folders, _: [folder.name for folder in folders])
    monkeypatch.setattr(learning_curve, "summarise", lambda _, planned, runs, failed: {"runs": runs, "failed": failed})
    points.begin(learning_curve.KIND, Faulty.name, Knobs(), tmp_path / "curve")
    usecase: Any = SimpleNamespace(name=Faulty.name, config=Knobs, widths=None, judged=None)
    usecase.train = Faulty(0.5, 0.4, IndexError("out of range"), 0.4, 0.4).train
    found = learning_curve.run(usecase, tmp_path / "curve", lambda _: None)
    assert list(found["runs"]) == ["data-1", "data-0.0625", "data-0.25", "data-0.5"]
    assert found["failed"] == {"data-0.125": "IndexError: out of range"}
