from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from tests.usecases.lane_detection.bright import CONFIG, WIDTH, guessing, road, seeing
from usecases.lane_detection import simulator
from usecases.lane_detection.answers import CameraView, LaneRequest
from usecases.lane_detection.predictor import LanePredictor


@pytest.fixture
def bright() -> LanePredictor:
    return seeing()


@pytest.fixture(scope="module")
def untrained() -> LanePredictor:
    return guessing()


def encoded(image: np.ndarray, suffix: str = ".png") -> str:
    return base64.b64encode(cv2.imencode(suffix, image)[1].tobytes()).decode()


def huge(width: int, height: int) -> str:
    """A PNG file that says it is as large as that."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4) + bytes(4) + b"IEND").decode()


def test_a_lane_is_measured(bright: LanePredictor) -> None:
    view = {"fx": 256, "fy": 256, "cx": 160, "cy": 90, "height_m": 1.4, "pitch_deg": float(np.degrees(0.06))}
    (found,) = bright.predict([LaneRequest.model_validate({"image": encoded(road(0.4)), "camera": view})])
    assert found.lane
    assert [one.side for one in found.lines] == ["left", "right"]
    assert found.confidence == 0.9
    assert found.offset_m == pytest.approx(0.4, abs=0.05)
    assert found.lane_width_m == pytest.approx(3.6, abs=0.1)
    assert found.heading_deg == pytest.approx(0, abs=0.5)
    assert (found.approximate, found.notes) == (False, [])


def test_without_a_camera_nothing_is_made_up(bright: LanePredictor) -> None:
    (found,) = bright.predict([LaneRequest(image="data:image/png;base64," + encoded(road(0.4)))])
    assert found.approximate
    assert found.offset_m == pytest.approx(0.4, abs=0.1)
    assert (found.lane_width_m, found.heading_deg) == (None, None)
    assert len(found.notes) == 2


def test_with_lens_and_height_only_the_heading_is_missing(bright: LanePredictor) -> None:
    view = {"fx": 256, "fy": 256, "cx": 160, "cy": 90, "height_m": 1.4}
    image = encoded(road(0.4, sides=(-1.5, 1.5)))
    (found,) = bright.predict([LaneRequest.model_validate({"image": image, "camera": view})])
    assert not found.approximate
    assert found.offset_m == pytest.approx(0.4, abs=0.05)
    assert found.lane_width_m == pytest.approx(3.0, abs=0.1)
    assert found.heading_deg is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"pitch_deg": 3.0}, "pitch_deg"),
        ({"roll_deg": 2.0, "height_m": 1.4}, "roll_deg"),
        ({"yaw_deg": 2.0, "height_m": 1.4}, "yaw_deg"),
        ({"distortion": [float("nan"), 0, 0, 0, 0]}, "distortion"),
        ({"cx": float("inf")}, "cx"),
        ({"pitch_deg": float("nan"), "height_m": 1.4}, "pitch_deg"),
        ({"height_m": float("nan")}, "height_m"),
    ],
)
def test_what_would_be_ignored_or_is_no_number_is_refused(change: dict[str, object], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CameraView.model_validate({"fx": 256, "fy": 256, "cx": 160, "cy": 90} | change)
    assert {error["loc"][0] for error in caught.value.errors()} == {place}


def test_no_lane_is_said_with_low_confidence(bright: LanePredictor) -> None:
    empty, half = bright.predict([LaneRequest(image=encoded(road(sides=one))) for one in ((), (1.8,))])
    assert (empty.lane, empty.lines, empty.confidence, empty.offset_m) == (False, [], 0.1, None)
    assert (half.lane, half.confidence, half.offset_m, half.lane_width_m) == (False, 0.1, None, None)
    assert [one.side for one in half.lines] == ["right"]
    assert "neither" in empty.notes[0]
    assert "only its right line" in half.notes[0]


def test_a_request_goes_through_json(bright: LanePredictor) -> None:
    request = LaneRequest(image=encoded(road(), ".jpg"))
    again = LaneRequest.model_validate_json(request.model_dump_json())
    decisions = bright.predict([request, again])
    assert decisions[0] == decisions[1]
    assert type(decisions[0]).model_validate_json(decisions[0].model_dump_json()) == decisions[0]
    x, y = np.array(decisions[0].lines[0].points).T
    assert x.min() >= 0
    assert x.max() < WIDTH / 2
    assert (np.diff(y) > 0).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no base64!", "is not base64"),
        (base64.b64encode(b"GIF89a nothing").decode(), "neither a JPEG nor a PNG"),
        (encoded(road(), ".jpg")[:2000], "cut short"),
        (base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode(), "cut short"),
        (huge(12000, 9000), "more than 100 million pixels"),
        (huge(40000, 40000), "more than 100 million pixels"),
    ],
)
def test_an_image_that_cannot_be_used(bright: LanePredictor, text: str, says: str) -> None:
    with pytest.raises(UserError, match="record 2, image") as caught:
        bright.predict([LaneRequest(image=encoded(road())), LaneRequest(image=text)])
    assert says in str(caught.value)


def test_examples_have_a_lane_and_none(untrained: LanePredictor) -> None:
    requests = untrained.examples()
    assert [len(request.image) < 100_000 for request in requests] == [True, True, True]
    assert requests == untrained.examples()
    assert len(untrained.predict(requests)) == 3
    assert simulator.render(7, 1, 480, 270).lines
    assert not simulator.render(7, 42, 480, 270).lines


def test_saved_and_loaded_it_decides_the_same(untrained: LanePredictor, tmp_path: Path) -> None:
    untrained.save(tmp_path / "artifact", {"seed": 5})
    loaded = LanePredictor.load(tmp_path / "artifact")
    same = replace(loaded.detector, precision=untrained.detector.precision)  # loading picks what is fast here
    assert LanePredictor(same).predict(untrained.examples()) == untrained.predict(untrained.examples())
    assert any(one.lines for one in untrained.predict(untrained.examples()))
    assert (loaded.detector.least, loaded.detector.calibrator, loaded.detector.config) == (0.3, Calibrator(0.7, 0.2), CONFIG)
    assert loaded.about["seed"] == 5


def test_a_changed_artefact_is_refused(untrained: LanePredictor, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    untrained.save(folder, {})
    (folder / "preprocess.json").write_text((folder / "preprocess.json").read_text().replace('"least": 0.3', '"least": 0.1'))
    with pytest.raises(UserError, match="was changed"):
        LanePredictor.load(folder)
    (folder / "preprocess.json").unlink()
    with pytest.raises(UserError, match="missing"):
        LanePredictor.load(folder)
