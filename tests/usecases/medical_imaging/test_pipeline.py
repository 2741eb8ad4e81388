"""The recipe from images to a judged model, on data of several shapes."""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from shared import hardware
from shared.config import resolve
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.conftest import TINY, Trained, body, images, train
from usecases.medical_imaging import data, evidence, pipeline
from usecases.medical_imaging.answers import MedicalRequest
from usecases.medical_imaging.config import MedicalConfig, Split
from usecases.medical_imaging.found import NOTICE
from usecases.medical_imaging.predictor import MedicalPredictor
from usecases.medical_imaging.splits import PARTS


def rows(trained: Trained) -> pd.DataFrame:
    return pd.read_parquet(trained.folder / "predictions.parquet")


def test_in_cross_validation_every_image_is_judged_once_by_a_model_that_did_not_see_its_patient(folded: Trained) -> None:
    judged, fits = rows(folded), folded.fits
    assert len(fits) == 4
    every = Counter(case.name for cases, _ in fits[:3] for case in cases.test.cases)
    assert len(every) == 36
    assert set(every.values()) == {1}
    assert judged["case"].tolist() == [case.name for cases, _ in fits[:3] for case in cases.test.cases]
    for cases, _ in fits[:3]:
        seen = {case.patient for part in (cases.train, cases.validation) for case in part.cases}
        assert not seen & {case.patient for case in cases.test.cases}
    place = 0
    for cases, outcome in fits[:3]:
        own = outcome.finder.look_through(cases.test).probabilities[:, 1]
        np.testing.assert_allclose(judged["p_striped"][place : place + len(own)], own, atol=1e-6)
        place += len(own)
    labels = (judged["label"] == "striped").astype(int)
    assert folded.metrics["model"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(labels, judged["p_striped"]), abs=1e-6)
    assert "each judged by one of 3 models" in folded.metrics["protocol"]


def test_the_model_that_is_kept_was_trained_on_the_images_of_all_folds(folded: Trained) -> None:
    last, outcome = folded.fits[-1]
    assert len(last.test) == 0
    assert {case.name for part in (last.train, last.validation) for case in part.cases} == set(rows(folded)["case"])
    kept = MedicalPredictor.load(folded.folder / "artifact").finder
    for name, tensor in outcome.finder.networks[0].state_dict().items():
        assert tensor.equal(kept.networks[0].state_dict()[name])


def test_a_simple_method_that_does_better_on_validation_is_the_model_and_named(folded: Trained) -> None:
    """One epoch teaches a network nothing; stripes show in ImageNet's features."""
    assert all(outcome.finder.simple for _, outcome in folded.fits)
    metrics = folded.metrics
    assert metrics["name"] == pipeline.SIMPLE
    assert pipeline.NETWORK["residual"] in metrics["baselines"]
    assert pipeline.SIMPLE not in metrics["baselines"]
    assert metrics["choice"]["loss"] < metrics["choice"]["loss_of_network"]
    assert metrics["model"]["roc_auc"]["value"] > 0.65
    last, outcome = folded.fits[-1]
    rival = outcome.finder.look_through(last.validation).probabilities
    assert roc_auc_score(last.validation.labels, rival[:, 1]) > 0.8
    loaded = MedicalPredictor.load(folded.folder / "artifact").finder
    assert loaded.simple
    np.testing.assert_array_equal(loaded.look_through(last.validation).probabilities, rival)
    assert "Logistic regression on ImageNet features" in (folded.folder / "model_card.md").read_text("utf-8")


def test_a_network_that_does_better_on_validation_stays_the_model(folded: Trained) -> None:
    cases, outcome = folded.fits[0]
    assert outcome.unused is not None
    rivals = {**outcome.rivals, pipeline.SIMPLE: _guessing(outcome)}
    network = replace(outcome, finder=outcome.unused, rivals=rivals, choice={"loss": 0.69}, unused=None)
    views = outcome.finder.frozen(cases.train.images)
    kept = pipeline.simpler(network, views, cases.train.labels, cases.validation)
    assert kept.finder is outcome.unused
    assert kept.choice["loss"] == 0.69
    assert kept.choice["loss_of_simple"] >= 0.69
    assert next(iter(pipeline.judge(kept, cases.test).methods)) == pipeline.NETWORK["residual"]


def _guessing(outcome: pipeline.Outcome) -> pipeline.baselines.Baseline:
    rival = pipeline.baselines.Baseline("features", np.zeros(1280), np.ones(1280), np.zeros((2, 1280)), np.zeros(2))
    assert outcome.finder.classes == ("healthy", "striped")
    return rival


