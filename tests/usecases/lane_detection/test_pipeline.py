from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.config import resolve
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.lane_detection.bright import CONFIG, network, road, seeing
from tests.usecases.lane_detection.test_evidence import config, own
from usecases.lane_detection import benchmark, data, pipeline
from usecases.lane_detection.checks import check_parts
from usecases.lane_detection.config import LaneConfig, Model
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.predictor import LanePredictor
from usecases.lane_detection.report import worded


def asked(source: Path, **changes: Any) -> LaneConfig:
    return CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"source": str(source)}), **changes})


def roads(folder: Path, lines: bool = True, clips: int = 4) -> Path:
    """Frames of a road with its two lines labelled, each in a clip of its own; or without lines in image and label."""
    rng = np.random.default_rng(clips)
    for clip in range(clips):
        (folder / f"{clip}").mkdir(parents=True)
        image = road(sides=(-1.8, 1.8) if lines else ())
        image[:60] = cv2.resize(rng.integers(0, 150, (3, 8, 3), np.uint8), (320, 60))
        cv2.imwrite(str(folder / f"{clip}" / "0.png"), image)
        label = '{"lines": [[[136, 110], [40, 179]], [[184, 110], [280, 179]]]}' if lines else '{"lines": []}'
        (folder / f"{clip}" / "0.json").write_text(label)
    return folder


def trained_on(source: Path) -> LanePredictor:
    predictor = seeing()
    predictor.detector.about = {pipeline.KNOWN: data.load(config(source=str(source)), 1).known}
    return predictor


def test_frames_that_were_trained_on_are_left_out_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = own(tmp_path / "mine", clips=8, each=2)
    predictor = trained_on(source)
    test = len(data.load(config(source=str(source)), 1).test)
    same = pipeline.evaluate(predictor, asked(source))
    assert same["data"]["frames"] == {"test": test, "left out": 16 - test}
    shutil.copytree(source, tmp_path / "moved" / "deeper")
    shutil.move(tmp_path / "moved" / "deeper" / "clip0", tmp_path / "moved" / "deeper" / "renamed")
    monkeypatch.chdir(tmp_path)
    for place in (Path("mine"), Path("moved"), Path("moved/deeper")):
        again = pipeline.evaluate(predictor, asked(place))
        assert again["data"]["frames"] == same["data"]["frames"]
        assert f"{16 - test} labelled frames that the model was trained or chosen on left out" in again["protocol"]
    other = pipeline.evaluate(predictor, asked(roads(tmp_path / "other")))
    assert other["data"]["frames"] == {"test": 4, "left out": 0}
    assert other["protocol"].startswith("4 frames whose files were not trained on, TuSimple's")


def test_a_model_is_not_judged_on_what_it_was_trained_on_alone(tmp_path: Path) -> None:
    source = own(tmp_path / "mine", clips=8, each=2)
    predictor = trained_on(source)
    test = {str(frame.name) for frame in data.load(config(source=str(source)), 1).test}
    for name in test:
        (source / name).unlink()
        (source / name).with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"trained on all \d+ labelled frames"):
        pipeline.evaluate(predictor, asked(source))


def test_a_leak_between_the_parts_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = own(tmp_path / "mine", clips=4, each=1)
    shutil.copy(source / "clip0" / "0.jpg", source / "clip1" / "0.jpg")
    parts = data.load(config(source=str(source)), 1)
    assert [len(part) for part in (parts.validation, parts.test)] != [0, 0]
    monkeypatch.setattr(data.splits, "split", lambda frames, *_: (frames[:1], frames[2:], frames[1:2]))
    with pytest.raises(DataError, match="nearly the same image in train and in test"):
        data.load(config(source=str(source)), 1)
    monkeypatch.setattr(data.splits, "split", lambda frames, *_: (frames[2:], frames[:1], frames[1:2]))
    with pytest.raises(DataError, match="nearly the same image in validation and in test"):
        data.load(config(source=str(source)), 1)
    assert check_parts({}, "here") == []


def test_roads_without_lines_can_be_judged(tmp_path: Path) -> None:
    found = pipeline.evaluate(seeing(), asked(roads(tmp_path / "empty", lines=False)))
    assert found["without_lines"]["frames"] == 4
    assert found["model"]["invented"]["value"] == 0.0
    with pytest.raises(DataError, match="no frame has a line"):
        data.load(config(source=str(tmp_path / "empty")), 1)


def test_missing_images_are_named(tmp_path: Path) -> None:
    source = roads(tmp_path / "mine")
    (source / "0" / "0.png").unlink()
    with pytest.raises(DataError, match="an image that cannot be used: the file does not exist"):
        pipeline.evaluate(seeing(), asked(source))


