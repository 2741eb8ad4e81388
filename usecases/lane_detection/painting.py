"""The ground of a simulated frame: where each pixel looks at the road, the surface, and the paint on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

from usecases.lane_detection import textures
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.road import Layout, Marking, Path
from usecases.lane_detection.sketching import Eye

CELL, HALF, LEVELS = 0.04, 36.0, 8  # the profile's cells and half width, metres; its mip levels, each twice as coarse
FINE = 5e-4  # step of the table of sight lines, slope
NEAR, FAR = 1.2, 230.0  # metres between which paint is drawn
BREAKS = np.concatenate([[NEAR], 2.2 * 1.17 ** np.arange(30)])  # metres where long paint is divided
PAINTS = {"white": (246, 250, 250), "yellow": (62, 180, 240), "tar": (30, 29, 30)}  # BGR
LOOP = 384.0  # metres after which what lies on the road repeats


@dataclass(frozen=True)
class Ground:
    """What the pixels of the rows from `top` downwards see, [rows, width] each.

    Attributes:
        u: metres right of the camera; s: ahead along the road; y: ahead. float32.
        solid: uint8, 255 where the ground is seen at all.
        level: float32, mip level of the profile that is as fine as the pixel.
    """

    top: int
    u: np.ndarray
    s: np.ndarray
    y: np.ndarray
    solid: np.ndarray
    level: np.ndarray


@dataclass(frozen=True)
class Surface:
    """The look of the cross-section, and what lies on the road at fixed places.

    Attributes:
        name: asphalt or concrete.
        profile: [1, cells, 3] float32 BGR over u from -HALF to HALF from the centre of the camera's lane.
        grain, streak: contrast of the textures: stones, and smears along the road.
        things: (polygon [k, 2] of (s, u), colour [3], opacity), s within LOOP.
        wear: 0..1, how uneven the paint is.
    """

    name: str
    profile: np.ndarray
    grain: float
    streak: float
    things: tuple[tuple[np.ndarray, tuple[float, ...], float], ...]
    wear: float


def look(camera: Camera, path: Path) -> Ground:
    """Where each pixel's sight line meets the road, whose height depends on y only.

    A ray with the slope m = dz/dy meets it at one y, which is a table; then x = y dx/dy, and u from the road's bend there.
    It is worked out for every second row and column: paint, which must be exact, is drawn by projection.
    """
    a, b = _rays(camera)
    turn = camera.rotation.astype(np.float32)  # its rows are the camera's axes in road coordinates
    forward = a * turn[0, 1] + (b * turn[1, 1] + turn[2, 1])
    slope = (a * turn[0, 2] + (b * turn[1, 2] + turn[2, 2])) / forward
    slopes, distances = path.crest(camera.above)
    hit = (slope <= slopes[-1]) & (forward > 0)
    top = int(np.argmax(hit.any(1))) if hit.any() else len(hit) - 1
    steps = np.arange(-1.4, slopes[-1], FINE)
    y = np.interp(steps, slopes, distances)
    level = np.minimum(np.log2(np.maximum(y / camera.focal[0] / CELL, 1)), LEVELS - 1)
    values = (y, np.interp(y, path.y, path.x), np.cos(np.interp(y, path.y, path.heading)), np.interp(y, path.y, path.s), level)
    index = ((slope[top:] + 1.4) / FINE).astype(np.int32)
    ahead, middle, cosine, s, level = (np.take(one.astype(np.float32), index, mode="clip") for one in values)
    x = ahead * ((a if len(a) == 1 else a[top:]) * turn[0, 0] + (b[top:] * turn[1, 0] + turn[2, 0])) / forward[top:]
    maps = ((x - middle) * cosine, s, ahead, hit[top:].astype(np.uint8) * 255, level)
    rows, columns = index.shape
    full = [cv2.resize(one, (columns * 2, rows * 2))[: camera.height - 2 * top, : camera.width] for one in maps]
    return Ground(2 * top, full[0], full[1], full[2], cv2.threshold(full[3], 127, 255, cv2.THRESH_BINARY)[1], full[4])


def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Sight lines (a, b, 1) between each 2x2 pixels in the camera's coordinates, float32, that broadcast to half its size."""
    a = ((np.arange(0.5, camera.width, 2, dtype=np.float32) - camera.centre[0]) / camera.focal[0])[None]
    b = ((np.arange(0.5, camera.height, 2, dtype=np.float32) - camera.centre[1]) / camera.focal[1])[:, None]
    k1 = np.float32(camera.distortion[0])
    if k1 == 0:
        return a, b
    shrink = 1 / (1 + k1 * (a * a + b * b))
    for _ in range(3):
        shrink = 1 / (1 + k1 * (a * a + b * b) * shrink * shrink)
    return a * shrink, b * shrink


