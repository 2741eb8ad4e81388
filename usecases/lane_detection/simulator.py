"""Simulated road frames with exact labels: the default data. They are not photographs.

A frame is a world (`world.py`) seen by a camera at one place: the surface is a cross-section spread along the road's bends and
hills, paint is filled polygons on a canvas of twice the size, and everything else is polygons and pictures of things, projected
by the same Camera and Path as the labels. Labels follow TuSimple's custom: a line runs on through the gaps of its dashes and
behind vehicles, from the image's edge up to some 90 m ahead or to a crest; a double line is one label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from usecases.lane_detection import painting, scenery, vehicles, weather
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import Line, from_left, line
from usecases.lane_detection.road import Path
from usecases.lane_detection.sketching import Eye, Sketch
from usecases.lane_detection.world import World, world

EXTENT, MOST = 25.0, 6  # a label's least extent in pixels at 640 columns, and how many labels a frame has at most
BLIND = 0.015  # share of frames in which the camera sees nothing
BESIDE = 2.15  # lane widths within which a line is labelled: the own lane and its neighbours, as in TuSimple and CULane


@dataclass(frozen=True)
class Scene:
    """A frame and what is true of it.

    Attributes:
        image: BGR uint8 [height, width, 3].
        lines: from left to right, at most 6, a point on every third row or finer.
        camera: with its yaw against the road where it is.
        about: night, dusk, rain, curve, hill, occluded, crossing, blind: bool; lanes: int; surface, kinds, weather: str; radius_m
            (right is positive), offset_m (of the camera, to the right of its lane's centre), lane_width_m, heading_rad, hidden
            (share of the more hidden of the lane's own two lines), speed_mps: float.
    """

    image: np.ndarray
    lines: tuple[Line, ...]
    camera: Camera
    about: dict[str, bool | int | float | str]


@dataclass(frozen=True)
class Pose:
    """Where the camera is: metres travelled, seconds since the start, metres right of its lane's centre, heading in radians."""

    s: float = 0.0
    seconds: float = 0.0
    offset: float = 0.0
    heading: float = 0.0


def render(seed: int, index: int, width: int = 640, height: int = 360) -> Scene:
    """A frame of its own world: the same for the same seed and index, whatever was rendered before."""
    rng = np.random.default_rng([seed, index])
    around = world(rng, width, height)
    crossing = rng.random() < 0.1
    offset = float(rng.uniform(-0.5, 0.5) * around.layout.width if crossing else np.clip(rng.normal(0, 0.25), -0.8, 0.8))
    heading = float(rng.normal(0, 0.02 if crossing else 0.008))
    scene = shoot(rng, around, Pose(0.0, 0.0, offset, heading))
    return blinded(rng, scene) if rng.random() < BLIND else scene


def blinded(rng: np.random.Generator, scene: Scene) -> Scene:
    """What a camera gives that sees nothing: covered, dazzled, out of focus, or broken. It has no lines."""
    kind = rng.integers(4)
    if kind < 2:
        image = np.full(scene.image.shape, rng.uniform(0, 12) if kind else rng.uniform(235, 255), np.float32)
    else:
        image = cv2.GaussianBlur(scene.image, (0, 0), scene.image.shape[1] * rng.uniform(0.05, 0.12)).astype(np.float32)
    image += rng.normal(0, rng.uniform(40, 90) if kind == 3 else rng.uniform(0, 4), image.shape)
    return replace(scene, image=np.clip(image, 0, 255).astype(np.uint8), lines=(), about={**scene.about, "blind": True})


def clip(seed: int, frames: int, fps: float = 20, width: int = 640, height: int = 360) -> Iterator[Scene]:
    """One drive. In four of ten drives the camera leaves its lane and returns."""
    rng = np.random.default_rng([seed, 1 << 32])
    around = world(rng, width, height)
    sway, beat, phase = rng.uniform(0.05, 0.25), rng.uniform(6, 14), rng.uniform(0, 6.28)
    leaves, when, lasts = rng.random() < 0.4, rng.uniform(1.5, 5), rng.uniform(2.5, 4.5)
    aside = float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.6) * around.layout.width) if leaves else 0.0
    for k in range(frames):
        t = k / fps
        late = np.clip((t - when) / lasts, 0, 1)
        offset = sway * np.sin(2 * np.pi * t / beat + phase) + aside * np.sin(np.pi * late) ** 2
        speed_aside = sway * 2 * np.pi / beat * np.cos(2 * np.pi * t / beat + phase)
        speed_aside += aside * np.sin(2 * np.pi * late) * np.pi / lasts * (0 < late < 1)
        pose = Pose(around.speed * t, t, float(offset), float(np.arctan2(speed_aside, around.speed)))
        yield shoot(np.random.default_rng([seed, 1 << 32, k]), around, pose)


