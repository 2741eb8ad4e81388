"""Training of a generator against a discriminator: two networks, two optimisers, so not the loop of `shared.training.fit`."""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch.nn import functional as F

from shared.config import Section
from shared.hardware import Choice, keep_memory
from shared.models.gan import Discriminator, Generator
from shared.training.loop import accelerator_for

SHIFT = 0.25  # largest, of half the side
LIGHT = 0.5  # largest change of contrast, as a share, and of brightness, which is -1..1


class Adversarial(Section):
    """The knobs of `fit_generator`."""

    steps: int = Field(1000, ge=1, description="of both networks")
    batch_size: int = Field(64, ge=2, description="images a step")
    learning_rate: float = Field(
        5e-4, gt=0, description="Adam's, of the generator, falling to 0; the discriminator's is twice that"
    )
    average: float = Field(0.99, ge=0, lt=1, description="decay a step of the running average of the generator, which is kept")


def fit_generator(
    generator: Generator,
    discriminator: Discriminator,
    images: torch.Tensor,
    labels: torch.Tensor,
    knobs: Adversarial,
    hardware: Choice,
    seed: int,
) -> Generator:
    """Train a generator to draw images like these; what is returned is on the CPU, in evaluation mode.

    The hinge loss (Lim & Ye 2017, section 3); a faster discriminator (Heusel et al. 2017); both networks' images are changed
    at random in ways that gradients pass, so that few images are not learnt by heart (Zhao et al. 2020, section 3.2); and of the
    generator the running average is kept (Karras et al. 2018, section 4.1).

    Args:
        generator, discriminator: trained in place.
        images: uint8 [n, channels, side, side]. labels: int64 [n].
    """
    torch.manual_seed(seed)
    keep_memory()
    accelerator = accelerator_for(hardware, seed)
    drawing, judging = (
        torch.optim.Adam(network.parameters(), rate, betas=(0.0, 0.9))
        for network, rate in ((generator, knobs.learning_rate), (discriminator, 2 * knobs.learning_rate))
    )
    kept = copy.deepcopy(generator).to(accelerator.device)
    draw, drawing, judge, judging = accelerator.prepare(generator.train(), drawing, discriminator.train(), judging)
    images, labels = images.to(accelerator.device), labels.to(accelerator.device)
    for step in range(knobs.steps):
        for optimizer, rate in ((drawing, knobs.learning_rate), (judging, 2 * knobs.learning_rate)):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / knobs.steps)
        rows = torch.randint(len(images), (knobs.batch_size,), device=images.device)
        wanted, noise = labels[rows], torch.randn(2, len(rows), generator.length, device=images.device)
        with torch.no_grad():
            drawn = draw(noise[0], wanted)
        both = varied(torch.cat([images[rows] / 127.5 - 1, drawn]))
        real, unreal = judge(both, torch.cat([wanted, wanted])).chunk(2)
        judging.zero_grad()
        accelerator.backward(F.relu(1 - real).mean() + F.relu(1 + unreal).mean())
        judging.step()
        discriminator.requires_grad_(False)
        drawing.zero_grad()
        accelerator.backward(-judge(varied(draw(noise[1], wanted)), wanted).mean())
        drawing.step()
        discriminator.requires_grad_(True)
        _follow(kept, generator, min(knobs.average, (step + 1) / (step + 11)))
    for network in (draw, judge):
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    return kept.cpu().eval()


def varied(images: torch.Tensor) -> torch.Tensor:
    """Images [batch, channels, side, side] in -1..1, each shifted and with other brightness and contrast; gradients pass.

    What comes in at the edges is the image, mirrored.
    """
    count, device = len(images), images.device
    place = torch.eye(2, 3, device=device).repeat(count, 1, 1)
    place[:, :, 2] = 2 * SHIFT * (torch.rand(count, 2, device=device) - 0.5)
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness = 2 * LIGHT * (torch.rand(2, count, 1, 1, 1, device=device) - 0.5)
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (1 + contrast) + mean + brightness


@torch.no_grad()
def _follow(kept: Generator, live: Generator, decay: float) -> None:
    torch._foreach_lerp_([*kept.parameters()], [*live.parameters()], 1 - decay)
    for ours, theirs in zip(kept.buffers(), live.buffers(), strict=True):
        ours.copy_(theirs)
