"""Exporting whole or not at all: the model, what it is, a sample, and a program that runs it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.errors import SHOWN, UserError
from shared.export import graphs, runtime
from shared.export.contract import Compute, Exportable, call, first
from shared.files import read_json, sha256, write_json, write_text

FORMATS = {"onnx": runtime.MODEL, "torch": "model.pt2"}
PRECISIONS = ("fp32", "bf16", "int8")
TOLERANCE = 1e-4  # largest difference of any output in fp32
KEPT = 8  # samples beside the model
ROUNDS, SECONDS = 200, 4.0  # at most, of measuring latency
PACKAGES = {"onnx": ("torch", "onnx", "onnxscript", "onnxruntime"), "torch": ("torch",)}


def export(form: Exportable, out: Path, *, usecase: str, artifact: Path, kind: str, precision: str) -> dict[str, Any]:
    """Write the model, metadata.json and sample.npz, and for ONNX example.py, into a folder that appears whole.

    Args:
        out: the folder; an earlier export in it is replaced.
        artifact: the artefact's folder, by whose hash an export is told from another model's.
        kind: "onnx" or "torch".
        precision: "fp32", or for ONNX "bf16" or "int8".

    Returns:
        metadata.json's content.

    Raises:
        UserError: the folder holds something else, or is where this runs; or the exported model differs from the original too
            much, or decides otherwise: then nothing is written.
    """
    if kind == "torch" and precision != "fp32":
        raise UserError(f"A program of torch.export is written in fp32 only. For {precision} use --format onnx.")
    out = out.resolve()
    if Path.cwd().is_relative_to(out):
        raise UserError(f"{out} is where this runs, so that it cannot be replaced by a new folder. Give another --out.")
    if others := _others(out):
        raise UserError(f"{out} holds something else than an export: {', '.join(others[:SHOWN])}. Give another --out.")
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        file = partial / FORMATS[kind]
        if kind == "onnx":
            graphs.write_onnx(form, file, precision)
            exported = runtime.runner(runtime.session(file))
        else:
            graphs.write_torch(form, file)
            program = torch.export.load(file).module()
            exported = lambda arrays: call(program, form, arrays)  # noqa: E731 (the same kind of thing as above)
        metadata = _described(form, usecase, kind, precision) | {
            "artifact_sha256": sha256(artifact / runtime.METADATA),
            "verified": verified(form, exported, precision),
            "latency_ms": latency({"exported": exported, "pytorch_fp32": form.plain, "pytorch_as_predict": form.usual}, form),
        }
        if kind == "onnx":
            graphs.describe(file, metadata)
            shutil.copyfile(Path(__file__).with_name("example.py"), partial / "example.py")
        for name, text in form.files.items():
            write_text(partial / name, text)
        np.savez_compressed(partial / "sample.npz", allow_pickle=False, **first(form.samples, KEPT))
        metadata["sha256"] = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        write_json(partial / runtime.METADATA, metadata)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return metadata


def verified(form: Exportable, exported: Compute, precision: str) -> dict[str, Any]:
    """How far the exported model is from the module in fp32, on all samples together and on the first alone.

    Raises:
        UserError: too far, or a decision is another.
    """
    largest = dict.fromkeys(form.outputs, 0.0)
    every = form.samples
    for arrays in (every, form.one):
        wanted, got = form.plain(arrays), exported(arrays)
        for name in form.outputs:
            largest[name] = max(largest[name], difference(wanted[name], got[name]))
        changed = int(np.sum(_rows(form.decide(wanted)) != _rows(form.decide(got))))
        count = len(next(iter(arrays.values())))
        if changed:
            raise UserError(
                f"In {precision} the exported model decides otherwise on {changed} of {count} samples (largest difference"
                f" {max(largest.values()):.2g}). Nothing was written. Export it with --precision fp32."
                if precision != "fp32"
                else f"The exported model decides otherwise on {changed} of {count} samples. Nothing was written."
            )
    worst = max(largest, key=lambda name: largest[name])
    if not np.isfinite(largest[worst]) or (precision == "fp32" and largest[worst] > TOLERANCE):
        raise UserError(
            f"The exported model differs from the original by up to {largest[worst]:.2g} in '{worst}'; {TOLERANCE:g} is allowed."
            " Nothing was written."
        )
    usual, plain = form.usual(every), form.plain(every)
    return {
        "samples": len(next(iter(every.values()))),
        "against": "PyTorch in fp32",
        "largest_difference": largest,
        "decisions_changed": 0,
        "tolerance": TOLERANCE if precision == "fp32" else None,
        "predict_itself_differs_by": {name: difference(plain[name], usual[name]) for name in form.outputs},
    }


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest one of two arrays; infinite where they have other shapes, or not the same numbers that are not finite."""
    if one.shape != other.shape:
        return float("inf")
    one, other = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return float("inf")
    return float(np.abs(one[finite] - other[finite]).max(initial=0.0))


def latency(ways: Mapping[str, Compute], form: Exportable) -> dict[str, Any]:
    """Median milliseconds of one sample; the ways take turns, so that what else the machine does strikes all alike."""
    one = form.one
    taken: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + SECONDS
    for compute in ways.values():
        compute(one)
    for _ in range(ROUNDS):
        for name, compute in ways.items():
            start = time.perf_counter()
            compute(one)
            taken[name].append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    medians = {name: round(1000 * float(np.median(times)), 4) for name, times in taken.items()}
    faster = round(medians["pytorch_fp32"] / medians["exported"], 2)
    return {**medians, "times_faster_than_fp32": faster, "threads": torch.get_num_threads(), "batch": 1}


def _described(form: Exportable, usecase: str, kind: str, precision: str) -> dict[str, Any]:
    sides = {"inputs": (form.samples, form.inputs), "outputs": (form.plain(first(form.samples, 2)), form.outputs)}
    told: dict[str, Any] = {
        side: {
            name: {"shape": _shape(name, arrays[name], form), "dtype": str(arrays[name].dtype), "meaning": meaning}
            for name, meaning in meanings.items()
        }
        for side, (arrays, meanings) in sides.items()
    }
    return {
        "usecase": usecase,
        "format": kind,
        "precision": precision,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES[kind]},
        **told,
        "answer": {"output": form.answer, "names": list(form.names)},
        "about": dict(form.about),
    }


def _shape(name: str, array: np.ndarray, form: Exportable) -> list[int | str]:
    free = form.free.get(name, {})
    return ["batch", *(free.get(axis, size) for axis, size in enumerate(array.shape[1:], 1))]


def _rows(decisions: np.ndarray) -> np.ndarray:
    """[n] text of each sample's decision, to compare."""
    return np.array([json.dumps(row) for row in np.asarray(decisions).tolist()])


def _others(out: Path) -> list[str]:
    """Names of what is there already and was not written by an export."""
    if not out.is_dir():
        return [out.name] * out.exists()
    try:
        told = read_json(out / runtime.METADATA)
        own = {runtime.METADATA, *told["sha256"]} if "artifact_sha256" in told else set()
    except (OSError, ValueError, TypeError, KeyError):
        own = set()
    return sorted(path.name for path in out.iterdir() if path.name not in own)
