"""Rows that stand for themselves: the recipe, read top to bottom. Each is judged once, by a model that did not see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from shared.errors import DataError, Finding, UserError
from shared.evaluation.calibration import Calibrator
from shared.hardware import Choice
from shared.runs import Run
from shared.training import Fitted
from usecases.fraud_detection import data, fitting, plain_data, plain_evidence, plain_report
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Source, Transactions
from usecases.fraud_detection.detector import Detector, Rival
from usecases.fraud_detection.evidence import Rule
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.fitting import Recipe, Workshop
from usecases.fraud_detection.inputs import Inputs
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.model import Blend, Member
from usecases.fraud_detection.plain_predictor import RowDetector
from usecases.fraud_detection.prepare import Prepared
from usecases.fraud_detection.reasons import Typical
from usecases.fraud_detection.similar import PastFrauds

ABLE = ("logistic", "boosting", "lightgbm", "tabular")  # the others look at an account's past, or for what is unusual
INNER = 4  # one part of so many of the rows that are trained on is what methods are chosen on
GRID = ((4, 0.03, 300), *fitting.GRID[:2])  # the trees' settings, as `fitting.GRID`; small tables bear small trees
STEPS = 40  # of an epoch at least: tables of this kind are small
TIMES_ALERT = 5  # a miss costs so many alerts where neither a loss nor an amount is given
MOST = 1 - 1e-9  # of a probability, so that its logit is finite

Say = Callable[[str], None]


@dataclass(frozen=True)
class Learnt:
    """What the procedure makes of some rows: settings and weights chosen on a part of them, then all trained on all of them."""

    recipe: Recipe
    inputs: Inputs
    members: dict[str, Member]
    calibrators: dict[str, Calibrator]
    fits: dict[str, Fitted]

    @cached_property
    def blend(self) -> Blend:
        return Blend({name: self.members[name] for name in self.recipe.weights}, self.recipe.weights)

    def probabilities(self, prepared: Prepared, rows: np.ndarray) -> dict[str, np.ndarray]:
        """[rows] of each method."""
        seen = prepared.take(rows, self.inputs)
        return {name: self.calibrators[name](one(seen)) for name, one in _with(self.blend, self.members).items()}


def train(config: FraudConfig, transactions: Transactions, run: Run, chip: Choice, say: Say) -> None:
    """Cross-validate the procedure, then let it learn from all rows; write artefact and report.

    Raises:
        UserError: only a validation figure is wanted.
    """
    if run.until_validated:  # in folds there is none that is not of rows that are judged, too
        raise UserError(
            "Tuning needs a table with a time: without one every row is judged in a fold, and none is left to compare settings"
            " on. Name the column of the time with data.columns.time=, or set the knobs yourself."
        )
    config, assumed = priced(config, "amount" in transactions.mapping)
    if assumed:
        say(assumed)
    started = time.monotonic()
    prepared = prepare(transactions)
    labels = transactions.frame["label"].to_numpy()
    known = np.flatnonzero(~np.isnan(labels))
    groups = transactions.frame["account"].to_numpy() if "account" in transactions.frame else None
    fold = np.full(len(labels), -1)
    fold[known] = folds(labels[known], None if groups is None else groups[known], config.split.folds, config.seed, transactions)
    names = [name for name in fitting.able(config.model, accounts=True, say=say) if name in ABLE]

    order = np.random.default_rng(config.seed).permutation(len(labels))

    def learn(rows: np.ndarray, stage: str, told: Say = lambda _: None) -> Learnt:
        rows = np.sort(rows[np.argsort(order[rows])[: round(config.train_share * len(rows))]])
        return _learn(
            prepared, rows, labels[rows], None if groups is None else groups[rows], names, config, run, chip, stage, told
        )

    judged: dict[str, np.ndarray] = {}
    for number in range(config.split.folds):
        say(f"Fold {number + 1} of {config.split.folds}")
        learnt = learn(known[fold[known] != number], f"fold{number + 1}")
        rows = np.flatnonzero(fold == number)
        for name, values in learnt.probabilities(prepared, rows).items():
            judged.setdefault(name, np.full(len(labels), np.nan))[rows] = values
    say(f"Training on {plain_evidence.share_of(config.train_share)}all {len(known):,} {transactions.words.records}")
    final = learn(known, "final", say)
    if not run.is_main:
        return
    detector = assemble(config, prepared, known, final, {name: values[known] for name, values in judged.items()})
    result = {
        **plain_evidence.again(detector, transactions.frame.iloc[known].reset_index(drop=True)),
        "data": transactions.describe(),
        "data_findings": [*([assumed] if assumed else []), *(str(f) for f in transactions.findings if f.severity != "info")],
        "split": f"{config.split.folds} folds" + (" of whole accounts" if groups is not None else ""),
        "seed": config.seed,
        "choice": asdict(final.recipe),
        "costs": config.costs.model_dump(),
        "timing": {"train_s": round(time.monotonic() - started, 2)},
        "hardware": chip.describe(),
    }
    detector.about = {key: result[key] for key in ("data", "protocol", "seed", "model", "name")}
    RowDetector(detector).save(run.artifact_dir, detector.about)
    run.write_json("metrics.json", result)
    plain_report.write(run, result, RowDetector(detector), transactions.frame.iloc[known].reset_index(drop=True), final.fits)


def evaluate(core: Detector, config: FraudConfig) -> dict[str, Any]:
    """Judge a trained model: on its own data by what was said out of fold, on other data by what it says now.

    Raises:
        UserError: settings of training were changed, or there is nothing to judge it by.
    """
    config, _ = priced(config, "amount" in core.source.mapping)
    if (config.costs, config.model, config.split) != (core.config.costs, core.config.model, core.config.split):
        raise UserError(
            "A trained model is judged as it is: costs.*, model.* and split.* are settings of training. Leave them out."
        )
    transactions = data.load(config, core.source)
    frame, described = transactions.frame, transactions.describe()
    if described["fingerprint"] == core.about["data"]["fingerprint"]:
        result = plain_evidence.again(core, frame[frame["label"].notna()].reset_index(drop=True))
    else:
        result = plain_evidence.other(core, frame, transactions.name)
    return {**result, "data": described}


def priced(config: FraudConfig, amounts: bool) -> tuple[FraudConfig, str]:
    """With a loss for each miss; where nothing says how much, it is assumed, and the second value says so."""
    if amounts or config.costs.loss_fixed:
        return config, ""
    loss = TIMES_ALERT * config.costs.alert
    costs = config.costs.model_copy(update={"loss_fixed": loss})
    said = f"Nothing says what a miss costs: {loss:g} is assumed, {TIMES_ALERT} times costs.alert. Set costs.loss_fixed"
    return config.model_copy(update={"costs": costs}), said


def folds(labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int, transactions: Transactions) -> np.ndarray:
    """[rows] the fold of each, with about the same share of findings; a group is in one fold.

    Raises:
        DataError: there are too few groups with findings, or without.
    """
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), int)
    for number, (_, rows) in enumerate(splitter.split(labels, labels, groups)):
        fold[rows] = number
        if len(set(labels[rows])) < 2:
            what = f"not every one of {count} folds of whole accounts has both labels"
            raise DataError([Finding("error", what, transactions.name, "Set split.folds lower, or data.columns.account=none")])
    return fold


def prepare(transactions: Transactions) -> Prepared:
    """Rows without a past: the data's own columns are all there is to see."""
    size = len(transactions.frame)
    ledger = Ledger(Layout(False, False, (), 0, timed=False))
    return Prepared(
        transactions, np.arange(size), np.zeros((size, 0), np.float32), np.zeros((size, 1, 1), np.float16), ledger, 0.0
    )


