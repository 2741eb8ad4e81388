"""A generative adversarial network that draws small images of a wanted class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

COARSEST = 4  # side of the image that the generator starts from and the discriminator ends with
AT_ONCE = 256  # images drawn together


class ClassNorm(nn.Module):
    """Batch normalisation with a scale and a shift of each class (Dumoulin et al. 2017, section 2.2)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * self.scale(labels)[:, :, None, None] + self.shift(labels)[:, :, None, None]


class Generator(nn.Module):
    """From noise and a class to an image, in steps of twice the side (DCGAN; Radford et al. 2016, section 3).

    Pixels are doubled and then convolved: transposed convolutions left chequered patterns (Odena et al. 2016).

    Args:
        classes: how many.
        widths: channels at sides of 4, 8, ...; the image's side is 4 * 2**len(widths).
        channels: of the image, 1 for grey.
        length: of the noise.
    """

    def __init__(self, classes: int, widths: Sequence[int], channels: int = 1, length: int = 64) -> None:
        super().__init__()
        self.length, self.side = length, COARSEST * 2 ** len(widths)
        self.first = nn.Linear(length, widths[0] * COARSEST**2)
        self.norms = nn.ModuleList(ClassNorm(width, classes) for width in widths)
        ends = [*widths[1:], channels]
        self.rises = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, ends, strict=True))

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Noise [batch, length] from N(0, 1) and labels [batch] to images [batch, channels, side, side] in -1..1."""
        x = self.first(noise).reshape(len(noise), -1, COARSEST, COARSEST)
        for norm, rise in zip(self.norms, self.rises, strict=True):
            x = rise(F.interpolate(F.relu(norm(x, labels)), scale_factor=2))
        return torch.tanh(x)

    @torch.no_grad()
    def draw(self, labels: torch.Tensor, seed: int) -> torch.Tensor:
        """Images of classes [n], uint8 [n, channels, side, side]; the same for the same seed. For a generator in evaluation."""
        random = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(labels), self.length, generator=random)
        drawn = [self(*pair) for pair in zip(noise.split(AT_ONCE), labels.split(AT_ONCE), strict=True)]
        return ((torch.cat(drawn) + 1) * 127.5).round().to(torch.uint8)


class Discriminator(nn.Module):
    """How much an image looks like a real one of its class: a projection discriminator (Miyato & Koyama 2018, figure 1d).

    The spectral norm of every layer is 1, which keeps its gradients useful (Miyato et al. 2018).

    Args:
        classes, channels: as for `Generator`.
        widths: channels at sides of side / 2, side / 4, ..., 4.
    """

    def __init__(self, classes: int, widths: Sequence[int], channels: int = 1) -> None:
        super().__init__()
        starts = [channels, *widths[:-1]]
        self.falls = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in zip(starts, widths, strict=True))
        self.last = spectral_norm(nn.Linear(widths[-1], 1))
        self.own = spectral_norm(nn.Embedding(classes, widths[-1]))

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Images [batch, channels, side, side] in -1..1 and labels [batch] to scores [batch], higher for more real ones."""
        x = images
        for fall in self.falls:
            x = F.leaky_relu(fall(x), 0.2)
        x = x.sum((2, 3))
        return self.last(x)[:, 0] + (x * self.own(labels)).sum(1)
