"""Logistic regression as a simple method and, where it is better, as a network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.usecases.medical_imaging.conftest import body
from usecases.medical_imaging import baselines
from usecases.medical_imaging.finder import as_batch
from usecases.medical_imaging.framing import Frame
from usecases.medical_imaging.frozen import Frozen
from usecases.medical_imaging.network import Model


def numbers(rows: int = 160, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    seen = random.normal(3, 2, (rows, 12))
    seen[:, :classes] += 2 * np.eye(classes)[labels]
    return seen, labels, np.arange(rows) // classes


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_at_the_strength_that_it_chose(classes: int) -> None:
    seen, labels, groups = numbers(classes=classes)
    ours = baselines.fit_baseline("pixels", seen, labels, classes, groups, 0)
    scaled = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    given = softmax(ours(seen), axis=1)
    nearest = min(
        np.abs(LogisticRegression(C=c, max_iter=300).fit(scaled, labels).predict_proba(scaled) - given).max()
        for c in baselines.STRENGTHS
    )
    assert nearest < 1e-3
    fresh, wanted, _ = numbers(classes=classes, seed=1)
    assert roc_auc_score(np.eye(classes)[wanted], softmax(ours(fresh), axis=1)) > 0.7


def test_a_strength_is_not_chosen_on_images_of_patients_that_were_fitted_on() -> None:
    """Each patient's images are nearly the same, and labels are random: only divided patients could make it look learnable."""
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 4)
    labels = np.repeat(random.permutation(np.arange(40) % 2), 4)
    seen = random.normal(0, 1, (40, 200))[person] + random.normal(0, 0.01, (160, 200))
    sure = [
        np.abs(softmax(baselines.fit_baseline("pixels", seen, labels, 2, groups, 0)(seen), axis=1)[:, 1] - 0.5).mean()
        for groups in (person, np.arange(160))
    ]
    assert sure[0] < 0.5 * sure[1]


def test_a_class_without_images_is_never_likely() -> None:
    seen, labels, groups = numbers()
    probabilities = softmax(baselines.fit_baseline("pixels", seen, 2 * labels, 3, groups, 0)(seen), axis=1)
    assert probabilities[:, 1].max() < 1e-6
    assert probabilities[:, 0].std() > 0.1


@pytest.mark.parametrize("ill", [1, 2])
def test_a_class_of_one_or_two_patients_is_fitted_without_warnings(ill: int, recwarn: pytest.WarningsRecorder) -> None:
    seen, _, _ = numbers(2 * ill if ill == 1 else 20)
    labels = (np.arange(len(seen)) < ill).astype(int)
    ours = baselines.fit_baseline("features", seen, labels, 2, np.arange(len(seen)), 0)
    assert np.isfinite(ours(seen)).all()
    assert ours(seen)[0, 1] - ours(seen)[0, 0] > ours(seen)[-1, 1] - ours(seen)[-1, 0]
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize("side", [32, 64, 96, 128, 224])
def test_as_a_network_it_says_the_same(side: int) -> None:
    images = np.stack([Frame.of(body(k, k % 2) / 255, side).image(body(k, k % 2) / 255, 1) for k in range(12)])
    frozen = Frozen.pretrained()
    seen = frozen(images).pooled
    ours = baselines.fit_baseline("features", seen, np.arange(12) % 2, 2, np.arange(12), 0)
    network = baselines.as_network(ours, Model(backbone="residual", size=side))
    logits = network(as_batch(images))["classes"].detach().numpy()
    np.testing.assert_allclose(softmax(logits, axis=1), softmax(ours(seen), axis=1), atol=0.02)


def test_pixels_are_the_image_made_small_in_grey() -> None:
    grey = np.full((1, 56, 56), 102, np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert baselines.pixels(grey).shape == (1, 28 * 28)
    np.testing.assert_allclose(baselines.pixels(grey), 0.4)
    np.testing.assert_array_equal(baselines.pixels(grey), baselines.pixels(colour))
