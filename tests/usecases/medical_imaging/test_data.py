"""From a source to prepared parts."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.config import Hardware
from shared.errors import DataError
from tests.usecases.medical_imaging.test_checks import pixels
from usecases.medical_imaging import data, prepare
from usecases.medical_imaging.cases import Case, Picture
from usecases.medical_imaging.config import MedicalConfig


def folder(root: Path, count: int = 40, height: int = 50) -> Path:
    for number in range(count):
        path = root / ("ill" if number % 2 else "healthy") / f"p{number // 2 % 12}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.rint(255 * pixels(number, 60)[:height]).astype(np.uint8))
    return root


def config(source: Path | str, **split: float) -> MedicalConfig:
    return MedicalConfig.model_validate({"data": {"source": str(source)}, "split": split})


def test_a_folder_becomes_parts_without_a_patient_in_two(tmp_path: Path) -> None:
    cases = data.load(config(folder(tmp_path)), 32, 2)
    parts = [cases.train, cases.validation, cases.test]
    assert cases.classes == ("healthy", "ill")
    assert sum(map(len, parts)) == 40
    people = [{case.patient for case in part.cases} for part in parts]
    assert all(people)
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    assert all(part.images.shape[1:] == (32, 32) and part.images.dtype == np.uint8 for part in parts)
    assert all((part.labels == [case.label for case in part.cases]).all() for part in parts)
    assert cases.about["images"] == {"train": len(parts[0]), "validation": len(parts[1]), "test": len(parts[2])}
    again = data.load(config(tmp_path), 32, 1)
    assert np.array_equal(again.test.images, cases.test.images)


def test_images_keep_their_aspect_and_are_padded_with_black(tmp_path: Path) -> None:
    cases = data.load(config(folder(tmp_path, height=30)), 32, 1)
    everywhere = cases.train.images.max(axis=0) > 0
    rows = np.flatnonzero(everywhere.any(axis=1))
    assert (rows[0], rows[-1]) == (8, 23)
    assert everywhere[8:24].all()


def test_one_image_in_colour_makes_all_of_them_three_channels(tmp_path: Path) -> None:
    folder(tmp_path)
    red = np.zeros((50, 60, 3), np.uint8)
    red[10:30, 10:30, 2] = 255
    cv2.imwrite(str(tmp_path / "ill/p0/red.png"), red)
    cases = data.load(config(tmp_path), 32, 1)
    everything = prepare.joined([cases.train, cases.validation, cases.test])
    assert everything.images.shape == (41, 32, 32, 3)
    place = [case.name.endswith("red.png") for case in everything.cases].index(True)
    assert everything.images[place].reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]
    assert (np.ptp(np.delete(everything.images, place, 0), axis=3) == 0).all()


def test_broken_images_are_left_out_with_a_finding(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "ill/p0/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    cases = data.load(config(tmp_path), 32, 1)
    assert sum(cases.about["images"].values()) == 40
    assert any("cannot be read" in finding.what for finding in cases.findings)


def test_masks_are_prepared_like_their_images_and_healthy_ones_need_none(tmp_path: Path) -> None:
    folder(tmp_path)
    for image in list(tmp_path.glob("ill/*/*.png")):
        mask = np.zeros((50, 60), np.uint8)
        mask[:, 30:] = 255
        cv2.imwrite(str(image.with_name(f"{image.stem}_mask.png")), mask)
    cases = data.load(config(tmp_path), 60, 1)
    assert cases.masks
    assert cases.train.masks is not None
    for mask, label in zip(cases.train.masks, cases.train.labels, strict=True):
        wanted = np.zeros((60, 60), np.uint8)
        wanted[5:55, 30:] = label
        assert np.array_equal(mask, wanted)


def test_the_area_of_an_outlined_lesion_is_known_where_the_size_of_a_pixel_is_and_its_share_elsewhere() -> None:
    outlined = np.zeros((40, 50), bool)
    outlined[5:9, 10:15] = True
    found = {}
    for spacing in ((0.5, 2.0), None):

        def picture(spacing: tuple[float, float] | None = spacing) -> Picture:
            return Picture("a", np.ones((40, 50), np.float32), spacing)

        found[spacing] = prepare.look(Case("a", picture, 1, lambda: outlined), 32).case.about
    assert found[0.5, 2.0]["lesion_mm2"] == 20
    assert found[None]["lesion_percent"] == 1
    assert not {"lesion_percent"} & set(found[0.5, 2.0]) | {"lesion_mm2"} & set(found[None])


def test_folds_judge_every_image_once(tmp_path: Path) -> None:
    made = list(data.folds(config(folder(tmp_path), folds=4), 32, 1))
    names = [case.name for cases in made for case in cases.test.cases]
    assert len(names) == len(set(names)) == 40
    for cases in made:
        assert not {c.patient for c in cases.test.cases} & {c.patient for c in (*cases.train.cases, *cases.validation.cases)}


def test_all_images_are_judged_unless_the_data_has_a_test_part(tmp_path: Path) -> None:
    assert len(data.all_of(config(folder(tmp_path / "a")), 32, 1).test) == 40
    for part in ("train", "test"):
        folder(tmp_path / "b" / part, 20)
    assert len(data.all_of(config(tmp_path / "b"), 32, 1).test) == 20


def test_check_never_raises_and_load_names_every_error(tmp_path: Path) -> None:
    assert data.check(config(tmp_path / "nothing"))[0].severity == "error"
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    assert [finding.severity for finding in data.check(config(tmp_path))] == ["error"]
    with pytest.raises(DataError, match="no labels"):
        data.load(config(tmp_path), 32, 1)
    assert data.check(config("simulated")) == []


def test_check_reads_with_the_threads_that_are_wanted_and_repeats_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    really = prepare.look_at

    def look_at(cases: list[Case], size: int, threads: int) -> list[prepare.Seen]:
        used.append(threads)
        return really(cases, size, 1)

    def picture() -> Picture:
        warnings.warn("the patient was born on 19610504", stacklevel=1)
        return Picture("a", np.ones((9, 9), np.float32))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prepare.look_at([Case("a", picture, 0)], 32, 2)
    assert not told
    monkeypatch.setattr(prepare, "look_at", look_at)
    data.check(config(folder(tmp_path, 2)).model_copy(update={"hardware": Hardware(threads=2)}))
    assert used == [2]


def test_simulated_people_are_others_in_each_part() -> None:
    knobs = {"data": {"simulation": {"patients": 10, "slices": 2}}}
    cases = data.load(MedicalConfig.model_validate(knobs), 32, 1)
    assert cases.about["simulated"]
    assert len(cases.train) == 20
    assert cases.masks
    images = np.concatenate([part.images.reshape(len(part), -1) for part in (cases.train, cases.validation, cases.test)])
    assert len(np.unique(images, axis=0)) == len(images)


def test_slices_of_a_file_are_read_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nibabel = pytest.importorskip("nibabel")
    from usecases.medical_imaging import items, layouts, reading

    nibabel.Nifti1Image(np.random.default_rng(0).random((8, 8, 50), np.float32), np.eye(4)).to_filename(tmp_path / "x.nii")
    opened = []
    read = reading.read
    monkeypatch.setattr(items.reading, "read", lambda path, salt: opened.append(path) or read(path, salt))
    source = layouts.inspect(tmp_path, MedicalConfig().data)
    seen = prepare.look_at(source.cases, 32, 1)
    assert len(seen) == 50
    assert not any(one.error for one in seen)
    assert len(opened) == 1


def test_a_case_that_fails_is_kept_with_its_reason() -> None:
    def picture() -> Picture:
        raise OSError("the file is empty")

    assert prepare.look(Case("x", picture), 32).error == "the file is empty"
