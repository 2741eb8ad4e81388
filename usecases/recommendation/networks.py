"""The neural recommenders: a variational autoencoder over the bag of a user's items, a transformer over their sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from shared.models.autoencoder import BagVAE
from shared.models.transformer import CausalTransformer, rows_and_positions
from shared.training import Validation
from usecases.recommendation.config import Transformer, Vae
from usecases.recommendation.splits import Histories, Queries

Batch = dict[str, torch.Tensor]
MONITORED = 10  # list length of the NDCG that decides which epoch is best


class Users(Dataset[tuple[np.ndarray, ...]]):
    """One example a user: items and their weights; with `targets` also the items to find, and all that are `known`.

    `longest` limits what a network is shown to each user's last events.
    """

    def __init__(self, known: Histories, targets: Histories | None = None, longest: int | None = None) -> None:
        self.known, self.targets, self.longest = known, targets, longest

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, user: int) -> tuple[np.ndarray, ...]:
        span = slice(self.known.offsets[user], self.known.offsets[user + 1])
        items, weights = self.known.items[span], self.known.weights[span]
        last = slice(-self.longest, None) if self.longest else slice(None)
        if self.targets is None:
            return items[last], weights[last]
        return (
            items[last],
            weights[last],
            items,
            self.targets.items[self.targets.offsets[user] : self.targets.offsets[user + 1]],
        )


def collate(examples: list[tuple[np.ndarray, ...]]) -> Batch:
    """Packed tensors: items, weights [tokens], lengths [batch]; with targets also known and wanted, with their lengths."""
    items, weights, *targets = zip(*examples, strict=True)
    batch = {
        "items": torch.from_numpy(np.concatenate(items)),
        "weights": torch.from_numpy(np.concatenate(weights)),
        "lengths": torch.tensor([len(i) for i in items]),
    }
    for name, lists in zip(("known", "wanted"), targets, strict=False):
        batch[name] = torch.from_numpy(np.concatenate(lists))
        batch[f"{name}_lengths"] = torch.tensor([len(one) for one in lists])
    return batch


def pack(known: Histories) -> Batch:
    """Histories as the networks take them."""
    return {
        "items": torch.from_numpy(known.items),
        "weights": torch.from_numpy(known.weights),
        "lengths": torch.from_numpy(known.lengths),
    }


class VaeRecommender(nn.Module):
    """A small ensemble of Mult-VAEs. In training the forward pass gives each one's logits and divergence, in evaluation
    scores [batch, items]: the square root of the mean probability, which adds up better with other members than logits.
    """

    def __init__(self, n_items: int, config: Vae) -> None:
        super().__init__()
        self.n_items, self.config = n_items, config
        self.copies = nn.ModuleList(BagVAE(n_items, config.hidden, config.latent, config.dropout) for _ in range(config.copies))

    def expect(self, counts: np.ndarray) -> Self:
        """Start from how frequent each item is; [items]."""
        for copy in self.copies:
            assert isinstance(copy, BagVAE)
            copy.expect(torch.from_numpy(counts))
        return self

    def forward(self, batch: Batch) -> Any:
        outputs = [copy(batch["items"], batch["weights"], batch["lengths"]) for copy in self.copies]
        if self.training:
            return outputs
        total = outputs[0][0].float().softmax(-1)
        for logits, _ in outputs[1:]:
            total += logits.float().softmax(-1)
        return (total / len(outputs)).sqrt_()

    def objective(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The negative evidence lower bound with a weighted divergence, mean over users (Liang et al. 2018, eq. 7).

        Each item counts with its event's weight; a user counts as many events as they have.
        """
        lengths, weights = batch["lengths"], batch["weights"]
        row, _ = rows_and_positions(lengths)
        share = weights * (lengths / torch.zeros(len(lengths), device=weights.device).index_add(0, row, weights))[row]
        outputs = model(batch)
        loss = torch.zeros((), device=weights.device)
        for logits, divergence in outputs:
            likelihood = (F.log_softmax(logits.float(), dim=-1)[row, batch["items"]] * share).sum() / len(lengths)
            loss = loss + self.config.kl_weight * divergence.mean() - likelihood
        return {"loss": loss, "output": outputs[0][0]}


