"""Other vehicles: where they drive, and how they look from behind, in front and the side."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from usecases.lane_detection import textures
from usecases.lane_detection.road import Layout
from usecases.lane_detection.sketching import Eye, Sketch

REACH = 260.0  # metres of road, from 60 m behind, within which vehicles are
SIZES = {  # width, length, height; metres
    "car": (1.82, 4.6, 1.46),
    "suv": (1.95, 4.8, 1.8),
    "van": (2.0, 5.5, 2.3),
    "lorry": (2.5, 11.0, 3.7),
    "bus": (2.5, 12.0, 3.1),
}
KINDS, SHARES = tuple(SIZES), (0.55, 0.8, 0.9, 0.98)  # cumulative
GREYS, BRIGHT = (235, 202, 152, 92, 42, 28), ((38, 36, 130), (105, 62, 35), (75, 92, 104))  # of bodies; BGR
ROUND = np.linspace(0, 2 * np.pi, 12, endpoint=False)


@dataclass(frozen=True)
class Vehicle:
    """A box with wheels. `s` is where it is at the start, ahead of the camera; u from the centre of the camera's lane.

    Attributes:
        speed: metres a second; negative when it comes towards the camera.
        size: width, length, height in metres.
    """

    kind: str
    s: float
    u: float
    speed: float
    size: tuple[float, float, float]
    colour: tuple[float, ...]
    braking: bool

    def ahead(self, seconds: float, travelled: float) -> float:
        """How far ahead its nearest face is after a time in which the camera has travelled so many metres."""
        return float((self.s + self.speed * seconds - travelled + 60) % REACH - 60)


def traffic(rng: np.random.Generator, road: Layout, speed: float) -> tuple[Vehicle, ...]:
    """Vehicles on the lanes of both directions; the camera, which drives at this speed, has some metres of its lane free."""
    busy = rng.choice([0.0, 0.4, 1.0, 2.0], p=[0.12, 0.38, 0.37, 0.13])
    found: list[Vehicle] = []
    for lane, centre in enumerate(road.centres):
        pace = speed if lane == road.lane else speed * rng.uniform(0.85, 1.15)
        found += _column(rng, float(centre), pace, busy * 3, 8.0 if lane == road.lane else -5.0)
    side = np.sign(road.median) or -1.0
    for k in range(road.oncoming):
        found += _column(rng, float(road.median + side * (k + 0.5) * road.width), -speed * rng.uniform(0.8, 1.1), busy * 4, -10.0)
    return tuple(found)


def _column(rng: np.random.Generator, centre: float, speed: float, mean: float, clear: float) -> list[Vehicle]:
    """A lane's vehicles, the first some way beyond `clear`."""
    found, place = [], clear + rng.exponential(22.0)
    for _ in range(int(rng.poisson(mean))):
        if place > REACH - 75:
            break
        kind = KINDS[int(np.searchsorted(SHARES, rng.random()))]
        width, length, height = (side * rng.uniform(0.93, 1.07) for side in SIZES[kind])
        base = BRIGHT[rng.integers(len(BRIGHT))] if rng.random() < 0.33 else (GREYS[rng.integers(len(GREYS))],) * 3
        colour = tuple(float(np.clip(v + rng.normal(0, 5), 5, 250)) for v in base)
        u, braking = float(centre + rng.normal(0, 0.2)), bool(rng.random() < 0.2)
        found.append(Vehicle(kind, float(place), u, float(speed), (width, length, height), colour, braking))
        place += length + 6 + rng.exponential(30.0)
    return found


