"""A trained model as a folder: safetensors and JSON only, verified before a weight is used."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from shared.errors import UserError
from shared.files import read_json, sha256, write_json

FORMAT = 1
_FILES = ("model.safetensors", "preprocess.json")


@dataclass(frozen=True)
class Artifact:
    tensors: dict[str, torch.Tensor]
    preprocess: dict[str, Any]
    metadata: dict[str, Any]


def save(
    folder: Path,
    *,
    usecase: str,
    tensors: Mapping[str, torch.Tensor],
    preprocess: Mapping[str, Any],
    request: type[BaseModel],
    response: type[BaseModel],
    about: Mapping[str, Any],
) -> None:
    """Write model.safetensors, preprocess.json and metadata.json; the folder appears whole.

    Args:
        about: what else to know of the model, such as its data fingerprint, protocol and metrics.
    """
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial / _FILES[0])
        write_json(partial / _FILES[1], preprocess)
        shutil.copymode(partial / _FILES[1], partial / _FILES[0])  # safetensors writes files that only their owner can read
        metadata = {
            "format": FORMAT,
            "usecase": usecase,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"torch": torch.__version__},
            "request": request.model_json_schema(),
            "response": response.model_json_schema(),
            "sha256": {name: sha256(partial / name) for name in _FILES},
            "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
            **about,
        }
        write_json(partial / "metadata.json", metadata)
        if folder.exists():  # left by a run that was stopped between saving and finishing
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(folder: Path, usecase: str) -> Artifact:
    """Read an artefact after checking, in this order, its format, hashes and shapes.

    Raises:
        UserError: something is missing, of another format or use case, or was changed after it was written.
    """
    metadata_file = folder / "metadata.json"
    try:
        metadata = read_json(metadata_file)
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{metadata_file} cannot be read ({error}). Give the artefact's folder of a finished run.") from None
    if metadata.get("format") != FORMAT or metadata.get("usecase") != usecase:
        raise UserError(
            f"{folder} is in format {metadata.get('format')} for '{metadata.get('usecase')}'; this program reads "
            f"format {FORMAT} for '{usecase}'. Train again with this version."
        )
    for name in _FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing. Copy the whole folder.")
        if sha256(folder / name) != metadata.get("sha256", {}).get(name):
            raise UserError(f"{folder / name} was changed after it was written (sha256 differs). It is not loaded.")
    try:
        tensors = load_file(folder / _FILES[0])
    except SafetensorError as error:
        raise UserError(f"{folder / _FILES[0]} cannot be read ({error}).") from None
    if {name: list(tensor.shape) for name, tensor in tensors.items()} != metadata.get("shapes"):
        raise UserError(f"{folder}: the tensors are not those that metadata.json lists. It is not loaded.")
    return Artifact(tensors, read_json(folder / _FILES[1]), metadata)
