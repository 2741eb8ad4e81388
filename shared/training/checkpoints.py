"""A training state as one safetensors file: exact at epoch boundaries, whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from shared.files import whole

Weights = dict[str, torch.Tensor]


def save(path: Path, weights: Weights, best: Weights, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write weights, best weights, the optimizer's state and the progress so far (JSON)."""
    tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    with whole(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"progress": json.dumps(progress)})


def load(path: Path) -> tuple[Weights, Weights, dict[int, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read what `save` wrote: weights, best weights, optimizer slots by parameter index, progress."""
    parts: dict[str, Weights] = {"weights": {}, "best": {}, "optimizer": {}}
    with safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, name = key.partition(".")
            parts[part][name] = file.get_tensor(key)
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = tensor
    return parts["weights"], parts["best"], slots, progress
