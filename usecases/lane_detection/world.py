"""One drive's world, drawn at random: the road, its surface, what stands around it, the weather and the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from usecases.lane_detection import road, vehicles, weather
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.painting import CELL, HALF, LOOP, PAINTS, Surface
from usecases.lane_detection.scenery import Backdrop

SKIES = {  # BGR at the top and at the horizon
    "sun": ((196, 140, 82), (228, 205, 176)),
    "cloud": ((188, 180, 172), (222, 220, 216)),
    "dusk": ((122, 92, 78), (140, 160, 205)),
    "night": ((26, 20, 16), (44, 36, 32)),
}
LANDS = (  # BGR: grass, fresh to dry, soil, gravel
    (92, 128, 118),
    (60, 98, 84),
    (118, 152, 168),
    (104, 140, 162),
    (104, 128, 142),
    (52, 86, 62),
    (128, 138, 142),
    (180, 184, 186),
)
GREENS = ((58, 84, 66), (44, 66, 56), (40, 70, 48))  # trees, BGR
TREES = ((0, 1), (3, 12), (12, 30))  # how many within LOOP: none, some or many
HILLS = (*GREENS, (88, 116, 124), (96, 128, 150), (120, 122, 126), (70, 88, 92))


@dataclass(frozen=True)
class World:
    """What stays the same during a drive. `speed` in metres a second; `reach`: how far lines are labelled, metres."""

    course: road.Course
    layout: road.Layout
    surface: Surface
    backdrop: Backdrop
    weather: weather.Weather
    vehicles: tuple[vehicles.Vehicle, ...]
    camera: Camera
    speed: float
    reach: float
    concrete: tuple[float, ...]


def world(rng: np.random.Generator, width: int, height: int) -> World:
    """A world seen by a camera with images of this size."""
    now = weather.weather(rng)
    layout = road.layout(rng)
    if rng.random() < 0.05:
        layout = road.unmarked(layout)
    speed = float(rng.uniform(8, 34))
    reach = float(np.clip(90 * np.exp(rng.normal(0, 0.1)), 65, 130))
    if now.kind == "night":
        reach *= 0.8
    tone = float(rng.uniform(120, 185))
    return World(
        course=road.course(rng),
        layout=layout,
        surface=_surface(rng, layout, now),
        backdrop=_backdrop(rng, layout, now),
        weather=now,
        vehicles=vehicles.traffic(rng, layout, speed),
        camera=camera(rng, width, height),
        speed=speed,
        reach=min(reach, 2.2 / max(now.fog, 1e-3)) if now.fog > 0.02 else reach,
        concrete=(tone * 0.97, tone, tone * 1.01),
    )


def camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    """A camera behind a windscreen, looking along its vehicle. The image may have been cut above or below."""
    focal = width * float(np.clip(np.exp(rng.normal(np.log(0.84), 0.16)), 0.5, 1.5))
    centre = (width * (0.5 + rng.normal(0, 0.012)), height * (0.5 + rng.normal(0, 0.012)))
    horizon = rng.normal(0.335, 0.03) if rng.random() < 0.6 else rng.uniform(0.27, 0.62)
    pitch = np.arctan((centre[1] - horizon * height) / focal)
    above = rng.normal(1.6, 0.14) if rng.random() < 0.93 else rng.uniform(1.9, 2.7)
    bulge = float(rng.normal(-0.02, 0.06)) if rng.random() < 0.25 else 0.0
    lens = (float(np.clip(bulge, -0.12, 0.08)), 0.0, 0.0, 0.0, 0.0)
    tilt = (float(pitch), float(rng.normal(0, 0.011)), float(rng.normal(-0.01, 0.02)))
    return Camera(width, height, (focal, focal), centre, float(max(above, 1.15)), *tilt, lens)


def _surface(rng: np.random.Generator, layout: road.Layout, now: weather.Weather) -> Surface:
    concrete = bool(rng.random() < 0.38)
    level = rng.uniform(95, 172) if concrete else rng.uniform(55, 125)
    tint = rng.normal((0.95, 1.0, 1.03) if concrete else (1.03, 1.0, 0.98), 0.02)
    u = np.arange(-HALF, HALF, CELL)
    profile = _cross_section(rng, layout, u, level * tint)
    for place, kind in layout.fences:  # stripes of shade beside what stands at the road
        if now.sun and kind in ("jersey", "wall", "fence", "rail"):
            away = now.sun * {"jersey": 0.85, "wall": 3.6, "fence": 1.4, "rail": 0.75}[kind]
            profile[(u > min(place, place + away)) & (u < max(place, place + away))] *= now.dark if kind != "fence" else 0.9
    if now.rain:
        profile *= rng.uniform(0.6, 0.9)
    things = tuple(_things(rng, layout, concrete, level))
    grain = float(rng.uniform(0.06, 0.42))
    wear = float(np.clip(rng.beta(1.4, 2.6), 0.05, 0.85))
    name = "concrete" if concrete else "asphalt"
    return Surface(name, profile[None].astype(np.float32), grain, float(rng.uniform(0.02, 0.14)), things, wear)


def _cross_section(rng: np.random.Generator, layout: road.Layout, u: np.ndarray, base: np.ndarray) -> np.ndarray:
    """[cells, 3] BGR: land, shoulders, lanes with wheel paths and oil, seams between them, the other carriageway."""
    land = np.array(LANDS[rng.integers(len(LANDS))]) * rng.uniform(0.6, 1.15)
    profile = np.tile(land, (len(u), 1))
    profile *= (1 + 0.12 * np.interp(u, np.linspace(-HALF, HALF, 40), rng.normal(size=40)))[:, None]
    profile[(u > layout.left - 1.2) & (u < layout.right + 1.2)] = rng.uniform(90, 165) * np.array([0.9, 0.97, 1.0])
    if layout.oncoming and abs(layout.median) > 0:
        side, wide = np.sign(layout.median), layout.oncoming * layout.width + 2.5
        inner = abs(layout.median)
        profile[(u * side > inner) & (u * side < inner + wide)] = base * rng.uniform(0.8, 1.2)
    shoulder = base * rng.uniform(0.6, 1.15) if rng.random() < 0.5 else base
    profile[(u > layout.left) & (u < layout.right)] = shoulder
    dirt = np.exp(-np.abs(u - layout.right) / 0.4) + np.exp(-np.abs(u - layout.left) / 0.4)
    first, path, oil = layout.centres[0] - layout.width / 2, rng.normal(-0.02, 0.07), rng.uniform(-0.2, 0.03)
    for k, middle in enumerate(layout.centres):
        inside = (u > first + k * layout.width) & (u <= first + (k + 1) * layout.width)
        profile[inside] = base * (1 + rng.normal(0, 0.05) + (rng.normal(0, 0.18) if rng.random() < 0.15 else 0))
        tracks = np.exp(-(((np.abs(u - middle) - 0.82) / 0.26) ** 2)) * path + np.exp(-(((u - middle) / 0.32) ** 2)) * oil
        profile[inside] *= (1 + tracks[inside])[:, None]
    profile *= (1 - 0.25 * np.clip(dirt, 0, 1) * rng.random())[:, None]
    for _ in range(rng.poisson(2.0)):  # joints and sealed seams, near lines or, so that these mean no line, anywhere
        place = float(rng.choice(first + layout.width * np.arange(layout.lanes + 1))) + rng.normal(0, 0.25)
        place = place if rng.random() < 0.45 else rng.uniform(layout.left, layout.right)
        profile[np.abs(u - place) < rng.uniform(0.02, 0.07)] *= rng.uniform(0.35, 0.85)
    return profile


def _things(
    rng: np.random.Generator, layout: road.Layout, concrete: bool, level: float
) -> list[tuple[np.ndarray, tuple[float, ...], float]]:
    """What lies on the road within LOOP metres: joints, patches, tar, tyre marks, arrows, letters, and old lines blacked out."""
    found: list[tuple[np.ndarray, tuple[float, ...], float]] = []

    def slab(s: float, long: float, u: float, wide: float, colour: tuple[float, ...], opacity: float, skew: float = 0.0) -> None:
        shape = [(s, u - wide / 2), (s + long, u - wide / 2 + skew), (s + long, u + wide / 2 + skew), (s, u + wide / 2)]
        found.append((np.array(shape), colour, opacity))

    middle, wide = (layout.left + layout.right) / 2, layout.right - layout.left

    def grey(share: float) -> tuple[float, ...]:
        return (level * share,) * 3

    if concrete and rng.random() < 0.55:
        every, dark = rng.uniform(4, 6), rng.uniform(0.08, 0.45)
        for s in np.arange(0, LOOP - every / 2, LOOP / round(LOOP / every)):
            slab(s, rng.uniform(0.02, 0.06), middle, wide, PAINTS["tar"], dark)
    for _ in range(rng.poisson(3)):  # patches
        long = rng.uniform(1, 30)
        u, across = rng.uniform(layout.left, layout.right), rng.uniform(0.5, 3.6)
        slab(rng.uniform(0, LOOP), long, u, across, grey(rng.uniform(0.6, 1.25)), 0.5)
    if rng.random() < 0.35:  # cracks and their sealing
        for _ in range(rng.poisson(12)):
            s, u, thick = rng.uniform(0, LOOP), rng.uniform(layout.left, layout.right), rng.uniform(0.015, 0.07)
            along, dark = rng.random() < 0.6, rng.uniform(0.2, 0.75)
            for _ in range(int(rng.integers(3, 9))):
                step = rng.uniform(0.8, 3) if along else rng.uniform(0.1, 0.4)
                turn = rng.normal(0, 0.25) if along else rng.normal(0.5, 0.4)
                slab(s, step, u, thick, PAINTS["tar"], dark, turn)
                s, u = s + step, u + turn
    if rng.random() < 0.3:  # tyre marks
        for _ in range(rng.poisson(5)):
            s, u, long = rng.uniform(0, LOOP), rng.choice(layout.centres) + rng.normal(0, 0.5), rng.uniform(5, 40)
            for side in (-0.75, 0.75):
                slab(s, long, u + side, 0.2, PAINTS["tar"], rng.uniform(0.1, 0.4), rng.normal(0, 0.4))
    if rng.random() < 0.12:  # an old line, ground off or painted black, not where the lines are now
        u, colour = rng.choice(layout.centres) + rng.uniform(-1.2, 1.2), grey(rng.choice([0.6, 1.15]))
        for s in np.arange(0, LOOP, 12):
            slab(s, rng.choice([3.0, 12.0]), u, 0.2, colour, rng.uniform(0.2, 0.5))
    if rng.random() < (0.25 if concrete else 0.03):  # slots over dowel bars: short bright dashes across the joints
        lane, tone = rng.choice(layout.centres), grey(rng.uniform(1.15, 1.5))
        for s in np.arange(0, LOOP, LOOP / round(LOOP / rng.uniform(4, 6))):
            for u in lane + np.array([-1.1, -0.8, -0.5, 0.5, 0.8, 1.1]):
                slab(s, 0.5, u, 0.07, tone, 0.5)
    if rng.random() < 0.16:
        _symbols(rng, layout, found)
    return found


def _symbols(rng: np.random.Generator, layout: road.Layout, found: list[tuple[np.ndarray, tuple[float, ...], float]]) -> None:
    """Arrows, letters, diamonds, bars across a lane."""
    strong = rng.uniform(0.4, 0.95)

    def add(s: float, u: float, *shapes: list[tuple[float, float]]) -> None:
        found.extend((np.add(shape, (s, u)), PAINTS["white"], strong) for shape in shapes)

    for _ in range(int(rng.integers(2, 10))):
        s, u, kind = rng.uniform(0, LOOP), float(rng.choice(layout.centres)), rng.integers(4)
        if kind == 0:  # an arrow
            add(s, u, [(0, -0.08), (2.5, -0.08), (2.5, 0.08), (0, 0.08)], [(2.4, -0.45), (4.2, 0), (2.4, 0.45)])
        elif kind == 1:  # letters, as strokes
            for place in np.arange(-1.0, 1.1, 0.65):
                add(s, u + place, [(0, -0.2), (2.4, -0.2), (2.4, -0.1), (0, -0.1)])
                if rng.random() < 0.7:
                    add(s, u + place, [(0, 0.14), (2.4, 0.14), (2.4, 0.24), (0, 0.24)])
                for low in rng.choice([0.0, 1.1, 2.1], 2, replace=False):
                    add(s, u + place, [(low, -0.15), (low + 0.35, -0.15), (low + 0.35, 0.18), (low, 0.18)])
        elif kind == 2:  # a diamond
            for side in (-1, 1):
                for tip, inner in ((0, 0.5), (3.6, 3.1)):
                    add(s, u, [(tip, 0), (1.8, side * 0.5), (1.8, side * 0.36), (inner, 0)])
        else:  # bars across the lane
            for k in range(int(rng.choice([1, 1, 6]))):
                add(s + k * 1.2, u, [(0, -1.4), (0.4, -1.4), (0.4, 1.4), (0, 1.4)])


def _backdrop(rng: np.random.Generator, layout: road.Layout, now: weather.Weather) -> Backdrop:
    high, low = (np.clip(np.array(one) * rng.uniform(0.85, 1.12) + rng.normal(0, 8, 3), 4, 255) for one in SKIES[now.kind])
    cloud = float(rng.uniform(0.3, 1) if now.kind == "cloud" else rng.choice([0.0, rng.uniform(0.1, 0.65)]))
    ridges = []
    for k in range(int(rng.integers(1, 4))):
        far = np.array(HILLS[rng.integers(len(HILLS))]) * rng.uniform(0.55, 1.15)
        veil = (0.55, 0.25, 0.0)[k] * rng.uniform(0.4, 1.2)
        colour = tuple(float(v) for v in far * (1 - veil) + low * veil)
        rise = float(rng.uniform(0.01, 0.07) if k == 0 else rng.uniform(0.004, 0.05))
        ridges.append((rise, float(rng.uniform(0, 0.3) if k == 0 else rng.uniform(0.2, 1)), colour, int(rng.integers(1 << 20))))
    trees, green = [], np.array(GREENS[rng.integers(3)]) * rng.uniform(0.6, 1.3)
    for _ in range(int(rng.integers(*TREES[rng.choice(3, p=[0.25, 0.45, 0.3])]))):
        side = rng.choice([-1, 1])
        u = layout.right + rng.uniform(4, 30) if side > 0 else layout.left - rng.uniform(4, 30) - (8 if layout.oncoming else 0)
        colour = tuple(float(v) for v in green * rng.uniform(0.7, 1.3) + rng.normal(0, 5, 3))
        trees.append((float(rng.uniform(0, LOOP)), float(u), float(rng.uniform(2, 17)), int(rng.integers(12)), colour))
    posts = []
    for _ in range(int(rng.poisson(2.5))):
        u = float(layout.right + rng.uniform(1, 5)) if rng.random() < 0.75 else float(layout.left - rng.uniform(0.6, 3))
        plate = ((70, 105, 25), (235, 235, 235), (40, 190, 235), (150, 70, 20), (90, 90, 90))[rng.integers(5)]
        posts.append((float(rng.uniform(0, LOOP)), u, float(rng.uniform(2.2, 9)), float(rng.choice([0.3, 0.8, 2.5])), plate))
    gantries = []
    if rng.random() < 0.18:
        tone = float(rng.uniform(70, 165))
        thick = float(rng.choice([0.6, rng.uniform(1.2, 2.4)]))
        gantries.append((float(rng.uniform(0, LOOP)), float(rng.uniform(4.8, 7)), thick, (tone, tone, tone * 1.01)))
    sky = tuple(high.tolist()), tuple(low.tolist())
    return Backdrop(sky, cloud, float(rng.uniform(205, 250)), tuple(ridges), tuple(trees), tuple(posts), tuple(gantries))
