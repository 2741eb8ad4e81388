"""A camera's lens from photographs of a chessboard, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from shared.data.video import frames
from shared.errors import UserError
from shared.files import read_json, write_json
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import Line, line

FEWEST = 3  # photographs without which there is no solution worth having
ENOUGH = 10
LENS = ("width", "height", "focal", "centre", "distortion")  # what of a camera is calibrated, and saved


@dataclass(frozen=True)
class Calibration:
    """A camera's lens, and the evidence.

    Attributes:
        camera: with focal length, centre and distortion; how it is mounted is not known.
        error_px: root mean square distance of the corners from where the camera model puts them, pixels.
        used: of each photograph used, this distance and the board's distance in metres.
        failed: of each other photograph, why it was not used.
        notes: what makes the result less certain than it could be.
    """

    camera: Camera
    error_px: float
    used: Mapping[str, tuple[float, float]]
    failed: Mapping[str, str]
    notes: tuple[str, ...] = ()


def calibrate(folder: str | Path, columns: int, rows: int, square_m: float) -> Calibration:
    """Focal length, centre and distortion from photographs of a chessboard (Zhang 2000, in OpenCV).

    Args:
        folder: of images, or a video, that show the whole board flat, from many sides, also at the edges of the image.
        columns, rows: inner corners of the board, that is squares less one.
        square_m: side of a square, metres.

    Raises:
        UserError: the board was found in too few images.
    """
    if columns < 3 or rows < 3:
        raise UserError(f"A board of {columns} x {rows} inner corners cannot be found: give at least 3 x 3, squares less one.")
    board = np.zeros((columns * rows, 3), np.float32)
    board[:, :2] = np.mgrid[:columns, :rows].T.reshape(-1, 2) * square_m
    found, failed, size = _corners(folder, columns, rows)
    if len(found) >= FEWEST:
        first = _solve(board, found, size)
        limit = max(1.0, 3 * float(np.median(first[4])))
        for name, error in zip(list(found), first[4], strict=True):
            if error > limit and len(found) > FEWEST:
                failed[name] = f"its corners do not fit the others: {error:.1f} px off. Was the board bent, or the image blurred?"
                del found[name]
    if len(found) < FEWEST:
        reasons = "".join(f"\n  - {name}: {why}" for name, why in list(failed.items())[:10])
        raise UserError(
            f"{folder}: a chessboard with {columns} x {rows} inner corners was found in {len(found)} images; at least {FEWEST}"
            f" are needed, better {ENOUGH} or more. Count the inner corners, not the squares.{reasons}"
        )
    error, matrix, distortion, away, errors = _solve(board, found, size)
    lens = tuple(float(value) for value in distortion)
    camera = Camera(
        *size, (float(matrix[0, 0]), float(matrix[1, 1])), (float(matrix[0, 2]), float(matrix[1, 2])), distortion=lens
    )
    used = {name: (float(off), float(metres)) for name, off, metres in zip(found, errors, away, strict=True)}
    return Calibration(camera, error, used, failed, _notes(found, size, error))


def save(calibration: Calibration, path: Path) -> None:
    """As JSON: the lens, not the mounting, and the evidence."""
    known = vars(calibration)
    write_json(path, known | {"camera": {name: getattr(calibration.camera, name) for name in LENS}})


def load(path: Path) -> Camera:
    """The lens of a saved calibration; the camera's height and angles are not known.

    Raises:
        UserError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Calibrate the camera first: this makes it from photographs of a chessboard.")
    try:
        values = read_json(path)["camera"]
        if other := values.keys() - LENS:
            raise ValueError(f"{', '.join(sorted(other))}: a lens has only {', '.join(LENS)}")
        pairs = {name: tuple(float(value) for value in values[name]) for name in LENS[2:]}
        camera = Camera(int(values["width"]), int(values["height"]), **pairs)  # type: ignore[arg-type]
        lengths = len(camera.focal), len(camera.centre), len(camera.distortion)
        sound = lengths == (2, 2, 5) and all(map(math.isfinite, [*camera.focal, *camera.centre, *camera.distortion]))
        if not sound or min(*camera.focal, camera.width, camera.height) <= 0:
            raise ValueError("a number is impossible")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path} is not a camera's calibration ({error}). Make it anew from photographs of a chessboard."
        ) from None
    return camera


