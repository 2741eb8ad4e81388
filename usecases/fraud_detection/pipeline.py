"""Train a fraud detector: the recipe, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from shared import hardware
from shared.errors import UserError
from shared.files import whole
from shared.hardware import Choice
from shared.runs import Run
from shared.training import Fitted
from usecases.fraud_detection import data, evidence, fitting, plain, report, splits, unlabelled
from usecases.fraud_detection.answers import FraudDecision, answer
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Transactions
from usecases.fraud_detection.detector import Detector, Rival, assemble, costs_of
from usecases.fraud_detection.evidence import Judge, Method, Rule
from usecases.fraud_detection.fitting import Recipe, Workshop
from usecases.fraud_detection.inputs import Inputs
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.model import NAMES, Blend, Member
from usecases.fraud_detection.plain_predictor import RowDetector
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.prepare import Prepared, prepare
from usecases.fraud_detection.splits import Part
from usecases.fraud_detection.timeline import DAY

SHOWN = 10  # alerts in the report
TIMED = 200


@dataclass(frozen=True)
class Outcome:
    """What training gave: what was chosen, the fitted models, and how everything did on the test part."""

    prepared: Prepared
    part: Part
    inputs: Inputs
    recipe: Recipe
    members: dict[str, Member]
    blend: Blend
    rule: Rule
    judge: Judge
    methods: dict[str, Method]
    model: str
    rival: str | None
    fits: dict[str, Fitted]
    train_s: float


def train(config: FraudConfig, run: Run) -> None:
    """Fit detectors on past transactions, choose on later ones, judge on the last; write artefact and report."""
    say = run.say
    chip = hardware.select(config.hardware)
    say(f"Computing on {chip}")
    transactions = data.load(config)
    if transactions.simulated:
        say("The data is simulated: numbers say nothing about a real bank")
    for finding in transactions.findings:
        say(f"{finding.severity}: {finding}")
    if "time" not in transactions.frame:
        plain.train(config, transactions, run, chip, say)
        return
    if "label" not in transactions.frame:
        unlabelled.train(config, transactions, run, chip, say)
        return
    outcome = fit_and_judge(config, transactions, run, chip, say)
    if outcome is None:
        return
    core = assemble(config, outcome.prepared, outcome.part, outcome.inputs, outcome.blend, outcome.rule)
    if outcome.rival:
        core.rival = Rival(outcome.rival, outcome.members[outcome.rival], outcome.methods[outcome.rival].rule)
    detector = FraudDetector(core)
    result = {
        **evidence.summarise(outcome.judge, outcome.methods, outcome.model, outcome.rival, NAMES[outcome.model]),
        "data": transactions.describe(),
        "data_findings": [str(finding) for finding in transactions.findings if finding.severity != "info"],
        "protocol": outcome.part.words,
        "split": f"time, {config.data.label_delay_days:g} days of delay",
        "seed": config.seed,
        "choice": asdict(outcome.recipe),
        "costs": config.costs.model_dump(),
        "timing": {"train_s": outcome.train_s, "features_s": round(outcome.prepared.seconds, 2), **speed(outcome, detector)},
        "hardware": chip.describe(),
    }
    about = {key: result[key] for key in ("data", "protocol", "seed", "model", "name")}
    detector.save(run.artifact_dir, about)
    run.write_json("metrics.json", result)
    alerts = write_predictions(run.folder / "predictions.parquet", outcome.judge, outcome.methods[outcome.model])
    report.write(run, result, outcome, show(outcome, core, alerts[:SHOWN]))


def fit_and_judge(
    config: FraudConfig,
    transactions: Transactions,
    run: Run,
    chip: Choice,
    say: Callable[[str], None],
    prepared: Prepared | None = None,
) -> Outcome | None:
    """The recipe. Of several processes all train, and only the main one judges (the others get None).

    Args:
        prepared: of at least the rows that the split asks for, where it is there already.
    """
    choosing, final = splits.split(transactions, config)
    names = fitting.able(config.model, "account" in transactions.frame, say)
    if prepared is None:
        wanted = np.unique(np.concatenate([choosing.fit, choosing.judge, final.fit, final.judge]))
        prepared = prepare(transactions, config, wanted, chip.threads, members=names)
        say(
            f"Computed {prepared.built.shape[1]} features of {len(transactions.frame):,} transactions in {prepared.seconds:.1f} s"
        )
    costs = costs_of(config)
    started = time.monotonic()
    recipe, chosen, choosing_fits = _choose(config, prepared, choosing, names, run, chip, say)
    run.validated("average_precision", recipe.validation[next(iter(recipe.weights)) if recipe.worse else "blend"])
    shares = float(choosing.learnt.mean()), float(final.learnt.mean())
    rules = {name: rule.trained_again(*shares) for name, rule in chosen.items()}

    say(f"Training again on all {len(final.fit):,} transactions of the training days")
    inputs = prepared.learn_inputs(final.fit)
    last = Workshop(prepared.take(final.fit, inputs), final.learnt, config, run, chip, "final")
    members = {name: last(name, recipe.grid.get(name, fitting.GRID[0])) for name in names}
    blend = Blend({name: members[name] for name in recipe.weights}, recipe.weights)
    trained = round(time.monotonic() - started, 2)
    if not run.is_main:
        return None

    say(f"Judging on {len(final.judge):,} transactions")
    judge, rows = Judge(transactions.frame, final, costs), prepared.take(final.judge, inputs)
    methods = {name: judge.method(member(rows), rules[name]) for name, member in members.items()}
    model = "blend"
    if len(recipe.weights) == 1:
        model = next(iter(recipe.weights))
    else:
        methods = {"blend": judge.method(blend(rows), rules["blend"]), **methods}
    fits = {**{f"{n} (choosing)": one for n, one in choosing_fits.items()}, **last.fits}
    rule = rules["blend"]  # of the logits that `blend` gives, with one member too
    rival = fitting.rival(recipe.validation, model)
    return Outcome(prepared, final, inputs, recipe, members, blend, rule, judge, methods, model, rival, fits, trained)


def _choose(
    config: FraudConfig,
    prepared: Prepared,
    part: Part,
    names: list[str],
    run: Run,
    chip: Choice,
    say: Callable[[str], None],
) -> tuple[Recipe, dict[str, Rule], dict[str, Fitted]]:
    """What validation chooses, and each method's rule there. What was fitted for it is not kept: it is large."""
    say(f"Choosing: fitted on {len(part.fit):,} transactions, compared on {len(part.judge):,}")
    inputs = prepared.learn_inputs(part.fit)
    workshop = Workshop(prepared.take(part.fit, inputs), part.learnt, config, run, chip, "choose")
    rows = prepared.take(part.judge, inputs)
    recipe, members = fitting.choose(workshop, names, rows, part.truth, say)
    logits = {name: member(rows) for name, member in members.items()}
    logits["blend"] = Blend(members, recipe.weights)(rows)
    amounts, costs = prepared.transactions.frame["amount"].to_numpy()[part.judge], costs_of(config)
    return recipe, {name: Rule.choose(one, part.truth, amounts, costs) for name, one in logits.items()}, workshop.fits


