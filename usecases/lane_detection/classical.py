"""Lane lines without learning: ridges of light or yellow paint, their vanishing point, parallel curves on the road.

Paint is found by its profile (Nieto et al. 2010: lighter than the road on both sides, no wider than a marking); segments (Hough)
vote for the vanishing point (RANSAC over their pairs); on the road, seen from above, a vote over slope, bend and place of
parallel parabolas finds the lines (Hough again, with clusters as lines); a robust least-squares fit of all lines together, then
of each, places them. Whatever is too short, too faint or not parallel is left out: nothing is found where nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from usecases.lane_detection.lanes import line
from usecases.lane_detection.tracking import Detected

WIDTH = 640  # columns to which an image is reduced; all lengths below are its pixels
SKY = 0.25  # share of the height, from the top, that is never road
CLEAR = 12.0  # rows below the horizon from which on paint can be told
STEP = 0.06  # of the vote over places, in heights of the camera above the road (about 8 cm)
SIDE = 7.0  # the farthest place that is looked at, to either side, in the same unit
APART = 1.3  # the least distance between lines, in the same unit (about 1.8 m)
MOST = 5  # lines
LEAST = 0.3  # confidence of a line that is given
# What makes a line likely to be right: constant, share of its rows with paint, share from first to last paint, contrast, mean
# distance of the paint, its share of all paint nearby. Logistic regression on 1000 lines in simulated frames.
SIGNS = np.array([-1.6, -3.5, 2.5, 1.7, -2.9, 4.9])


@dataclass(frozen=True)
class Paint:
    """Places that look like paint: `x`, `y` and `weight` [n], pixels of the reduced image."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def take(self, chosen: np.ndarray) -> Paint:
        return Paint(self.x[chosen], self.y[chosen], self.weight[chosen])


@dataclass
class Curves:
    """Parallel curves on a flat road: x = u + across * v + bend / v, v = y - horizon; `across` [lines] in camera heights."""

    u: float
    horizon: float
    bend: float
    across: np.ndarray

    def x(self, number: int | np.ndarray, y: np.ndarray) -> np.ndarray:
        v = y - self.horizon
        return self.u + self.across[number] * v + self.bend / v


class Classical:
    """Finds lane lines in a BGR image of any size; keeps nothing from one image to the next."""

    def __call__(self, image: np.ndarray) -> list[Detected]:
        """Lines from left to right at the image's bottom; none if none are surely there."""
        height = max(round(image.shape[0] * WIDTH / image.shape[1]), 8)
        if height > 3 * WIDTH:
            return []  # a strip, no photograph of a road: not worth the time
        small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
        found = paint(small)
        point = vanishing_point(found, height)
        if point is None:
            return []
        found = found.take(found.y > point[1] + CLEAR)
        curves = vote(found, point)
        if curves is None:
            return []
        curves, member = fit(found, curves)
        scale = image.shape[1] / WIDTH, image.shape[0] / height
        drawn = _drawn(found, curves, member, height)
        lines = []
        for points, confidence in drawn:
            inside = points[(points[:, 0] >= 0) & (points[:, 0] <= WIDTH - 1)]
            if len(inside) > 3:
                lines.append(Detected(line(((inside + 0.5) * scale) - 0.5), confidence))
        return lines


