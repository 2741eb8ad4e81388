"""Modules as files: ONNX graphs in several precisions, and programs of torch.export."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shared.errors import UserError, require
from shared.export.contract import Exportable, first

TRACED = 5  # samples at least: of one, or of as many as another axis has by chance, PyTorch takes the batch for a constant
SMALL = 256  # numbers of a weight that is left in fp32, as biases and normalisations are


def traced(form: Exportable) -> torch.export.ExportedProgram:
    """The module as a program in which the batch, and the axes that are free, may have any length; PyTorch raises where not."""
    batch = torch.export.Dim("batch")
    arrays = {name: torch.from_numpy(array) for name, array in first(form.samples, TRACED).items()}
    inputs = tuple(
        arrays[name] if len(arrays[name]) >= TRACED else arrays[name].repeat_interleave(TRACED, 0) for name in form.inputs
    )
    axes = tuple({0: batch} | dict.fromkeys(form.free.get(name, {}), torch.export.Dim.DYNAMIC) for name in form.inputs)
    with torch.no_grad():
        return torch.export.export(form.module, inputs, dynamic_shapes=axes)


def write_onnx(form: Exportable, file: Path, precision: str) -> None:
    """An ONNX graph with dynamic batch.

    bf16: the weights are stored so, which halves the file; they are computed with in fp32. int8: ONNX Runtime's dynamic
    quantisation of the matrix products.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "export")
    with _quiet():
        program = torch.onnx.export(
            traced(form), dynamo=True, verbose=False, input_names=list(form.inputs), output_names=list(form.outputs)
        )
    assert program is not None
    whole = file.with_name("whole.onnx")
    program.save(str(whole), external_data=False)
    if precision == "int8":
        _quantise(whole, file)
    else:
        whole.rename(file)
    if precision == "bf16":
        _store_bf16(file)


def describe(file: Path, properties: Mapping[str, Any]) -> None:
    """Put properties into an ONNX file's metadata, as JSON where they are no text."""
    import onnx

    model = onnx.load(str(file))
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in properties.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def write_torch(form: Exportable, file: Path) -> None:
    """A program of torch.export, for `torch.export.load`."""
    with _quiet():
        torch.export.save(traced(form), file)


def _quantise(whole: Path, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(whole), str(file), op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True
        )
    same = file.stat().st_size >= whole.stat().st_size
    whole.unlink()
    if same:
        raise UserError("This network has no matrix products that int8 would make smaller. Export it with --precision fp32.")


def _store_bf16(file: Path) -> None:
    """Each large weight becomes one in bf16 and a cast, which runtimes do once, when they open the file."""
    import onnx

    model = onnx.load(str(file))
    casts, graph = [], model.graph
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type == onnx.TensorProto.FLOAT and values.size > SMALL:
            name, halved = tensor.name, torch.from_numpy(values.copy()).bfloat16().contiguous()
            raw = halved.view(torch.uint8).numpy().tobytes()
            tensor.CopyFrom(onnx.helper.make_tensor(f"{name}.bf16", onnx.TensorProto.BFLOAT16, values.shape, raw, raw=True))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    if not casts:
        raise UserError("This model has no large weights that bf16 would make smaller. Export it with --precision fp32.")
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *kept])
    onnx.save(model, str(file))


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter warns of what is not installed, and of its own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")]
    levels = [one.level for one in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in loggers:
                one.setLevel(logging.ERROR)
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