def show(outcome: Outcome, detector: Detector, alerts: np.ndarray) -> list[FraudDecision]:
    """Decisions with reasons and similar frauds for some alerts (places among the judged)."""
    rows = outcome.prepared.take(outcome.part.judge[alerts], outcome.inputs)
    frame = outcome.judge.frame.iloc[alerts]
    scored = detector.decide(rows, frame["amount"].to_numpy())
    return answer(detector, frame, scored, [3] * len(alerts), [2] * len(alerts))


def write_predictions(path: Path, judge: Judge, method: Method) -> np.ndarray:
    """Every judged transaction, the most to be expected to lose first; returns the alerts' places among the judged."""
    order = np.argsort(-method.at_risk, kind="stable")
    frame = judge.frame.iloc[order]
    table = {
        "transaction": frame["transaction"].astype("str"),
        "time": pd.to_datetime(frame["time"], unit="ms"),
        "amount": frame["amount"],
        "score": method.probabilities[order],
        "expected_loss": method.at_risk[order],
        **({"account": frame["account"]} if "account" in frame else {}),
        "alert": method.alerts[order],
        "label": judge.labels[order],
    }
    with whole(path) as partial:
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False), partial)
    return order[method.alerts[order]]


def speed(outcome: Outcome, detector: FraudDetector) -> dict[str, float]:
    """Rows a second when scored in batch (features ready), and milliseconds for one request with reasons."""
    rows = outcome.prepared.take(outcome.part.judge, outcome.inputs)
    begun = time.perf_counter()
    outcome.blend(rows)
    rate = len(rows) / (time.perf_counter() - begun)
    laps = []
    request = detector.examples()[1]  # an amount that raises an alert, as a rule, which takes reasons
    for _ in range(TIMED):
        begun = time.perf_counter()
        detector.predict([request])
        laps.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(laps, [0.5, 0.99])
    return {"rows_per_s": round(rate), "latency_ms_p50": round(float(p50), 3), "latency_ms_p99": round(float(p99), 3)}


