from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from torch import nn

from shared.config import Hardware, Training, resolve
from shared.hardware import select
from shared.runs import Run
from usecases.medical_imaging.baselines import Baseline, fit_baseline, pixels
from usecases.medical_imaging.config import FEW, MANY, MIRRORED, Data, MedicalConfig
from usecases.medical_imaging.fitting import (
    choose,
    long_enough,
    look,
    look_through,
    quality,
    quick,
    tempered_loss,
    train_networks,
)
from usecases.medical_imaging.network import Model
from usecases.medical_imaging.packing import Changes, Packed


def spotted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise; half of the images have a bright spot somewhere."""
    random = np.random.default_rng(seed)
    images, masks = random.integers(60, 120, (count, 32, 32), dtype=np.uint8), np.zeros((count, 32, 32), np.uint8)
    labels = np.arange(count) % 2
    for i in np.flatnonzero(labels):
        top, left = random.integers(2, 22, 2)
        masks[i, top : top + 8, left : left + 8] = 1
    return np.where(masks, images + 60, images).astype(np.uint8), labels, masks


def test_networks_find_a_spot_and_where_it_is(tmp_path: Path) -> None:
    training = Training(epochs=5, batch_size=16, learning_rate=3e-3, average=0.9)
    small = {"size": 32, "widths": (8, 16), "blocks": (1, 1), "masks": (8, 8), "members": 2, "steps": 1}
    model = Model.model_validate({"backbone": "residual", "training": training, **small})
    images, labels, masks = spotted(192, 0)
    train, others = Packed(images, labels, 2, masks, Changes(spoil=0, light=0.05)), Packed(*_with(spotted(48, 1)))
    chip = select(Hardware(device="cpu", precision="fp32", threads=1))
    networks, fitted = train_networks(model, train, others, Run(tmp_path, "test"), chip, 0)
    assert len(networks) == len(fitted) == 2
    assert not torch.equal(networks[0].last.weight, networks[1].last.weight)
    looked = look_through(networks, others, flips=True)
    assert roc_auc_score(spotted(48, 1)[1], looked["classes"][:, 1]) > 0.97
    assert looked["spread"].shape == (48, 4, 2)
    assert looked["dice"].mean() > 0.7
    torch.testing.assert_close(
        look_through(quick(networks, "fp32"), others, True)["classes"], looked["classes"], atol=1e-3, rtol=1e-3
    )


def _with(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    return made[0], made[1], 2, made[2]


class Says(nn.Module):
    """Gives the first class's logit `slope` times the mean of an image's left half, against its right half where `sided`."""

    def __init__(self, slope: float, sided: bool = False) -> None:
        super().__init__()
        self.slope, self.sided = slope, sided

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        half = images.shape[3] // 2
        value = images[..., :half].float().mean((1, 2, 3)) - self.sided * images[..., half:].float().mean((1, 2, 3))
        logits = torch.stack([self.slope * value, torch.zeros_like(value)], 1)
        return {"classes": logits, "features": logits, "mask": images[:, :1].float()}


def test_a_mirrored_look_is_turned_back_before_masks_are_joined() -> None:
    images = torch.zeros(1, 1, 4, 4)
    images[..., 0] = 1
    looked = look([Says(1.0)], images, flips=True)  # type: ignore[list-item]
    assert torch.equal(looked["mask"], images)
    torch.testing.assert_close(looked["spread"][0, :, 0], torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(looked["classes"][0, 0], torch.tensor(0.25))


def test_more_looks_are_kept_only_where_they_pay() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    images = np.where(labels[:, None, None] == 0, 150, 100) + random.normal(0, 5, (200, 8, 8))
    packed = Packed(images.astype(np.uint8), labels, 2, masks=np.zeros((200, 8, 8), np.uint8))
    same = choose([Says(0.1), Says(0.1)], packed, mirror=True)  # type: ignore[list-item]
    assert (len(same[0]), same[1], same[2]["members"]) == (1, False, 1)
    few = Packed(packed.images[:50], labels[:50], 2, masks=packed.masks[:50])
    assert choose([Says(0.1), Says(0.1)], few, mirror=True)[1:2] == (True,)  # of so few nobody can tell
    assert len(choose([Says(0.1), Says(0.1)], few, mirror=False)[0]) == 2
    noisy = (images + 60 * (random.random((200, 1, 1)) < 0.5) * (np.arange(8) < 4)).clip(0, 255).astype(np.uint8)
    one_sided = Packed(noisy, labels, 2, masks=np.zeros((200, 8, 8), np.uint8))
    assert choose([Says(0.1)], one_sided, mirror=True)[1]  # type: ignore[list-item]
    assert not choose([Says(0.1)], one_sided, mirror=False)[1]  # type: ignore[list-item]


def test_ways_to_predict_are_compared_at_their_best_temperature() -> None:
    labels = torch.arange(300) % 2
    logits = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) + torch.eye(2)[labels]
    assert tempered_loss(logits * 2, labels) == pytest.approx(tempered_loss(logits, labels), abs=2e-3)


def test_few_images_are_passed_over_more_often() -> None:
    model = Model(steps=100, training=Training(epochs=6, batch_size=32))
    assert long_enough(model, 4708).epochs == 6
    assert long_enough(model, 170).epochs == 17  # 6 steps each
    assert long_enough(model, 10).batch_size == 32


def test_an_epoch_is_judged_by_likelihood_and_masks() -> None:
    batch = {"image": torch.ones(2, 1, 4, 4), "label": torch.eye(2)}
    right, wrong = torch.tensor([0.731059, 0.268941]).log()
    value = quality(Says(1.0), {**batch, "mask": torch.ones(2, 1, 4, 4)}, smoothing=0.2)
    torch.testing.assert_close(value, torch.stack([0.9 * right + 0.1 * wrong, 0.9 * wrong + 0.1 * right]) + 1, atol=1e-4, rtol=0)


def test_the_baseline_is_logistic_regression_with_c_from_cross_validation() -> None:
    images, labels, _ = spotted(120, 0)
    seen = pixels(images)[:, ::8]
    made = fit_baseline("pixels", seen, labels, 2, np.arange(120), 0)
    assert isinstance(made, Baseline)
    scaled = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    cut = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(seen, labels, np.arange(120))
    plain = LogisticRegression(max_iter=300)
    search = GridSearchCV(plain, {"C": np.logspace(-5, -1, 5)}, scoring="neg_log_loss", cv=list(cut)).fit(scaled, labels)
    found = {}
    for strength in np.logspace(-5, -1, 5):
        reference = LogisticRegression(C=strength, max_iter=300).fit(scaled, labels)
        found[strength] = np.abs(np.diff(made(seen))[:, 0] - reference.decision_function(scaled)).max()
    assert found.pop(search.best_params_["C"]) < 0.03
    assert min(found.values()) > 0.1


def test_a_class_without_examples_is_never_the_baselines_answer() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    seen = np.eye(3)[labels] + random.normal(0, 0.1, (90, 3))
    three = fit_baseline("features", seen, labels, 3, np.arange(90), 0)
    assert (three(seen).argmax(1) == labels).mean() > 0.95
    two = fit_baseline("features", seen[labels != 1], labels[labels != 1], 3, np.arange(60), 0)
    assert set(two(seen).argmax(1)) == {0, 2}


def test_one_changed_knob_of_the_model_leaves_the_others_as_they_suit_the_data() -> None:
    simulated = resolve(MedicalConfig, [], ["model.training.epochs=3"]).network
    assert simulated == MANY.model_copy(update={"training": MANY.training.model_copy(update={"epochs": 3})})
    own = resolve(MedicalConfig, [], ["data.source=images", "model.size=160"])
    assert own.network == FEW.model_copy(update={"size": 160})
    assert type(own).model_validate(own.model_dump()) == own
    assert resolve(MedicalConfig, [], ["changes.turn=5"]).augmentation == MIRRORED.model_copy(update={"turn": 5})


def test_an_artefact_keeps_the_knobs_that_were_told_by_the_data() -> None:
    settled = MedicalConfig().settled()
    assert (settled.model, settled.changes) == (MANY, MIRRORED)
    assert settled.settled() == settled
    own = MedicalConfig.model_validate({"data": Data(source="images"), "model": {"members": 1}})
    assert own.model == FEW.model_copy(update={"members": 1})


def test_a_run_s_folder_holds_the_knobs_that_were_told_by_the_data(tmp_path: Path) -> None:
    Run.create("medical_imaging", MedicalConfig(), tmp_path / "run")
    kept = resolve(MedicalConfig, [tmp_path / "run" / "config.yaml"])
    assert (kept.model, kept.changes) == (MANY, MIRRORED)


def test_the_fewer_the_images_the_more_networks() -> None:
    assert [Model().members_of(images) for images in (253, 999, 1000)] == [4, 4, 2]
    assert Model(members=1).members_of(10) == 1