def test_cross_validation_without_a_common_choice_says_so(folded: Trained) -> None:
    judged = [pipeline.judge(outcome, cases.test) for cases, outcome in folded.fits[:2]]
    names = list(judged[1].methods)
    judged[1] = replace(judged[1], methods={name: judged[1].methods[name] for name in (names[1], names[0], *names[2:])})
    together = pipeline.pooled(judged)
    assert list(together.methods) == [pipeline.MIXED, "logistic regression on pixels"]
    assert all(len(method.probabilities) == len(together.part) for method in together.methods.values())


def test_masks_are_learnt_and_judged_where_there_are_some(simulated: Trained, folded: Trained) -> None:
    assert "dice" in simulated.metrics["model"]
    assert {"dice", "surface_dice", "lesion_sensitivity"} <= set(simulated.metrics["trust"]["masks"])
    assert "dice" in rows(simulated)
    assert "dice" not in folded.metrics["model"]
    assert "masks" not in folded.metrics["trust"]
    image = MedicalPredictor.load(folded.folder / "artifact")
    decision = image.predict([replace_mask(image)])[0]
    assert decision.mask is None
    assert decision.area_mm2 is None


def replace_mask(predictor: MedicalPredictor) -> MedicalRequest:
    return predictor.examples()[0].model_copy(update={"mask": True})


def test_three_classes_and_colour_from_images_to_decisions(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"normal": 14, "striped": 14, "spot": 14}, colour=True)
    trained = train(
        tmp_path / "run", f"data.source={source}", "data.classes=[normal,striped,spot]", "model.size=32", "split.test=0.3"
    )
    metrics, finder = trained.metrics, trained.finder
    assert finder.classes == ("normal", "striped", "spot")
    assert finder.channels == 3
    assert set(metrics["model"]) == {"roc_auc", "average_precision", "accuracy", "ece", "brier"}
    assert "operating" not in metrics["trust"]
    test = trained.fits[0][0].test
    own = finder.look_through(test).probabilities
    wanted = roc_auc_score(test.labels, own, multi_class="ovr", average="macro")
    assert metrics["model"]["roc_auc"]["value"] == pytest.approx(wanted, abs=1e-6)
    image = b64encode((source / "normal" / "normal-0" / "0.png").read_bytes()).decode()
    decision = MedicalPredictor.load(trained.folder / "artifact").predict([MedicalRequest(image=image)])[0]
    assert set(decision.probabilities) == set(finder.classes)
    assert decision.finding == max(decision.probabilities, key=lambda name: decision.probabilities[name])
    assert "Sensitivity and specificity" not in (trained.folder / "report.html").read_text("utf-8")


def test_a_class_with_the_fewest_patients_that_can_be_divided_still_trains(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"healthy": 14, "rare": 3})
    trained = train(tmp_path / "run", f"data.source={source}", "model.size=32")
    assert [set(part.labels) for part in (trained.fits[0][0].train, trained.fits[0][0].test)] == [{0, 1}, {0, 1}]
    assert trained.metrics["model"]["roc_auc"]["value"] >= 0
    assert any("only few" in finding for finding in trained.metrics["data_findings"])


def test_the_fewest_images_of_all_train_and_nothing_is_refused_as_unlike_so_few(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"healthy": 3, "rare": 3})
    trained = train(tmp_path / "run", f"data.source={source}", "model.size=32")
    assert trained.finder.novelty is None
    assert trained.metrics["choice"]["novelty"] is None
    loaded = MedicalPredictor.load(trained.folder / "artifact")
    assert [one.novelty for one in loaded.predict(loaded.examples())] == [0, 0]
    assert "Too few images" in (trained.folder / "report.html").read_text("utf-8")


def test_a_class_that_a_given_part_lacks_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    for part, kinds in {"train": (0, 1), "val": (0,), "test": (0, 1)}.items():
        for kind, number in product(kinds, range(8)):
            path = tmp_path / "data" / part / ("healthy", "ill")[kind] / f"{part}{kind}{number}" / "1.png"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), body(10_000 * len(part) + number, kind))
    trained = train(tmp_path / "run", f"data.source={tmp_path / 'data'}", "model.size=32")
    told = "class 'ill' has no image in the validation part of the split"
    assert any(told in finding for finding in trained.metrics["data_findings"])
    assert trained.metrics["choice"]["threshold"] == 0.5
    report = (trained.folder / "report.html").read_text("utf-8")
    assert "a probability of 50%" in report
    assert "highest specificity" not in report
    for path in (tmp_path / "data/test/ill").rglob("*.png"):
        path.unlink()
    found = {finding.what: finding.severity for finding in data.check(trained.config)}
    assert found[told] == "warning"
    assert found["class 'ill' has no image in the test part of the split"] == "error"
    with pytest.raises(DataError, match="in the test part"):
        data.load(trained.config, 32, 1)
    assert len(list(data.folds(trained.config.model_copy(update={"split": Split(folds=3)}), 32, 1))) == 3


