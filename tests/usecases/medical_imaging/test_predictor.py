"""Requests and folders to answers; what is not an image, or a broken artefact, is one message."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from shared import artifact
from shared.errors import UserError
from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.conftest import Trained
from usecases.medical_imaging.answers import MedicalDecision, MedicalRequest
from usecases.medical_imaging.found import NOTICE, SIMULATED
from usecases.medical_imaging.predictor import MedicalPredictor


@pytest.fixture(scope="module")
def predictor(simulated: Trained) -> MedicalPredictor:
    return MedicalPredictor.load(simulated.folder / "artifact")


def decoded(text: str | None) -> np.ndarray:
    assert text is not None
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED))


def test_examples_are_answered_with_what_they_ask_for(predictor: MedicalPredictor) -> None:
    plain, full = predictor.predict(predictor.examples())
    assert (plain.heat, plain.mask) == (None, None)
    if full.finding != "not judged":
        assert decoded(full.mask).shape == decoded(predictor.examples()[1].image).shape[:2]
    assert decoded(full.heat).ndim == 3
    for one in (plain, full):
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-3)
        assert (one.finding == "not judged") == (one.novelty >= 1)
        assert any(one.low <= p <= one.high for p in one.probabilities.values())
        assert one.refer == bool(one.reasons)
        assert one.notice == f"{NOTICE} {SIMULATED}"
        assert MedicalDecision.model_validate_json(one.model_dump_json()) == one


def test_a_request_with_heat_says_the_same_as_one_without(predictor: MedicalPredictor) -> None:
    asked = predictor.examples()[1]
    with_heat, without = predictor.predict([asked, asked.model_copy(update={"heat": False, "mask": False})])
    assert with_heat.probabilities == without.probabilities
    assert with_heat.novelty == without.novelty


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("????", "not base64"),
        (base64.b64encode(b"hello there, this is text").decode(), "record 2, image"),
        (base64.b64encode(b"\x89PNG\r\n\x1a\nxx").decode(), "cannot be used"),
    ],
)
def test_what_is_no_image_is_named_by_its_record(predictor: MedicalPredictor, image: str, told: str) -> None:
    with pytest.raises(UserError, match="record 2, image") as caught:
        predictor.predict([predictor.examples()[0], MedicalRequest(image=image)])
    assert told in str(caught.value)


def test_a_folder_of_all_kinds_becomes_findings_without_names(predictor: MedicalPredictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    scans.series(source / "ct", (0, 8))
    scans.volume(source / "v.nii.gz", (0, 9))
    scans.png(source / "a.png", 9)
    (source / "notes.txt").write_text("nothing")
    (source / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 40)
    summary = predictor.process(source, out, {}, lambda done: None)
    rows = pd.read_csv(out / "findings.csv")
    assert summary["pictures"] == len(rows) == 5
    assert set(rows["finding"]) <= {"lesion", "no lesion", "not judged"}
    one = predictor.predict([MedicalRequest(image=base64.b64encode((source / "a.png").read_bytes()).decode())])[0]
    row = rows.set_index("name").loc["a.png"]
    assert row["p_lesion"] == pytest.approx(one.probabilities["lesion"], abs=0.02)
    assert row["refer"] == one.refer
    for file in (path for path in out.rglob("*") if path.is_file()):
        for word in (b"DOE", b"JOHN", b"SECRET77", scans.BORN.encode(), b"Elsewhere"):
            assert word not in file.read_bytes(), (file, word)


def test_all_tables_and_pages_of_a_model_of_simulated_images_say_so_and_those_of_another_do_not(
    predictor: MedicalPredictor, folded: Trained, tmp_path: Path
) -> None:
    scans.png(tmp_path / "a.png", 9)
    other = MedicalPredictor.load(folded.folder / "artifact")
    for name, one, told in (("simulated", predictor, f"{NOTICE} {SIMULATED}"), ("own", other, NOTICE)):
        out = tmp_path / name
        assert one.process(tmp_path / "a.png", out, {}, lambda done: None)["notice"] == told  # which the terminal shows
        assert json.loads((out / "summary.json").read_text("utf-8"))["notice"] == told
        assert (out / "summary.html").read_text("utf-8").count(f'<p class="notice">{told}</p>') == 2
        for table in ("cases.csv", "findings.csv"):
            assert set(pd.read_csv(out / table)["notice"]) == {told}


def test_an_unknown_option_is_named(predictor: MedicalPredictor, tmp_path: Path) -> None:
    scans.png(tmp_path / "a.png", 9)
    with pytest.raises(UserError, match="nonsense"):
        predictor.process(tmp_path / "a.png", tmp_path / "out", {"nonsense": 1}, lambda done: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change", [{"version": 9}, {"classes": ["a", "b", "c"]}, {"networks": 3}, {"config": {"model": {"size": 5}}}]
)
def test_an_artefact_that_does_not_hold_what_it_says_is_refused(
    predictor: MedicalPredictor, simulated: Trained, tmp_path: Path, change: dict[str, object]
) -> None:
    saved = artifact.load(simulated.folder / "artifact", "medical_imaging")
    artifact.save(
        tmp_path / "changed",
        usecase="medical_imaging",
        tensors=saved.tensors,
        preprocess={**saved.preprocess, **change},
        request=MedicalRequest,
        response=MedicalDecision,
        about={},
    )
    with pytest.raises(UserError, match=r"Train again"):
        MedicalPredictor.load(tmp_path / "changed")


def test_a_moved_artefact_answers_as_before(predictor: MedicalPredictor, simulated: Trained, tmp_path: Path) -> None:
    shutil.copytree(simulated.folder / "artifact", tmp_path / "elsewhere")
    moved = MedicalPredictor.load(tmp_path / "elsewhere")
    assert moved.predict(moved.examples()) == predictor.predict(predictor.examples())
    assert moved.about["usecase"] == "medical_imaging"
