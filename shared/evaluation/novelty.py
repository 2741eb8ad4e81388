"""Does an image belong to the kind that a model learnt from? A photo of a cat gets a confident answer from most networks.

Measured with channel means of the four strides of a frozen ImageNet network (EfficientNet-lite0), two kinds of data (chest
X-rays, brain MRI) and, as novel, each other, photos, noise, blurred, inverted and shuffled images: the largest of the strides'
scores ranks all of these above known ones (ROC AUC .97 to 1), where a single stride misses some, and the coarsest alone many.
With 99 % of known images accepted, all were refused but for half of the inverted ones. Image statistics (colourfulness, share
of black, sharpness, contrast) beside them added nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np

from shared.evaluation.classification import Ranked

Kind = Literal["nearest", "mahalanobis"]
Stages = Sequence[np.ndarray]
NEIGHBOURS = 5
BANK = 2000  # rows kept to find neighbours among; Sun et al. keep 1 % of ImageNet without loss


@dataclass(frozen=True)
class Novelty:
    """How far features lie from those of training, stage by stage; the score is that of the most surprised stage.

    - nearest: distance to the 5th nearest of the training rows, all at unit length (Sun et al. 2022).
    - mahalanobis: distance to the nearest class mean under one covariance of all classes (Lee et al. 2018), shrunk after Ledoit
      & Wolf (2004).

    The logarithm of a stage's distance is scaled by its mean and deviation in validation, which makes stages comparable.

    Attributes:
        arrays: float32, by name; with `settings` all there is to keep.
        threshold: of the score; above it an image is refused.
    """

    kind: Kind
    arrays: dict[str, np.ndarray]
    threshold: float

    @classmethod
    def fit(
        cls,
        kind: Kind,
        training: Stages,
        validation: Stages,
        *,
        labels: np.ndarray | None = None,
        accepted: float = 0.99,
        seed: int = 0,
    ) -> Novelty:
        """
        Args:
            training: for each stage [rows, features], such as the channel means of a network's stages.
            validation: the same of other patients. The threshold is the conformal quantile of their scores (Vovk et al. 2005), so
                on average at least the accepted share of new rows of this kind passes, as far as so few rows can say: of fewer
                than 100, no threshold passes 99 %, and the largest score is taken.
            labels: [rows] classes of the training rows; None: one class. Only `mahalanobis` uses them.
            accepted: share of validation, 0 to 1.
            seed: of the rows kept, if there are more than 2,000.

        Raises:
            ValueError: too few rows: 6 of training and 2 of validation are needed.
        """
        rows = len(training[0])
        if rows <= NEIGHBOURS or len(validation[0]) < 2:
            raise ValueError(
                f"novelty needs more than {NEIGHBOURS} training and 1 validation rows, not {rows}, {len(validation[0])}"
            )
        arrays: dict[str, np.ndarray] = {}
        for place, features in enumerate(training):
            if kind == "nearest":
                kept = np.random.default_rng(seed).permutation(rows)[:BANK]
                arrays[f"{place}.bank"] = _unit(features[kept])
            else:
                arrays |= {f"{place}.{name}": array for name, array in _gaussian(features, labels).items()}
        unscaled = cls(kind, arrays, np.inf)
        distances = unscaled._distances(validation)
        scale = np.stack([distances.mean(1), np.maximum(distances.std(1), 1e-6)]).astype(np.float32)
        scaled = cls(kind, arrays | {"scale": scale}, np.inf)
        scores = np.sort(scaled.scores(validation))
        number = min(int(np.ceil((len(scores) + 1) * accepted - 1e-9)), len(scores))
        return cls(kind, scaled.arrays, float(scores[number - 1]))

    def scores(self, features: Stages) -> np.ndarray:
        """[rows] deviations by which the most surprised stage exceeds what is usual. `features`: as for `fit`."""
        mean, deviation = self.arrays["scale"][:, :, None]
        return ((self._distances(features) - mean) / deviation).max(0)

    def refuse(self, features: Stages) -> np.ndarray:
        """[rows] true where the model should not answer; also where a feature is not finite. `features`: as for `fit`."""
        return ~(self.scores(features) <= self.threshold)

    @property
    def settings(self) -> dict[str, Any]:
        """For JSON; the arrays go elsewhere: `Novelty(arrays=arrays, **settings)`."""
        return {"kind": self.kind, "threshold": self.threshold}

    def _distances(self, features: Stages) -> np.ndarray:
        """[stages, rows] logarithms of distances."""
        found = []
        for place, rows in enumerate(features):
            if self.kind == "nearest":
                alike = np.partition(_unit(rows) @ self.arrays[f"{place}.bank"].T, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]
                distances = np.sqrt(np.maximum(2 - 2 * alike, 0))
            else:
                white = ((rows - self.arrays[f"{place}.mean"]) / self.arrays[f"{place}.spread"]) @ self.arrays[f"{place}.whiten"]
                distances = np.min([np.linalg.norm(white - centre, axis=1) for centre in self.arrays[f"{place}.centres"]], axis=0)
            found.append(np.log(distances + 1e-4))
        return np.stack(found).astype(np.float64)


class Detection(NamedTuple):
    """How well one kind of novel images is told from validation: area under the ROC curve, and the share that is refused."""

    roc_auc: float
    refused: float


def choose(
    training: Stages,
    validation: Stages,
    novel: Mapping[str, Stages],
    *,
    labels: np.ndarray | None = None,
    accepted: float = 0.99,
) -> tuple[Novelty, dict[str, dict[str, Detection]]]:
    """The kind that refuses the most of the novel images, and kind -> name of the novel ones -> how well each does.

    Args:
        novel: features of images that the model must refuse, such as those that `strangers` makes.

    The others are as for `Novelty.fit`.
    """
    fitted = {kind: Novelty.fit(kind, training, validation, labels=labels, accepted=accepted) for kind in get_args(Kind)}
    found = {kind: {name: detect(one, validation, features) for name, features in novel.items()} for kind, one in fitted.items()}
    best = max(fitted, key=lambda kind: np.mean([[d.refused, d.roc_auc] for d in found[kind].values()], axis=0).round(6).tolist())
    return fitted[best], found


def detect(novelty: Novelty, known: Stages, novel: Stages) -> Detection:
    """How well `novel` features are told from those of `known` images, which the threshold should not have been chosen on."""
    scores = novelty.scores(known), novelty.scores(novel)
    labels = np.repeat([0, 1], [len(part) for part in scores])
    return Detection(Ranked(labels, np.concatenate(scores)).roc_auc(), float(novelty.refuse(novel).mean()))


def strangers(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """What a model should refuse, made from validation images: blurred, inverted, shuffled, noise, and pieces of two photos.

    Args:
        images: uint8 [rows, height, width, 3], at least 32 pixels a side.

    Returns:
        Name to uint8 [rows, height, width, 3].
    """
    rng = np.random.default_rng(seed)
    height, width = images.shape[1:3]
    return {
        "blurred": np.stack([cv2.GaussianBlur(image, (0, 0), min(height, width) / 12) for image in images]),
        "inverted": 255 - images,
        "shuffled": np.stack([_shuffle(image, rng) for image in images]),
        "noise": rng.integers(0, 256, images.shape, dtype=np.uint8),
        "photos": np.stack([_piece_of_photo(height, width, rng) for _ in images]),
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _gaussian(features: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Class centres and a matrix that makes their common covariance the identity; both for features of unit deviation."""
    from sklearn.covariance import ledoit_wolf

    features = np.asarray(features, dtype=np.float64)
    _, code = np.unique(np.zeros(len(features)) if labels is None else labels, return_inverse=True)
    mean, spread = features.mean(0), features.std(0)
    spread = np.maximum(spread, 1e-3 * np.median(spread) + 1e-12)  # a channel that is silent in training stays weighable
    standard = (features - mean) / spread
    centres = np.stack([standard[code == number].mean(0) for number in range(code.max() + 1)])
    covariance, _ = ledoit_wolf(standard - centres[code], assume_centered=True)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    arrays = {"mean": mean, "spread": spread, "whiten": whiten, "centres": centres @ whiten}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _shuffle(image: np.ndarray, rng: np.random.Generator, parts: int = 4) -> np.ndarray:
    """Patches of a `parts` by `parts` grid in another order; a rest at the right and the bottom stays."""
    high, wide = image.shape[0] // parts, image.shape[1] // parts
    shuffled, order = image.copy(), rng.permutation(parts * parts)
    for place, origin in enumerate(order.tolist()):
        (y, x), (v, u) = divmod(place, parts), divmod(origin, parts)
        patch = image[v * high : (v + 1) * high, u * wide : (u + 1) * wide]
        shuffled[y * high : (y + 1) * high, x * wide : (x + 1) * wide] = patch
    return shuffled


def _piece_of_photo(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    photos = _photos()
    photo = photos[rng.integers(len(photos))]
    side = int(rng.integers(100, min(photo.shape[:2])))
    y, x = (int(rng.integers(size - side + 1)) for size in photo.shape[:2])
    return cv2.resize(photo[y : y + side, x : x + side], (width, height), interpolation=cv2.INTER_AREA)


@lru_cache
def _photos() -> list[np.ndarray]:
    """The two photos that come with scikit-learn: a temple and a flower."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)
