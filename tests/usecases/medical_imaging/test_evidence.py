"""Numbers of probabilities and masks against scikit-learn, and slices and intervals as one would count them by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from usecases.medical_imaging import evidence
from usecases.medical_imaging.evidence import Labelled, Method

ONES = np.ones(300)


def drawn(classes: int, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, Method]:
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=300)
    logits = random.normal(0, 1, (300, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    decided = (probabilities[:, 1] > 0.3).astype(int) if classes == 2 else probabilities.argmax(1)
    return labels, Method(probabilities, decided)


def test_metrics_of_two_classes_are_those_of_scikit_learn() -> None:
    labels, method = drawn(2)
    found = {name: one(ONES) for name, one in evidence.statistics(labels, method).items()}
    p = method.probabilities[:, 1]
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, p))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(labels, p))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, p > 0.5))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, p))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(labels, method.decided))
    assert found["specificity"] == pytest.approx(metrics.recall_score(labels, method.decided, pos_label=0))
    assert "dice" not in found


def test_metrics_of_several_classes_are_means_over_each_against_the_rest() -> None:
    labels, method = drawn(4)
    found = {name: one(ONES) for name, one in evidence.statistics(labels, method).items()}
    p, hit = method.probabilities, method.probabilities.argmax(1) == labels
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, p, multi_class="ovr", average="macro"))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(np.eye(4)[labels], p, average="macro"))
    assert found["accuracy"] == pytest.approx(hit.mean())
    assert found["brier"] == pytest.approx(np.mean((p.max(1) - hit) ** 2))
    assert not {"sensitivity", "specificity"} & set(found)


def test_weights_count_cases_as_often() -> None:
    labels, method = drawn(2)
    method = Method(method.probabilities, method.decided, np.where(labels == 1, np.linspace(0, 1, 300), np.nan))
    times = np.random.default_rng(1).integers(0, 4, 300)
    again = np.repeat(np.arange(300), times)
    assert method.dice is not None
    repeated = Method(method.probabilities[again], method.decided[again], method.dice[again])
    whole = evidence.statistics(labels[again], repeated)
    for name, one in evidence.statistics(labels, method).items():
        if name == "ece":  # its bins are those of the cases as they are given
            continue
        assert one(times.astype(float)) == pytest.approx(whole[name](np.ones(len(again)))), name


def test_dice_is_the_mean_over_cases_with_a_finding() -> None:
    labels, method = drawn(2)
    dice = np.full(300, np.nan)
    dice[:3] = 0.2, 0.4, 0.9
    found = evidence.statistics(labels, Method(method.probabilities, method.decided, dice))["dice"](ONES)
    assert found == pytest.approx(0.5)


def test_intervals_are_over_patients_and_wider_than_over_images() -> None:
    """Ten images of each patient with the same answer tell no more than one."""
    labels, method = drawn(2, skill=0.5)
    labels, rows = np.repeat(labels[:40], 10), np.repeat(np.arange(40), 10)
    method = Method(method.probabilities[rows], method.decided[rows])
    widths = []
    for patients in (rows, np.arange(400)):
        cases = Labelled([str(k) for k in range(400)], labels, patients, [{}] * 400)
        interval = evidence.bootstrap(cases, {"ours": method}).interval("roc_auc ours")
        widths.append(interval.high - interval.low)
    assert widths[0] > 2.5 * widths[1]


def test_the_conclusion_names_the_best_simple_method_and_which_is_better() -> None:
    labels, good = drawn(2, skill=4)
    poor, worse = drawn(2, seed=0, skill=1)[1], Method(np.full((300, 2), 0.5), np.zeros(300, int))
    cases = Labelled([str(k) for k in range(300)], labels, np.arange(300), [{}] * 300)
    found = evidence.summarise(cases, {"network": good, "poor": poor, "constant": worse}, "network")
    assert found["best_baseline"] == "poor"
    assert "better than the best other method (poor)" in found["conclusion"]
    assert found["differences"]["poor"]["roc_auc"]["low"] > 0
    turned = evidence.summarise(cases, {"network": poor, "other": good}, "network")
    assert "worse than" in turned["conclusion"]
    alone = evidence.summarise(cases, {"network": good}, "network")
    assert alone["best_baseline"] is None
    assert "AUC" in alone["conclusion"]
    assert set(found["model"]) == set(found["baselines"]["constant"])
    json.dumps(found, allow_nan=False)


def test_slices_are_words_small_numbers_and_thirds_of_large_ones() -> None:
    labels, method = drawn(2)
    about = [{"source": "AB"[k % 2], "lesions": k % 3, "mm2": float(k % 100), "one": "same"} for k in range(300)]
    found = {entry["slice"]: entry for entry in evidence.slices(Labelled([""] * 300, labels, np.arange(300), about), method)}
    assert found["source: A"]["cases"] == 150
    assert found["lesions: 2"]["cases"] == 100
    thirds = [entry["cases"] for name, entry in found.items() if name.startswith("mm2")]
    assert len(thirds) == 3
    assert sum(thirds) == 297  # those with 0 are none of them
    assert not [name for name in found if name.startswith("one")]
    inside = np.arange(300) % 2 == 0
    assert found["source: A"]["right"] == pytest.approx((method.decided == labels)[inside].mean())
    assert found["source: A"]["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels[inside], method.probabilities[inside, 1]))


def test_a_slice_of_one_class_has_no_auc_and_small_ones_are_left_out() -> None:
    labels, method = drawn(2)
    about = [{"kind": "few" if k < 5 else f"only {labels[k]}"} for k in range(300)]
    found = {entry["slice"]: entry for entry in evidence.slices(Labelled([""] * 300, labels, np.arange(300), about), method)}
    assert set(found) == {"kind: only 0", "kind: only 1"}
    assert all("roc_auc" not in entry for entry in found.values())


def test_facts_that_divide_the_cases_alike_are_one_slice() -> None:
    labels, method = drawn(2)
    about = [{"contrast": "T1" if k % 2 else "T2", "source": "T1" if k % 2 else "T2"} for k in range(300)]
    names = [entry["slice"] for entry in evidence.slices(Labelled([""] * 300, labels, np.arange(300), about), method)]
    assert names == ["contrast: T1", "contrast: T2"]
