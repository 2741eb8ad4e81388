"""Whether the model can be trusted: at its operating point, when it abstains, where it looks, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from torch import nn

from shared.evaluation.intervals import Interval
from shared.evaluation.operating import OperatingPoint, operate
from shared.evaluation.segmentation import MaskScores, summarise_masks
from shared.evaluation.selective import RiskCoverage
from shared.explain.gradcam import energy_inside, pointing_game, randomisation_check
from usecases.medical_imaging.evidence import Labelled, Method
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.framing import Frame
from usecases.medical_imaging.items import is_finding
from usecases.medical_imaging.network import FindingNetwork
from usecases.medical_imaging.prepare import Prepared

EXPLAINED = 200  # cases whose maps are checked
SPOILT = 24  # cases whose maps are made with a network that forgets
TOLERANCE = 0.03  # of the pointing game, as a share of the image's side
PREVALENCES = (0.01, 0.1, 0.5)


@dataclass(frozen=True)
class Explained:
    """Do the heat maps tell the truth?

    Attributes:
        maps: float32 [n, size, size] of the first cases of the test part with the finding, and their places there.
        pointing: share of maps whose highest point lies in the mask; `chance`: share that a random point would reach; `energy`:
            share of the heat inside the mask. None: no masks are known.
        randomised: part of the network, from its end on, to the rank correlation of maps after it was made to forget.
    """

    places: np.ndarray
    maps: np.ndarray
    pointing: float | None
    chance: float | None
    energy: float | None
    randomised: dict[str, float]


def explain(finder: Finder, test: Prepared) -> Explained:
    """Heat maps of cases with the finding, held against the masks and against a network that forgets."""
    findings = [place for place, name in enumerate(finder.classes) if is_finding(finder.classes, name)]
    ill = np.isin(test.labels, findings) if test.masks is None else test.masks.any((1, 2))
    places = np.flatnonzero(ill)[:EXPLAINED]
    squares, labels = test.images[places], test.labels[places]
    maps = np.concatenate([finder.maps(squares[k : k + 16], labels[k : k + 16]) for k in range(0, len(places), 16)] or [squares])
    pointing = chance = energy = None
    if test.masks is not None and len(places):
        masks = test.masks[places] > 0
        pointing = float(np.nanmean(pointing_game(maps, masks, TOLERANCE * masks.shape[1])))
        grown = [_widened(mask, TOLERANCE * masks.shape[1]) for mask in masks]
        chance, energy = float(np.mean(grown)), float(np.nanmean(energy_inside(maps, masks)))
    few = squares[:SPOILT]
    network = finder.fast[0]
    randomised = (
        randomisation_check(network, from_the_end(network), lambda spoilt: finder.maps(few, labels[:SPOILT], _network(spoilt)))
        if len(few)
        else {}
    )
    return Explained(places, maps, pointing, chance, energy, randomised)


def _network(module: nn.Module) -> FindingNetwork:
    assert isinstance(module, FindingNetwork)  # a copy of one
    return module


def from_the_end(network: FindingNetwork) -> list[str]:
    """Names of the network's parts in the order in which they forget."""
    head = ["backbone.head"] if hasattr(network.backbone, "head") else []
    decoder = ["decoder"] if network.decoder is not None else []
    return ["last", *decoder, *head, *(f"backbone.stages.{k}" for k in reversed(range(len(network.backbone.stages))))]


def _widened(mask: np.ndarray, margin: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask) <= margin


def decisions(
    cases: Labelled,
    ours: Method,
    confidence: np.ndarray,
    refer: np.ndarray,
    novelty: np.ndarray,
    scores: Sequence[MaskScores] | None,
) -> dict[str, Any]:
    """What it decides, leaves to humans and marks, for JSON.

    Args:
        confidence, refer, novelty, scores: [cases], see `pipeline.Judged`.
    """
    wrong = ours.decided != cases.labels
    curve = RiskCoverage.of(confidence, wrong)
    found: dict[str, Any] = {
        "referred": float(refer.mean()),
        "refused": float((novelty >= 1).mean()),
        "wrong": float(wrong.mean()),
        "wrong_where_decided": float(wrong[~refer].mean()) if (~refer).any() else None,
        "aurc": curve.area,
        "excess_aurc": curve.excess,
    }
    if ours.probabilities.shape[1] == 2:
        point = operating_point(cases, ours)
        values = {f"{share:g}": [_told(value) for value in point.predictive_values(share)] for share in PREVALENCES}
        counts = {name: count for name, count in vars(point).items() if isinstance(count, int | float)}
        shares = {"sensitivity": _told(point.sensitivity), "specificity": _told(point.specificity)}
        found["operating"] = {**counts, **shares, "predictive_values": values}
    if scores is not None:
        found["masks"] = {name: _plain(value) for name, value in vars(summarise_masks(scores)).items()}
    return found


def told(found: Mapping[str, Any]) -> str:
    """The main ones of `decisions` in words."""
    decided = found["wrong_where_decided"]
    return (
        f"Of all decisions {found['wrong']:.1%} would be wrong. It refers {found['referred']:.1%} of the images to a human, "
        f"{found['refused']:.1%} because they are unlike the images of training"
        + (f"; of those it decides itself {decided:.1%} are wrong." if decided is not None else ".")
    )


def inspected(explained: Explained, finder: Finder) -> dict[str, Any]:
    """What was tried with the model beyond judging its decisions, for JSON."""
    maps = {"pointing_game": explained.pointing, "chance": explained.chance, "energy_in_mask": explained.energy}
    return {
        "photographs_refused": refused_photographs(finder),
        "heat_maps": {**maps, "after_forgetting": explained.randomised},
    }


def operating_point(cases: Labelled, ours: Method) -> OperatingPoint:
    """Sensitivity and specificity of the decisions as they were made."""
    return operate(ours.decided, cases.labels, 0.5, groups=cases.patients)


def refused_photographs(finder: Finder) -> float:
    """Share of pieces of ordinary photographs that the model refuses to judge."""
    from sklearn.datasets import load_sample_images

    side = finder.config.network.size
    pieces = []
    for photo in load_sample_images().images:
        for top in range(0, photo.shape[0] - 199, 100):
            pieces += [photo[top : top + 200, left : left + 200] / 255 for left in range(0, photo.shape[1] - 199, 110)]
    squares = np.stack([Frame.of(piece, side).image(piece, finder.channels) for piece in pieces])
    part = Prepared(squares, np.zeros(len(squares), np.int64), None, [])
    return float((finder.look_through(part).novelty >= 1).mean())


def _told(value: Interval) -> dict[str, float] | None:
    """For JSON; None where it is undefined."""
    return value.as_dict() if np.isfinite(value.value) else None


def _plain(value: float) -> float | None:
    return None if value != value else round(float(value), 6)
