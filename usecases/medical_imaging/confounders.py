"""Do labels follow facts about the files, such as their size or the scanner, which have nothing to do with the patient?

A network would learn these instead of the finding, and its numbers would not hold elsewhere: see Zech et al., PLoS Medicine
15(11), 2018; DeGrave, Janizek & Lee, Nature Machine Intelligence 3, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import Interval, bootstrap_groups
from usecases.medical_imaging.cases import Case, Known

NUMBERS = ("width", "height", "aspect", "bytes", "bits", "covered")
NAMES = ("format", "colour", "photometric", "modality", "manufacturer", "source")
# Where pixels are stored as they are. Elsewhere a file's size tells how much an image shows, which a finding may well change.
PLAIN = ("BMP", "Implicit VR Little Endian", "Explicit VR Little Endian", "Explicit VR Big Endian")
MOST = 4000  # cases that are looked at, one of each group and class; drawn at random beyond
FOLDS = 5
RARE = 5  # cases below which a name counts as "another"


@dataclass(frozen=True)
class Probe:
    """How well labels are guessed from facts about the files alone.

    Attributes:
        auc: one class against the others, averaged over the classes; .5 is chance. With its 95% interval over groups.
        column: the fact that alone guesses best.
        alone: the AUC of it.
    """

    auc: Interval
    column: str
    alone: float


def facts(cases: Sequence[Case]) -> pd.DataFrame:
    """[cases, facts] about the files; never anything out of the pixels. Facts that are the same for all are left out."""
    rows = [_facts(case.about, case.source) for case in cases]
    table = pd.DataFrame(rows, columns=[*NUMBERS, *NAMES])
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    for column in NAMES:
        text = table[column].fillna("").astype(str)
        table[column] = text.where(text.map(text.value_counts()) >= RARE, "another")
    return table.loc[:, [column for column in table if table[column].nunique(dropna=False) > 1]]


def _facts(about: Mapping[str, Known], source: str) -> dict[str, Known | None]:
    found: dict[str, Known | None] = {name: about.get(name) for name in (*NUMBERS, *NAMES)}
    width, height = about.get("width"), about.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and height:
        found["aspect"] = width / height
    if about.get("format") not in PLAIN and about.get("transfer syntax") not in PLAIN:
        found["bytes"] = None
    found["covered"] = about.get("covered", 0.0)  # a box over burnt-in text is seen by a network, too
    return found | ({"source": source} if source else {})


def probe(cases: Sequence[Case], labels: np.ndarray, groups: np.ndarray, seed: int = 0) -> Probe | None:
    """Guess labels from facts about the files, cross-validated over groups.

    The guess is the mean of logistic regression's and of boosted trees' probabilities. A group counts once in each class, by one
    of its cases: the slices of a volume have the facts of one file, however many they are.

    Args:
        labels: int [cases].
        groups: int [cases], patients; see `splits.units`.

    Returns:
        None: all files are alike, or a class has too few groups to tell.
    """
    drawn = np.random.default_rng(seed).permutation(len(cases))
    once = drawn[np.unique(np.stack([groups, labels])[:, drawn], axis=1, return_index=True)[1]]
    rows = np.sort(drawn[np.isin(drawn, once)][:MOST])
    cases, labels, groups = [cases[row] for row in rows], labels[rows], groups[rows]
    classes = np.unique(labels)
    fewest = min((len(np.unique(groups[labels == one])) for one in classes), default=0)
    table = facts(cases)
    if len(classes) < 2 or fewest < FOLDS or table.empty:
        return None
    parts = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(table, labels, groups))
    guessed = _crossed(_linear(table), labels, parts, classes) + _crossed(_trees(table, seed), labels, parts, classes)
    ranked = _ranked(labels, guessed, classes)
    aucs = bootstrap_groups(groups, {"auc": lambda weights: _mean_auc(ranked, weights)}, resamples=300)
    alone = {}
    for column in table:
        one = _crossed(_trees(table[[column]], seed), labels, parts, classes)
        alone[column] = _mean_auc(_ranked(labels, one, classes), np.ones(len(labels)))
    best = max(alone, key=lambda column: alone[column])
    return Probe(aucs.interval("auc"), best, alone[best])


def _ranked(labels: np.ndarray, guessed: np.ndarray, classes: np.ndarray) -> list[Ranked]:
    return [Ranked((labels == one).astype(int), guessed[:, place]) for place, one in enumerate(classes)]


def _mean_auc(ranked: Sequence[Ranked], weights: np.ndarray) -> float:
    return float(np.mean([one.roc_auc(weights) for one in ranked]))


def _linear(table: pd.DataFrame) -> tuple[Any, np.ndarray]:
    """A logistic regression, and the facts as it wants them."""
    numbers = [column for column in table if column in NUMBERS]
    scaled = [np.log1p(table[column].fillna(table[column].median()).fillna(0).clip(lower=0)) for column in numbers]
    coded = [pd.get_dummies(table[column]) for column in table if column in NAMES]
    values = np.column_stack([*scaled, *coded]).astype(np.float64)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")), values


def _trees(table: pd.DataFrame, seed: int) -> tuple[Any, np.ndarray]:
    """Boosted trees, and the facts as they want them."""
    named = [column in NAMES for column in table]
    missing = -1  # a number, as of names: no number here is below 0, and a fold may know none of a fact
    values = [pd.factorize(table[column])[0] if column in NAMES else table[column].fillna(missing) for column in table]
    trees = HistGradientBoostingClassifier(
        max_iter=40,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        class_weight="balanced",
        random_state=seed,
        categorical_features=named,
    )
    return trees, np.column_stack(values).astype(np.float64)


def _crossed(
    method: tuple[Any, np.ndarray], labels: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]], classes: np.ndarray
) -> np.ndarray:
    """[cases, classes] probabilities, of each case by a model that did not see its group."""
    model, values = method
    guessed = np.zeros((len(labels), len(classes)))
    for train, test in parts:
        model.fit(values[train], labels[train])
        seen = np.searchsorted(classes, model.classes_)  # a small class may be in one fold only
        guessed[np.ix_(test, seen)] = model.predict_proba(values[test])
    return guessed
