from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from usecases.lane_detection.camera import Camera
from usecases.lane_detection.driving import DepartureWarning, Driving, Gauge, assumed_camera, birds_eye, course
from usecases.lane_detection.lanes import Line, line
from usecases.lane_detection.tracking import Tracked

CAMERA = Camera(1280, 720, (1024.0, 1024.0), (640.0, 360.0), 1.4, 0.05, 0.01, 0.0)
WIDE = 3.6
SIDES = {-1: "left", 1: "right"}


def seen(side: int, offset: float = 0.0, heading: float = 0.0, radius: float = 1e9, camera: Camera = CAMERA) -> Line:
    """A lane's line as an arc about the curve's centre, seen from `offset` right of the lane's middle, turned `heading` right."""
    along = np.linspace(0, 60, 400)
    own = radius - side * WIDE / 2  # the line's own radius
    angle = along / radius
    x, y = radius - own * np.cos(angle) - offset, own * np.sin(angle)
    c, s = np.cos(heading), np.sin(heading)
    x, y = c * x - s * y, s * x + c * y
    ahead = (y > 4) & (y < 45)
    points = camera.project(np.column_stack([x, y, np.zeros(len(x))])[ahead])
    return line(points[(points[:, 1] < camera.height) & np.isfinite(points).all(1)])


def lane(
    offset: float = 0.0, heading: float = 0.0, radius: float = 1e9, camera: Camera = CAMERA, first: int = 1
) -> list[Tracked]:
    return [
        Tracked(first + number, seen(side, offset, heading, radius, camera), 0.9, 9, 0, SIDES[side])
        for number, side in enumerate(SIDES)
    ]


def gauge(camera: Camera | None = CAMERA) -> Gauge:
    return Gauge(camera, 1280, 720)


@pytest.mark.parametrize("offset", [-0.8, 0.0, 0.5])
@pytest.mark.parametrize("heading", [-0.03, 0.0, 0.02])
@pytest.mark.parametrize("radius", [1e9, 300.0, -500.0])
def test_quantities_are_those_of_the_geometry(offset: float, heading: float, radius: float) -> None:
    found = gauge().update(lane(offset, heading, radius), 0.0)
    assert found is not None
    assert found.offset_m == pytest.approx(offset, abs=0.02)
    assert found.lane_width_m == pytest.approx(WIDE, abs=0.02)
    assert found.heading_rad == pytest.approx(heading, abs=0.002)
    if radius == 1e9:
        assert found.radius_m is None
    else:
        assert found.radius_m == pytest.approx(radius, rel=0.03)
    assert not found.approximate


def test_with_distortion() -> None:
    bent = replace(CAMERA, distortion=(-0.2, 0.05, 0.0, 0.0, 0.0))
    found = gauge(bent).update(lane(0.4, 0.01, 400, bent), 0.0)
    assert found is not None
    assert (found.offset_m, found.heading_rad) == pytest.approx((0.4, 0.01), abs=0.02)


def test_one_line_gives_what_one_line_can() -> None:
    found = gauge().update(lane(0.3, 0.02, 400)[1:], 0.0)
    assert found is not None
    assert found.offset_m is None
    assert found.lane_width_m is None
    assert found.heading_rad == pytest.approx(0.02, abs=0.005)
    assert found.radius_m == pytest.approx(400, rel=0.05)


def test_no_line_gives_nothing() -> None:
    assert gauge().update([], 0.0) is None
    aside = [replace(one, side="") for one in lane()]
    assert gauge().update(aside, 0.0) is None


def drive(meter: Gauge, speed: float, seconds: float, start: float = 0.0, fps: float = 20) -> list[Driving]:
    """Drift to the right by `speed` m/s."""
    return [found for t in np.arange(0, seconds, 1 / fps) if (found := meter.update(lane(start + speed * t), t)) is not None]


@pytest.mark.parametrize("speed", [0.5, -0.5])
def test_time_to_crossing(speed: float) -> None:
    last = drive(gauge(), speed, 1.5)[-1]
    left = WIDE / 2 - 0.9 - abs(last.offset_m or 0)
    assert last.seconds_to_crossing == pytest.approx(left / 0.5, rel=0.08)


def test_no_crossing_when_the_car_keeps_its_place() -> None:
    assert {found.seconds_to_crossing for found in drive(gauge(), 0.0, 1.0)} == {None}


