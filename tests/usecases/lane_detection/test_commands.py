from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from shared.errors import UserError
from tests.usecases.lane_detection.bright import seeing
from usecases import cli
from usecases.lane_detection import calibration
from usecases.lane_detection.predictor import LanePredictor


@pytest.fixture
def bright() -> LanePredictor:
    return seeing()


def boards(folder: Path) -> Path:
    """A board of 7 x 5 squares of 30 mm, photographed from several sides, and an image without one."""
    folder.mkdir()
    flat = np.full((9 * 20, 7 * 20 + 40), 255, np.uint8)
    squares = np.indices((5, 7)).sum(0) % 2 * 255
    flat[40:140, 20:160] = np.kron(squares, np.ones((20, 20))).astype(np.uint8)
    matrix = np.array([[500.0, 0, 320], [0, 500, 200], [0, 0, 1]])
    to_metres = np.array([[0.0015, 0, -0.135], [0, 0.0015, -0.135], [0, 0, 1]])  # the sheet's pixels, its middle at 0
    for number, tilt in enumerate([(0.5, 0, 0), (-0.5, 0.1, 0), (0, 0.5, 0.1), (0.1, -0.5, 0), (0.4, 0.4, 0.2)]):
        turned = cv2.Rodrigues(np.array(tilt, np.float64))[0]
        view = matrix @ np.column_stack([turned[:, :2], (0.01 * number, 0, 0.4)]) @ to_metres
        grey = cv2.warpPerspective(flat, view, (640, 400), flags=cv2.INTER_AREA, borderValue=128)
        cv2.imwrite(str(folder / f"{number}.png"), grey)
    cv2.imwrite(str(folder / "empty.png"), np.full((400, 640), 128, np.uint8))
    return folder


def test_the_camera_is_calibrated_by_the_command(tmp_path: Path) -> None:
    photographs = str(boards(tmp_path / "boards"))
    board = ["columns=6", "rows=4", "square_mm=30"]
    out = tmp_path / "camera.json"
    start = ["tool", "lane_detection"]
    done = CliRunner().invoke(cli.app, [*start, "calibrate", photographs, *board, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["images used"], result["images left out"]) == (5, 1)
    assert result["reprojection error (px)"] < 0.3
    assert "empty.png: no board" in done.stderr
    assert calibration.load(out).focal == pytest.approx((500, 500), rel=0.02)
    listed = CliRunner().invoke(cli.app, start)
    assert "calibrate" in listed.stdout
    for arguments, says in (
        (["calibrat", photographs], "Did you mean 'calibrate'?"),
        (["calibrate", photographs, "colums=9"], "Did you mean 'columns'?"),
        (["calibrate", str(tmp_path / "absent")], "no file or folder"),
    ):
        failed = CliRunner().invoke(cli.app, [*start, *arguments])
        assert isinstance(failed.exception, UserError)
        assert says in str(failed.exception)


def asked_of(bright: LanePredictor, folder: Path, monkeypatch: pytest.MonkeyPatch, **summary: Any) -> list[tuple[Any, Path]]:
    """What the predict command, run in this folder, asks of the predictor."""
    asked: list[tuple[Any, Path]] = []

    def process(source: Any, out: Path, options: Any, progress: Any) -> dict[str, Any]:
        asked.append((source, out))
        return {"frames": 3, **summary}

    monkeypatch.setattr(bright, "process", process)
    usecase = SimpleNamespace(load=lambda folder: bright)
    monkeypatch.setattr(cli, "load_run", lambda run: ("lane_detection", usecase, folder))
    monkeypatch.chdir(folder)
    return asked


def test_the_predict_command_takes_cameras_and_names_the_folder(
    bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(bright, tmp_path, monkeypatch, interrupted=True)
    (tmp_path / "drive.mp4").write_text("")
    (tmp_path / "drive.lanes").mkdir()
    (tmp_path / "0531").mkdir()
    sources = ("0", "rtsp://me:secret@host", "rtsp://me:secret@host/live/cam1", "drive.mp4", "0531")
    codes = [CliRunner().invoke(cli.app, ["predict", "lane_detection", source]).exit_code for source in sources]
    assert codes == [130] * 5
    assert asked == [
        ("0", Path("0.lanes")),
        ("rtsp://me:secret@host", Path("host.lanes")),
        ("rtsp://me:secret@host/live/cam1", Path("cam1.lanes")),
        (Path("drive.mp4"), Path("drive.lanes")),
        (Path("0531"), Path("0531.lanes")),
    ]
    for source in ("absent.mp4", "²"):
        missing = CliRunner().invoke(cli.app, ["predict", "lane_detection", source])
        assert isinstance(missing.exception, UserError)


def test_results_of_sources_that_differ_in_their_ending_have_different_names(
    bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(bright, tmp_path, monkeypatch)
    for name in ("drive.mp4", "drive.avi"):
        (tmp_path / name).write_text("")
    (tmp_path / "drive").mkdir()
    for source in ("drive.mp4", "drive.avi", "drive/", "."):
        assert CliRunner().invoke(cli.app, ["predict", "lane_detection", source]).exit_code == 0
    assert [out.name for _, out in asked] == ["drive.mp4.lanes", "drive.avi.lanes", "drive.lanes", f"{tmp_path.name}.lanes"]


def test_what_broke_off_is_no_success(bright: LanePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_of(bright, tmp_path, monkeypatch, failed=True, ended="broke off: the disk is full.")
    done = CliRunner().invoke(cli.app, ["predict", "lane_detection", "0"])
    assert done.exit_code == 1
    assert "It broke off: the disk is full. What was done until then is in 0.lanes." in done.stderr