def evaluate(detector: FraudDetector | RowDetector, config: FraudConfig) -> dict[str, Any]:
    """Judge a trained model on the test part of the data that the configuration names, beside its strongest simple rival.

    Raises:
        UserError: it would be judged on transactions that it was trained on, or there is nothing to judge it by.
    """
    core = detector.detector
    if not core.source.timed:
        return plain.evaluate(core, config)
    if config.costs != core.config.costs or config.model != core.config.model:
        raise UserError("A trained model is judged as it is: costs.* and model.* are settings of training. Leave them out.")
    transactions = data.load(config, core.source)
    if core.source.labelled and "label" not in transactions.frame:
        raise UserError(f"{config.data.source} has no fraud among its labels (data.columns.label) to judge the scores by.")
    described = transactions.describe()
    part, ledger = _to_judge(core, transactions, config, described["fingerprint"])
    prepared = prepare(transactions, core.config, part.judge, core.ledger.threads, ledger, core.blend.members)
    if not core.source.labelled:
        return {**unlabelled.evaluate(core, prepared, part, config.seed), "data": described}
    judge, rows = Judge(transactions.frame, part, core.costs), prepared.take(part.judge, core.inputs)
    methods = {"blend": judge.method(core.blend(rows), core.rule)}
    if core.rival:
        methods[core.rival.name] = judge.method(core.rival.member(rows), core.rival.rule)
    summary = evidence.summarise(judge, methods, "blend", core.rival.name if core.rival else None, core.about["name"])
    return {**summary, "data": described, "protocol": part.words}


def _to_judge(core: Detector, transactions: Transactions, config: FraudConfig, fingerprint: str) -> tuple[Part, Ledger | None]:
    """The test part of the model's own run; of other data all after the training days, and the memory of what was before it."""
    if fingerprint == core.about["data"]["fingerprint"]:
        _, part = splits.split(transactions, config)
        if learnt := core.learnt(transactions.frame.iloc[part.judge]):
            raise UserError(
                f"{learnt:,} of the transactions to be judged are from the model's own training days. Leave seed, split.* and "
                "data.* as they were in its run, or give other --data."
            )
        return part, None
    settings = {"test_days": config.split.test_days, "known_accounts": config.split.known_accounts}
    if config.split != core.config.split.model_copy(update=settings):
        raise UserError("Other data has no training days: of split.* only test_days and known_accounts count there.")
    ledger = core.ledger.before(int(transactions.frame["time"].iloc[0]))
    delay = int(core.source.delay_days * DAY)
    return splits.later(transactions, config, core.learnt_days, delay, ledger.frauds(core.learnt_days[0])), ledger
