"""How fast the code is: training against a plain PyTorch loop, and top-10 lists in batch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from shared import hardware
from shared.config import resolve
from shared.errors import UserError
from shared.runs import Run
from shared.training import fit
from usecases.recommendation import data, networks, splits
from usecases.recommendation.config import RecommendationConfig, Transformer
from usecases.recommendation.pipeline import fit_and_judge, package
from usecases.recommendation.splits import Histories

STEPS = 40  # of training, each way
ROWS = 200_000  # of the batch prediction

Log = Callable[[str], None]


def training_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Sequences a second of the transformer, with our loop and with a plain one, on Amazon Beauty.

    Both train the same architecture on the same batches in one process. The plain loop is what a tutorial does: fp32,
    sequences padded to the longest allowed, a softmax over every item at every position.
    """
    config = resolve(
        RecommendationConfig, [], [_source(folder, "Beauty.txt"), "split.method=leave_one_out", "model.min_item_events=1"]
    )
    chip = hardware.select(config.hardware)
    stage, _ = splits.split(data.load(config), config)
    shape = config.model.transformer
    users = networks.trainable(stage.past, shape.max_length + 1)
    known = users.known.take(slice(0, STEPS * shape.training.batch_size)).last(shape.max_length + 1)
    users = networks.Users(known)
    rates = {}
    for name, full in (("ours", 0), ("ours, full softmax", 10**9)):
        ours = shape.model_copy(
            update={
                "full_softmax_up_to": full or shape.full_softmax_up_to,
                "training": shape.training.model_copy(update={"epochs": 1}),
            }
        )
        network = networks.TransformerRecommender(stage.catalogue.warm, ours)
        network.expect(np.bincount(stage.past.items, minlength=stage.catalogue.warm).astype(np.float32))
        with tempfile.TemporaryDirectory() as scratch:
            run = Run(Path(scratch), "recommendation")
            fitted = fit(
                network, network.objective, users, None, ours.training, run, chip, name=name, seed=0, collate=networks.collate
            )
        rates[name] = fitted.examples_per_s
        log(f"{name}: {rates[name]:,.0f} sequences/s")
    rates["plain loop"] = _plain_loop(users.known, stage.catalogue.warm, shape)
    log(f"plain loop: {rates['plain loop']:,.0f} sequences/s")
    baselines = {name: rates[name] for name in rates if name != "ours"}
    return _result("training-speed", "training part of amazon-beauty", "sequences_per_s", rates["ours"], baselines, chip)


def batch_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Users a second from a table of users to a table of top-10 lists, with the model that ML-100K's validation picks."""
    settings = [
        _source(folder, "ml-100k.inter"),
        "split.method=random",
        "split.test=0.25",
        "model.min_item_events=1",
        "model.text=none",
    ]
    config = resolve(RecommendationConfig, [], settings)
    chip = hardware.select(config.hardware)
    interactions = data.load(config)
    with tempfile.TemporaryDirectory() as scratch:
        outcome = fit_and_judge(config, interactions, Run(Path(scratch), "recommendation"), chip, log)
        assert outcome is not None  # only other processes than the main one get none
        recommender = package(outcome.blend, outcome.stage, interactions)
        table, out = Path(scratch, "users.csv"), Path(scratch, "lists.parquet")
        pd.DataFrame({"user": np.resize(recommender.users.to_numpy(), ROWS)}).to_csv(table, index=False)
        recommender.process(table, out, {}, lambda rows: None)  # warms up
        begun = time.perf_counter()
        recommender.process(table, out, {}, lambda rows: None)
        rate = ROWS / (time.perf_counter() - begun)
    return _result("batch-speed", "all users of ml-100k, repeated; table in, table out", "users_per_s", rate, {}, chip)


def _plain_loop(known: Histories, n_items: int, shape: Transformer) -> float:
    """Sequences a second of the textbook version: padded to the full length, PyTorch's own layers, every item scored."""
    torch.manual_seed(0)
    length = shape.max_length
    layer = nn.TransformerEncoderLayer(shape.dim, shape.heads, 4 * shape.dim, shape.dropout, "gelu", batch_first=True)
    encoder = nn.TransformerEncoder(layer, shape.layers).train()
    items, places = nn.Embedding(n_items + 1, shape.dim, padding_idx=0), nn.Embedding(length, shape.dim)
    weights = [*encoder.parameters(), *items.parameters(), *places.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=shape.training.learning_rate)
    padded = torch.zeros(len(known), length + 1, dtype=torch.int64)
    from_end = np.repeat(known.offsets[1:], known.lengths) - np.arange(len(known.items))
    padded[torch.from_numpy(known.rows), torch.from_numpy(known.lengths.repeat(known.lengths) - from_end)] = torch.from_numpy(
        known.items + 1
    )
    mask = nn.Transformer.generate_square_subsequent_mask(length)
    begun, seen = time.perf_counter(), 0
    for rows in torch.randperm(len(known)).split(shape.training.batch_size)[: STEPS // 4]:
        inputs, targets = padded[rows, :-1], padded[rows, 1:]
        hidden = encoder(items(inputs) + places(torch.arange(length)), mask=mask, is_causal=True)
        loss = F.cross_entropy((hidden @ items.weight.T).flatten(0, 1), targets.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(rows)
    return seen / (time.perf_counter() - begun)


def _source(folder: Path | None, file: str) -> str:
    if folder is None or not (folder / file).exists():
        raise UserError(f"This needs the folder that holds {file}: --data DIR")
    return f"data.source={folder / file}"


def _result(
    protocol: str, split: str, metric: str, value: float, baselines: dict[str, float], chip: hardware.Choice
) -> dict[str, Any]:
    entry = {
        "model": {"value": round(value, 1)},
        "baselines": {name: {"value": round(rate, 1), "ratio": round(value / rate, 2)} for name, rate in baselines.items()},
        "published": {},
    }
    return {"usecase": "recommendation", "protocol": protocol, "split": split, "seeds": [0], "metrics": {metric: entry},
            "timing": {}, "hardware": chip.describe()}  # fmt: skip
