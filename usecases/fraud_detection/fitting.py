"""Fitting the models, and choosing on validation how they are combined."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from shared.config import Training
from shared.data import rows as batches
from shared.errors import require
from shared.evaluation.classification import Ranked
from shared.hardware import Choice
from shared.models.tabular import PiecewiseLinear
from shared.runs import Run
from shared.training import Fitted, fit
from usecases.fraud_detection.config import FraudConfig, Model
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.model import NAMES, SIMPLE, Blend, Boosting, LightGBM, Member, Network, module
from usecases.fraud_detection.networks import LinearNetwork, classify, describe

Say = Callable[[str], None]
# What validation picks from for the trees: (leaves, learning rate, trees).
GRID = ((16, 0.02, 150), (8, 0.03, 200), (31, 0.05, 200))
CLOSE = 0.95  # share of the best average precision on validation from which on a method takes part


@dataclass
class Recipe:
    """What was chosen on validation.

    Attributes:
        grid: the trees' setting.
        weights: of the blend; see `model.Blend`.
        worse: whether the combination was worse than the best simple method, which is used instead.
        validation: average precision of each method on validation.
    """

    grid: dict[str, tuple[int, float, int]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    worse: bool = False
    validation: dict[str, float] = field(default_factory=dict)


class Workshop:
    """Fits any model by its name on the same rows. `label` tells the stages' checkpoints apart."""

    def __init__(self, rows: Rows, labels: np.ndarray, config: FraudConfig, run: Run, chip: Choice, label: str) -> None:
        self.rows, self.labels, self.config, self.run, self.chip, self.label = rows, labels, config, run, chip, label
        self.fits: dict[str, Fitted] = {}

    def __call__(self, name: str, grid: tuple[int, float, int] = GRID[0]) -> Member:
        if name == "logistic":
            return Network(self._logistic())
        leaves, rate, trees = grid
        if name == "boosting":
            settings = {"max_leaf_nodes": leaves, "learning_rate": rate, "max_iter": trees, "min_samples_leaf": 20}
            made = HistGradientBoostingClassifier(
                **settings, l2_regularization=1.0, early_stopping=False, random_state=self.config.seed
            )
            with threadpool_limits(self.chip.threads):
                return Boosting(made.fit(self.rows.x, self.labels))
        if name == "lightgbm":
            return LightGBM(self._lightgbm(leaves, rate, trees))
        return Network(self._network(name))

    def _logistic(self) -> LinearNetwork:
        made = LinearNetwork(self.rows.x.shape[1])
        made.learn(self.rows)
        with torch.inference_mode():
            x = made.standardise(torch.from_numpy(self.rows.x)).numpy()
        found = LogisticRegression(C=0.1, max_iter=300).fit(x, self.labels)
        made.linear.load_state_dict({"weight": torch.from_numpy(found.coef_), "bias": torch.from_numpy(found.intercept_)})
        return made

    def _lightgbm(self, leaves: int, rate: float, trees: int) -> Any:
        lightgbm = require("lightgbm", "boosting")
        settings = {
            "objective": "binary", "num_leaves": leaves, "learning_rate": rate, "min_child_samples": 20, "feature_fraction": 0.5,
            "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0, "verbose": -1, "seed": self.config.seed,
            "num_threads": self.chip.threads, "deterministic": True,
        }  # fmt: skip
        return lightgbm.train(settings, lightgbm.Dataset(self.rows.x, self.labels), trees)

    def _network(self, name: str) -> torch.nn.Module:
        torch.manual_seed(self.config.seed)
        pieces = PiecewiseLinear.of(self.rows.x, self.config.model.tabular.bins) if name == "tabular" else None
        made = module(name, self.config.model, self.rows.x.shape[1], self.rows.history.shape[2] - 1, pieces)
        columns = {"x": torch.from_numpy(self.rows.x), "y": torch.from_numpy(self.labels.astype(np.float32))}
        if name == "sequence":
            columns["history"] = torch.from_numpy(self.rows.history)
        made.learn(self.rows)
        objective = describe if name == "anomaly" else classify
        settings: Training = getattr(self.config.model, name).training
        label = f"{self.label}-{name}"
        self.fits[name] = fit(
            made, objective, batches.Rows(columns), None, settings, self.run, self.chip, name=label, seed=self.config.seed,
            collate=batches.take,
        )  # fmt: skip
        return made


def able(config: Model, accounts: bool, say: Say) -> list[str]:
    """The members that can be fitted here."""
    names: list[str] = list(config.members)
    if not accounts and "sequence" in names:
        names.remove("sequence")
        say("There are no accounts, so the model over an account's past is left out")
    if "lightgbm" in names and importlib.util.find_spec("lightgbm") is None:
        names.remove("lightgbm")
        say('LightGBM is not installed and is left out (pip install "usecases[boosting]")')
    return names


def choose(
    workshop: Workshop,
    names: list[str],
    rows: Rows,
    labels: np.ndarray,
    say: Say,
    grids: Sequence[tuple[int, float, int]] | None = None,
) -> tuple[Recipe, dict[str, Member]]:
    """Fit every method, settle the trees' settings (one of `grids`; None: of `GRID`) and the blend on validation rows."""
    recipe, fitted, logits, grids = Recipe(), {}, {}, grids or GRID
    for name in names:
        settings = grids if name in ("boosting", "lightgbm") else grids[:1]
        tried = [(workshop(name, grid), grid) for grid in settings]
        scored = [(member(rows), member, grid) for member, grid in tried]
        logits[name], fitted[name], grid = max(scored, key=lambda entry: Ranked(labels, entry[0]).average_precision())
        if len(settings) > 1:
            recipe.grid[name] = grid
        recipe.validation[name] = Ranked(labels, logits[name]).average_precision()
        say(f"  {NAMES[name]}: average precision {recipe.validation[name]:.3f} on validation")
    recipe.weights = combine(recipe.validation)
    together = Blend(fitted, recipe.weights)(rows)
    recipe.validation["blend"] = Ranked(labels, together).average_precision()
    best = rival(recipe.validation, "blend")
    if best and recipe.validation["blend"] < CLOSE * recipe.validation[best]:
        recipe.weights, recipe.worse = {best: 1.0}, True
        say(f"The combination is worse than {NAMES[best]} on validation, so that is used")
    return recipe, fitted


def rival(validation: Mapping[str, float], model: str) -> str | None:
    """The strongest simple method on validation beside the model."""
    simple = [name for name in validation if name in SIMPLE and name != model]
    return max(simple, key=lambda name: validation[name], default=None)


def combine(validation: Mapping[str, float]) -> dict[str, float]:
    """Equal weights for all methods that come close to the best one; the anomaly model has another scale and is left out.

    Weights fitted on the few frauds of a validation part did worse on later weeks: they follow chance, and prefer what
    remembers the part's own terminals.

    Args:
        validation: average precision by method.
    """
    able = {name: value for name, value in validation.items() if name != "anomaly"} or validation
    close = [name for name, value in able.items() if value >= CLOSE * max(able.values())]
    return {name: 1 / len(close) for name in close}
