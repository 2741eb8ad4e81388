"""From pictures to opinions: places, refusals, and that it does not matter how or where they are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn

from shared.evaluation.temperature import Temperature
from tests.usecases.medical_imaging.conftest import Trained, body
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.found import Found
from usecases.medical_imaging.predictor import MedicalPredictor
from usecases.medical_imaging.prepare import Prepared


class Bright(nn.Module):
    """In place of a network: what is brighter than 0.8 is the finding, and the evidence for it lies there."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.decoder = nn.AvgPool2d(4), None
        self.backbone = nn.Module()
        self.backbone.stages = nn.ModuleList([self.pool])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        shown = images.float() / 255
        found = self.pool(shown - 0.8).relu()
        highest = found.amax((1, 2, 3))
        mask = 40 * (shown - 0.8)
        return {"classes": torch.stack([1 - highest, 20 * highest], 1), "features": highest[:, None], "mask": mask}


@pytest.fixture
def bright(simulated: Trained) -> Finder:
    finder = replace(simulated.finder, novelty=None, abstention=None, bounds=[], flips=False)
    finder.__dict__["fast"] = [Bright()]
    return finder


def picture(pixels: np.ndarray) -> Picture:
    return Picture("one.png", np.asarray(pixels, np.float32))


@pytest.fixture(scope="module")
def pictures(simulated: Trained) -> list[Picture]:
    """Cases of the test part as they are read."""
    return [case.picture() for case in simulated.fits[0][0].test.cases[:6]]


@pytest.mark.parametrize("shape", [(150, 60), (60, 150), (33, 64), (400, 300)])
@pytest.mark.parametrize("flips", [False, True])
def test_mask_and_heat_lie_on_the_picture_where_the_finding_is(bright: Finder, shape: tuple[int, int], flips: bool) -> None:
    pixels = np.full(shape, 0.3)
    high, wide = shape
    there = np.zeros(shape, bool)
    there[high // 8 : high // 8 + high // 3, wide // 2 : wide // 2 + wide // 4] = True
    pixels[there] = 1
    bright.flips = flips
    (found,) = bright([picture(pixels)])
    assert found.mask is not None
    assert found.mask.shape == found.heat.shape == shape
    assert (found.mask & there).sum() / (found.mask | there).sum() > 0.8
    middle = np.average(np.argwhere(there), axis=0), np.average(np.indices(shape).reshape(2, -1).T, 0, found.heat.ravel())
    np.testing.assert_allclose(*middle, atol=0.06 * max(shape))
    assert found.label == 1
    assert found.reasons == ()


def test_a_mask_and_a_class_that_contradict_each_other_are_referred(bright: Finder) -> None:
    pixels = np.full((80, 64), 0.3)
    pixels[20:40, 20:40] = 1
    bright.threshold = 1.0
    (found,) = bright([picture(pixels)])
    assert any("something is marked" in reason for reason in found.reasons)
    bright.threshold = 0.0
    (found,) = bright([picture(np.full((80, 64), 0.3))])
    assert any("nothing could be marked" in reason for reason in found.reasons)


def test_what_is_benign_may_be_marked(bright: Finder) -> None:
    pixels = np.full((80, 64), 0.3)
    pixels[20:40, 20:40] = 1
    benign = replace(bright, classes=("benign", "malignant"), threshold=1.0)
    benign.__dict__["fast"] = bright.fast
    assert benign([picture(pixels)])[0].reasons == ()


def test_a_colour_photograph_is_refused_by_a_model_of_grey_images(simulated: Trained) -> None:
    (found,) = simulated.finder([picture(load_sample_image("flower.jpg") / 255)])
    assert any("in colour" in reason for reason in found.reasons)
    assert any("unlike" in reason for reason in found.reasons)
    grey = np.repeat(body(3, 0)[..., None] / 255, 3, axis=2)  # stored in three channels, but grey
    (found,) = simulated.finder([picture(grey)])
    assert not any("in colour" in reason for reason in found.reasons)


def test_noise_is_refused_and_the_models_own_kind_is_not(simulated: Trained, pictures: list[Picture]) -> None:
    noise = picture(np.random.default_rng(0).random((120, 90)))
    (refused,) = simulated.finder([noise])
    assert (refused.judged, refused.mask, refused.heat.any()) == (False, None, False)
    (reason,) = refused.reasons  # doubts about a decision would speak of one
    assert "unlike" in reason
    own = simulated.finder(pictures)
    assert sum(not found.judged for found in own) <= 2
    assert all(found.mask is not None and found.heat.any() for found in own if found.judged)


def same(one: list[Found], other: list[Found], within: float) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=within)
        np.testing.assert_allclose([a.low, a.high, a.novelty], [b.low, b.high, b.novelty], atol=10 * within)
        np.testing.assert_allclose(a.heat, b.heat, atol=20 * within)
        assert (a.mask is None) == (b.mask is None) == (not a.judged)
        if a.mask is not None and b.mask is not None:
            assert (a.mask != b.mask).mean() < 0.01