class TransformerRecommender(nn.Module):
    """SASRec with a softmax over the catalogue, sampled and corrected where the catalogue is large.

    In training the forward pass gives a vector for each event but the last of each user, in evaluation scores
    [batch, items] of what comes next.
    """

    def __init__(self, n_items: int, config: Transformer) -> None:
        super().__init__()
        self.n_items, self.config = n_items, config
        self.items = nn.Embedding(n_items, config.dim)
        self.places = nn.Embedding(config.max_length, config.dim)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        self.encoder = CausalTransformer(config.dim, config.layers, config.heads, config.dropout)
        self.register_buffer("share", torch.full((n_items,), 1 / n_items), persistent=False)

    def expect(self, counts: np.ndarray) -> Self:
        """Tell the sampled softmax how frequent each item is as a target; [items]."""
        self.share = torch.from_numpy(counts / counts.sum()).float().clamp(max=0.999)
        return self

    def start_from(self, pairs: sp.csr_matrix, seed: int) -> Self:
        """Add to the random item vectors what co-occurrence knows: the leading singular vectors of the normalised pairs.

        Halves the epochs needed and ends in a better place than random vectors alone; pairs: [items, items].
        """
        both = sp.csr_matrix(pairs + pairs.T, dtype=np.float32)
        scale = sp.diags_array(np.maximum(np.asarray(both.sum(1)).ravel(), 1e-3) ** -0.5)
        rank = min(self.config.dim, self.n_items - 1)
        left, strength, _ = randomized_svd(scale @ both @ scale, rank, n_iter=4, random_state=seed)
        vectors = F.normalize(torch.from_numpy((left * np.sqrt(strength)).astype(np.float32)), dim=-1) * rank**0.5
        turn, _ = torch.linalg.qr(torch.randn(rank, rank, generator=torch.Generator().manual_seed(seed)))
        with torch.no_grad():
            self.items.weight[:, :rank] += self.config.warm_start * (vectors @ turn)
        return self

    def forward(self, batch: Batch) -> torch.Tensor:
        items, lengths = batch["items"], batch["lengths"]
        _, place = rows_and_positions(lengths)
        if self.training:  # the last event of each is a target only
            ends = torch.cumsum(lengths, 0) - 1
            kept = torch.ones(len(items), dtype=torch.bool, device=items.device)
            kept[ends] = False
            items, place, lengths = items[kept], place[kept], lengths - 1
        hidden = self.encoder(self.items(items) + self.places(place), lengths)
        if self.training:
            return hidden
        return hidden[torch.cumsum(lengths, 0) - 1] @ self.items.weight.T

    def objective(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Cross-entropy of each next item.

        With more than `full_softmax_up_to` items the candidates are the batch's targets and `sampled` random items, each
        weighted by the inverse of its probability of being one, its own target by 1 (importance-sampled softmax,
        Bengio & Senécal 2003).
        """
        hidden = model(batch)
        _, place = rows_and_positions(batch["lengths"])
        targets = batch["items"][place > 0]
        n_items = self.n_items
        if n_items <= self.config.full_softmax_up_to:
            logits = hidden @ self.items.weight.T
            return {"loss": F.cross_entropy(logits, targets), "output": hidden}
        member = torch.zeros(n_items, dtype=torch.bool, device=hidden.device)
        member[targets] = True
        member[torch.randint(n_items, (self.config.sampled,), device=hidden.device)] = True
        candidates = member.nonzero()[:, 0]
        missed = torch.log1p(-self.share[candidates]) * len(targets) + self.config.sampled * np.log1p(-1 / n_items)
        weight = -torch.log(-torch.expm1(missed))  # log of 1 / inclusion probability
        column = torch.searchsorted(candidates, targets)
        logits = hidden @ self.items.weight[candidates].T + weight
        own = torch.arange(len(targets), device=hidden.device)
        logits[own, column] = logits[own, column] - weight[column]
        return {"loss": F.cross_entropy(logits, column), "output": hidden}


def trainable(past: Histories, longest: int | None = None) -> Users:
    """Users with at least two events, with at most their `longest` last events."""
    past = past.take(np.flatnonzero(past.lengths >= 2))
    return Users(past, longest=longest)


def validation(queries: Queries, n_items: int, longest: int | None = None) -> Validation:
    """NDCG of the validation queries that have a history and a target among the `n_items` trained ones."""
    known, targets = queries.known.keep(queries.known.items < n_items), queries.targets
    usable = np.flatnonzero((known.lengths > 0) & (targets.lengths > 0))
    return Validation(Users(known.take(usable), targets.take(usable), longest), judge(n_items), f"ndcg@{MONITORED}")


def judge(n_items: int) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """NDCG of each user of a batch, [batch]; items already known are not ranked."""
    discount = 1 / torch.log2(torch.arange(2.0, MONITORED + 2))
    ideal = torch.cumsum(discount, 0)

    def ndcg(model: nn.Module, batch: Batch) -> torch.Tensor:
        scores = model(batch).float()
        row, _ = rows_and_positions(batch["known_lengths"])
        scores[row, batch["known"]] = -torch.inf
        wanted = torch.zeros(len(scores), n_items + 1, dtype=torch.bool, device=scores.device)
        asked, _ = rows_and_positions(batch["wanted_lengths"])
        wanted[asked, batch["wanted"].clamp(max=n_items)] = True  # untrained items cannot be found
        top = scores.topk(min(MONITORED, n_items)).indices
        gain = (wanted.gather(1, top) * discount[: top.shape[1]].to(scores.device)).sum(1)
        return gain / ideal.to(scores.device)[batch["wanted_lengths"].clamp(max=MONITORED) - 1]

    return ndcg
