"""Frames into training, validation and test, without leaks: what was recorded together stays together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shared.data.images import alike
from shared.errors import DataError, Finding
from usecases.lane_detection.images import prints
from usecases.lane_detection.lanes import Frame

Parts = tuple[list[Frame], list[Frame], list[Frame]]


def split(frames: Sequence[Frame], share_validation: float, share_test: float, seed: int) -> Parts:
    """Training, validation and test, each in the frames' order; the same for the same seed.

    Clips stay together. Frames without a clip stay with those that look nearly the same.

    Args:
        share_validation, share_test: of the frames, from 0 to below 1, as near as whole clips come; 0: none.

    Raises:
        ValueError: shares that leave nothing to train on.
        DataError: there are fewer clips than parts.
    """
    if min(share_validation, share_test) < 0 or not share_validation + share_test < 1:
        raise ValueError("the shares of validation and test are at least 0 and together below 1")
    unit = units(frames)
    sizes = np.bincount(unit)
    needed = 1 + (share_validation > 0) + (share_test > 0)
    if len(sizes) < needed:
        what = f"{len(sizes)} clip(s), {needed} are needed: frames of one clip, or that look nearly the same, are never divided"
        fix = "Give more recordings, each in a folder of its own, or set the share of validation or test to 0"
        raise DataError([Finding("error", what, "the data's frames", fix)])
    left = np.random.default_rng(seed).permutation(len(sizes)).tolist()
    part_of = np.zeros(len(sizes), np.int64)
    reserved = needed - 1  # clips that later parts need
    for part, share in ((2, share_test), (1, share_validation)):
        if share == 0:
            continue
        taken = _taken(sizes[left], share * len(frames), len(left) - reserved)
        part_of[[left[place] for place in taken]] = part
        left = [name for place, name in enumerate(left) if place not in taken]
        reserved -= 1
    where = part_of[unit]
    training, validation, test = ([frame for frame, at in zip(frames, where, strict=True) if at == part] for part in range(3))
    return training, validation, test


def _taken(sizes: np.ndarray, wanted: float, most: int) -> set[int]:
    """Places of clips, in order, that together come near to `wanted` frames; at least one, at most `most`."""
    taken: set[int] = set()
    have = 0.0
    for place, size in enumerate(sizes):
        if len(taken) < most and abs(have + size - wanted) < abs(have - wanted):
            taken.add(place)
            have += size
    return taken or {int(np.argmin(sizes))}


def units(frames: Sequence[Frame]) -> np.ndarray:
    """[frames] which frames are never divided: those of a clip; where some have none, also those that are nearly the same."""
    clips = {clip: code for code, clip in enumerate(dict.fromkeys(frame.clip for frame in frames if frame.clip))}
    code = np.array([clips.get(frame.clip, len(clips) + place) for place, frame in enumerate(frames)], np.int64)
    if len(clips) and all(frame.clip for frame in frames):
        return code
    if not frames:
        return code
    pairs = code[alike(prints(frames))]
    size = int(code.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component[code], return_inverse=True)[1]


def near_duplicates(frames_a: Sequence[Frame], frames_b: Sequence[Frame]) -> list[tuple[int, int]]:
    """Places of images that are nearly the same in both: for each frame of `a` the first of `b`; see `images.alike`."""
    pairs = alike(prints(frames_a), prints(frames_b))
    first = np.unique(pairs[:, 0], return_index=True)[1]
    return [(int(one), int(other)) for one, other in pairs[first]]
