from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.data import video
from shared.data.video import Shot, frames
from shared.errors import UserError
from tests.usecases.lane_detection.bright import CAMERA, HEIGHT, WIDTH, guessing, lines_of, numbered, record, road, run, seeing
from usecases.lane_detection import calibration, driver, simulator
from usecases.lane_detection.calibration import Calibration
from usecases.lane_detection.driver import consecutive, looks
from usecases.lane_detection.predictor import LanePredictor
from usecases.lane_detection.summary import POINTS, Curves


@pytest.fixture
def bright() -> LanePredictor:
    return seeing()


def test_a_video_end_to_end(bright: LanePredictor, tmp_path: Path) -> None:
    source = record(tmp_path / "a.avi", [road(0.01 * number) for number in range(30)])
    out = tmp_path / "out"
    counts: list[int] = []
    summary = bright.process(source, out, {"height_m": 1.4}, counts.append)
    assert sum(counts) == 30
    assert {path.name for path in out.iterdir()} == {"frames.jsonl", "annotated.mp4", "summary.json", "summary.html"}
    found = lines_of(out)
    assert [one["frame"] for one in found] == list(range(30))
    assert all(one["lane"] for one in found)
    assert {one["id"] for frame in found for one in frame["lines"]} == {1, 2}
    assert found[-1]["offset_m"] == pytest.approx(0.29, abs=0.08)
    assert (summary["frames"], summary["lines followed"], summary["ended"]) == (30, 2, "at the end of the source")
    with frames(out / "annotated.mp4") as shots:
        drawn = [shot.image for shot in shots]
    assert len(drawn) == 30
    assert drawn[20] is not None
    below = drawn[20][HEIGHT - 40, WIDTH // 2].astype(int)
    assert below[1] - below[2] > 10  # the lane is tinted green
    assert "Both lines" in (out / "summary.html").read_text()
    assert json.loads((out / "summary.json").read_text())["least sure"]


def test_a_cut_starts_anew(bright: LanePredictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    skies = [cv2.resize(rng.integers(0, 140, (6, 8, 3), np.uint8), (WIDTH, HEIGHT // 3)) for _ in range(2)]
    (tmp_path / "frames").mkdir()
    images = []
    for number in range(12):
        image = road()
        image[: HEIGHT // 3] = skies[number // 6]
        image[:, :40] = 255 * (number // 6)
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), image)
        images.append(driver.glance(image))
    assert not driver.other_scene(images[0], images[1])
    assert driver.other_scene(images[5], images[6])
    run(bright, tmp_path / "frames", tmp_path / "out")
    numbers = [{one["id"] for one in frame["lines"]} for frame in lines_of(tmp_path / "out")]
    assert numbers[0] == numbers[5]
    assert numbers[6] == numbers[11]
    assert not numbers[5] & numbers[6]


def test_the_same_video_twice_gives_the_same_lines(tmp_path: Path) -> None:
    scenes = [scene.image for scene in simulator.clip(3, 12, width=WIDTH, height=HEIGHT)]
    source = record(tmp_path / "a.avi", scenes)
    for name in ("one", "two"):
        run(guessing(), source, tmp_path / name, video=False)
    texts = [(tmp_path / name / "frames.jsonl").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    assert any(one["lines"] for one in lines_of(tmp_path / "one"))
    assert not (tmp_path / "one" / "annotated.mp4").exists()


def test_a_cut_off_video_gives_what_was_readable(bright: LanePredictor, tmp_path: Path) -> None:
    whole = record(tmp_path / "whole.avi", [road()] * 40)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    summary = run(bright, cut, tmp_path / "out", format="avi")
    found = lines_of(tmp_path / "out")
    assert 5 <= summary["frames"] < 35
    assert summary["frames"] + summary["not decoded"] == 40
    assert "cut off" in found[-1]["fault"]
    assert (tmp_path / "out" / "annotated.avi").exists()
    assert "cut off" in (tmp_path / "out" / "summary.html").read_text()


def test_numbered_images_are_followed_and_a_damaged_one_is_skipped(bright: LanePredictor, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(8, 14):
        cv2.imwrite(str(folder / f"frame{number}.png"), road())
    (folder / "frame10.png").write_bytes((folder / "frame9.png").read_bytes()[:300])
    summary = run(bright, folder, tmp_path / "out", fps=10)
    found = lines_of(tmp_path / "out")
    assert [one["name"] for one in found] == [f"frame{number}.png" for number in range(8, 14)]
    assert "cut short" in found[2]["fault"]
    assert [one.get("lane") for one in found] == [True, True, None, True, True, True]
    assert (summary["frames"], summary["not decoded"]) == (5, 1)
    assert (tmp_path / "out" / "annotated.mp4").exists()
    summary = run(bright, folder, tmp_path / "out", track=False)
    assert summary["taken as"] == "images, each by itself"
    assert not (tmp_path / "out" / "annotated.mp4").exists()  # what the earlier call made is gone
    assert [one.get("lane") for one in lines_of(tmp_path / "out")] == [True, True, None, True, True, True]


def test_other_images_are_taken_one_by_one(bright: LanePredictor, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "home.png"), road(0.3))
    cv2.imwrite(str(folder / "away.png"), cv2.resize(road(0.3), (640, 360)))
    cv2.imwrite(str(folder / "none.jpg"), road(sides=()))
    out = tmp_path / "out"
    run(bright, folder, out)
    away, home, none = lines_of(out)
    assert [one["lane"] for one in (away, home, none)] == [True, True, False]
    assert [one["id"] for one in away["lines"]] == [one["id"] for one in home["lines"]] == [1, 2]
    assert home["offset_m"] == pytest.approx(away["offset_m"], abs=0.05)
    assert home["lane_width_m"] is None
    sizes = [cv2.imread(str(out / "annotated" / name)).shape for name in ("away.png.jpg", "home.png.jpg", "none.jpg")]
    assert sizes == [(360, 640, 3), (180, 320, 3), (180, 320, 3)]
    run(bright, folder / "home.png", tmp_path / "one")
    assert [one["name"] for one in lines_of(tmp_path / "one")] == ["home.png"]


def test_which_names_follow_each_other() -> None:
    assert consecutive(["1.jpg", "2.jpg", "3.jpg"])
    assert consecutive([f"a-{number:04}.png" for number in range(0, 100, 5)])
    assert consecutive([f"{number}.png" for number in range(40) if number != 17])
    assert not consecutive(["1.jpg", "2.jpg"])
    assert not consecutive(["a1.jpg", "b2.jpg", "c3.jpg"])
    assert not consecutive(["1.jpg", "2.jpg", "3.png"])
    assert not consecutive(["3.jpg", "17.jpg", "40.jpg"])
    assert not consecutive(["a.jpg", "b.jpg", "c.jpg"])


def test_ctrl_c_keeps_what_was_done(bright: LanePredictor, tmp_path: Path) -> None:
    source = record(tmp_path / "a.avi", [road()] * 30)
    counts: list[int] = []

    def progress(count: int) -> None:
        counts.append(count)
        if len(counts) == 10:
            raise KeyboardInterrupt

    summary = bright.process(source, tmp_path / "out", {}, progress)
    assert (summary["interrupted"], summary["frames"], summary["ended"]) == (True, 10, "interrupted after 10 frames")
    assert len(lines_of(tmp_path / "out")) == 10
    with frames(tmp_path / "out" / "annotated.mp4") as shots:
        assert sum(shot.image is not None for shot in shots) == 10
    assert "interrupted after 10 frames" in (tmp_path / "out" / "summary.html").read_text()


def test_ctrl_c_before_the_first_frame_is_just_that(
    bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "_handle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(bright, record(tmp_path / "a.avi", [road()] * 3), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


class Fake:
    """A camera that breaks off after some frames. It takes the next one when the one before was done with."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images, self.released, self.ready = images, False, threading.Semaphore()

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return bool(self.images)

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: WIDTH, cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT, cv2.CAP_PROP_FPS: 25}.get(what, 0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        assert self.ready.acquire(timeout=10)
        return (True, self.images.pop()) if self.images else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera(bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake([road() for _ in range(3)])
    monkeypatch.setattr(video, "_open", lambda source: fake)
    monkeypatch.setattr(video, "RETRIES", ())
    assert bright.accepts("0")
    assert bright.accepts("rtsp://camera/stream")
    assert not bright.accepts("drive.mp4")
    lines: list[int] = []

    def progress(_: int) -> None:
        lines.append(len(lines_of(tmp_path / "out")))  # each can be read at once
        fake.ready.release()

    summary = bright.process("0", tmp_path / "out", {}, progress)
    assert lines == [1, 2, 3, 4]
    assert summary["taken as"] == "live"
    assert (summary["frames"], summary["dropped"], summary["not decoded"]) == (3, 0, 0)
    assert "giving up" in lines_of(tmp_path / "out")[-1]["fault"]
    assert fake.released


def test_a_line_that_is_not_seen_is_said_to_be_extrapolated_and_soon_no_lane(bright: LanePredictor, tmp_path: Path) -> None:
    source = record(tmp_path / "a.avi", [road()] * 10 + [road(sides=(-1.8,))] * 10)
    run(bright, source, tmp_path / "out", video=False)
    found = lines_of(tmp_path / "out")
    assert [one["extrapolated"] for one in found] == [False] * 10 + [True] * 5 + [False] * 5
    assert [one["lane"] for one in found] == [True] * 15 + [False] * 5
    assert [one["offset_m"] is None for one in found] == [False] * 15 + [True] * 5
    assert [{line["side"]: line["seen"] for line in one["lines"]} for one in found[9:12]] == [
        {"left": True, "right": True},
        {"left": True, "right": False},
        {"left": True, "right": False},
    ]


def test_few_frames_a_second_are_followed(bright: LanePredictor, tmp_path: Path) -> None:
    assert run(bright, numbered(tmp_path / "frames", [road()] * 5), tmp_path / "out", fps=1)["lines followed"] == 2


def test_a_source_that_breaks_keeps_what_came_before(
    bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shots() -> Iterator[Shot]:
        for number in range(5):
            yield Shot(number, str(number), number / 25, road())
        raise OSError("the disk is gone")

    monkeypatch.setattr(driver, "frames", lambda *_: video.Frames(shots(), 25, 9, (WIDTH, HEIGHT)))
    summary = run(bright, "a.avi", tmp_path / "out")
    assert (summary["frames"], summary["ended"], summary["failed"]) == (5, "broke off: the disk is gone", True)
    assert len(lines_of(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"vidoe": False}, "Did you mean 'video'?"),
        ({"limit": 0}, "limit: "),
        ({"format": "gif"}, "format: "),
        ({"undistort": True}, "undistort=true needs camera=FILE"),
        ({"camera": "absent.json"}, "absent.json does not exist"),
        ({"fps": 20}, "fps: only for a folder"),
        ({"track": True, "fps": 20}, "Leave them out"),
        ({"lane_width_m": 3, "height_m": 1.4}, "lane_width_m: not used"),
        ({"pitch_deg": 3}, "give height_m"),
        ({"yaw_deg": 3, "height_m": 1.4}, "give pitch_deg"),
        ({"pitch_deg": 3, "height_m": 1.4}, "pitch_deg needs camera=FILE"),
        ({"format": "avi", "video": False}, "no video to write with video=false"),
    ],
)
def test_options_that_do_not_fit(bright: LanePredictor, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    source = record(tmp_path / "a.avi", [road()] * 3)
    with pytest.raises(UserError) as caught:
        run(bright, source, tmp_path / "out", **options)
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_nothing_could_be_used(bright: LanePredictor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("text")
    with pytest.raises(UserError, match="of 1 frame none could be used"):
        run(bright, tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(UserError, match="would overwrite"):
        run(bright, tmp_path / "in", tmp_path / "in")
    with pytest.raises(UserError, match="is a file"):
        run(bright, tmp_path / "in", tmp_path / "in" / "a.png")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"track": False}, "track: only for a folder"),
        ({"fps": 5}, "fps: only for"),
        ({"car_width_m": 2}, "car_width_m: only for"),
    ],
)
def test_options_that_change_nothing_for_one_image(
    bright: LanePredictor, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), road())
    with pytest.raises(UserError, match=says):
        run(bright, tmp_path / "a.png", tmp_path / "out", **options)


def test_limit(bright: LanePredictor, tmp_path: Path) -> None:
    source = record(tmp_path / "a.avi", [road()] * 9)
    assert run(bright, source, tmp_path / "out", limit=4)["ended"] == "after 4 frames, as asked for"
    assert len(lines_of(tmp_path / "out")) == 4


def test_a_calibrated_camera_gives_metres(bright: LanePredictor, tmp_path: Path) -> None:
    """Its lens bends lines; straightened or not, the lane's place is the same, at twice the calibrated size, too."""
    bent = replace(CAMERA, distortion=(-0.4, 0.12, 0.0, 0.0, 0.0))
    calibration.save(Calibration(replace(bent, above=1.0, pitch=0.0), 0.1, {}, {}), tmp_path / "camera.json")
    image = np.full((2 * HEIGHT, 2 * WIDTH, 3), 90, np.uint8)
    for side in (-1.5, 1.5):
        points = bent.resized(2 * WIDTH, 2 * HEIGHT).project(np.array([[side - 0.7, y, 0.0] for y in np.linspace(3.4, 60, 80)]))
        cv2.polylines(image, [np.round(points).astype(np.int32)], False, (255, 255, 255), 2)
    source = record(tmp_path / "a.avi", [image] * 12)
    for undistort in (False, True):
        run(bright, source, tmp_path / "out", camera=str(tmp_path / "camera.json"), height_m=1.4, undistort=undistort)
        last = lines_of(tmp_path / "out")[-1]
        assert last["offset_m"] == pytest.approx(0.7, abs=0.02)
        assert last["lane_width_m"] == pytest.approx(3.0, abs=0.03)
        assert not last["approximate"]
    mounting = {"height_m": 1.4, "pitch_deg": float(np.degrees(0.06)), "yaw_deg": 0, "roll_deg": 0}
    run(bright, source, tmp_path / "out", camera=str(tmp_path / "camera.json"), **mounting)
    first = lines_of(tmp_path / "out")[0]
    assert (first["offset_m"], first["lane_width_m"]) == pytest.approx((0.7, 3.0), abs=0.03)
    mounting["yaw_deg"] = 2.0  # the camera looks to the right of where the car goes, so the car heads left of it
    run(bright, source, tmp_path / "out", camera=str(tmp_path / "camera.json"), **mounting)
    assert lines_of(tmp_path / "out")[0]["heading_deg"] == pytest.approx(first["heading_deg"] - 2, abs=0.3)
    other = record(tmp_path / "other.avi", [road()[:, :200]] * 3)
    with pytest.raises(UserError, match="other proportions"):
        run(bright, other, tmp_path / "out", camera=str(tmp_path / "camera.json"))


def test_frames_stay_in_order_and_errors_come_after_them() -> None:
    def shots() -> Iterator[Shot]:
        for number in range(9):
            yield Shot(number, "", 0, None)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for look in looks(driver.Look, shots(), 3):
            seen.append(look.shot.number)
    assert seen == list(range(9))


def test_curves_need_no_more_memory_for_a_longer_drive() -> None:
    curves = Curves()
    for number in range(5 * POINTS):
        curves.add((float(number), 0.0, 0.0, 0.0, 0.0, 0.0))
    seconds = curves.columns()[0]
    assert POINTS / 2 <= len(seconds) <= POINTS
    assert set(np.diff(seconds)) == {curves.stride}
