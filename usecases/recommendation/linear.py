"""Item-to-item recommenders: a user's scores are their weighted history times a matrix. No gradient, seconds to fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn import functional as F

from usecases.recommendation.splits import Histories

BLOCK = 2_000_000  # pairs of events that are summed at once; bounds memory
DENSE_UP_TO = 8_000  # items


@dataclass(frozen=True)
class Settings:
    """How a matrix is made from past events and how a history is weighted.

    Attributes:
        near: weight of how near two events are in their user's history: a pair counts exp(-distance / scale) times
            `near` plus 1 - near; 0 counts every pair alike.
        scale: of that distance, in events.
        backward: weight of a pair against the order of time; 1 is symmetric.
        row_power, column_power: how strongly frequent items are played down, as what was had and as what is suggested.
        decay: weight of an event of the history relative to the one after it; 1 weights all alike.
        l2: ridge penalty (EASE only).
        neighbours: kept for each item (item-kNN only).
        tag_weight: of a shared tag (genre, brand), as so many users who had both items (EASE only).
    """

    near: float = 0.0
    scale: float = 10.0
    backward: float = 1.0
    row_power: float = 0.0
    column_power: float = 0.0
    decay: float = 1.0
    l2: float = 400.0
    neighbours: int = 200
    tag_weight: float = 0.0


class Linear:
    """An item-to-item matrix, dense or sparse, and how a history is weighted."""

    def __init__(self, matrix: np.ndarray | sp.csr_matrix, settings: Settings) -> None:
        self.matrix, self.settings = matrix, settings

    def score(self, known: Histories) -> torch.Tensor:
        """[users, items] float32."""
        age = np.repeat(known.offsets[1:], known.lengths) - 1 - np.arange(len(known.items))
        weights = (self.settings.decay**age).astype(np.float32)
        if sp.issparse(self.matrix):
            return torch.from_numpy((known.matrix(self.matrix.shape[0], weights) @ self.matrix).toarray())
        bags = (torch.from_numpy(known.items), torch.from_numpy(self.matrix), torch.from_numpy(known.offsets[:-1]))
        return F.embedding_bag(*bags, mode="sum", per_sample_weights=torch.from_numpy(weights))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and settings from which `restore` makes it again."""
        if not sp.issparse(self.matrix):
            return {"matrix": torch.from_numpy(self.matrix)}, asdict(self.settings)
        parts = {name: torch.from_numpy(getattr(self.matrix, name)) for name in ("data", "indices", "indptr")}
        return parts, asdict(self.settings)

    @classmethod
    def restore(cls, tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> Self:
        if "matrix" in tensors:
            return cls(tensors["matrix"].numpy(), Settings(**settings))
        n_items = len(tensors["indptr"]) - 1
        parts = tuple(tensors[name].numpy() for name in ("data", "indices", "indptr"))
        return cls(sp.csr_matrix(parts, shape=(n_items, n_items)), Settings(**settings))


def popularity(past: Histories, n_items: int) -> np.ndarray:
    """[items] events in the past."""
    return np.bincount(past.items[past.items < n_items], minlength=n_items).astype(np.float32)


def fit_ease(pairs: sp.csr_matrix | np.ndarray, tags: sp.csr_matrix, settings: Settings) -> Linear:
    """EASE (Steck 2019, eq. 8): ridge regression of each item on all others, in closed form.

    With `near` the Gram matrix counts pairs by their nearness in time, so that what was chosen in one sitting says
    more; with `row_power` it is normalised by the items' frequencies to that power.

    Args:
        pairs: [items, items] from `count_pairs`, symmetric.
        tags: [items, tags].
    """
    if not isinstance(pairs, np.ndarray):
        pairs = pairs.toarray()
    frequency = np.maximum(np.diag(pairs), 1) ** settings.row_power
    together = pairs + settings.tag_weight * (tags @ tags.T).toarray() if settings.tag_weight else pairs
    gram = torch.from_numpy(together / frequency[:, None] / frequency[None])
    gram.diagonal().add_(settings.l2)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse.div_(-inverse.diagonal().clone()).numpy()
    np.fill_diagonal(weights, 0)
    return Linear(weights * (frequency[None] / frequency[:, None]).astype(np.float32), settings)


def fit_item_knn(pairs: sp.csr_matrix | np.ndarray, settings: Settings) -> Linear:
    """Item-based neighbours (Sarwar et al. 2001), of pairs near in time where `near` is set.

    Pairs are normalised by how many pairs each item is in, to a power each (as in RP3beta, Paudel et al. 2017), which
    does better on validation than by how many users have it (the cosine).
    """
    table = sp.csr_matrix(pairs, copy=True)
    table.setdiag(0)
    table.eliminate_zeros()
    row = np.maximum(np.asarray(table.sum(1)).ravel(), 1e-9) ** settings.row_power
    column = np.maximum(np.asarray(table.sum(0)).ravel(), 1e-9) ** settings.column_power
    table.data /= np.repeat(row, np.diff(table.indptr)) * column[table.indices]
    return Linear(_strongest(table, settings.neighbours), settings)


def count_pairs(past: Histories, n_items: int, near: float, scale: float, backward: float) -> sp.csr_matrix | np.ndarray:
    """[items, items] how often, or how near in time, two items are in one history: row first, column later.

    Dense where the catalogue is small; see `Settings` for the arguments.
    """
    together: sp.csr_matrix | np.ndarray = sp.csr_matrix((n_items, n_items), dtype=np.float32)
    if near < 1:
        bag = past.matrix(n_items)
        if n_items <= DENSE_UP_TO:
            together = np.zeros((n_items, n_items), np.float32)
            for start in range(0, bag.shape[0], 4096):
                rows = torch.from_numpy(bag[start : start + 4096].toarray())
                together += (rows.T @ rows).numpy()
        else:
            together = bag.T @ bag
        together = together * np.float32(1 - near)
    if near > 0:
        forward = sum(_near_pairs(past, n_items, scale), sp.csr_matrix((n_items, n_items), dtype=np.float32))
        alone = sp.diags_array(popularity(past, n_items))
        together = together + sp.csr_matrix(near * (forward + backward * forward.T + alone), dtype=np.float32)
    return np.asarray(together, np.float32) if isinstance(together, np.matrix | np.ndarray) else sp.csr_matrix(together)


def _near_pairs(past: Histories, n_items: int, scale: float) -> Iterable[sp.csr_matrix]:
    """Sparse sums of exp(-(rank difference) / scale) over pairs of events of a user, the earlier one as the row.

    Events at the same instant share the mean of their ranks. Pairs over 6 scales apart are left out (weight below .003).
    """
    past = past.keep(past.items < n_items)
    user, items = past.rows, past.items
    place = np.arange(len(items), dtype=np.float64)
    timed = past.times.any()
    if timed:
        first = np.r_[True, (np.diff(user) != 0) | (np.diff(past.times) != 0)]
        group = np.cumsum(first) - 1
        place = (np.bincount(group, place) / np.bincount(group))[group]
    rows, columns, weights, held = [], [], [], 0
    for distance in range(1, int(min(6 * scale, past.lengths.max(initial=1))) + 1):
        same = user[:-distance] == user[distance:]
        if not same.any():
            break
        apart = (place[distance:] - place[:-distance])[same]
        rows.append(items[:-distance][same])
        columns.append(items[distance:][same])
        weights.append(np.exp(-apart / scale).astype(np.float32))
        held += len(apart)
        if held > BLOCK:
            yield _sum_pairs(rows, columns, weights, n_items)
            rows, columns, weights, held = [], [], [], 0
    if rows:
        yield _sum_pairs(rows, columns, weights, n_items)


def _sum_pairs(rows: list[np.ndarray], columns: list[np.ndarray], weights: list[np.ndarray], n: int) -> sp.csr_matrix:
    return sp.csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))


def _strongest(matrix: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """The `keep` largest entries of each row."""
    blocks = []
    for start in range(0, matrix.shape[0], 1024):
        rows = torch.from_numpy(matrix[start : start + 1024].toarray())
        values, columns = rows.topk(min(keep, rows.shape[1]), dim=1)
        pointers = np.arange(0, values.numel() + 1, values.shape[1])
        parts = (values.flatten().numpy(), columns.flatten().numpy(), pointers)
        blocks.append(sp.csr_matrix(parts, shape=rows.shape))
    kept = sp.vstack(blocks, format="csr")
    kept.eliminate_zeros()
    return kept
