"""Images made ready for training: kept in memory at the network's size, and changed anew for each use."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from pydantic import Field
from torch.utils.data import Dataset

from shared.config import Section

SMALL_SET = 1000  # images; of fewer in training, chance decides much


class Changes(Section):
    """How much training images are changed at random, so that the network learns what does not matter.

    Of chest X-rays (PneumoniaMNIST, validation) zoomed by a quarter 36% of the healthy were called ill after training with sizes
    changed by up to .15, 9% after .4, and as many as before of those that were not zoomed: framing had been a clue. A few hundred
    images, which differ much by themselves, teach too little if they are changed as much.
    """

    mirror: bool = Field(True, description="left and right may change places; not where the label tells the side")
    upside_down: bool = Field(False, description="top and bottom may change places")
    turn: float = Field(15.0, ge=0, le=180, description="largest rotation, degrees")
    zoom: float = Field(0.4, ge=0, lt=1, description="largest change of size, and of width to height, as a share")
    shift: float = Field(0.12, ge=0, lt=1, description="largest shift, as a share of the side")
    light: float = Field(0.35, ge=0, description="strength of changes of brightness, contrast and gamma")
    spoil: float = Field(
        0.2, ge=0, le=1, description="how often an image is blurred, noisy, or has an area covered; each on its own"
    )
    few: int = Field(SMALL_SET, ge=0, description="fewer images than this are turned, zoomed, shifted and relit less")
    gentle: float = Field(0.4, ge=0, le=1, description="how much of all that these are")
    mix: float = Field(
        0.0, ge=0, description="mixup: Beta distribution's parameter; 0: images are not mixed, nor where there are masks"
    )

    def of(self, images: int) -> Changes:
        """Those for so many images."""
        if images >= self.few:
            return self
        return self.model_copy(update={name: self.gentle * getattr(self, name) for name in ("turn", "zoom", "shift", "light")})


class Packed(Dataset[dict[str, torch.Tensor]]):
    """Images of one size with labels and perhaps masks. A batch is made at once: use it with `collate=rows.take`.

    Args:
        images: uint8 [n, side, side] grey or [n, side, side, 3] RGB.
        labels: [n] places of the classes.
        classes: how many.
        masks: bool or uint8 [n, side, side], 1 where the finding is.
        changes: each use of an image differs at random, by torch's seed; None: images are given as they are.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        masks: np.ndarray | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.images, self.masks, self.changes = images, masks, changes
        self.labels = np.eye(classes, dtype=np.float32)[labels]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        return {name: tensor[0] for name, tensor in self.__getitems__([place]).items()}

    def __getitems__(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = np.asarray(places)
        images, labels = self.images[rows], self.labels[rows]
        masks = None if self.masks is None else self.masks[rows].astype(np.uint8)
        if self.changes is not None:
            random = np.random.default_rng(int(torch.randint(2**62, ())))
            for i in range(len(rows)):
                images[i], moved = changed(images[i], None if masks is None else masks[i], self.changes, random)
                if masks is not None:
                    masks[i] = moved
            if self.changes.mix and masks is None:
                images, labels = mixed(images, labels, self.changes.mix, random)
        grey = images.ndim == 3
        made = {
            "image": torch.from_numpy(images[:, None] if grey else images.transpose(0, 3, 1, 2)),
            "label": torch.from_numpy(labels),
        }
        return made if masks is None else {**made, "mask": torch.from_numpy(masks[:, None])}


def mixed(images: np.ndarray, labels: np.ndarray, strength: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each image with a share of another one of the batch, labels likewise (Zhang et al. 2018, "mixup", section 2)."""
    share = float(random.beta(strength, strength))
    share = max(share, 1 - share)
    other = random.permutation(len(images))
    blended = cv2.addWeighted(images, share, images[other], 1 - share, 0.0)
    return blended, (share * labels + (1 - share) * labels[other]).astype(np.float32)


def changed(
    image: np.ndarray, mask: np.ndarray | None, changes: Changes, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """An image as another machine, another day and another position might have shown it, and its mask moved along.

    What comes in at the edges is the image, mirrored: with black there, networks learnt images that look like no real ones (on
    chest X-rays, their log-loss on unchanged images was twice as high).
    """
    side = np.array(image.shape[1::-1])
    zoom = np.exp(random.uniform(-1, 1) * np.log1p(changes.zoom))
    stretch = np.exp(random.uniform(-0.5, 0.5, 2) * np.log1p(changes.zoom))
    turn = np.deg2rad(random.uniform(-1, 1) * changes.turn)
    flip = np.where(random.random(2) < (0.5 * changes.mirror, 0.5 * changes.upside_down), -1.0, 1.0)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.empty((2, 3))
    matrix[:, :2] = zoom * rotate * stretch * flip
    centre = (side - 1) / 2
    matrix[:, 2] = centre + random.uniform(-1, 1, 2) * changes.shift * side - matrix[:, :2] @ centre
    size = (int(side[0]), int(side[1]))
    image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return spoilt(relit(image, changes.light, random), changes.spoil, random), mask


def relit(image: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Other brightness, contrast and gamma."""
    levels = np.linspace(0, 1, 256) ** np.exp(random.normal(0, strength))
    levels = (levels - 0.5) * np.exp(random.normal(0, strength)) + 0.5 + random.normal(0, 0.4 * strength)
    return cv2.LUT(image, np.clip(255 * levels, 0, 255).astype(np.uint8))


def spoilt(image: np.ndarray, often: float, random: np.random.Generator) -> np.ndarray:
    """Sometimes blurred, noisy, or covered in one place (Zhong et al. 2017, "Random Erasing", section 3)."""
    side = min(image.shape[:2])
    if random.random() < often:
        image = cv2.GaussianBlur(image, (0, 0), side * random.uniform(0.004, 0.015))
    if random.random() < often:
        cv2.setRNGSeed(int(random.integers(2**31)))
        noise = cv2.randn(np.zeros(image.shape, np.int16), np.zeros(1), np.full(1, random.uniform(2, 12)))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if random.random() < often:
        height, width = random.uniform(0.08, 0.3, 2) * image.shape[:2]
        top, left = (random.random(2) * (image.shape[0] - height, image.shape[1] - width)).astype(int)
        image[top : top + int(height), left : left + int(width)] = random.integers(256)
    return image
