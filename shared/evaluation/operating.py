"""What a test is worth at one threshold: sensitivity, specificity, predictive values and net benefit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from shared.evaluation.intervals import Interval, bootstrap_groups


def proportion(
    successes: float, trials: float, *, method: Literal["wilson", "clopper-pearson"] = "wilson", level: float = 0.95
) -> Interval:
    """A share of independent trials with its interval; all nan where there was no trial.

    Wilson's (1927) covers as it says on average and is the shorter; Clopper & Pearson's (1934) never covers less (Brown, Cai &
    DasGupta 2001 compare them). The numbers may be fractional.
    """
    if trials <= 0:
        return Interval(np.nan, np.nan, np.nan)
    share, tail = successes / trials, (1 - level) / 2
    if method == "clopper-pearson":
        low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes > 0 else 0.0
        high = stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
        return Interval(share, float(low), float(high))
    z = stats.norm.ppf(1 - tail)
    centre = (successes + z**2 / 2) / (trials + z**2)
    half = z / (trials + z**2) * np.sqrt(successes * (trials - successes) / trials + z**2 / 4)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, float(low if successes > 0 else 0), float(high if successes < trials else 1))


def threshold_for_sensitivity(scores: np.ndarray, labels: np.ndarray, sensitivity: float) -> float:
    """The threshold of highest specificity whose sensitivity is at least as wanted; rows with score >= threshold are positive.

    Choose it on validation. On new patients the sensitivity will be as wanted only on average: with few positives, ask for more.

    Args:
        scores: [rows], higher is more likely positive.
        labels: [rows] of 0 and 1.
        sensitivity: above 0, up to 1.

    Raises:
        ValueError: there is no positive, or the sensitivity is out of range.
    """
    positives = np.sort(np.asarray(scores, dtype=np.float64)[np.asarray(labels) == 1])[::-1]
    if positives.size == 0 or not 0 < sensitivity <= 1:
        raise ValueError(f"a threshold needs positives (there are {positives.size}) and a sensitivity in 0..1, not {sensitivity}")
    return float(positives[int(np.ceil(sensitivity * positives.size - 1e-9)) - 1])


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold does.

    Attributes:
        threshold: rows with score >= threshold are positive.
        sensitivity, specificity: with their intervals; nan without a positive, or without a negative.
        true_positives, false_negatives, true_negatives, false_positives: numbers of rows.
    """

    threshold: float
    sensitivity: Interval
    specificity: Interval
    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int

    def predictive_values(self, prevalence: float) -> tuple[Interval, Interval]:
        """(positive, negative) predictive value where `prevalence` (0 to 1) of those tested are ill, by Bayes' rule.

        Both rise with sensitivity and with specificity, so both ends of the intervals at once give intervals that are, if
        anything, too wide. nan where no one would be called positive, or negative.
        """
        corners = [(getattr(self.sensitivity, end), getattr(self.specificity, end)) for end in ("value", "low", "high")]
        positive = [_share(sens * prevalence, (1 - spec) * (1 - prevalence)) for sens, spec in corners]
        negative = [_share(spec * (1 - prevalence), (1 - sens) * prevalence) for sens, spec in corners]
        return Interval(*positive), Interval(*negative)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"sensitivity": self.sensitivity.as_dict(), "specificity": self.specificity.as_dict()}


def operate(
    scores: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    *,
    groups: np.ndarray | None = None,
    method: Literal["wilson", "clopper-pearson"] = "wilson",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> OperatingPoint:
    """Sensitivity and specificity at a threshold that was chosen on other rows.

    Args:
        scores: [rows], higher is more likely positive.
        labels: [rows] of 0 and 1.
        groups: [rows], the patient of each row; where a patient has several, the intervals come from a bootstrap of patients.
            None: rows are independent, and the intervals are those of `proportion` by `method`. A bootstrap knows no
            uncertainty where nothing (or everything) was missed; `method` over the number of patients then takes its place.
    """
    labels, positive = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64) >= threshold
    kinds = {"sensitivity": (labels, labels & positive), "specificity": (~labels, ~labels & ~positive)}
    intervals = {name: proportion(hit.sum(), of.sum(), method=method, level=level) for name, (of, hit) in kinds.items()}
    if groups is not None and len(np.unique(groups)) < len(labels):
        groups = np.asarray(groups)
        statistics = {name: lambda weights, of=of, hit=hit: _share_of(weights, hit, of) for name, (of, hit) in kinds.items()}
        drawn = bootstrap_groups(groups, statistics, resamples=resamples, level=level, seed=seed)
        for name, (of, hit) in kinds.items():
            share = intervals[name].value
            if 0 < share < 1:
                intervals[name] = drawn.interval(name)
            else:
                patients = len(np.unique(groups[of]))
                intervals[name] = proportion(patients * bool(hit.any()), patients, method=method, level=level)
    (ill, found), (well, cleared) = kinds.values()
    counts = (int(part.sum()) for part in (found, ill & ~positive, cleared, well & positive))
    return OperatingPoint(float(threshold), intervals["sensitivity"], intervals["specificity"], *counts)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit over the threshold probability, in true positives per person tested (Vickers & Elkin 2006).

    Attributes:
        thresholds: [points]: the probability at which one is undecided, so that odds(threshold) false alarms weigh one finding.
        models: name to [points].
        everyone: [points], of treating everyone. Treating no one has 0 everywhere.
    """

    thresholds: np.ndarray
    models: dict[str, np.ndarray]
    everyone: np.ndarray


def net_benefit(
    probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """[points] true positives minus odds-weighted false positives, per person, of treating where probability >= threshold.

    Args:
        probabilities: [rows], calibrated.
        labels: [rows] of 0 and 1.
        thresholds: [points], each from 0 to below 1.
        weights: [rows].
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(probabilities, kind="stable")
    first = np.searchsorted(probabilities[order], thresholds, "left")
    true, false = (np.append(0.0, np.cumsum((weights * (labels == kind))[order][::-1]))[len(labels) - first] for kind in (1, 0))
    return (true - false * np.asarray(thresholds) / (1 - np.asarray(thresholds))) / weights.sum()


def decision_curve(models: Mapping[str, np.ndarray], labels: np.ndarray, thresholds: np.ndarray | None = None) -> DecisionCurve:
    """Net benefit of each model's probabilities [rows], name by name, and of treating everyone.

    Args:
        thresholds: [points] from 0 to below 1; None: every percent from 1 to 99.
    """
    thresholds = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    curves = {name: net_benefit(probabilities, labels, thresholds) for name, probabilities in models.items()}
    return DecisionCurve(thresholds, curves, net_benefit(np.ones(len(labels)), labels, thresholds))


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else float("nan")


def _share_of(weights: np.ndarray, hit: np.ndarray, of: np.ndarray) -> float:
    total = weights @ of
    return float(weights @ hit / total) if total > 0 else float("nan")
