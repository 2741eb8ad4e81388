"""Each fault that is planted in labelled images is named."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from usecases.medical_imaging import checks, confounders, prepare, splits
from usecases.medical_imaging.cases import Case, Known, Picture
from usecases.medical_imaging.prepare import Seen

CLASSES = ("healthy", "ill")
USUAL = "^patients are not known$| images have no patient$|^[0-9,]+ image.s. in "  # is said of data without faults


def pixels(seed: int, size: int = 40) -> np.ndarray:
    """A smooth pattern of its own; two seeds are as unlike as two patients, or more."""
    coarse = np.random.default_rng(seed).random((6, 6), np.float32)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def case(number: int, label: int | None = None, image: np.ndarray | None = None, **about: Known) -> Case:
    shown = pixels(number) if image is None else image

    def picture() -> Picture:
        return Picture(f"{number}.png", shown, about={"width": 40, "height": 40, **about})

    return Case(f"{number}.png", picture, number % 2 if label is None else label)


def many(count: int = 64) -> list[Case]:
    return [case(number) for number in range(count)]


def findings(cases: list[Case], parts: list[str] | None = None) -> dict[str, str]:
    """What was found, to its severity; without what is said of data without faults."""
    seen = prepare.look_at(cases, 32, 1)
    found = checks.check(seen, parts or [""] * len(cases), CLASSES, checks.pairs(seen), "data")
    return {re.sub(r" ?\(.*", "", f.what): f.severity for f in found if not re.search(USUAL, f.what)}


def broken() -> Picture:
    raise OSError("the file is cut short")


def test_data_without_faults_has_no_findings() -> None:
    assert findings(many()) == {}


def test_unreadable_images_are_left_out_and_many_are_an_error() -> None:
    cases = many()
    cases[3] = replace(cases[3], picture=broken)
    assert findings(cases) == {"an image that cannot be read: the file is cut short": "warning"}
    cases[5] = replace(cases[5], mask=lambda: np.ones((3, 3), bool))
    seen = prepare.look_at(cases, 32, 1)
    fixes = [one.fix for one in checks.check(seen, [""] * 64, CLASSES, checks.pairs(seen), "data") if one.severity == "warning"]
    assert ["mask" in fix for fix in fixes] == [False, True]
    cases[5] = many()[5]
    most = [replace(one, picture=broken) if place > 20 else one for place, one in enumerate(cases)]
    assert findings(most)["44 of 64 images cannot be used"] == "error"


def test_images_that_show_nothing_or_are_odd_are_named() -> None:
    red = np.stack([pixels(70), 0 * pixels(70), 0 * pixels(70)], axis=2)
    black, dot = np.zeros((40, 40), np.float32), np.ones((1, 1), np.float32)
    seen = prepare.look_at([*many(), case(64, None, black), case(65, None, dot), case(66, None, red)], 32, 1)
    found = checks.check(seen, [""] * 67, CLASSES, checks.pairs(seen), "data")
    assert {one.what: list(one.examples) for one in found if one.severity == "warning"} == {
        "an image that shows nothing: all of it is equally bright": ["64.png"],
        "an image of fewer than 8 pixels in height or width": ["65.png"],
        "an image in colour among 64 in grey": ["66.png"],
    }
    mixed = [*many(), *(case(64 + n, None, np.roll(red, 5 * n, axis=0)) for n in range(8))]
    assert not any("in colour" in name for name in findings(mixed))


def test_images_are_counted_and_those_without_a_patient_are_named() -> None:
    slices = [replace(case(100 + n, 1), name=f"v.nii#{n + 1}", patient="v") for n in range(30)]
    seen = prepare.look_at([*many(), *slices, replace(case(99), picture=broken)], 32, 1)
    found = checks.check(seen, [""] * 95, CLASSES, checks.pairs(seen), "data")
    told = [one.what for one in found if one.severity == "info"]
    assert told[:2] == [
        "94 image(s) in 65 file(s) of 1 patient(s): 32 of 'healthy', 62 of 'ill'",
        "64 of 94 images have no patient",
    ]


def test_small_classes_are_named() -> None:
    few = [case(number, 0) for number in range(60)]
    assert findings([*few, case(100, 1), case(101, 1)]) == {"class 'ill' has 2 image": "error"}
    assert findings([*few, *(case(100 + n, 1) for n in range(5))]) == {"only few: class 'ill' has 5 image": "warning"}
    one_patient = [replace(case(100 + n, 1), patient="p") for n in range(40)]
    assert findings([*few, *one_patient])["class 'ill' has 40 image"] == "error"


@pytest.mark.parametrize(("each", "severity", "fewest"), [(1, "error", "3 images"), (4, "warning", "30 images")])
def test_many_small_classes_are_one_finding_that_asks_whether_numbers_are_a_measurement(
    each: int, severity: str, fewest: str
) -> None:
    cases = [case(number, number // each) for number in range(12 * each)]
    seen = prepare.look_at(cases, 32, 1)
    for names, asked in (([f"{number / 7:.2f}" for number in range(12)], each == 1), ([*"abcdefghijkl"], False)):
        found = checks.check(seen, [""] * len(seen), names, checks.pairs(seen), "data")
        (one,) = [finding for finding in found if finding.severity != "info"]
        assert one.severity == severity
        assert re.fullmatch(f"12 classes have fewer than {fewest} or [0-9 ]*patients", one.what)
        assert (one.count, one.examples[0]) == (12, f"class '{names[0]}' has {each} image(s)")
        assert ("Is the column a measurement?" in one.fix) == asked


@pytest.mark.parametrize(
    ("again", "how"),
    [
        (lambda image: image, "the same image"),
        (lambda image: cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA), "nearly the same image"),
        (lambda image: np.clip(image * 0.8 + 0.1, 0, 1), "nearly the same image"),
    ],
)
def test_copies_are_found_within_and_across_parts_and_with_other_labels(again: object, how: str) -> None:
    assert callable(again)
    cases = many()
    copy = again(pixels(4))
    same_label = findings([*cases, case(90, 0, copy)])
    assert list(same_label) == [how + " twice" + (", not known to be of one patient" if how[0] == "n" else "")]
    parts = ["train"] * 30 + ["test"] * 35
    assert findings([*cases, case(90, 0, copy)], parts) == {f"{how} in train and in test": "warning"}
    seen = prepare.look_at([*cases, case(91, 1, copy)], 32, 1)
    found = checks.check(seen, [""] * 65, CLASSES, checks.pairs(seen), "data")
    (told,) = [finding for finding in found if finding.what == f"{how} with different labels"]
    assert (told.severity, told.examples) == ("warning", ["91.png is as 4.png"])
    assert "one may be wrong, or readers disagree" in told.fix


def test_neighbouring_but_different_images_are_not_copies() -> None:
    other = 0.75 * pixels(4) + 0.25 * pixels(7)  # as far as the likest brains of two patients: 11.6, with 5 bits of the hash
    seen = prepare.look_at([*(case(number, 0) for number in range(200)), case(200, 0, other)], 32, 1)
    assert len(checks.pairs(seen).linked) == 0


def test_black_and_nearly_black_slices_do_not_join_patients() -> None:
    """At both ends of a volume there is nothing, or a spot; in two sizes, because a print is of any size."""
    cases = []
    for patient in range(12):
        slices = [pixels(100 * patient + n, 64) for n in range(4)] + [np.zeros((64 - patient % 2, 64), np.float32)] * 2
        slices[4] = slices[4].copy()
        slices[4][10 + 3 * patient : 14 + 3 * patient, 30:34] = 0.7
        cases += [replace(case(6 * patient + n, None, one), patient=f"p{patient}") for n, one in enumerate(slices)]
    seen = prepare.look_at(cases, 32, 1)
    assert len(checks.pairs(seen).linked) == 0
    assert findings(cases) == {"an image that shows nothing: all of it is equally bright": "warning"}  # each is a file of its own
    files = [replace(one, name=f"{one.patient}.nii#{place % 6 + 1}") for place, one in enumerate(cases)]
    assert findings(files) == {}


def test_images_that_are_near_one_to_the_next_join_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film from one pattern to another in small steps, and the same images twice."""
    film = [case(n, 0, (1 - n / 59) * pixels(4) + n / 59 * pixels(7)) for n in range(60)]
    seen = prepare.look_at([*film, film[7], film[50]], 32, 1)
    joined = splits.units([""] * 62, checks.pairs(seen).linked)
    assert len(np.unique(joined)) == 1
    monkeypatch.setattr(checks, "LARGEST", 20)
    joined = splits.units([""] * 62, checks.pairs(seen).linked)
    assert np.bincount(joined[:60]).max() <= 20
    assert joined[7] == joined[60]
    assert joined[50] == joined[61]
    patients = [replace(one, patient=f"p{place // 2}") for place, one in enumerate(film)]  # a patient counts as 20 images
    linked = checks.pairs(prepare.look_at(patients, 32, 1)).linked
    assert np.bincount(splits.units([one.patient for one in patients], linked)).max() == 2


