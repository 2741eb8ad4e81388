"""Predictions for files, folders, series and volumes, as they lie in the result's folder.

The finder is a stand-in without a network: nothing here judges what is found, only what becomes of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import highdicom
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from shared.errors import UserError
from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.scans import BrightFinder
from usecases.medical_imaging import overlay, reading, writing
from usecases.medical_imaging.answers import MedicalOptions
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import NOTICE, Found

KINDS: dict[str, Callable[..., Any]] = {"v.nii.gz": scans.volume, "v.dcm": scans.enhanced, "v": scans.series}
HEADER = (b"DOE", b"JOHN", b"SECRET77", scans.BORN.encode(), b"Elsewhere")


def test_a_hospitals_folder_becomes_tables_images_and_a_page_that_tell_no_names(tmp_path: Path) -> None:
    source, out = tmp_path / "scans", tmp_path / "out"
    scans.series(source / "ct")
    scans.volume(source / "brain.nii.gz")
    scans.png(source / "x" / "a.png", 9)
    scans.png(source / "y" / "a.png", 0)
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (source / "notes.txt").write_text("not an image")
    done: list[int] = []
    summary = writing.process(source, out, BrightFinder(), "salt", MedicalOptions(), done.append)
    assert (summary["cases"], summary["pictures"], summary["files not readable"], sum(done)) == (4, 11, 1, 11)
    assert summary["cases: lesion"] == 3
    rows, parquet = pd.read_csv(out / "findings.csv"), pd.read_parquet(out / "findings.parquet")
    assert rows["name"].tolist() == parquet["name"].tolist()
    assert (rows["p_lesion"] - parquet["p_lesion"]).abs().max() == 0
    assert set(rows["notice"]) == {NOTICE}
    assert set(rows["case"]) == set(scans.cases(out).index)
    for name in [*rows["overlay"].dropna(), *rows["mask"].dropna()]:
        assert (out / name).is_file()
    drawn = sorted(path.name for path in (out / "overlays").iterdir())  # of volumes, what has a finding or is referred
    assert drawn == ["brain__0002.png", "brain__0003.png", "ct__0003.png", "ct__0004.png", "x__a.png", "y__a.png"]
    assert pd.read_csv(out / "unreadable.csv").to_dict("records") == [
        {"name": "broken.png", "case": "broken.png", "reason": "the file is cut short", "notice": NOTICE}
    ]
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert page.count(NOTICE) == 2
    assert page.index("brain.nii.gz") < page.index("x/a.png")  # referred first
    assert json.loads((out / "summary.json").read_text())["notice"] == NOTICE
    for file in out.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [word for word in HEADER if word in content], file
        assert not file.name.startswith(".")


def test_every_file_says_that_this_is_no_medical_device(tmp_path: Path) -> None:
    source, out = tmp_path / "scans", tmp_path / "out"
    scans.series(source / "ct")
    scans.volume(source / "brain.nii.gz")
    scans.png(source / "a.png", 9)
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    scans.process(source, out)
    told = {
        ".csv": lambda path: path.read_text("utf-8").splitlines()[1],
        ".json": lambda path: path.read_text("utf-8"),
        ".html": lambda path: path.read_text("utf-8"),
        ".parquet": lambda path: str(pd.read_parquet(path)["notice"].tolist()),
        ".png": lambda path: Image.open(path).info["Comment"],
        ".gz": lambda path: nibabel.load(path).header["descrip"].item().decode() + ".",
        ".dcm": lambda path: pydicom.dcmread(path).SegmentSequence[0].SegmentDescription,
    }
    files = {path for path in out.rglob("*") if path.is_file() and path.parent.name != "overlays"}  # on these it is drawn
    assert {path.suffix for path in files} == set(told)
    for path in files:
        assert NOTICE in told[path.suffix](path), path


def test_a_segmentation_lies_on_the_images_that_it_was_made_of(tmp_path: Path) -> None:
    instances = scans.series(tmp_path / "ct")
    scans.process(tmp_path / "ct", tmp_path / "out")
    read = highdicom.seg.segread(tmp_path / "out" / "masks" / "ct.dcm")
    masks = read.get_pixels_by_source_instance(instances, assert_missing_frames_are_empty=True)[..., 0]
    np.testing.assert_array_equal(masks, [scans.plane(side) > 900 for side in (0, 0, 8, 10, 0)])
    plain = pydicom.dcmread(tmp_path / "out" / "masks" / "ct.dcm")
    assert plain.NumberOfFrames == 2
    measures = plain.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == list(scans.SPACING)
    places = {float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in plain.PerFrameFunctionalGroupsSequence}
    assert places == {5.0, 7.5}
    (segment,) = plain.SegmentSequence
    assert (segment.SegmentLabel, segment.SegmentDescription) == ("lesion", NOTICE)
    assert segment.SegmentAlgorithmName == "usecases medical_imaging"
    assert plain.PatientID == pd.read_csv(tmp_path / "out" / "findings.csv")["patient"][0]


def test_identities_are_kept_in_segmentations_alone_and_only_when_asked(tmp_path: Path) -> None:
    scans.series(tmp_path / "ct")
    scans.process(tmp_path / "ct", tmp_path / "out", identities="keep")
    kept = pydicom.dcmread(tmp_path / "out" / "masks" / "ct.dcm")
    assert (str(kept.PatientName), kept.PatientID, kept.PatientBirthDate) == (scans.NAME, "SECRET77", scans.BORN)
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file() and file.suffix != ".dcm":
            assert not [word for word in HEADER if word in file.read_bytes()], file


def test_a_series_is_one_case_with_its_volume_and_lesions(tmp_path: Path) -> None:
    scans.series(tmp_path / "ct", (0, 0, 8, 10, 0, 0, 9))  # one lesion over two slices, and another
    scans.process(tmp_path / "ct", tmp_path / "out")
    case = scans.cases(tmp_path / "out").loc["ct"]
    assert (case["pictures"], case["lesions"], case["with_finding"]) == (7, 2, 3)
    pixel = scans.SPACING[0] * scans.SPACING[1]
    assert case["volume_ml"] == pytest.approx((64 + 100 + 81) * pixel * scans.STEP / 1000, abs=0.001)
    assert case["diameter_mm"] == pytest.approx(np.hypot(7, 8), abs=0.01)


def test_it_is_told_from_what_probability_on_the_finding_is_said(tmp_path: Path) -> None:
    scans.png(tmp_path / "a.png", 4)
    finder = BrightFinder()
    finder.threshold = 0.16234
    for name, one, point in (("two", finder, 0.1623), ("three", Sizer(), None)):
        scans.process(tmp_path / "a.png", tmp_path / name, one)
        assert json.loads((tmp_path / name / "summary.json").read_text())["operating point"] == point
        page = unescape((tmp_path / name / "summary.html").read_text(encoding="utf-8"))
        assert page.count("'lesion' is said from a probability of 16% on.") == (name == "two")
        assert page.count("is said from") == (name == "two")


def test_a_case_notes_how_much_of_it_was_covered_because_of_text(tmp_path: Path) -> None:
    plain = scans.plane(8, 256, 256) // 4
    text = plain.astype(np.uint8)
    cv2.putText(text, "SMITH JOHN", (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    (tmp_path / "in").mkdir()
    for name, image in (("plain", plain), ("text", text)):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), image.astype(np.uint8))
    of = scans.uids()
    for number, image in enumerate((plain, text, plain), 1):
        scans.dicom(tmp_path / "in" / "ct" / f"{number}.dcm", image.astype(np.uint16) * 4, number, number, of)
    scans.process(tmp_path / "in", tmp_path / "out")
    share = float(next(reading.read(tmp_path / "in" / "text.png", "")).about["covered"])
    assert share > 0.01
    notes = scans.cases(tmp_path / "out")["notes"].fillna("")
    assert notes["text.png"] == f"text covered: {share:.0%} of the image"
    assert f"text covered in 1 of its pictures, at most {share:.0%} of the image" in notes["ct"]
    assert "text covered" not in notes["plain.png"]
    assert notes["text.png"] in (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")


class Sizer(BrightFinder):
    """Tells large from small."""

    classes = ("normal", "small", "large")

    def _one(self, picture: Picture) -> Found:
        found = super()._one(picture)
        label = int(np.digitize(found.probabilities[1], (0.5, 0.9)))
        return replace(found, label=label, probabilities=np.eye(3)[label])


def test_the_page_counts_the_findings_of_a_series_in_plain_words(tmp_path: Path) -> None:
    scans.series(tmp_path / "ct", (0, 0, 8, 10, 0, 0, 9))
    scans.series(tmp_path / "well", (0, 0))
    told = {}
    for name, finder in (("two", BrightFinder()), ("three", Sizer())):
        scans.process(tmp_path, tmp_path / name, finder)
        told[name] = unescape((tmp_path / name / "summary.html").read_text(encoding="utf-8"))
    assert "7 pictures, 3 with the finding 'lesion'" in told["two"]
    assert "2 pictures, none with the finding 'lesion'" in told["two"]
    assert "7 pictures: 4 'normal', 2 'small', 1 'large'" in told["three"]
    assert "2 pictures: 2 'normal'" in told["three"]


class Names(BrightFinder):
    """The stand-in with other classes: the decision is the one that it is told to give, whatever is marked."""

    def __init__(self, classes: tuple[str, ...], label: int) -> None:
        super().__init__()
        self.classes, self.label = classes, label

    def _one(self, picture: Picture) -> Found:
        probabilities = np.full(len(self.classes), 0.1)
        probabilities[self.label] = 1.1 - 0.1 * len(self.classes)
        return replace(super()._one(picture), label=self.label, probabilities=probabilities, reasons=())


@pytest.mark.parametrize(
    ("classes", "label", "marked", "found"),
    [
        (("normal", "lesion"), 0, "lesion", 0),  # the class does not see what the mask marks
        (("benign", "malignant"), 0, "benign", 0),
        (("normal", "glioma", "meningioma"), 1, "glioma", 3),
        (("normal", "glioma", "meningioma"), 0, "finding", 0),
        (("basophil", "eosinophil", "monocyte"), 0, "basophil", 3),  # none of them is healthy
    ],
)
def test_a_segmentation_says_what_was_decided_and_a_first_class_counts_as_healthy_only_if_it_is(
    tmp_path: Path, classes: tuple[str, ...], label: int, marked: str, found: int
) -> None:
    scans.series(tmp_path / "ct", (8, 9, 10))
    scans.process(tmp_path / "ct", tmp_path / "out", Names(classes, label))
    (segment,) = pydicom.dcmread(tmp_path / "out" / "masks" / "ct.dcm").SegmentSequence
    assert segment.SegmentLabel == marked
    case = scans.cases(tmp_path / "out").loc["ct"]
    assert (case["finding"], case["with_finding"], case["overlays"]) == (classes[label], found, found)
    if found:
        red = cv2.imread(str(tmp_path / "out" / "overlays" / "ct__0001.png"))[..., ::-1]
        assert (red == overlay.RED).all(2).any()


@pytest.mark.parametrize(
    ("lesions", "refer", "referred"),
    [
        ((6, 10), False, 1),  # of 30 slices a doubtful one beside a clear one
        ((6, 6, 6, 10), True, 3),
        ((6,), True, 1),  # the likeliest is doubtful itself
    ],
)
def test_a_volume_is_referred_for_its_likeliest_slice_or_many_and_says_whose_probability_it_gives(
    tmp_path: Path, lesions: tuple[int, ...], refer: bool, referred: int
) -> None:
    scans.enhanced(tmp_path / "v.dcm", (*lesions, *[0] * (30 - len(lesions))))
    scans.process(tmp_path / "v.dcm", tmp_path / "out")
    case = scans.cases(tmp_path / "out").loc["v.dcm"]
    assert (case["refer"], case["referred"]) == (refer, referred)
    assert isinstance(case["reasons"], str) == refer
    assert ("pictures are referred, not the likeliest" in case["notes"]) != refer
    told = "finding and probability are those of the likeliest of 30 pictures"
    assert told in case["notes"]
    assert told in (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    rows = pd.read_csv(tmp_path / "out" / "findings.csv")
    assert case["picture"] == f"v.dcm#{rows['frame'][rows['p_lesion'].argmax()]}"
    assert case["probability"] == rows["probability"][rows["p_lesion"].argmax()]


def test_a_file_with_all_slices_is_segmented_frame_by_frame(tmp_path: Path) -> None:
    scans.enhanced(tmp_path / "ct.dcm", (0, 8, 10, 0, 9))
    scans.process(tmp_path / "ct.dcm", tmp_path / "out")
    case = scans.cases(tmp_path / "out").loc["ct.dcm"]
    assert (case["pictures"], case["lesions"]) == (5, 2)
    pixel = scans.SPACING[0] * scans.SPACING[1]
    assert case["volume_ml"] == pytest.approx((64 + 100 + 81) * pixel * scans.STEP / 1000, abs=0.001)
    uid = pydicom.dcmread(tmp_path / "ct.dcm").SOPInstanceUID
    read = highdicom.seg.segread(tmp_path / "out" / "masks" / "ct.dcm")
    masks = read.get_pixels_by_source_frame(uid, [1, 2, 3, 4, 5], assert_missing_frames_are_empty=True)[..., 0]
    np.testing.assert_array_equal(masks, [scans.plane(side) > 900 for side in (0, 8, 10, 0, 9)])


def test_a_slice_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    instances = scans.series(tmp_path / "ct")
    bad = tmp_path / "ct" / "c.dcm"  # the third
    bad.write_bytes(bad.read_bytes()[:-2000])
    scans.process(tmp_path / "ct", tmp_path / "out")
    case = scans.cases(tmp_path / "out").loc["ct"]
    assert (case["pictures"], case["unreadable"], case["lesions"]) == (4, 1, 1)
    assert "could not be read" in case["notes"]
    read = highdicom.seg.segread(tmp_path / "out" / "masks" / "ct.dcm")
    mask = read.get_pixels_by_source_instance([instances[3]])[0, ..., 0]
    np.testing.assert_array_equal(mask, scans.plane(10) > 900)


def test_the_mask_of_a_nifti_volume_lies_on_it(tmp_path: Path) -> None:
    voxels = scans.volume(tmp_path / "v.nii.gz")
    scans.process(tmp_path / "v.nii.gz", tmp_path / "out")
    mask, image = nibabel.load(tmp_path / "out" / "masks" / "v.nii.gz"), nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), voxels > 900)
    np.testing.assert_allclose(mask.affine, image.affine)
    case = scans.cases(tmp_path / "out").loc["v.nii.gz"]
    assert case["volume_ml"] == pytest.approx((36 + 81) * 6 / 1000, abs=0.001)


def test_images_without_a_place_in_the_patient_get_png_masks_and_the_reason_is_told(tmp_path: Path) -> None:
    of = scans.uids()
    for number in (1, 2):
        scans.dicom(tmp_path / "in" / f"{number}.dcm", scans.plane(9), 0, number, of, ImagePositionPatient=None)
    scans.process(tmp_path / "in", tmp_path / "out")
    case = scans.cases(tmp_path / "out").loc["in"]
    assert "written as images" in case["notes"]
    assert np.isnan(case["lesions"])  # the same one may be on both
    first = cv2.imread(str(tmp_path / "out" / "masks" / "in__0001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(first, (scans.plane(9) > 900) * 255)


def test_overlays_of_a_volume_are_of_the_likeliest_slices_and_it_says_how_many_there_are(tmp_path: Path) -> None:
    scans.volume(tmp_path / "v.nii", (0, 8, 9, 7, 0, 10))
    scans.process(tmp_path / "v.nii", tmp_path / "out", slices=2)
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["v__0003.png", "v__0006.png"]
    assert "2 of 4" in scans.cases(tmp_path / "out").loc["v.nii"]["notes"]
    assert cv2.imread(str(tmp_path / "out" / "overlays" / "v__0006.png")) is not None


def test_overlays_and_masks_are_left_out_when_not_wanted_and_numbers_stay(tmp_path: Path) -> None:
    scans.volume(tmp_path / "v.nii")
    scans.process(tmp_path / "v.nii", tmp_path / "out", overlays=False, masks=False)
    assert not (tmp_path / "out" / "overlays").exists()
    assert not (tmp_path / "out" / "masks").exists()
    assert scans.cases(tmp_path / "out").loc["v.nii"]["lesions"] == 1
    scans.process(tmp_path / "v.nii", tmp_path / "other", BrightFinder(masks=False))
    assert not (tmp_path / "other" / "masks").exists()
    assert np.isnan(scans.cases(tmp_path / "other").loc["v.nii"]["lesions"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_done_is_kept_when_it_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(writing, "BATCH", 1)
    scans.png(tmp_path / "in" / "a.png", 9)
    scans.volume(tmp_path / "in" / "v.nii")
    finder = BrightFinder(fail_at=4, error=error)  # in the middle of the volume
    if error is KeyboardInterrupt:
        assert scans.process(tmp_path / "in", tmp_path / "out", finder)["interrupted"] is True
    else:
        with pytest.raises(RuntimeError):
            scans.process(tmp_path / "in", tmp_path / "out", finder)
    assert pd.read_csv(tmp_path / "out" / "findings.csv")["name"].tolist() == ["a.png", "v.nii", "v.nii"]
    assert len(pd.read_parquet(tmp_path / "out" / "findings.parquet")) == 3
    assert scans.cases(tmp_path / "out").index.tolist() == ["a.png"]
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["incomplete"] == "v.nii"
    assert ("interrupted" if error is KeyboardInterrupt else "broke off") in told["ended"]
    assert "v.nii was not finished" in (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")


def test_a_folder_with_something_in_it_is_refused_untouched(tmp_path: Path) -> None:
    scans.png(tmp_path / "a.png", 9)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        scans.process(tmp_path / "a.png", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="The result is a folder"):
        scans.process(tmp_path / "a.png", tmp_path / "findings.csv")
    assert not (tmp_path / "findings.csv").exists()
    (tmp_path / "empty").mkdir()
    assert scans.process(tmp_path / "a.png", tmp_path / "empty")["pictures"] == 1


def test_where_nothing_can_be_read_the_reasons_are_told_and_nothing_is_left(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"none of the 2 files.*\n.*2 of them: the file is cut short"):
        scans.process(tmp_path, tmp_path.parent / f"{tmp_path.name}.out")
    with pytest.raises(UserError, match=r"a\.png cannot be used: the file is cut short"):
        scans.process(tmp_path / "a.png", tmp_path.parent / f"{tmp_path.name}.out")
    assert not (tmp_path.parent / f"{tmp_path.name}.out").exists()
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no files that may be images"):
        scans.process(tmp_path / "none", tmp_path / "out")


def test_batches_are_small_where_pictures_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    study = writing.Study("a", "a", "image", (Path("a"),), ("a",))
    picture = writing.Picture("a", np.zeros((10, 10), np.float32))
    stream = [writing.Item(study, 0, frame, picture) for frame in range(40)]
    assert [len(batch) for batch in writing.batches(stream)] == [16, 16, 8]
    monkeypatch.setattr(writing, "VALUES", 300)
    assert [len(batch) for batch in writing.batches(stream)] == [3] * 13 + [1]
