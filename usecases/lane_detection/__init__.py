"""Lane detection: the lines between lanes, from a camera behind the windscreen."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.lane_detection.benchmark import BENCHMARKS
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.data import check
from usecases.lane_detection.judged import judged
from usecases.lane_detection.pipeline import evaluate, train
from usecases.lane_detection.predictor import NAME, LanePredictor
from usecases.lane_detection.suggesting import suggest
from usecases.lane_detection.tools import TOOLS


def demo(page: Any) -> None:
    """The page; Gradio is imported only here."""
    from usecases.lane_detection.demo import page as build

    build(page)


USECASE = UseCase(
    name=NAME,
    title="Lane detection",
    summary="Where the lanes are, from a camera: lines, offset, curvature and warnings, in real time.",
    config=LaneConfig,
    configs=Path(__file__).parent / "configs",
    train=train,
    load=LanePredictor.load,
    request=LanePredictor.Request,
    response=LanePredictor.Response,
    evaluate=evaluate,
    check=check,
    suggest=suggest,
    benchmarks=BENCHMARKS,
    tools=TOOLS,
    judged=judged,
    widths=lambda config: ("model.widths", "model.features"),
    knobs={
        "model.training.learning_rate": "3e-4..5e-3",
        "model.training.weight_decay": "1e-4..1e-1",
        "model.training.epochs": "3..12",
        "model.features": "32,64,96",
        "decide.row": "0.2..0.5",
    },
    demo=demo,
)
