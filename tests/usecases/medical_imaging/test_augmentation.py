"""The protocol that says whether drawn images help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from shared.config import Hardware, Training
from shared.errors import UserError
from shared.hardware import select
from shared.training.adversarial import Adversarial
from tests.usecases.medical_imaging.conftest import body
from usecases.medical_imaging import augmentation
from usecases.medical_imaging.augmentation import Pool
from usecases.medical_imaging.network import Model
from usecases.medical_imaging.prepare import Prepared


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    training = Training(epochs=1, batch_size=4, learning_rate=1e-3)
    small = Model(backbone="residual", size=32, widths=(4, 8), blocks=(1, 1), training=training)
    for name, value in {"FEW": 8, "WIDTHS": (4, 4, 4), "STEPS": 2, "RESAMPLES": 30, "CLASSIFIER": small}.items():
        monkeypatch.setattr(augmentation, name, value)
    monkeypatch.setattr(augmentation, "GAN", Adversarial(steps=2, batch_size=4))
    monkeypatch.setenv("USECASES_RUNS", str(tmp_path / "runs"))


def archive(folder: Path, test: int = 1000) -> Path:
    """Images in the layout of PneumoniaMNIST; `test`: the seed of those of its test part."""
    made: dict[str, Any] = {}
    for start, (part, count) in {0: ("train", 16), 500: ("val", 8), test: ("test", 8)}.items():
        made[f"{part}_images"] = np.stack([body(start + k, k % 2, 28, 28) for k in range(count)])
        made[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    folder.mkdir()
    np.savez(folder / "pneumoniamnist.npz", **made)
    return folder


def test_the_protocol_compares_in_all_regimes_and_the_test_part_changes_nothing(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = augmentation.augmentation(archive(tmp_path / "one"), [0, 1], said.append)
    assert found["split"].startswith("16 training images, or 8 of them; judged on 8 of validation")
    regimes = ["8 images, a network from nothing", "8 images, ImageNet features", "all images, a network from nothing"]
    assert list(found["metrics"]) == [f"{metric}, {regime}" for regime in regimes for metric in ("roc_auc", "log_loss")]
    for entry in found["metrics"].values():
        assert set(entry["baselines"]) == set(entry["differences"]) == {*augmentation.BESIDE, augmentation.ALONE}
    assert found["conclusion"].startswith("With 8 images, a network from nothing, half as many drawn beside: ")
    json.dumps(found, allow_nan=False)
    picture = cv2.imread(
        str(tmp_path / "runs" / "medical_imaging" / "augmentation" / "drawn-from-8-images.png"), cv2.IMREAD_GRAYSCALE
    )
    assert picture is not None
    assert picture.shape == (4 * 32 * 3, 4 * 32 * 3)
    monkeypatch.setattr(augmentation, "METHODS", augmentation.METHODS[:1])
    other = augmentation.augmentation(archive(tmp_path / "two", test=2000), [0, 1], said.append)
    assert len(other["metrics"]) == 4
    assert other["metrics"] == {name: entry for name, entry in found["metrics"].items() if name in other["metrics"]}


def test_the_few_images_keep_the_classes_shares_and_drawn_ones_are_added_to_the_real(tiny: None) -> None:
    drawn = Pool(np.full((8, 32, 32), 9, np.uint8), np.ones(8, np.int64))
    real = Pool(np.zeros((8, 32, 32), np.uint8), np.zeros(8, np.int64))
    assert [real.plus(drawn, share).labels.sum() for share in augmentation.BESIDE.values()] == [4, 8]
    assert (real.plus(drawn, 0.5).images[8:] == 9).all()


def test_regression_learns_from_the_pool_that_it_is_given() -> None:
    """Of images with other labels it says the opposite, and of the same ones twice over the same."""
    images = np.stack([body(k, k % 2, 32, 32) for k in range(40)])
    labels = np.arange(40) % 2
    judged = Prepared(images[:20], labels[:20], None, [])
    chip = select(Hardware(device="cpu"))
    told = augmentation.regression(Pool(images[20:], labels[20:]), 2, judged, chip, 0)
    assert roc_auc_score(labels[:20], told[:, 1]) > 0.9
    other = augmentation.regression(Pool(images[20:], 1 - labels[20:]), 2, judged, chip, 0)
    assert roc_auc_score(labels[:20], other[:, 1]) < 0.1
    twice = Pool(np.concatenate([images[20:]] * 2), np.concatenate([labels[20:]] * 2))
    np.testing.assert_allclose(augmentation.regression(twice, 2, judged, chip, 0), told, atol=0.01)


def test_metrics_are_scikit_learns_and_differences_are_of_the_same_images() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    score = labels[None] + random.normal(size=(3, 400)) - 0.5
    logits = np.stack([-score / 2, score / 2], axis=2)
    worse = logits + 2 * random.normal(size=logits.shape)
    found = augmentation.compare({"ours": logits, "same": logits, "worse": worse}, labels)
    auc = found["roc_auc"]
    assert auc["model"]["value"] == pytest.approx(np.mean([roc_auc_score(labels, one) for one in score]), abs=1e-6)
    assert auc["differences"]["same"] == {"value": 0, "low": 0, "high": 0}
    assert auc["differences"]["worse"]["low"] > 0
    assert found["log_loss"]["differences"]["worse"]["high"] < 0
    plain = np.mean([log_loss(labels, 1 / (1 + np.exp(-one))) for one in score])
    assert found["log_loss"]["model"]["value"] == pytest.approx(plain, abs=0.01)  # its logits are calibrated as they are


def test_an_interval_holds_what_seeds_and_images_change() -> None:
    """Seeds that agree by luck do not hide that other images would say something else, nor the other way round."""
    random = np.random.default_rng(0)
    image, seed = random.normal(size=4000), np.array([0.9, 1.0, 1.1])
    alone = augmentation.paired(seed, image * 0, 500)
    assert (alone.low, alone.high) == pytest.approx((1 - 4.303 * 0.1 / 3**0.5, 1 + 4.303 * 0.1 / 3**0.5), abs=1e-3)
    agreed = augmentation.paired(np.ones(3), image, 500)
    assert agreed.low == pytest.approx(1 - 1.965 * image.std(), abs=1e-2)
    assert augmentation.paired(seed, image, 500).low < min(alone.low, agreed.low)


@pytest.mark.parametrize(
    ("auc", "loss", "word"),
    [
        ((-0.02, -0.01), (-0.1, 0.1), ": better roc_auc"),
        ((-0.01, 0.01), (0.01, 0.02), ": better log_loss"),
        ((0.01, 0.02), (-0.02, -0.01), ": worse roc_auc, log_loss"),
        ((-0.01, 0.01), (-0.02, 0.01), ": no difference"),
        ((-0.02, -0.01), (-0.02, -0.01), ": better roc_auc and worse log_loss"),
    ],
)
def test_the_verdict_follows_from_the_intervals(auc: tuple[float, float], loss: tuple[float, float], word: str) -> None:
    """Of the method without drawn images minus that with them."""
    metrics = {
        metric: {"differences": {name: {"value": 0.0, "low": low, "high": high} for name in augmentation.BESIDE}}
        for metric, (low, high) in {"roc_auc": auc, "log_loss": loss}.items()
    }
    assert augmentation.verdict("200 images", metrics).count(word) == 2


def test_one_seed_too_few_images_or_no_data_is_told(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="usecases data get pneumoniamnist"):
        augmentation.augmentation(None, [0, 1], print)
    folder = archive(tmp_path / "data")
    with pytest.raises(UserError, match="--seeds 2"):
        augmentation.augmentation(folder, [0], print)
    monkeypatch.setattr(augmentation, "FEW", 16)
    with pytest.raises(UserError, match="16 training images"):
        augmentation.augmentation(folder, [0, 1], print)
