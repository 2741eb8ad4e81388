"""Images as requests, and what is answered to each."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, FiniteFloat, ValidationInfo, field_validator

from shared.data.images import FILE_LIMIT, decoded
from shared.usecase import Record
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.driving import Driving
from usecases.lane_detection.lanes import meets, sides
from usecases.lane_detection.tracking import Detected, Tracked

SIDES = ("left", "right")

Side = Literal["left", "right", ""]


class Mounting(Record):
    """How the camera is mounted in the car, as far as it is known: its height, or height and angles."""

    height_m: float | None = Field(
        None, gt=0, le=20, description="of the camera above the road, metres; not given: lanes are taken to be of usual width"
    )
    pitch_deg: float | None = Field(
        None, gt=-90, lt=90, description="downwards; needs height_m; not given: from the lines, as is the yaw"
    )
    yaw_deg: float = Field(0, gt=-90, lt=90, description="to the right of where the car goes; needs pitch_deg")
    roll_deg: float = Field(0, gt=-90, lt=90, description="clockwise as the driver sees it; needs pitch_deg")

    @field_validator("pitch_deg", "yaw_deg", "roll_deg")
    @classmethod
    def _not_ignored(cls, value: float | None, info: ValidationInfo) -> float | None:
        needed = "height_m" if info.field_name == "pitch_deg" else "pitch_deg"
        if value is not None and info.data.get(needed) is None:
            raise ValueError(f"give {needed}, too: without it, this is taken from the lines")
        return value

    @property
    def angles(self) -> bool:
        """Is it known which way the camera looks?"""
        return self.pitch_deg is not None

    def mounted(self, lens: Camera) -> Camera:
        """A camera with this lens; where they are not known, its height is 1 m and its angles are 0."""
        pitch, roll, yaw = (math.radians(angle) for angle in (self.pitch_deg or 0.0, self.roll_deg, self.yaw_deg))
        return replace(lens, above=self.height_m or 1.0, pitch=pitch, roll=roll, yaw=yaw)


class CameraView(Mounting):
    """The camera's lens, which `usecases tool lane_detection calibrate` finds, and how it is mounted, as far as it is known."""

    fx: float = Field(gt=0, allow_inf_nan=False, description="focal length, pixels")
    fy: float = Field(gt=0, allow_inf_nan=False)
    cx: FiniteFloat = Field(description="principal point, pixels")
    cy: FiniteFloat
    distortion: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] = Field(
        (0, 0, 0, 0, 0), description="k1, k2, p1, p2, k3 as in OpenCV"
    )

    def camera(self, width: int, height: int) -> Camera:
        """Of an image of this size, pixels."""
        return self.mounted(Camera(width, height, (self.fx, self.fy), (self.cx, self.cy), distortion=self.distortion))


class LaneRequest(Record):
    """One image of the road ahead."""

    image: str = Field(
        min_length=1,
        max_length=4 * FILE_LIMIT // 3 + 100,
        description="a JPEG or PNG file in base64",
        json_schema_extra={"contentEncoding": "base64"},
    )
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
    seen: bool = Field(description="in this frame; else this is where the line should be, from the frames before")
    id: int = Field(description="the line's number, which it keeps from frame to frame")


class FrameDecision(LaneDecision):
    """A line of frames.jsonl."""

    frame: int
    name: str
    seconds: float
    lines: Sequence[FrameLine]
    extrapolated: bool = Field(False, description="lane and metres rest on a line that was seen a moment ago, not in this frame")
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
    if not data.startswith((b"\xff\xd8", b"\x89PNG")):
        raise ValueError("is neither a JPEG nor a PNG file")
    try:
        return decoded(data, colour=True)
    except OSError as error:
        raise ValueError(f"cannot be used: {error}") from None


def sided(found: Sequence[Detected], width: int, height: int) -> list[Tracked]:
    """One image's lines as if followed, numbered from 1."""
    named = sides([meets(one.line, height - 1) for one in found], width)
    return [
        Tracked(number, one.line, one.confidence, 1, 0, side)
        for number, (one, side) in enumerate(zip(found, named, strict=True), 1)
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
