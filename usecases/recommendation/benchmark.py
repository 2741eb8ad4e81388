"""Published protocols, run side by side with the baselines, and how fast the code is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared import hardware
from shared.config import resolve
from shared.errors import UserError
from shared.evaluation.intervals import bootstrap_mean
from shared.runs import Run
from usecases.recommendation import data, fitting
from usecases.recommendation.config import RecommendationConfig
from usecases.recommendation.evidence import Judged
from usecases.recommendation.pipeline import fit_and_judge
from usecases.recommendation.throughput import batch_speed, training_speed

Log = Callable[[str], None]


@dataclass(frozen=True)
class Protocol:
    """A published set-up: where the data is, the settings, and the figures others report."""

    name: str
    file: str
    settings: tuple[str, ...]
    split: str
    metrics: tuple[str, ...]
    published: dict[str, dict[str, tuple[float, str]]]

    def __call__(self, folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
        """Train and judge once a seed; values are means over the seeds, intervals are over users (paired for differences)."""
        if folder is None or not (folder / self.file).exists():
            raise UserError(f"The protocol {self.name} needs the folder that holds {self.file}: --data DIR")
        source = f"data.source={folder / self.file}"
        runs: list[tuple[Judged, dict[str, Judged]]] = []
        seconds: list[float] = []
        for seed in seeds:
            config = resolve(RecommendationConfig, [], [source, f"seed={seed}", *self.settings])
            chip = hardware.select(config.hardware)
            with tempfile.TemporaryDirectory() as scratch:
                log(f"Seed {seed}")
                outcome = fit_and_judge(config, data.load(config), Run(Path(scratch), "recommendation"), chip, log)
            assert outcome is not None  # only other processes than the main one get none
            order = np.argsort(outcome.judge.users)
            runs.append((outcome.ours.ordered(order), {name: one.ordered(order) for name, one in outcome.others.items()}))
            seconds.append(outcome.train_s)
        return {
            "usecase": "recommendation",
            "protocol": self.name,
            "split": self.split,
            "seeds": list(seeds),
            "metrics": {metric: self._entry(metric, runs) for metric in self.metrics},
            "timing": {"train_s": seconds},
            "hardware": chip.describe(),
        }

    def _entry(self, metric: str, runs: list[tuple[Judged, dict[str, Judged]]]) -> dict[str, Any]:
        common = [name for name in runs[0][1] if all(name in others for _, others in runs)]  # a part may differ by seed
        ours = np.mean([mine.values[metric] for mine, _ in runs], axis=0)
        theirs = {name: np.mean([others[name].values[metric] for _, others in runs], axis=0) for name in common}
        simple = {name: values for name, values in theirs.items() if name in fitting.BASELINES}
        best = max(simple, key=lambda name: simple[name].mean())
        return {
            "model": {
                **bootstrap_mean(ours).as_dict(),
                "by_seed": [round(float(mine.values[metric].mean()), 4) for mine, _ in runs],
            },
            "baselines": {name: {"value": round(float(values.mean()), 4)} for name, values in simple.items()},
            "parts": {name: {"value": round(float(values.mean()), 4)} for name, values in theirs.items() if name not in simple},
            "published": {
                name: {"value": value, "source": source} for name, (value, source) in self.published.get(metric, {}).items()
            },
            "difference": {"name": best, **bootstrap_mean(ours - simple[best]).as_dict()},
            "differences": {name: bootstrap_mean(ours - values).as_dict() for name, values in theirs.items()},
        }


_MICROSOFT = "Microsoft Recommenders, benchmark of ML-100K, 75/25"
_S3REC = "Zhou et al. 2020 (S3-Rec), table 2, full ranking"

ML_100K = Protocol(
    name="ml-100k",
    file="ml-100k.inter",
    settings=("split.method=random", "split.test=0.25", "model.min_item_events=1", "model.text=none", "at=[10]"),
    split="random 75/25 within each user, all ratings positive, unseen items ranked in full, top 10",
    metrics=("ndcg@10", "recall@10", "precision@10", "hit_rate@10"),
    published={
        "ndcg@10": {
            "BiVAE": (0.475, _MICROSOFT),
            "BPR": (0.442, _MICROSOFT),
            "LightGCN": (0.420, _MICROSOFT),
            "SAR": (0.383, _MICROSOFT),
        }
    },
)
AMAZON_BEAUTY = Protocol(
    name="amazon-beauty",
    file="Beauty.txt",
    settings=(
        "split.method=leave_one_out",
        "model.min_item_events=1",
        "model.text=none",
        "model.members=[near_knn,transformer]",
        "at=[10]",
    ),
    split="leave-one-out (last item test, the one before it validation), items not in the history ranked in full, top 10",
    metrics=("ndcg@10", "hit_rate@10"),
    published={
        "ndcg@10": {"SASRec": (0.0318, _S3REC), "S3-Rec": (0.0327, _S3REC)},
        "hit_rate@10": {"SASRec": (0.0605, _S3REC), "S3-Rec": (0.0647, _S3REC)},
    },
)

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "ml-100k": ML_100K,
    "amazon-beauty": AMAZON_BEAUTY,
    "training-speed": training_speed,
    "batch-speed": batch_speed,
}