class Painter:
    """Draws vehicles into a sketch, and their lamps afterwards.

    Args:
        offset: the camera's u.
        light: of the surroundings, 1 is day: when it is darker, lamps shine.
    """

    def __init__(self, sketch: Sketch, offset: float, light: float) -> None:
        self.sketch, self.offset, self.light = sketch, offset, light
        self._lamps: list[tuple[float, float, float, float, tuple[float, ...]]] = []  # s, u, z, strength, colour

    def add(self, one: Vehicle, ahead: float) -> None:
        """The vehicle whose nearest face is so far ahead."""
        wide, long, high = one.size
        left = one.u - self.offset - wide / 2
        right, floor = left + wide, 0.55 if one.kind == "lorry" else 0.26
        waist = high if one.kind in ("lorry", "bus", "van") else high * 0.64
        corners = [(s, u, z) for s in (ahead, ahead + long) for u in (left, right) for z in (floor, waist)]
        self.sketch.add(corners, _darker(one.colour, 0.55), solid=True)
        side = left if left > 0 else right
        if waist < high:
            self._cabin(one, ahead, left, right, waist)
        if left > 0.1 or right < -0.1:
            self._flank(one, ahead, side, floor, waist)
        self._face(one, ahead, left, right, floor, waist)

    def _cabin(self, one: Vehicle, near: float, left: float, right: float, waist: float) -> None:
        long, high, tuck = one.size[1], one.size[2], 0.12 * one.size[0]
        back = 0.05 if one.kind == "suv" else 0.17
        start = 0.01 if one.kind == "suv" else 0.06
        base = [(near + s * long, u, waist) for s in (start, 0.74) for u in (left + 0.03, right - 0.03)]
        roof = [(near + s * long, u, high) for s in (back, 0.58) for u in (left + tuck, right - tuck)]
        self.sketch.add(base + roof, _darker(one.colour, 0.85), solid=True)
        glass = (46, 42, 38) if one.speed > 0 else (78, 70, 62)
        low, top, foot, head = waist + 0.02, high - 0.09, near + start * long, near + back * long
        lower, upper = (left + 0.12, right - 0.12), (left + tuck + 0.06, right - tuck - 0.06)
        self.sketch.add([(foot, lower[0], low), (head, upper[0], top), (head, upper[1], top), (foot, lower[1], low)], glass)
        for side, lean, seen in ((left, left + tuck, left > 0.1), (right, right - tuck, right < -0.1)):
            if seen:
                u, back_foot, back_head = side * 0.85 + lean * 0.15, foot + 0.07 * long, head + 0.04 * long
                front_head, front_foot = near + 0.55 * long, near + 0.68 * long
                pane = [(back_foot, u, low), (back_head, lean, top), (front_head, lean, top), (front_foot, u, low)]
                self.sketch.add(pane, (40, 38, 36))

    def _flank(self, one: Vehicle, near: float, side: float, floor: float, waist: float) -> None:
        """The side that the camera sees, with wheels."""
        long = one.size[1]

        def panel(begin: float, end: float, low: float, top: float, colour: tuple[float, ...]) -> None:
            s0, s1 = near + begin * long, near + end * long
            self.sketch.add([(s0, side, low), (s1, side, low), (s1, side, top), (s0, side, top)], colour)

        panel(0, 1, floor, waist, _darker(one.colour, 0.72))
        panel(0, 1, floor, floor + 0.16, _darker(one.colour, 0.45))
        if one.kind in ("bus", "van"):
            panel(0.05, 0.95, waist * 0.55, waist * 0.85, (50, 46, 42))
        radius = 0.33 if one.kind not in ("lorry", "bus") else 0.5
        for place in (0.18, 0.3, 0.82) if one.kind == "lorry" else (0.18, 0.8):
            for size, shade in ((1.0, 20.0), (0.58, 95.0)):
                s, z = near + place * long + radius * size * np.cos(ROUND), radius + radius * size * np.sin(ROUND)
                self.sketch.add(np.column_stack([s, np.full(len(s), side), z]), (shade, shade, shade))

    def _face(self, one: Vehicle, near: float, left: float, right: float, floor: float, waist: float) -> None:
        """The rear, or the front of what comes towards the camera."""
        wide = right - left

        def panel(a: float, b: float, low: float, top: float, colour: tuple[float, ...]) -> None:
            u0, u1 = left + wide * a, left + wide * b
            self.sketch.add([(near, u0, low), (near, u0, top), (near, u1, top), (near, u1, low)], colour)

        oncoming, tall = one.speed < 0, waist == one.size[2]
        panel(0.03, 0.18, 0.02, floor + 0.1, (18, 18, 18))
        panel(0.82, 0.97, 0.02, floor + 0.1, (18, 18, 18))
        panel(0.015, 0.985, floor, waist, one.colour)
        panel(0.0, 1.0, floor, floor + 0.22, _darker(one.colour, 0.6))
        if tall and (one.kind != "lorry" or oncoming):
            panel(0.1, 0.9, waist * 0.55, waist * 0.88, (52, 48, 44))
        elif tall:
            panel(0.49, 0.51, floor, waist, _darker(one.colour, 0.6))
        if not oncoming:
            panel(0.38, 0.62, floor + 0.3, floor + 0.42, (205, 208, 208))
        low = floor + 0.3 if tall else waist - 0.26
        lamp = (225.0, 232.0, 232.0) if oncoming else (70.0, 65.0, 235.0) if one.braking else (42.0, 36.0, 125.0)
        for a, b in ((0.03, 0.17), (0.83, 0.97)):
            panel(a, b, low, low + 0.17, lamp)
            if self.light < 0.75 or (one.braking and not oncoming):
                strength = (7.0 if oncoming else 3.0 if one.braking else 2.0) * (1.2 - self.light)
                shine = (220.0, 235.0, 245.0) if oncoming else (50.0, 45.0, 250.0)
                self._lamps.append((near, left + wide * (a + b) / 2, low + 0.09, strength, shine))

    def shine(self, image: np.ndarray) -> None:
        """Add the lamps' glow, after everything has been drawn."""
        if not self._lamps:
            return
        s, u, z = np.array([one[:3] for one in self._lamps]).T
        focal = self.sketch.eye.camera.focal[0]
        for (x, y), (ahead, _, _, strength, colour) in zip(self.sketch.eye.pixels(s, u, z), self._lamps, strict=True):
            if np.isfinite(x) and abs(x) < 1e4 and abs(y) < 1e4:
                add_glow(image, x, y, float(np.clip(focal * 0.27 / max(ahead, 1.0) + strength, 2, 60)) * 2.2, colour)