def surface(ground: Ground, look: Surface, offset: float, s0: float) -> tuple[np.ndarray, np.ndarray]:
    """The ground without paint [rows, width, 3] uint8, and its stones [rows, width]; offset is the camera's u in the layout."""
    cells = [np.clip(look.profile, 0, 255).astype(np.uint8)]
    for k in range(1, LEVELS):
        cells.append(cv2.blur(cells[0], (2**k + 1, 1)))
    column = (ground.u + np.float32(offset + HALF)) * np.float32(1 / CELL)
    base = cv2.remap(np.concatenate(cells), column, ground.level, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    along, across = ground.s + np.float32(s0 % LOOP), ground.u + np.float32(offset)
    rough = texture(textures.laid("grain"), across, along, 70, 24)
    smear = texture(textures.laid("streaks"), across[::2, ::2], along[::2, ::2], 5, 4 / 3)
    smear = cv2.resize(smear, (rough.shape[1], rough.shape[0]))
    near = (np.minimum(14 / (ground.y[::2, ::2] + 6), 1) * 255).astype(np.uint8)  # far stones are too small to be seen
    fade = cv2.resize(near, (rough.shape[1], rough.shape[0]))
    shade = cv2.convertScaleAbs(smear, alpha=look.streak, beta=128 * (1 - look.streak))
    cv2.add(shade, cv2.multiply(rough, fade, scale=look.grain / 255), dst=shade)
    cv2.subtract(shade, cv2.convertScaleAbs(fade, alpha=128 * look.grain / 255), dst=shade)
    return cv2.multiply(base, cv2.merge([shade, shade, shade]), dst=base, scale=1 / 128), rough


def texture(image: np.ndarray, u: np.ndarray, s: np.ndarray, across: float, along: float) -> np.ndarray:
    """A texture from `textures.laid` on the road with this many pixels per metre; uint8 [rows, width]."""
    x, y = _wrapped(u, across), _wrapped(s, along)  # by hand: OpenCV's own wrapping takes four times as long
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _wrapped(metres: np.ndarray, scale: float) -> np.ndarray:
    turns = metres * np.float32(scale / textures.SIZE)
    turns -= np.floor(turns)
    turns *= np.float32(textures.SIZE)
    return turns


def paint(
    image: np.ndarray, rough: np.ndarray, ground: Ground, eye: Eye, road: Layout, look: Surface, offset: float, s0: float
) -> None:
    """Draw tar, patches and markings into the ground [rows, width, 3], in place."""
    rows, columns = image.shape[:2]
    canvas = np.zeros((rows * 2, columns * 2, 4), np.uint8)
    for shapes, colours, opacity in [*_things(look, offset, s0), *_markings(road, eye.camera, offset, s0)]:
        _fill(canvas, ground.top, eye, shapes, colours, opacity)
    small = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    blue, green, red, cover = cv2.split(small)
    left = 1.0 + look.wear * ((np.arange(256) - 128) / 50 - 0.25)  # paint comes off where stones stand out
    worn = cv2.LUT(rough, (255 * np.clip(left, 1 - look.wear, 1)).astype(np.uint8))
    cv2.multiply(cover, worn, dst=cover, scale=1 / 255)
    light = cv2.merge([blue, green, red])
    cv2.multiply(light, cv2.merge([worn, worn, worn]), dst=light, scale=1 / 255)
    rest = cv2.bitwise_not(cover)
    cv2.multiply(image, cv2.merge([rest, rest, rest]), dst=image, scale=1 / 255)
    cv2.add(image, light, dst=image)


def _things(look: Surface, offset: float, s0: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Polygons ahead as _fill takes them, those with equally many corners in a row together."""
    near = []
    for shape, colour, opacity in look.things:
        moved = shape - (s0, offset)
        moved[:, 0] -= LOOP * np.floor((moved[:, 0].max() - NEAR) / LOOP)
        if moved[:, 0].min() < FAR / 2:
            near.append((moved, colour, opacity))
    for _, group in groupby(near, key=lambda one: len(one[0])):
        alike = list(group)
        yield np.stack([one[0] for one in alike]), np.array([one[1] for one in alike]), np.array([one[2] for one in alike])


def _markings(road: Layout, camera: Camera, offset: float, s0: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    parts = [(one, *_quads(one, s0, offset)) for one in road.markings]
    if parts:
        shapes, shown = _thin(np.concatenate([quads for _, quads, _ in parts]), camera)
        colours = np.concatenate([np.tile(PAINTS[one.colour], (len(quads), 1)) for one, quads, _ in parts])
        yield shapes, colours, np.concatenate([opacity for _, _, opacity in parts]) * shown


def _quads(one: Marking, s0: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a marking ahead: [n, 4, 2] of (s, u) from the camera, and [n] opacity."""
    spans, u, wide = [], one.u - offset, one.width / 2
    lanes = (u - wide * 2, u + wide * 2) if one.kind in ("double", "mixed") else (u,)
    for place, side in enumerate(lanes):
        if one.kind in ("solid", "double") or (one.kind == "mixed" and place):
            spans.append(np.column_stack([BREAKS[:-1], BREAKS[1:], *np.tile([[side], [wide]], len(BREAKS) - 1)]))
        else:
            spans.append(_dashes(one, s0, side, wide))
    part = np.concatenate(spans)
    part = part[(part[:, 1] > NEAR) & (part[:, 0] < FAR)]
    near, far, middle, half = np.maximum(part[:, 0], NEAR), part[:, 1], part[:, 2], part[:, 3]
    corners = np.stack([near, middle - half, far, middle - half, far, middle + half, near, middle + half], 1)
    along = part[:, 0] + s0 + one.phase * 7
    left = 1 - one.fading * (0.5 + 0.3 * np.sin(along / 9) + 0.2 * np.sin(along / 2.3))
    return corners.reshape(-1, 4, 2), one.strength * left


def _dashes(one: Marking, s0: float, u: float, wide: float) -> np.ndarray:
    """[n, 4] begin, end, middle and half width of each dash, dot and reflector."""
    period = one.dash + one.gap
    start = np.arange(np.floor((s0 - one.phase) / period), (s0 + FAR - one.phase) / period) * period + one.phase - s0
    if one.kind == "dots":
        start = (start[:, None] + np.arange(4) * min(1.1, one.dash / 2)).ravel()
        return np.column_stack([start, start + 0.11, np.full(len(start), u), np.full(len(start), 0.052)])
    dashes = np.column_stack([start, start + one.dash, np.full(len(start), u), np.full(len(start), wide)])
    if one.kind != "studded":
        return dashes
    stud = start + one.dash + one.gap / 2
    return np.concatenate([dashes, np.column_stack([stud, stud + 0.1, np.full(len(stud), u), np.full(len(stud), 0.05)])])


def _thin(quads: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Quads narrowed by half a pixel of the canvas on each side, which OpenCV adds, and the opacity of those too thin to draw."""
    middle = quads.mean(1, keepdims=True)
    distance = np.maximum(middle[..., 0], 1.0)
    grid = np.stack([distance**2 / (camera.focal[1] * camera.above), distance / camera.focal[0]], -1) / 2  # metres a canvas pixel
    size = np.ptp(quads, axis=1)[:, None]
    kept = np.maximum(size - grid, 0) / np.maximum(size, 1e-9)
    return middle + (quads - middle) * kept, np.minimum(size / grid, 1).prod(-1)[:, 0]


def _fill(canvas: np.ndarray, top: int, eye: Eye, shapes: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> None:
    """Fill polygons [n, k, 2] of (s, u) with colours [n, 3], which it multiplies with the opacity [n]."""
    n, k = shapes.shape[:2]
    flat = shapes.reshape(-1, 2)
    points = eye.pixels(np.maximum(flat[:, 0], NEAR), flat[:, 1]).reshape(n, k, 2)
    fixed = (((points - (0, top)) * 2 + 0.5) * 16).round()
    fits = (np.abs(fixed) < 2**20).all((1, 2))  # and not NaN
    tint = np.column_stack([colours * opacity[:, None], opacity * 255]).round()
    for shape, colour in zip(fixed[fits].astype(np.int32), tint[fits].tolist(), strict=True):
        cv2.fillConvexPoly(canvas, shape, colour, shift=4)