def test_overrides_of_evaluate_do_what_they_say_or_are_refused(tmp_path: Path) -> None:
    source = roads(tmp_path / "mine")
    assert pipeline.evaluate(seeing(), asked(source))["model"]["ego_found"]["value"] == 1.0
    strict = CONFIG.decide.model_copy(update={"least": 0.95})
    assert pipeline.evaluate(seeing(), asked(source, decide=strict))["model"]["ego_found"]["value"] == 0.0
    changed = pipeline._changed(seeing().detector, CONFIG.model_copy(update={"decide": strict}))
    assert changed.config.decide.least == changed.least == 0.95
    for key, section in (
        ("model.top", {"model": CONFIG.model.model_copy(update={"top": 0.5})}),
        ("model.training.epochs", {"model": CONFIG.model.model_copy(
            update={"training": CONFIG.model.training.model_copy(update={"epochs": 9})})}),
        ("drive.car_width_m", {"drive": CONFIG.drive.model_copy(update={"car_width_m": 9.0})}),
        ("seed", {"seed": 5}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"as it is: {key} would change nothing"):
            pipeline.evaluate(seeing(), asked(source, **section))


def run_of(settings: LaneConfig, name: str) -> Path:
    run = Run.create("lane_detection", settings, Path(os.environ["USECASES_RUNS"]) / "lane_detection" / name)
    LanePredictor(LaneDetector(settings, network())).save(run.artifact_dir, {})
    run.finish()
    return run.folder


def test_the_benchmark_takes_a_run_with_the_default_settings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USECASES_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(benchmark, "LaneConfig", lambda: CONFIG)  # a small one
    trained = []

    def train(settings: LaneConfig, run: Run) -> None:
        trained.append(run.folder)
        LanePredictor(LaneDetector(CONFIG, network())).save(run.artifact_dir, {})

    monkeypatch.setattr(benchmark, "train", train)
    monkeypatch.setattr(benchmark, "resolve", lambda _: CONFIG)
    run_of(asked(tmp_path), "20300101-000000-aaaa")
    run_of(
        CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"simulation": config().data.simulation})}), "20300102"
    )
    told: list[str] = []
    benchmark._standard(told.append)
    assert len(trained) == 1
    assert sum("was not trained on rendered frames with the default settings" in line for line in told) == 2
    fits = run_of(CONFIG.model_copy(update={"seed": 3}), "20300103-000000-cccc")
    run_of(asked(tmp_path), "20300104-000000-dddd")
    assert benchmark._standard(told.append).detector.config.seed == 3
    assert told[-1] == f"The model is that of {fits}, seed 3"
    assert len(trained) == 1


def test_the_benchmark_names_missing_images_and_tells_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = seeing()
    predictor.detector.config = CONFIG.model_copy(update={"seed": 4})
    monkeypatch.setattr(benchmark, "_standard", lambda log: predictor)
    monkeypatch.setattr(benchmark, "speed", lambda detector: {})
    record = '{"raw_file": "0.png", "h_samples": [110, 145, 179], "lanes": [[136, 87, 40], [184, 233, 280]]}'
    (tmp_path / "labels.json").write_text(record)
    with pytest.raises(DataError, match="the file does not exist"):
        benchmark.tusimple(tmp_path, [0], print)
    cv2.imwrite(str(tmp_path / "0.png"), road())
    found = benchmark.tusimple(tmp_path, [0, 1, 2], print)
    assert found["seeds"] == [4]
    assert found["split"] == f"1 frame of {tmp_path.name}; trained on simulated frames"
    assert found["metrics"]["f1"]["model"]["value"] >= 0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.blocks=[1,1]", r"model\.blocks = .*model\.widths has 4 stages: give as many numbers"),
        ("model.widths=[8,16,32,63]", r"model\.widths = .*the last is no multiple of 4"),
        ("model.widths=[8,0,32,64]", r"model\.widths\.1 = 0: .*greater than or equal to 1"),
        ("data.simulation.frames=0", r"data\.simulation = .*there is nothing to train on"),
        ("split.test=0.9", r"split\.test = 0\.9: with split\.validation it takes all clips"),
    ],
)
def test_settings_that_do_not_fit_together_are_told_at_once(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        resolve(LaneConfig, overrides=[override])
    assert str(error.value).count("\n") == 1
    resolve(LaneConfig, overrides=["model.widths=[8,16]", "model.blocks=[1,1]", "split.test=0.8"])
    resolve(LaneConfig, overrides=["data.simulation.frames=0", "data.source=mine"])
    assert Model().widths[-1] % 4 == 0


def test_slices_are_worded_for_people() -> None:
    given = ("night=True", "crossing=False", "lines=2", "lines=1", "weather=fog", "wet_road=True", "scene=4")
    assert [worded(name) for name in given] == [
        "night", "not crossing", "2 lines", "1 line", "weather: fog", "wet road", "scene 4",
    ]  # fmt: skip
