from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler

import cv2
import numpy as np
import pytest
from scipy import ndimage

from shared.errors import UserError
from usecases.medical_imaging import anatomy, lesions, simulator
from usecases.medical_imaging.lesions import LEAST_MM2
from usecases.medical_imaging.simulator import Slice, cases, person

pytest.importorskip("nilearn")


@pytest.fixture(scope="module")
def people() -> list[list[Slice]]:
    return [person(3, index, 6, 0.5) for index in range(40)]


def test_a_person_depends_on_nothing_but_the_arguments(people: list[list[Slice]]) -> None:
    simulator._person.cache_clear()
    again = person(3, 31, 6, 0.5)
    for one, other in zip(again, people[31], strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.mask, other.mask)
        assert one.about == other.about
    assert not np.array_equal(person(4, 31, 6, 0.5)[0].pixels, again[0].pixels)
    assert not np.array_equal(people[30][0].pixels, again[0].pixels)


def test_a_slice_is_a_grey_image_with_facts(people: list[list[Slice]]) -> None:
    for made in (one for slices in people for one in slices):
        assert made.pixels.shape == made.mask.shape == (192, 192)
        assert made.pixels.dtype == np.float32
        assert made.mask.dtype == bool
        assert made.pixels.min() >= 0
        assert made.pixels.max() <= 1
        assert made.pixels.std() > 0.03
        assert 0.85 < made.spacing[0] < 1.5
        assert made.about["contrast"] in ("T1", "T1 with contrast agent", "T2", "FLAIR")
    heights = [float(one.about["height_mm"]) for one in people[5]]
    assert heights == sorted(set(heights))


def test_healthy_people_have_no_lesion_and_every_ill_person_has_one(people: list[list[Slice]]) -> None:
    for slices in people:
        assert any(one.mask.any() for one in slices) == bool(slices[0].about["ill"])
    assert not any(one.mask.any() for index in range(10) for one in person(5, index, 4, 0.0, 96))
    assert all(one.about["ill"] for index in range(10) for one in person(5, index, 4, 1.0, 96))


def test_about_the_share_of_people_asked_for_is_ill() -> None:
    made = [one for index in range(150) for one in person(8, index, 2, 0.3, 96)]
    ill = np.mean([one.about["ill"] for one in made])
    assert ill == pytest.approx(0.3, abs=0.1)
    assert 0.1 < np.mean([one.mask.any() for one in made]) < ill


def test_areas_in_millimetres_agree_with_the_mask_and_its_spacing(people: list[list[Slice]]) -> None:
    seen = [one for slices in people for one in slices if one.mask.any()]
    for made in seen:
        area = made.mask.sum() * made.spacing[0] * made.spacing[1]
        assert made.about["lesion_mm2"] == pytest.approx(area, abs=0.06)
        assert area >= LEAST_MM2
        assert 0 < float(made.about["lesion_diameter_mm"]) <= 2 * np.sqrt(area / np.pi) + 0.1
    assert len({one.spacing for one in seen}) > 10


def test_a_ball_has_the_size_it_was_given_whatever_the_pixels() -> None:
    rng = np.random.default_rng(0)
    ball = lesions.lesion(rng, "T1", "cyst", 20.0, (5.0, -12.0, 3.0))
    ball = replace(ball, axes=np.eye(3) / 10, waves=np.zeros((1, 5)))
    for size, spacing in ((192, 1.2), (128, 1.7)):
        cut = lesions.cut(ball, 3.0 + 6.0, spacing, np.ones((size, size), np.float32))
        assert cut is not None
        assert cut.mask.sum() * spacing**2 == pytest.approx(np.pi * 8**2, rel=0.03)  # 6 mm off the middle of a radius of 10
        rows, columns = np.nonzero(cut.mask)
        middle = (size - 1) / 2
        assert (columns.mean() + cut.columns.start - middle) * spacing == pytest.approx(5, abs=0.3)
        assert (middle - rows.mean() - cut.rows.start) * spacing == pytest.approx(-12, abs=0.3)
    assert lesions.cut(ball, 3.0 + 9.9, 1.2, np.ones((192, 192), np.float32)) is None  # less than LEAST_MM2
    assert lesions.cut(ball, 30.0, 1.2, np.ones((192, 192), np.float32)) is None


def test_masks_are_where_the_image_differs_from_the_same_person_without_lesions(people: list[list[Slice]]) -> None:
    compared = 0
    for index, slices in enumerate(people):
        if not slices[0].about["ill"]:
            continue
        ill = simulator._person(3, index, 6, 0.5, 192)
        still = replace(ill, lesions=tuple(replace(lesion, push=0.0, halo=(0.0, 0.0)) for lesion in ill.lesions))
        well = replace(ill, lesions=())
        for k in range(6):
            with_lesion, without = simulator._slice(still, k), simulator._slice(well, k)
            changed = np.abs(with_lesion.pixels - without.pixels)
            assert not without.mask.any()
            if not with_lesion.mask.any():
                assert not changed.any()
                continue
            near = cv2.dilate(with_lesion.mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=8) > 0
            assert changed[with_lesion.mask].mean() > 8 * changed[~near].mean()
            compared += 1
    assert compared > 25


