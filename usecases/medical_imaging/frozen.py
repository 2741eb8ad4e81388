"""What a network sees that learnt from photographs and never from these images: for a baseline, and to notice the unusual."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from shared import pretrained
from shared.hardware import channels_last
from shared.models.cnn import fuse
from shared.models.efficientnet import MEAN, SCALE, EfficientNetLite0, load_imagenet

SIDE = 96  # pixels at which images are looked at, whatever their size: more costs much and told no more
GROUP = 64  # images looked at together


@dataclass(frozen=True)
class Views:
    """Numbers for each image.

    Attributes:
        stages: [n, channels] float32 mean of each channel, for the strides 4, 8, 16 and 32.
        pooled: [n, 1280] float32, from which ImageNet's classes would be told.
    """

    stages: list[np.ndarray]
    pooled: np.ndarray


class Frozen:
    """EfficientNet-lite0 as ImageNet taught it."""

    def __init__(self, network: EfficientNetLite0) -> None:
        self.network = channels_last(fuse(network))

    @classmethod
    def pretrained(cls, weights: Path | None = None) -> Frozen:
        """
        Args:
            weights: folder with its weights; None: the installed package.

        Raises:
            UserError: the weights are not to be had.
        """
        network = EfficientNetLite0()
        load_imagenet(network, pretrained.locate(pretrained.IMAGENET, weights) / pretrained.IMAGENET.weights)
        return cls(network)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Views:
        """Images uint8 [n, side, side] or [n, side, side, 3] RGB."""
        stages: list[list[np.ndarray]] = []
        pooled = []
        for start in range(0, len(images), GROUP):
            small = np.stack([_small(image) for image in images[start : start + GROUP]])
            group = torch.from_numpy(small)
            group = group[:, None].expand(-1, 3, -1, -1) if group.ndim == 3 else group.permute(0, 3, 1, 2)
            found = self.network(((group.float() - MEAN) / SCALE).contiguous(memory_format=torch.channels_last))
            stages.append([one.mean((2, 3)).numpy() for one in found])
            pooled.append(self.network.pool(found[-1]).numpy())
        return Views([np.concatenate(stage) for stage in zip(*stages, strict=True)], np.concatenate(pooled))


def _small(image: np.ndarray) -> np.ndarray:
    if image.shape[0] == SIDE:
        return image
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if image.shape[0] > SIDE else cv2.INTER_CUBIC)
