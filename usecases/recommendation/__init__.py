"""Recommendation: what a person is likely to choose next, from what they and others chose before."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.recommendation.benchmark import BENCHMARKS
from usecases.recommendation.config import RecommendationConfig
from usecases.recommendation.judged import judged
from usecases.recommendation.pipeline import evaluate, train
from usecases.recommendation.predictor import NAME, Recommender
from usecases.recommendation.splits import check
from usecases.recommendation.suggesting import suggest


def demo(page: Any) -> None:
    """The page; Gradio is imported only here."""
    from usecases.recommendation.demo import page as build

    build(page)


USECASE = UseCase(
    name=NAME,
    title="Recommendation",
    summary="What a person is likely to choose next, from a table of who chose what.",
    config=RecommendationConfig,
    configs=Path(__file__).parent / "configs",
    train=train,
    load=Recommender.load,
    request=Recommender.Request,
    response=Recommender.Response,
    evaluate=evaluate,
    check=check,
    suggest=suggest,
    benchmarks=BENCHMARKS,
    judged=judged,
    widths=lambda config: ("model.vae.hidden", "model.vae.latent", "model.transformer.dim"),
    knobs={
        "model.vae.training.learning_rate": "5e-4..1e-2",
        "model.vae.dropout": "0.2..0.7",
        "model.vae.hidden": "64..512",
        "model.transformer.training.learning_rate": "5e-4..1e-2",
        "model.transformer.dim": "32,64,128",
        "model.transformer.dropout": "0.1..0.6",
    },
    demo=demo,
)
