"""PneumoniaMNIST, side by side with published results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from shared import hardware
from shared.config import resolve
from shared.errors import UserError
from shared.evaluation.intervals import t_mean
from shared.runs import Run
from usecases.medical_imaging import data, evidence, pipeline
from usecases.medical_imaging.augmentation import augmentation
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.medmnist import CLASSES
from usecases.medical_imaging.predictor import NAME

Log = Callable[[str], None]
Table = dict[str, dict[str, float]]  # method, metric
METRICS = ("roc_auc", "accuracy", "ece")
MEDMNIST = "Yang et al. 2023, MedMNIST v2, table 3"
PUBLISHED = {
    "ResNet-18 at 28 px": {"roc_auc": 0.944, "accuracy": 0.854},
    "ResNet-50 at 28 px": {"roc_auc": 0.948, "accuracy": 0.854},
    "auto-sklearn": {"roc_auc": 0.942, "accuracy": 0.855},
    "Google AutoML Vision": {"roc_auc": 0.991, "accuracy": 0.946},
}


def pneumoniamnist(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """PneumoniaMNIST: trained on its training part, chosen and calibrated on validation, judged once a seed on its test.

    The parts are as given, but for images that are nearly the same as one of a later part: these are left out. The mean and its
    interval are over the seeds.
    """
    if folder is None or not folder.exists():
        raise UserError("This needs the folder or file of PneumoniaMNIST: --data DIR, or `usecases data get pneumoniamnist`")
    tables: list[Table] = []
    timing: dict[str, float] = {}
    chip = hardware.select(resolve(MedicalConfig).hardware)
    for seed in seeds:
        config = resolve(MedicalConfig, [], [f"data.source={folder}", f"seed={seed}"])
        cases = data.load(config, config.network.size, chip.threads)
        if cases.classes != CLASSES["pneumoniamnist"]:
            raise UserError(
                f"{folder} is not PneumoniaMNIST, as the published figures are: its classes are {', '.join(cases.classes)}. "
                "Give --data DIR with that set, or `usecases data get pneumoniamnist`; for other images there is `usecases run`."
            )
        with TemporaryDirectory() as place:
            run = Run.create(NAME, config, Path(place) / "run")
            outcome = pipeline.fit(config, cases, run, chip, "")
        judged = pipeline.judge(outcome, cases.test)
        ones = np.ones(len(cases.test))
        table = {
            name: {metric: evidence.statistics(cases.test.labels, method)[metric](ones) for metric in METRICS}
            for name, method in judged.methods.items()
        }
        tables.append(table)
        ours = next(iter(table.values()))
        log(f"seed {seed}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in ours.items()))
        timing = pipeline.speed(outcome.finder)
    parts = " / ".join(f"{len(part):,}" for part in (cases.train, cases.validation, cases.test))
    count = cases.about["left_out"]
    without = f" (left out: {count:,}, nearly the same as one in a later part)" if count else ""
    return _result(tables, seeds, f"{parts} images, as given{without}", timing)


def _result(tables: list[Table], seeds: Sequence[int], split: str, timing: dict[str, float]) -> dict[str, Any]:
    ours, *others = tables[0]
    values = {name: {m: np.array([table[name][m] for table in tables]) for m in METRICS} for name in (ours, *others)}
    metrics = {
        metric: {
            "model": t_mean(values[ours][metric], low=0, high=1).as_dict(),
            "baselines": {name: t_mean(values[name][metric], low=0, high=1).as_dict() for name in others},
            "published": {name: {"value": own[metric], "source": MEDMNIST} for name, own in PUBLISHED.items() if metric in own},
            "differences": {
                name: t_mean(values[ours][metric] - values[name][metric], low=-1, high=1).as_dict() for name in others
            },
            "deviation": float(values[ours][metric].std(ddof=1)) if len(seeds) > 1 else None,
        }
        for metric in METRICS
    }
    chip = hardware.select(resolve(MedicalConfig).hardware)
    return {"usecase": NAME, "protocol": "pneumoniamnist", "split": split, "seeds": list(seeds), "metrics": metrics,
            "timing": timing, "hardware": chip.describe()}  # fmt: skip


BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {"pneumoniamnist": pneumoniamnist, "augmentation": augmentation}
