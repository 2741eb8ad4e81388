"""Images as requests, and what is answered to each."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from shared.data.images import decoded
from shared.usecase import Record
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.driving import Driving
from usecases.lane_detection.lanes import meets
from usecases.lane_detection.tracking import Detected, Tracked

BYTES = 32 << 20  # of a request's image
PIXELS = 50_000_000
SIDES = ("left", "right")

Side = Literal["left", "right", ""]


class CameraView(Record):
    """The camera's lens, which `usecases tool lane_detection calibrate` finds, and how it is mounted, as far as it is known."""

    fx: float = Field(gt=0, allow_inf_nan=False, description="focal length, pixels")
    fy: float = Field(gt=0, allow_inf_nan=False)
    cx: float = Field(allow_inf_nan=False, description="principal point, pixels")
    cy: float = Field(allow_inf_nan=False)
    distortion: tuple[float, float, float, float, float] = Field((0, 0, 0, 0, 0), description="k1, k2, p1, p2, k3 as in OpenCV")
    height_m: float | None = Field(
        None, gt=0, le=20, description="above the road; not given: lanes are taken to be of usual width"
    )
    pitch_deg: float | None = Field(None, gt=-90, lt=90, description="downwards; not given: from the lines, as is the yaw")
    yaw_deg: float = Field(0, gt=-90, lt=90, description="to the right of where the car goes; counts with a pitch")
    roll_deg: float = Field(0, gt=-90, lt=90, description="clockwise as the driver sees it; counts with a pitch")

    def camera(self, width: int, height: int) -> Camera:
        pitch, roll, yaw = (math.radians(angle) for angle in (self.pitch_deg or 0.0, self.roll_deg, self.yaw_deg))
        focal, centre = (self.fx, self.fy), (self.cx, self.cy)
        return Camera(width, height, focal, centre, self.height_m or 1.0, pitch, roll, yaw, self.distortion)


class LaneRequest(Record):
    """One image of the road ahead."""

    image: str = Field(min_length=1, max_length=4 * BYTES // 3 + 100, description="a JPEG or PNG file in base64")
    camera: CameraView | None = Field(None, description="for exact metres; not given: metres are approximate")


class LaneLine(Record):
    """A line that bounds a lane."""

    points: list[tuple[float, float]] = Field(description="x and y in the image's pixels, from far to near")
    confidence: float = Field(description="probability that the line is right")
    side: Side = Field(description="whether it bounds the car's own lane, and where; else empty")


class LaneDecision(Record):
    lane: bool = Field(description="whether both lines of the car's own lane were found")
    confidence: float = Field(description="that the lane's two lines are there and right; low where there is no lane")
    lines: Sequence[LaneLine]
    offset_m: float | None = Field(None, description="of the camera from the lane's middle, to the right")
    lane_width_m: float | None = Field(None, description="from line to line; not known without the camera's height")
    heading_deg: float | None = Field(None, description="of the car against the lane, to the right; needs the camera's yaw")
    radius_m: float | None = Field(None, description="of the lane's bend, positive to the right; none: straight, or not known")
    approximate: bool = Field(False, description="metres rest on an assumed camera")
    notes: list[str] = Field([], description="what is not known, and why")


class FrameLine(LaneLine):
    id: int = Field(description="the line's number, which it keeps from frame to frame")


class FrameDecision(LaneDecision):
    """A line of frames.jsonl."""

    frame: int
    name: str
    seconds: float
    lines: Sequence[FrameLine]
    seconds_to_crossing: float | None = None
    warning: Side = Field("", description="the side on which the car is leaving its lane")


def image_of(request: LaneRequest) -> np.ndarray:
    """The request's image, BGR uint8 [height, width, 3].

    Raises:
        ValueError: it is no base64, no JPEG or PNG, too large or cut short; the message says which.
    """
    text = request.image.partition(",")[2] if request.image.startswith("data:") else request.image
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64: give a JPEG or PNG file's content, encoded") from None
    if len(data) > BYTES:
        raise ValueError(f"has more than {BYTES >> 20} MB")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as header:
            pixels = header.width * header.height
    except Image.DecompressionBombError:
        pixels = PIXELS + 1
    except (OSError, ValueError, SyntaxError):
        raise ValueError("is neither a JPEG nor a PNG file") from None
    if pixels > PIXELS:
        raise ValueError(f"has more than {PIXELS // 10**6} million pixels")
    try:
        return decoded(data, colour=True)
    except OSError as error:
        raise ValueError(f"cannot be used: {error}") from None


def sided(found: Sequence[Detected], width: int, height: int) -> list[Tracked]:
    """One image's lines as if followed, numbered from 1; of those on either side of the middle the nearest bounds the lane."""
    reached = [meets(one.line, height - 1) - (width - 1) / 2 for one in found]
    sides = [""] * len(found)
    for side, left in zip(SIDES, (True, False), strict=True):
        own = [place for place, x in enumerate(reached) if (x < 0) == left]
        if own:
            sides[min(own, key=lambda place: abs(reached[place]))] = side
    return [
        Tracked(number, one.line, one.confidence, 1, 0, side)
        for number, (one, side) in enumerate(zip(found, sides, strict=True), 1)
    ]


def certainty(tracked: Sequence[Tracked], candidates: Sequence[Detected], width: int, height: int) -> float:
    """How sure it is that both lines of the car's lane are there; of one not reported, what its best candidate was given."""
    sure = {one.side: one.confidence for one in tracked if one.side}
    for one in candidates:
        side = SIDES[meets(one.line, height - 1) >= (width - 1) / 2]
        if not any(own.side == side for own in tracked):
            sure[side] = max(sure.get(side, 0.0), one.confidence)
    return min(sure.get(side, 0.0) for side in SIDES)


def quantities(driving: Driving | None) -> Mapping[str, float | bool | None]:
    """The fields of a decision that are measured, rounded."""
    if driving is None:
        return {}
    heading = None if driving.heading_rad is None else math.degrees(driving.heading_rad)
    return {
        "offset_m": _rounded(driving.offset_m, 3),
        "lane_width_m": _rounded(driving.lane_width_m, 3),
        "heading_deg": _rounded(heading, 2),
        "radius_m": _rounded(driving.radius_m, 0),
        "approximate": driving.approximate,
    }


def alone(driving: Driving | None, camera: Camera | None) -> Driving | None:
    """What one image by itself tells: with pitch and yaw from its own lines the heading is zero, and the width may be assumed.

    Args:
        camera: None unless it is known how it is mounted.
    """
    if driving is None or camera is not None:
        return driving
    return replace(driving, heading_rad=None, lane_width_m=None if driving.approximate else driving.lane_width_m)


def drawn(tracked: Tracked) -> list[tuple[float, float]]:
    """A line's points in JSON."""
    return [(round(x, 1), round(y, 1)) for x, y in tracked.line.astype(np.float64).tolist()]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
