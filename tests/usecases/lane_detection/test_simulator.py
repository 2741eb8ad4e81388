from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from usecases.lane_detection import painting, simulator
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import at_rows, from_left
from usecases.lane_detection.road import Course, Layout, Marking
from usecases.lane_detection.simulator import Pose, Scene, clip, render, shoot
from usecases.lane_detection.sketching import Eye
from usecases.lane_detection.world import World, world

STRAIGHT = Course(0, 0, 500, 0, 0, 0, 500, 0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render(3, index) for index in range(60)]


def plain(seed: int, course: Course = STRAIGHT, kind: str = "solid", offsets: tuple[float, ...] = (-1.8, 1.8)) -> World:
    """A world with these white lines only, on an even road in the sun, seen through a perfect lens."""
    given = world(np.random.default_rng(seed), 640, 360)
    marks = tuple(Marking(kind, "white", u, 0.12, 3.0, 9.0, 0.0, 1.0) for u in offsets)
    layout = Layout(1, 0, 3.6, marks, 0, -1.8, -6.0, 6.0, ())
    even = np.full((1, len(given.surface.profile[0]), 3), 90, np.float32)
    surface = replace(given.surface, profile=even, grain=0.0, streak=0.0, things=(), wear=0.0)
    sunny = replace(
        given.weather, kind="sun", light=1.0, lamps=0.0, sun=0.0, crowns=0.0, bridges=(), rain=0.0, fog=0.0, glare=0.0
    )
    sunny = replace(sunny, vignette=0.0, noise=0.0, blur=0.0, jpeg=0, mirror=0.0, bonnet=0.0, gamma=1.0, tint=(1.0, 1.0, 1.0))
    bare = replace(given.backdrop, trees=(), posts=(), gantries=())
    camera = Camera(640, 360, (540.0, 540.0), (322.0, 181.0), above=1.6, pitch=0.11, roll=0.005, yaw=-0.01)
    given = replace(given, course=course, layout=layout, surface=surface, weather=sunny, backdrop=bare)
    return replace(given, vehicles=(), camera=camera, reach=80.0)


def seen(around: World, pose: Pose) -> Scene:
    return shoot(np.random.default_rng(0), around, pose)


def test_a_frame_depends_on_nothing_but_seed_and_index(scenes: list[Scene]) -> None:
    again = render(3, 17)
    assert np.array_equal(again.image, scenes[17].image)
    assert again.camera == scenes[17].camera
    assert again.about == scenes[17].about
    assert all(np.array_equal(a, b) for a, b in zip(again.lines, scenes[17].lines, strict=True))
    assert not np.array_equal(render(4, 17).image, scenes[17].image)


def test_what_a_scene_holds(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (360, 640, 3)
        assert scene.image.dtype == np.uint8
        assert len(scene.lines) <= 6
        assert all(np.array_equal(a, b) for a, b in zip(scene.lines, from_left(scene.lines), strict=True))
        for one in scene.lines:
            assert one.dtype == np.float32
            assert len(one) >= 2
            assert np.isfinite(one).all()
            assert np.all(np.diff(one[:, 1]) > 0)
            assert np.diff(one[:, 1]).max() <= 4
            assert np.hypot(*np.ptp(one, axis=0)) >= 25
            assert one.min() >= 0
            assert np.all(one.max(0) <= (639, 359))
    assert {len(scene.lines) for scene in scenes} >= {3, 4}


def test_the_size_is_as_asked() -> None:
    scene = render(3, 5, 352, 192)
    assert scene.image.shape == (192, 352, 3)
    assert (scene.camera.width, scene.camera.height) == (352, 192)
    assert render(3, 6, 321, 201).image.shape == (201, 321, 3)


def test_there_are_all_kinds_of_frames() -> None:
    rng = [np.random.default_rng([3, index]) for index in range(500)]
    drawn = [world(one, 640, 360) for one in rng]
    unmarked = np.mean([not one.layout.markings for one in drawn])
    assert 0.01 < unmarked < 0.06
    kinds = {mark.kind for one in drawn for mark in one.layout.markings}
    assert kinds == {"solid", "dashed", "double", "mixed", "dots", "studded"}
    assert {one.surface.name for one in drawn} == {"asphalt", "concrete"}
    assert {one.weather.kind for one in drawn} == {"sun", "cloud", "dusk", "night"}
    assert {one.layout.lanes for one in drawn} == {1, 2, 3, 4, 5}
    assert any(one.weather.rain for one in drawn)


@pytest.mark.parametrize("bend", [0.0, 1 / 400, -1 / 250])
def test_labels_run_along_the_middle_of_the_paint(bend: float) -> None:
    around = plain(8, replace(STRAIGHT, mean=bend, heave=2e-4, lift=1.0), offsets=(0.9,))
    eye = Eye(around.camera, around.course.ahead(0))
    ground = painting.look(around.camera, eye.path)
    image = np.zeros((360 - ground.top, 640, 3), np.uint8)
    painting.paint(image, np.full(image.shape[:2], 255, np.uint8), ground, eye, around.layout, around.surface, 0.0, 0.0)
    (one,) = seen(around, Pose()).lines
    rows = np.arange(int(one[0, 1]) + 2, int(one[-1, 1]) - 2)
    off = []
    for row, x in zip(rows, at_rows(one, rows), strict=True):
        left = max(int(x) - 40, 0)
        light = image[row - ground.top, left : int(x) + 41, 0].astype(float)
        if light.sum() > 40 and left > 0 and x < 598:
            off.append((light * (left + np.arange(len(light)))).sum() / light.sum() - x)
    assert len(off) > 50
    assert abs(np.mean(off)) < 0.1
    assert np.percentile(np.abs(off), 95) < 0.5


def test_the_paint_is_brighter_than_the_road_beside_it() -> None:
    around = plain(8)
    scene = seen(around, Pose())
    grey = cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY)
    for one, u in zip(scene.lines, (-1.8, 1.8), strict=True):
        s = np.arange(6.0, 40.0, 2.0)
        on, beside = (scene.camera.project(np.column_stack([np.full(len(s), v), s, np.zeros(len(s))])) for v in (u, u * 0.6))
        inside = ((on > 1) & (on < (638, 358))).all(1)
        assert inside.sum() > 8
        assert np.abs(at_rows(one, on[inside, 1]) - on[inside, 0]).max() < 0.2
        x, y = on[inside].round().astype(int).T
        assert np.all(grey[y, x] > grey[tuple(beside[inside].round().astype(int).T[::-1])] + 25.0)