@pytest.mark.parametrize(("speed", "side"), [(0.6, "right"), (-0.6, "left")])
def test_drifting_out_warns_in_time(speed: float, side: str) -> None:
    found = drive(gauge(), speed, 1.45)
    on = [one for one in found if one.departing]
    assert {one.departing for one in on} == {side}
    first = on[0].seconds_to_crossing
    assert first is not None
    assert 0.3 < first < 0.8
    assert all(one.departing for one in found[-len(on) :])  # once on it stays on


def test_the_numbers_of_lines_carry_the_speed_through_a_lane_change() -> None:
    """As the car crosses the right line, this becomes its left one: the drift goes on, nothing jumps."""
    meter, speeds = gauge(), []
    for t in np.arange(0, 8, 0.05):
        offset = 0.5 * t
        over = offset > WIDE / 2
        seen_lines = lane(offset - WIDE * over, first=1 + over)
        meter.update(seen_lines, float(t))
        speeds.append(meter.speed)
    assert speeds[40:] == pytest.approx([0.5] * len(speeds[40:]), abs=0.02)


def test_one_line_that_jumps_is_not_a_drift() -> None:
    meter, still = gauge(), lane()
    jumped = [still[0], replace(lane(-0.4)[1])]
    for number, seen_lines in enumerate([still] * 5 + [jumped] + [still] * 5):
        meter.update(seen_lines, number / 20)
        assert abs(meter.speed) < 0.02


def test_a_line_that_is_not_seen_does_not_hold_the_speed_back() -> None:
    meter = gauge()
    for t in np.arange(0, 1.5, 0.05):
        left, right = lane(0.5 * t)[0], replace(lane(0.0)[1], missed=3)
        meter.update([left, right], float(t))
    assert meter.speed == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_camera_that_was_assumed_a_moment_ago_warns_of_nothing(side: str) -> None:
    meter = gauge(None)
    found = [meter.update(lane(1.2 if side == "right" else -1.2), t / 20) for t in range(30)]
    assert {one.departing for one in found[:9] if one} == {""}
    assert found[-1] is not None
    assert found[-1].departing == side


def on_the_line() -> Gauge:
    """A meter whose warning is on, at 0.5 s."""
    meter = gauge()
    for t in np.arange(0, 0.51, 0.05):
        found = meter.update(lane(1.2), float(t))
    assert found is not None
    assert found.departing == "right"
    return meter


def test_a_frame_without_lines_does_not_interrupt_a_warning() -> None:
    meter = on_the_line()
    assert meter.update([], 0.55) == Driving(departing="right")
    after = meter.update(lane(1.2), 0.6)
    assert after is not None
    assert after.departing == "right"
    assert [meter.update([], t) for t in (0.65, 0.7, 0.75, 0.8, 0.85)][-1] is None


def test_lines_that_are_not_seen_keep_no_warning_on_and_tell_no_place_for_long() -> None:
    meter = on_the_line()
    gone = [meter.update([replace(one, missed=k, unseen=0.05 * k) for one in lane(1.2)], 0.5 + 0.05 * k) for k in range(1, 9)]
    assert [one.offset_m is not None for one in gone if one] == [True] * 4
    assert [one.departing if one else "" for one in gone] == ["right"] * 3 + [""] * 5
    fresh = gauge()
    for k in range(1, 20):  # and start none
        found = fresh.update([replace(one, missed=k, unseen=0.1) for one in lane(1.2)], 0.05 * k)
        assert found is not None
        assert not found.departing


def test_the_sideways_speed_does_not_survive_a_gap() -> None:
    meter = gauge()
    drive(meter, 1.2, 1.0, -0.5)
    assert meter.speed > 1
    meter.update([], 1.05)
    assert 0.7 < meter.speed < 1.1  # a moment is bridged
    for t in np.arange(1.1, 60, 0.5):
        meter.update([], float(t))
    found = meter.update(lane(first=7), 60.0)
    assert abs(meter.speed) < 0.01
    assert found is not None
    assert (found.seconds_to_crossing, found.departing) == (None, "")


