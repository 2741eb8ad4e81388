"""How good the scores of rows without a time are: out of folds for those of the training, and on other data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from shared.errors import DataError, Finding
from shared.evaluation.calibration import Calibrator
from shared.evaluation.classification import Ranked
from shared.evaluation.costs import Costs
from usecases.fraud_detection import plain_data
from usecases.fraud_detection.detector import Detector
from usecases.fraud_detection.evidence import HEADLINE, Judge, Method, Rule, calibration, compare
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.labels import Words
from usecases.fraud_detection.model import NAMES
from usecases.fraud_detection.splits import Part

RARE = 0.05  # share of findings from which on the ROC AUC says more than it hides
MOST_SLICES, MOST_VALUES = 15, 5
SMALLEST = 20  # findings in a slice


class RowJudge(Judge):
    """The judged rows, and how methods are compared on them."""

    def __init__(self, frame: pd.DataFrame, costs: Costs, categorical: tuple[str, ...]) -> None:
        every, labels = np.arange(len(frame)), frame["label"].to_numpy()
        self.categorical = categorical
        super().__init__(frame, Part(every, every, labels, labels, np.zeros(len(every), int), ""), costs)
        self.accounts = None  # no days on which accounts could be checked

    def _units(self) -> tuple[str, np.ndarray]:
        return ("rows", np.arange(len(self.frame))) if self.accounts is None else ("accounts", self.accounts)

    @property
    def metrics(self) -> list[str]:
        return [name for name in super().metrics if self.labels.mean() < RARE or name != "recall@fpr0.001"]

    def slices(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name in self.categorical:
            values = self.frame[name].value_counts().index
            if len(values) <= MOST_VALUES:
                found |= {f"{name} = {value or '(missing)'}": (self.frame[name] == value).to_numpy() for value in sorted(values)}
        able = {name: mask for name, mask in found.items() if SMALLEST <= self.labels[mask].sum() <= mask.sum() - SMALLEST}
        return dict(list(able.items())[:MOST_SLICES])


def rows_of(detector: Detector, frame: Any, count: int) -> Rows:
    """What the model sees of rows with columns as in `data.Transactions.frame`."""
    x = detector.inputs.matrix(frame, np.zeros((count, 0), np.float32))
    return Rows(x, np.zeros((count, 1, 1), np.float16))


def judge_of(detector: Detector, frame: pd.DataFrame) -> RowJudge:
    return RowJudge(frame, detector.costs, detector.source.categorical)


def methods_of(detector: Detector, judge: RowJudge) -> dict[str, Method]:
    """Each method on the rows of the training, by what it gave them out of fold."""
    rule = Rule(Calibrator(), detector.costs.alert)
    return {name: judge.method(values, rule) for name, values in detector.judged.items()}


def again(detector: Detector, frame: pd.DataFrame) -> dict[str, Any]:
    """The numbers on the labelled rows of the training, in their order; the folds' models are not kept, what they gave is."""
    judge, words, split = judge_of(detector, frame), detector.source.words, detector.config.split
    whole = " of whole accounts" if "account" in frame else ""
    of = share_of(detector.config.train_share)
    protocol = (
        f"each of {len(frame):,} {words.records} was judged once, in one of {split.folds} folds{whole}, by a model that had not "
        f"seen the fold; settings and weights were chosen, each time anew, within {of}the other folds; the model that is kept "
        f"then learnt from {of}all"
    )
    return {**summarise(judge, methods_of(detector, judge), detector), "protocol": protocol}


def share_of(train_share: float) -> str:
    """What stands before the rows that are learnt from, where it is not all of them."""
    return "" if train_share == 1 else f"a random {100 * train_share:.3g}% of "


