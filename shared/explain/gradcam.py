"""Where in an image a network saw the evidence, and tests of whether such maps tell the truth.

Our own hooks rather than captum's `LayerGradCam` (which agrees, as a test shows): captum has no sharper kin
of it, runs the network once more where its answer is wanted too, and keeps the graph of all layers, not of the last ones only.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy import ndimage, stats
from torch import nn
from torch.nn import functional as F

Kind = Literal["gradcam", "layercam"]


class Maps(NamedTuple):
    """Attributes:
    logits: [batch, classes] float32, the network's answer, made on the way.
    maps: [batch, height, width] float32 of the images' size, from 0 to 1; a map without any evidence is 0 everywhere.
    """

    logits: np.ndarray
    maps: np.ndarray


def class_maps(
    model: nn.Module,
    layer: nn.Module,
    images: torch.Tensor,
    targets: Sequence[int] | np.ndarray | torch.Tensor,
    *,
    kind: Kind = "gradcam",
    logits: Callable[[Any], torch.Tensor] = lambda output: output,
) -> Maps:
    """The evidence for one class of each image, from the activations A of a layer and the gradients G of the class's logit.

    - gradcam: ReLU(sum over channels of mean(G) * A) (Selvaraju et al. 2017): for the last convolutions.
    - layercam: ReLU(sum of ReLU(G) * A) (Jiang et al. 2021): for earlier layers too, with sharper maps.

    The network should be in `eval` mode, so that the images of a batch do not mix. Everything up to the layer costs no more than
    prediction. Other threads may use the network meanwhile. Any dtype, memory format and autocast context that the network runs
    in will do; maps are summed in float32.

    Args:
        layer: a part of the model that is run once and gives [batch, channels, rows, columns].
        images: [batch, channels, height, width].
        targets: [batch] class numbers. Where there is one logit, 1 asks for the evidence for it and 0 for that against it.
        logits: takes [batch, classes], [batch, 1] or [batch] out of what the model gives.

    Raises:
        ValueError: the layer was not run, or gives something else.
    """
    seen: list[torch.Tensor] = []
    own = threading.get_ident()

    def start_here(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        if threading.get_ident() != own:
            return None  # another thread uses the network, too
        torch.set_grad_enabled(True)  # until the `no_grad` around it ends
        seen.append(output.detach().requires_grad_())
        return seen[0].clone()  # what follows may work in place, which a leaf does not allow

    handle = layer.register_forward_hook(start_here)
    try:
        with torch.inference_mode(False), torch.no_grad():
            found = logits(model(images))
            if len(seen) != 1 or seen[0].ndim != 4:
                raise ValueError("the layer must be run once and give [batch, channels, rows, columns]")
            found = found.float().reshape(len(images), -1)
            chosen = torch.as_tensor(targets, device=found.device, dtype=torch.long)
            one = found.shape[1] == 1
            wanted = found[:, 0] * (2 * chosen - 1) if one else found.gather(1, chosen[:, None])[:, 0]
            (gradients,) = torch.autograd.grad(wanted.sum(), seen[0])
    finally:
        handle.remove()
    activations, gradients = seen[0].detach().float(), gradients.float()
    if kind == "gradcam":
        gradients = gradients.mean((2, 3), keepdim=True)
    elif kind == "layercam":
        gradients = gradients.relu()
    maps = (gradients * activations).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    highest = maps.amax((1, 2), keepdim=True)
    maps = torch.where(highest > 0, maps / highest, 0.0)
    return Maps(found.detach().cpu().numpy(), maps.cpu().numpy())


def pointing_game(maps: np.ndarray, masks: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """[batch] 1 where the map's highest point lies in the mask or near it, else 0 (Zhang et al. 2016, section 4.1).

    Chance scores the (widened) mask's share of the image, so hold the mean against that. nan where the mask is empty; a map
    without evidence points nowhere and has 0.

    Args:
        maps: [batch, height, width].
        masks: [batch, height, width] of booleans.
        tolerance: in pixels; Zhang et al. grant 15 in photos of some 500.
    """
    hits = np.full(len(maps), np.nan)
    for place, (evidence, mask) in enumerate(zip(maps, np.asarray(masks, dtype=bool), strict=True)):
        if mask.any():
            peak = np.unravel_index(np.argmax(evidence), evidence.shape)
            hits[place] = evidence[peak] > 0 and ndimage.distance_transform_edt(~mask)[peak] <= tolerance
    return hits


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """[batch] share of the map's sum that lies in the mask, the energy-based pointing game (Wang et al. 2020, section 4.3).

    nan where the mask is empty; a map without evidence has 0. Arguments as for `pointing_game`.
    """
    masks = np.asarray(masks, dtype=bool)
    inside, total = (maps * masks).sum((1, 2)), maps.sum((1, 2))
    shares = np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)
    return np.where(masks.any((1, 2)), shares, np.nan)


def randomisation_check(
    model: nn.Module, layers: Sequence[str], explain: Callable[[nn.Module], np.ndarray], seed: int = 0
) -> dict[str, float]:
    """How alike maps stay while the network forgets, layer after layer from its end (Adebayo et al. 2018, section 4.1).

    A map that explains what was learnt must change: the mean rank correlation has to fall to about 0. One that stays shows the
    image's own edges. Maps without evidence, on either side, count as 0.

    Args:
        model: stays as it is; copies are spoilt.
        layers: names of its parts, the last first; each is spoilt besides those before it.
        explain: takes a model, gives the maps [batch, height, width] of a few fixed images and targets, as from `class_maps`.

    Returns:
        Layer to the mean Spearman correlation of its maps with the original ones.
    """
    original, spoilt = explain(model), copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    correlations = {}
    for name in layers:
        _forget(spoilt.get_submodule(name), generator)
        maps = explain(spoilt)
        correlations[name] = float(np.mean([_rank_correlation(a, b) for a, b in zip(original, maps, strict=True)]))
    return correlations


@torch.no_grad()
def _forget(part: nn.Module, generator: torch.Generator) -> None:
    """Random weights in the size of the learnt ones; a vector, as of a normalisation, is shuffled.

    The usual initialisation would leave the stored means and variances of normalisations far off, and signals would die out.
    """
    for parameter in part.parameters():
        if parameter.ndim > 1:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * parameter.std().cpu().float())
        else:
            parameter.copy_(parameter[torch.randperm(len(parameter), generator=generator).to(parameter.device)])


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)
