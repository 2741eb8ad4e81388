"""The network: which class an image is of and, where masks teach it, where the finding is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from shared import pretrained
from shared.config import Section, Training
from shared.hardware import channels_last
from shared.models.cnn import ResidualNet
from shared.models.efficientnet import MEAN, SCALE, STEM, EfficientNetLite0, load_imagenet
from shared.models.segmentation import UNetDecoder
from usecases.medical_imaging.packing import SMALL_SET

Batch = Mapping[str, torch.Tensor]
CONTRAST = 0.45  # standard deviation of photographs as ImageNet's networks see them
EVIDENCE = 3  # numbers that the class head is told of the mask
LIKELIEST = 0.01  # share of the mask's places that its evidence is the mean of


class Model(Section):
    """The network and its training."""

    backbone: Literal["imagenet", "residual"] = Field(
        "imagenet",
        description="EfficientNet-lite0 with ImageNet's weights, for few images; or a residual network from scratch",
    )
    weights: Path | None = Field(None, description="folder with ImageNet's weights; null: the installed package (extra: medical)")
    size: int = Field(96, ge=32, multiple_of=32, description="side of the network's square input, pixels")
    widths: tuple[int, ...] = Field((32, 64, 128, 256), min_length=2, description="residual: channels of each stage")
    blocks: tuple[int, ...] = Field((2, 2, 2, 2), min_length=2, description="residual: blocks of each stage")
    masks: tuple[int, ...] = Field(
        (32, 64, 96, 128),
        min_length=1,
        description="channels of the masks' decoder, the coarsest last; each is twice as fine",
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the features left out before the last layer, in training")
    smoothing: float = Field(0.1, ge=0, lt=1, description="share of each label that is spread over all classes, in training")
    balance: float = Field(0.5, ge=0, le=1, description="how much rare classes weigh more: 0 not at all, 1 as if all were equal")
    standardise: bool = Field(True, description="each image to the same mean and contrast, so that exposure tells nothing")
    frozen: int = Field(1, ge=0, le=4, description="imagenet: first stages that keep ImageNet's weights, which is quicker")
    members: int | None = Field(
        None, ge=1, le=10, description="networks trained; how many predict is chosen on validation; null: 4 of few images, or 2"
    )
    steps: int = Field(300, ge=1, description="of training at least: few images are passed over more often than training.epochs")
    training: Training = Training(epochs=6, batch_size=32, learning_rate=4e-4, weight_decay=0.01, average=0.98)

    def members_of(self, images: int) -> int:
        """How many networks are trained on so many images: the fewer, the more do networks differ by chance."""
        return self.members or (4 if images < SMALL_SET else 2)


class FindingNetwork(nn.Module):
    """One backbone, a head for classes, and a U-Net's decoder where there are masks.

    The class head sees the backbone's pooled features and, with masks, what the mask says at its likeliest places: a small
    finding would be lost in the mean over the image.

    Args:
        model: the knobs.
        classes: how many.
        masks: whether there is a decoder of masks.
        side: images are brought to this size first, as `frozen.Frozen` does; 0: they are looked at as they are.
    """

    def __init__(self, model: Model, classes: int, masks: bool, side: int = 0) -> None:
        super().__init__()
        self.side = side
        self.model = model
        self.backbone: EfficientNetLite0 | ResidualNet
        if model.backbone == "imagenet":
            self.backbone = EfficientNetLite0()
            widths, pooled = (STEM, *EfficientNetLite0.widths), EfficientNetLite0.pooled
        else:
            self.backbone = ResidualNet(model.widths, model.blocks, model.widths[0], stride=2)
            widths, pooled = (model.widths[0], *model.widths), 2 * model.widths[-1]
        self.levels = min(len(model.masks), len(widths) - 1)  # of strides that the decoder goes up from the coarsest
        self.decoder = UNetDecoder(widths[-self.levels - 1 :], model.masks[-self.levels :]) if masks else None
        self.length = pooled + EVIDENCE * masks
        self.dropout = nn.Dropout(model.dropout)
        self.last = nn.Linear(self.length, classes)
        self.still: list[nn.Module] = []
        if isinstance(self.backbone, EfficientNetLite0) and model.frozen:
            self.still = [self.backbone.stem, *self.backbone.stages[: model.frozen]]
            for part in self.still:
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> FindingNetwork:
        """Frozen stages keep the statistics of their normalisation, too."""
        super().train(mode)
        for part in self.still:
            part.eval()
        return self

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images [batch, 1 or 3, height, width], 0..255, RGB, sides multiples of 32.

        Returns:
            classes: [batch, classes] logits.
            features: [batch, length], what the last layer sees.
            mask: [batch, 1, height, width] logits, with masks.
        """
        x = (images.to(self.last.weight.dtype) - MEAN) / SCALE
        if self.side and x.shape[2] != self.side:
            weights = _resizing(x.shape[2], self.side).to(x)
            x = weights @ x @ weights.T
        if self.model.standardise:
            x = CONTRAST * (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 0.02)
        x = x.expand(-1, 3, -1, -1)
        rise = F.relu6 if isinstance(self.backbone, EfficientNetLite0) else F.relu
        found = [rise(self.backbone.stem(x.contiguous(memory_format=torch.channels_last)))]
        for stage in self.backbone.stages:
            found.append(stage(found[-1]))
        made = {}
        if isinstance(self.backbone, EfficientNetLite0):
            pooled = self.backbone.pool(found[-1])
        else:
            pooled = torch.cat([found[-1].mean((2, 3)), found[-1].amax((2, 3))], 1)
        if self.decoder is not None:
            made["mask"] = self.decoder(found[-self.levels - 1 :], (images.shape[2], images.shape[3]))
            pooled = torch.cat([pooled, evidence(made["mask"]).to(pooled.dtype)], 1)
        return {"classes": self.last(self.dropout(pooled)).float(), "features": pooled.float(), **made}


