"""Medical imaging: X-ray and MRI, classified and outlined, with a probability one can use and a human where it is unsure."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.medical_imaging.benchmark import BENCHMARKS
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.data import check
from usecases.medical_imaging.judged import judged
from usecases.medical_imaging.pipeline import evaluate, train
from usecases.medical_imaging.predictor import NAME, MedicalPredictor
from usecases.medical_imaging.suggesting import suggest


def demo(page: Any) -> None:
    """The page; Gradio is imported only here."""
    from usecases.medical_imaging.demo import page as build

    build(page)


USECASE = UseCase(
    name=NAME,
    title="Medical imaging",
    summary="What an X-ray or MRI shows and where: calibrated, explained, referred to a human when unsure.",
    config=MedicalConfig,
    configs=Path(__file__).parent / "configs",
    train=train,
    load=MedicalPredictor.load,
    request=MedicalPredictor.Request,
    response=MedicalPredictor.Response,
    evaluate=evaluate,
    check=check,
    suggest=suggest,
    benchmarks=BENCHMARKS,
    judged=judged,
    widths=lambda config: ("model.widths", "model.masks") if config.network.backbone == "residual" else (),
    knobs={
        "model.training.learning_rate": "1e-4..1e-2",
        "model.training.weight_decay": "1e-4..1e-1",
        "model.training.epochs": "2..16",
        "model.smoothing": "0..0.2",
    },
    demo=demo,
)