def vanishing_point(one: Line, other: Line) -> tuple[float, float]:
    """Where two lines, each continued straight from its nearer half, meet: pixels.

    Raises:
        ValueError: they are parallel in the image, or meet below what is seen of them.
    """
    (b1, a1), (b2, a2) = (np.polyfit(half[:, 1], half[:, 0], 1) for half in (_nearer(one), _nearer(other)))
    if abs(b1 - b2) < 1e-3:
        raise ValueError("the lines are parallel in the image")
    y = (a2 - a1) / (b1 - b2)
    if y > min(one[-1, 1], other[-1, 1]):
        raise ValueError("the lines do not meet ahead")
    return float(a1 + b1 * y), float(y)


def undistorted(camera: Camera, drawn: Line) -> Line:
    """The line as a camera without distortion would see it."""
    if not any(camera.distortion):
        return drawn
    lens = np.array(camera.distortion)
    return line(cv2.undistortPoints(drawn[:, None].astype(np.float64), camera.matrix, lens, P=camera.matrix)[:, 0])


class Undistorter:
    """Takes the lens's distortion out of images of the camera's size: fixed-point maps, made once."""

    def __init__(self, camera: Camera) -> None:
        self.camera = replace(camera, distortion=(0.0,) * 5)  # what the image looks taken with
        self.maps = None
        if any(camera.distortion):
            lens, size = np.array(camera.distortion), (camera.width, camera.height)
            self.maps = cv2.initUndistortRectifyMap(camera.matrix, lens, np.eye(3), camera.matrix, size, cv2.CV_16SC2)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Image [height, width, 3] in, image out; the same one if there is nothing to do.

        Raises:
            UserError: it is not of the camera's size.
        """
        if self.maps is None:
            return image
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise UserError(
                f"The camera was calibrated at {self.camera.width} x {self.camera.height} pixels, the image has"
                f" {image.shape[1]} x {image.shape[0]}. Calibrate at the size that is used."
            )
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR)


def _nearer(drawn: Line) -> Line:
    return drawn[len(drawn) // 2 :] if len(drawn) > 5 else drawn


def _corners(folder: str | Path, columns: int, rows: int) -> tuple[dict[str, np.ndarray], dict[str, str], tuple[int, int]]:
    """Corners [columns * rows, 1, 2] by name of the image, why others have none, and the images' size."""
    found: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    size = (0, 0)
    with frames(folder) as shots:
        for shot in shots:
            if shot.image is None:
                failed[shot.name] = shot.fault
                continue
            grey = cv2.cvtColor(shot.image, cv2.COLOR_BGR2GRAY)
            if size == (0, 0):
                size = grey.shape[1], grey.shape[0]
            if (grey.shape[1], grey.shape[0]) != size:
                failed[shot.name] = f"{grey.shape[1]} x {grey.shape[0]} pixels, the first has {size[0]} x {size[1]}"
                continue
            flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
            ok, corners = cv2.findChessboardCornersSB(grey, (columns, rows), flags=flags)
            if ok:
                found[shot.name] = corners
            else:
                failed[shot.name] = f"no board with {columns} x {rows} inner corners is seen whole"
    return found, failed, size


def _solve(
    board: np.ndarray, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Error, matrix [3, 3], distortion [5], distance [n] and error [n] of each board."""
    answer = cv2.calibrateCameraExtended([board] * len(found), list(found.values()), size, None, None)  # type: ignore[call-overload]
    error, matrix, distortion, _, moves, _, _, errors = answer
    away = np.array([float(np.linalg.norm(move)) for move in moves])
    return float(error), matrix, np.ravel(distortion)[:5], away, np.ravel(errors)


def _notes(found: Mapping[str, np.ndarray], size: tuple[int, int], error: float) -> tuple[str, ...]:
    places = np.concatenate(list(found.values())).reshape(-1, 2) / size
    covered = float(np.mean(np.histogram2d(places[:, 0], places[:, 1], bins=6, range=[[0, 1], [0, 1]])[0] > 0))
    notes = []
    if len(found) < ENOUGH:
        notes.append(f"only {len(found)} images were used: {ENOUGH} or more, from different sides, make the result surer")
    if covered < 0.6:
        notes.append(
            f"the boards cover {covered:.0%} of the image: distortion is unsure where there were none, mostly at the edges"
        )
    if error > 1:
        notes.append(f"the error of {error:.1f} px is large: is the board flat, and are the images sharp?")
    return tuple(notes)