def test_folds_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"healthy": 6, "rare": 6})
    with pytest.raises(DataError, match="fewer folds"):
        train(tmp_path / "run", f"data.source={source}", "split.folds=6")
    with pytest.raises(UserError, match="one's own images"):
        train(tmp_path / "other", "split.folds=3")


def test_training_again_gives_the_same_model_though_pseudonyms_differ(
    folded: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USECASES_SALT", "another")
    cases, (before, outcome) = next(data.folds(folded.config, 32, 1)), folded.fits[0]
    assert not {case.patient for case in cases.train.cases} & {case.patient for case in before.train.cases}
    run = Run.create("medical_imaging", folded.config, tmp_path / "run")
    again = pipeline.fit(folded.config, cases, run, hardware.select(folded.config.hardware), "")
    for name, tensor in outcome.finder.networks[0].state_dict().items():
        assert tensor.equal(again.finder.networks[0].state_dict()[name])
    assert again.choice == outcome.choice


def test_a_model_is_judged_again_on_other_images_and_not_on_its_own(folded: Trained, tmp_path: Path) -> None:
    predictor = MedicalPredictor.load(folded.folder / "artifact")
    with pytest.raises(UserError, match=r"cross-validation is in metrics.json"):
        pipeline.evaluate(predictor, folded.config)
    other = images(tmp_path / "other", {"healthy": 6, "striped": 6}, first=100)
    config = folded.config.model_copy(update={"data": folded.config.data.model_copy(update={"source": str(other)})})
    found = pipeline.evaluate(predictor, config)
    assert found["protocol"] == "12 images that the model was not trained or chosen on, as far as equal pixels tell"
    assert found["data"]["images"]["test"] == 12
    (other / "striped").rename(other / "lump")
    with pytest.raises(UserError, match="healthy, striped; the data has healthy, lump"):
        pipeline.evaluate(predictor, config)


def test_a_folder_that_was_moved_is_judged_without_what_was_trained_on(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"healthy": 14, "striped": 14}, each=2)
    trained = train(tmp_path / "run", f"data.source={source}", "model.size=32")
    predictor = MedicalPredictor.load(trained.folder / "artifact")
    known = json.loads((trained.folder / "artifact" / "metadata.json").read_text("utf-8"))[pipeline.KNOWN]
    assert len(known) == len(trained.fits[0][0].train) + len(trained.fits[0][0].validation)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in known)
    moved = source.rename(tmp_path / "moved")
    config = trained.config.model_copy(update={"data": trained.config.data.model_copy(update={"source": str(moved)})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "RESAMPLES", 40)
        again = pipeline.evaluate(predictor, config)
    own = trained.metrics["model"]
    assert {name: one["value"] for name, one in again["model"].items()} == {name: one["value"] for name, one in own.items()}
    assert f"left out: {len(known)} that it was" in again["protocol"]


def test_what_training_has_used_cannot_be_changed_when_a_model_is_judged_again(simulated: Trained) -> None:
    predictor = MedicalPredictor.load(simulated.folder / "artifact")
    other = {"seed": 1, "split": simulated.config.split.model_copy(update={"test": 0.3})}
    with pytest.raises(UserError, match="seed, split would change nothing"):
        pipeline.evaluate(predictor, simulated.config.model_copy(update=other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "RESAMPLES", 40)
        again = pipeline.evaluate(predictor, simulated.config)
    assert again["model"] == simulated.metrics["model"]
    assert {"referred", "refused", "wrong_where_decided", "operating", "masks"} <= set(again["trust"])
    assert again["trust"] == {name: simulated.metrics["trust"][name] for name in again["trust"]}
    assert (again["decisions"], again["notice"]) == (simulated.metrics["decisions"], NOTICE)


def decoded(path: Path) -> bytes:
    """What a file says, and what lies in it packed, escaped or as base64."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pydict()).encode()
    content = path.read_bytes()
    packed = re.findall(rb"base64,([A-Za-z0-9+/]+=*)", content)
    return b"\n".join([content, html.unescape(content.decode("latin-1")).encode("latin-1", "replace"), *map(b64decode, packed)])


@pytest.mark.parametrize("layout", ["folders", "manifest"])
def test_no_file_of_a_run_tells_who_the_patients_are(tmp_path: Path, layout: str) -> None:
    """Names in headers, of folders, in a table and burnt into pixels; the report shows the images with the text covered."""
    source, named, table = tmp_path / "data", set(), ["path,label,patient"]
    for kind, label in enumerate(("healthy", "lesion")):
        for number in range(9):
            pixels = 4 * body(number, kind, 128, 96).astype(np.uint16)
            written = np.zeros((20, 96), np.uint8)
            cv2.putText(written, "DOE JOHN", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1)
            pixels[:20] = 4.0 * written
            file = f"{scans.NAME.lower()[:3]}{kind}{number}.dcm"
            of, person = scans.uids(), f"Jane Roe{kind}{number}"
            more = {"PatientID": f"SECRET{kind}{number}", "PatientName": f"DOE^JOHN{number}"}
            scans.dicom(source / label / person / file, pixels, 0, 1, of, **more)
            table.append(f"{label}/{person}/{file},{label},{person}")
            named |= {word.encode() for word in (person, *more.values(), *of)}
    (source / "healthy" / "Jane Roe00" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 40)
    table.append("healthy/Jane Roe00/broken.dcm,healthy,Jane Roe00")
    visit = "healthy/visit/Ann Coe"  # neither its class's name nor its patient's
    pixels = 4 * body(99, 0, 128, 96).astype(np.uint16)
    pixels[:20] = 0
    scans.dicom(source / visit / "x.dcm", pixels, 0, 1, scans.uids())
    (source / visit / "y_mask.png").write_bytes(b"a mask without an image")
    (source / visit / "notes").write_bytes(b"no image")
    table += [f"{visit}/x.dcm,healthy,7", f"{visit}/x.dcm,healthy,7", f"{visit}/x.dcm,healthy,7,too,many"]
    table.append("healthy/Jane Roe00/absent.dcm,healthy,Jane Roe00")
    if layout == "manifest":
        (source / "cases.csv").write_text("\n".join(table))
    trained = train(tmp_path / "run", f"data.source={source}", "model.size=64")
    events = (trained.folder / "events.jsonl").read_text("utf-8")
    assert "broken.dcm" in events
    told = ("that is not there (row 23)", "listed again (row 21)") if layout == "manifest" else ("y_mask.png", "/notes")
    assert all(one in events for one in told), events
    assert rows(trained)["case"].str.endswith(".dcm").all()
    for path in (path for path in trained.folder.rglob("*") if path.is_file()):
        content = decoded(path)
        for word in (*named, b"DOE JOHN", scans.BORN.encode(), b"St. Elsewhere"):
            assert word not in content, (path, word)
        assert not re.search(rb"jane.{0,3}roe|ann.{0,3}coe", content, re.IGNORECASE), path
    cases, _ = trained.fits[0]
    shown = np.stack([case.picture().pixels for part in (cases.train, cases.validation, cases.test) for case in part.cases])
    assert shown[:, :16].max() < 0.08  # where the name stood it is black
    assert shown[:, 32:64].max() > 0.4
    report = (trained.folder / "report.html").read_text("utf-8")
    assert "not a medical device" in report.lower()
    assert not [case.name for case in cases.test.cases if case.name in report]


def test_data_that_does_not_fit_is_one_message(tmp_path: Path) -> None:
    for name in ("empty", "flat"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "flat" / "a.png"), np.zeros((40, 40), np.uint8))
    for source in ("empty", "flat", "absent"):
        config = resolve(MedicalConfig, [], [*TINY, f"data.source={tmp_path / source}"])
        with pytest.raises(UserError) as caught:
            pipeline.train(config, Run.create("medical_imaging", config, tmp_path / f"run-{source}"))
        assert source in str(caught.value)


def test_what_is_measured_says_that_this_is_no_medical_device(simulated: Trained) -> None:
    assert simulated.metrics["notice"] == NOTICE
    assert json.loads((simulated.folder / "artifact" / "metadata.json").read_text("utf-8"))["notice"] == NOTICE
    assert pq.read_schema(simulated.folder / "predictions.parquet").metadata[b"notice"] == NOTICE.encode()


def test_predictions_have_a_row_for_each_judged_image(simulated: Trained) -> None:
    judged = rows(simulated)
    images = simulated.metrics["data"]["images"]
    assert len(judged) == images["test"]
    assert set(images) == set(PARTS)
    np.testing.assert_allclose(judged["p_lesion"] + judged["p_no lesion"], 1, atol=1e-6)
    assert (judged["finding"] == np.where(judged["p_lesion"] >= simulated.finder.threshold, "lesion", "no lesion")).all()
