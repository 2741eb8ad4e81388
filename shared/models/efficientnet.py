"""EfficientNet-lite0, the convolutional network that comes with weights learnt on ImageNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.models.cnn import ConvNorm

BLOCKS = (  # expansion, kernel, stride, channels, repeats: Tan & Le 2019, table 1
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280
MEAN, SCALE = 127.0, 128.0  # of its inputs: (RGB in 0..255 - MEAN) / SCALE


class SameConvNorm(ConvNorm):
    """A convolution and a normalisation as TensorFlow pads them: where the stride is 2, one pixel more at the end.

    Depthwise ones compute in fp32 even where the rest is in bf16: on CPUs their gradients take twice as long in bf16.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        nn.Module.__init__(self)
        before, total = (size - stride) // 2, size - stride
        self.pad = [before, total - before] * 2 if stride > 1 else []
        padding = 0 if self.pad else size // 2
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, self.pad) if self.pad else x
        if self.conv.groups == 1 or x.device.type != "cpu":
            return self.norm(self.conv(x))
        with torch.autocast("cpu", enabled=False):
            return self.norm(self.conv(x.to(self.conv.weight.dtype)))


class Inverted(nn.Module):
    """An inverted residual (Sandler et al. 2018, section 3.3): wider, a depthwise convolution, narrow again."""

    def __init__(self, inputs: int, outputs: int, expansion: int, size: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SameConvNorm(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = SameConvNorm(wide, wide, size, stride, groups=wide)
        self.project = SameConvNorm(wide, outputs, 1)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        made = self.project(F.relu6(self.depthwise(wide)))
        return x + made if self.same else made


class EfficientNetLite0(nn.Module):
    """EfficientNet (Tan & Le 2019) without squeeze-and-excitation, with ReLU6, as its authors made it for phones.

    Images whose sides are multiples of 32 fit its strides. 4.65 million parameters with the 1,000 classes, 3.4 without.

    Attributes:
        widths: channels of the features that `forward` gives.
        pooled: length of what `pool` gives.
    """

    widths: tuple[int, ...] = (24, 40, 112, 320)
    pooled = HEAD

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvNorm(3, STEM, 3, 2)
        blocks: list[list[Inverted]] = [[]]
        before, stride = STEM, 2
        for expansion, size, step, width, repeats in BLOCKS:
            for repeat in range(repeats):
                own = step if repeat == 0 else 1
                stride *= own
                if own == 2 and stride > 4:
                    blocks.append([])
                blocks[-1].append(Inverted(before, width, expansion, size, own))
                before = width
        self.stages = nn.ModuleList(nn.Sequential(*own) for own in blocks)
        self.head = SameConvNorm(before, HEAD, 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """[batch, 3, height, width], scaled by `MEAN` and `SCALE`, to the features of strides 4, 8, 16 and 32."""
        x, found = F.relu6(self.stem(images)), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def pool(self, coarsest: torch.Tensor) -> torch.Tensor:
        """The last of `forward`'s features to [batch, 1280], from which ImageNet's classes are told."""
        return F.relu6(self.head(coarsest)).mean((2, 3))

    def units(self) -> Iterator[tuple[str, SameConvNorm]]:
        """Each convolution with its normalisation, and the name it has in the published weights."""
        yield "_conv_stem _bn0", self.stem
        blocks = [block for block in self.stages.modules() if isinstance(block, Inverted)]
        for place, block in enumerate(blocks):
            if block.expand is not None:
                yield f"_blocks.{place}._expand_conv _blocks.{place}._bn0", block.expand
            yield f"_blocks.{place}._depthwise_conv _blocks.{place}._bn1", block.depthwise
            yield f"_blocks.{place}._project_conv _blocks.{place}._bn2", block.project
        yield "_conv_head _bn1", self.head


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The published tensors by name. Reading runs no code from the file: it may hold tensors and nothing else.

    Raises:
        UserError: it is no such file.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise UserError(f"{path} cannot be read as a file of weights ({type(error).__name__}). Give another folder.") from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} holds no weights by name. Give the folder of EfficientNet-lite0's published weights.")
    return weights


def load_imagenet(network: EfficientNetLite0, path: Path) -> None:
    """Put the published weights, a state dict in `path`, into the network. Its classes are left out.

    Raises:
        UserError: the file holds no weights, or those of another network.
    """
    weights = read_weights(path)
    try:
        for names, unit in network.units():
            conv, norm = names.split()
            unit.conv.load_state_dict(_below(weights, conv))
            unit.norm.load_state_dict(_below(weights, norm))
    except RuntimeError:
        raise UserError(f"{path} holds the weights of another network than EfficientNet-lite0. Give another folder.") from None


def _below(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key[len(name) + 1 :]: value for key, value in weights.items() if key.startswith(f"{name}.")}
