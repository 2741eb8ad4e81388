"""The networks as one graph for other programs: a square image in, probabilities and the mask out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from shared.export import Arrays, Exportable
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.network import FindingNetwork


class Graph(nn.Module):
    """What `Finder` computes with networks, from the image to what the thresholds are of."""

    def __init__(self, networks: Sequence[FindingNetwork], flips: bool, temperature: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.flips, self.temperature = flips, temperature

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 [batch, 1 or 3, size, size] to logits and probabilities [batch, classes] and the mask [batch, size, size]."""
        looks = torch.stack([image, image.flip(3)]) if self.flips else image.unsqueeze(0)
        made = [network(looks.flatten(0, 1)) for network in self.networks]  # all looks at once, as `fitting.look` has it
        each = {name: torch.stack([one[name].unflatten(0, (len(looks), -1)) for one in made]) for name in made[0]}
        logits = each["classes"].mean((0, 1))
        probability = (logits / self.temperature).softmax(1)
        if "mask" not in each:
            return logits, probability
        masks = each["mask"][:, :, :, 0]
        masks = torch.stack([masks[:, 0], masks[:, 1].flip(3)], 1) if self.flips else masks
        return logits, probability, masks.mean((0, 1)).sigmoid()


def exportable(finder: Finder, pictures: Sequence[Picture]) -> Exportable:
    """
    Args:
        pictures: for the samples.
    """
    images = finder.squares(pictures)
    size, masked = images.shape[-1], finder.networks[0].decoder is not None

    def usual(arrays: Arrays) -> Arrays:
        logits, mask = finder.look(arrays["image"])
        told = {"logits": logits, "probability": finder.temperature(logits)}
        return told if mask is None else told | {"mask": mask}

    def decide(outputs: Arrays) -> np.ndarray:
        sure = outputs["probability"]
        return np.stack([finder.decide(sure), finder.unsure(sure)], 1)

    outputs = {
        "logits": "[batch, classes] mean of the networks' logits",
        "probability": "[batch, classes] calibrated: softmax(logits / temperature)",
        "mask": "[batch, size, size] chance that a pixel is of the finding; above `area` it is marked",
    }
    colours = "RGB" if finder.channels == 3 else "grey"
    return Exportable(
        module=Graph(finder.networks, finder.flips, finder.temperature.temperature).eval(),
        samples={"image": images},
        inputs={
            "image": f"{colours}, 0..255; dark borders cut off, aspect kept, in the middle of a black square of {size} pixels"
        },
        outputs=outputs if masked else {name: outputs[name] for name in ("logits", "probability")},
        usual=usual,
        decide=decide,
        answer="probability",
        names=finder.classes,
        about={
            "classes": list(finder.classes),
            "threshold": finder.threshold if len(finder.classes) == 2 else None,
            "decision": "the second class where its probability reaches the threshold"
            if len(finder.classes) == 2
            else "the likeliest class",
            "area": finder.config.decide.area,
            "temperature": finder.temperature.temperature,
            "abstention": None if finder.abstention is None else finder.abstention.as_dict(),
            "in_the_graph": "normalisation, each image's standardising, mirrored looks, mean of networks, temperature, softmax",
            "not_in_the_graph": "cutting the square; whether an image is unlike those of training; limits of the probability; "
            "heat maps; the rule of abstention",
        },
    )
