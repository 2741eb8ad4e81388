"""The blend as one graph for other programs: a user's items in, a score of each item of the catalogue out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.export import Arrays, Exportable
from shared.models.autoencoder import BagVAE
from shared.models.transformer import Block
from usecases.recommendation.linear import DENSE_UP_TO, Linear
from usecases.recommendation.model import Blend, Member, Neural, Popularity, standardise
from usecases.recommendation.networks import TransformerRecommender, VaeRecommender
from usecases.recommendation.splits import Histories

LEAST = 2  # events of a row: of one, PyTorch takes the length for a constant
TOP = 10  # items of a list, which a lower precision must not change


class Known(nn.Module):
    """Base of the members as modules: they are given `items`, `weights` and `there`, [batch, length] each, oldest event first.

    Events that are not there, perhaps between others, have any item and count nothing. Scores are [batch, trained items].
    """

    def forward(self, items: torch.Tensor, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Everyone(Known):
    """`model.Popularity`."""

    counts: torch.Tensor

    def __init__(self, member: Popularity) -> None:
        super().__init__()
        self.register_buffer("counts", member.counts)

    def forward(self, items: torch.Tensor, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return self.counts.expand(items.shape[0], -1)


class Products(Known):
    """`linear.Linear`: the sum of the items' rows of a matrix."""

    matrix: torch.Tensor

    def __init__(self, member: Linear) -> None:
        super().__init__()
        matrix = member.matrix if isinstance(member.matrix, np.ndarray) else member.matrix.toarray()
        self.register_buffer("matrix", torch.from_numpy(np.ascontiguousarray(matrix, np.float32)))
        self.decay = member.settings.decay

    def forward(self, items: torch.Tensor, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        count = there.long()
        age = count.sum(1, keepdim=True) - count.cumsum(1)  # of events after it
        share = there * torch.pow(torch.full_like(weights, self.decay), age)
        return (share.unsqueeze(1) @ self.matrix[items]).squeeze(1)


class Bags(Known):
    """`networks.VaeRecommender`."""

    def __init__(self, network: VaeRecommender) -> None:
        super().__init__()
        self.copies = network.copies

    def forward(self, items: torch.Tensor, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        share = F.normalize(weights * there, dim=1, eps=1e-6).unsqueeze(1)
        total = torch.zeros(())
        for copy in self.copies:
            assert isinstance(copy, BagVAE)
            hidden = torch.tanh((share @ copy.embed.weight[items]).squeeze(1) + copy.bias)
            total = total + copy.decoder(copy.code(hidden).chunk(2, dim=-1)[0]).softmax(-1)
        return (total / len(self.copies)).sqrt()


class Sequences(Known):
    """`networks.TransformerRecommender`."""

    def __init__(self, network: TransformerRecommender) -> None:
        super().__init__()
        self.items, self.places, self.encoder = network.items, network.places, network.encoder
        self.longest = network.config.max_length

    def forward(self, items: torch.Tensor, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        count = there.long()
        there = there & (count.sum(1, keepdim=True) - count.cumsum(1) < self.longest)
        place = (there.long().cumsum(1) - 1).clamp(min=0)
        x = self.encoder.norm(self.items(items) + self.places(place))
        order = torch.arange(items.shape[1])
        mask = (there.unsqueeze(1) & (order <= order.unsqueeze(1))) | (order == order.unsqueeze(1))
        for block in self.encoder.blocks:
            assert isinstance(block, Block)
            x = block.padded(x, mask.unsqueeze(1))
        last = (there * order).argmax(1)
        return x[torch.arange(len(x)), last] @ self.items.weight.T


class Graph(nn.Module):
    """What `Blend.score` computes."""

    popular: torch.Tensor
    indices: torch.Tensor
    links: torch.Tensor
    penalty: torch.Tensor

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        self.weights = list(blend.weights.values())
        self.members = nn.ModuleList(_module(name, blend.members[name]) for name in blend.weights)
        self.warm, (self.cold, self.linked) = len(blend.popularity), blend.cold.indices.shape
        self.register_buffer("popular", standardise(blend.popularity[None]))
        if self.cold and self.linked:
            self.register_buffer("indices", blend.cold.indices)
            self.register_buffer("links", blend.cold.weights)
            self.register_buffer("penalty", torch.where(blend.cold.weights.sum(-1) > 0, blend.cold.penalty, torch.inf))

    def forward(self, items: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor]:
        """int64 and float32 [batch, length] to scores [batch, items of the catalogue]."""
        given = weights > 0
        there = given & (items < self.warm)
        if (
            self.cold and self.linked
        ):  # who knows only items that no member is trained on is taken to know what these are linked to
            lost = ~there.any(1, keepdim=True)
            cold = given & (items >= self.warm)
            items = torch.where(cold, self.indices[(items - self.warm).clamp(min=0), 0], items)
            there = there | (cold & lost)
        items = torch.where(there, items, 0)
        scores = torch.zeros(())
        for weight, member in zip(self.weights, self.members, strict=True):
            made = member(items, weights, there)
            mean = made.mean(1, keepdim=True)
            scores = scores + weight * (made - mean) * made.var(1, correction=0, keepdim=True).clamp(min=1e-18).rsqrt()
        scores = torch.where(there.any(1, keepdim=True), scores, self.popular)
        if not self.cold:
            return (scores,)
        if not self.linked:
            return (F.pad(scores, (0, self.cold), value=-torch.inf),)
        return (torch.cat([scores, (scores[:, self.indices] * self.links).sum(-1) - self.penalty], 1),)


def _module(name: str, member: Member) -> Known:
    if isinstance(member, Popularity):
        return Everyone(member)
    if isinstance(member, Neural):
        return Bags(member.network) if isinstance(member.network, VaeRecommender) else Sequences(member.network)
    if isinstance(member, Linear) and member.matrix.shape[0] <= DENSE_UP_TO:
        return Products(member)
    why = f"has a table of more than {DENSE_UP_TO:,} items" if isinstance(member, Linear) else "has no such form"
    raise UserError(f"This model's part '{name}' cannot be exported: it {why}. Train one without it, or serve it with PyTorch.")


def as_arrays(known: Histories) -> Arrays:
    """Histories as the graph takes them: rows filled up with weights of 0."""
    shape = len(known), max(LEAST, int(known.lengths.max(initial=0)))
    items, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    place = np.arange(len(known.items)) - np.repeat(known.offsets[:-1], known.lengths)
    items[known.rows, place], weights[known.rows, place] = known.items, known.weights
    return {"items": items, "weights": weights}


def as_histories(arrays: Arrays) -> Histories:
    """The same histories again."""
    there = arrays["weights"] > 0
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int64)
    return Histories(offsets, arrays["items"][there], arrays["weights"][there], np.zeros(int(there.sum())))


def exportable(blend: Blend, ids: Sequence[str], known: Histories) -> Exportable:
    """
    Args:
        ids: of the catalogue's items.
        known: for the samples.

    Raises:
        UserError: a member of the blend has no form that can be exported.
    """
    return Exportable(
        module=Graph(blend).eval(),
        samples=as_arrays(known),
        alone=as_arrays(known.take(slice(1))),
        inputs={
            "items": "the user's items, oldest first, as places in answer.names; where the weight is 0, any",
            "weights": "how much each counts: 1, or more for a high rating; 0 fills up a row",
        },
        outputs={"scores": "[batch, items] comparable within a row; -inf: cannot be recommended"},
        usual=lambda arrays: {"scores": blend.score(as_histories(arrays)).numpy()},
        decide=lambda outputs: np.sort(np.argsort(-outputs["scores"], axis=1, kind="stable")[:, :TOP], axis=1),
        answer="scores",
        names=list(ids),
        free={"items": {1: "length"}, "weights": {1: "length"}},
        about={
            "members": dict(blend.weights),
            "in_the_graph": "every member, their standardising and weights, popularity for who has no items, links of new items",
            "not_in_the_graph": "leaving out items that the user has; allow and deny lists; diversity; reasons",
        },
    )
