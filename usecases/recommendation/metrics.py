"""Ranking metrics over the full catalogue, one value a user; never over sampled negatives (Krichene & Rendle 2020)."""

from __future__ import annotations

import numpy as np

from usecases.recommendation.splits import Histories


def hits(top: np.ndarray, targets: Histories, n_items: int) -> np.ndarray:
    """[users, k] true where the recommended item is a target.

    Args:
        top: [users, k] item indices, best first.
        targets: what each user turned to.
        n_items: size of the catalogue, above every index.
    """
    wanted = targets.rows * np.int64(n_items) + targets.items
    given = np.arange(len(targets))[:, None] * np.int64(n_items) + top
    return np.isin(given, wanted)


def per_user(hit: np.ndarray, n_targets: np.ndarray, at: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Metrics by name, [users] each, for list lengths `at`.

    With binary gains: NDCG discounts by log2(rank + 1) against the best possible list of min(k, targets) hits
    (Järvelin & Kekäläinen 2002); recall is over all targets; MRR is the inverse rank of the first hit, 0 if none.

    Args:
        hit: [users, k] with k at least max(at).
        n_targets: [users], at least 1 each.
    """
    discount = 1 / np.log2(np.arange(2, max(at) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    values: dict[str, np.ndarray] = {}
    for k in at:
        first = hit[:, :k]
        found = first.sum(axis=1)
        rank = np.where(found > 0, first.argmax(axis=1) + 1.0, np.inf)
        values[f"ndcg@{k}"] = (first * discount[:k]).sum(axis=1) / ideal[np.minimum(n_targets, k)]
        values[f"recall@{k}"] = found / n_targets
        values[f"precision@{k}"] = found / k
        values[f"mrr@{k}"] = 1 / rank
        values[f"hit_rate@{k}"] = (found > 0).astype(float)
    return values


def beyond_accuracy(top: np.ndarray, there: np.ndarray, popularity: np.ndarray, k: int) -> dict[str, float]:
    """What the lists are like as a whole.

    Args:
        top: [users, >= k] item indices.
        there: [users, >= k] false where a list is shorter.
        popularity: [items] share of past users who have the item.

    Returns:
        coverage: share of the catalogue that is in at least one list;
        novelty: mean of -log2 popularity, in bits (Vargas & Castells 2011), unseen items counted as one user's;
        popularity_percentile: mean percentile of popularity, 100 is the most popular item.
    """
    listed = top[:, :k][there[:, :k]]
    floor = popularity[popularity > 0].min()
    percentile = 100 * np.searchsorted(np.sort(popularity), popularity, side="right") / len(popularity)
    return {
        f"coverage@{k}": len(np.unique(listed)) / len(popularity),
        f"novelty@{k}": float(-np.log2(np.maximum(popularity[listed], floor)).mean()),
        f"popularity_percentile@{k}": float(percentile[listed].mean()),
    }
