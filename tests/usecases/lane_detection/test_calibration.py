from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import UserError
from usecases.lane_detection.calibration import Calibration, Undistorter, _notes, calibrate, load, save, vanishing_point
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import Line, line

LENS = Camera(640, 400, (520.0, 530.0), (325.0, 195.0), distortion=(-0.28, 0.09, 0.001, -0.0005, 0.0))
COLUMNS, ROWS, SQUARE = 8, 5, 0.03


def photograph(tilt: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    """The board, `place` metres from the lens, ray-traced: each pixel is undistorted and met with the board's plane."""
    rotation = cv2.Rodrigues(np.array(tilt))[0]
    twice = 2  # samples a pixel and direction
    xs, ys = np.meshgrid(np.arange(LENS.width * twice), np.arange(LENS.height * twice))
    pixels = (np.column_stack([xs.ravel(), ys.ravel()]) + 0.5) / twice - 0.5
    rays = cv2.undistortPoints(pixels[:, None], LENS.matrix, np.array(LENS.distortion))[:, 0]
    rays = np.column_stack([rays, np.ones(len(rays))]) @ rotation  # in the board's coordinates
    eye = -rotation.T @ np.array(place)
    board = eye[:2] - rays[:, :2] * (eye[2] / rays[:, 2:])
    square = np.floor(board / SQUARE).astype(int)
    dark = square.sum(1) % 2 == 0
    middle = (square >= -1).all(1) & (square[:, 0] < COLUMNS) & (square[:, 1] < ROWS)
    paper = (board > -2 * SQUARE).all(1) & (board[:, 0] < (COLUMNS + 1) * SQUARE) & (board[:, 1] < (ROWS + 1) * SQUARE)
    shade = np.where(middle & dark, 30, np.where(paper, 220, 120)).astype(np.uint8)
    image = cv2.resize(
        shade.reshape(LENS.height * twice, LENS.width * twice), (LENS.width, LENS.height), interpolation=cv2.INTER_AREA
    )
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    centre = np.array([-(COLUMNS - 1) * SQUARE / 2, -(ROWS - 1) * SQUARE / 2, 0])
    poses = [
        ((0.3, 0.0, 0.0), (-0.06, -0.03, 0.34)),
        ((-0.3, 0.2, 0.1), (0.06, -0.03, 0.34)),
        ((0.1, -0.4, 0.0), (-0.07, 0.03, 0.36)),
        ((0.0, 0.4, -0.1), (0.07, 0.03, 0.36)),
        ((-0.3, -0.3, 0.2), (0.0, 0.0, 0.28)),
        ((0.35, 0.3, 0.0), (0.0, 0.02, 0.4)),
        ((0.2, -0.2, 0.1), (0.09, -0.04, 0.38)),
    ]
    for number, (tilt, shift) in enumerate(poses):
        place = cv2.Rodrigues(np.array(tilt))[0] @ centre + np.array(shift)
        cv2.imwrite(str(folder / f"{number + 1}.png"), photograph(tilt, tuple(place)))
    wide = cv2.resize(photograph((0.2, 0.1, 0.0), (-0.1, -0.05, 0.5)), (880, 400))  # as if another camera had taken it
    cv2.imwrite(str(folder / "other.png"), wide[:, 120:760])
    cv2.imwrite(str(folder / "empty.png"), np.full((400, 640, 3), 128, np.uint8))
    cv2.imwrite(str(folder / "small.png"), np.full((200, 320, 3), 128, np.uint8))
    (folder / "text.png").write_text("text")
    return folder


@pytest.fixture(scope="module")
def found(boards: Path) -> Calibration:
    return calibrate(boards, COLUMNS, ROWS, SQUARE)


def test_the_lens_is_found(found: Calibration) -> None:
    camera = found.camera
    assert (camera.width, camera.height) == (640, 400)
    assert camera.focal == pytest.approx(LENS.focal, rel=0.01)
    assert camera.centre == pytest.approx(LENS.centre, abs=3)
    assert found.error_px < 0.15
    where = np.array([[x, y] for x in (20, 320, 620) for y in (20, 200, 380)], np.float64)[:, None]
    ours = cv2.undistortPoints(where, camera.matrix, np.array(camera.distortion), P=LENS.matrix)
    truth = cv2.undistortPoints(where, LENS.matrix, np.array(LENS.distortion), P=LENS.matrix)
    assert np.abs(ours - truth).max() < 4  # pixels, at the corners, where straight lines bend by 40


def test_each_image_is_accounted_for(found: Calibration) -> None:
    assert set(found.used) == {f"{number}.png" for number in range(1, 8)}
    assert set(found.failed) == {"empty.png", "small.png", "text.png", "other.png"}
    assert "320 x 200" in found.failed["small.png"]
    assert "do not fit" in found.failed["other.png"]
    assert "no board" in found.failed["empty.png"]
    assert all(0.2 < metres < 0.6 for _, metres in found.used.values())
    assert [note[:13] for note in found.notes] == ["only 7 images"]


def test_what_makes_a_calibration_unsure_is_noted() -> None:
    corners = np.random.default_rng(0).uniform(0.4, 0.6, (40, 1, 2)) * (640, 400)
    notes = _notes({str(number): corners for number in range(12)}, (640, 400), 1.4)
    assert [note.split()[:3] for note in notes] == [["the", "boards", "cover"], ["the", "error", "of"]]


def test_saved_and_loaded(found: Calibration, tmp_path: Path) -> None:
    save(found, tmp_path / "camera.json")
    assert load(tmp_path / "camera.json") == found.camera
    assert json.loads((tmp_path / "camera.json").read_text())["camera"].keys() == {
        "width",
        "height",
        "focal",
        "centre",
        "distortion",
    }


@pytest.mark.parametrize(
    "change",
    [{"focal": [500]}, {"focal": ["a", 1]}, {"width": 0}, {"centre": None}, {"above": 1.4}, {"distortion": [1e999, 0, 0, 0, 0]}],
)
def test_a_damaged_calibration_is_refused(found: Calibration, tmp_path: Path, change: dict[str, object]) -> None:
    save(found, tmp_path / "camera.json")
    values = json.loads((tmp_path / "camera.json").read_text())
    (tmp_path / "camera.json").write_text(json.dumps({**values, "camera": values["camera"] | change}))
    with pytest.raises(UserError, match="not a camera's calibration"):
        load(tmp_path / "camera.json")


def test_no_board_is_an_error_that_says_what_to_count(boards: Path) -> None:
    with pytest.raises(UserError, match="inner corners"):
        calibrate(boards / "empty.png", COLUMNS, ROWS, SQUARE)
    with pytest.raises(UserError, match="3 x 3"):
        calibrate(boards, 1, 5, SQUARE)


def test_undistorted_lines_are_straight() -> None:
    """A straight line in space, drawn as the lens bends it, is straight again in the image."""
    image = np.zeros((LENS.height, LENS.width, 3), np.uint8)
    straight = np.array([[x, 0.3 - 0.1 * x, 1.0] for x in np.linspace(-0.7, 0.7, 200)])
    zero = np.zeros(3)
    bent = cv2.projectPoints(straight, zero, zero, LENS.matrix, np.array(LENS.distortion))[0][:, 0]
    cv2.polylines(image, [np.round(bent).astype(np.int32)], False, (255, 255, 255), 3)

    def bend(picture: np.ndarray) -> float:
        columns = np.arange(40, 600)
        weights = picture[:, columns, 0].astype(float)
        rows = (weights * np.arange(LENS.height)[:, None]).sum(0) / np.maximum(weights.sum(0), 1)
        sound = weights.sum(0) > 0
        line_ = np.polyfit(columns[sound], rows[sound], 1)
        return float(np.abs(rows[sound] - np.polyval(line_, columns[sound])).max())

    assert bend(image) > 5
    assert bend(Undistorter(LENS)(image)) < 1.5


def test_nothing_to_undistort_costs_nothing() -> None:
    image = np.zeros((400, 640, 3), np.uint8)
    assert Undistorter(replace(LENS, distortion=(0.0,) * 5))(image) is image


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match="640 x 400"):
        Undistorter(LENS)(np.zeros((720, 1280, 3), np.uint8))


def seen(camera: Camera, x: float) -> Line:
    """A straight line on the road, x metres to the right, 5 to 60 m ahead."""
    points = camera.project(np.column_stack([np.full(100, x), np.linspace(5, 60, 100), np.zeros(100)]))
    return line(points)


def test_vanishing_point() -> None:
    camera = Camera(1280, 720, (1000.0, 1000.0), (640.0, 360.0), 1.35, 0.06, 0.0, 0.0)
    assert vanishing_point(seen(camera, -1.6), seen(camera, 2.0)) == pytest.approx((640, camera.horizon()), abs=0.05)
    with pytest.raises(ValueError, match="parallel"):
        vanishing_point(line([(100, 300), (100, 700)]), line([(200, 300), (200, 700)]))
    with pytest.raises(ValueError, match="do not meet ahead"):
        vanishing_point(line([(100, 300), (300, 700)]), line([(500, 300), (310, 700)]))
