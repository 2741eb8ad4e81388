"""Masks from the features of any backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from shared.models.cnn import ConvNorm


class UNetDecoder(nn.Module):
    """Coarse features, made twice as fine again and again, each time beside the backbone's own (Ronneberger et al. 2015).

    The last step is sub-pixel convolution (Shi et al. 2016, section 3.1): each place of the finest features gives
    `detail` x `detail` logits.

    Args:
        inputs: channels of the backbone's features, the finest first; each has half the sides of the one before.
        widths: channels of the decoder at the same places, but for the coarsest.
        classes: masks to give.
        detail: how much finer than the finest features the logits are.
        prior: share of the pixels that are marked before anything is learnt. Were it a half, training would spend its first
            hundreds of steps on learning that most pixels are not (Lin et al. 2017, "Focal loss", section 3.3).
    """

    def __init__(
        self, inputs: Sequence[int], widths: Sequence[int], classes: int = 1, detail: int = 2, prior: float = 0.01
    ) -> None:
        super().__init__()
        if len(widths) != len(inputs) - 1:
            raise ValueError(f"{len(inputs)} features need {len(inputs) - 1} widths, not {len(widths)}")
        self.sides, self.joins = nn.ModuleList(), nn.ModuleList()
        before = inputs[-1]
        for own, width in zip(inputs[-2::-1], widths[::-1], strict=True):
            self.sides.append(ConvNorm(before, width, 1))  # before the upsampling, where it is cheap
            self.joins.append(nn.Sequential(ConvNorm(width + own, width, 3), nn.ReLU(), ConvNorm(width, width, 3), nn.ReLU()))
            before = width
        self.last = nn.Conv2d(before, classes * detail**2, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, math.log(prior / (1 - prior)))
        self.shuffle = nn.PixelShuffle(detail)

    def forward(self, features: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Logits [batch, classes, *size] from features, the finest first."""
        x = features[-1]
        for side, join, finer in zip(self.sides, self.joins, features[-2::-1], strict=True):
            x = F.interpolate(F.relu(side(x)), size=finer.shape[2:])
            x = join(torch.cat([x, finer], 1))
        logits = self.shuffle(self.last(x)).float()
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def dice(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """[batch] overlap of masks [batch, ...], which may be soft: twice what they share, of what both have; 1 if both are empty."""
    found, wanted = found.flatten(1).float(), wanted.flatten(1).float()
    shared = (found * wanted).sum(1)
    return (2 * shared + 1e-6) / (found.sum(1) + wanted.sum(1) + 1e-6)
