"""Running an exported model with ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from shared.errors import UserError, require
from shared.export.contract import Arrays, Compute
from shared.files import read_json, sha256

MODEL, METADATA = "model.onnx", "metadata.json"


def session(file: Path) -> Any:
    """An ONNX Runtime session on the processor, with as many threads as PyTorch has here."""
    runtime = require("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; the rest is about its own optimisations
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def runner(opened: Any) -> Compute:
    """A session as a function of arrays by name."""
    inputs, outputs = ([one.name for one in side] for side in (opened.get_inputs(), opened.get_outputs()))

    def compute(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, opened.run(outputs, {name: arrays[name] for name in inputs}), strict=True))

    return compute


def open_network(run: Path) -> Compute:
    """The network that `usecases export` wrote beside a run, after its files have been verified.

    Raises:
        UserError: there is none, it was changed, or the run's model is another one by now.
    """
    folder, command = run / "export", f"usecases export {run} --format onnx"
    try:
        metadata = read_json(folder / METADATA)
    except FileNotFoundError:
        raise UserError(f"There is no exported model in {folder}. Make it: {command}") from None
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / METADATA} cannot be read ({error}). Export again: {command}") from None
    if metadata.get("format") != "onnx":
        raise UserError(f"{folder} holds no ONNX model. Make it: {command}")
    if not (folder / MODEL).is_file() or sha256(folder / MODEL) != metadata.get("sha256", {}).get(MODEL):
        raise UserError(f"{folder / MODEL} is missing, or was changed after it was written. Export again: {command}")
    if metadata.get("artifact_sha256") != sha256(run / "artifact" / METADATA):
        raise UserError(f"The model in {folder} was exported from another artefact than this run's. Export again: {command}")
    return runner(session(folder / MODEL))
