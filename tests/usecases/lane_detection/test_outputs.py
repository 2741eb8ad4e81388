from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from shared.data import video
from shared.data.video import Shot, frames
from shared.errors import UserError
from tests.usecases.lane_detection.bright import lines_of, numbered, record, road, run, seeing
from usecases.lane_detection.outputs import Kind, Pictures
from usecases.lane_detection.predictor import LanePredictor


@pytest.fixture
def bright() -> LanePredictor:
    return seeing()


@pytest.mark.parametrize("kind", ["live", "video", "sequence"])
def test_the_annotated_video_keeps_the_source_s_time(tmp_path: Path, kind: Kind) -> None:
    pictures = Pictures(tmp_path, kind, 25, "mp4")
    for number, seconds in enumerate((0.0, 0.01, 0.1, 0.2, 0.2399)):
        pictures.add(Shot(number, str(number), seconds, None), road())
    pictures.add(Shot(5, "5", 1e6, None), road())  # no source has such a gap
    pictures.add(Shot(6, "6", 1e6 + 0.04, None), road())
    pictures.close()
    with frames(tmp_path / "annotated.mp4") as shots:
        assert len(list(shots)) == 7 + 5 * 25 + 1  # at 0, 40, …, 240 ms


def test_frames_that_could_not_be_decoded_leave_no_hole_in_the_annotated_video(bright: LanePredictor, tmp_path: Path) -> None:
    folder = numbered(tmp_path / "frames", [road()] * 8)
    for number in (3, 4):
        (folder / f"{number}.png").write_text("no image")
    summary = run(bright, folder, tmp_path / "out")
    assert (summary["frames"], summary["not decoded"]) == (6, 2)
    with frames(tmp_path / "out" / "annotated.mp4") as shots:
        assert len(list(shots)) == 8


@pytest.mark.parametrize("early", [True, False])
def test_a_video_that_cannot_be_written_is_said_and_the_lines_are_kept(
    bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """The encoder fails while it runs, or when the disk turns out to be full at the end."""

    def encode(writer: video.Writer, partial: Path) -> None:
        assert early or len(list(writer._queue)) == 20
        raise UserError("the disk is full.")

    monkeypatch.setattr(video.Writer, "_encode", encode)
    summary = run(bright, numbered(tmp_path / "frames", [road()] * 20), tmp_path / "out")
    assert summary["failed"]
    assert summary["ended"] == "broke off: the disk is full."
    assert len(lines_of(tmp_path / "out")) == summary["frames"]
    assert early or summary["frames"] == 20
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["failed"]
    assert not (tmp_path / "out" / "annotated.mp4").exists()


def test_pictures_of_an_earlier_call_go_and_no_source_is_among_them(bright: LanePredictor, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("old.png", "kept.jpg"):
        cv2.imwrite(str(photos / name), road())
    run(bright, photos, out)
    (out / "annotated" / "mine.jpg").write_text("not of our making")
    assert {file.name for file in (out / "annotated").iterdir()} == {"old.png.jpg", "kept.jpg", "mine.jpg"}
    (photos / "old.png").unlink()
    run(bright, photos, out)
    assert {file.name for file in (out / "annotated").iterdir()} == {"kept.jpg", "mine.jpg"}
    before = (out / "annotated" / "kept.jpg").read_bytes()
    with pytest.raises(UserError, match="would overwrite"):
        run(bright, out / "annotated" / "kept.jpg", out)
    assert (out / "annotated" / "kept.jpg").read_bytes() == before
    (out / "annotated" / "mine.jpg").unlink()
    run(bright, record(tmp_path / "a.avi", [road()] * 3), out)
    assert not (out / "annotated").exists()
