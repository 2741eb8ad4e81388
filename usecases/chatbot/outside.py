"""Is a message about none of the intents? Scores that say so, the choice between them, and what they say as a probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch.nn import functional as F

from shared.evaluation.calibration import Calibrator
from usecases.chatbot.network import class_means

Scores = Mapping[str, np.ndarray]  # name -> [n], higher is more likely outside
NEIGHBOURS = 5
BANK = 6000  # training messages kept to find neighbours among
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
ENOUGH = 30  # messages outside from which on scores are combined
LEAST_GAIN = 0.002  # of ROC AUC, for several scores instead of one
REFUSED = 0.05  # share of the messages inside that seem likelier outside, where no message outside is known
FALLBACK = "probability"


class Space:
    """Where training messages lie in a network's vectors.

    Attributes:
        tensors: `centres` [intents, dim], `whiten` [dim, dim] of the covariance around them, `bank` [rows, dim].
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = {name: tensor.float() for name, tensor in tensors.items()}

    @classmethod
    def fit(cls, vectors: torch.Tensor, labels: torch.Tensor, intents: int, seed: int) -> Space:
        """
        Args:
            vectors: [n, dim] of unit length, of messages about an intent.
            labels: [n].
        """
        centres = class_means(vectors, labels, intents)
        around = vectors - centres[labels]
        covariance = around.T @ around / len(around)
        level = covariance.diagonal().mean()
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * torch.eye(len(covariance))
        whiten = torch.linalg.cholesky(torch.linalg.inv(shrunk.double())).float().contiguous()
        kept = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:BANK]
        return cls({"centres": centres, "whiten": whiten, "bank": vectors[kept]})

    def distance(self, vectors: torch.Tensor) -> np.ndarray:
        """[n] to the nearest intent, under the covariance that all share (Lee et al. 2018; Podolskiy et al. 2021)."""
        return torch.cdist(vectors @ self.tensors["whiten"], self._whitened).amin(1).log().numpy()

    @cached_property
    def _whitened(self) -> torch.Tensor:
        return self.tensors["centres"] @ self.tensors["whiten"]

    def neighbours(self, vectors: torch.Tensor) -> np.ndarray:
        """[n] 1 - mean cosine to the nearest training messages (Sun et al. 2022)."""
        count = min(NEIGHBOURS, len(self.tensors["bank"]))
        return 1 - (vectors @ self.tensors["bank"].T).topk(count, 1).values.mean(1).numpy()


def of_logits(logits: torch.Tensor, log_probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """What a network's logits and calibrated log-probabilities [n, intents] say: energy (Liu et al. 2020), and being unsure."""
    surest = np.exp(log_probabilities.max(1)).clip(1e-6, 1 - 1e-6)
    return {"energy": -torch.logsumexp(logits, 1).numpy(), FALLBACK: -logit(surest)}


@dataclass(frozen=True)
class Outside:
    """Probability = sigmoid(sum of weight * score + offset).

    Attributes:
        weights: of the scores that are used.
    """

    weights: dict[str, float]
    offset: float

    def __call__(self, scores: Scores) -> np.ndarray:
        """[n] probabilities."""
        raw = np.sum([weight * scores[name] for name, weight in self.weights.items()], axis=0)
        return Calibrator(1.0, self.offset)(raw)

    @property
    def settings(self) -> dict[str, Any]:
        """For JSON; `Outside(**settings)` is this one again."""
        return {"weights": self.weights, "offset": self.offset}

    @classmethod
    def fit(cls, inside: Scores, outside: Scores, share: float) -> tuple[Outside, dict[str, float]]:
        """
        Args:
            inside, outside: scores of messages that the networks were not trained on; `outside` may hold none.
            share: of messages in use that are outside; the probabilities are true where it is.

        Returns:
            It, and the ROC AUC of each score on these messages, of `together` by cross-validation; none without messages outside.
        """
        names = sorted(inside)
        count = len(outside[names[0]])
        if not count:
            middle, limit = np.quantile(inside[FALLBACK], [0.5, 1 - REFUSED])
            slope = float(2 / max(limit - middle, 1e-6))
            return cls({FALLBACK: slope}, float(-slope * limit)), {}
        rows = np.concatenate([np.stack([part[name] for name in names], 1) for part in (inside, outside)])
        labels = np.repeat([0, 1], [len(rows) - count, count])
        figures = {name: float(roc_auc_score(labels, rows[:, place])) for place, name in enumerate(names)}
        best = max(figures, key=lambda name: figures[name])
        weights = {best: 1.0}
        if min(count, len(rows) - count) >= ENOUGH:
            deviation = rows.std(0) + 1e-9
            model = LogisticRegression(class_weight="balanced", max_iter=500)
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            crossed = cross_val_predict(model, rows / deviation, labels, cv=folds, method="decision_function")
            figures["together"] = float(roc_auc_score(labels, crossed))
            if figures["together"] > figures[best] + LEAST_GAIN:
                fitted = model.fit(rows / deviation, labels).coef_[0] / deviation
                weights = dict(zip(names, fitted.tolist(), strict=True))
        raw = rows @ np.array([weights.get(name, 0.0) for name in names])
        calibrator = Calibrator.fit(raw, labels)
        shift = float(logit(share) - logit(count / len(rows)))
        return cls({name: weight * calibrator.scale for name, weight in weights.items()}, calibrator.offset + shift), figures


def of_spaces(spaces: Sequence[Space], vectors: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
    """What spaces say of vectors [n, dim], each space of its own: the mean over the spaces."""
    pairs = list(zip(spaces, vectors, strict=True))
    return {
        "distance": np.mean([space.distance(own) for space, own in pairs], 0),
        "neighbours": np.mean([space.neighbours(own) for space, own in pairs], 0),
    }


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return F.normalize(vectors, dim=-1)
