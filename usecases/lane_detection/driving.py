"""Where the car is in its lane, and whether it is about to leave it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from usecases.lane_detection.calibration import undistorted, vanishing_point
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import Line
from usecases.lane_detection.tracking import Settings, Tracked

LANE_M = 3.65  # the usual width of a lane on motorways, by which a camera of unknown height is scaled
REACH_M = 50.0  # beyond, a pixel is too many metres
STRAIGHT_M = 5000.0  # a larger radius cannot be told from a straight road
VIEWS = 101  # frames from which a camera is assumed
SURE = 10  # frames before which an assumed camera warns of nothing
STILL = 0.05  # m/s sideways below which a car keeps its place
FASTEST = 3.0  # m/s that a car moves sideways
CALM = 0.3  # seconds in which the sideways speed follows a change, or falls to 1/e where no line tells it
LONG = 10.0  # seconds to a crossing beyond which it is not worth saying


@dataclass(frozen=True)
class Driving:
    """Quantities of one frame. What cannot be known from the lines that are seen is None.

    Attributes:
        offset_m: of the camera from the lane's middle, to the right.
        lane_width_m: between the lines next to the car.
        heading_rad: of the car against the lane's direction, to the right.
        radius_m: of the lane's curve, positive to the right; None for a straight lane, too.
        seconds_to_crossing: until a wheel is on a line, if the car drifts on as it does; None if that is long.
        departing: the side on which a warning is on, "left" or "right", else ""; for a moment also where no line is seen.
        approximate: the camera's lens or height is not known: its field of view or the lane's width was assumed.
    """

    offset_m: float | None = None
    lane_width_m: float | None = None
    heading_rad: float | None = None
    radius_m: float | None = None
    seconds_to_crossing: float | None = None
    departing: str = ""
    approximate: bool = False


@dataclass(frozen=True)
class Course:
    """Lines on the road as x = across + slope y + bend y^2, all with the same slope and bend; metres."""

    across: tuple[float, ...]
    slope: float
    bend: float


def course(lines: Sequence[np.ndarray]) -> Course | None:
    """Least squares over all lines [n, 2] (right, forward) in metres, near points counting more; None if too little is seen."""
    parts, values = [], []
    for number, points in enumerate(lines):
        sound = points[np.isfinite(points).all(1) & (points[:, 1] > 0.5) & (points[:, 1] < REACH_M)]
        weight = 1 / np.maximum(sound[:, 1], 4.0)
        one = np.zeros((len(sound), len(lines) + 2))
        one[:, number] = 1
        one[:, -2:] = (sound[:, 1:] / 10) ** (1, 2)  # tens of metres keep the equations well conditioned
        parts.append(one * weight[:, None])
        values.append(sound[:, 0] * weight)
    matrix = np.concatenate(parts) if parts else np.zeros((0, 2))
    if min((len(part) for part in parts), default=0) < 2 or np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        return None
    *across, slope, bend = np.linalg.lstsq(matrix, np.concatenate(values), rcond=None)[0]
    return Course(tuple(float(x) for x in across), float(slope) / 10, float(bend) / 100)


def assumed_camera(
    left: Line, right: Line, width: int, height: int, lane_width_m: float = LANE_M, lens: Camera | None = None, above: float = 0.0
) -> Camera:
    """A camera as far as it is not known: pitch and yaw from where the lane's lines meet, height from the lane's width.

    Args:
        lens: focal length, centre and distortion, if known; else a horizontal field of view of 64 degrees is assumed, and metres
            are approximate.
        above: its height above the road, metres; 0 if it is not known.

    Raises:
        ValueError: the lines do not meet ahead.
    """
    focal = (0.8 * width, 0.8 * width)
    plain = Camera(width, height, focal, (width / 2, height / 2), 1.0) if lens is None else replace(lens, above=1.0)
    if lens is not None:
        left, right = undistorted(lens, left), undistorted(lens, right)
    x, y = vanishing_point(left, right)
    across, down = (x - plain.centre[0]) / plain.focal[0], (y - plain.centre[1]) / plain.focal[1]
    pitch = -float(np.arctan(down))
    camera = replace(plain, pitch=pitch, roll=0.0, yaw=-float(np.arctan(across * np.cos(pitch))), distortion=(0.0,) * 5)
    fitted = course([camera.ground(left), camera.ground(right)])
    if fitted is None or fitted.across[1] - fitted.across[0] < 0.2:
        raise ValueError("the lines are not those of a lane")
    height_m = above or float(np.clip(lane_width_m / (fitted.across[1] - fitted.across[0]), 0.5, 4.0))
    return replace(camera, above=height_m, distortion=plain.distortion)


class DepartureWarning:
    """On when a wheel is, or soon will be, on a line; off only when it is well clear, so that it does not flicker.

    Args:
        on_s, off_s: seconds to the crossing below which the warning goes on, above which it may go off.
        on_m, off_m: the same of the wheel's distance from the line, metres; below zero the line is crossed.
        hold_s: seconds for which the reason to go on, or off, must last.
    """

    def __init__(
        self, on_s: float = 0.7, off_s: float = 1.5, on_m: float = 0.0, off_m: float = 0.25, hold_s: float = 0.15
    ) -> None:
        self.on, self.off, self.hold_s = (on_s, on_m), (off_s, off_m), hold_s
        self.side = ""
        self._wanted, self._since = "", 0.0

    def update(self, left_m: float | None, right_m: float | None, speed: float, seconds: float) -> str:
        """The side of the warning that is on, or "".

        Args:
            left_m, right_m: from the outer wheel to the line; None if it is not seen.
            speed: sideways, to the right, m/s.
            seconds: the frame's time.
        """
        there = {"left": (left_m, -speed), "right": (right_m, speed)}
        wanted = self.side
        if not (wanted and _near(*there[wanted], *self.off)):  # once on, going back in is no reason to go off: being back is
            wanted = next((side for side, (metres, out) in there.items() if out > -STILL and _near(metres, out, *self.on)), "")
        if wanted == self.side or wanted != self._wanted:
            self._since = seconds
        self._wanted = wanted
        if wanted != self.side and seconds - self._since >= self.hold_s - 1e-9:
            self.side = wanted
        return self.side


class Gauge:
    """Driving quantities over a sequence of frames, from the tracked lines.

    Args:
        camera: of the images; its yaw and the like are how it is mounted in the car. None: assumed from the lines that are seen.
        lens: without `camera`: what is known of it, its focal length, centre and distortion.
        above: without `camera`: its height above the road, metres; 0 if it is not known.
        width, height: of the images, pixels; needed without a camera.
        lane_width_m: what lanes are taken to measure without a camera.
        car_width_m: between the outer edges of the wheels.
    """

    def __init__(
        self,
        camera: Camera | None,
        width: int,
        height: int,
        lane_width_m: float = LANE_M,
        car_width_m: float = 1.8,
        lens: Camera | None = None,
        above: float = 0.0,
    ) -> None:
        self.camera, self.size, self.lens, self.above = camera, (width, height), lens, above
        self.lane_width_m, self.car_width_m = lane_width_m, car_width_m
        self.assumed: Camera | None = None
        self.views: deque[tuple[float, float, float]] = deque(maxlen=VIEWS)
        self.warning = DepartureWarning()
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence with the same camera."""
        self.seconds: float | None = None
        self.places: dict[int, float] = {}  # metres to the right, by the line's number
        self.speed = 0.0
        self.bend: float | None = None
        self.told = 0.0  # when lines last told the course
        self.warning.side = ""

    def update(self, tracked: Sequence[Tracked], seconds: float) -> Driving | None:
        """The quantities of a frame; None if neither line of the car's lane is seen and no warning is on.

        A line that was seen a moment ago still tells the car's place (`Tracked.held`); only one that is seen now warns.
        """
        passed = 0.0 if self.seconds is None else max(seconds - self.seconds, 0.0)
        self.seconds = seconds
        own = {one.side: one for one in tracked if one.side and one.held}
        camera = self.camera or self._assume(own)
        road = course([camera.ground(one.line) for one in own.values()]) if camera and own else None
        if road is None:
            return self._nothing(passed, seconds)
        self.told = seconds
        upright = float(np.cos(np.arctan(road.slope)))
        sides = {side: across * upright for side, across in zip(own, road.across, strict=True)}
        self._drift({own[side].id: place for side, place in sides.items() if not own[side].missed}, passed)
        self.bend = road.bend if self.bend is None else self.bend + (1 - float(np.exp(-passed))) * (road.bend - self.bend)
        bend = 2 * self.bend * upright**3
        left = -sides["left"] - self.car_width_m / 2 if "left" in sides else None
        right = sides["right"] - self.car_width_m / 2 if "right" in sides else None
        ahead = left if self.speed < 0 else right
        crossing = None if ahead is None or abs(self.speed) < STILL else max(ahead, 0.0) / abs(self.speed)
        whole = len(sides) == 2
        sure = self.camera is not None or len(self.views) >= SURE
        warns = {side: sure and not one.missed for side, one in own.items()}
        return Driving(
            offset_m=-(sides["left"] + sides["right"]) / 2 if whole else None,
            lane_width_m=sides["right"] - sides["left"] if whole else None,
            heading_rad=-float(np.arctan(road.slope)),
            radius_m=1 / bend if abs(bend) > 1 / STRAIGHT_M else None,
            seconds_to_crossing=crossing if crossing is not None and crossing <= LONG else None,
            departing=self.warning.update(
                left if warns.get("left") else None, right if warns.get("right") else None, self.speed, seconds
            ),
            approximate=self.camera is None and not (self.lens and self.above),
        )

    def _nothing(self, passed: float, seconds: float) -> Driving | None:
        """A frame whose lines do not tell the road's course."""
        self._drift({}, passed)
        if seconds - self.told > Settings.patience:
            self.speed, self.bend = 0.0, None
        departing = self.warning.update(None, None, 0.0, seconds)
        return Driving(departing=departing) if departing else None

    def _drift(self, places: dict[int, float], passed: float) -> None:
        """The car's sideways speed, from lines that were seen in the last frame, too: whichever lane they bound."""
        common = places.keys() & self.places.keys()
        if common and passed > 0:
            moved = -min((places[number] - self.places[number] for number in common), key=abs) / passed  # drift moves both lines
            self.speed += (1 - float(np.exp(-passed / CALM))) * (float(np.clip(moved, -FASTEST, FASTEST)) - self.speed)
        elif not common:
            self.speed *= float(np.exp(-passed / CALM))
        self.places = places

    def _assume(self, own: dict[str, Tracked]) -> Camera | None:
        """A camera from the lines next to the car: the median of the latest, in which the car's heading is zero on average."""
        if len(own) == 2 and not any(one.missed for one in own.values()):
            try:
                lines = own["left"].line, own["right"].line
                now = assumed_camera(*lines, *self.size, self.lane_width_m, self.lens, self.above)
            except ValueError:
                return self.assumed
            self.views.append((now.above, now.pitch, now.yaw))
            above, pitch, yaw = (float(value) for value in np.median(self.views, axis=0))
            self.assumed = replace(now, above=above, pitch=pitch, yaw=yaw)
        return self.assumed


def birds_eye(camera: Camera, size: tuple[int, int], area: tuple[float, float, float, float] = (-8, 8, 4, 44)) -> np.ndarray:
    """Homography [3, 3] from the undistorted image to a view from above, for `cv2.warpPerspective(image, it, size)`.

    Args:
        size: width and height of the view, pixels.
        area: of the road that it shows: left, right, near, far, metres.
    """
    left, right, near, far = area
    plain = replace(camera, distortion=(0.0,) * 5)
    corners = plain.project(np.array([[left, far, 0], [right, far, 0], [right, near, 0], [left, near, 0]]))
    width, height = size
    view = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return cv2.getPerspectiveTransform(corners.astype(np.float32), view)


def _near(metres: float | None, speed: float, limit_s: float, limit_m: float) -> bool:
    """Is a wheel so many metres from a line, and closing in at so many m/s, within either limit?"""
    if metres is None:
        return False
    return metres < limit_m or (speed > STILL and max(metres, 0.0) / speed < limit_s)
