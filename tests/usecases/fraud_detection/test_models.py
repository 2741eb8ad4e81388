from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import expit

from shared import hardware
from shared.config import Hardware
from shared.evaluation.classification import Ranked
from shared.runs import Run
from tests.usecases.fraud_detection.conftest import configured
from usecases.fraud_detection import fitting
from usecases.fraud_detection.fitting import Workshop, able, choose, combine
from usecases.fraud_detection.inputs import Inputs, Rows
from usecases.fraud_detection.model import Blend, Boosting, Member, Network, restore

TRAINING = {"epochs": 8, "batch_size": 128, "learning_rate": 0.01}
CONFIG = configured(
    hardware={"threads": 1, "precision": "fp32"},
    model={
        "members": ("logistic", "boosting", "lightgbm", "tabular", "sequence", "anomaly"),
        "tabular": {"hidden": 16, "copies": 4, "bins": 4, "training": TRAINING},
        "sequence": {"length": 4, "hidden": 8, "copies": 2, "training": TRAINING},
        "anomaly": {"hidden": 8, "latent": 2, "training": TRAINING},
    },
)
ALL = CONFIG.model.members


def make_rows(n: int = 1200, seed: int = 0) -> tuple[Rows, np.ndarray]:
    """Rows whose label follows from one number, and from the step before."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    x[:, 1] = np.exp(3 * x[:, 1])  # a long tail
    history = rng.normal(size=(n, 4, 4)).astype(np.float16)
    history[..., -1] = np.arange(4) >= rng.integers(0, 4, n)[:, None]
    history *= history[..., -1:]
    labels = (rng.random(n) < expit(2 * x[:, 0] + 2 * history[:, 2, 0] - 2)).astype(np.int64)
    return Rows(x, history), labels


def workshop(folder: Path, rows: Rows, labels: np.ndarray) -> Workshop:
    return Workshop(rows, labels, CONFIG, Run(folder, "fraud_detection"), hardware.select(CONFIG.hardware), "test")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Member]:
    pytest.importorskip("lightgbm")
    shop = workshop(tmp_path_factory.mktemp("shop"), *make_rows())
    return {name: shop(name) for name in ALL}


def test_each_model_kept_as_tensors_gives_the_same_logits(fitted: dict[str, Member], tmp_path: Path) -> None:
    rows, labels = make_rows(300, seed=1)
    for name, member in fitted.items():
        save_file({key: tensor.contiguous() for key, tensor in member.state().items()}, tmp_path / f"{name}.safetensors")
        again = restore(name, CONFIG.model, 5, 3, load_file(tmp_path / f"{name}.safetensors"))
        logits = member(rows)
        assert logits.shape == (300,)
        np.testing.assert_array_equal(again(rows), logits, err_msg=name)
        if name != "anomaly":
            assert Ranked(labels, logits).roc_auc() > 0.75, name


def test_trees_walked_down_together_give_scikit_learns_logits_to_the_last_digit(fitted: dict[str, Member]) -> None:
    boosting = fitted["boosting"]
    assert isinstance(boosting, Boosting)
    rows, _ = make_rows(2000, seed=1)
    np.testing.assert_array_equal(boosting.flat(rows.x), boosting.trees.decision_function(rows.x))
    thresholds = boosting.flat.threshold[(boosting.flat.feature == 0) & np.isfinite(boosting.flat.threshold)]
    edges = rows.x.astype(np.float64)  # values at the thresholds go to the left in both
    edges[:, 0] = np.resize(thresholds, len(edges))
    np.testing.assert_array_equal(boosting.flat(edges), boosting.trees.decision_function(edges))
    np.testing.assert_array_equal(boosting.flat(rows.x[:1]), boosting.flat(rows.x)[:1])


def test_the_sequence_model_alone_sees_the_past(fitted: dict[str, Member]) -> None:
    rows, _ = make_rows(50, seed=2)
    other = rows.history.copy()
    other[:, 2, 0] += 1
    for name, member in fitted.items():
        same = np.array_equal(member(Rows(rows.x, other)), member(rows))
        assert same == (name != "sequence")


def test_a_step_that_is_not_there_does_not_matter(fitted: dict[str, Member]) -> None:
    rows, _ = make_rows(40)
    garbage = rows.history.copy()
    garbage[..., :-1] = np.where(rows.history[..., -1:] > 0, rows.history[..., :-1], 1000)
    np.testing.assert_array_equal(fitted["sequence"](Rows(rows.x, garbage)), fitted["sequence"](rows))


def test_copies_differ_and_are_averaged_as_logits(fitted: dict[str, Member]) -> None:
    rows, _ = make_rows(40)
    for name in ("tabular", "sequence"):
        member = fitted[name]
        assert isinstance(member, Network)
        with torch.inference_mode():
            each = member.module({"x": torch.from_numpy(rows.x), "history": torch.from_numpy(rows.history)})
        assert each.shape == (40, getattr(CONFIG.model, name).copies)
        assert each.std(1).min() > 0
        np.testing.assert_allclose(member(rows), each.mean(1).numpy(), rtol=1e-5, atol=1e-6)


def test_methods_that_come_close_to_the_best_count_alike() -> None:
    assert combine({"a": 0.50, "b": 0.48, "c": 0.40, "anomaly": 0.9}) == {"a": 0.5, "b": 0.5}
    assert combine({"noise": 0.02, "good": 0.6}) == {"good": 1.0}
    assert combine({"anomaly": 0.1}) == {"anomaly": 1.0}
    third = combine({"a": 0.5, "b": 0.5, "c": 0.5})
    assert len(third) == 3
    assert sum(third.values()) == pytest.approx(1)


@dataclass(frozen=True)
class Column:
    """A model that gives an input back."""

    place: int

    def __call__(self, rows: Rows) -> np.ndarray:
        return rows.x[:, self.place].astype(np.float64)

    def state(self) -> dict[str, torch.Tensor]:
        return {}


def test_a_blend_adds_the_weighted_logits() -> None:
    rows, _ = make_rows(10)
    blend = Blend({"a": Column(0), "b": Column(2), "not used": Column(1)}, {"a": 0.5, "b": 2.0})
    np.testing.assert_allclose(blend(rows), 0.5 * rows.x[:, 0].astype(float) + 2 * rows.x[:, 2])


def test_choosing_keeps_the_best_setting_and_never_the_anomaly_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "GRID", ((2, 0.001, 1), (8, 0.1, 60)))
    rows, labels = make_rows()
    held, truth = make_rows(600, seed=3)
    said: list[str] = []
    recipe, tried = choose(workshop(tmp_path, rows, labels), ["logistic", "boosting", "anomaly"], held, truth, said.append)
    assert recipe.grid == {"boosting": (8, 0.1, 60)}
    assert set(tried) == {"logistic", "boosting", "anomaly"}
    assert set(recipe.validation) == {*tried, "blend"}
    assert "anomaly" not in recipe.weights
    for name, member in tried.items():
        assert recipe.validation[name] == pytest.approx(Ranked(truth, member(held)).average_precision())
    together = Ranked(truth, Blend(tried, recipe.weights)(held)).average_precision()
    assert together == pytest.approx(recipe.validation["blend"]) or len(recipe.weights) == 1
    assert together >= fitting.CLOSE * max(recipe.validation["logistic"], recipe.validation["boosting"])
    assert all(weight > 0 for weight in recipe.weights.values())


def test_models_that_cannot_be_fitted_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(fitting.importlib.util, "find_spec", lambda name: None)
    assert able(CONFIG.model, False, said.append) == ["logistic", "boosting", "tabular", "anomaly"]
    assert len(said) == 2


def test_the_same_seed_gives_the_same_networks(tmp_path: Path) -> None:
    rows, labels = make_rows(400)
    logits = []
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        logits.append(workshop(tmp_path / part, rows, labels)("tabular")(rows))
    np.testing.assert_array_equal(logits[0], logits[1])


def test_inputs_fill_gaps_with_the_training_medians() -> None:
    train = pd.DataFrame({"km": [1.0, np.nan, 3.0, 9.0], "full": [0.0, 1, 2, 3], "kind": ["a", "b", "a", ""]})
    inputs = Inputs.learn(train, ("built",), ("km", "full"), ("kind",))
    assert inputs.names == ["built", "km", "full", "km missing", "kind = a", "kind = b"]
    asked = {"km": [np.nan, 4.0], "full": [np.nan, 5.0], "kind": ["new", "b"]}
    built = np.array([[7], [8]], np.float32)
    expected = [[7, 3, 1.5, 1, 0, 0], [8, 4, 5, 0, 0, 1]]
    for again in (inputs, Inputs.restore(inputs.state())):
        assert again.matrix(asked, built).tolist() == expected
        assert again.matrix(pd.DataFrame(asked), built).dtype == np.float32
    assert Inputs.learn(train, ("built",), (), ()).matrix(asked, built).tolist() == built.tolist()


def test_only_frequent_categories_get_an_indicator() -> None:
    values = ["common"] * 500 + ["rare"] + [f"v{n}" for n in range(40) for _ in range(10)] + [""] * 50
    names = Inputs.learn(pd.DataFrame({"kind": values}), (), (), ("kind",)).categories["kind"]
    assert "common" in names
    assert "rare" not in names
    assert "" not in names
    assert len(names) == 30


def test_precision_and_threads_are_those_of_the_configuration() -> None:
    chosen = hardware.select(Hardware(threads=1, precision="fp32", device="cpu"))
    assert (chosen.precision, chosen.threads) == ("fp32", 1)
