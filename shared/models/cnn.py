"""Convolutional networks over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


class ConvNorm(nn.Module):
    """A convolution without bias and a batch normalisation, which `fuse` makes one convolution."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def fuse(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015, figure 5 left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResidualNet(nn.Module):
    """A plain residual network that gives the features of every stage.

    Plain 3x3 convolutions are what CPUs with matrix units are fast at; depthwise ones are not.

    Args:
        widths: channels of each stage; stage i has a stride of 4 * 2**i.
        blocks: residual blocks of each stage.
        stem: channels of the first convolution.
        stride: of the first convolution: 4, or 2 where masks need finer features, which costs half as much training time again.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], stem: int, stride: int = 4) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 7 if stride == 4 else 5, stride)
        self.stages = nn.ModuleList()
        before = stem
        for place, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            kinds = [(before, width, 2 if place else 4 // stride), *[(width, width, 1)] * (count - 1)]
            self.stages.append(nn.Sequential(*(ResidualBlock(*kind) for kind in kinds)))
            before = width

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """[batch, 3, height, width] to each stage's features, the finest first."""
        x, found = F.relu(self.stem(images)), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Pyramid(nn.Module):
    """Coarse features added to finer ones, down to the finest (Lin et al. 2017, "Feature Pyramid Networks", section 3).

    Args:
        widths: channels of each stage, the finest first.
        width: channels of the result.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.Conv2d(own, width, 1) for own in widths)
        self.smooth = ConvNorm(width, width, 3)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        x = self.sides[-1](features[-1])
        for side, finer in zip(list(self.sides)[-2::-1], features[-2::-1], strict=True):
            x = F.interpolate(x, size=finer.shape[2:]) + side(finer)
        return F.relu(self.smooth(x))


def fuse(module: M) -> M:
    """The module with each normalisation in its convolution: the same function in fewer steps, for prediction alone."""
    for part in module.eval().modules():
        if isinstance(part, ConvNorm):
            part.fuse()
    return module
