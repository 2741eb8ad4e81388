"""From a source to prepared parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.config import Hardware
from shared.errors import DataError, UserError
from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.test_checks import pixels
from usecases.medical_imaging import data, prepare
from usecases.medical_imaging.anonymous import pseudonym, salt
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


def marked(root: Path, part: Callable[[int], str]) -> Path:
    """A table of 60 images with a part for each."""
    lines = ["path,label,split"]
    for number in range(60):
        cv2.imwrite(str(root / f"{number}.png"), np.rint(255 * pixels(number, 60)).astype(np.uint8))
        lines.append(f"{number}.png,{('healthy', 'ill')[number % 2]},{part(number)}")
    (root / "list.csv").write_text("\n".join(lines))
    return root / "list.csv"


def test_where_no_image_is_marked_as_train_those_of_no_part_are_and_the_given_test_is_kept(tmp_path: Path) -> None:
    cases = data.load(config(marked(tmp_path, lambda number: "test" if number < 20 else "")), 32, 1)
    assert {case.name for case in cases.test.cases} == {f"{number}.png" for number in range(20)}
    assert len(cases.train) + len(cases.validation) == 40
    assert not [finding for finding in cases.findings if "of no part" in finding.what]


def test_a_split_without_anything_to_train_on_is_an_error(tmp_path: Path) -> None:
    source = marked(tmp_path, lambda number: "test" if number < 20 else "val")
    with pytest.raises(DataError, match="without any image to train on"):
        data.load(config(source), 32, 1)
    assert data.check(config(source))[0].severity == "error"


def test_images_of_no_part_beside_a_given_train_part_are_left_out_and_counted(tmp_path: Path) -> None:
    parts = ["test"] * 20 + ["train"] * 33 + [""] * 7
    cases = data.load(config(marked(tmp_path, lambda number: parts[number])), 32, 1)
    assert cases.about["left_out"] == 7
    (told,) = [finding for finding in cases.findings if "of no part" in finding.what]
    assert (told.severity, told.what[:2], told.count) == ("warning", "7 ", 7)
    assert told.examples == [f"{number}.png" for number in range(53, 58)]


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


def test_images_whose_masks_cannot_be_used_are_left_out_and_outlines_still_learnt(tmp_path: Path) -> None:
    folder(tmp_path)
    lines = ["path,label,mask"]
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        size = (51, 60) if number in (5, 9) else (50, 60)
        cv2.imwrite(str(tmp_path / f"m{number}.png"), np.full(size, 255, np.uint8))
        lines.append(f"{path.relative_to(tmp_path).as_posix()},{path.relative_to(tmp_path).parts[0]},m{number}.png")
    (tmp_path / "m3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    cases = data.load(config(tmp_path), 32, 1)
    assert sum(cases.about["images"].values()) == 37
    assert cases.masks
    told = {found.what.partition(":")[0]: (found.count, list(found.rows)) for found in cases.findings}
    assert told["a mask of another size than its image"] == (2, [6, 10])
    assert told["a mask that cannot be read"] == (1, [4])


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


def copied(source: Path, target: Path) -> Path:
    """The same pixels in files of another kind and name; classes and patients keep their folders."""
    for number, path in enumerate(sorted(source.rglob("*.png"))):
        place = target / path.relative_to(source).parent / f"copy-{number}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    return target


def digests(part: prepare.Prepared) -> list[str]:
    return sorted(case.digest for case in part.cases)


def test_what_a_model_knows_is_left_out_wherever_it_lies_and_so_are_other_images_of_its_patients(tmp_path: Path) -> None:
    cases = data.load(config(folder(tmp_path / "a")), 32, 1)
    moved = copied(tmp_path / "a", tmp_path / "b")
    found = data.all_of(config(moved), 32, 1, cases.known)
    assert digests(found.test) == digests(cases.test)
    assert len(set(digests(found.test)) | set(cases.known)) == 40
    assert found.about["known"] == 40 - len(found.test)
    trained = {case.patient for case in cases.train.cases}
    patient = next(name for name in (f"p{number}" for number in range(12)) if pseudonym(name, salt()) in trained)
    cv2.imwrite(str(moved / "ill" / patient / "new.png"), np.rint(255 * pixels(99, 60)).astype(np.uint8))
    again = data.all_of(config(moved), 32, 1, cases.known)
    assert digests(again.test) == digests(cases.test)
    assert again.about["known"] == found.about["known"] + 1
    everything = [digest for part in (cases.train, cases.validation, cases.test) for digest in digests(part)]
    with pytest.raises(UserError, match=r"Of the 41 labelled images .* chosen on 41, .*: none is left to judge it by"):
        data.all_of(config(moved), 32, 1, everything)


def test_black_images_are_not_known_from_others(tmp_path: Path) -> None:
    for root, first in (("a", 0), ("b", 40)):
        for number in range(20):
            for name, shown in (("1", pixels(first + number, 60)), ("2", np.zeros((60, 60)))):
                path = tmp_path / root / ("ill" if number % 2 else "healthy") / f"{root}{number}" / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.rint(255 * shown).astype(np.uint8))
    cases = data.load(config(tmp_path / "a"), 32, 1)
    assert len(data.all_of(config(tmp_path / "b"), 32, 1, cases.known).test) == 40


def test_of_a_medmnist_file_that_was_copied_the_test_part_is_judged(tmp_path: Path) -> None:
    arrays, start = {}, 0
    for part, count in (("train", 24), ("val", 12), ("test", 12)):
        shown = [np.rint(255 * pixels(start + number, 28)).astype(np.uint8) for number in range(count)]
        arrays |= {f"{part}_images": np.stack(shown), f"{part}_labels": np.arange(count)[:, None] % 2}
        start += count
    for name in ("a", "b"):
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    cases = data.load(config(tmp_path / "a.npz"), 32, 1)
    found = data.all_of(config(tmp_path / "b.npz"), 32, 1, cases.known)
    assert [len(found.test), found.about["known"], found.about["own_test"]] == [12, 36, True]
    assert digests(found.test) == digests(cases.test)
    rest = data.all_of(config(tmp_path / "b.npz"), 32, 1, digests(cases.test))  # it was trained on that part alone
    assert [len(rest.test), rest.about["known"], rest.about["own_test"]] == [36, 12, False]


def test_labels_of_a_medmnist_file_that_are_none_of_the_classes_are_counted(tmp_path: Path) -> None:
    parts = ("train", "val", "test")
    arrays = {f"{part}_images": np.zeros((3, 28, 28), np.uint8) for part in parts}
    np.savez(tmp_path / "a.npz", **arrays, **{f"{part}_labels": np.array([[0], [1], [2]]) for part in parts})
    (told,) = data.check(MedicalConfig.model_validate({"data": {"source": str(tmp_path / "a.npz"), "classes": ["0", "1"]}}))
    assert (told.what, told.count, told.examples) == ("labels that are none of the classes: 2", 3, ["2"])


def test_check_never_raises_and_load_names_every_error(tmp_path: Path) -> None:
    assert data.check(config(tmp_path / "nothing"))[0].severity == "error"
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    assert [finding.severity for finding in data.check(config(tmp_path))] == ["error", "warning", "info"]
    with pytest.raises(DataError, match="no labels"):
        data.load(config(tmp_path), 32, 1)
    assert data.check(config("simulated")) == []


def patients(root: Path) -> tuple[list[str], list[str]]:
    """Of each image of a folder, and what is warned of."""
    _, seen, unit, findings = data._looked_at(config(root), 32, 1)
    assert len(np.unique(unit)) == len({one.case.patient for one in seen})
    return [one.case.patient for one in seen], [finding.what for finding in findings if finding.severity == "warning"]


def test_headers_link_the_files_and_folders_of_a_patient(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def scan(name: str, patient: str) -> None:
        pixels = cv2.resize(random.integers(0, 1000, (8, 6), np.uint16), (48, 64), interpolation=cv2.INTER_CUBIC)
        scans.dicom(tmp_path / name, pixels, 0, 1, scans.uids(), PatientID=patient)

    for number, patient in enumerate("AABC"):
        scan(f"folders/{number % 2}/study{number}/1.dcm", patient)
    found, _ = patients(tmp_path / "folders")
    assert found[0] == found[2]
    assert len(set(found)) == 3
    for number in range(2):
        scans.enhanced(tmp_path / f"films/ill/{number}.dcm", [2 + 5 * number, 3 + 5 * number])
    scan("films/healthy/a.dcm", "B")
    other, *films = patients(tmp_path / "films")[0]
    assert len(films) == 4
    assert set(films) == {films[0]} != {other}
    for number in range(5):
        scan(f"placeholders/{number % 2}/study{number}/1.dcm", "some id")
    found, warned = patients(tmp_path / "placeholders")
    assert len(set(found)) == 5
    assert any("nearly all headers have the same" in one for one in warned)


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


def test_headers_that_promise_too_much_make_one_case_and_spoil_no_others(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    from usecases.medical_imaging import layouts

    folder(tmp_path)
    claimed = nibabel.Nifti1Header()
    claimed.set_data_shape((1, 1, 32767, 32767))
    claimed.set_sform(np.eye(4), 1)
    claimed["magic"], claimed["vox_offset"] = b"n+1", 352
    (tmp_path / "ill/p0/many.nii").write_bytes(claimed.binaryblock + bytes(4))
    scans.dicom(tmp_path / "ill/p0/many.dcm", scans.plane(0), 0, 1, scans.uids(), NumberOfFrames=90_000)
    cv2.imwritemulti(str(tmp_path / "ill/p0/pages.tif"), [np.full((20, 20), value, np.uint8) for value in (1, 2, 3)])
    cases = layouts.inspect(tmp_path, config(tmp_path).data).cases
    assert len(cases) == 40 + 1 + 1 + 3
    assert sum(data.load(config(tmp_path), 32, 1).about["images"].values()) == 43


def test_a_file_with_many_broken_images_does_not_refuse_the_others_and_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usecases.medical_imaging import items, reading

    opened = []

    def read(path: Path, salt: str) -> Iterator[Picture]:
        opened.append(path.name)
        if path.name != "film.tif":
            yield from original(path, salt)
            return
        yield Picture("film.tif#1", pixels(1000))
        raise OSError("it is cut short")

    original = reading.read
    folder(tmp_path)
    cv2.imwritemulti(str(tmp_path / "ill/p0/film.tif"), [np.full((20, 20), value, np.uint8) for value in range(100)])
    monkeypatch.setattr(items.reading, "read", read)
    cases = data.load(config(tmp_path), 32, 1)
    assert sum(cases.about["images"].values()) == 41
    assert opened.count("film.tif") == 1
    assert "it is cut short (99 times)" in "".join(map(str, cases.findings))


def test_a_case_that_fails_is_kept_with_its_reason() -> None:
    def picture() -> Picture:
        raise OSError("the file is empty")

    assert prepare.look(Case("x", picture), 32).error == "an image that cannot be read: the file is empty"
