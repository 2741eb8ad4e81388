"""Where nobody has labelled anything: a model of what is usual, judged by whether it notices what was made unusual."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import logit
from sklearn.ensemble import IsolationForest

from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import bootstrap_groups
from shared.files import whole
from shared.hardware import Choice
from shared.runs import Run
from usecases.fraud_detection import report, splits
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Transactions
from usecases.fraud_detection.detector import Detector, assemble
from usecases.fraud_detection.evidence import Rule
from usecases.fraud_detection.fitting import Workshop
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.model import NAMES, Blend, Member
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.prepare import Prepared, prepare
from usecases.fraud_detection.timeline import HOUR

HEADLINE = "roc_auc_exchanged"
EXCHANGED = 0.05  # share of the judged transactions that get values of others
LIKELY = 0.995  # share of training rows below the alert threshold
PROTOCOL = (
    "there are no labels: {words}; in {share:.0%} of these a random half of the numbers was exchanged for those of other "
    "transactions, and the metric is how well the scores tell them apart. How well they find fraud is not known"
)


def train(config: FraudConfig, transactions: Transactions, run: Run, chip: Choice, say: Callable[[str], None]) -> None:
    """Fit the anomaly model on the training days, judge it on the test days; write artefact and report.

    Raises:
        UserError: only a validation figure is wanted.
    """
    if run.until_validated:
        raise UserError(
            "Tuning needs labels: without any, nothing tells which settings find more fraud. Name their column with"
            " data.columns.label=, 1 for fraud, or set the knobs yourself."
        )
    started = time.monotonic()
    say("There are no labels: only a model of what is usual can be trained")
    _, part = splits.split(transactions, config)
    prepared = prepare(transactions, config, np.union1d(part.fit, part.judge), chip.threads, members=("anomaly",))
    inputs = prepared.learn_inputs(part.fit)
    rows = prepared.take(part.fit, inputs)
    workshop = Workshop(rows, np.zeros(len(rows)), config, run, chip, "final")
    member = workshop("anomaly")
    detector = assemble(config, prepared, part, inputs, Blend({"anomaly": member}, {"anomaly": 1.0}), threshold(member, rows))
    trained = round(time.monotonic() - started, 2)
    if not run.is_main:
        return
    forest = IsolationForest(n_estimators=100, random_state=config.seed, n_jobs=chip.threads).fit(rows.x)
    judged = _judge(detector, prepared, part, config.seed, lambda x: -forest.score_samples(x))
    result = {
        **judged,
        "data": transactions.describe(),
        "data_findings": [str(finding) for finding in transactions.findings if finding.severity != "info"],
        "split": "time, no labels",
        "seed": config.seed,
        "timing": {"train_s": trained, "features_s": round(prepared.seconds, 2)},
        "hardware": chip.describe(),
    }
    about = {key: result[key] for key in ("data", "protocol", "seed", "model", "name")}
    FraudDetector(detector).save(run.artifact_dir, about)
    run.write_json("metrics.json", result)
    _write_predictions(run, detector, prepared, part)
    report.write_unlabelled(run, result, workshop.fits)


def evaluate(detector: Detector, prepared: Prepared, part: splits.Part, seed: int) -> dict[str, Any]:
    """Judge a model on transactions without labels, beside the amount alone."""
    return _judge(detector, prepared, part, seed, None)


def threshold(member: Member, rows: Rows) -> Rule:
    """Scores from 0 to 1, the most unusual training rows above one half; they are no probabilities."""
    usual, edge = np.quantile(member(rows), [0.5, LIKELY])
    scale = float(-logit(0.01) / max(edge - usual, 1e-6))
    return Rule(Calibrator(scale, -scale * float(edge)), 0.5)


def _judge(
    detector: Detector, prepared: Prepared, part: splits.Part, seed: int, other: Callable[[np.ndarray], np.ndarray] | None
) -> dict[str, Any]:
    """The numbers for metrics.json."""
    rows = prepared.take(part.judge, detector.inputs)
    alerts = detector.decide(rows, np.zeros(len(rows))).alerts
    x, labels = _exchange(rows.x, np.random.default_rng(seed))
    mixed = Rows(x, rows.history)
    scores = {"anomaly": detector.blend(mixed), "amount": x[:, detector.inputs.names.index("amount")]}
    if other is not None:
        scores["forest"] = other(x)
    frame = prepared.transactions.frame.iloc[part.judge]
    units = frame["account"] if "account" in frame else frame["time"] // HOUR
    ranked = {name: Ranked(labels, values) for name, values in scores.items()}
    draws = bootstrap_groups(units.to_numpy(), {name: one.roc_auc for name, one in ranked.items()}, resamples=500)
    tables = {name: {HEADLINE: draws.interval(name).as_dict()} for name in scores}
    best = max((name for name in scores if name != "anomaly"), key=lambda name: tables[name][HEADLINE]["value"])
    difference = draws.difference("anomaly", best)
    verdict = "better than" if difference.low > 0 else "worse than" if difference.high < 0 else "no different from"
    return {
        "usecase": "fraud_detection",
        "headline": HEADLINE,
        "name": NAMES["anomaly"],
        "model": tables["anomaly"],
        "baselines": {NAMES[name]: table for name, table in tables.items() if name != "anomaly"},
        "usual_share": LIKELY,
        "alert_share": round(float(alerts.mean()), 5),
        "protocol": PROTOCOL.format(words=part.words, share=EXCHANGED),
        "conclusion": (
            f"Without labels it is not known how much fraud is found. The anomaly model notices exchanged values {verdict} "
            f"{NAMES[best]} (AUC {tables['anomaly'][HEADLINE]['value']:.3f} against {tables[best][HEADLINE]['value']:.3f}) and "
            f"raises an alert for {alerts.mean():.2%} of the transactions."
        ),
    }


def _exchange(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The rows, some with a random half of their numbers from other rows; and which of them, [rows] of 0 and 1."""
    labels = (rng.random(len(x)) < EXCHANGED).astype(np.int64)
    chosen = np.flatnonzero(labels)
    made = x.copy()
    made[chosen] = np.where(rng.random((len(chosen), x.shape[1])) < 0.5, x[rng.integers(0, len(x), len(chosen))], x[chosen])
    return made, labels


def _write_predictions(run: Run, detector: Detector, prepared: Prepared, part: splits.Part) -> None:
    frame = prepared.transactions.frame.iloc[part.judge]
    scored = detector.decide(prepared.take(part.judge, detector.inputs), frame["amount"].to_numpy())
    table = {
        "transaction": frame["transaction"].astype("str"),
        "time": pd.to_datetime(frame["time"], unit="ms"),
        "amount": frame["amount"],
        "score": scored.scores,
        "alert": scored.alerts,
    }
    with whole(run.folder / "predictions.parquet") as partial:
        made = pd.DataFrame(table).sort_values("score", ascending=False, kind="stable")
        pq.write_table(pa.Table.from_pandas(made, preserve_index=False), partial)