def paint(small: np.ndarray) -> Paint:
    """Middles of the stretches of rows that are lighter, or yellower, than what is on both sides within a marking's width."""
    height = len(small)
    top = int(SKY * height)
    lab = cv2.cvtColor(small[top:], cv2.COLOR_BGR2Lab)
    planes = cv2.merge([lab[..., 0], lab[..., 2]])
    left, right, wide = _sides(height - top, height)
    nothing = np.zeros(0, np.int16)
    beside = [cv2.remap(planes, maps, nothing, cv2.INTER_NEAREST) for maps in (left, right)]
    less = cv2.min(cv2.subtract(planes, beside[0]), cv2.subtract(planes, beside[1]))  # saturates at zero
    ridge = less[..., 0].astype(np.float32) + 1.5 * less[..., 1]
    grain = np.sort(cv2.absdiff(planes[:, ::5, 0], beside[0][:, ::5, 0]), axis=1)[:, WIDTH // 10]  # the median of each row
    rough = cv2.blur(grain.astype(np.float32).reshape(-1, 1), (1, 15))  # what asphalt does anyhow
    mask = np.zeros((height - top, WIDTH + 2), bool)
    mask[:, 1:-1] = ridge > np.maximum(9.0, 3 * rough)
    changes = np.flatnonzero(mask.ravel()[1:] != mask.ravel()[:-1])  # a stretch's start and end take turns
    rows, starts = np.divmod(changes[::2], WIDTH + 2)
    ends = changes[1::2] - rows * (WIDTH + 2)
    middles = (starts + ends - 1) / 2
    sound = (ends - starts >= np.maximum(1, 0.12 * wide[rows])) & (ends - starts <= 1.2 * wide[rows] + 1)
    rows, middles = rows[sound], middles[sound]
    return Paint(middles, (rows + top).astype(float), np.minimum(ridge[rows, middles.astype(int)], 60) / 60)


def vanishing_point(found: Paint, height: int) -> tuple[float, float] | None:
    """Where most of the paint, as segments, points to: x, y. None if segments do not agree on one.

    Segments are stretches of paint first; where these do not tell, dashes joined over their gaps.
    """
    mask = np.zeros((height, WIDTH), np.uint8)
    mask[found.y.astype(int), np.round(found.x).astype(int)] = 255
    for shortest, gap in ((0.045, 5), (0.09, 25)):
        segments = cv2.HoughLinesP(mask, 1, np.pi / 180, 12, minLineLength=shortest * height, maxLineGap=gap)
        point = None if segments is None else _agreed(segments, height)
        if point is not None:
            return point
    return None


def _agreed(segments: np.ndarray, height: int) -> tuple[float, float] | None:
    """The point that most of the segments' length [n, 1, 4] leads to."""
    x1, y1, x2, y2 = segments.reshape(-1, 4).T.astype(float)
    length = np.hypot(x2 - x1, y2 - y1)
    best = np.argsort(-length)[:70]
    x1, y1, x2, y2, length = (each[best] for each in (x1, y1, x2, y2, length))
    steep = np.abs(y2 - y1) > 0.15 * np.abs(x2 - x1)
    x1, y1, x2, y2, length = (each[steep] for each in (x1, y1, x2, y2, length))
    a, b = (y2 - y1) / length, -(x2 - x1) / length  # a x + b y = c, with a unit normal
    c = a * x1 + b * y1
    i, j = np.triu_indices(len(c), 1)
    cross = a[i] * b[j] - a[j] * b[i]
    wide = np.abs(cross) > 0.1
    i, j, cross = i[wide], j[wide], cross[wide]
    px, py = (c[i] * b[j] - c[j] * b[i]) / cross, (a[i] * c[j] - a[j] * c[i]) / cross
    allowed = (np.abs(px / WIDTH - 0.5) < 0.32) & (py > 0.15 * height) & (py < 0.68 * height)
    px, py, i, j = px[allowed], py[allowed], i[allowed], j[allowed]
    if not len(px):
        return None
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    away = np.hypot(px[:, None] - middle_x, py[:, None] - middle_y)
    angle = (a * px[:, None] + b * py[:, None] - c) / np.maximum(away, 1)  # by which each segment misses each point
    below = np.minimum(y1, y2) > py[:, None] - 4
    share = np.exp(-0.5 * (angle / 0.025) ** 2) * below * length
    total = share.sum(1) * np.exp(-0.5 * ((px / WIDTH - 0.5) / 0.25) ** 2)
    top = int(total.argmax())
    agree = share[top] > 0.3 * length
    if agree.sum() < 2 or np.ptp(np.arctan2(-a[agree], b[agree]) % np.pi) < 0.15:  # all but parallel: they tell no point
        return None
    agreed = share[top] ** 0.5 / np.maximum(away[top], 10)
    x, y = np.linalg.lstsq(np.column_stack([a, b]) * agreed[:, None], c * agreed, rcond=None)[0]
    return (float(x), float(y)) if abs(x / WIDTH - 0.5) < 0.35 and 0.12 * height < y < 0.7 * height else None


def vote(found: Paint, point: tuple[float, float]) -> Curves | None:
    """The slope and bend under which the paint, moved along them, gathers at the fewest places, and these places."""
    if len(found.x) < 12:
        return None
    v = found.y - point[1]
    place = (found.x - point[0]) / v
    weight = found.weight * np.minimum(v / 40, 1)
    shifts, bends = np.arange(-24, 25, 3.0), np.arange(-750, 751, 50.0)
    grid = np.stack(np.meshgrid(shifts, bends, indexing="ij"), -1).reshape(-1, 2)
    bins = int(2 * SIDE / STEP)
    moved = place - grid[:, :1] / v - grid[:, 1:] / v**2
    index = np.clip((moved + (SIDE + STEP)) / STEP, 0, bins + 1).astype(np.int32)  # the first and last bin: beyond
    index += np.arange(len(grid), dtype=np.int32)[:, None] * (bins + 2)
    every = np.broadcast_to(weight, index.shape).ravel()
    counts = np.bincount(index.ravel(), every, len(grid) * (bins + 2)).reshape(len(grid), -1)[:, 1:-1]
    smooth = counts[:, :-2] + 2 * counts[:, 1:-1] + counts[:, 2:]
    cost = 1 - 0.08 * np.abs(grid[:, 0]) / 24 - 0.08 * np.abs(grid[:, 1]) / 750  # of the same evidence, the straighter road
    best = int(((smooth**2).sum(1) * cost).argmax())
    across = _peaks(smooth[best])
    shift, bend = grid[best]
    return Curves(point[0] + float(shift), point[1], float(bend), across) if len(across) else None


def fit(found: Paint, curves: Curves) -> tuple[Curves, np.ndarray]:
    """All lines together, by Gauss-Newton with weights that leave out what lies off (Geman and McClure 1987).

    Returns:
        The curves, and of each place of paint the line that it belongs to [n], -1 for none.
    """
    across = curves.across.copy()
    u, horizon, bend = curves.u, curves.horizon, curves.bend
    member = np.zeros(len(found.x), int)
    for width in (8.0, 5.0, 3.0, 3.0):
        v = np.maximum(found.y - horizon, CLEAR / 2)
        off = found.x[:, None] - (u + across * v[:, None] + bend / v[:, None])
        member = np.abs(off).argmin(1)
        miss = off[np.arange(len(off)), member]
        tolerance = width * (0.4 + v / 120)  # nearer paint is wider
        near = np.abs(miss) < 3 * tolerance
        weight = found.weight * near / (1 + (miss / tolerance) ** 2) ** 2 / tolerance
        columns = np.zeros((len(v), 3 + len(across)))
        columns[:, 0] = 1
        columns[:, 1] = 20 / v
        columns[:, 2] = bend / v**2 - across[member]
        columns[np.arange(len(v)), 3 + member] = v / 100
        damp = np.diag([0.02, 0.05, 0.3, *[0.01] * len(across)])  # little evidence moves little: the horizon least
        matrix = np.concatenate([columns * weight[:, None], damp])
        change = np.linalg.lstsq(matrix, np.concatenate([miss * weight, np.zeros(len(damp))]), rcond=None)[0]
        u, bend = u + float(change[0]), bend + 20 * float(change[1])
        horizon += float(np.clip(change[2], -4, 4))
        across = across + change[3:] / 100
    v = np.maximum(found.y - horizon, CLEAR / 2)
    off = found.x - (u + across[member] * v + bend / v)
    member = np.where(np.abs(off) < 2.5 * (0.8 + v / 60), member, -1)
    return Curves(u, horizon, bend, across), member


def _peaks(votes: np.ndarray) -> np.ndarray:
    """Places with most votes, no two closer than lines can be."""
    left, places = votes.copy(), []
    for _ in range(MOST + 2):
        top = int(left.argmax())
        if left[top] < max(8.0, 0.06 * votes.max()):
            break
        places.append((top + 1.5) * STEP - SIDE)
        reach = int(APART / STEP)
        left[max(top - reach, 0) : top + reach + 1] = 0
    return np.array(sorted(places))


def _drawn(found: Paint, curves: Curves, member: np.ndarray, height: int) -> list[tuple[np.ndarray, float]]:
    """Points [n, 2] of each line that stands the test, and its confidence; from left to right."""
    kept = []
    beside = np.abs(found.x - curves.u) < SIDE * (found.y - curves.horizon)
    order = min(
        1.0, float((member >= 0).sum()) / max(0.4 * float(beside.sum()), 1.0)
    )  # little of what looks like paint fits: a mess
    for number in range(len(curves.across)):
        own = found.take(member == number)
        v = np.unique(own.y) - curves.horizon
        if len(v) < 12:
            continue
        bottom = min(height - 1.0, _leaves(curves, number, height))
        possible = max(bottom - curves.horizon - CLEAR, 1)
        spread = float(np.ptp(v)) / possible
        metres = 1.4 * 0.8 * WIDTH * (1 / v.min() - 1 / v.max())  # of the road, from the first to the last paint
        if metres < 6 or spread < 0.15:
            continue
        tight = float(np.mean(np.abs(own.x - curves.x(number, own.y)) / (0.8 + (own.y - curves.horizon) / 60)))
        alone = len(own.x) / max(int(_beside(found, curves, number).sum()), 1)
        signs = np.array([1, len(v) / possible, spread, float(own.weight.mean()), tight, alone])
        confidence = order * float(1 / (1 + np.exp(-signs @ SIGNS)))
        if confidence > LEAST:
            kept.append((number, own, confidence, float(np.percentile(v, 3)), bottom))
    kept = sorted(sorted(kept, key=lambda one: -one[2])[:MOST], key=lambda one: one[0])
    if not kept:
        return []
    far = curves.horizon + max(min(one[3] for one in kept), CLEAR)  # parallel lines are known as far as one of them
    drawn = []
    for number, own, confidence, _, bottom in kept:
        y = np.arange(np.ceil(far), bottom + 0.5, 2.0)
        if len(y) > 3:
            drawn.append((np.column_stack([curves.x(number, y) + _own(own, curves, number)(y), y]), confidence))
    return drawn


def _beside(found: Paint, curves: Curves, number: int) -> np.ndarray:
    """What looks like paint on or near a line, whether or not it fits: [n] bool."""
    v = np.maximum(found.y - curves.horizon, CLEAR / 2)
    return np.abs(found.x - curves.x(number, found.y)) < 0.4 * v  # half a metre


def _own(own: Paint, curves: Curves, number: int) -> np.polynomial.Polynomial:
    """By how much a line departs from its parallel: a straight line through the residuals, drawn towards zero."""
    off = own.x - curves.x(number, own.y)
    middle = float(own.y.mean())
    tilt = float(((own.y - middle) * off).sum() / (((own.y - middle) ** 2).sum() + 40 * 30**2))
    shift = float(off.sum() / (len(off) + 10))
    return np.polynomial.Polynomial([shift - tilt * middle, tilt])


def _leaves(curves: Curves, number: int, height: int) -> float:
    """The row at which the line leaves the image to the side, or its bottom row."""
    y = np.arange(curves.horizon + CLEAR, height)
    inside = np.abs(curves.x(number, y) - WIDTH / 2) < WIDTH / 2
    return float(y[inside].max()) if inside.any() else 0.0


@lru_cache(maxsize=4)
def _sides(rows: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps to what is a marking's width (and a bit) to the left and right of each pixel, and that width [rows]."""
    share = (np.arange(rows) + height - rows) / height
    wide = np.clip(4 + 38 * (share - 0.4), 4, 26)
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.int16), np.arange(rows, dtype=np.int16))
    shift = np.round(wide).astype(np.int16)[:, None]
    left, right = (np.stack([np.clip(x + sign * shift, 0, WIDTH - 1), y], -1).astype(np.int16) for sign in (-1, 1))
    return left, right, wide
