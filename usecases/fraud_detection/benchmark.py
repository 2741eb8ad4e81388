"""Published protocols, run side by side with the baselines, and how fast the code is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared import hardware
from shared.config import resolve
from shared.evaluation.intervals import bootstrap_groups, t_mean
from shared.runs import Run
from usecases.fraud_detection import data, splits
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.evidence import CHECKED, HEADLINE, Method
from usecases.fraud_detection.model import NAMES, SIMPLE
from usecases.fraud_detection.pipeline import fit_and_judge
from usecases.fraud_detection.prepare import prepare
from usecases.fraud_detection.throughput import batch_speed, feature_speed, handbook, stream_speed

Log = Callable[[str], None]
CARDS = f"card_precision@{CHECKED}"
METRICS = ("roc_auc", HEADLINE, CARDS)
BOOK = "Fraud Detection Handbook (Le Borgne et al. 2022)"
LATER = f"{BOOK}, chapter 5: folds from 2018-07-25 to 2018-08-15, later weeks than those here"
FOLDS = ("2018-07-25", "2018-07-18", "2018-07-11", "2018-07-04")
SETTINGS = ("split.train_days=7", "split.test_days=7", "split.validation=accounts", "data.label_delay_days=7")


@dataclass(frozen=True)
class Fold:
    """One training week: the methods of each seed on its test week."""

    accounts: np.ndarray
    seeds: list[dict[str, Method]]

    @property
    def most(self) -> float:
        """The card precision of a perfect detector: there may be fewer compromised cards in a day than can be checked."""
        method = self.seeds[0]["model"]
        return float(method.judge.method(method.judge.labels, method.rule).by_day.mean())


@dataclass(frozen=True)
class Handbook:
    """The Handbook's set-up: a week to train on, a week of delay, a week to test on, without accounts known as compromised."""

    name: str
    starts: tuple[str, ...]
    published: Mapping[str, Mapping[str, float]]
    source: str = BOOK

    def __call__(self, folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
        """Train and judge for each fold and seed; values are means.

        Intervals are over accounts, paired for differences; of card precision they are Student's t over the test days.
        """
        source = handbook(folder)
        base = resolve(FraudConfig, [], [source, *SETTINGS])
        chip = hardware.select(base.hardware)
        transactions = data.load(base)
        configs = {start: resolve(FraudConfig, [], [source, *SETTINGS, f"split.start={start}"]) for start in self.starts}
        parts = [splits.split(transactions, config)[1] for config in configs.values()]
        wanted = np.unique(np.concatenate([np.concatenate([part.fit, part.judge]) for part in parts]))
        prepared = prepare(transactions, base, wanted, chip.threads)
        log(f"Computed the features of {len(transactions.frame):,} transactions in {prepared.seconds:.1f} s")
        folds, seconds = [], []
        for start, config in configs.items():
            methods = []
            for seed in seeds:
                log(f"Training week from {start}, seed {seed}")
                seeded = config.model_copy(update={"seed": seed})
                with tempfile.TemporaryDirectory() as scratch:
                    outcome = fit_and_judge(seeded, transactions, Run(Path(scratch), "fraud_detection"), chip, log, prepared)
                assert outcome is not None  # only other processes than the main one get none
                others = {name: method for name, method in outcome.methods.items() if name != "blend"}
                methods.append({"model": outcome.methods[outcome.model], **others})
                seconds.append(outcome.train_s)
            folds.append(Fold(methods[0]["model"].judge.frame["account"].to_numpy(), methods))
        return {
            "usecase": "fraud_detection",
            "protocol": self.name,
            "split": f"7 days of training from {', '.join(self.starts)}, 7 of delay, 7 of test, known accounts removed",
            "seeds": list(seeds),
            "metrics": self._table(folds),
            "timing": {"train_s": seconds, "features_s": prepared.seconds},
            "hardware": chip.describe(),
        }

    def _table(self, folds: list[Fold]) -> dict[str, Any]:
        names = [name for name in folds[0].seeds[0] if all(name in methods for fold in folds for methods in fold.seeds)]
        units = pd.factorize(np.concatenate([fold.accounts for fold in folds]))[0]
        edges = np.cumsum([0, *(len(fold.accounts) for fold in folds)])

        def statistic(name: str, metric: str) -> Callable[[np.ndarray], float]:
            each = [
                (methods[name].statistics()[metric], start, end)
                for fold, start, end in zip(folds, edges, edges[1:], strict=False)
                for methods in fold.seeds
            ]

            def mean(weights: np.ndarray) -> float:
                return float(np.mean([one(weights[start:end]) for one, start, end in each]))

            return mean

        draws = bootstrap_groups(units, {f"{m} {n}": statistic(n, m) for n in names for m in METRICS if m != CARDS})
        days = {n: np.concatenate([np.mean([s[n].by_day for s in fold.seeds], axis=0) for fold in folds]) for n in names}
        found = {}
        for metric in METRICS:
            if metric == CARDS:
                intervals = {name: t_mean(days[name], low=0, high=1) for name in names}
                differences = {name: t_mean(days["model"] - days[name], low=-1, high=1) for name in names if name != "model"}
            else:
                intervals = {name: draws.interval(f"{metric} {name}") for name in names}
                differences = {n: draws.difference(f"{metric} model", f"{metric} {n}") for n in names if n != "model"}
            simple = [name for name in names if name in SIMPLE]
            best = max(simple, key=lambda name: intervals[name].value)
            each = [[_value(methods["model"], metric) for methods in fold.seeds] for fold in folds]
            shown = {NAMES[name]: intervals[name].value for name in names if name not in simple and name != "model"}
            if metric == CARDS:
                shown["a perfect detector"] = float(np.mean([fold.most for fold in folds]))
            found[metric] = {
                "model": {
                    **intervals["model"].as_dict(),
                    "by_seed": [round(float(v), 4) for v in np.mean(each, axis=0)],
                    "by_fold": [round(float(v), 4) for v in np.mean(each, axis=1)],
                },
                "baselines": {NAMES[name]: {"value": round(intervals[name].value, 4)} for name in simple},
                "parts": {name: {"value": round(value, 4)} for name, value in shown.items()},
                "published": {name: {"value": values[metric], "source": self.source} for name, values in self.published.items()},
                "difference": {"name": NAMES[best], **differences[best].as_dict()},
                "differences": {NAMES[name]: one.as_dict() for name, one in differences.items()},
            }
        return found


def _value(method: Method, metric: str) -> float:
    return float(method.by_day.mean()) if metric == CARDS else method.statistics()[metric](np.ones(len(method.logits)))


WEEK = Handbook(
    "handbook-week",
    FOLDS[:1],
    {
        "XGBoost": {"roc_auc": 0.862, HEADLINE: 0.639, CARDS: 0.273},
        "logistic regression, published": {"roc_auc": 0.871, HEADLINE: 0.606, CARDS: 0.291},
    },
)
PREQUENTIAL = Handbook(
    "handbook-prequential",
    FOLDS,
    {
        "XGBoost": {"roc_auc": 0.869, HEADLINE: 0.687, CARDS: 0.303},
        "neural network": {"roc_auc": 0.876, HEADLINE: 0.675, CARDS: 0.303},
        "LSTM": {"roc_auc": 0.876, HEADLINE: 0.665, CARDS: 0.297},
    },
    LATER,
)

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "handbook-week": WEEK,
    "handbook-prequential": PREQUENTIAL,
    "feature-speed": feature_speed,
    "batch-speed": batch_speed,
    "stream-speed": stream_speed,
}
