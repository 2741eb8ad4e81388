"""The simulated road: how it bends, how wide it is and what is painted along it.

Road coordinates: s metres along the road ahead of the camera, u metres to the right. In a Layout, u counts from the centre of the
camera's lane; on a Path, from the camera itself. Norms of the markings: MUTCD 3A.06 (3 m dashes, 9 m gaps, 10-15 cm), Caltrans
standard plan A20 (Botts' dots in fours), RMS (Germany, 6 m and 12 m), TSRGD (Britain, 2 m and 7 m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP, AHEAD = 1.0, 700  # metres between the points of a path, and their number
DASHES = ((3.05, 9.15), (3.0, 6.0), (6.0, 12.0), (4.0, 8.0), (2.0, 7.0), (8.0, 12.0), (1.0, 3.0), (4.5, 7.5))  # dash, gap; metres
DASH_SHARES = (0.56, 0.08, 0.1, 0.05, 0.05, 0.04, 0.05, 0.07)


@dataclass(frozen=True)
class Course:
    """Curvature along the road, to the right, and upwards: mean + swing * sin(2 pi s / wave + phase), 1/metres."""

    mean: float
    swing: float
    wave: float
    phase: float
    rise: float
    heave: float
    hill: float
    lift: float

    def curvature(self, s: np.ndarray | float) -> np.ndarray:
        return np.asarray(self.mean + self.swing * np.sin(2 * np.pi * np.asarray(s) / self.wave + self.phase))

    def heading(self, s: float) -> float:
        """Radians that the road has turned to the right after s metres."""
        turn = 2 * np.pi / self.wave
        return float(self.mean * s - self.swing / turn * (np.cos(turn * s + self.phase) - np.cos(self.phase)))

    def ahead(self, s0: float) -> Path:
        """The road ahead of a camera that is s0 metres along it; level and straight ahead where the camera is."""
        s = np.arange(AHEAD) * STEP
        bend = self.curvature(s0 + s)
        climb = self.rise + self.heave * np.sin(2 * np.pi * (s0 + s) / self.hill + self.lift)
        heading = np.clip(_integral(bend), -1.0, 1.0)
        slope = np.clip(_integral(climb), -0.08, 0.08)
        y = _integral(np.cos(heading))
        z = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(y))])
        return Path(s, _integral(np.sin(heading)), y, z, heading)


@dataclass(frozen=True)
class Path:
    """The curve that runs parallel to the road from below the camera: [n] each, metres and radians. y rises strictly."""

    s: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    heading: np.ndarray

    def points(self, s: np.ndarray, u: np.ndarray, above: np.ndarray | float = 0.0) -> np.ndarray:
        """[n, 3] metres in the camera's road coordinates (right, forward, up); the road is as high across as along."""
        turn = np.interp(s, self.s, self.heading)
        x = np.interp(s, self.s, self.x) + u * np.cos(turn)
        y = np.interp(s, self.s, self.y) - u * np.sin(turn)
        return np.column_stack([x, y, np.interp(y, self.y, self.z) + above])

    def crest(self, above: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes at which a camera this high sees the road, strictly rising, and how far ahead (y) it is there."""
        slope = (self.z[1:] - above) / self.y[1:]
        seen = np.concatenate([[True], slope[1:] > np.maximum.accumulate(slope)[:-1] + 1e-9])
        return slope[seen], self.y[1:][seen]


@dataclass(frozen=True)
class Marking:
    """A painted line. `kind`: solid, dashed, double, mixed (solid and dashed), dots, or studded (dashes with reflectors).

    Attributes:
        u: of its centre; width: of the paint; dash, gap, phase: along the road. Metres.
        strength: 0..1, how much of the surface the paint hides.
        labelled: whether it bounds a lane that can be driven in the camera's direction.
        fading: 0..1, how much more worn it is in some stretches than in others.
    """

    kind: str
    colour: str
    u: float
    width: float
    dash: float
    gap: float
    phase: float
    strength: float
    labelled: bool = True
    fading: float = 0.0


@dataclass(frozen=True)
class Layout:
    """A cross-section. u from the centre of the camera's lane, metres.

    Attributes:
        lanes: in the camera's direction; lane: the camera's, 0 is the left one; width: of a lane.
        oncoming: lanes of the other direction; their nearest edge is at `median`, their direction is left of it, or right
            of it where one drives on the left.
        left, right: edges of the paved surface, without what is oncoming behind a median.
        fences: (u, kind) of what stands beside: "jersey", "rail", "kerb", "wall" or "fence".
    """

    lanes: int
    lane: int
    width: float
    markings: tuple[Marking, ...]
    oncoming: int
    median: float
    left: float
    right: float
    fences: tuple[tuple[float, str], ...]

    @property
    def centres(self) -> np.ndarray:
        """[lanes] u of the centres of the lanes in the camera's direction."""
        return (np.arange(self.lanes) - self.lane) * self.width


def course(rng: np.random.Generator) -> Course:
    """Mostly straight or gently curved, a few tight curves; mostly level, some hills."""
    mean = swing = 0.0
    kind = rng.random()
    if kind > 0.35:
        radius = np.exp(rng.normal(np.log(1000), 0.8)) if kind < 0.93 else rng.uniform(70, 350)
        mean = float(rng.choice([-1, 1]) / max(radius, 60.0))
        swing = mean * rng.uniform(-1, 1)
    else:
        mean = rng.normal(0, 6e-5)
    hilly = rng.random() < 0.45
    heave = rng.normal(0, 3.5e-4) if hilly else rng.normal(0, 4e-5)
    wave, hill = rng.uniform(350, 1200), rng.uniform(180, 700)
    return Course(mean, swing, wave, rng.uniform(0, 6.28), 0.0, heave, hill, rng.uniform(0, 6.28))


def layout(rng: np.random.Generator) -> Layout:
    """A motorway or an undivided road, with the markings of some country."""
    lanes = int(rng.choice([1, 2, 3, 4, 5], p=[0.05, 0.15, 0.27, 0.32, 0.21]))
    divided = lanes >= 3 or (lanes == 2 and rng.random() < 0.65) or (lanes == 1 and rng.random() < 0.2)
    beside = lanes > 2 and rng.random() < 0.8  # on real motorways, too, two of three frames show a lane on both sides
    lane = int(rng.integers(1, lanes - 1) if beside else rng.integers(lanes))
    width = float(np.clip(rng.normal(3.6, 0.13), 3.2, 4.0) if divided else rng.uniform(2.7, 3.8))
    left, right = (-lane - 0.5) * width, (lanes - lane - 0.5) * width
    if divided:
        oncoming = int(rng.integers(2, 5)) if rng.random() < 0.75 else 0
        inner = float(rng.choice([rng.uniform(0.3, 1.2), rng.uniform(1.2, 4.0)]))
        edge, gap = left - inner, float(rng.choice([rng.uniform(0.8, 2.5), rng.uniform(4, 18)]))
        median = edge - gap
        fences = _median(rng, edge, gap)
        marks = _markings(rng, lanes, lane, width, 0, median, oncoming)
    else:
        oncoming = int(rng.choice([1, 2], p=[0.8, 0.2]))
        median = left
        marks = _markings(rng, lanes, lane, width, oncoming)
        edge = left - oncoming * width - rng.uniform(0.1, 1.5)
        fences = _fence(rng, edge - rng.uniform(0.2, 3), 0.45)
    outer = right + (rng.uniform(0.2, 3.6) if divided else rng.uniform(0.1, 1.6))
    fences += _fence(rng, outer + float(rng.choice([rng.uniform(0.1, 1), rng.uniform(1, 6)])), 0.6)
    return mirrored(Layout(lanes, lane, width, marks, oncoming, median, edge, outer, fences), rng.random() < 0.15)


def mirrored(road: Layout, flip: bool) -> Layout:
    """The same road for driving on the left."""
    if not flip:
        return road
    marks = tuple(Marking(**{**vars(one), "u": -one.u}) for one in reversed(road.markings))
    fences = tuple((-u, kind) for u, kind in road.fences)
    lane = road.lanes - 1 - road.lane
    return Layout(road.lanes, lane, road.width, marks, road.oncoming, -road.median, -road.right, -road.left, fences)


def unmarked(road: Layout) -> Layout:
    return Layout(**{**vars(road), "markings": ()})


def _markings(
    rng: np.random.Generator, lanes: int, lane: int, width: float, oncoming: int, median: float = 0.0, beyond: int = 0
) -> tuple[Marking, ...]:
    """From left to right; `oncoming` lanes are on the same surface, of those `beyond` a median the lines are not labelled."""
    dash, gap = DASHES[rng.choice(len(DASHES), p=DASH_SHARES)]
    thick, fresh = rng.uniform(0.1, 0.16), float(np.clip(rng.beta(3.4, 1.2), 0.3, 1.0))
    style = str(rng.choice(["dashed", "studded", "dots"], p=[0.63, 0.25, 0.12]))
    phase = rng.uniform(0, 50)

    def mark(kind: str, colour: str, place: float, labelled: bool = True) -> Marking:
        strength = float(np.clip(fresh * rng.uniform(0.7, 1.15), 0.18, 1.0))
        beat = phase if rng.random() < 0.6 else rng.uniform(0, 50)
        wide = thick * (rng.uniform(1.0, 1.3) if kind in ("solid", "double") else 1.0)
        fading = float(rng.uniform(0.3, 0.95)) if rng.random() < 0.25 else 0.0
        return Marking(kind, colour, place * width, wide, dash, gap, beat, strength, labelled, fading)

    found: list[Marking] = []
    first, divided = -lane - 0.5, not oncoming
    if divided:
        for k in range(beyond + 1 if rng.random() < 0.8 else 0):
            kind = style if 0 < k < beyond else "solid"
            found.insert(0, mark(kind, "white" if k else "yellow", (median - 0.6) / width - k, False))
        found.append(mark("solid", "yellow" if rng.random() < 0.7 else "white", first))
    else:
        kind = str(rng.choice(["double", "solid", "dashed", "mixed"], p=[0.38, 0.17, 0.35, 0.1]))
        found.append(mark(kind, "yellow" if rng.random() < 0.55 else "white", first))
        for k in range(1, oncoming + 1):
            if k < oncoming or rng.random() < 0.6:
                found.insert(0, mark("solid" if k == oncoming else style, "white", first - k, k == 1))
    for k in range(1, lanes):
        kind = style if rng.random() < 0.88 else str(rng.choice(["solid", "double", "mixed", "dashed"]))
        found.append(mark(kind, "white", first + k))
    if rng.random() < (0.93 if divided else 0.75):
        dashed = rng.random() < 0.07
        found.append(mark(style if dashed else "solid", "white", first + lanes))
    return tuple(found)


def _median(rng: np.random.Generator, edge: float, gap: float) -> tuple[tuple[float, str], ...]:
    if gap < 3:
        return ((edge - gap / 2, str(rng.choice(["jersey", "rail", "wall"], p=[0.6, 0.35, 0.05]))),)
    found = _fence(rng, edge - rng.uniform(0.3, 1.5), 0.45)
    return found + (_fence(rng, edge - gap + 0.5, 0.5) if gap > 6 else ())


def _fence(rng: np.random.Generator, u: float, share: float) -> tuple[tuple[float, str], ...]:
    if rng.random() > share:
        return ()
    return ((float(u), str(rng.choice(["jersey", "rail", "kerb", "wall", "fence"], p=[0.22, 0.38, 0.18, 0.12, 0.1]))),)


def _integral(values: np.ndarray) -> np.ndarray:
    """Trapezoids over points STEP apart, from 0."""
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2)]) * STEP
