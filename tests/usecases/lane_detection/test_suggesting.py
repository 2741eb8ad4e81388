from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import UserError
from tests.usecases.suggested import errors, suggested
from usecases.lane_detection import USECASE

RNG = np.random.default_rng(0)
DRAWN = [[20, 90], [60, 30]]


def frame(file: Path, size: tuple[int, int] = (160, 96)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.resize(RNG.integers(0, 255, (12, 20, 3), dtype=np.uint8), size))


def test_labels_of_lanes_are_told_from_those_of_other_lines(tmp_path: Path) -> None:
    for number in range(4):
        frame(tmp_path / f"clip{number}" / "1.png")
        shapes = [{"label": label, "points": DRAWN, "shape_type": "linestrip"} for label in ("lane", "curb", "stop line")]
        shapes.append({"label": "car", "points": DRAWN, "shape_type": "rectangle"})
        (tmp_path / f"clip{number}" / "1.json").write_text(json.dumps({"shapes": shapes, "imagePath": "1.png"}))
    found = suggested(USECASE, tmp_path)
    assert found == {
        "data.source": str(tmp_path),
        "data.layout": "labelme",
        "data.names": ["lane"],
        "data.simulated_too": True,  # 4 frames are few
    }
    assert not errors(USECASE, found)


def test_labels_of_cvat_that_all_are_lanes_need_no_names(tmp_path: Path) -> None:
    frame(tmp_path / "images" / "1.png")
    line = '<polyline label="{}" points="20,90;60,30"/>'
    image = f'<image name="1.png" width="160" height="96">{line.format("solid")}{line.format("dashed")}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    found = suggested(USECASE, tmp_path)
    assert found["data.layout"] == "cvat"
    assert "data.names" not in found
    assert not errors(USECASE, found)


@pytest.mark.parametrize("name", ["1.png", "drive.mp4"])
def test_recordings_without_labels_are_told_what_is_needed_and_what_can_be_done(tmp_path: Path, name: str) -> None:
    if name == "drive.mp4":
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
        for _ in range(3):
            writer.write(np.zeros((120, 160, 3), np.uint8))
        writer.release()
    else:
        frame(tmp_path / name, (160, 120))
    with pytest.raises(UserError, match=r"without labels.*CVAT or LabelMe.*data\.source=simulated trains on rendered roads"):
        suggested(USECASE, tmp_path)
    found = suggested(USECASE, tmp_path, data__source="simulated")
    assert found == {"data.simulation.height": 480}  # rendered frames are 640 wide


def test_nothing_and_labels_without_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is an empty folder.*Looked for: TuSimple label files"):
        suggested(USECASE, tmp_path)
    with pytest.raises(UserError, match="There is no file or folder"):
        suggested(USECASE, tmp_path / "gone")
    record = {"lanes": [[20, 40]], "h_samples": [30, 90], "raw_file": "clips/1/20.jpg"}
    (tmp_path / "label_data.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"1 frames whose images are not there, such as clips/1/20\.jpg"):
        suggested(USECASE, tmp_path)


def test_real_labels_are_recognised(shared_data: Path) -> None:
    found = suggested(USECASE, shared_data / "lane" / "tusimple-6")
    assert (found["data.layout"], found["data.simulated_too"]) == ("tusimple", True)
    assert not errors(USECASE, found)
    with pytest.raises(UserError, match="20 images without labels"):
        suggested(USECASE, shared_data / "lane" / "tusimple-clip")