def test_the_bend_before_a_gap_does_not_bend_the_road_after_it() -> None:
    meter = gauge()
    for t in np.arange(0, 3, 0.05):
        meter.update(lane(radius=300), float(t))
    for t in np.arange(3, 4, 0.05):
        meter.update([], float(t))
    found = meter.update(lane(), 4.0)
    assert found is not None
    assert found.radius_m is None


def warn(warning: DepartureWarning, right: list[float], speed: float = 0.0) -> Iterator[str]:
    for number, metres in enumerate(right):
        yield warning.update(3.0, metres, speed, number * 0.05)


def test_warning_has_hysteresis() -> None:
    """On below 0 m, off above 0.25 m: swaying between leaves it as it is; each for 0.15 s."""
    sway = [0.1, 0.2] * 10
    assert set(warn(DepartureWarning(), sway)) == {""}
    out = list(warn(DepartureWarning(), [-0.1] * 5 + sway + [0.4] * 6))
    assert out[:5] == ["", "", "", "right", "right"]
    assert set(out[5:25]) == {"right"}
    assert out[25:28] == ["right"] * 3
    assert out[-1] == ""


def test_a_wheel_far_over_the_line_stays_warned_of_while_the_car_comes_back() -> None:
    """From 0.5 m over the line, in steps of 5 cm, until it is 0.3 m inside."""
    warning = DepartureWarning()
    assert list(warn(warning, [-0.5] * 6))[-1] == "right"
    back = [-0.5 + 0.05 * step for step in range(17)]
    out = [warning.update(3.0, metres, -1.0, 1 + number * 0.05) for number, metres in enumerate(back)]
    assert set(out[:15]) == {"right"}
    assert [warning.update(3.0, 0.4, -1.0, 2 + number * 0.05) for number in range(5)][-1] == ""


def test_one_bad_frame_does_not_warn() -> None:
    assert set(warn(DepartureWarning(), [0.8] * 5 + [-0.5] + [0.8] * 5)) == {""}


def test_moving_back_in_does_not_warn() -> None:
    assert set(warn(DepartureWarning(), [-0.1] * 10, speed=-0.5)) == {""}


def test_fast_drift_warns_far_from_the_line() -> None:
    assert list(warn(DepartureWarning(), [0.6] * 5, speed=1.0))[-1] == "right"
    assert list(warn(DepartureWarning(), [0.6] * 5, speed=0.4))[-1] == ""


def test_a_line_that_is_not_seen_does_not_warn() -> None:
    warning = DepartureWarning()
    assert {warning.update(None, None, 1.0, t / 10) for t in range(10)} == {""}


def test_without_a_camera_it_is_approximate() -> None:
    meter = gauge(None)
    found = meter.update(lane(0.5), 0.0)
    assert found is not None
    assert found.approximate
    assert found.lane_width_m == pytest.approx(3.65, abs=0.01)
    assert found.offset_m == pytest.approx(0.5, abs=0.1)
    assert found.heading_rad == pytest.approx(0, abs=0.005)
    assert gauge(None).update(lane()[:1], 0.0) is None  # one line does not tell a camera


def test_assumed_camera() -> None:
    plain = replace(CAMERA, roll=0.0, yaw=0.02)
    got = assumed_camera(seen(-1, camera=plain), seen(1, camera=plain), 1280, 720, WIDE)
    assert (got.pitch, got.yaw) == pytest.approx((0.05, 0.02), abs=0.001)
    assert got.above == pytest.approx(1.4, rel=0.01)
    with pytest.raises(ValueError, match="meet"):
        assumed_camera(seen(1), seen(-1)[:, :] + np.float32([2000, 0]), 1280, 720)


def test_course_of_nothing() -> None:
    assert course([]) is None
    assert course([np.array([[0.0, 5.0]])]) is None
    assert course([np.array([[0.0, np.nan], [1.0, 5.0], [1.0, 5.0], [1.0, 5.0]])]) is None


def test_birds_eye_is_to_scale() -> None:
    """A square on the road is a square of the right size in the view."""
    view = birds_eye(CAMERA, (320, 800), (-8, 8, 4, 44))
    square = np.array([[-2.0, 10, 0], [2, 10, 0], [2, 14, 0], [-2, 14, 0]])
    got = cv2.perspectiveTransform(CAMERA.project(square)[:, None], view)[:, 0]
    np.testing.assert_allclose(got, [[120, 680], [200, 680], [200, 600], [120, 600]], atol=0.1)
