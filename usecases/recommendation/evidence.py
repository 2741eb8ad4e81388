"""How good the recommender is, against the simple methods, for whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from shared.evaluation.intervals import Interval, bootstrap_mean
from usecases.recommendation import metrics
from usecases.recommendation.blending import NETWORKS
from usecases.recommendation.model import recommend
from usecases.recommendation.splits import Histories, Stage

Score = Callable[[Histories], torch.Tensor]
SMALLEST_SLICE = 5


@dataclass(frozen=True)
class Judged:
    """One method on the stage's queries that have a target.

    Attributes:
        top, scores: [users, k] best items and their scores.
        hit: [users, k] which of them are targets.
        values: metric name to [users].
        beyond: coverage, novelty and popularity of the lists as a whole.
    """

    top: np.ndarray
    scores: np.ndarray
    hit: np.ndarray
    values: dict[str, np.ndarray]
    beyond: dict[str, float]

    def intervals(self) -> dict[str, dict[str, float]]:
        return {name: bootstrap_mean(values).as_dict() for name, values in self.values.items()}

    def ordered(self, order: np.ndarray) -> Judged:
        """The same with the users in another order."""
        values = {name: one[order] for name, one in self.values.items()}
        return Judged(self.top[order], self.scores[order], self.hit[order], values, self.beyond)


class Judge:
    """Ranks the full catalogue for the users of a stage who have a target, and compares methods on them."""

    def __init__(self, stage: Stage, at: tuple[int, ...]) -> None:
        self.stage, self.at = stage, at
        self.asked = np.flatnonzero(stage.queries.targets.lengths > 0)
        self.users = stage.queries.users[self.asked]
        self.known = stage.queries.known.take(self.asked)
        self.targets = stage.queries.targets.take(self.asked)
        self.new = stage.queries.new[self.asked]
        self.popularity = np.bincount(stage.past.items, minlength=len(stage.catalogue)) / len(stage.past)

    @property
    def headline(self) -> str:
        return f"ndcg@{self.at[0]}"

    def __call__(self, score: Score) -> Judged:
        top, scores = recommend(score, self.known, max(self.at))
        there = np.isfinite(scores)
        hit = metrics.hits(top, self.targets, len(self.stage.catalogue)) & there
        values = metrics.per_user(hit, self.targets.lengths, self.at)
        return Judged(top, scores, hit, values, metrics.beyond_accuracy(top, there, self.popularity, self.at[0]))

    def difference(self, ours: Judged, other: Judged) -> Interval:
        """Paired over users: ours minus the other, in the headline metric."""
        return bootstrap_mean(ours.values[self.headline] - other.values[self.headline])

    def slices(self, ours: Judged, other: Judged, groups: pd.DataFrame) -> list[dict[str, Any]]:
        """The headline metric of both, and their difference, for kinds of users; small slices are left out."""
        length = self.known.lengths
        middle = np.median(length)
        masks = {
            "known users": ~self.new,
            "new users, given their first events": self.new & (length > 0),
            "users with no known event": length == 0,
            f"light users (at most {middle:.0f} known events)": (length <= middle) & (length > 0),
            f"heavy users (more than {middle:.0f})": length > middle,
        }
        for column in groups:
            values = groups[column].reindex(self.users).astype("str").to_numpy()
            masks |= {f"{column}: {value}": values == value for value in pd.unique(values) if value != "nan"}
        rows = []
        for name, mask in masks.items():
            if mask.sum() < SMALLEST_SLICE:
                continue
            mine, theirs = ours.values[self.headline][mask], other.values[self.headline][mask]
            difference = bootstrap_mean(mine - theirs)
            rows.append({"slice": name, "users": int(mask.sum()), "model": bootstrap_mean(mine).as_dict(),
                         "baseline": round(float(theirs.mean()), 6), "difference": difference.as_dict()})  # fmt: skip
        return rows

    def new_items(self, ours: Judged) -> dict[str, Any]:
        """Recall of targets that no member was trained on, which are reached through their text alone."""
        k, warm = self.at[0], self.stage.catalogue.warm
        cold = self.targets.keep(self.targets.items >= warm)
        asked = cold.lengths > 0
        if asked.sum() < SMALLEST_SLICE:
            return {}
        found = (ours.hit[:, :k] & (ours.top[:, :k] >= warm)).sum(1)[asked] / cold.lengths[asked]
        shown = float((ours.top[:, :k] >= warm).mean())
        return {
            "users": int(asked.sum()),
            "targets": len(cold.items),
            f"recall@{k}": bootstrap_mean(found).as_dict(),
            "shown": round(shown, 4),
        }


def summarise(
    judge: Judge,
    ours: Judged,
    others: Mapping[str, Judged],
    baselines: Sequence[str],
    chosen: Sequence[str],
    groups: pd.DataFrame,
) -> dict[str, Any]:
    """The evidence as JSON. `others` (the `baselines`, and the model's `chosen` members) are judged alone."""
    metric = judge.headline
    mean = {name: one.values[metric].mean() for name, one in others.items()}
    rivals = [name for name in baselines if name in mean and list(chosen) != [name]]  # the model is no rival of itself
    best = max(rivals or baselines, key=lambda name: mean[name])
    difference = judge.difference(ours, others[best])
    return {
        "usecase": "recommendation",
        "name": "blend" if len(chosen) > 1 else chosen[0],
        "headline": metric,
        "model": ours.intervals(),
        "baselines": {name: others[name].intervals() for name in baselines if name in others},
        "parts": {name: one.intervals() for name, one in others.items() if name not in baselines},
        "best_baseline": best,
        "difference": {"name": best, **difference.as_dict()},
        "differences": {name: judge.difference(ours, one).as_dict() for name, one in others.items()},
        "lists": {"model": ours.beyond, **{name: one.beyond for name, one in others.items()}},
        "slices": judge.slices(ours, others[best], groups),
        "new_items": judge.new_items(ours),
        "conclusion": conclusion(difference, best, metric, chosen),
    }


NAMES = {
    "blend": "the model",
    "popularity": "popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
    "near_knn": "item-kNN near in time",
    "near_ease": "EASE near in time",
    "vae": "variational autoencoder",
    "transformer": "transformer",
}


def conclusion(difference: Interval, best: str, metric: str, chosen: Sequence[str]) -> str:
    """What the comparison with the strongest simple method says, in words; `chosen` are the model's members."""
    name = NAMES[best]
    made = f"The model ({' + '.join(NAMES[member] for member in chosen)})"
    if len(chosen) == 1 and chosen[0] not in NETWORKS:
        made = f"No network or blend was reliably better on validation, so the model is the simple method {NAMES[chosen[0]]}. It"
    gap = f"{difference.value:+.4f} {metric.upper()}, 95% interval {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.low > 0:
        return f"{made} is better than the strongest simple method beside it, {name}: {gap}."
    if difference.high < 0:
        return f"{made} is worse on the test part than the simple method {name}: {gap}. Use that: model.members=[{best}]."
    side = "ahead of" if difference.value > 0 else "behind"
    return f"{made} is {side} the strongest simple method beside it, {name}, by no more than chance could explain: {gap}."
