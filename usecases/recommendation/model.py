"""The recommender: several scorers, trained alike, and the blend of them that wins on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn import functional as F

from usecases.recommendation import metrics, networks
from usecases.recommendation.config import Transformer, Vae
from usecases.recommendation.linear import Linear
from usecases.recommendation.splits import Histories, Queries

CHUNK = 512  # users scored at once: their scores stay in the processor's cache
NEIGHBOURS = 10


class Member(Protocol):
    """Something that scores the trained items for users with at least one known event."""

    def score(self, known: Histories) -> torch.Tensor:
        """[users, items] float32, higher is better."""
        ...

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors, and settings as JSON."""
        ...


class Popularity:
    """The same scores for everyone: how many past users had the item."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = torch.from_numpy(counts.astype(np.float32))

    def score(self, known: Histories) -> torch.Tensor:
        return self.counts.expand(len(known), -1)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {"counts": self.counts}, {}


class Neural:
    """A trained network as a member."""

    def __init__(self, network: networks.VaeRecommender | networks.TransformerRecommender, longest: int | None) -> None:
        self.network, self.longest = network.eval(), longest

    @torch.inference_mode()
    def score(self, known: Histories) -> torch.Tensor:
        device = next(self.network.parameters()).device
        if not self.longest and len(known) <= CHUNK:
            batch = {name: tensor.to(device) for name, tensor in networks.pack(known).items()}
            return self.network(batch).float().cpu()
        seen = known.last(self.longest) if self.longest else known
        order = np.argsort(seen.lengths, kind="stable")  # like lengths together: little padding
        scores = torch.empty(len(known), self.network.n_items)
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            batch = {name: tensor.to(device) for name, tensor in networks.pack(seen.take(rows)).items()}
            scores[rows] = self.network(batch).float().cpu()
        return scores

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return self.network.state_dict(), {"config": self.network.config.model_dump(), "n_items": self.network.n_items}


def restore(name: str, tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> Member:
    """A member from its saved state."""
    if name == "popularity":
        return Popularity(tensors["counts"].numpy())
    if name in ("near_ease", "near_knn"):
        return Linear.restore(tensors, settings)
    network: networks.VaeRecommender | networks.TransformerRecommender
    if name == "vae":
        network, longest = networks.VaeRecommender(settings["n_items"], Vae(**settings["config"])), None
    else:
        shape = Transformer(**settings["config"])
        network, longest = networks.TransformerRecommender(settings["n_items"], shape), shape.max_length
    network.load_state_dict(tensors)
    return Neural(network, longest)


@dataclass(frozen=True)
class ColdLinks:
    """For each item that no member is trained on, its nearest trained items by text.

    Such an item scores as they do on average, less a `penalty` (in standard deviations of a user's scores): its
    neighbours were chosen by many, it was not.
    """

    indices: torch.Tensor
    weights: torch.Tensor
    penalty: torch.Tensor

    @classmethod
    def none(cls, cold: int) -> ColdLinks:
        return cls(torch.zeros(cold, 0, dtype=torch.int64), torch.zeros(cold, 0), torch.zeros(()))

    @classmethod
    def nearest(cls, warm: torch.Tensor, cold: torch.Tensor, penalty: float = 0.0) -> ColdLinks:
        """From unit vectors of the texts, [warm, dim] and [cold, dim]; items without a text (zero vectors) get no link."""
        similarity, indices = (cold @ warm.T).topk(min(NEIGHBOURS, len(warm)))
        weights = torch.softmax(similarity * 20, dim=-1) * (cold.norm(dim=-1, keepdim=True) > 0)
        return cls(indices, weights, torch.tensor(penalty))

    def matrix(self, warm: int) -> sp.csr_matrix:
        """[cold, warm] sparse."""
        count, width = self.indices.shape
        pointers = np.arange(0, count * width + 1, width)
        return sp.csr_matrix((self.weights.flatten().numpy(), self.indices.flatten().numpy(), pointers), shape=(count, warm))


@dataclass(frozen=True)
class Blend:
    """A weighted sum of members, each standardised a user; popularity where nothing is known of a user.

    Attributes:
        popularity: [warm] events.
        cold: links of the items beyond the warm ones.
        exported: scores in everything's place; see `export`.
    """

    members: Mapping[str, Member]
    weights: Mapping[str, float]
    popularity: torch.Tensor
    cold: ColdLinks
    exported: Callable[[Histories], torch.Tensor] | None = None

    @property
    def n_items(self) -> int:
        return len(self.popularity) + len(self.cold.indices)

    def score(self, known: Histories) -> torch.Tensor:
        """[users, n_items] float32; items that cannot be scored are -inf."""
        if self.exported is not None:
            return self.exported(known)
        inside = self._trained_events(known)
        usable = np.flatnonzero(inside.lengths > 0)
        asked = inside if len(usable) == len(known) else inside.take(usable)
        scores = (
            add_up([(weight, self.members[name].score(asked)) for name, weight in self.weights.items()]) if len(asked) else None
        )
        if scores is None or len(asked) < len(known):
            everyone = standardise(self.popularity[None]).repeat(len(known), 1)
            if scores is not None:
                everyone[usable] = scores
            scores = everyone
        if not len(self.cold.indices):
            return scores
        if not self.cold.indices.shape[1]:
            return torch.cat([scores, scores.new_full((len(scores), len(self.cold.indices)), -torch.inf)], dim=1)
        linked = torch.from_numpy((self.cold.matrix(len(self.popularity)) @ scores.numpy().T).T)
        linked -= self.cold.penalty
        linked[:, self.cold.weights.sum(-1) == 0] = -torch.inf
        return torch.cat([scores, linked], dim=1)

    def _trained_events(self, known: Histories) -> Histories:
        """Events of trained items; a user who has none, but of items linked by text, is given their nearest trained items."""
        warm = len(self.popularity)
        cold = known.items >= warm
        if not cold.any() or not self.cold.indices.shape[1]:
            return known.keep(~cold)
        lost = np.bincount(known.rows[~cold], minlength=len(known)) == 0
        linked = cold & lost[known.rows]
        items = known.items.copy()
        items[linked] = self.cold.indices[known.items[linked] - warm, 0].numpy()
        return Histories(known.offsets, items, known.weights, known.times).keep(~cold | linked)


def standardise(scores: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit deviation in each row, so that members of different scale can be added."""
    return add_up([(1.0, scores)])


def add_up(parts: Sequence[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """The weighted sum of standardised scores, [users, items], in as few passes over memory as it takes."""
    total, shift = torch.zeros(()), torch.zeros(())
    for weight, scores in parts:
        mean = scores.mean(1, keepdim=True)
        variance = torch.linalg.vector_norm(scores, dim=1, keepdim=True) ** 2 / scores.shape[1] - mean**2
        scale = weight / variance.clamp(min=1e-18).sqrt()
        total = total.addcmul_(scores, scale) if total.dim() else scores * scale
        shift = shift + scale * mean
    return total.sub_(shift)


def recommend(score: Callable[[Histories], torch.Tensor], known: Histories, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best items that are not known, and their scores, [users, k] each, in constant memory.

    A list that is shorter, for want of items, is filled up with scores of -inf.
    """
    tops, values = [], []
    for start in range(0, len(known), CHUNK):
        asked = known.take(slice(start, start + CHUNK))
        scores = score(asked).clone()
        inside = asked.items < scores.shape[1]
        scores[torch.from_numpy(asked.rows[inside]), torch.from_numpy(asked.items[inside])] = -torch.inf
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        missing = (0, k - best.values.shape[1])
        tops.append(F.pad(best.indices, missing).numpy())
        values.append(F.pad(best.values, missing, value=-torch.inf).numpy())
    return np.concatenate(tops), np.concatenate(values)


def ndcg(score: Callable[[Histories], torch.Tensor], queries: Queries, n_items: int, k: int) -> float:
    """Mean NDCG at k over queries that have a target."""
    top, scores = recommend(score, queries.known, k)
    hit = metrics.hits(top, queries.targets, n_items) & np.isfinite(scores)
    asked = queries.targets.lengths > 0
    return float(metrics.per_user(hit[asked], queries.targets.lengths[asked], (k,))[f"ndcg@{k}"].mean())
