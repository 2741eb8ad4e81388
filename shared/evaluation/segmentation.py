"""How well masks fit: overlap, distance of the outlines, and lesions found. Two and three dimensions alike.

Empty masks: where the truth is empty there is nothing to overlap, so overlap and distances are nan and means leave the case out
(Maier-Hein et al. 2024, "Metrics reloaded": such cases are judged by their false alarms, which are counted here, and they weigh
in the pooled values). Where only the prediction is empty, overlap is 0 and the distance is the image's diagonal, the worst there
can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class MaskScores:
    """One case. Millimetres where a spacing was given, else pixels.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|) (Dice 1945).
        iou: |A and B| / |A or B| (Jaccard 1912).
        hausdorff95: the larger of the two directed 95th percentiles of the distances between outlines (Huttenlocher et al. 1993).
        surface_dice: share of both outlines' pixels that lie within the tolerance of the other one (after Nikolov et al. 2021).
        lesions, found: connected parts of the truth, and those that the prediction touches.
        false_positives: connected parts of the prediction that touch no lesion.
        truth, predicted, both: numbers of pixels, for pooling.
    """

    dice: float
    iou: float
    hausdorff95: float
    surface_dice: float
    lesions: int
    found: int
    false_positives: int
    truth: int
    predicted: int
    both: int


def score_mask(
    predicted: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None, tolerance: float = 2.0
) -> MaskScores:
    """
    Args:
        predicted, truth: bool of one shape, [height, width] or [depth, height, width].
        spacing: millimetres between neighbours along each axis; None: all 1, so distances are in pixels.
        tolerance: of the surface Dice, in the unit of the spacing.

    Raises:
        ValueError: the shapes differ.
    """
    predicted, truth = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    if predicted.shape != truth.shape:
        raise ValueError(f"a mask {predicted.shape} cannot be held against one of {truth.shape}")
    sizes = int(truth.sum()), int(predicted.sum()), int((truth & predicted).sum())
    scale = np.ones(truth.ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    lesions, found = _parts(truth, predicted)
    parts, right = _parts(predicted, truth)
    hausdorff95, surface_dice = _outlines(predicted, truth, scale, tolerance)
    dice, iou = _overlap(*sizes) if sizes[0] else (np.nan, np.nan)
    return MaskScores(dice, iou, hausdorff95, surface_dice, lesions, found, parts - right, *sizes)


@dataclass(frozen=True)
class MaskSummary:
    """Many cases, under any weighting of them. A value that is undefined, as without a lesion, is nan.

    Attributes:
        dice, iou, hausdorff95, surface_dice: means over the cases whose truth is not empty.
        pooled_dice, pooled_iou: of all pixels of all cases together; large lesions rule these.
        lesion_sensitivity: share of all lesions that were found.
        false_positives: wrong parts per case, over all cases.
        false_alarms: share of the cases with an empty truth in which anything was predicted.
    """

    dice: float
    iou: float
    hausdorff95: float
    surface_dice: float
    pooled_dice: float
    pooled_iou: float
    lesion_sensitivity: float
    false_positives: float
    false_alarms: float


def summarise_masks(cases: Sequence[MaskScores], weights: np.ndarray | None = None) -> MaskSummary:
    """`weights`: [cases], as from `bootstrap_groups`; None: all 1."""
    times = np.ones(len(cases)) if weights is None else np.asarray(weights, dtype=np.float64)
    of = {name: np.array([getattr(case, name) for case in cases], dtype=np.float64) for name in MaskScores.__dataclass_fields__}
    ill = of["truth"] > 0

    def mean(name: str, among: np.ndarray) -> float:
        return _ratio(np.sum((times * of[name])[among]), times[among].sum())

    pooled_dice, pooled_iou = _overlap(*(float(times @ of[name]) for name in ("truth", "predicted", "both")))
    return MaskSummary(
        **{name: mean(name, ill) for name in ("dice", "iou", "hausdorff95", "surface_dice")},
        pooled_dice=pooled_dice,
        pooled_iou=pooled_iou,
        lesion_sensitivity=_ratio(np.sum(times * of["found"]), np.sum(times * of["lesions"])),
        false_positives=mean("false_positives", np.ones_like(ill)),
        false_alarms=_ratio(times[~ill & (of["predicted"] > 0)].sum(), times[~ill].sum()),
    )


def _overlap(truth: float, predicted: float, both: float) -> tuple[float, float]:
    return _ratio(2 * both, truth + predicted), _ratio(both, truth + predicted - both)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _parts(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Number of connected parts of the mask, neighbours at corners included, and of those that touch the other mask."""
    labels, parts = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return int(parts), int(np.count_nonzero(np.unique(labels[other])))


def _outlines(predicted: np.ndarray, truth: np.ndarray, spacing: np.ndarray, tolerance: float) -> tuple[float, float]:
    """(95 % Hausdorff distance, surface Dice)."""
    if not truth.any():
        return np.nan, np.nan
    if not predicted.any():
        return float(np.linalg.norm((np.array(truth.shape) - 1) * spacing)), 0.0
    # beyond a margin around both masks nothing matters
    places = np.nonzero(predicted | truth)
    window = tuple(slice(int(place.min()), int(place.max()) + 1) for place in places)
    first, second = (_outline(mask[window]) for mask in (predicted, truth))
    there, back = (ndimage.distance_transform_edt(~to, sampling=spacing)[at] for at, to in ((first, second), (second, first)))
    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    return float(max(np.percentile(there, 95), np.percentile(back, 95))), near / (there.size + back.size)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Its pixels that have a neighbour outside; beyond the image is outside."""
    return mask & ~ndimage.binary_erosion(mask)
