from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import stats

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
    assert "By F1 the ours is better than the theirs: 1.000 against 0" in found["conclusion"]
    assert "accuracy 1.000 against 0.161" in found["conclusion"]
    assert "Of 2 frames without any line, lines were reported in 0 by the ours, in 2 by the theirs." in found["conclusion"]
    assert found["model"]["invented"]["value"] == 0.0
    assert found["baselines"]["theirs"]["invented"]["value"] == 1.0
    assert set(found["baselines"]) == {"theirs"}
    worse = evidence.summarise(pair[0], judged, "theirs", "ours", "theirs")
    assert "is worse than" in worse["conclusion"]
    assert worse["baselines"] == {}
    assert set(worse["parts"]) == {"ours"}
    assert {entry["slice"] for entry in found["slices"]} >= {"lines=2"}
    assert all(table["low"] <= table["value"] <= table["high"] for table in found["model"].values())


def summary(given: list[Frame], ours: Sequence[Sequence[Line]], theirs: Sequence[Sequence[Line]]) -> dict[str, Any]:
    seen, judged = evidence.judge(given, {"ours": Repeats(ours), "theirs": Repeats(theirs)})
    found = evidence.summarise(seen, judged, "ours", "theirs", "theirs")
    json.dumps(found, allow_nan=False)
    return found


def test_what_few_frames_have_is_judged_and_can_be_written() -> None:
    """Only the first of the clips has a label and a line: most resamples have none of them, or none at all."""
    given = [replace(frame, lines=frame.lines if not number else ()) for number, frame in enumerate(frames())]
    truth = [frame.lines or () for frame in given]
    found = summary(given, truth, [truth[0][:1], *truth[1:]])
    assert found["model"]["accuracy"]["value"] == found["model"]["f1"]["value"] == 1.0
    assert found["model"]["ece"]["value"] == pytest.approx(0.1)
    _, judged = evidence.judge(given, {"ours": Repeats(truth)})
    without = np.array([0.0] + [1.0] * 11)
    undefined = [name for name, statistic in judged["ours"].statistics().items() if np.isnan(statistic(without))]
    assert undefined == ["accuracy", "fp", "fn", "ego_found", "lateral_px", "ece"]


def test_what_only_one_method_has_is_not_dropped() -> None:
    given = frames()
    found = summary(given, [frame.lines or () for frame in given], [()] * 12)
    assert set(found["alone"]["ours"]) == {"lateral_px", "ece"}
    assert found["alone"]["theirs"] == {}
    assert set(found["model"]) == set(found["baselines"]["theirs"]) == {"accuracy", "fp", "fn", "f1", "invented", "ego_found"}
    assert found["model"]["ego_found"]["value"] == 1.0
    assert found["baselines"]["theirs"]["ego_found"]["value"] == 0.0


def test_the_car_s_lines_are_judged_where_found_and_the_share_found_is_told() -> None:
    given = frames()
    truth = [frame.lines or () for frame in given]
    half = [lines if number < 5 else lines[:1] for number, lines in enumerate(truth)]
    found = summary(given, truth, half)["baselines"]["theirs"]
    assert found["lateral_px"]["value"] == 0.0
    assert found["ego_found"]["value"] == pytest.approx((5 + 5 * 0.5) / 10)


def test_inventions_are_judged_where_no_frame_has_a_line() -> None:
    given = [replace(frame, lines=()) for frame in frames()]
    invents = [frame.lines or () for frame in frames()]
    found = summary(given, [()] * 12, invents)
    assert found["headline"] == "f1"
    assert found["model"]["invented"]["value"] == 0.0
    assert found["baselines"]["theirs"]["invented"]["value"] == pytest.approx(10 / 12)
    assert "Of 12 frames without any line, lines were reported in 0 by the ours, in 10" in found["conclusion"]


def test_of_few_clips_the_interval_is_students() -> None:
    """Of the means of six clips of two frames each, which are what is independent."""
    given = [replace(frame, lines=frames()[0].lines) for frame in frames()]
    truth = [frame.lines or () for frame in given]
    found = summary(given, truth, [lines if number % 4 else () for number, lines in enumerate(truth)])
    missed = np.array([0.5, 0, 0.5, 0, 0.5, 0])
    expected = stats.ttest_1samp(missed, 0).confidence_interval(0.95)
    ours = found["baselines"]["theirs"]["fn"]
    assert (ours["value"], ours["low"], ours["high"]) == pytest.approx((0.25, max(expected.low, 0), expected.high), abs=1e-6)
    gap = found["differences"]["theirs"]["fn"]
    assert (gap["value"], gap["low"], gap["high"]) == pytest.approx((-0.25, -expected.high, -expected.low), abs=1e-6)


def test_one_clip_proves_nothing() -> None:
    given = [replace(frame, clip="one") for frame in frames()]
    found = summary(given, [frame.lines or () for frame in given], [()] * 12)
    assert (found["model"]["f1"]["value"], found["model"]["f1"]["low"], found["model"]["f1"]["high"]) == (1.0, 0.0, 1.0)
    assert found["differences"]["theirs"]["f1"]["low"] == -1.0
    assert "is about as good as" in found["conclusion"]


def test_f1_of_few_clips_is_linearised_over_them() -> None:
    """As the delta method by hand: the ratio's parts of six clips, one of them without a line."""
    given = frames()
    truth = [frame.lines or () for frame in given]
    f1 = summary(given, truth, [lines if number % 4 else () for number, lines in enumerate(truth)])["baselines"]["theirs"]["f1"]
    tp, labels = np.array([2, 4, 2, 4, 2, 0]), np.array([4, 4, 4, 4, 4, 0])
    value = 2 * tp.sum() / (tp + labels).sum()
    spread = np.sqrt(6 / 5 * ((2 * tp - value * (tp + labels)) ** 2).sum()) / (tp + labels).sum()
    assert f1["value"] == pytest.approx(value, abs=1e-6)
    assert f1["low"] == pytest.approx(value - stats.t.ppf(0.975, 5) * spread, abs=1e-6)


def test_many_clips_and_uneven_ones() -> None:
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(19), rng.integers(1, 9, 19))
    lines = frames()[0].lines or ()
    given = [
        Frame(str(n), np.zeros((36, 64, 3), np.uint8), (lines[0] / 10, lines[1] / 10), str(clip)) for n, clip in enumerate(clips)
    ]
    answers = [frame.lines or () if rng.random() < 0.6 else () for frame in given]
    few = summary(given, answers, [()] * len(given))["model"]["fn"]
    assert few["value"] == pytest.approx(np.mean([not one for one in answers]), abs=1e-6)
    also = [*given, Frame("more", given[0].image, given[0].lines, "another")]
    many = summary(also, [*answers, answers[0]], [()] * len(also))["model"]["fn"]  # of 20 clips a bootstrap
    assert few["high"] - few["low"] == pytest.approx(many["high"] - many["low"], rel=0.35)


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