def other(detector: Detector, frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """The numbers on other data; rows that the model was trained on are left out.

    Raises:
        DataError: nothing is left to judge it by.
    """
    words = detector.source.words
    new = ~np.isin(plain_data.hashes(frame, detector.source), detector.seen)
    kept = frame[new & frame["label"].notna().to_numpy()].reset_index(drop=True)
    found = int(kept["label"].sum())
    if found in (0, len(kept)):
        what = (
            f"{(~new).sum():,} of its {words.records} were trained on; of the {len(kept):,} others with a label {found:,} have "
        )
        raise DataError([Finding("error", what + words.finding, name, "Give others, with both labels")])
    rows, judge = rows_of(detector, kept, len(kept)), judge_of(detector, kept)
    methods = {"blend": judge.method(detector.blend(rows), detector.rule)}
    if rival := detector.rival:
        methods[rival.name] = judge.method(rival.member(rows), rival.rule)
    left = f"; {(~new).sum():,} that it was trained on were left out" if not new.all() else ""
    return {
        **summarise(judge, methods, detector),
        "protocol": f"judged on {len(kept):,} {words.records} that it did not see{left}",
    }


def name_of(weights: Mapping[str, float]) -> str:
    """What to call the model."""
    return NAMES["blend"] if len(weights) > 1 else f"chosen: {NAMES[next(iter(weights))]}"


def summarise(judge: RowJudge, methods: Mapping[str, Method], detector: Detector) -> dict[str, Any]:
    """The numbers for metrics.json."""
    words, ours, best = detector.source.words, methods["blend"], detector.rival.name if detector.rival else None
    headline = HEADLINE if judge.labels.mean() < RARE else "roc_auc"
    result = {
        "usecase": "fraud_detection",
        "headline": headline,
        **compare(judge, methods, "blend", best, name_of(detector.blend.weights)),
        "intervals": f"95%, bootstrap over {judge.unit}",
        "operating": (operating := _operating(ours)),
        "decisions": decisions(operating, words, len(judge.labels)),
        "calibration": calibration(ours),
        "slices": [_slice(name, mask, ours, methods.get(best or "")) for name, mask in judge.slices().items()],
    }
    return {**result, "conclusion": conclude(result)}


def _operating(ours: Method) -> dict[str, Any]:
    bill = ours.bill
    return {
        "threshold": ours.rule.threshold,
        "flagged": bill.alerts,
        "precision": round(bill.caught / max(bill.alerts, 1), 4),
        "recall": round(bill.caught / max(bill.caught + bill.missed, 1), 4),
        "bill": {("flagged" if name == "alerts" else name): value for name, value in bill.as_dict().items()},
    }


def decisions(operating: Mapping[str, Any], words: Words, rows: int) -> str:
    """What flagging is worth, in one line."""
    bill = operating["bill"]
    return (
        f"Flagged are {operating['flagged']:,} of {rows:,} {words.records}: {operating['precision']:.0%} of them have "
        f"{words.finding}, and {operating['recall']:.0%} of those with {words.finding} are among them. That saves "
        f"{bill['saved']:,.0f}, {bill['saved_share']:.0%} of what is possible."
    )


def _slice(name: str, mask: np.ndarray, ours: Method, other: Method | None) -> dict[str, Any]:
    labels = ours.judge.labels
    row: dict[str, Any] = {"slice": name, "rows": int(mask.sum()), "found": int(labels[mask].sum())}
    for label, method in (("model", ours), ("baseline", other)):
        if method is not None:
            row[label] = round(Ranked(labels[mask], method.logits[mask]).roc_auc(), 4)
    return row


def conclude(result: Mapping[str, Any]) -> str:
    """The sentence to remember."""
    metric, best = result["headline"], result["best_baseline"]
    named = {"roc_auc": "ROC AUC", HEADLINE: "average precision"}[metric]
    value = result["model"][metric]["value"]
    ours = result["name"][:1].upper() + result["name"][1:]
    if best is None:
        return f"{ours}: {named} {value:.3f}; no simple method was fitted beside it."
    difference, theirs = result["differences"][best][metric], result["baselines"][best][metric]["value"]
    verdict = (
        "better than" if difference["low"] > 0 else "worse than" if difference["high"] < 0 else "not reliably different from"
    )
    return (
        f"{ours}: {named} {value:.3f}, {verdict} {best}, the strongest simple method on validation, with {theirs:.3f} "
        f"(difference {difference['value']:+.3f}, 95% interval {difference['low']:+.3f} to {difference['high']:+.3f})."
    )
