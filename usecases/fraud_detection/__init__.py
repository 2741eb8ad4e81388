"""Fraud detection: which card transactions to look at, and why."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.fraud_detection.benchmark import BENCHMARKS
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.detector import NAME, Detector
from usecases.fraud_detection.judged import judged
from usecases.fraud_detection.pipeline import evaluate, train
from usecases.fraud_detection.plain_predictor import RowDetector
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.splits import check
from usecases.fraud_detection.suggesting import suggest


def demo(page: Any) -> None:
    """The page; Gradio is imported only here."""
    from usecases.fraud_detection import demo, plain_demo

    (plain_demo if isinstance(page.predictor, RowDetector) else demo).page(page)


def load(folder: Path) -> FraudDetector | RowDetector:
    """The model in an artefact: of payments, or of rows that stand for themselves."""
    detector = Detector.load(folder)
    return FraudDetector(detector) if detector.source.timed else RowDetector(detector)


USECASE = UseCase(
    name=NAME,
    title="Fraud detection",
    summary="Which transactions to look at first, and why, from a table of payments with known frauds.",
    config=FraudConfig,
    configs=Path(__file__).parent / "configs",
    train=train,
    load=load,
    request=FraudDetector.Request,
    response=FraudDetector.Response,
    evaluate=evaluate,
    check=check,
    suggest=suggest,
    benchmarks=BENCHMARKS,
    judged=judged,
    widths=lambda config: ("model.tabular.hidden", "model.sequence.hidden", "model.anomaly.hidden"),
    knobs={
        "model.tabular.training.learning_rate": "1e-3..2e-2",
        "model.tabular.training.epochs": "3..20",
        "model.tabular.hidden": "32,64,128,256",
        "model.tabular.dropout": "0..0.4",
        "model.sequence.training.learning_rate": "1e-3..2e-2",
        "model.sequence.hidden": "16,32,64",
    },
    demo=demo,
)