def test_images_that_look_alike_and_are_not_kept_together_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [*many(), *(case(100 + n, 0, np.clip(pixels(4) * (0.99 - n / 100), 0, 1)) for n in range(9))]
    what = "10 images, too many to keep together, look alike: some may be on both sides of the split"
    assert what not in findings(cases)
    monkeypatch.setattr(checks, "LARGEST", 6)
    assert findings(cases)[what] == "warning"
    linked, refused = checks.pairs(prepare.look_at(cases, 32, 1))
    unit = splits.units([""] * len(cases), linked)
    assert len(refused)
    assert (unit[refused[:, 0]] != unit[refused[:, 1]]).all()


def test_a_patient_in_two_parts_is_named() -> None:
    cases = many()
    cases[0], cases[50] = replace(cases[0], patient="ab12"), replace(cases[50], patient="ab12")
    assert findings(cases, ["train"] * 30 + ["test"] * 34) == {"a patient in train and in test": "warning"}


def test_a_part_without_one_of_the_classes_is_an_error_and_of_validation_a_warning() -> None:
    labels, parts = np.arange(64) % 2, np.array(["train"] * 30 + ["validation"] * 14 + ["test"] * 20)
    assert checks.lacking(labels, parts, CLASSES, "data") == []
    lopsided = np.where((labels == 1) | (parts == "test"), parts, "")  # as where images are left out that are also in the test
    found = {finding.what: finding.severity for finding in checks.lacking(labels, lopsided, CLASSES, "data")}
    what = "class 'healthy' has no image in the {} part of the split"
    assert found == {what.format("train"): "error", what.format("validation"): "warning"}


