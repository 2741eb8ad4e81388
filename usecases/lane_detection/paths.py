"""One path for each line through the network's distributions: where two lines compete for a slot it stays on one of them."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from usecases.lane_detection.network import NEAR

CHOICES, BESIDE = 4, 3  # columns of each row that a path may take; the next is more cells away than this
BEND, JUMP = 0.3, 4.0  # nats that a squared bend of one cell costs; cells a row by which a path leaves its line
WITHIN = 3  # steps before and after one that tell what is usual there
LEAST = 0.02  # probability below which a column is as unlikely as any other


def follow(logits: np.ndarray, rows: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The column [lines, rows] of each line in cells, and how much each counts: 0 where the path is on another line or on none.

    A slot's distributions may hold two lines, as while the car is over one that may be on its left or on its right. The path
    is the likeliest over all rows of which bends are not (Viterbi 1967). Where it still has to jump, as when the line's other
    half is nowhere, only the likelier part counts: the curve goes on straight from there.

    Args:
        logits: [lines, rows, columns].
        rows: [lines, rows] probability that the line is in the row.
        there: [lines, rows] bool, where it is looked at.
    """
    columns, likely = choices(softmax(logits, 2))
    path = straightest(columns, rows[..., None] * np.log(np.maximum(likely, LEAST)), rows)[..., None]
    columns, likely = (np.take_along_axis(one, path, 2)[..., 0] for one in (columns, likely))
    counts = np.where(likely < LEAST, 0.0, likely)
    for line, own in enumerate(there):
        places = np.flatnonzero(own)
        counts[line, ~own] = 0.0
        counts[line, places] *= one_piece(columns[line, places], likely[line, places], places)
    return columns, counts


def choices(likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest columns in cells and the probability near each, both [lines, rows, choices], of [lines, rows, columns]."""
    last = likely.shape[2] - 1
    best = np.empty((*likely.shape[:2], CHOICES), np.intp)
    left = likely.copy()
    for choice in range(CHOICES):
        best[..., choice] = left.argmax(2)
        beside = (best[..., choice, None] + np.arange(-BESIDE, BESIDE + 1)).clip(0, last)
        np.put_along_axis(left, beside, -1.0, 2)
    window = np.arange(-NEAR, NEAR + 1)
    padded = np.pad(likely, ((0, 0), (0, 0), (NEAR, NEAR)))
    near = np.stack([np.take_along_axis(padded, best + NEAR + step, 2) for step in window], 3)
    total = near.sum(3)
    return best + near @ window.astype(near.dtype) / np.maximum(total, 1e-9), total


def straightest(columns: np.ndarray, gain: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which choice [lines, rows] the path takes that has most gain after what its bends cost.

    Args:
        columns: [lines, rows, choices] cells.
        gain: of each choice, nats.
        rows: [lines, rows] probability that the line is there: bends beyond its ends cost nothing.
    """
    lines, height, count = columns.shape
    bends = columns[:, :-2, :, None, None] - 2 * columns[:, 1:-1, None, :, None] + columns[:, 2:, None, None, :]
    inside = BEND * rows[:, :-2] * rows[:, 1:-1] * rows[:, 2:]
    step = gain[:, 2:, None, None, :] - inside[..., None, None, None] * bends**2
    score = gain[:, 0, :, None] + gain[:, 1, None, :]  # of the best path that ends in these choices of its last two rows
    before = np.empty((height - 2, lines, count, count), np.intp)
    for row in range(height - 2):
        ways = score[..., None] + step[:, row]
        before[row] = ways.argmax(1)
        score = ways.max(1)
    path = np.empty((lines, height), np.intp)
    path[:, -2], path[:, -1] = np.divmod(score.reshape(lines, count**2).argmax(1), count)
    every = np.arange(lines)
    for row in range(height - 3, -1, -1):
        path[:, row] = before[row, every, path[:, row + 1], path[:, row + 2]]
    return path


def one_piece(columns: np.ndarray, likely: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which rows [rows] belong to the likeliest part of a path that has no jump: a step unlike those before and after it.

    Args:
        columns: cells.
        likely: the probability near each.
        places: rows of cells, rising; there may be gaps.
    """
    if len(columns) < 4:
        return np.ones(len(columns), bool)
    steps = np.diff(columns) / np.diff(places)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(steps, WITHIN, mode="edge"), 2 * WITHIN + 1)
    part = np.concatenate([[0], np.cumsum(np.abs(steps - np.median(around, axis=1)) > JUMP)])
    return part == np.bincount(part, likely + 1e-3).argmax()
