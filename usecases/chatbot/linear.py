"""Linear models of messages: the baselines, which may also be blended with the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

# words and pairs of words; pieces of words, which typos change but little
PARTS: tuple[dict[str, Any], ...] = ({"analyzer": "word", "ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (2, 4)})
LARGEST = 20_000  # features of each part
INVERSE_PENALTY = 10.0


class Linear:
    """Logits [n, classes] = features [n, dim] @ weight [dim, classes] + bias [classes]."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight, bias

    @classmethod
    def fit(cls, features: np.ndarray | sp.csr_matrix, labels: np.ndarray) -> Linear:
        """Logistic regression: multinomial of dense features, one class against the rest of sparse ones (far quicker).

        Args:
            labels: [n] class numbers, each class at least once.
        """
        if sp.issparse(features):
            one = LogisticRegression(C=INVERSE_PENALTY, solver="liblinear", dual=True, tol=1e-2, random_state=0)
            rest = OneVsRestClassifier(one).fit(features, labels)
            weight = np.concatenate([each.coef_ for each in rest.estimators_])
            bias = np.concatenate([each.intercept_ for each in rest.estimators_])
        else:
            model = LogisticRegression(C=INVERSE_PENALTY, max_iter=300).fit(features, labels)
            weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # of two classes there is one logit
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return cls(np.ascontiguousarray(weight.T, dtype=np.float32), bias.astype(np.float32))

    def __call__(self, features: np.ndarray | sp.csr_matrix) -> np.ndarray:
        return features @ self.weight + self.bias

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": torch.from_numpy(self.weight), f"{name}.bias": torch.from_numpy(self.bias)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], name: str) -> Linear:
        return cls(tensors[f"{name}.weight"].float().numpy(), tensors[f"{name}.bias"].float().numpy())


class Tfidf:
    """TF-IDF of words, pairs of words and pieces of words. Each vocabulary is a list; its order is that of the features."""

    def __init__(self, vocabularies: Sequence[Sequence[str]], weights: Sequence[np.ndarray]) -> None:
        self.vocabularies, self.weights = vocabularies, weights
        self.parts = []
        for settings, words, weight in zip(PARTS, vocabularies, weights, strict=True):
            part = TfidfVectorizer(sublinear_tf=True, vocabulary={word: place for place, word in enumerate(words)}, **settings)
            part.idf_ = weight
            self.parts.append(part)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Tfidf:
        found = [TfidfVectorizer(sublinear_tf=True, max_features=LARGEST, **settings).fit(texts) for settings in PARTS]
        return cls([part.get_feature_names_out().tolist() for part in found], [part.idf_ for part in found])

    def __call__(self, texts: Sequence[str]) -> sp.csr_matrix:
        """[texts, features]."""
        return sp.hstack([part.transform(texts) for part in self.parts], format="csr", dtype=np.float32)
