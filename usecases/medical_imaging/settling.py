"""From trained networks to a finder: everything about its certainty is settled on validation, which it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from sklearn.metrics import log_loss

from shared.evaluation.novelty import NEIGHBOURS, Detection, Novelty, choose, strangers
from shared.evaluation.operating import threshold_for_sensitivity
from shared.evaluation.selective import Abstention
from shared.evaluation.temperature import Temperature
from shared.evaluation.venn_abers import fit_classes
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.fitting import look_through
from usecases.medical_imaging.frozen import Views
from usecases.medical_imaging.packing import Packed
from usecases.medical_imaging.prepare import Prepared

STRANGERS = 100  # validation images that are spoilt to see what is refused


def packed(part: Prepared, classes: int) -> Packed:
    """A part as the networks look through it, unchanged."""
    return Packed(part.images, part.labels, classes, part.masks)


def settle(finder: Finder, views: Views, labels: np.ndarray, validation: Prepared) -> tuple[Finder, dict[str, Any]]:
    """The finder with its temperature, limits, operating point, rule of abstention and idea of what is usual.

    Args:
        views: of the training images, whose classes are `labels` [n].

    Returns:
        The finder, and what was settled, for metrics.json.
    """
    classes, decide = len(finder.classes), finder.config.decide
    logits = look_through(finder.fast, packed(validation, classes), finder.flips)["classes"].numpy()
    temperature = Temperature.fit(logits, validation.labels)
    probabilities = temperature(logits)
    threshold = decide.threshold
    if threshold is None:
        two = classes == 2 and bool((validation.labels == 1).any())
        threshold = threshold_for_sensitivity(probabilities[:, 1], validation.labels, decide.sensitivity) if two else 0.5
    bounds = fit_classes(probabilities, validation.labels)
    settled = replace(finder, temperature=temperature, bounds=bounds, threshold=threshold)
    abstention = _abstention(settled, probabilities, validation)
    novelty, detections = _novelty(settled, views, labels, validation)
    return replace(settled, abstention=abstention, novelty=novelty), {
        "loss": log_loss(validation.labels, probabilities, labels=range(classes)),
        "temperature": temperature.temperature,
        "threshold": threshold,
        "abstention": None if abstention is None else abstention.as_dict(),
        "novelty": novelty and {"kind": novelty.kind, "refused": {name: one.refused for name, one in detections.items()}},
    }


def _novelty(
    finder: Finder, views: Views, labels: np.ndarray, validation: Prepared
) -> tuple[Novelty | None, dict[str, Detection]]:
    """What is usual, by the kind of distance that refuses most of what was made to be refused; None: too few images to tell."""
    if len(labels) <= NEIGHBOURS or len(validation) < 2:
        return None, {}
    some = validation.images[np.random.default_rng(finder.config.seed).permutation(len(validation.images))[:STRANGERS]]
    colour = some if some.ndim == 4 else np.repeat(some[..., None], 3, axis=3)
    odd = {name: finder.frozen(_toned(images, some.ndim)).stages for name, images in strangers(colour).items()}
    usual = finder.frozen(validation.images).stages
    chosen, found = choose(views.stages, usual, odd, labels=labels, accepted=1 - finder.config.decide.unusual)
    return chosen, found[chosen.kind]


def _toned(images: np.ndarray, dimensions: int) -> np.ndarray:
    """RGB images as the model gets them: in grey where it was trained on grey."""
    return images if dimensions == 4 else np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])


def _abstention(finder: Finder, probabilities: np.ndarray, validation: Prepared) -> Abstention | None:
    """The rule, from one image of each patient: images of one patient are not independent."""
    patients = [case.patient or case.name for case in validation.cases]
    order = np.random.default_rng(finder.config.seed).permutation(len(patients))
    _, first = np.unique(np.array(patients)[order], return_index=True)
    chosen = order[first]
    wrong = finder.decide(probabilities) != validation.labels
    return Abstention.fit(finder.confidence(probabilities)[chosen], wrong[chosen], finder.config.decide.risk)