def test_masks_that_do_not_fit_are_named() -> None:
    full, empty = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    full[5:9, 5:9] = True
    cases = [replace(one, mask=(lambda: full) if one.label else (lambda: empty)) for one in many()]
    assert findings(cases) == {}
    cases[0] = replace(cases[0], mask=lambda: full)
    cases[1] = replace(cases[1], mask=lambda: empty)
    cases[2] = replace(cases[2], mask=lambda: full[:, :30])
    assert set(findings(cases)) == {
        "a mask that marks something on an image of class 'healthy'",
        "an empty mask on an image of class 'ill'",
        "a mask of another size than its image",
    }


def test_a_first_class_that_is_not_healthy_may_be_marked() -> None:
    full = np.ones((40, 40), bool)
    seen = prepare.look_at([replace(one, mask=lambda: full) for one in many()], 32, 1)
    found = checks.check(seen, [""] * 64, ("benign", "malignant"), checks.pairs(seen), "data")
    assert [one.what for one in found] == [
        "64 image(s) in 64 file(s): 32 of 'benign', 32 of 'malignant'",
        "patients are not known",
    ]


def test_labels_that_follow_the_scanner_are_named() -> None:
    rng = np.random.default_rng(0)
    honest = [case(n, None, None, manufacturer=str(rng.choice(["A", "B"])), bytes=int(rng.integers(1000))) for n in range(120)]
    what = "labels can be guessed from facts about the files, without their pixels: AUC"
    assert not any(name.startswith(what) for name in findings(honest))
    followed = [case(n, None, None, manufacturer="AB"[n % 2 if n % 10 else 0], bytes=int(rng.integers(1000))) for n in range(120)]
    assert any(name.startswith(what) and "'manufacturer' alone" in name for name in findings(followed))


