"""How good the scores are, against the simple methods, for whom, at what cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from shared.evaluation.calibration import Calibration, Calibrator
from shared.evaluation.classification import Ranked
from shared.evaluation.costs import Bill, CostCurve, Costs
from shared.evaluation.drift import Reference, psi_by_period
from shared.evaluation.intervals import Bootstrap, Interval, bootstrap_groups, t_mean
from usecases.fraud_detection.metrics import card_precision_at_k
from usecases.fraud_detection.model import NAMES, SIMPLE
from usecases.fraud_detection.splits import Part
from usecases.fraud_detection.timeline import DAY, HOUR

HEADLINE = "average_precision"
RATES = (0.001, 0.01)
CHECKED = 100  # accounts a day
RESAMPLES = 1_000
SMALLEST_SLICE = 5  # frauds
WEEK = 7 * DAY
DAILY = "; of card precision Student's t over the {} days"


@dataclass(frozen=True)
class Rule:
    """When a score becomes an alert: chosen on validation, where the sum of all costs is least.

    Attributes:
        calibrator: makes a method's logits probabilities.
        threshold: of the expected loss, probability times what is lost with the transaction.
    """

    calibrator: Calibrator
    threshold: float

    @classmethod
    def choose(cls, logits: np.ndarray, labels: np.ndarray, amounts: np.ndarray, costs: Costs) -> Rule:
        """Fit both on validation rows [rows]."""
        calibrator = Calibrator.fit(logits, labels)
        return cls(calibrator, costs.curve(calibrator(logits) * costs.loss(amounts), labels, amounts).threshold)

    def trained_again(self, before: float, now: float) -> Rule:
        """The rule for a method that was trained again where another share of the rows was fraud: logits follow that share.

        The correction is that of Saerens et al. 2002 ("Adjusting the outputs of a classifier to new a priori probabilities").
        """
        shift = float(logit(before) - logit(now))
        calibrator = self.calibrator
        return replace(self, calibrator=replace(calibrator, offset=calibrator.offset + calibrator.scale * shift))


class Judge:
    """The test part: what happened in it, and how methods are judged and compared on it.

    Args:
        frame: all transactions.
        part: which of them are judged.
        costs: of alerts and of missed fraud.
    """

    def __init__(self, frame: pd.DataFrame, part: Part, costs: Costs) -> None:
        self.part, self.costs = part, costs
        self.frame = frame.iloc[part.judge].reset_index(drop=True)
        self.labels = part.truth.astype(np.int64)
        self.amounts = self.frame["amount"].to_numpy()
        self.accounts = pd.factorize(self.frame["account"])[0] if "account" in self.frame else None
        self.unit, self.units = self._units()

    def _units(self) -> tuple[str, np.ndarray]:
        """What is independent of one another: its name, and [rows] which each belongs to."""
        return ("hours", (self.frame["time"] // HOUR).to_numpy()) if self.accounts is None else ("accounts", self.accounts)

    @property
    def metrics(self) -> list[str]:
        names = ["roc_auc", HEADLINE, *(f"recall@fpr{rate:g}" for rate in RATES)]
        return [*names, *([f"card_precision@{CHECKED}"] if self.accounts is not None else []), "saved_share"]

    @property
    def days(self) -> int:
        return int(self.part.day.max(initial=0)) + 1

    def method(self, logits: np.ndarray, rule: Rule) -> Method:
        """A method's logits [rows] and its rule, on the test part."""
        return Method(self, logits, rule)

    def bootstrap(self, methods: Mapping[str, Method]) -> Bootstrap:
        """All metrics of all methods in the same resamples of accounts; names are `metric method`."""
        statistics: dict[str, Callable[[np.ndarray], float]] = {}
        for name, method in methods.items():
            statistics |= {f"{metric} {name}": statistic for metric, statistic in method.statistics().items()}
        return bootstrap_groups(self.units, statistics, resamples=RESAMPLES)

    def slices(self) -> dict[str, np.ndarray]:
        """Names of kinds of transactions, and which rows belong to them."""
        hour = (self.frame["time"] % DAY // HOUR).to_numpy()
        low, high = np.quantile(self.amounts, [0.5, 0.9])
        found = {
            f"amounts up to {low:,.2f} (the lower half)": self.amounts <= low,
            f"amounts up to {high:,.2f}": (self.amounts > low) & (self.amounts <= high),
            f"amounts above {high:,.2f} (the top tenth)": self.amounts > high,
            "at night (0 to 6 h)": hour < 6,
            "by day (6 to 18 h)": (hour >= 6) & (hour < 18),
            "in the evening (18 to 24 h)": hour >= 18,
        }
        if "scenario" in self.frame:
            kinds = self.frame["scenario"].astype("str")
            legitimate = self.labels == 0
            named = sorted(set(kinds[self.labels == 1]) - {""})
            found = {f"fraud: {kind}": legitimate | (kinds == kind).to_numpy() for kind in named} | found
        return {name: mask for name, mask in found.items() if self.labels[mask].sum() >= SMALLEST_SLICE}


class Method:
    """One method on the test part."""

    def __init__(self, judge: Judge, logits: np.ndarray, rule: Rule) -> None:
        self.judge, self.logits, self.rule = judge, logits, rule
        self.probabilities = rule.calibrator(logits)
        self.ranked = Ranked(judge.labels, logits)

    @cached_property
    def at_risk(self) -> np.ndarray:
        """[rows] the loss to be expected without an alert."""
        return self.probabilities * self.judge.costs.loss(self.judge.amounts)

    @property
    def alerts(self) -> np.ndarray:
        return self.at_risk >= self.rule.threshold

    @property
    def bill(self) -> Bill:
        return self.judge.costs.bill(self.alerts, self.judge.labels, self.judge.amounts)

    @property
    def curve(self) -> CostCurve:
        return self.judge.costs.curve(self.at_risk, self.judge.labels, self.judge.amounts)

    @property
    def by_day(self) -> np.ndarray:
        """[days] card precision."""
        assert self.judge.accounts is not None
        return card_precision_at_k(self.judge.part.day, self.judge.accounts, self.logits, self.judge.labels, CHECKED)

    def statistics(self) -> dict[str, Callable[[np.ndarray], float]]:
        """Metric name to a function of the rows' weights, for those that are bootstrapped over accounts."""
        found: dict[str, Callable[[np.ndarray], float]] = {
            "roc_auc": self.ranked.roc_auc,
            HEADLINE: self.ranked.average_precision,
        }
        for rate in RATES:
            found[f"recall@fpr{rate:g}"] = partial(self.ranked.recall_at_fpr, rate)
        return {**found, "saved_share": saved_share(self.judge.costs, self.alerts, self.judge.labels, self.judge.amounts)}


def saved_share(costs: Costs, alerts: np.ndarray, labels: np.ndarray, amounts: np.ndarray) -> Callable[[np.ndarray], float]:
    """What alerts [rows] save under weights of the rows, as a share of what a perfect detector would."""
    nothing = labels * costs.loss(amounts)
    gained = nothing - costs.per_row(alerts, labels, amounts)
    possible = nothing - np.minimum(nothing, costs.alert)

    def saved(weights: np.ndarray) -> float:
        most = float(weights @ possible)
        return float(weights @ gained) / most if most else 0.0

    return saved


def summarise(judge: Judge, methods: Mapping[str, Method], model: str, best: str | None, name: str) -> dict[str, Any]:
    """The numbers for metrics.json.

    Args:
        model: the method that is kept; the simple ones are its baselines.
        best: the strongest of these on validation.
        name: what to call the model.
    """
    result: dict[str, Any] = {
        "usecase": "fraud_detection",
        "headline": HEADLINE,
        **compare(judge, methods, model, best, name),
        "intervals": f"95%, bootstrap over {judge.unit}{'' if judge.accounts is None else DAILY.format(judge.days)}",
        "operating": (operating := _operating(judge, methods[model])),
        "decisions": decisions(operating, judge.days),
        "calibration": calibration(methods[model]),
        "slices": _slices(judge, methods[model], methods[best] if best else None),
    }
    return {**result, "conclusion": conclude(result)}


def compare(judge: Judge, methods: Mapping[str, Method], model: str, best: str | None, name: str) -> dict[str, Any]:
    """Every metric of every method with its interval, and the differences to the model; arguments as for `summarise`."""
    draws = judge.bootstrap(methods)
    tables = {name: _metrics(judge, method, draws, name) for name, method in methods.items()}
    simple = [name for name in methods if name in SIMPLE and name != model]
    return {
        "name": name,
        "model": tables[model],
        "baselines": {NAMES[name]: tables[name] for name in simple},
        "parts": {NAMES[name]: tables[name] for name in methods if name not in simple and name != model},
        "best_baseline": best and NAMES[best],
        "differences": {
            NAMES[name]: {metric: _difference(methods, draws, metric, model, name) for metric in tables[model]}
            for name in methods
            if name != model
        },
    }


def _metrics(judge: Judge, method: Method, draws: Bootstrap, name: str) -> dict[str, dict[str, float]]:
    table = {}
    for metric in judge.metrics:
        if metric.startswith("card_precision"):
            table[metric] = t_mean(method.by_day, low=0, high=1).as_dict()
        else:
            table[metric] = draws.interval(f"{metric} {name}").as_dict()
    return table


def _difference(methods: Mapping[str, Method], draws: Bootstrap, metric: str, ours: str, theirs: str) -> dict[str, float]:
    if metric.startswith("card_precision"):
        return t_mean(methods[ours].by_day - methods[theirs].by_day, low=-1, high=1).as_dict()
    return draws.difference(f"{metric} {ours}", f"{metric} {theirs}").as_dict()


def _operating(judge: Judge, method: Method) -> dict[str, Any]:
    """What the alerts at the chosen threshold cost and bring, beside those by the expected cost alone."""
    by_rule = judge.costs.expected_cost_rule(method.probabilities, judge.amounts)
    bill = method.bill
    return {
        "threshold": method.rule.threshold,
        "alerts_per_day": round(bill.alerts / judge.days, 1),
        "precision": round(bill.caught / max(bill.alerts, 1), 4),
        "recall": round(bill.caught / max(bill.caught + bill.missed, 1), 4),
        "bill": bill.as_dict(),
        "bill_by_expected_cost": judge.costs.bill(by_rule, judge.labels, judge.amounts).as_dict(),
    }


def decisions(operating: Mapping[str, Any], days: int) -> str:
    """What the alerts are worth, in one line."""
    bill = operating["bill"]
    return (
        f"Alerts from an expected loss of {operating['threshold']:,.2f} on: {operating['alerts_per_day']:,.1f} a day, "
        f"{operating['precision']:.0%} of them fraud, {operating['recall']:.0%} of the frauds caught; in {days} days they save "
        f"{bill['saved']:,.0f}, {bill['saved_share']:.0%} of what is possible."
    )


def calibration(method: Method) -> dict[str, float]:
    """How true the probabilities are on the test part."""
    found = Calibration(method.probabilities, method.judge.labels)
    return {
        "ece": round(found.ece(), 6),
        "brier": round(found.brier(), 6),
        "predicted_rate": round(float(method.probabilities.mean()), 6),
        "base_rate": round(float(method.judge.labels.mean()), 6),
    }


def _slices(judge: Judge, ours: Method, other: Method | None) -> list[dict[str, Any]]:
    rows = []
    for name, mask in judge.slices().items():
        fraud = mask & (judge.labels == 1)
        row = {"slice": name, "transactions": int(mask.sum()), "frauds": int(fraud.sum())}
        for label, method in (("model", ours), ("baseline", other)):
            if method is not None:
                ranked = Ranked(judge.labels[mask], method.logits[mask])
                row[label] = round(ranked.average_precision(), 4)
                row[f"{label}_caught"] = round(float(method.alerts[fraud].mean()), 4)
        rows.append(row)
    return rows


def conclude(result: Mapping[str, Any]) -> str:
    """The sentence to remember."""
    value, best = result["model"][HEADLINE]["value"], result["best_baseline"]
    money = f" Its alerts save {result['operating']['bill']['saved_share']:.0%} of what a perfect detector would."
    ours = "The combination" if result["name"] == NAMES["blend"] else _capital(result["name"])
    if best is None:
        return f"{ours} reaches an average precision of {value:.3f}; no other simple method was fitted.{money}"
    difference = result["differences"][best][HEADLINE]
    other = result["baselines"][best][HEADLINE]["value"]
    rival = "strongest other simple method" if result["name"] in {NAMES[name] for name in SIMPLE} else "strongest simple method"
    verdict = (
        "is better than"
        if difference["low"] > 0
        else "is worse than"
        if difference["high"] < 0
        else "is not reliably different from"
    )
    return (
        f"{ours} {verdict} {best}, the {rival} on validation: average precision {value:.3f} "
        f"against {other:.3f} (difference {difference['value']:+.3f}, 95% interval {difference['low']:+.3f} to "
        f"{difference['high']:+.3f}).{money}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def drift(reference: pd.DataFrame, judged: pd.DataFrame, time: np.ndarray) -> pd.DataFrame:
    """[weeks, columns] how far each column has moved from the training days (PSI); the index is each week's first day.

    Args:
        reference: inputs and score of training rows.
        judged: the same columns of later rows.
        time: of these, ms since 1970.
    """
    weeks = max(1, round((time.max() - time.min()) / WEEK))  # what is left over is added to the last one
    week = ((time - time.min()) // WEEK).clip(max=weeks - 1)
    known = {name: Reference.fit(column) for name, column in reference.items()}
    index = psi_by_period({str(name): one for name, one in known.items()}, judged, pd.Series(week))
    return index.set_axis([f"{pd.Timestamp(time.min() + place * WEEK, unit='ms'):%Y-%m-%d}" for place in index.index])


def interval(numbers: Mapping[str, float]) -> Interval:
    return Interval(numbers["value"], numbers["low"], numbers["high"])
