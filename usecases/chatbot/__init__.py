"""Customer-service chatbot: understands, answers with sources, asks, hands over."""

from pathlib import Path
from typing import Any

from shared.usecase import UseCase
from usecases.chatbot.assistant import NAME
from usecases.chatbot.benchmark import BENCHMARKS
from usecases.chatbot.checks import check
from usecases.chatbot.config import ChatConfig
from usecases.chatbot.judged import judged
from usecases.chatbot.pipeline import evaluate, train
from usecases.chatbot.predictor import Chatbot
from usecases.chatbot.suggesting import suggest
from usecases.chatbot.tools import TOOLS


def demo(page: Any) -> None:
    """The page; Gradio is imported only here."""
    from usecases.chatbot.demo import page as build

    build(page)


USECASE = UseCase(
    name=NAME,
    title="Customer-service chatbot",
    summary="What a customer's message is about, answered from help articles, with forms, sources and a hand-over to people.",
    config=ChatConfig,
    configs=Path(__file__).parent / "configs",
    train=train,
    load=Chatbot.load,
    request=Chatbot.Request,
    response=Chatbot.Response,
    evaluate=evaluate,
    check=check,
    suggest=suggest,
    benchmarks=BENCHMARKS,
    tools=TOOLS,
    judged=judged,
    widths=lambda config: ("understanding.dim",) if config.understanding.network == "lstm" else (),
    knobs={
        "understanding.training.learning_rate": "3e-5..5e-4",
        "understanding.training.epochs": "2..8",
        "understanding.smoothing": "0..0.2",
        "understanding.scale": "8..32",
        "understanding.contrast": "0,0.1,0.3",
    },
    demo=demo,
)
