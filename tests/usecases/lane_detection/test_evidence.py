from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import DataError
from usecases.lane_detection import data, evidence
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.lanes import Frame, Line, line
from usecases.lane_detection.tracking import Detected

TINY = {"frames": 3, "validation": 2, "test": 3, "width": 320, "height": 180}


def config(**settings: object) -> LaneConfig:
    return LaneConfig.model_validate({"data": {"simulation": TINY, **settings}})


def frames(count: int = 12) -> list[Frame]:
    """Frames of 640x360 with two lines, the last two without any."""
    made = []
    for number in range(count):
        rows = np.linspace(120, 359, 80)
        lines = [line(np.column_stack([320 + side * (rows - 100), rows])) for side in (-0.7, 0.8)]
        about = {"night": number % 2 == 0}
        image = np.zeros((360, 640, 3), np.uint8)
        made.append(Frame(str(number), image, tuple(lines) if number < count - 2 else (), str(number // 2), about))
    return made


class Repeats:
    """Gives the lines of each frame in turn, moved to the side."""

    def __init__(self, answers: Sequence[Sequence[Line]], aside: float = 0.0, confidence: float = 0.9) -> None:
        self.answers, self.aside, self.confidence = iter(answers), aside, confidence

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detected]]:
        return [
            [Detected((one + np.array([self.aside, 0])).astype(np.float32), self.confidence) for one in next(self.answers)]
            for _ in images
        ]


def values(method: evidence.Judged) -> dict[str, float]:
    ones = np.ones(len(method.found))
    return {name: statistic(ones) for name, statistic in method.statistics().items()}


def test_who_finds_all_and_who_finds_nothing() -> None:
    given = frames()
    truth = [frame.lines or () for frame in given]
    seen, judged = evidence.judge(given, {"all": Repeats(truth), "none": Repeats([()] * 12), "aside": Repeats(truth, aside=30.0)})
    assert len(seen) == 12
    perfect = values(judged["all"])
    assert perfect["accuracy"] == perfect["f1"] == 1.0
    assert perfect["fp"] == perfect["fn"] == perfect["lateral_px"] == 0.0
    assert perfect["ece"] == pytest.approx(0.1)  # said .9, right always
    assert values(judged["none"])["fn"] == 1.0
    assert values(judged["none"])["accuracy"] == 0.0
    aside = values(judged["aside"])  # 60 px in the scale of 1280, across lines at an angle
    assert aside["accuracy"] == pytest.approx(9 / 56)  # rows in which there is no line, which counts as right
    assert aside["fp"] == aside["fn"] == 1.0
    assert aside["lateral_px"] == pytest.approx(60, abs=1)


def test_the_summary_compares_pairs_and_counts_inventions() -> None:
    given = frames()
    truth = [frame.lines or () for frame in given]
    invents = [*truth[:10], truth[0], truth[0]]
    _, judged = (pair := evidence.judge(given, {"ours": Repeats(truth), "theirs": Repeats(invents, aside=30.0)}))
    found = evidence.summarise(pair[0], judged, "ours", "theirs", "theirs")
    assert found["without_lines"] == {"frames": 2, "ours": 0, "theirs": 2}
    assert found["differences"]["theirs"]["accuracy"]["low"] > 0
    assert "The ours finds more than the theirs" in found["conclusion"]
    assert set(found["baselines"]) == {"theirs"}
    worse = evidence.summarise(pair[0], judged, "theirs", "ours", "theirs")
    assert "finds less than" in worse["conclusion"]
    assert worse["baselines"] == {}
    assert set(worse["parts"]) == {"ours"}
    assert {entry["slice"] for entry in found["slices"]} >= {"lines=2"}
    assert all(table["low"] <= table["value"] <= table["high"] for table in found["model"].values())


def test_rows_are_those_of_the_labels_or_every_tenth() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    assert evidence.judged_rows(Frame("a", image), image).tolist() == list(range(160, 720, 10))
    assert evidence.judged_rows(Frame("a", image, rows=(100, 200)), image).tolist() == [200, 400]


def test_rendered_parts_have_their_own_worlds_and_stay_the_same() -> None:
    lanes = data.load(config(), threads=1)
    first, again = list(lanes.train), list(data.load(config(), threads=2).train)
    assert [frame.name for frame in first] == [frame.name for frame in again]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
    test = list(lanes.test)
    assert len(test) == len(lanes.test) == 3
    assert not any(np.array_equal(one.image, other.image) for one in first for other in test)
    another = data.load(config().model_copy(update={"seed": 1}), threads=1)
    assert np.array_equal(next(iter(another.test)).image, test[0].image)  # every seed is judged on the same
    assert not np.array_equal(next(iter(another.train)).image, first[0].image)


def own(folder: Path, clips: int = 8, each: int = 2) -> Path:
    """A folder of clips with a JSON of polylines beside each image."""
    rng = np.random.default_rng(0)
    for clip in range(clips):
        place = folder / f"clip{clip}"
        place.mkdir(parents=True)
        coarse = cv2.resize(rng.integers(0, 255, (9, 16, 3), np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC)
        for number in range(each):
            cv2.imwrite(str(place / f"{number}.jpg"), coarse)
            (place / f"{number}.json").write_text('{"lines": [[[100, 80], [60, 170]], [[180, 80], [260, 170]]]}')
    return folder


def test_own_frames_train_beside_rendered_ones_and_clips_stay_together(tmp_path: Path) -> None:
    source = str(own(tmp_path / "mine"))
    lanes = data.load(config(source=source), threads=1)
    assert lanes.about["frames"]["simulated"] == 3
    names = [{frame.clip for frame in part} for part in (lanes.train, lanes.validation, lanes.test)]
    assert not names[1] & names[2]
    assert not names[0] & (names[1] | names[2])
    assert len(lanes.train) == 3 + lanes.about["frames"]["train"]
    alone = data.load(config(source=source, simulated_too=False), threads=1)
    assert len(alone.train) == lanes.about["frames"]["train"]
    everything = data.all_of(config(source=source), 1)
    assert len(everything.test) == 16


def test_faults_of_own_frames_are_all_told(tmp_path: Path) -> None:
    source = own(tmp_path / "mine")
    (source / "clip0" / "0.jpg").write_bytes(b"no image")
    (source / "clip1" / "1.json").write_text("{")
    with pytest.raises(DataError) as told:
        data.load(config(source=str(source)), threads=1)
    assert "0.jpg" in str(told.value)
    assert "1.json" in str(told.value)
    assert any(finding.severity == "error" for finding in data.check(config(source=str(source))))
    assert data.check(config()) == []
