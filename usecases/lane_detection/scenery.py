"""What stands around a simulated road: the sky, hills, trees, barriers, signs and bridges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from usecases.lane_detection import textures
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.sketching import Sketch

LOOP = 384.0  # metres after which what stands at the road repeats
HEIGHTS = {"jersey": 0.85, "rail": 0.75, "kerb": 0.14, "wall": 3.6, "fence": 1.5}
BARS = {  # lower and upper edge in metres, brightness
    "rail": ((0.45, 0.6, 0.85), (0.6, 0.66, 0.55), (0.66, 0.75, 1.0)),
    "fence": ((0.5, 0.58, 0.7), (1.3, 1.4, 0.7)),
}
SAMPLES = np.concatenate([[1.3, 2.0, 3.0], 4.0 * 1.3 ** np.arange(16)])  # metres along a barrier


@dataclass(frozen=True)
class Backdrop:
    """What is behind the road.

    Attributes:
        sky: BGR at the top and at the horizon; cloud: 0..1 of the sky that is covered; whiteness of the clouds.
        ridges: (height in radians, roughness 0..1, BGR, seed) from the farthest to the nearest.
        trees: (s, u, height in metres, kind, BGR), s within LOOP.
        posts: (s, u, height, width of the sign in metres, BGR of the sign).
        gantries: (s, height of its lower edge, thickness, BGR): bridges and signs over the road.
    """

    sky: tuple[tuple[float, ...], tuple[float, ...]]
    cloud: float
    whiteness: float
    ridges: tuple[tuple[float, float, tuple[float, ...], int], ...]
    trees: tuple[tuple[float, float, float, int, tuple[float, ...]], ...]
    posts: tuple[tuple[float, float, float, float, tuple[float, ...]], ...]
    gantries: tuple[tuple[float, float, float, tuple[float, ...]], ...]


def background(camera: Camera, back: Backdrop, bottom: int, drift: float) -> np.ndarray:
    """The image [height, width, 3] without road: sky, clouds and ridges; below row `bottom` nothing is drawn."""
    height, width = camera.height, camera.width
    image = np.empty((height, width, 3), np.uint8)
    horizon = int(np.clip(camera.horizon(), 8, height))
    bottom = int(np.clip(bottom, 1, height))
    share = np.clip(np.arange(bottom) / max(horizon, 1), 0, 1)[:, None] ** 1.5
    rows = np.asarray(back.sky[0]) * (1 - share) + np.asarray(back.sky[1]) * share
    image[:bottom] = rows[:, None].astype(np.uint8)
    if back.cloud > 0:
        _clouds(image[: min(bottom, horizon)], back, drift)
    for rise, rough, colour, seed in back.ridges:
        _ridge(image, camera, rise, rough, colour, seed, drift, bottom)
    return image


def _clouds(sky: np.ndarray, back: Backdrop, drift: float) -> None:
    rows, columns = sky.shape[:2]
    field = np.roll(textures.noise(1.6, 11), int(drift * 200) + back.ridges[0][3], 1)
    part = cv2.resize(field[: rows * 3 // 2 + 8, : columns // 2 + 8], (columns, rows), interpolation=cv2.INTER_LINEAR)
    start = 215 - 190 * back.cloud
    cover = cv2.LUT(part, np.clip((np.arange(256) - start) * 3.2, 0, 235).astype(np.uint8))
    tone = cv2.LUT(part, np.clip(back.whiteness * (1.12 - (np.arange(256) - start) / 500), 0, 255).astype(np.uint8))
    tone, rest = cv2.multiply(tone, cover, scale=1 / 255), cv2.bitwise_not(cover)
    sky[:] = cv2.add(cv2.multiply(sky, cv2.merge([rest] * 3), scale=1 / 255), cv2.merge([tone] * 3))


def _ridge(
    image: np.ndarray, camera: Camera, rise: float, rough: float, colour: tuple[float, ...], seed: int, drift: float, bottom: int
) -> None:
    """A silhouette that rises some radians above the horizon on average, filled with speckles in its colour."""
    width, focal = camera.width, camera.focal[0]
    smooth, jagged = (textures.noise(p, k)[(seed * 7) % 512].astype(np.float32) - 128 for p, k in ((1.8, 12), (0.8, 13)))
    columns = (np.arange(0, width + 4, 2) / focal + drift) * 420 % 512
    line = np.interp(columns, np.arange(512), smooth) * 0.013
    line += np.interp((columns * 3) % 512, np.arange(512), jagged) * 0.007 * rough
    tilt = -np.tan(camera.roll) * (np.arange(0, width + 4, 2) - camera.centre[0])
    level = camera.horizon() + tilt - focal * np.maximum(rise * (1 + line), 0.001)
    edge = np.column_stack([np.arange(0, width + 4, 2), level])
    shape = np.concatenate([edge, [[width + 4, bottom], [0, bottom]]])
    top = int(np.clip(level.min(), 0, bottom - 1))
    mask = np.zeros((bottom - top, width), np.uint8)
    cv2.fillPoly(mask, [((shape - (0, top)) * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    part = textures.noise(0.7, 14)
    y, x = seed % 200, int(drift * focal / 3) % 200
    tone = cv2.resize(part[y : y + (bottom - top) // 2 + 4, x : x + width // 3 + 4], (width, bottom - top))
    spread = 0.25 + 0.6 * rough
    tables = [np.clip(c * (1 + spread * (np.arange(256) - 128) / 128), 0, 255).astype(np.uint8) for c in colour]
    filled = cv2.LUT(cv2.merge([tone] * 3), np.stack(tables, -1)[None])
    cv2.copyTo(filled, mask, image[top:bottom])


class Stage:
    """Draws the things at the roadside of one frame.

    Args:
        sketch: where all but the trees are drawn.
        offset: the camera's u in the layout; s0: how far it has come.
    """

    def __init__(self, sketch: Sketch, offset: float, s0: float) -> None:
        self.sketch, self.offset, self.s0 = sketch, offset, s0

    def ahead(self, s: float, least: float = 2.0) -> float:
        """How far ahead a thing is whose place repeats."""
        return float((s - self.s0 - least) % LOOP + least)

    def trees(self, image: np.ndarray, back: Backdrop, light: float) -> None:
        """Billboards, the farthest first, straight into the image."""
        if not back.trees:
            return
        placed = sorted(((self.ahead(one[0], 4.0), one) for one in back.trees), key=lambda pair: -pair[0])
        s, u, high = np.array([(ahead, one[1] - self.offset, one[2]) for ahead, one in placed]).T
        foot, head = self.sketch.eye.pixels(s, u, -0.3), self.sketch.eye.pixels(s, u, high)
        for (_, (_, _, _, kind, colour)), low, top in zip(placed, foot, head, strict=True):
            size = low[1] - top[1]
            if np.isfinite(size) and 5 < size < 3 * image.shape[0]:
                _stamp(image, textures.tree(kind), low, size, tuple(v * light for v in colour))

    def barrier(self, u: float, kind: str, colour: tuple[float, ...]) -> None:
        """A wall along the road: its side, its top, and the posts of a guard rail."""
        side, high = u - self.offset, HEIGHTS[kind]
        toward = -np.sign(side) or 1.0

        def band(u0: float, z0: float, u1: float, z1: float, shade: float) -> None:
            for s in (SAMPLES[:2], SAMPLES[1:]):  # the first piece may lie outside the lens
                lower = np.column_stack([s, np.full(len(s), side + u0 * toward), np.full(len(s), z0)])
                upper = np.column_stack([s, np.full(len(s), side + u1 * toward), np.full(len(s), z1)])
                self.sketch.add(np.concatenate([lower, upper[::-1]]), tuple(v * shade for v in colour))

        if kind == "jersey":
            band(0.3, 0, 0.12, 0.3, 0.95)
            band(0.12, 0.3, 0.05, high, 0.8)
            band(0.05, high, -0.15, high, 1.1)
        elif kind == "kerb":
            band(0.0, 0, 0.0, high, 0.8)
            band(0.0, high, -0.25, high, 1.0)
        elif kind == "wall":
            band(0.0, 0, 0.0, high, 0.75)
        else:
            every = 4.0 if kind == "rail" else 3.0
            for s in np.arange(2.0, 60.0, every) + (-self.s0) % every:
                self.sketch.add([(s, side, 0), (s + 0.12, side, 0), (s + 0.12, side, high), (s, side, high)], (70, 74, 76))
            for low, top, shade in BARS[kind]:
                band(0, low, 0, top, shade)

    def signs(self, back: Backdrop) -> None:
        """Posts with a sign or a lamp, then bridges and gantries over the road."""
        for s, u, high, wide, colour in back.posts:
            ahead, u = self.ahead(s), u - self.offset
            self.box(ahead, u - 0.08, u + 0.08, -0.2, high, (88, 90, 92))
            self.box(ahead, u - wide / 2, u + wide / 2, high - wide * 0.5, high, colour)
            if wide > 1.5:
                self.box(ahead, u - wide * 0.4, u + wide * 0.3, high - wide * 0.2, high - wide * 0.13, (225, 228, 228))
                self.box(ahead, u - wide * 0.4, u + wide * 0.1, high - wide * 0.36, high - wide * 0.3, (225, 228, 228))
        for s, low, thick, colour in back.gantries:
            ahead = self.ahead(s, 12.0)
            if thick > 1.0:
                for u in (-22.0, 22.0):
                    self.box(ahead, u - 0.8, u + 0.8, -0.5, low, tuple(v * 0.7 for v in colour))
                self.box(ahead, -250, 250, low, low + thick, colour)
                self.box(ahead, -250, 250, low + thick * 0.8, low + thick, tuple(v * 1.15 for v in colour))
            else:
                self.box(ahead, -20, 20, low, low + thick, colour)
                self.box(ahead, -4.5, 2.0, low - 0.8, low + 2.0, (85, 95, 30))
                self.box(ahead, -4.0, 0.5, low + 0.6, low + 1.0, (225, 228, 228))

    def box(self, s: float, left: float, right: float, low: float, high: float, colour: tuple[float, ...]) -> None:
        """An upright rectangle across the road."""
        self.sketch.add([(s, left, low), (s, left, high), (s, right, high), (s, right, low)], colour)


def _stamp(image: np.ndarray, sprite: np.ndarray, foot: np.ndarray, size: float, colour: tuple[float, ...]) -> None:
    """Blend a tree of this height in pixels, standing at a pixel, into the image."""
    high, wide = max(int(size), 2), max(int(size * 0.75), 2)
    x0, y0 = int(foot[0]) - wide // 2, int(foot[1]) - high
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + wide, image.shape[1]), min(y0 + high, image.shape[0])
    if left >= right or top >= bottom:
        return
    scale = np.array([[wide / 96, 0, x0 - left], [0, high / 128, y0 - top]])
    one = cv2.warpAffine(sprite, scale, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    tone, cover = one[..., 0], one[..., 3]
    tables = np.stack([np.clip(np.arange(256) * v / 128, 0, 255) for v in colour], -1).astype(np.uint8)[None]
    tinted = cv2.LUT(cv2.merge([tone] * 3), tables)
    part, cover3 = image[top:bottom, left:right], cv2.merge([cover] * 3)
    cv2.multiply(tinted, cover3, dst=tinted, scale=1 / 255)
    cv2.multiply(part, cv2.bitwise_not(cover3, dst=cover3), dst=part, scale=1 / 255)
    cv2.add(part, tinted, dst=part)
