"""Tools beside training and prediction: `usecases tool lane_detection NAME …`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from shared.records import read_options
from shared.usecase import Record
from usecases.lane_detection import calibration


class BoardOptions(Record):
    """The chessboard."""

    columns: int = Field(9, ge=3, le=100, description="inner corners along one side: squares less one")
    rows: int = Field(6, ge=3, le=100, description="inner corners along the other side")
    square_mm: float = Field(25.0, gt=0, description="side of a square, millimetres")


def calibrate(source: Path, out: Path | None, options: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """A camera's lens, from photographs or a video of a chessboard: columns=9 rows=6 square_mm=25. Writes camera.json.

    Raises:
        UserError: an option does not fit, or the board was found in too few images.
    """
    board = read_options(BoardOptions, options)
    target = out or Path("camera.json")
    found = calibration.calibrate(source, board.columns, board.rows, board.square_mm / 1000)
    for name, (error, metres) in found.used.items():
        say(f"used    {name}: {error:.2f} px off, board {metres:.2f} m away")
    for name, why in found.failed.items():
        say(f"left    {name}: {why}")
    for note in found.notes:
        say(f"note    {note}")
    calibration.save(found, target)
    camera = found.camera
    return {
        "reprojection error (px)": round(found.error_px, 3),
        "images used": len(found.used),
        "images left out": len(found.failed),
        "size (px)": f"{camera.width} x {camera.height}",
        "focal length (px)": f"{camera.focal[0]:.1f}, {camera.focal[1]:.1f}",
        "centre (px)": f"{camera.centre[0]:.1f}, {camera.centre[1]:.1f}",
        "distortion": ", ".join(f"{value:.4f}" for value in camera.distortion),
        "out": str(target),
    }


TOOLS = {"calibrate": calibrate}
