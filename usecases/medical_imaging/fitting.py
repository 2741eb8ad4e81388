"""Training the networks, and choosing on validation whether several of them and mirrored looks pay."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.config import Training
from shared.data import rows
from shared.hardware import Choice, channels_last
from shared.models.cnn import fuse
from shared.models.segmentation import dice
from shared.runs import Run
from shared.training import Fitted, Validation, fit
from usecases.medical_imaging.network import Batch, FindingNetwork, Model, Objective, build, class_weights, smoothed
from usecases.medical_imaging.packing import Packed

LEAST_GAIN = 0.01  # share of the loss that a dearer way to predict must save to be kept
TEMPERATURES = np.geomspace(0.25, 4, 33)
TELLING = 100  # images of validation, of fewer it cannot tell that a cheaper way is as good
GROUP = 32  # images looked at together


def train_networks(
    model: Model, train: Packed, validation: Packed, run: Run, chip: Choice, seed: int, name: str = ""
) -> tuple[list[FindingNetwork], list[Fitted]]:
    """`model.members_of` so many networks on the CPU, each with its own seed and the weights of its best epoch on validation.

    Args:
        name: of these networks, where a run trains several sets of them.

    Raises:
        UserError: the backbone's weights are not to be had.
    """
    classes = train.labels.shape[1]
    weights = class_weights(torch.from_numpy(train.labels).sum(0), model.balance)
    judged = Validation(validation, partial(quality, smoothing=model.smoothing), "log-likelihood of the smoothed class, and Dice")
    training = long_enough(model, len(train))
    networks, fitted = [], []
    for member in range(model.members_of(len(train))):
        own = seed + 1000 * member
        torch.manual_seed(own)
        network = build(model, classes, train.masks is not None)
        title = f"{name} network {member + 1}".strip().replace(" ", "-")
        objective = Objective(weights, model.smoothing)
        fitted.append(fit(network, objective, train, judged, training, run, chip, name=title, seed=own, collate=rows.take))
        with torch.no_grad():
            network.last.bias.sub_(weights.log().to(network.last.bias.device))  # as often as they are, not as they were weighted
        networks.append(network.to("cpu"))
    return networks, fitted


def long_enough(model: Model, images: int) -> Training:
    """The knobs of training, with as many epochs over so many images as `model.steps` asks for, if not more already."""
    each = math.ceil(images / model.training.batch_size)
    return model.training.model_copy(update={"epochs": max(model.training.epochs, math.ceil(model.steps / each))})


def quality(model: nn.Module, batch: Batch, smoothing: float) -> torch.Tensor:
    """[batch] what decides which epoch is best: the log-likelihood of the label, and the mask's Dice where there is one.

    The label is smoothed as in training, else the best epoch would be the one whose answers happen to be as sure as smoothing
    keeps the network from being, often the first.
    """
    output = model(batch["image"])
    value = (smoothed(batch["label"], smoothing) * output["classes"].log_softmax(1)).sum(1)
    if "mask" in output:
        value = value + dice(output["mask"] > 0, batch["mask"])
    return value


def quick(networks: Sequence[FindingNetwork], precision: str) -> list[FindingNetwork]:
    """Copies of the networks for prediction alone on the processor, normalisation in the convolutions: they cannot be trained on.

    Args:
        precision: "bf16" or "fp32".
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return [channels_last(fuse(copy.deepcopy(network)).to("cpu", dtype)) for network in networks]


@torch.no_grad()
def look(networks: Sequence[FindingNetwork], images: torch.Tensor, flips: bool) -> dict[str, torch.Tensor]:
    """What the networks, in evaluation mode, say of images [batch, 1 or 3, height, width] together.

    Args:
        flips: also look at each image mirrored, left to right.

    Returns:
        classes: [batch, classes] mean logits.
        spread: [batch, looks, classes] the logits that they are the mean of.
        features: [batch, length] of the first network.
        mask: [batch, 1, height, width] mean logits, where the networks have masks.
    """
    made, both = [], torch.cat([images, images.flip(3)]) if flips else images
    for network in networks:
        output = network(both)
        for mirrored, part in enumerate(zip(*(value.split(len(images)) for value in output.values()), strict=True)):
            one = dict(zip(output, part, strict=True))
            if mirrored and "mask" in one:
                one["mask"] = one["mask"].flip(3)
            made.append(one)
    spread = torch.stack([one["classes"] for one in made], 1)
    looked = {"classes": spread.mean(1), "spread": spread, "features": made[0]["features"]}
    if "mask" in made[0]:
        looked["mask"] = torch.stack([one["mask"] for one in made]).mean(0)
    return looked


def look_through(networks: Sequence[FindingNetwork], data: Packed, flips: bool) -> dict[str, torch.Tensor]:
    """`look` at all images, without masks and features: `classes`, `spread`, and `dice` [n] where the masks are known."""
    parts = []
    for start in range(0, len(data), GROUP):
        batch = data.__getitems__(range(start, min(len(data), start + GROUP)))
        looked = look(networks, batch["image"], flips)
        del looked["features"]
        if "mask" in looked:
            found = looked.pop("mask") > 0
            looked["dice"] = dice(found, batch["mask"])
        parts.append(looked)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def choose(
    networks: Sequence[FindingNetwork], validation: Packed, mirror: bool, precision: str = "fp32"
) -> tuple[list[FindingNetwork], bool, dict[str, Any]]:
    """The cheapest way to predict that is nearly the best on validation: one network or all, mirrored looks too or not.

    Of fewer than `TELLING` images all that there is is used: joining does little harm, and among 38 the choice was chance.
    Ways are compared by the log-loss at each one's best temperature, so that being sure or unsure is not what decides.

    Args:
        mirror: whether an image and its mirror image have the same label.
        precision: as for `quick`.

    Returns:
        The networks to keep, whether to look at mirror images, and the figures.
    """
    labels = torch.from_numpy(validation.labels).argmax(1)
    spread = torch.cat([look_through([one], validation, mirror)["spread"] for one in quick(networks, precision)], 1)
    looks = 2 if mirror else 1
    ways = {}
    for members in dict.fromkeys((1, len(networks))):
        for flips in (False, True) if mirror else (False,):
            used = spread[:, : members * looks : 1 if flips else looks]
            ways[members, flips] = tempered_loss(used.mean(1), labels)
    best = min(ways.values())
    good = [way for way, loss in ways.items() if loss <= best * (1 + LEAST_GAIN)]
    members, flips = min(good, key=lambda way: way[0] * (1 + way[1])) if len(validation) >= TELLING else (len(networks), mirror)
    figures = {f"{count} networks{', mirrored too' if twice else ''}": loss for (count, twice), loss in ways.items()}
    return list(networks[:members]), flips, {"members": members, "flips": flips, "validation_loss": figures}


def tempered_loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean log-loss of logits [n, classes] at the temperature where it is lowest (Guo et al. 2017, section 4.2)."""
    return min(float(F.cross_entropy(logits / float(t), labels)) for t in TEMPERATURES)