def test_pictures_get_the_same_answer_one_by_one_and_together(simulated: Trained, pictures: list[Picture]) -> None:
    finder = replace(simulated.finder, precision="fp32")
    together = finder(pictures)
    same(together, [finder([one])[0] for one in pictures], 1e-4)
    without = finder(pictures, heat=False)
    assert all(not found.heat.any() for found in without)
    same(together, [replace(one, heat=two.heat) for one, two in zip(without, together, strict=True)], 1e-4)


def test_all_cases_of_a_part_get_the_answers_of_single_pictures(simulated: Trained, pictures: list[Picture]) -> None:
    finder = replace(simulated.finder, precision="fp32")
    test = simulated.fits[0][0].test
    looked, found = finder.look_through(test), finder(pictures)
    np.testing.assert_allclose(looked.probabilities[: len(found)], [one.probabilities for one in found], atol=1e-4)
    assert looked.decided[: len(found)].tolist() == [one.label for one in found]
    assert looked.masks is not None
    assert looked.masks.shape == test.images.shape


def test_bfloat16_says_nearly_what_single_precision_says(simulated: Trained, pictures: list[Picture]) -> None:
    fine, coarse = (replace(simulated.finder, precision=kind, bounds=[]) for kind in ("fp32", "bf16"))
    assert coarse.fast[0].last.weight.dtype == torch.bfloat16
    for a, b in zip(fine(pictures, heat=False), coarse(pictures, heat=False), strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.03)


def test_with_mirrored_looks_a_picture_and_its_mirror_image_are_judged_alike(simulated: Trained, pictures: list[Picture]) -> None:
    mirrored = [replace(one, pixels=np.ascontiguousarray(one.pixels[:, ::-1])) for one in pictures]
    finder = replace(simulated.finder, precision="fp32", temperature=Temperature(0.1))  # a network that knows little is unsure
    differences = {}
    for flips in (True, False):
        own = replace(finder, flips=flips)
        one, other = (np.array([found.probabilities for found in own(some, heat=False)]) for some in (pictures, mirrored))
        differences[flips] = np.abs(one - other).max()
    assert differences[True] < 0.1 * differences[False]


def test_limits_hold_the_probability_between_them(simulated: Trained, pictures: list[Picture]) -> None:
    for found in simulated.finder(pictures, heat=False):
        assert 0 <= found.low <= found.probabilities[found.label] <= found.high <= 1
        assert found.probabilities.sum() == pytest.approx(1)


def test_of_two_classes_the_operating_point_decides_and_of_more_the_likeliest(simulated: Trained) -> None:
    finder = replace(simulated.finder, threshold=0.2)
    assert finder.decide(np.array([[0.75, 0.25], [0.85, 0.15]])).tolist() == [1, 0]
    assert finder.confidence(np.array([[0.75, 0.25], [0.85, 0.15]])).tolist() == [0.25, 0.85]
    assert finder.decide(np.array([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])).tolist() == [1, 0]


def test_of_several_classes_what_may_well_be_wrong_is_referred_without_a_rule(
    simulated: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = replace(simulated.finder, abstention=None)
    monkeypatch.setattr(finder, "limits", lambda *_: (np.array([0.3, 0.45, 0.7]), np.array([0.45, 0.9, 0.9])))
    assert finder.unsure(np.array([[0.38, 0.32, 0.3], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])).tolist() == [True, True, False]


def test_a_saved_model_says_the_same_elsewhere(simulated: Trained, pictures: list[Picture], tmp_path: Path) -> None:
    loaded = MedicalPredictor.load(simulated.folder / "artifact").finder
    same(loaded(pictures), simulated.finder(pictures), 1e-7)
    test = simulated.fits[0][0].test
    ours, theirs = loaded.look_through(test), simulated.finder.look_through(test)
    assert (ours.refer == theirs.refer).all()
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    MedicalPredictor(loaded).save(tmp_path / "again", {})
    weights = [(place / "model.safetensors").read_bytes() for place in (simulated.folder / "artifact", tmp_path / "again")]
    assert weights[0] == weights[1]


def test_an_artefact_holds_no_image_and_no_names_of_cases(simulated: Trained) -> None:
    cases, _ = simulated.fits[0]
    content = b"".join(path.read_bytes() for path in (simulated.folder / "artifact").iterdir())
    for part in (cases.train, cases.validation, cases.test):
        assert not [case.name for case in part.cases if case.name.encode() in content]
        for image in part.images[:4]:
            assert image[len(image) // 2].tobytes() not in content


def test_nothing_to_look_at_is_no_answer(simulated: Trained) -> None:
    assert simulated.finder([]) == []
    empty = Prepared(np.zeros((0, 64, 64), np.uint8), np.zeros(0, np.int64), None, [])
    with pytest.raises(ValueError, match="need at least one array"):
        simulated.finder.look_through(empty)
