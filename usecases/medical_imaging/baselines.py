"""Simple methods that the network must beat: logistic regression on plain pixels, and on a network that never saw such images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold

from shared import pretrained
from shared.hardware import channels_last
from shared.models.efficientnet import EfficientNetLite0, load_imagenet
from usecases.medical_imaging import frozen
from usecases.medical_imaging.network import FindingNetwork, Model

SIDE = 28  # of the plain pixels
Sees = Literal["pixels", "features"]
STRENGTHS = np.logspace(-5, -1, 5)  # of C, tried by cross-validation
CAUTIOUS = 1e-3  # C, where a class has too few groups to try any
FOLDS = 4


@dataclass(frozen=True)
class Baseline:
    """Logistic regression on what is seen of an image; numbers only, so that it can be kept without pickle.

    Attributes:
        sees: plain pixels, or the features of an ImageNet network.
        mean, scale: [numbers] of the training images.
        weights: [classes, numbers]; bias: [classes].
    """

    sees: Sees
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """Logits [n, classes] of what `pixels` or `frozen.Frozen` gave."""
        return (seen - self.mean) / self.scale @ self.weights.T + self.bias


def fit_baseline(sees: Sees, seen: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray, seed: int) -> Baseline:
    """Logistic regression with the C that does best in cross-validation, in which no group is divided.

    Args:
        seen: [n, numbers] of the training images.
        labels: [n] places of the classes; a class may have no images.
        groups: [n] of images that must stay together, such as patients.
    """
    mean, scale = seen.mean(0), seen.std(0) + 1e-6
    known, rarest = np.unique(labels, return_counts=True)
    folds = max(2, min(FOLDS, int(rarest.min())))
    whole = []
    if rarest.max() >= folds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds: seen to here
            cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(seen, labels, groups)
            whole = [(train, test) for train, test in cut if len(np.unique(labels[train])) == len(known) and len(test)]
    common = {"max_iter": 300}
    estimator: LogisticRegression = LogisticRegression(C=CAUTIOUS, **common)
    if whole:
        own = {"Cs": STRENGTHS, "cv": whole, "scoring": "neg_log_loss", "l1_ratios": (0.0,), "use_legacy_attributes": False}
        estimator = LogisticRegressionCV(**own, **common)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the weakest penalties, which are not chosen for it
        estimator.fit((seen - mean) / scale, labels)
    weights, bias = np.zeros((classes, seen.shape[1])), np.full(classes, -30.0)
    if len(known) == 2:  # one row, which tells the second class from the first
        sign = np.array([-0.5, 0.5])
        weights[known], bias[known] = sign[:, None] * estimator.coef_, sign * estimator.intercept_
    else:
        weights[known], bias[known] = estimator.coef_, estimator.intercept_
    return Baseline(sees, mean, scale, weights, bias)


def as_network(baseline: Baseline, model: Model) -> FindingNetwork:
    """The baseline on ImageNet features as a network like the others, for when it is the better one."""
    network = bare(model, len(baseline.bias))
    assert isinstance(network.backbone, EfficientNetLite0)
    load_imagenet(network.backbone, pretrained.locate(pretrained.IMAGENET, model.weights) / pretrained.IMAGENET.weights)
    weights = baseline.weights / baseline.scale
    with torch.no_grad():
        network.last.weight.copy_(torch.from_numpy(weights))
        network.last.bias.copy_(torch.from_numpy(baseline.bias - weights @ baseline.mean))
    return channels_last(network.eval())


def bare(model: Model, classes: int) -> FindingNetwork:
    """A network that is frozen features and one linear layer, without their weights."""
    plain = model.model_copy(update={"backbone": "imagenet", "standardise": False, "dropout": 0.0})
    return FindingNetwork(plain, classes, False, frozen.SIDE)


def pixels(images: np.ndarray) -> np.ndarray:
    """[n, 28 * 28] float32 of images uint8 [n, side, side] or [n, side, side, 3], in grey."""
    grey = images if images.ndim == 3 else [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel() for image in grey]
    return np.stack(small).astype(np.float32) / 255
