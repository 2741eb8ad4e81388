"""Frames into training, validation and test, without leaks: what was recorded together stays together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shared.data.images import Print, alike
from shared.errors import DataError, Finding
from usecases.lane_detection.images import prints
from usecases.lane_detection.lanes import Frame

Parts = tuple[list[Frame], list[Frame], list[Frame]]


def split(
    frames: Sequence[Frame],
    share_validation: float,
    share_test: float,
    seed: int,
    known: Mapping[str, Print] | None = None,
    share_train: float = 1.0,
) -> Parts:
    """Training, validation and test, each in the frames' order; the same for the same seed.

    Clips stay together, and so do frames that look nearly the same, with their clips.

    Args:
        share_validation, share_test: of the frames, from 0 to below 1, as near as whole clips come; 0: none.
        known: prints of frames, by name; images of others are read.
        share_train: of the clips to train on, drawn by the seed; those of a smaller share are among those of a larger one.

    Raises:
        ValueError: shares that leave nothing to train on.
        DataError: there are fewer clips than parts.
    """
    if min(share_validation, share_test) < 0 or not share_validation + share_test < 1:
        raise ValueError("the shares of validation and test are at least 0 and together below 1")
    unit = units(frames, known)
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
    part_of[left[max(1, round(share_train * len(left))) :]] = -1
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


def units(frames: Sequence[Frame], known: Mapping[str, Print] | None = None) -> np.ndarray:
    """[frames] which frames are never divided: those of a clip, and clips and frames of which some are nearly the same."""
    clips = {clip: code for code, clip in enumerate(dict.fromkeys(frame.clip for frame in frames if frame.clip))}
    code = np.array([clips.get(frame.clip, len(clips) + place) for place, frame in enumerate(frames)], np.int64)
    if not frames:
        return code
    pairs = code[alike(prints(frames, known))]
    size = int(code.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component[code], return_inverse=True)[1]


def near_duplicates(
    frames_a: Sequence[Frame], frames_b: Sequence[Frame], known: Mapping[str, Print] | None = None
) -> list[tuple[int, int]]:
    """Places of images that are nearly the same in both: for each frame of `a` the first of `b`; see `shared.data.images`."""
    a, b = prints(frames_a, known), prints(frames_b, known)
    if not b.there.any():
        return []
    pairs = alike(a, b)
    first = np.unique(pairs[:, 0], return_index=True)[1]
    return [(int(one), int(other)) for one, other in pairs[first]]
