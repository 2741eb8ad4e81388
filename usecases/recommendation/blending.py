"""Weights of a blend, found on validation queries alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

from shared.evaluation.intervals import bootstrap_mean
from usecases.recommendation import metrics
from usecases.recommendation.model import Member, standardise
from usecases.recommendation.splits import Histories, Queries

SCORES = 40_000_000  # numbers held for one member; with more, a sample of the queries decides
DEPTH = 100
STEPS = (0.4, 0.2, 0.1, 0.05)
NETWORKS = ("vae", "transformer")
SURE = 0.8  # level of the two-sided interval that must be above zero
WORTH = 0.002  # share of the NDCG that a member must bring to stay


def choose_weights(members: Mapping[str, Member], queries: Queries, n_items: int, k: int, seed: int) -> dict[str, float]:
    """Non-negative weights, summing to 1, with the best NDCG at k; members that bring next to nothing are left out.

    A coordinate search from the best single member, over the union of every member's best items. Where the lead over the
    best closed-form member could be chance (paired 80% interval over the users), that member alone is chosen.
    """
    known = queries.known.keep(queries.known.items < n_items)
    usable = np.flatnonzero((known.lengths > 0) & (queries.targets.lengths > 0))
    most = max(100, SCORES // n_items)
    if len(usable) > most:
        usable = np.sort(np.random.default_rng(seed).choice(usable, most, replace=False))
    table = _Candidates(members, queries, known, usable, n_items, k)
    names = list(members)
    best = max(names, key=lambda name: table.ndcg({name: 1.0}))
    weights, value = _climb(table, {name: float(name == best) for name in names})
    for name in sorted(names, key=lambda n: weights[n]):
        rest = {other: w for other, w in weights.items() if other != name}
        if not any(rest.values()):
            continue
        rest, without = _climb(table, rest) if weights[name] else (rest, value)
        if without >= value * (1 - WORTH):
            weights, value = rest, without
    if simple := [name for name in names if name not in NETWORKS]:
        plain = {max(simple, key=lambda name: table.ndcg({name: 1.0})): 1.0}
        if bootstrap_mean(table.per_user(weights) - table.per_user(plain), level=SURE, seed=seed).low <= 0:
            weights = plain
    total = sum(weights.values())
    return {name: round(weight / total, 4) for name, weight in weights.items() if weight}


class _Candidates:
    """Standardised scores of every member for the items that any of them ranks high."""

    def __init__(
        self,
        members: Mapping[str, Member],
        queries: Queries,
        known: Histories,
        usable: np.ndarray,
        n_items: int,
        k: int,
    ) -> None:
        histories = known.take(usable)
        self.targets, self.k = queries.targets.take(usable), k
        rows, items = torch.from_numpy(histories.rows), torch.from_numpy(histories.items)
        scores = {name: standardise(member.score(histories)) for name, member in members.items()}
        for table in scores.values():
            table[rows, items] = -torch.inf
        tops = [table.topk(min(DEPTH, n_items), dim=1).indices for table in scores.values()]
        self.items = torch.cat(tops, dim=1).sort(dim=1).values
        again = torch.zeros_like(self.items, dtype=torch.bool)
        again[:, 1:] = self.items[:, 1:] == self.items[:, :-1]
        self.scores = {name: table.gather(1, self.items).masked_fill(again, -torch.inf) for name, table in scores.items()}
        self.hit = torch.from_numpy(metrics.hits(self.items.numpy(), self.targets, n_items)) & ~again

    def ndcg(self, weights: Mapping[str, float]) -> float:
        return float(self.per_user(weights).mean())

    def per_user(self, weights: Mapping[str, float]) -> np.ndarray:
        total = sum((w * self.scores[name] for name, w in weights.items() if w), torch.zeros(()))
        top = total.topk(min(self.k, self.items.shape[1]), dim=1).indices
        hit = F.pad(self.hit.gather(1, top), (0, self.k - top.shape[1])).numpy()
        return metrics.per_user(hit, self.targets.lengths, (self.k,))[f"ndcg@{self.k}"]


def _climb(table: _Candidates, weights: dict[str, float]) -> tuple[dict[str, float], float]:
    """Change one weight at a time, by ever smaller steps, while that helps."""
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1.0)
    best, value = dict(weights), table.ndcg(weights)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for name in best:
                for change in (step, -step):
                    trial = {**best, name: max(0.0, best[name] + change)}
                    if any(trial.values()) and (found := table.ndcg(trial)) > value + 1e-6:
                        best, value, improved = trial, found, True
    return best, value