def assemble(
    config: FraudConfig, prepared: Prepared, known: np.ndarray, final: Learnt, judged: Mapping[str, np.ndarray]
) -> Detector:
    """The model that learnt from all rows, with what was said of each by one that had not seen it."""
    transactions, rows = prepared.transactions, prepared.take(known, final.inputs)
    frame = transactions.frame.iloc[known]
    labels, rival = frame["label"].to_numpy(), fitting.rival(final.recipe.validation, "blend")
    source = Source(
        transactions.mapping,
        transactions.numeric,
        transactions.categorical,
        transactions.time_unit,
        0.0,
        True,
        False,
        transactions.words,
    )
    return Detector(
        config, source, final.blend, Rule(final.calibrators["blend"], config.costs.alert), final.inputs,
        Typical.learn(rows, labels, final.inputs), PastFrauds.learn(rows.x, labels, frame[labels == 1].assign(time=0)),
        prepared.ledger, (0, 0),
        Rival(rival, final.members[rival], Rule(final.calibrators[rival], config.costs.alert)) if rival else None,
        judged={name: logit(np.clip(values, 1 - MOST, MOST)) for name, values in judged.items()},
        seen=plain_data.hashes(frame, source),
    )  # fmt: skip


def _learn(
    prepared: Prepared,
    rows: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    names: list[str],
    config: FraudConfig,
    run: Run,
    chip: Choice,
    stage: str,
    say: Say,
) -> Learnt:
    """Choose on one part of the rows what was fitted on the others; then fit all methods again on all rows."""
    held = folds(labels, groups, INNER, config.seed, prepared.transactions) == 0
    inputs = prepared.learn_inputs(rows[~held])
    config = sized(config, int((~held).sum()))
    choosing = Workshop(prepared.take(rows[~held], inputs), labels[~held], config, run, chip, f"{stage}-choose")
    seen = prepared.take(rows[held], inputs)
    recipe, fitted = fitting.choose(choosing, names, seen, labels[held], say, GRID)
    every = _with(Blend(fitted, recipe.weights), fitted)
    calibrators = {name: Calibrator.fit(one(seen), labels[held]) for name, one in every.items()}
    inputs = prepared.learn_inputs(rows)
    last = Workshop(prepared.take(rows, inputs), labels, config, run, chip, stage)
    members = {name: last(name, recipe.grid.get(name, GRID[0])) for name in names}
    return Learnt(recipe, inputs, members, calibrators, last.fits)


def _with(blend: Blend, members: Mapping[str, Member]) -> dict[str, Member | Blend]:
    return {"blend": blend, **members}


def sized(config: FraudConfig, rows: int) -> FraudConfig:
    """With batches so small that an epoch has enough steps."""
    own = config.model.tabular
    training = own.training.model_copy(update={"batch_size": min(own.training.batch_size, max(16, rows // STEPS))})
    model = config.model.model_copy(update={"tabular": own.model_copy(update={"training": training})})
    return config.model_copy(update={"model": model})
