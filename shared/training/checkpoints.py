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


def save(path: Path, parts: dict[str, Weights], optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write named sets of weights (the live ones, their average, the best), the optimizer's state and the progress (JSON)."""
    tensors = {f"{part}.{name}": tensor for part, weights in parts.items() for name, tensor in weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    with whole(path) as partial:
        save_file(
            {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
            partial,
            {"progress": json.dumps(progress)},
        )


def load(path: Path) -> tuple[dict[str, Weights], dict[int, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read what `save` wrote: the sets of weights, optimizer slots by parameter index, progress."""
    parts: dict[str, Weights] = {}
    with safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = file.get_tensor(key)
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts.pop("optimizer", {}).items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = tensor
    return parts, slots, progress
