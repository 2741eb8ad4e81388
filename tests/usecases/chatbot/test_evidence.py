"""The chatbot's metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from usecases.chatbot import evidence
from usecases.chatbot.evidence import Judged
from usecases.chatbot.protocols import Scores

INTENTS = ("cancel", "refund", "status")


def drawn(seed: int, strength: float, outsiders: int = 60) -> tuple[Judged, Scores]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.integers(0, 3, 200), np.full(outsiders, -1)])
    logits = rng.normal(size=(len(labels), 3)) + strength * (labels[:, None] == np.arange(3))
    odds = np.exp(logits)
    outside = 1 / (1 + np.exp(-rng.normal(size=len(labels)) - strength * (labels < 0)))
    return Judged(INTENTS, [f"message {i}" for i in range(len(labels))], labels), Scores(
        odds / odds.sum(1, keepdims=True), outside
    )


def test_metrics_are_those_of_scikit_learn() -> None:
    judged, scores = drawn(0, 1.5)
    ones, inside = np.ones(len(judged.labels)), judged.labels >= 0
    made = {name: statistic(ones) for name, statistic in evidence.statistics(judged, scores, 0.6).items()}
    likeliest = scores.probabilities.argmax(1)
    assert made["accuracy"] == pytest.approx((likeliest == judged.labels)[inside].mean())
    assert made["macro_f1"] == pytest.approx(f1_score(judged.labels[inside], likeliest[inside], average="macro"))
    assert made["oos_auroc"] == pytest.approx(roc_auc_score(~inside, scores.outside))
    assert made["oos_recall"] == pytest.approx((scores.outside[~inside] >= 0.6).mean())
    assert made["oos_false_alarms"] == pytest.approx((scores.outside[inside] >= 0.6).mean())


def test_without_messages_about_nothing_there_is_no_figure_for_them() -> None:
    judged, scores = drawn(0, 1.5, outsiders=0)
    assert set(evidence.statistics(judged, scores, 0.5)) == {"accuracy", "macro_f1", "ece"}


def test_the_verdict_follows_the_paired_interval() -> None:
    judged, weak = drawn(1, 0.5)
    _, strong = drawn(1, 3.0)
    limits = {"network": 0.5, "words": 0.5}
    said = {
        name: evidence.summarise(judged, {"network": ours, "words": theirs}, limits, "network")
        for name, ours, theirs in (("more", strong, weak), ("fewer", weak, strong), ("same", weak, weak))
    }
    assert "more than the best simple method (words)" in said["more"]["conclusion"]
    assert "fewer than the best" in said["fewer"]["conclusion"]
    assert "about as many as" in said["same"]["conclusion"]
    gap = said["more"]["differences"]["words"]["accuracy"]
    assert gap["value"] == pytest.approx(
        said["more"]["model"]["accuracy"]["value"] - said["more"]["baselines"]["words"]["accuracy"]["value"], abs=1e-5
    )


def test_confusions_are_counted_with_a_message_and_the_worst_intent_is_first() -> None:
    probabilities = np.eye(3)[[1, 1, 0, 1, 2, 2]]
    judged = Judged(INTENTS, ["a", "b", "c", "d", "e", "f"], np.array([0, 0, 0, 1, 2, -1]))
    scores = Scores(probabilities, np.zeros(6))
    assert evidence.confusions(judged, scores) == [{"is": "cancel", "taken for": "refund", "times": 2, "such as": "a"}]
    rows = evidence.by_intent(judged, scores)
    assert rows[0] == {"intent": "cancel", "messages": 3, "recall": pytest.approx(1 / 3), "precision": 1.0}
    assert {row["intent"]: row["precision"] for row in rows}["status"] == 1  # a message about nothing is not its fault here
