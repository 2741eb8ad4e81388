"""What folders, tables and arrays say of their images. Every file here is written by the test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.data import tables
from shared.errors import Collector, DataError, UserError
from usecases.medical_imaging import data, layouts, manifest, prepare
from usecases.medical_imaging.anonymous import pseudonym, salt
from usecases.medical_imaging.config import Data, MedicalConfig
from usecases.medical_imaging.items import MASKED, Item, Source, ordered, source_of


def image(path: Path, value: int = 100, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))
    return path


def found(source: Path, **knobs: object) -> Source:
    return layouts.inspect(source, Data.model_validate(knobs))


def labels(source: Source) -> dict[str, str | None]:
    return {case.name: None if case.label is None else source.classes[case.label] for case in source.cases}


def said(source: Source, severity: str = "error") -> list[str]:
    return [finding.what for finding in source.findings if finding.severity == severity]


def archive(path: Path, shape: tuple[int, ...] = (28, 28), labelled: int = 1, counts: Iterable[int] = (6, 3, 3)) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count)[:, None] % 2).repeat(labelled, 1).astype(np.uint8)
    np.savez_compressed(path, **arrays)
    return path


def test_folders_are_classes_and_healthy_ones_come_first(tmp_path: Path) -> None:
    for name in ("yes/2.png", "yes/10.jpg", "no/a b.png"):
        image(tmp_path / name)
    (tmp_path / "LICENSE").write_text("a text")
    source = found(tmp_path)
    assert source.classes == ("no", "yes")
    assert labels(source) == {"no/a b.png": "no", "yes/2.png": "yes", "yes/10.jpg": "yes"}
    assert [case.patient for case in source.cases] == ["", "", ""]
    assert not said(source)
    assert found(tmp_path, classes=["yes", "no"]).cases[0].label == 1


def test_class_order_knows_names_of_health_and_numbers() -> None:
    assert ordered({"malignant", "Normal", "benign"}) == ("Normal", "benign", "malignant")
    assert ordered({"Tumor", "No_Tumor"}) == ("No_Tumor", "Tumor")
    assert ordered({"grade 10", "grade 9"}) == ("grade 9", "grade 10")


def test_folders_in_a_class_are_patients_who_are_not_named(tmp_path: Path) -> None:
    image(tmp_path / "data/ill/Jane Doe/1.png")
    image(tmp_path / "data/healthy/p2/1.png")
    source = found(tmp_path)
    assert source.classes == ("healthy", "ill")
    assert source.cases[1].patient == pseudonym("Jane Doe", salt())
    assert source.cases[1].name.endswith(f"/ill/{pseudonym('Jane Doe', salt())}/1.png")
    image(tmp_path / "data/ill/visit/Jane Roe/Jane roe 2.png")
    image(tmp_path / "data/ill/visit/Jane Roe/3_mask.png")
    (tmp_path / "data/ill/visit/Jane Roe/Jane Roe").write_text("no image")
    source = found(tmp_path, patient_pattern="(Jane Roe|Jane Doe)")
    assert len(source.findings) == 4
    assert "a path that data.patient_pattern does not match" in said(source, "warning")
    assert "jane" not in repr((source.findings, [case.name for case in source.cases])).lower()


def test_what_may_be_a_class_or_a_table_of_images_and_was_not_taken_as_such_is_said(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        image(tmp_path / "ill" / patient / "1.png")
    (tmp_path / "cases.csv").write_text("path,what\n1.png,a\n")
    source = found(tmp_path)
    assert source.classes == ("p1", "p2")
    assert said(source, "info") == ["a table that was not used", "one folder around all images"]


@pytest.mark.parametrize("around", ["", "data/", "train/"])
def test_a_folder_of_a_class_without_images_is_named(tmp_path: Path, around: str) -> None:
    for name in ("healthy/1.png", "ill/p1/images/2.png", "ill/p1/masks/2.png", "masks/1.png"):
        image(tmp_path / around / name)
    assert not said(found(tmp_path), "warning")
    for name in ("worse/p3", "ill/p2", ".hidden"):
        (tmp_path / around / name).mkdir(parents=True)
    told = [finding for finding in found(tmp_path).findings if finding.severity == "warning"]
    assert [(one.what, list(one.examples)) for one in told] == [
        ("a folder without images beside those of the classes", ["worse"])
    ]


def test_a_pattern_finds_patients_in_file_names(tmp_path: Path) -> None:
    image(tmp_path / "a/IM-0001-patient12_3.png")
    image(tmp_path / "b/other.png")
    assert not any(case.patient for case in found(tmp_path).cases)
    source = found(tmp_path, patient_pattern=r"patient(\d+)")
    assert source.cases[0].patient == pseudonym("12", salt())
    assert said(source, "warning") == ["a path that data.patient_pattern does not match"]


def test_a_pattern_that_is_none_is_named_whatever_the_layout(tmp_path: Path) -> None:
    image(tmp_path / "a/1.png")
    listed = table(tmp_path, "path,label,patient\na/1.png,a,Doe\n")
    for source in (tmp_path / "a", listed, archive(tmp_path / "x.npz")):
        for pattern, fault in (("(", "it is no regular expression: missing )"), ("p.", "it has no group for the patient")):
            with pytest.raises(DataError) as raised:
                found(source, patient_pattern=pattern)
            (finding,) = raised.value.findings
            assert finding.where == "data.patient_pattern"
            assert finding.what.startswith(fault)
            assert finding in data.check(
                MedicalConfig.model_validate({"data": {"source": str(source), "patient_pattern": pattern}})
            )


def test_a_pattern_that_is_not_for_a_layout_is_said_to_be_unused(tmp_path: Path) -> None:
    image(tmp_path / "a/1.png")
    listed = table(tmp_path, "path,label,patient\na/1.png,a,Doe\n")
    for source in (listed, archive(tmp_path / "x.npz")):
        assert "data.patient_pattern is for folders, and was not used" in said(found(source, patient_pattern="(.)"), "info")
        assert not [what for what in said(found(source), "info") if "patient_pattern" in what]


def test_a_part_that_is_none_is_named_unless_it_may_be_a_patients(tmp_path: Path) -> None:
    for name in "abcdefgh":
        image(tmp_path / f"{name}.png")

    def told(*parts: str) -> list[str]:
        rows = "".join(f"{name}.png,x,{part}\n" for name, part in zip("abcdefgh", ("train", *parts), strict=False))
        return said(found(table(tmp_path, f"path,label,split\n{rows}")), "warning")

    assert told("holdout", "id123", "Doe-Jane", "averyverylongname") == [
        "a part that is none: 'holdout'",
        "a part that is none",
    ]
    assert told("Doe", "Roe", "Poe", "Moe", "Coe", "Boe") == ["a part that is none"]


def test_an_official_split_is_kept(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        image(tmp_path / "chest_xray" / part / "NORMAL" / "1.jpeg")
        image(tmp_path / "chest_xray" / part / "PNEUMONIA" / "2.jpeg")
    source = found(tmp_path)
    assert source.classes == ("NORMAL", "PNEUMONIA")
    assert sorted(source.parts) == sorted(["train", "validation", "test"] * 2)


def busi(root: Path) -> None:
    for name in ("benign/benign (1)", "malignant/malignant (1)", "normal/normal (1)"):
        image(root / f"{name}.png")
        mask = np.zeros((20, 30), np.uint8)
        mask[2:4, 5:9] = 0 if "normal" in name else 255
        cv2.imwrite(str(root / f"{name}_mask.png"), mask)
    other = np.zeros((20, 30), np.uint8)
    other[10, 10] = 1
    cv2.imwrite(str(root / "benign/benign (1)_mask_1.png"), other)


def test_busis_masks_belong_to_their_images_and_several_are_united(tmp_path: Path) -> None:
    busi(tmp_path)
    source = found(tmp_path)
    assert source.classes == ("normal", "benign", "malignant")
    assert len(source.cases) == 3
    marked = {case.name: int(case.mask().sum()) for case in source.cases if case.mask}
    assert marked == {"benign/benign (1).png": 9, "malignant/malignant (1).png": 8, "normal/normal (1).png": 0}


@pytest.mark.parametrize("place", ["masks/ill/1.png", "ill/masks/1.png", "masks/1.png"])
def test_masks_lie_in_folders_beside(tmp_path: Path, place: str) -> None:
    image(tmp_path / ("ill/images/1.png" if place == "ill/masks/1.png" else "ill/1.png"))
    image(tmp_path / "healthy/2.png")
    image(tmp_path / place, 255)
    source = found(tmp_path)
    assert source.classes == ("healthy", "ill")
    assert [case.mask is not None for case in source.cases] == [False, True]


def test_a_mask_without_an_image_is_named(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "b/3_mask.png"):
        image(tmp_path / name)
    source = found(tmp_path)
    assert len(source.cases) == 2
    assert said(source, "warning") == ["a mask without an image"]


def test_volumes_give_slices_labelled_by_their_masks(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])  # the first axis points to the patient's left
    volume, mask = rng.random((12, 10, 4), np.float32), np.zeros((12, 10, 4), np.uint8)
    volume[3, 4, 2] = 50
    mask[3, 4, 2] = 1
    nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "x.nii.gz")
    nibabel.Nifti1Image(mask, affine).to_filename(tmp_path / "x_seg.nii.gz")
    source = found(tmp_path)
    assert [case.name for case in source.cases] == [f"x.nii.gz#{number}" for number in (1, 2, 3, 4)]
    assert len({case.patient for case in source.cases}) == 1
    seen = prepare.look_at(source.cases, 32, 1)
    assert [one.case.label for one in seen] == [0, 0, 1, 0]
    third = source.cases[2]
    assert third.mask is not None
    where = np.argwhere(third.mask())
    assert where.tolist() == [list(np.unravel_index(third.picture().pixels.argmax(), (10, 12)))]


def test_sequences_with_one_mask_are_of_one_patient(tmp_path: Path) -> None:
    """As nnU-Net lays them out."""
    for name in ("imagesTr/x_0000.png", "imagesTr/x_0001.png", "imagesTr/y_0000.png", "labelsTr/x.png", "labelsTr/y.png"):
        image(tmp_path / name)
    cases = found(tmp_path).cases
    assert [case.name for case in cases] == [f"imagesTr/{name}.png" for name in ("x_0000", "x_0001", "y_0000")]
    assert cases[0].patient == cases[1].patient != ""
    assert cases[2].patient == ""


def test_images_without_labels_are_for_prediction_only(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    assert said(found(tmp_path)) == ["no labels; these images can be predicted on, not learnt from"]
    assert found(tmp_path).findings[0].examples == ["1.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no images\. Looked for: .*DICOM.*There: nothing"):
        found(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("a text")
    with pytest.raises(UserError, match=r"has no images\..*There: notes\.txt"):
        found(tmp_path / "empty")
    with pytest.raises(UserError, match=r"notes\.txt is none of these: images \(DICOM"):
        found(tmp_path / "empty" / "notes.txt")


def test_nothing_but_masks_is_said(tmp_path: Path) -> None:
    image(tmp_path / "masks/1.png")
    source = found(tmp_path)
    assert [case.name for case in source.cases] == ["masks/1.png"]
    assert said(source, "warning") == ["nothing but masks, by the names of files or folders"]


def table(root: Path, text: str) -> Path:
    (root / "cases.csv").write_text(text)
    return root / "cases.csv"


def test_a_table_lists_images_and_what_is_known_of_them(tmp_path: Path) -> None:
    image(tmp_path / "scans/1.png")
    image(tmp_path / "scans/2.png")
    image(tmp_path / "m.png")
    rows = "image_id,dx,patient_id,mask,split,hospital\n1,mel,Doe,m.png,train,A\nscans/2.png,nevus,Roe,,test,B\n"
    file = table(tmp_path, rows)
    for place in (file, tmp_path):
        source = found(place)
        assert source.classes == ("mel", "nevus")
        assert [case.name for case in source.cases] == ["scans/1.png", "scans/2.png"]
        assert source.parts == ["train", "test"]
        assert [case.source for case in source.cases] == ["A", "B"]
        assert source.cases[0].patient == pseudonym("Doe", salt())
        assert [case.mask is not None for case in source.cases] == [True, False]


def test_of_tables_beside_images_only_the_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path, "image_id,dx\n1,mel\n")
    monkeypatch.setattr(tables, "read", None)
    assert manifest.lists_images(file, Data())
    file.write_text("image_id,price\n1,5\n")
    assert not manifest.lists_images(file, Data())


def test_a_table_may_name_its_columns_otherwise(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "2.png")
    file = table(tmp_path, "where;what\n1.png;0\n2.png;1\n")
    with pytest.raises(DataError, match=r"which column is the path.*where, what"):
        found(file)
    assert found(file, columns={"path": "where", "label": "what"}).classes == ("0", "1")
    with pytest.raises(DataError, match=r"which column is the label\. The file has the columns: where, what\."):
        found(file, columns={"path": "where"})
    masks = table(tmp_path, "where;what\n1.png;2.png\n")
    assert found(masks, columns={"path": "where", "mask": "what"}).classes == MASKED
    with pytest.raises(DataError, match="Did you mean 'path'"):
        found(masks, columns={"pathh": "where"})


def test_paths_that_are_missing_or_lead_out_are_named(tmp_path: Path) -> None:
    image(tmp_path / "set/1.png")
    image(tmp_path / "outside.png")
    inner = tmp_path / "set"
    source = found(table(inner, f"path,label\n1.png,a\n../outside.png,b\ngone.png,a\n{tmp_path / 'outside.png'},b\n1.png,a\n"))
    assert source.cases[0].name == "1.png"
    assert re.fullmatch(r"([0-9a-f]+/)+outside\.png", source.cases[1].name)
    assert said(source) == ["a path that leads out of the table's folder"]
    assert said(source, "warning") == ["an image that is not there", "an image that is listed again"]
    rows = {finding.what: list(finding.rows) for finding in source.findings}
    assert list(rows.values()) == [[2], [3], [5]]
    assert not re.search(r"outside|gone|1\.png", repr(source.findings))  # paths may name patients
    for text, fault in (("gone.png,a\n", "no row can be used"), ("", "the table has no rows")):
        with pytest.raises(DataError, match=fault):
            found(table(inner, f"path,label\n{text}"))


def test_files_of_one_name_outside_the_tables_folder_are_several_cases_of_several_patients(tmp_path: Path) -> None:
    rows = ["path,label"]
    for number in range(3):
        path = tmp_path / f"sub-0{number}" / "T1w.tif"
        path.parent.mkdir()
        cv2.imwritemulti(str(path), [np.full((20, 30), value, np.uint8) for value in (1, 2)])
        rows.append(f"{path},{number % 2}")
    (tmp_path / "tables").mkdir()
    cases = found(table(tmp_path / "tables", "\n".join(rows))).cases
    assert len({case.name for case in cases}) == len(cases) == 6
    assert len({case.patient for case in cases}) == 3
    assert all(one.patient == other.patient != "" for one, other in zip(cases[::2], cases[1::2], strict=True))
    assert "sub-" not in repr([(case.name, case.patient) for case in cases])
    alike = [Item(tmp_path / f"sub-0{number}" / "T1w.tif", "T1w.tif", "ab"[number]) for number in range(2)]
    assert len({case.patient for case in source_of(alike, (), "", Collector("")).cases}) == 2


def test_a_row_whose_mask_is_not_there_is_left_out(tmp_path: Path) -> None:
    for number in range(4):
        image(tmp_path / f"{number}.png", number)
    source = found(table(tmp_path, "path,label,mask\n0.png,a,3.png\n1.png,b,3.png;gone.png\n2.png,b,3.png\n"))
    assert [case.name for case in source.cases] == ["0.png", "2.png"]
    assert [(finding.what, list(finding.rows)) for finding in source.findings] == [("a mask that is not there", [2])]


def test_one_class_is_told_with_how_many_images_and_which(tmp_path: Path) -> None:
    for name in ("ill/1.png", "ill/2.png"):
        image(tmp_path / name)
    (told,) = [finding for finding in found(tmp_path, layout="folders").findings if finding.severity == "error"]
    assert (told.what, told.count, told.examples) == ("only one class, 'ill'", 2, ["ill/1.png", "ill/2.png"])


def test_labels_outside_the_classes_are_errors(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "c/3.png"):
        image(tmp_path / name)
    source = found(tmp_path, classes=["a", "b"])
    assert said(source) == ["a label that is none of the classes: 'c'"]
    assert len(source.cases) == 2


def test_medmnist_is_read_with_its_split_and_its_names(tmp_path: Path) -> None:
    file = archive(tmp_path / "breastmnist_64.npz", (64, 64))
    for place in (file, tmp_path):
        source = found(place)
        assert source.classes == ("normal, benign", "malignant")
        assert source.parts == ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
        assert [case.label for case in source.cases[:2]] == [1, 0]  # in the file 0 is malignant
    pixels = found(file).cases[7].picture().pixels
    assert np.array_equal(np.rint(pixels * 255), np.load(file)["val_images"][1])
    assert found(archive(tmp_path / "rgb.npz", (28, 28, 3))).cases[0].picture().pixels.shape == (28, 28, 3)


def test_medmnist_that_cannot_be_learnt_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="14 labels to each image"):
        found(archive(tmp_path / "chestmnist.npz", labelled=14))
    with pytest.raises(UserError, match="volumes"):
        found(archive(tmp_path / "organmnist3d.npz", (28, 28, 28)))
    good = archive(tmp_path / "x.npz")
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:-300])
    with pytest.raises(UserError, match="not a readable"):
        found(tmp_path / "cut.npz")
    np.savez(tmp_path / "objects.npz", train_images=np.array([{}], object))
    with pytest.raises(UserError, match="no array of numbers"):
        found(tmp_path / "objects.npz")
    monkeypatch.setattr("usecases.medical_imaging.medmnist.SHARE", 1e-9)
    with pytest.raises(UserError, match="free memory"):
        found(good)
