"""Banking77 and CLINC150 side by side with published results; the encoder's throughput beside that of plain transformers code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from shared import hardware, pretrained
from shared.config import RunConfig, Training
from shared.errors import UserError
from shared.evaluation.intervals import t_mean
from shared.files import read_json
from shared.runs import Run
from usecases.chatbot import baselines
from usecases.chatbot.config import Understanding
from usecases.chatbot.fitting import Examples, fit
from usecases.chatbot.protocols import Scores

NAME = "chatbot"
Log = Callable[[str], None]
Table = dict[str, dict[str, float]]  # method, metric
IN_SCOPE = 0.95  # accuracy in scope, rejected messages counted as wrong, at which the recall of those out of scope is read
TEXTS = 1000  # of the throughput's measurement
ROUNDS = 3
FULL = Understanding(training=Training(epochs=4, batch_size=64, learning_rate=2e-4, weight_decay=0.01, warmup=0.1))
FEW = Understanding(
    contrast=1.0, steps=1, training=Training(epochs=8, batch_size=64, learning_rate=6e-5, weight_decay=0.01, warmup=0.1)
)
CPFT = "Zhang et al. 2021, CPFT"
ICDA = "Lin et al. 2023, ICDA, which learns from messages that a large language model wrote"
SNGP = "Liu et al. 2020, SNGP"
PUBLISHED: dict[str, dict[str, dict[str, tuple[float, str]]]] = {
    "banking77": {"accuracy": {"BERT": (0.937, "Casanueva et al. 2020")}},
    "banking77-10shot": {"accuracy": {"CPFT": (0.872, CPFT), "ICDA": (0.898, ICDA)}},
    "banking77-5shot": {"accuracy": {"CPFT": (0.809, CPFT), "ICDA": (0.840, ICDA)}},
    "clinc150": {
        "accuracy": {
            "BERT": (0.965, SNGP),
            "SNGP": (0.969, SNGP),
            "ensemble of ten BERTs": (0.974, SNGP),
        },
        "oos_auroc": {
            "BERT": (0.942, SNGP),
            "SNGP": (0.969, SNGP),
            "ensemble of ten BERTs": (0.973, SNGP),
        },
    },
}


@dataclass(frozen=True)
class Parts:
    """A data set cut for one seed."""

    training: Examples
    validation: Examples
    test: Examples
    unlabelled: Sequence[str]
    split: str


def banking(folder: Path, seed: int, shots: int) -> Parts:
    """Banking77 (Casanueva et al. 2020). `shots`: of the usual few-shot samples, 5 or 10 a class; 0: all of the training part."""
    everything, test = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")
    given = pd.read_csv(folder / f"train_{shots}.csv") if shots else everything
    size = len(given) // 10 if not shots else given["category"].nunique()
    training, validation = train_test_split(given, test_size=size, stratify=given["category"], random_state=seed)
    split = (
        f"{len(given):,} / {len(test):,} messages, as given; of the first, {size:,} judge the network that has not learnt them"
    )
    unlabelled: list[str] = []
    if shots:
        labelled = set(map(_letters, given["text"]))
        unlabelled = [text for text in everything["text"] if _letters(text) not in labelled]
        split += f"; self-training on the other {len(unlabelled):,} messages of the training part, without their labels"
    training, validation, test = (Examples(f["text"].tolist(), f["category"].tolist()) for f in (training, validation, test))
    return Parts(training, validation, test, unlabelled, split)


def clinc(folder: Path, seed: int) -> Parts:
    """CLINC150 (Larson et al. 2019), full, as given; the seed changes nothing here."""
    data = read_json(folder / "data_full.json")

    def examples(part: str) -> Examples:
        texts, labels = zip(*data[part], *([text, ""] for text, _ in data[f"oos_{part}"]), strict=True)
        return Examples(texts, labels)

    split = (
        "15,000 / 3,000 / 4,500 messages and 100 / 100 / 1,000 out of scope, as given; "
        "each network learns from the half of validation that it is not judged on"
    )
    return Parts(examples("train"), examples("val"), examples("test"), [], split)


def intents(
    name: str, cut: Callable[[Path, int], Parts], config: Understanding, folder: Path | None, seeds: Sequence[int], log: Log
) -> dict[str, Any]:
    """One of the data sets: chosen on parts of its training and validation part, judged once a seed on its test part.

    The mean and its interval are over the seeds.
    """
    if folder is None or not folder.is_dir():
        raise UserError(f"This needs the folder of {name.partition('-')[0]}: --data DIR")
    tables: list[Table] = []
    timing: dict[str, float] = {}
    chip = hardware.select(RunConfig().hardware)
    try:
        cuts = [cut(folder, seed) for seed in seeds]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{folder} is not {name}'s: {error}") from None
    for seed, parts in zip(seeds, cuts, strict=True):
        started = time.monotonic()
        with TemporaryDirectory() as place:
            run = Run.create(NAME, RunConfig(seed=seed), Path(place) / "run")
            classifier, figures = fit(config, parts.training, parts.validation, run, chip, seed, unlabelled=parts.unlabelled)
        timing = {"train_s": time.monotonic() - started}
        log(f"seed {seed}, validation: {figures}")
        started = time.monotonic()
        scores = classifier(parts.test.texts)
        timing["texts_per_s"] = len(parts.test.texts) / (time.monotonic() - started)
        table = {"model": judge(scores, classifier.intents, parts.test)}
        if not tables:  # the baselines are of the whole training part, so that the seed says nothing to them
            simple = baselines.fit(classifier.intents, parts.training, parts.validation, baselines.encoder(config), ())
            table |= {name: judge(method(parts.test.texts), method.intents, parts.test) for name, method in simple.items()}
        tables.append(table)
        log(f"seed {seed}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in table["model"].items()))
    metrics = {}
    for metric in tables[0]["model"]:
        ours = np.array([table["model"][metric] for table in tables])
        others = {method: values[metric] for method, values in tables[0].items() if method != "model"}
        best = max(others, key=lambda method: others[method])
        metrics[metric] = {
            "model": {**t_mean(ours, low=0, high=1).as_dict(), "by_seed": ours.round(4).tolist()},
            "baselines": {method: {"value": round(value, 6)} for method, value in others.items()},
            "published": {
                method: {"value": value, "source": source} for method, (value, source) in PUBLISHED[name].get(metric, {}).items()
            },
            "difference": {"name": best, **t_mean(ours - others[best], low=-1, high=1).as_dict()},
        }
    return {"usecase": NAME, "protocol": name, "split": cuts[0].split, "seeds": list(seeds), "metrics": metrics,
            "timing": timing, "hardware": chip.describe()}  # fmt: skip


def judge(scores: Scores, intents: Sequence[str], test: Examples) -> dict[str, float]:
    """Accuracy in scope; where there are messages out of scope, also the ROC AUC of `outside`, and their recall where in-scope
    accuracy, rejected messages counted as wrong, stays at 95 %, or nothing if it is lower to begin with."""
    labels = np.array(test.labels)
    inside = labels != ""
    right = np.array(intents)[scores.probabilities.argmax(1)] == labels
    figures = {"accuracy": float(right[inside].mean())}
    if not inside.all():
        figures["oos_auroc"] = float(roc_auc_score(~inside, scores.outside))
        kept = np.sort(scores.outside[inside & right])  # accepting up to the n-th of these leaves n right
        needed = int(np.ceil(IN_SCOPE * inside.sum()))
        reached = len(kept) >= needed
        figures["oos_recall"] = float((scores.outside[~inside] > kept[needed - 1]).mean()) if reached else 0.0
    return figures


def throughput(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Sentence vectors of 1,000 messages of Banking77: ours beside AutoModel in fp32 on batches of 32 as they come.

    Both cut messages at 64 tokens, on as many threads. The rounds alternate; the median round counts.
    """
    from transformers import AutoModel, AutoTokenizer

    if folder is None or not (folder / "train.csv").is_file():
        raise UserError("This needs the folder of banking77: --data DIR")
    texts = pd.read_csv(folder / "train.csv")["text"].sample(TEXTS, random_state=0).tolist()
    place = pretrained.locate(pretrained.SENTENCE_ENCODER)
    chip = hardware.select(RunConfig().hardware)
    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    model = AutoModel.from_pretrained(place, local_files_only=True).eval()
    encoder = pretrained.SentenceEncoder(place, _fastest())

    @torch.no_grad()
    def plain(some: Sequence[str]) -> torch.Tensor:
        made = []
        for start in range(0, len(some), 32):
            tokens = tokenizer(some[start : start + 32], padding=True, truncation=True, max_length=64, return_tensors="pt")
            mask = tokens["attention_mask"].unsqueeze(-1)
            pooled = (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
            made.append(torch.nn.functional.normalize(pooled, dim=-1))
        return torch.cat(made)

    ways: dict[str, Callable[[Sequence[str]], torch.Tensor]] = {"model": encoder, "plain": plain}
    agreement = float((encoder(texts) * plain(texts)).sum(1).min())
    many: dict[str, list[float]] = {name: [] for name in ways}
    single: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            many[name].append(TEXTS / _seconds(way, texts))
            single[name] += [1000 * _seconds(way, [text]) for text in texts[:50]]
        log(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.0f} texts/s" for name, values in many.items()))
    ratios = np.array(many["model"]) / np.array(many["plain"])
    shown = {
        "texts_per_s": {name: np.median(values) for name, values in many.items()},
        "latency_ms_p50": {name: np.median(values) for name, values in single.items()},
        "latency_ms_p99": {name: np.quantile(values, 0.99) for name, values in single.items()},
    }
    metrics: dict[str, Any] = {
        metric: {
            "model": {"value": round(float(values["model"]), 3)},
            "baselines": {"transformers, fp32": {"value": round(float(values["plain"]), 3)}},
        }
        for metric, values in shown.items()
    }
    metrics["ratio"] = {
        "model": {"value": round(float(np.median(ratios)), 3), "by_round": ratios.round(2).tolist()},
        "baselines": {},
    }
    metrics["least_cosine"] = {"model": {"value": round(agreement, 6)}, "baselines": {}}
    split = f"{TEXTS:,} messages of Banking77, cut at 64 tokens, {ROUNDS} alternating rounds; single messages: 50 a round"
    return {"usecase": NAME, "protocol": "encoder-throughput", "split": split, "seeds": list(seeds), "metrics": metrics,
            "timing": {}, "hardware": chip.describe()}  # fmt: skip


def _seconds(way: Callable[[Sequence[str]], torch.Tensor], texts: Sequence[str]) -> float:
    started = time.perf_counter()
    way(texts)
    return time.perf_counter() - started


def _fastest() -> Any:
    return "bf16" if hardware.native_bf16() else "fp32"


def _letters(text: str) -> str:
    """What is left of a text in any spelling of its case, blanks and punctuation."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "banking77": partial(intents, "banking77", partial(banking, shots=0), FULL),
    "banking77-10shot": partial(intents, "banking77-10shot", partial(banking, shots=10), FEW),
    "banking77-5shot": partial(intents, "banking77-5shot", partial(banking, shots=5), FEW),
    "clinc150": partial(intents, "clinc150", clinc, FULL),
    "encoder-throughput": throughput,
}