def shadows(shade: np.ndarray, placed: list[tuple[float, Vehicle]], offset: float, eye: Eye, top: int, sun: float) -> None:
    """Darken the ground [rows, width], from row `top` of the image, under vehicles that are so far ahead.

    `sun` is how far a shadow falls to the right per metre of height, 0 without sun.
    """
    if not placed:
        return
    corners = []
    for ahead, one in placed:
        wide, long, high = one.size
        left = one.u - offset - wide / 2 + min(sun * high, 0)
        right = one.u - offset + wide / 2 + max(sun * high, 0)
        near, far = max(ahead - 0.3, 1.2), max(ahead + long + 0.2, 1.2)
        corners += [(near, left), (far, left), (far, right), (near, right)]
    points = eye.pixels(*np.array(corners).T).reshape(-1, 4, 2) - (0, top)
    for shape in points[(np.abs(points) < 30_000).all((1, 2))]:
        cv2.fillConvexPoly(shade, (shape * 16).round().astype(np.int32), 70.0 if sun else 95.0, cv2.LINE_AA, 4)


def add_glow(image: np.ndarray, x: float, y: float, radius: float, colour: tuple[float, ...]) -> None:
    """A light with its halo, added around a pixel."""
    size = max(int(radius) * 2 + 1, 3)
    x0, y0 = round(x) - size // 2, round(y) - size // 2
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + size, image.shape[1]), min(y0 + size, image.shape[0])
    if left >= right or top >= bottom:
        return
    way = cv2.INTER_AREA if size < 65 else cv2.INTER_CUBIC
    one = cv2.resize(textures.glow(), (size, size), interpolation=way)[top - y0 : bottom - y0, left - x0 : right - x0]
    part = image[top:bottom, left:right]
    part[:] = cv2.add(part, cv2.merge([cv2.convertScaleAbs(one, alpha=v / 255) for v in colour]))


def _darker(colour: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(v * share for v in colour)