def test_the_probe_sees_facts_about_files_only_and_no_patient_twice() -> None:
    bright: list[Case] = [case(n, None, np.full((40, 40), 0.2 + 0.6 * (n % 2), np.float32)) for n in range(60)]
    labels = np.array([one.label for one in bright])
    looked: list[Seen] = prepare.look_at(bright, 32, 1)
    assert confounders.probe([one.case for one in looked], labels, np.arange(60)) is None
    # each patient has a size of his own: that tells the label of his other images, which must not count
    sizes = [case(n, (n // 6) % 2, None, width=100 + 7 * ((n // 6) * 13 % 20)) for n in range(120)]
    labels, patients = np.array([one.label for one in sizes]), np.arange(120) // 6
    about = [replace(one, about=one.picture().about) for one in sizes]
    told, leaked = confounders.probe(about, labels, patients), confounders.probe(about, labels, np.arange(120))
    assert told is not None
    assert leaked is not None
    assert leaked.auc.low > 0.7
    assert told.auc.low < 0.6


def test_a_volume_counts_as_one_file_and_does_not_hide_that_labels_follow_the_scanner() -> None:
    """80 pictures whose size tells the class, but for a few, and 40 slices of one volume with the other class's size."""
    pictures = [case(n, None, None, width=500 + 100 * (n % 2 if n % 10 else 0)) for n in range(80)]
    slices = [replace(case(100 + n, 0, None, width=600), name=f"v.nii#{n + 1}", patient="v") for n in range(40)]
    what = "labels can be guessed from facts about the files, without their pixels: AUC"
    for cases in (pictures, [*pictures, *slices]):
        assert any(name.startswith(what) for name in findings(cases))
    seen = [replace(one, about=one.picture().about) for one in [*pictures, *slices]]
    labels, groups = np.array([one.label for one in seen]), np.minimum(np.arange(120), 80)
    whole, single = confounders.probe(seen, labels, groups), confounders.probe(seen[:81], labels[:81], groups[:81])
    assert whole is not None
    assert whole == single


def test_where_the_interval_is_wide_the_probe_cannot_tell() -> None:
    few = [case(n, None, None, manufacturer="AB"[n % 2 if n % 3 else 1 - n % 2]) for n in range(30)]
    most = [case(n, None, None, manufacturer="AB"[n // 2 % 2]) for n in range(200)]
    (told,) = [name for name in findings(few) if "follow facts" in name]
    assert told.startswith("whether labels follow facts about the files cannot be told from so few: AUC")
    (told,) = [name for name in findings(most) if "follow facts" in name]
    assert told.startswith("labels do not follow facts about the files: AUC")


def test_the_probe_reads_how_much_was_covered_and_the_size_of_files_whose_pixels_are_stored_as_they_are() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    sizes = 5000 + 2000 * labels + rng.integers(100, size=120)

    def guessed(**about: object) -> confounders.Probe | None:
        cases = [case(n, None, None) for n in range(120)]
        told = [{name: values[n] for name, values in about.items()} for n in range(120)]  # type: ignore[index]
        return confounders.probe(
            [replace(one, about=facts) for one, facts in zip(cases, told, strict=True)], labels, np.arange(120)
        )

    assert guessed(format=["PNG"] * 120, bytes=sizes) is None  # what is on the image, not where it comes from
    stored = guessed(format=["DICOM"] * 120, bytes=sizes, **{"transfer syntax": ["Explicit VR Little Endian"] * 120})
    assert stored is not None
    assert (stored.column, stored.alone > 0.9) == ("bytes", True)
    boxes = guessed(covered=np.where(labels, 0.05, 0.01))
    assert boxes is not None
    assert (boxes.column, boxes.alone > 0.9) == ("covered", True)
    once = guessed(bytes=[None] * 119 + [9], format=["PNG"] * 119 + ["BMP"])  # a fact that some folds know nothing of
    assert once is None or once.auc.low < 0.6


def test_text_that_a_header_tells_of_and_nobody_found_is_warned_of() -> None:
    what = "the header says that text is burnt into the image, but none was found to cover"
    told: list[dict[str, Known]] = [{"burnt in": "YES"}, {"burnt in": "YES", "covered": 0.01}, {"burnt in": "NO"}]
    found = [findings([*many(), case(64, None, None, **about)]) for about in told]
    assert [one.get(what) for one in found] == ["warning", None, None]