def test_the_lines_give_back_offset_heading_and_radius() -> None:
    around = plain(8, replace(STRAIGHT, mean=1 / 300))
    scene = seen(around, Pose(offset=0.4, heading=0.02))
    assert scene.about["radius_m"] == pytest.approx(300)
    assert scene.about["offset_m"] == 0.4
    found = []
    for one in scene.lines:
        x, y = scene.camera.ground(one).T
        near = y < 50
        found.append(np.polyfit(y[near], x[near], 2))
    bend, slope, place = np.mean(found, 0)
    assert place == pytest.approx(-0.4, abs=0.02)  # the lane's centre is left of the camera
    assert slope == pytest.approx(0, abs=0.005)  # the camera knows its heading
    assert 1 / (2 * bend) == pytest.approx(300, rel=0.05)
    assert found[1][2] - found[0][2] == pytest.approx(3.6, abs=0.03)


def test_a_crest_hides_what_is_behind_it() -> None:
    flat = seen(plain(8), Pose())
    hill = seen(plain(8, replace(STRAIGHT, rise=-3e-3)), Pose())
    assert hill.about["hill"]
    assert not flat.about["hill"]
    assert hill.lines[0][0, 1] > flat.lines[0][0, 1] + 3


def test_a_quick_projection_is_the_camera_s() -> None:
    given = world(np.random.default_rng(4), 640, 360)
    camera = replace(given.camera, distortion=(-0.05, 0.0, 0.0, 0.0, 0.0), roll=0.03, yaw=0.05)
    path = replace(STRAIGHT, mean=1 / 500, rise=2e-4).ahead(10.0)
    rng = np.random.default_rng(1)
    s, u, z = rng.uniform(8, 90, 50), rng.uniform(-4, 4, 50), rng.uniform(0, 2, 50)
    np.testing.assert_allclose(Eye(camera, path).pixels(s, u, z), camera.project(path.points(s, u, z)), atol=0.05)


def test_a_clip_is_one_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list(clip(5, 4, fps=10))
    again = next(iter(clip(5, 1, fps=10)))
    assert np.array_equal(again.image, shown[0].image)
    assert len({scene.about["lanes"] for scene in shown}) == 1
    assert np.ptp([float(scene.about["offset_m"]) for scene in shown]) < 0.6
    departs = [max(abs(float(s.about["offset_m"])) for s in _poses(monkeypatch, seed)) > 1.0 for seed in range(30)]
    assert 3 < sum(departs) < 24


def _poses(monkeypatch: pytest.MonkeyPatch, seed: int) -> list[Scene]:
    """A clip of 10 s without its images."""

    def skip(rng: np.random.Generator, around: World, pose: Pose) -> Scene:
        return Scene(np.zeros(0), (), around.camera, {"offset_m": pose.offset})

    with monkeypatch.context() as patch:
        patch.setattr(simulator, "shoot", skip)
        return list(clip(seed, 100, fps=10))


def test_dashes_come_nearer_at_the_camera_s_speed() -> None:
    around = plain(8, kind="dashed", offsets=(1.0,))

    def begins(travelled: float) -> float:
        """Metres to the nearest edge, beyond 9 m, at which the paint begins."""
        scene = seen(around, Pose(s=travelled))
        s = np.arange(9.0, 25.0, 0.05)
        pixels = scene.camera.project(np.column_stack([np.full(len(s), 1.0), s, np.zeros(len(s))])).astype(np.float32)
        light = cv2.remap(scene.image[..., 1], pixels[None, :, 0], pixels[None, :, 1], cv2.INTER_LINEAR)[0].astype(float)
        bright = light > (light.min() + light.max()) / 2
        return float(s[1:][bright[1:] & ~bright[:-1]][0])

    assert begins(0.0) - begins(1.5) == pytest.approx(1.5, abs=0.15)
    assert begins(384.0) == pytest.approx(begins(0.0), abs=0.11)  # 384 m are 32 dashes
