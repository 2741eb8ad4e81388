"""Lines that keep their identity and do not jump: one Kalman filter for each line, in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from usecases.lane_detection.lanes import Line, line, sides

ROWS = 24  # at which a line's place is kept, from a little above any horizon to the image's bottom
TOP = 0.25  # the first of them, as a share of the height
HELD = 0.2  # seconds: a wiper, a gap in a worn line
FAR = 1e9  # the cost of a match that is not allowed


@dataclass(frozen=True)
class Detected:
    """A line in one frame. `confidence` is between 0 and 1."""

    line: Line
    confidence: float


@dataclass(frozen=True)
class Tracked:
    """A line that was followed over frames.

    Attributes:
        id: the line keeps it as long as it is followed, also when the car changes lanes.
        line: smoothed, from far to near, pixels.
        confidence: of late, between 0 and 1; fades while the line is not seen.
        age: frames since it was first seen.
        missed: frames since it was last seen.
        side: "left" or "right" for the lines of the car's own lane, else "".
        unseen: seconds since it was last seen.
    """

    id: int
    line: Line
    confidence: float
    age: int
    missed: int
    side: str = ""
    unseen: float = 0.0

    @property
    def held(self) -> bool:
        """Was it seen so lately that the car's lane and its place in it may be told from where it should be?"""
        return self.unseen <= HELD + 1e-6


@dataclass(frozen=True)
class Settings:
    """Lengths are shares of the image's width.

    Attributes:
        noise: how far a certain detection may be off (standard deviation); one of confidence c counts as noise / c.
        acceleration: how suddenly lines move sideways in the image (standard deviation, widths a second squared).
        fade: seconds in which a line's sideways speed, unseen, falls to 1/e.
        stiffness: as a share of the height: rows closer than this move together.
        gate: how far a detection may be from where a line is expected and still be that line.
        hits: frames in which a line must be seen before it is shown; in a sequence's first frames, each of them.
        patience: seconds that a line which is not seen is kept; also the pause after which a sequence starts anew. At least 2.5
            frames (`at_rate`), or no line would be followed where frames are few.
        shown: rows are shown as far as their place is known to this (standard deviation).
    """

    noise: float = 0.005
    acceleration: float = 0.8
    fade: float = 1.0
    stiffness: float = 0.25
    gate: float = 0.06
    hits: int = 3
    patience: float = 0.8
    shown: float = 0.06

    @classmethod
    def at_rate(cls, fps: float) -> Settings:
        """For so many frames a second; 0 if that is not known."""
        return cls(patience=max(cls.patience, 2.5 / fps if fps > 0 else 0.0))


