"""Recommendation: what a person is likely to choose next, from what they and others chose before."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.recommendation.benchmark import BENCHMARKS
from usecases.recommendation.config import RecommendationConfig
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
    demo=demo,
)
