"""How good probabilities and masks are on cases that were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.evaluation.calibration import Calibration
from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import Bootstrap, bootstrap_groups

HEADLINE = "roc_auc"
SMALLEST_SLICE = 10  # cases
RESAMPLES = 1000

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Method:
    """What one method says of the cases.

    Attributes:
        probabilities: [cases, classes].
        decided: [cases] place of the class that it decides for.
        dice: [cases] overlap of its masks with the true ones, nan for cases without a finding; None: it gives no masks.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    dice: np.ndarray | None = None


@dataclass(frozen=True)
class Labelled:
    """What is known of the judged cases: [cases] each, and `about` for slices."""

    names: Sequence[str]
    labels: np.ndarray
    patients: np.ndarray
    about: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def statistics(labels: np.ndarray, method: Method) -> dict[str, Statistic]:
    """Metric name to a function of the cases' weights.

    `roc_auc` and `average_precision` are of the finding, or means over the classes, each against the rest; `accuracy` is that
    of the likeliest class, `sensitivity` and `specificity` those at the operating point; `ece` and `brier` judge the finding's
    probability, or with more classes the likeliest one's.
    """
    probabilities, classes = method.probabilities, method.probabilities.shape[1]
    ranked = [
        Ranked((labels == place).astype(int), probabilities[:, place]) for place in ((1,) if classes == 2 else range(classes))
    ]
    likeliest = probabilities.argmax(1)
    hit = likeliest == labels
    sure, right = (probabilities[:, 1], labels) if classes == 2 else (probabilities.max(1), hit)
    calibration = Calibration(np.clip(sure, 0, 1), right.astype(np.int64))
    made: dict[str, Statistic] = {
        "roc_auc": lambda weights: float(np.mean([one.roc_auc(weights) for one in ranked])),
        "average_precision": lambda weights: float(np.mean([one.average_precision(weights) for one in ranked])),
        "accuracy": lambda weights: float(np.average(hit, weights=weights)),
        "ece": calibration.ece,
        "brier": calibration.brier,
    }
    if classes == 2:
        made["sensitivity"] = _share_of(method.decided == 1, labels == 1)
        made["specificity"] = _share_of(method.decided == 0, labels == 0)
    if method.dice is not None and np.isfinite(method.dice).any():
        made["dice"] = _share_of(np.nan_to_num(method.dice), np.isfinite(method.dice))
    return made


def _share_of(values: np.ndarray, of: np.ndarray) -> Statistic:
    """The weighted mean of `values` [cases] over the cases in `of` [cases]; nan where these have no weight."""

    def share(weights: np.ndarray) -> float:
        own = weights * of
        return float(own @ values / own.sum()) if own.sum() > 0 else float("nan")

    return share


def bootstrap(cases: Labelled, methods: Mapping[str, Method]) -> Bootstrap:
    """All metrics of all methods in the same resamples of patients; names are `metric method`."""
    made = {
        f"{metric} {name}": one for name, method in methods.items() for metric, one in statistics(cases.labels, method).items()
    }
    return bootstrap_groups(cases.patients, made, resamples=RESAMPLES)


def summarise(cases: Labelled, methods: Mapping[str, Method], ours: str) -> dict[str, Any]:
    """The numbers for metrics.json. `ours` is the model that is used, all others are simple baselines."""
    draws = bootstrap(cases, methods)
    found = {name: [key.removesuffix(f" {name}") for key in draws.values if key.endswith(f" {name}")] for name in methods}
    tables = {name: {metric: draws.interval(f"{metric} {name}").as_dict() for metric in own} for name, own in found.items()}
    others = [name for name in methods if name != ours]
    best = max(others, key=lambda name: tables[name][HEADLINE]["value"], default=None)
    differences = {
        name: {m: draws.difference(f"{m} {ours}", f"{m} {name}").as_dict() for m in found[name] if m in found[ours]}
        for name in others
    }
    patients = len(np.unique(cases.patients))
    result = {
        "usecase": "medical_imaging",
        "headline": HEADLINE,
        "name": ours,
        "model": tables[ours],
        "baselines": {name: tables[name] for name in others},
        "best_baseline": best,
        "differences": differences,
        "intervals": f"95%, bootstrap over {patients:,} patients",
        "slices": slices(cases, methods[ours]),
    }
    return {**result, "conclusion": conclude(result, ours, best)}


def slices(cases: Labelled, method: Method) -> list[dict[str, Any]]:
    """The model by kinds of cases; a slice of one class alone has no AUC, so the share of right decisions is told, too."""
    found, told = [], set()
    for name, inside in kinds(cases.about):
        if inside.sum() < SMALLEST_SLICE or inside.tobytes() in told:  # two facts may divide the cases alike
            continue
        told.add(inside.tobytes())
        labels = cases.labels[inside]
        dice = None if method.dice is None else method.dice[inside]
        own = statistics(labels, Method(method.probabilities[inside], method.decided[inside], dice))
        weights = np.ones(len(labels))
        entry = {"slice": name, "cases": int(inside.sum()), "right": float((method.decided[inside] == labels).mean())}
        found.append(entry | {metric: own[metric](weights) for metric in ("roc_auc", "dice") if metric in own})
    return [{key: value for key, value in entry.items() if value == value} for entry in found]  # without what is nan


def kinds(about: Sequence[Mapping[str, Any]]) -> list[tuple[str, np.ndarray]]:
    """Slices [cases] by each fact: words and small whole numbers by value, other numbers in thirds of those above 0."""
    found: list[tuple[str, np.ndarray]] = []
    for fact in sorted({key for one in about for key in one}):
        values = [one.get(fact) for one in about]
        distinct = {value for value in values if value is not None}
        numbers = np.array([np.nan if isinstance(v, str) or v is None else float(v) for v in values])
        if all(isinstance(value, str) for value in distinct) or len(distinct) <= 6:
            if 1 < len(distinct) <= 12:
                found += [(f"{fact}: {v}", np.array([one == v for one in values])) for v in sorted(distinct, key=str)]
        elif np.isfinite(numbers[numbers > 0]).sum() >= 3 * SMALLEST_SLICE:
            low, high = np.quantile(numbers[numbers > 0], [1 / 3, 2 / 3])
            found.append((f"{fact}: up to {low:.3g}", (numbers > 0) & (numbers <= low)))
            found.append((f"{fact}: {low:.3g} to {high:.3g}", (numbers > low) & (numbers <= high)))
            found.append((f"{fact}: above {high:.3g}", numbers > high))
    return found


def conclude(result: Mapping[str, Any], ours: str, best: str | None) -> str:
    """The sentence to remember."""
    model = result["model"]
    auc = f"AUC {model[HEADLINE]['value']:.3f} [{model[HEADLINE]['low']:.3f}, {model[HEADLINE]['high']:.3f}]"
    masks = f" Its masks overlap the true ones with a Dice of {model['dice']['value']:.2f}." if "dice" in model else ""
    if best is None:
        return f"The {ours} tells the classes apart with {auc} on patients it was not trained on.{masks}"
    gap = result["differences"][best][HEADLINE]
    verdict = "better than" if gap["low"] > 0 else "worse than" if gap["high"] < 0 else "about as well as"
    other = result["baselines"][best][HEADLINE]["value"]
    return (
        f"On patients that it was not trained on the {ours} tells the classes apart {verdict} the best other method ({best}): "
        f"{auc} against {other:.3f}.{masks}"
    )
