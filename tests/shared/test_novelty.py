from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.stats import rankdata
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from shared.evaluation.novelty import NEIGHBOURS, Novelty, choose, detect, strangers


def features(rows: int, seed: int, shift: float = 0.0) -> list[np.ndarray]:
    """Two stages of correlated features; only the second knows of the shift."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(12, 12))
    first, second = rng.normal(size=(2, rows, 12)) @ mix
    second[:, 3] += shift
    return [np.float32(first + 3), np.float32(second + 3)]


@pytest.mark.parametrize("kind", ["nearest", "mahalanobis"])
def test_distances_rank_as_scikit_learns_do(kind: str) -> None:
    training, queries = features(200, 0)[:1], features(80, 1, 4)[:1]
    ours = Novelty.fit(kind, training, features(50, 2)[:1]).scores(queries)  # type: ignore[arg-type]
    if kind == "nearest":
        unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (training[0], queries[0])]
        theirs = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    else:
        mean, spread = training[0].mean(0), training[0].std(0)
        theirs = LedoitWolf().fit((training[0] - mean) / spread).mahalanobis((queries[0] - mean) / spread)
    np.testing.assert_allclose(rankdata(ours), rankdata(theirs), atol=2)


def test_classes_have_their_own_centres_and_one_covariance() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    training = [rng.normal(size=(600, 2)) + 12 * labels[:, None]]
    validation = [rng.normal(size=(200, 2)) + 12 * rng.integers(0, 2, (200, 1))]
    between = [np.full((1, 2), 6.0)]
    assert Novelty.fit("mahalanobis", training, validation, labels=labels).refuse(between).all()
    assert not Novelty.fit("mahalanobis", training, validation).refuse(between).any()


@pytest.mark.parametrize("kind", ["nearest", "mahalanobis"])
def test_the_accepted_share_of_new_rows_passes_and_one_surprised_stage_is_enough(kind: str) -> None:
    novelty = Novelty.fit(kind, features(1500, 0), features(1000, 1), accepted=0.95)  # type: ignore[arg-type]
    assert 0.03 < novelty.refuse(features(4000, 2)).mean() < 0.07
    found = detect(novelty, features(300, 3), features(300, 4, shift=60))
    assert found.roc_auc > 0.99
    assert found.refused > 0.98
    few = Novelty.fit(kind, features(50, 0), features(20, 1))  # type: ignore[arg-type]
    assert few.threshold == pytest.approx(few.scores(features(20, 1)).max())
    broken = [np.full((1, 12), np.nan, np.float32)] * 2
    assert novelty.refuse(broken).all()


@pytest.mark.parametrize("kind", ["nearest", "mahalanobis"])
def test_what_is_kept_in_files_scores_the_same(kind: str, tmp_path: Path) -> None:
    novelty = Novelty.fit(kind, features(2300, 0), features(50, 1))  # type: ignore[arg-type]
    save_file(novelty.arrays, tmp_path / "novelty.safetensors")
    again = Novelty(arrays=load_file(tmp_path / "novelty.safetensors"), **json.loads(json.dumps(novelty.settings)))
    np.testing.assert_array_equal(again.scores(features(9, 2)), novelty.scores(features(9, 2)))
    assert again.threshold == novelty.threshold
    assert max(len(array) for array in novelty.arrays.values()) <= 2000
    with pytest.raises(ValueError, match="training and 1 validation"):
        Novelty.fit(kind, features(50, 0), features(1, 1))  # type: ignore[arg-type]


def test_the_kind_that_refuses_what_is_novel_is_chosen() -> None:
    longer = [part * 3 for part in features(100, 5)]  # unit length hides that from neighbours
    chosen, found = choose(features(500, 0), features(200, 1), {"longer": longer})
    assert chosen.kind == "mahalanobis"
    assert found["mahalanobis"]["longer"].refused > 0.9 > found["nearest"]["longer"].refused
    rng = np.random.default_rng(0)
    ring = [np.stack([np.cos(a := rng.random(n) * 7), np.sin(a)], 1) for n in (400, 200)]
    chosen, _ = choose(ring[:1], ring[1:], {"turned": [np.float32([[1, 1]] * 3) * 0]})
    assert chosen.kind == "nearest"  # the middle of a ring is near to its mean


def test_strangers_are_what_they_are_called() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 42, 3), dtype=np.uint8)
    made = strangers(images)
    assert all(part.shape == images.shape and part.dtype == np.uint8 for part in made.values())
    np.testing.assert_array_equal(made["inverted"] + images, 255)
    assert made["blurred"].std() < images.std() / 4
    assert (made["shuffled"] != images).any()
    for ours, theirs in zip(made["shuffled"], images, strict=True):
        np.testing.assert_array_equal(np.sort(ours, axis=None), np.sort(theirs, axis=None))
    assert not np.array_equal(made["photos"][0], made["photos"][1])
    np.testing.assert_array_equal(strangers(images)["photos"], made["photos"])
