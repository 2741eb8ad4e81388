"""Which intents will be confused, told by a simple classifier before anything is trained."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from shared.errors import Collector
from usecases.chatbot.corpus import TRAIN, Utterances, normalised

FOLDS = 3
MOST = 15_000  # utterances
SHARE = 0.1  # of both intents' utterances, confused with the other
CLOSE = 0.75  # cosine of the intents' centroids
AT_LEAST = 3  # confused utterances
SHOWN = 10  # pairs


class Pair(NamedTuple):
    """Two intents that are confused."""

    one: str
    other: str
    share: float  # of the utterances of both that the classifier took for the other's
    cosine: float  # of their centroids
    example: str


def check(utterances: Utterances, faults: Collector) -> None:
    """Add the pairs that will be confused most."""
    found = pairs(utterances)
    for pair in found[:SHOWN]:
        told = f"{pair.share:.0%} of their utterances are taken for the other's, cosine of their centroids {pair.cosine:.2f}"
        fix = (
            "Join the two, or make their examples differ where the answers do (TF-IDF with logistic regression, cross-validated)"
        )
        faults.add("warning", f"'{pair.one}' and '{pair.other}' will be confused: {told}", fix, pair.example)
    if len(found) > SHOWN:
        faults.add("info", f"{len(found) - SHOWN} more pairs of intents may be confused", "Mend the first ones, then check again")


def pairs(utterances: Utterances) -> list[Pair]:
    """Pairs of intents with the most mutual confusion, worst first."""
    places = _chosen(utterances)
    texts = [normalised(utterances.texts[place]) for place in places]
    names, labels = np.unique([utterances.labels[place] for place in places], return_inverse=True)
    if len(names) < 2:
        return []
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+", dtype=np.float32, max_features=20_000)
    inputs = words.fit_transform(texts)
    guessed = _guessed(inputs, labels)
    counts = np.bincount(labels, minlength=len(names))
    confused = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confused, (labels, guessed), 1)
    mutual = np.triu(confused + confused.T, 1)
    share = mutual / (counts[:, None] + counts[None, :])
    centroids = np.stack([np.asarray(inputs[labels == label].mean(axis=0)).ravel() for label in range(len(names))])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True) + 1e-12
    cosine = centroids @ centroids.T
    alike = (mutual >= AT_LEAST) & (share >= SHARE) | np.triu(cosine > CLOSE, 1)
    found = []
    for one, other in np.argwhere(alike):
        wrong = np.flatnonzero(((labels == one) & (guessed == other)) | ((labels == other) & (guessed == one)))
        example = f"{utterances.texts[places[wrong[0]]]} ({names[labels[wrong[0]]]})" if len(wrong) else ""
        found.append(Pair(str(names[one]), str(names[other]), float(share[one, other]), float(cosine[one, other]), example))
    return sorted(found, key=lambda pair: (-pair.share, -pair.cosine))


def _chosen(utterances: Utterances) -> list[int]:
    """Places of the utterances to train on; of many, as many of each intent, so that rare ones stay whole."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for place, (text, label, part) in enumerate(zip(utterances.texts, utterances.labels, utterances.parts, strict=True)):
        if text and label and part in ("", TRAIN):
            by_label[label].append(place)
    each = max(FOLDS, MOST // max(1, len(by_label)))
    rng = np.random.default_rng(0)
    drawn = [found if len(found) <= each else rng.permutation(found)[:each].tolist() for found in by_label.values()]
    return sorted(place for some in drawn if len(some) >= FOLDS for place in some)


def _guessed(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[utterances] label that a classifier gives which was trained on the others."""
    guessed = np.empty_like(labels)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(inputs, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rough answer will do
            fitted = LogisticRegression(C=10, max_iter=40).fit(inputs[train], labels[train])
        guessed[test] = fitted.predict(inputs[test])
    return guessed
