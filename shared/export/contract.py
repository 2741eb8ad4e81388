"""What a predictor says of itself so that it can be exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

Arrays = Mapping[str, np.ndarray]  # by the name of an input or output; the first axis is the batch
Compute = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Exportable:
    """A predictor's network, with all of what is before and after it that a graph can hold.

    A predictor that can be exported has two methods: `exportable(requests: Sequence[Request]) -> Exportable`, whose samples are
    made of these requests, and `with_network(compute: Compute) -> Predictor`, the same predictor with `compute` (from this
    Exportable's inputs to its outputs, any number of rows) in the network's place. The first raises a `UserError` where the
    model cannot be exported.

    Attributes:
        module: in fp32, in evaluation mode, on the processor: tensors in the order of `inputs` to a tuple in that of `outputs`.
        samples: of each input, [n, ...] with n at least 1.
        alone: the first sample by itself, without what fills it up to the others' length; {}: it is as long as they are.
        inputs, outputs: what each one holds: shape, unit, meaning.
        usual: the same function as `predict` computes it on this machine.
        decide: from the outputs to what is decided for each sample, which a lower precision must not change.
        answer: the output that an example prints, [n, names].
        names: of the answer's columns.
        free: of an input, its axes besides the first whose length may differ, with a name for that length.
        about: what else who runs it must know, such as thresholds, and what is not in the graph. For JSON.
        files: text files to put beside it, by name.
    """

    module: nn.Module
    samples: Arrays
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    usual: Compute
    decide: Callable[[Arrays], np.ndarray]
    answer: str
    names: Sequence[str]
    alone: Arrays = field(default_factory=dict)
    free: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def one(self) -> Arrays:
        """A single sample."""
        return self.alone or first(self.samples)

    def plain(self, arrays: Arrays) -> Arrays:
        """What the module gives in plain PyTorch."""
        return call(self.module, self, arrays)


def call(module: Callable[..., Sequence[torch.Tensor]], form: Exportable, arrays: Arrays) -> Arrays:
    """A module's outputs by name, of inputs by name."""
    with torch.inference_mode():
        made = module(*(torch.from_numpy(arrays[name]) for name in form.inputs))
    return {name: tensor.numpy() for name, tensor in zip(form.outputs, made, strict=True)}


def first(arrays: Arrays, count: int = 1) -> Arrays:
    """The first samples."""
    return {name: np.ascontiguousarray(array[:count]) for name, array in arrays.items()}