def test_masks_lie_within_the_brain(people: list[list[Slice]]) -> None:
    for index, slices in enumerate(people):
        somebody = simulator._person(3, index, 6, 0.5, 192)
        for k, made in enumerate(slices):
            if made.mask.any():
                tissues = simulator._tissues(somebody, somebody.heights[k])
                assert (tissues.brain[made.mask] >= 0.5).all()


def test_a_lesion_goes_on_in_the_next_slice() -> None:
    """Slices 1 mm apart: a cut overlaps the next one, and a lesion begins and ends once."""
    checked = 0
    for index in range(12):
        somebody = simulator._person(6, index, 6, 1.0, 128)
        lesion = somebody.lesions[0]
        heights = tuple(lesion.centre[2] + dz for dz in np.arange(-24.0, 25.0))
        alone = replace(somebody, lesions=(replace(lesion, push=0.0),), heights=heights)
        brain = np.ones((128, 128), np.float32)
        masks = [simulator._mask(alone, simulator._cuts(alone, z, brain)) for z in heights]
        there = [bool(mask.any()) for mask in masks]
        assert np.abs(np.diff(there)).sum() <= 2
        for low, high in pairwise(masks):
            if min(low.sum(), high.sum()) * somebody.spacing**2 > 60:
                assert (low & high).sum() > 0.8 * min(low.sum(), high.sum())
                checked += 1
    assert checked > 40


def test_a_person_is_the_same_at_every_size_of_image(people: list[list[Slice]]) -> None:
    for large, small in zip(people[:12], (person(3, index, 6, 0.5, 96) for index in range(12)), strict=True):
        for one, other in zip(large, small, strict=True):
            assert other.spacing[0] == pytest.approx(2 * one.spacing[0])
            assert one.about["height_mm"] == other.about["height_mm"]
            if min(one.mask.sum() / 4, other.mask.sum()) > 40:
                shrunk = cv2.resize(one.mask.astype(np.float32), (96, 96), interpolation=cv2.INTER_AREA) >= 0.5
                assert 2 * (shrunk & other.mask).sum() > 0.9 * (shrunk.sum() + other.mask.sum())


def test_tissues_of_a_pixel_add_up_and_the_skull_lies_around_the_brain() -> None:
    for index in range(6):
        body = replace(anatomy.body(np.random.default_rng(index)), stripped=False)
        tissues = anatomy.cut(body, 0.0, 160, anatomy.places(body, 0.0, 160, 1.5))
        assert np.allclose(tissues.fluid + tissues.grey + tissues.white, 1, atol=1e-5)
        for share in (tissues.fluid, tissues.grey, tissues.white, tissues.brain):
            assert share.min() > -1e-5
            assert share.max() < 1 + 1e-5
        labels, parts = ndimage.label(tissues.brain > 0.5)
        sizes = np.bincount(labels.ravel())[1:]
        assert parts
        assert sizes.max() * 1.5**2 > 8000
        assert (tissues.out[tissues.brain > 0.5] < 8).mean() > 0.999
        border = np.concatenate([tissues.out[0], tissues.out[-1], tissues.out[:, 0], tissues.out[:, -1]])
        assert border.min() > 3  # the field of view holds the brain


def test_cases_are_the_slices_of_their_people(people: list[list[Slice]]) -> None:
    listed = cases(3, 20, 8, 6, 0.5)
    assert [case.name for case in listed[5:7]] == ["simulated-000020/6", "simulated-000021/1"]
    assert len({case.name for case in listed}) == 48
    for n, case in enumerate(listed):
        made = people[20 + n // 6][n % 6]
        picture = case.picture()
        assert case.mask is not None
        assert np.array_equal(picture.pixels, made.pixels)
        assert np.array_equal(case.mask(), made.mask)
        assert case.patient == picture.patient == f"simulated-{20 + n // 6:06d}"
        assert picture.spacing == made.spacing
        assert made.about.items() <= picture.about.items()


def test_cases_can_be_sent_to_other_processes(people: list[list[Slice]]) -> None:
    sent = ForkingPickler.dumps(cases(3, 0, 2, 6, 0.5))
    assert len(sent) < 20_000  # what to make, not what was made
    simulator._person.cache_clear()
    for case, made in zip(ForkingPickler.loads(sent), [*people[0], *people[1]], strict=True):
        assert np.array_equal(case.picture().pixels, made.pixels)


def test_without_nilearn_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(UserError, match=r"usecases\[medical\]"):
        anatomy.atlas.__wrapped__()