def shoot(rng: np.random.Generator, around: World, pose: Pose) -> Scene:
    """The frame that the world's camera takes from a pose; rng is for what changes from frame to frame: noise and drops."""
    camera = replace(around.camera, yaw=around.camera.yaw + pose.heading)
    path = around.course.ahead(pose.s)
    eye = Eye(camera, path)
    image, hidden = _picture(around, pose, eye)
    now = around.weather
    if now.fog > 5e-4 or now.rain:
        weather.air(image, camera, now, _haze(around))
    weather.windscreen(rng, image, now)
    edge = _bonnet(image, now)
    image = weather.lens(rng, image, now)
    lines, share = _labels(around, pose, eye, hidden, edge)
    return Scene(image, lines, camera, _about(around, pose, path, share))


def _picture(around: World, pose: Pose, eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """The image [height, width, 3] before weather and lens, and where vehicles are [height, width]."""
    now, layout, camera, path = around.weather, around.layout, eye.camera, eye.path
    placed = sorted(((one.ahead(pose.seconds, pose.s), one) for one in around.vehicles), key=lambda pair: -pair[0])
    placed = [(ahead, one) for ahead, one in placed if ahead > 2.5]
    ground = painting.look(camera, path)
    drift = around.course.heading(pose.s) + camera.yaw
    image = scenery.background(camera, around.backdrop, min(ground.top + camera.height // 8, camera.height), drift)
    if now.light < 0.95 and now.kind != "dusk":
        image = cv2.convertScaleAbs(image, alpha=now.light)
    part, rough = painting.surface(ground, around.surface, pose.offset, pose.s)
    painting.paint(part, rough, ground, eye, layout, around.surface, pose.offset, pose.s)
    shade = weather.shades(ground, now, pose.offset, pose.s)
    vehicles.shadows(shade, placed, pose.offset, eye, ground.top, now.sun)
    cv2.multiply(part, cv2.merge([shade] * 3), dst=part, scale=1 / 255)
    if now.light < 0.95:
        part = weather.headlamps(part, ground, now)
    cv2.copyTo(part, ground.solid, image[ground.top :])
    hidden = np.zeros(image.shape[:2], np.uint8)
    sketch = Sketch(eye)
    stage, painter = scenery.Stage(sketch, pose.offset, pose.s), vehicles.Painter(sketch, pose.offset, now.light)
    stage.trees(image, around.backdrop, now.light)
    for ahead, one in placed:
        if one.speed < 0:
            painter.add(one, ahead)
    for u, kind in sorted(layout.fences, key=lambda fence: -abs(fence[0])):
        stage.barrier(u, kind, around.concrete)
    stage.signs(around.backdrop)
    for ahead, one in placed:
        if one.speed >= 0:
            painter.add(one, ahead)
    sketch.draw(image, now.light, hidden)
    painter.shine(image)
    return image, hidden


def _haze(around: World) -> tuple[float, ...]:
    """The colour of the air, BGR: that of the sky at the horizon, but greyer."""
    low = np.array(around.backdrop.sky[1]) * min(around.weather.light * 1.2, 1.0)
    return tuple(0.75 * low.mean() + 0.25 * low)


def _bonnet(image: np.ndarray, now: weather.Weather) -> np.ndarray:
    """[width] the row below which the own vehicle hides the road, after drawing it."""
    height, width = image.shape[:2]
    if not now.bonnet:
        return np.full(width, float(height))
    x = np.linspace(-1, 1, width)
    edge = height * (1 - now.bonnet * (1 - 0.45 * x**2))
    shape = np.concatenate([np.column_stack([np.arange(width), edge]), [[width, height], [0, height]]])
    colour = tuple(25 + 150 * now.light * ((now.bonnet * 97) % 1) for _ in range(3))
    cv2.fillPoly(image, [(shape * 16).round().astype(np.int32)], colour, cv2.LINE_AA, 4)
    return edge


def _labels(around: World, pose: Pose, eye: Eye, hidden: np.ndarray, edge: np.ndarray) -> tuple[tuple[Line, ...], float]:
    """The lines, and what share of the more hidden of the two beside the camera is behind vehicles."""
    found, shares, camera, path = [], [0.0], eye.camera, eye.path
    slope, at = path.crest(camera.above)
    for one in around.layout.markings:
        aside = (one.u - pose.offset) / around.layout.width
        if not one.labelled or abs(aside) > BESIDE:
            continue
        reach = around.reach * (1 - 0.16 * max(abs(aside) - 0.75, 0))
        s = 1 / np.linspace(1 / reach, 1 / 1.2, 200)
        points = path.points(s, np.full(len(s), one.u - pose.offset))  # s such that rows are about equally far apart
        seen = (points[:, 2] - camera.above) / points[:, 1] > np.interp(points[:, 1], at, slope) - 2e-4
        pixels = eye.pixels(s[seen], np.full(int(seen.sum()), one.u - pose.offset))
        inside = ((pixels >= 0) & (pixels <= (camera.width - 1, camera.height - 1))).all(1)
        pixels = pixels[inside]
        pixels = pixels[pixels[:, 1] < edge[pixels[:, 0].astype(int)]]
        if len(pixels) < 2 or np.hypot(*np.ptp(pixels, axis=0)) < EXTENT * camera.width / 640 or np.ptp(pixels[:, 1]) < 4:
            continue
        if abs(aside) < 1:
            x, y = pixels.astype(int).T
            shares.append(float((hidden[y, x] > 0).mean()))
        found.append(_dense(line(pixels)))
    return from_left(found)[:MOST], max(shares)


def _dense(drawn: Line) -> Line:
    """The same line with a point on every second row, and its ends."""
    rows = np.unique(np.concatenate([drawn[[0, -1], 1], np.arange(np.ceil(drawn[0, 1]), drawn[-1, 1], 2)]))
    return np.column_stack([np.interp(rows, drawn[:, 1], drawn[:, 0]), rows]).astype(np.float32)


def _about(around: World, pose: Pose, path: Path, share: float) -> dict[str, bool | int | float | str]:
    now, bend = around.weather, float(around.course.curvature(pose.s))
    farther = around.course.curvature(pose.s + np.array([0.0, 25.0, 50.0]))
    near = path.z[:100]
    return {
        "night": now.kind == "night",
        "dusk": now.kind == "dusk",
        "rain": now.rain > 0,
        "curve": bool(np.abs(farther).max() > 1 / 400),
        "hill": bool(np.abs(near).max() > 0.6),
        "occluded": share > 0.3,
        "blind": False,
        "crossing": abs(pose.offset) > 0.25 * around.layout.width,
        "lanes": around.layout.lanes,
        "surface": around.surface.name,
        "weather": now.kind,
        "kinds": " ".join(f"{one.colour}-{one.kind}" for one in around.layout.markings),
        "radius_m": 1 / bend if bend else float("inf"),
        "offset_m": pose.offset,
        "lane_width_m": around.layout.width,
        "heading_rad": pose.heading,
        "hidden": share,
        "speed_mps": around.speed,
    }