def predict(x: np.ndarray, P: np.ndarray, F: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Kalman filter's time step: state [n] and covariance [n, n] after a transition F with noise Q."""
    return F @ x, F @ P @ F.T + Q


def correct(x: np.ndarray, P: np.ndarray, z: np.ndarray, H: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Kalman filter's measurement step: z [m] = H x with noise R; covariance in Joseph's form, which stays positive."""
    K = np.linalg.solve(H @ P @ H.T + R, H @ P).T
    rest = np.eye(len(x)) - K @ H
    return x + K @ (z - H @ x), rest @ P @ rest.T + K @ R @ K.T


class _Track:
    """State: x of the line at the anchor rows and its change a second [2 x ROWS], pixels."""

    def __init__(self, number: int, found: Detected, world: _World) -> None:
        self.id, self.world = number, world
        self.confidence, self.age, self.hits, self.missed, self.unseen, self.side = found.confidence, 1, 1, 0, 0.0, ""
        straight = np.polynomial.Polynomial.fit(found.line[:, 1], found.line[:, 0], 1, w=found.line[:, 1] / world.height)
        wide = world.width
        self.state = np.concatenate([straight(world.rows), np.zeros(ROWS)])
        self.cover = np.kron(np.diag([(0.1 * wide) ** 2, (0.15 * wide) ** 2]), world.together)
        self.span = (float(found.line[0, 1]), float(found.line[-1, 1]))
        self._measure(found)

    @property
    def place(self) -> np.ndarray:
        """x [ROWS]."""
        return self.state[:ROWS]

    def step(self, F: np.ndarray, Q: np.ndarray) -> None:
        self.state, self.cover = predict(self.state, self.cover, F, Q)

    def see(self, found: Detected) -> None:
        self._measure(found)
        self.hits, self.missed, self.unseen, self.age = self.hits + 1, 0, 0.0, self.age + 1
        self.confidence += 0.3 * (found.confidence - self.confidence)
        far, near = float(found.line[0, 1]), float(found.line[-1, 1])
        self.span = self.span[0] + 0.3 * (far - self.span[0]), self.span[1] + 0.3 * (near - self.span[1])

    def miss(self, seconds: float) -> None:
        self.missed, self.unseen, self.age = self.missed + 1, self.unseen + seconds, self.age + 1
        self.confidence *= float(np.exp(-seconds / self.world.settings.patience))

    def distance(self, found: Line) -> float:
        """Mean distance at the anchor rows that the found line covers, pixels."""
        there = self.world.covered(found)
        rows = self.world.rows[there]
        return float(np.abs(np.interp(rows, found[:, 1], found[:, 0]) - self.place[there]).mean()) if len(rows) else FAR

    def near(self) -> float:
        """x at the image's bottom row."""
        return float(self.place[-1])

    def shown(self) -> Line | None:
        """The line as far as it was seen and is known; None if that is less than three anchor rows."""
        world = self.world
        known = np.sqrt(np.diag(self.cover)[:ROWS]) < world.settings.shown * world.width
        known &= (world.rows > self.span[0] - world.gap) & (world.rows < self.span[1] + world.gap)
        rows = world.rows[known]
        if len(rows) < 3:
            return None
        ends = np.clip(self.span, rows[0], rows[-1])
        exact = np.concatenate([[ends[0]], rows[(rows > ends[0]) & (rows < ends[1])], [ends[1]]])
        return line(np.column_stack([np.interp(exact, world.rows, self.place), exact])) if ends[1] > ends[0] else None

    def _measure(self, found: Detected) -> None:
        world = self.world
        there = np.flatnonzero(world.covered(found.line))
        z = np.interp(world.rows[there], found.line[:, 1], found.line[:, 0])
        H = np.zeros((len(there), 2 * ROWS))
        H[np.arange(len(there)), there] = 1
        noise = world.settings.noise * world.width / max(found.confidence, 0.05)
        R = noise**2 * (
            world.together[np.ix_(there, there)] + 0.1 * np.eye(len(there))
        )  # a detector errs alike in rows that are close
        self.state, self.cover = correct(self.state, self.cover, z, H, R)


class _World:
    """What all lines share: the anchor rows and the model of motion."""

    def __init__(self, width: int, height: int, settings: Settings) -> None:
        self.width, self.height, self.settings = width, height, settings
        self.rows = np.linspace(TOP * height, height - 1, ROWS)
        self.gap = float(self.rows[1] - self.rows[0])
        apart = (self.rows[:, None] - self.rows) / (settings.stiffness * height)
        self.together = np.exp(-0.5 * apart**2) + 1e-4 * np.eye(ROWS)  # how rows move together: [ROWS, ROWS]

    def covered(self, found: Line) -> np.ndarray:
        """Which anchor rows a line reaches: [ROWS] bool; of a short line, the row that is closest."""
        there = (self.rows >= found[0, 1] - 1) & (self.rows <= found[-1, 1] + 1)
        if not there.any():
            there[np.abs(self.rows - found[:, 1].mean()).argmin()] = True
        return there

    def motion(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """F and Q [2 x ROWS, 2 x ROWS]: a sideways speed that fades, disturbed by a random acceleration."""
        fade = float(np.exp(-seconds / self.settings.fade))
        F = np.kron([[1.0, self.settings.fade * (1 - fade)], [0.0, fade]], np.eye(ROWS))
        jolt = np.array([seconds**2 / 2, seconds]) * self.settings.acceleration * self.width
        return F, np.kron(np.outer(jolt, jolt), self.together)


class Tracker:
    """Follows the lines of a sequence of frames of one size.

    Each line has a Kalman filter whose state is its place and sideways speed at anchor rows; rows that are close move together:
    gaps in a line are filled from its neighbours. Detections and lines are matched one to one with the least total
    distance. When several lines were followed, several are found and none fits, the scene was cut: all start anew.

    Args:
        width, height: of the frames, pixels.
    """

    def __init__(self, width: int, height: int, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.world = _World(width, height, self.settings)
        self.count = 0
        self.reset()

    def reset(self) -> None:
        """Forget all lines. Their numbers are not given again."""
        self.tracks: list[_Track] = []
        self.seconds: float | None = None
        self.frames = 0  # of this sequence

    @property
    def wanted(self) -> int:
        """Frames in which a line must have been seen to be shown: in a sequence's first frames, each of them."""
        return min(self.settings.hits, self.frames)

    def update(self, found: Sequence[Detected], seconds: float) -> list[Tracked]:
        """The lines that are followed, from left to right, after a frame.

        Args:
            found: in this frame.
            seconds: when it was taken; a step back, or a long pause, starts a new sequence.
        """
        if self.seconds is not None and not 0 <= seconds - self.seconds <= self.settings.patience:
            self.reset()
        passed = 0.0 if self.seconds is None else seconds - self.seconds
        self.seconds, self.frames = seconds, self.frames + 1
        motion = self.world.motion(passed)
        for track in self.tracks:
            track.step(*motion)
        pairs = self._match(found)
        confirmed = [track for track in self.tracks if track.hits >= self.settings.hits and not track.missed]
        if not pairs and len(found) > 1 and len(confirmed) > 1:
            self.tracks, self.frames = [], 1
        for number, track in enumerate(self.tracks):
            if number in pairs:
                track.see(found[pairs[number]])
            else:
                track.miss(passed)
        self._drop()
        for index in set(range(len(found))) - set(pairs.values()):
            self._start(found[index])
        self._sides()
        ready = ((track, track.shown()) for track in self.tracks if track.hits >= self.wanted)
        shown = [Tracked(t.id, drawn, t.confidence, t.age, t.missed, t.side, t.unseen) for t, drawn in ready if drawn is not None]
        return sorted(shown, key=lambda one: float(one.line[-1, 0]))

    def _match(self, found: Sequence[Detected]) -> dict[int, int]:
        """Which detection continues which track."""
        if not self.tracks or not found:
            return {}
        gate = self.settings.gate * self.world.width
        cost = np.array([[track.distance(one.line) for one in found] for track in self.tracks])
        cost[cost > gate] = FAR
        return {int(i): int(j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < FAR}

    def _start(self, found: Detected) -> None:
        """A new line, unless it is a second sight of one that is followed."""
        if all(track.missed or track.distance(found.line) > self.settings.gate * self.world.width / 2 for track in self.tracks):
            self.count += 1
            self.tracks.append(_Track(self.count, found, self.world))

    def _drop(self) -> None:
        """Forget lines that were not seen for long, new ones that were not seen again, and of two that became one the newer."""
        patience, gate = self.settings.patience, self.settings.gate * self.world.width
        kept: list[_Track] = []
        for track in sorted(self.tracks, key=lambda one: -one.hits):
            lost = track.unseen > patience or (track.hits < self.settings.hits and track.missed > 1)
            drawn = track.shown()
            double = drawn is not None and any(other.distance(drawn) < gate / 3 for other in kept)
            if not lost and not double:
                kept.append(track)
        self.tracks = sorted(kept, key=lambda one: one.id)

    def _sides(self) -> None:
        """The lines next to the image's middle at its bottom; one that sways on the middle stays on its side."""
        lean = {"left": -0.01 * self.world.width, "right": 0.01 * self.world.width, "": 0.0}
        ready = [track for track in self.tracks if track.hits >= self.wanted]
        named = sides([track.near() + lean[track.side] for track in ready], self.world.width)
        for track in self.tracks:
            track.side = ""
        for track, side in zip(ready, named, strict=True):
            track.side = side
