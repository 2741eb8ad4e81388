"""How well messages are understood that were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.evaluation.calibration import Calibration
from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import Bootstrap, bootstrap_groups
from usecases.chatbot.protocols import Scores

HEADLINE = "accuracy"
RESAMPLES = 1000
SHOWN = 12  # pairs of intents that are confused

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Judged:
    """Messages with what is known of them: `labels` [n] are places among `intents`, -1 for a message about none of them."""

    intents: Sequence[str]
    texts: Sequence[str]
    labels: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        return self.labels >= 0


def statistics(judged: Judged, scores: Scores, limit: float) -> dict[str, Statistic]:
    """Metric name to a function of the messages' weights [n].

    `accuracy`, `macro_f1` and `ece` are of the likeliest intent of the messages that have one. Where some have none, `oos_auroc`
    ranks all by `outside`; `oos_recall` is the share of them that is taken for that, and `oos_false_alarms` that of the others.
    """
    labels, inside = judged.labels, judged.inside
    likeliest, sure = scores.probabilities.argmax(1), scores.probabilities.max(1)
    right = likeliest == labels
    calibration = Calibration(np.clip(sure[inside], 0, 1), right[inside].astype(np.int64))
    count = len(judged.intents)

    def macro_f1(weights: np.ndarray) -> float:
        """Over the intents that occur."""
        own = weights * inside
        hit = np.bincount(likeliest, own * right, count)
        said, truth = np.bincount(likeliest, own, count), np.bincount(np.maximum(labels, 0), own, count)
        there = truth > 0
        return float(np.mean(2 * hit[there] / (said + truth)[there])) if there.any() else float("nan")

    made: dict[str, Statistic] = {
        "accuracy": _share(right, inside),
        "macro_f1": macro_f1,
        "ece": lambda weights: calibration.ece(weights[inside]),
    }
    if inside.any() and not inside.all():
        ranked, refused = Ranked((~inside).astype(int), scores.outside), scores.outside >= limit
        made |= {
            "oos_auroc": ranked.roc_auc,
            "oos_recall": _share(refused, ~inside),
            "oos_false_alarms": _share(refused, inside),
        }
    return made


def _share(hit: np.ndarray, of: np.ndarray) -> Statistic:
    """The weighted share of `hit` [n] among `of` [n]; nan where these have no weight."""

    def share(weights: np.ndarray) -> float:
        own = weights * of
        return float(own @ hit / own.sum()) if own.sum() > 0 else float("nan")

    return share


def bootstrap(judged: Judged, methods: Mapping[str, Scores], limits: Mapping[str, float]) -> Bootstrap:
    """All metrics of all methods in the same resamples of messages; names are `metric method`."""
    made = {
        f"{metric} {name}": one
        for name, scores in methods.items()
        for metric, one in statistics(judged, scores, limits[name]).items()
    }
    return bootstrap_groups(np.arange(len(judged.labels)), made, resamples=RESAMPLES)


def summarise(judged: Judged, methods: Mapping[str, Scores], limits: Mapping[str, float], ours: str) -> dict[str, Any]:
    """The numbers for metrics.json.

    Args:
        methods: name to what it says of the messages. `ours` is the one that is used, all others are simple baselines.
        limits: from which `outside` on each takes a message for one that is about no intent.
    """
    draws = bootstrap(judged, methods, limits)
    found = {name: [key.removesuffix(f" {name}") for key in draws.values if key.endswith(f" {name}")] for name in methods}
    tables = {name: {metric: draws.interval(f"{metric} {name}").as_dict() for metric in own} for name, own in found.items()}
    others = [name for name in methods if name != ours]
    best = max(others, key=lambda name: tables[name][HEADLINE]["value"], default=None)
    result = {
        "usecase": "chatbot",
        "headline": HEADLINE,
        "name": ours,
        "model": tables[ours],
        "baselines": {name: tables[name] for name in others},
        "best_baseline": best,
        "differences": {
            name: {metric: draws.difference(f"{metric} {ours}", f"{metric} {name}").as_dict() for metric in found[name]}
            for name in others
        },
        "intervals": f"95%, bootstrap over {len(judged.labels):,} messages",
        "intents": by_intent(judged, methods[ours]),
        "confused": confusions(judged, methods[ours]),
    }
    return {**result, "conclusion": conclude(result)}


def by_intent(judged: Judged, scores: Scores) -> list[dict[str, Any]]:
    """Recall and precision of each intent that occurs, the worst first."""
    likeliest = scores.probabilities.argmax(1)
    rows = []
    for place, name in enumerate(judged.intents):
        truth, said = judged.labels == place, (likeliest == place) & judged.inside
        if truth.any():
            hit = float((truth & said).sum())
            precision = hit / said.sum() if said.any() else None
            rows.append({"intent": name, "messages": int(truth.sum()), "recall": hit / truth.sum(), "precision": precision})
    return sorted(rows, key=lambda row: (row["recall"], row["precision"] or 0))


def confusions(judged: Judged, scores: Scores) -> list[dict[str, Any]]:
    """The most frequent mistakes, each with a message."""
    likeliest = scores.probabilities.argmax(1)
    found: dict[tuple[int, int], list[str]] = {}
    for text, label, guess in zip(judged.texts, judged.labels, likeliest, strict=True):
        if label >= 0 and label != guess:
            found.setdefault((int(label), int(guess)), []).append(text)
    ranked = sorted(found.items(), key=lambda pair: -len(pair[1]))[:SHOWN]
    return [
        {"is": judged.intents[label], "taken for": judged.intents[guess], "times": len(texts), "such as": texts[0][:160]}
        for (label, guess), texts in ranked
    ]


def conclude(result: Mapping[str, Any]) -> str:
    """The sentence to remember."""
    model, best = result["model"], result["best_baseline"]
    own = f"{model[HEADLINE]['value']:.1%} [{model[HEADLINE]['low']:.1%}, {model[HEADLINE]['high']:.1%}]"
    if best is None:
        return f"The {result['name']} understands {own} of the messages that it was not trained on."
    gap = result["differences"][best][HEADLINE]
    verdict = "more than" if gap["low"] > 0 else "fewer than" if gap["high"] < 0 else "about as many as"
    other = result["baselines"][best][HEADLINE]["value"]
    return (
        f"The {result['name']} gives {own} of the messages that it was not trained on the right intent, {verdict} the best "
        f"simple method ({best}), which gives it to {other:.1%}."
    )
