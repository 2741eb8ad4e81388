"""A small conditional GAN: its shapes, and that it learns to draw what it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from shared.config import Hardware
from shared.hardware import select
from shared.models.gan import Discriminator, Generator
from shared.training.adversarial import Adversarial, fit_generator, varied


@pytest.mark.parametrize(("widths", "channels"), [((8, 6), 1), ((8, 6, 4), 3)])
def test_images_have_the_side_and_channels_that_were_asked_for(widths: tuple[int, ...], channels: int) -> None:
    labels, side = torch.tensor([0, 2, 1]), 4 * 2 ** len(widths)
    generator = Generator(3, widths, channels).eval()
    images = generator(torch.randn(3, generator.length), labels)
    assert images.shape == (3, channels, side, side)
    assert images.abs().max() <= 1
    assert Discriminator(3, widths[::-1], channels)(images, labels).shape == (3,)
    drawn = generator.draw(labels, seed=1)
    assert (drawn.shape, drawn.dtype) == (images.shape, torch.uint8)
    assert torch.equal(drawn, generator.draw(labels, seed=1))
    assert not torch.equal(drawn, generator.draw(labels, seed=2))


def test_the_discriminator_cannot_be_steeper_than_its_norms_allow() -> None:
    """Each layer's largest singular value is 1, so a class's score of one image and another differ by a bounded amount."""
    torch.manual_seed(0)
    judge = Discriminator(2, (8, 8)).train()
    for _ in range(30):  # the power method finds the norm step by step
        judge(torch.randn(2, 1, 16, 16), torch.tensor([0, 1]))
    for layer in [*judge.falls, judge.last, judge.own]:
        matrix = layer.weight.detach().flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2) == pytest.approx(1, abs=0.02)


def bars(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars that lie (class 0) or stand (class 1), somewhere."""
    random, labels = np.random.default_rng(0), np.arange(count) % 2
    images = np.full((count, 16, 16), 40, np.uint8)
    for image, label, place in zip(images, labels, random.integers(2, 11, count), strict=True):
        (image.T if label else image)[place : place + 4] = 220
    return images, labels


def test_it_draws_the_class_that_it_is_asked_for() -> None:
    images, labels = bars(128)
    torch.manual_seed(0)
    untrained, judge = Generator(2, (32, 16), length=8), Discriminator(2, (16, 32))
    chip = select(Hardware(device="cpu", precision="fp32"))
    knobs = Adversarial(steps=150, batch_size=16, learning_rate=4e-3)
    generator = fit_generator(untrained, judge, torch.from_numpy(images[:, None]), torch.from_numpy(labels), knobs, chip, seed=0)
    wanted = torch.arange(100) % 2
    drawn = generator.draw(wanted, seed=0).numpy()
    knows = LogisticRegression().fit(_turned(images), labels)
    assert knows.score(_turned(drawn[:, 0]), wanted.numpy()) > 0.95
    places = drawn[wanted.numpy() == 0, 0].mean(2).argmax(1)
    assert len(np.unique(places)) > 3  # not the same bar each time
    assert not generator.training


def _turned(images: np.ndarray) -> np.ndarray:
    """How unlike rows are and how unlike columns are: deviations of their means."""
    return np.stack([images.mean(axis).std(1) for axis in (1, 2)], 1)


def test_changes_keep_the_size_vary_each_image_and_let_gradients_through() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 1, 16, 16).repeat(2, 1, 1, 1).requires_grad_()
    found = varied(images)
    assert found.shape == images.shape
    assert not torch.allclose(found[0], found[1])
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert (gradient.sum((1, 2, 3)) > 0).all()
