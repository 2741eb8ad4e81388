from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from sklearn import metrics

from shared.evaluation.segmentation import score_mask, summarise_masks


def blobs(seed: int, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return noise > np.quantile(noise, 0.85)


def outline_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Straight from the definition: pixels of the mask with a direct neighbour that is not."""
    padded = np.pad(mask, 1)
    edge = np.zeros_like(padded)
    for axis in range(mask.ndim):
        for step in (-1, 1):
            edge |= padded & ~np.roll(padded, step, axis)
    return (np.argwhere(edge) - 1) * np.array(spacing)


@pytest.mark.parametrize(("shape", "spacing"), [((40, 50), (1.0, 1.0)), ((40, 50), (0.5, 2.0)), ((9, 20, 20), (3.0, 0.7, 0.7))])
def test_overlap_and_distances_agree_with_scikit_learn_and_with_all_pairs_of_points(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    for seed in range(3):
        predicted, truth = (
            blobs(seed, shape),
            blobs(seed, shape) & blobs(seed, shape) ^ (blobs(seed + 9, shape) & blobs(seed + 5, shape)),
        )
        ours = score_mask(predicted, truth, spacing, tolerance=1.5)
        assert ours.dice == pytest.approx(metrics.f1_score(truth.ravel(), predicted.ravel()))
        assert ours.iou == pytest.approx(metrics.jaccard_score(truth.ravel(), predicted.ravel()))
        pairs = cdist(outline_points(predicted, spacing), outline_points(truth, spacing))
        there, back = pairs.min(1), pairs.min(0)
        assert ours.hausdorff95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
        assert ours.surface_dice == pytest.approx(np.append(there <= 1.5, back <= 1.5).mean())


def test_lesions_are_counted_by_connected_parts() -> None:
    truth, predicted = np.zeros((20, 20), dtype=bool), np.zeros((20, 20), dtype=bool)
    truth[2:5, 2:5] = truth[5:7, 5:7] = True  # one lesion, which meets at a corner
    truth[12:15, 12:15] = truth[1, 18] = True
    predicted[4, 4] = predicted[14:17, 14:17] = predicted[18, 1] = predicted[9, 9] = True
    scores = score_mask(predicted, truth)
    assert (scores.lesions, scores.found, scores.false_positives) == (3, 2, 2)


def test_a_shift_by_millimetres_is_measured_in_millimetres() -> None:
    truth, predicted = np.zeros((30, 30), dtype=bool), np.zeros((30, 30), dtype=bool)
    truth[5:15, 5:15], predicted[5:15, 9:19] = True, True
    assert score_mask(predicted, truth, (1.0, 0.5)).hausdorff95 == pytest.approx(2.0)
    assert score_mask(predicted, truth).hausdorff95 == pytest.approx(4.0)
    assert score_mask(predicted, truth, (1.0, 0.5), tolerance=2.0).surface_dice == 1


def test_empty_masks_do_what_is_written() -> None:
    nothing, lesion = np.zeros((31, 41), dtype=bool), np.zeros((31, 41), dtype=bool)
    lesion[3:6, 3:6] = True
    healthy, alarm, missed, right = (
        score_mask(p, t) for p, t in ((nothing, nothing), (lesion, nothing), (nothing, lesion), (lesion, lesion))
    )
    assert np.isnan([healthy.dice, healthy.hausdorff95, alarm.dice, alarm.iou, alarm.surface_dice]).all()
    assert (alarm.false_positives, healthy.false_positives) == (1, 0)
    assert (missed.dice, missed.hausdorff95, missed.surface_dice) == (0, 50, 0)  # 30, 40, 50
    assert (right.dice, right.hausdorff95) == (1, 0)
    summary = summarise_masks([healthy, alarm, missed, right])
    assert summary.dice == 0.5
    assert summary.pooled_dice == pytest.approx(2 * 9 / 36)
    assert (summary.lesion_sensitivity, summary.false_positives, summary.false_alarms) == (0.5, 0.25, 0.5)
    assert np.isnan(summarise_masks([healthy]).dice)
    with pytest.raises(ValueError, match="cannot be held"):
        score_mask(nothing, lesion[1:])


def test_weights_are_repetitions() -> None:
    cases = [score_mask(blobs(seed) & blobs(seed + 1), blobs(seed) & (seed % 3 > 0)) for seed in range(6)]
    times = np.array([2, 0, 1, 3, 1, 1])
    weighted = asdict(summarise_masks(cases, times))
    assert weighted == pytest.approx(asdict(summarise_masks([c for c, n in zip(cases, times, strict=True) for _ in range(n)])))
