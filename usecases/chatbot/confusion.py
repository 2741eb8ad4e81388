"""Which intents will be confused, told by a simple classifier before anything is trained."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import normalize

from shared.errors import Collector
from usecases.chatbot.corpus import TRAIN, Utterances, normalised

MOST = 15_000  # utterances
INTENTS = 300  # the most frequent ones
LARGE = 5_000  # utterances, from which on two folds will do
DIMENSIONS = 192
SHARE = 0.1  # of both intents' utterances, taken for the other's
RELATED = 0.2  # cosine of the intents' centroids, below which confusion is the simple classifier's own
CLOSE = 0.8  # cosine from which on they are told even if the classifier knows them apart
AT_LEAST = 4  # utterances that are taken for the other's
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
        faults.add("warning", f"'{pair.one}' and '{pair.other}' may be confused: {told}", fix, pair.example)
    if len(found) > SHOWN:
        more, fix = len(found) - SHOWN, "Mend the first ones, then check again"
        faults.add("info", f"{more} more pairs of intents may be confused", fix, count=more)


def pairs(utterances: Utterances) -> list[Pair]:
    """Pairs of intents with the most mutual confusion, worst first."""
    places = _chosen(utterances)
    texts = [normalised(utterances.texts[place]) for place in places]
    names, labels = np.unique([utterances.labels[place] for place in places], return_inverse=True)
    if len(names) < 2:
        return []
    inputs = _inputs(texts)
    guessed = _guessed(inputs, labels)
    counts = np.bincount(labels, minlength=len(names))
    confused = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confused, (labels, guessed), 1)
    mutual = np.triu(confused + confused.T, 1)
    share = mutual / (counts[:, None] + counts[None, :])
    cosine = _cosine(inputs, labels)
    alike = np.triu((mutual >= AT_LEAST) & (share >= SHARE) & (cosine >= RELATED) | (cosine >= CLOSE), 1)
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
    often = sorted(by_label.values(), key=len, reverse=True)[:INTENTS]
    each = max(AT_LEAST, MOST // max(1, len(often)))
    rng = np.random.default_rng(0)
    drawn = [found if len(found) <= each else rng.permutation(found)[:each].tolist() for found in often]
    return sorted(place for some in drawn if len(some) >= AT_LEAST for place in some)


def _inputs(texts: list[str]) -> np.ndarray:
    """float32 [utterances, dimensions] TF-IDF of parts of words, which typos leave mostly whole, brought to few dimensions."""
    weights = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32, max_features=20_000)
    counted = weights.fit_transform(texts)
    fewer = TruncatedSVD(min(DIMENSIONS, min(counted.shape) - 1), n_iter=2, random_state=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # where all texts are the same, nothing is to be explained
        return np.asarray(normalize(fewer.fit_transform(counted)))


def _cosine(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[intents, intents] of their centroids, seen from the centre of all."""
    centroids = np.stack([inputs[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    centroids = normalize(centroids - centroids.mean(axis=0))
    return np.asarray(centroids @ centroids.T)


def _guessed(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[utterances] label that a classifier gives which was trained on the others."""
    guessed = np.empty_like(labels)
    folds = StratifiedKFold(2 if len(labels) > LARGE else 3, shuffle=True, random_state=0)
    for train, test in folds.split(inputs, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rough answer will do
            fitted = LogisticRegression(C=30, max_iter=15).fit(inputs[train], labels[train])
        guessed[test] = fitted.predict(inputs[test])
    return guessed