@lru_cache(maxsize=4)
def _resizing(before: int, after: int) -> torch.Tensor:
    """[after, before], by which OpenCV multiplies an image's columns, and its rows, to resize it."""
    method = cv2.INTER_AREA if before > after else cv2.INTER_CUBIC
    return torch.from_numpy(cv2.resize(np.eye(before, dtype=np.float32), (before, after), interpolation=method))


def build(model: Model, classes: int, masks: bool) -> FindingNetwork:
    """A network to train, with ImageNet's weights where the knobs ask for them.

    Raises:
        UserError: these weights are not to be had, or not the expected ones.
    """
    network = FindingNetwork(model, classes, masks)
    if isinstance(network.backbone, EfficientNetLite0):
        folder = pretrained.locate(pretrained.IMAGENET, model.weights)
        load_imagenet(network.backbone, folder / pretrained.IMAGENET.weights)
    return channels_last(network)


def evidence(mask: torch.Tensor) -> torch.Tensor:
    """[batch, 3] of a mask's logits [batch, 1, height, width]: the highest, the mean of the likeliest, and the area's root."""
    flat = mask.float().flatten(1)
    likeliest = flat.topk(max(1, round(LIKELIEST * flat.shape[1])), 1).values
    area = flat.sigmoid().mean(1)
    return torch.stack([likeliest[:, 0] / 4, likeliest.mean(1) / 4, 10 * (area + 1e-6).sqrt()], 1)


class Objective:
    """Cross-entropy of the class and, where there are masks, `mask_loss`.

    Args:
        weights: [classes] of each class's examples.
        smoothing: share of each label that is spread over all classes.
    """

    def __init__(self, weights: torch.Tensor, smoothing: float) -> None:
        self.weights, self.smoothing = weights, smoothing

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`batch`: `image`; `label` [batch, classes] in shares of 1; perhaps `mask` [batch, 1, height, width]."""
        output = model(batch["image"])
        wanted = batch["label"]
        weight = (wanted * self.weights.to(wanted.device)).sum(1)
        loss = -(weight * (smoothed(wanted, self.smoothing) * output["classes"].log_softmax(1)).sum(1)).mean()
        if "mask" in output:
            loss = loss + mask_loss(output["mask"], batch["mask"].float())
        return {"loss": loss, "output": output["classes"]}


def smoothed(labels: torch.Tensor, share: float) -> torch.Tensor:
    """Labels [batch, classes] of which a share is spread over all classes (Szegedy et al. 2016, section 7)."""
    return labels * (1 - share) + share / labels.shape[1]


def mask_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of pixels, and one minus the soft Dice (Milletari et al. 2016, section 3) of the batch and of its images.

    The batch's alone teaches little of small findings, which are few of its pixels (on simulated brains the Dice of single
    images rose by .06 with theirs); that of images alone marks much that is healthy, since an empty mask has no Dice.
    """
    logits = logits.float()
    found = logits.sigmoid()
    overlap = _missed(found[None], wanted[None]).mean()
    ill = wanted.flatten(1).any(1)
    if ill.any():
        overlap = (overlap + _missed(found[ill], wanted[ill]).mean()) / 2
    return F.binary_cross_entropy_with_logits(logits, wanted) + overlap


def _missed(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """[n] one minus the Dice of masks [n, ...], nearly as one where both are empty."""
    found, wanted = found.flatten(1), wanted.flatten(1)
    return 1 - (2 * (found * wanted).sum(1) + 1) / (found.sum(1) + wanted.sum(1) + 1)


def class_weights(counts: torch.Tensor, balance: float) -> torch.Tensor:
    """Weights of the classes' examples, 1 on average, from how many there are of each; `balance` as in `Model`."""
    weights = (counts.sum() / counts.clamp(min=1) / len(counts)) ** balance
    return weights * counts.sum() / (weights * counts).sum()
