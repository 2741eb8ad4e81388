"""Networks over rows of numbers."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn


class Standardise(nn.Module):
    """Numbers in units of their deviation, with long tails drawn in: asinh((x - mean) / deviation)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def learn(self, x: np.ndarray) -> None:
        """Take mean and deviation from the training rows [rows, features]."""
        self.mean.copy_(torch.from_numpy(x.mean(0, dtype=np.float64)))
        deviation = torch.from_numpy(x.std(0, dtype=np.float64))
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.asinh((x - self.mean) / self.deviation)


class PiecewiseLinear(nn.Module):
    """Each number as several between 0 and 1, of which one tells how far it lies in each piece of its range.

    Pieces lie between quantiles of the training rows (Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular
    Deep Learning", section 3.2). Numbers with few values have few pieces.

    Args:
        pieces: of all numbers together.
    """

    column: torch.Tensor
    start: torch.Tensor
    slope: torch.Tensor

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.register_buffer("column", torch.zeros(pieces, dtype=torch.int64))
        self.register_buffer("start", torch.zeros(pieces))
        self.register_buffer("slope", torch.ones(pieces))  # 1 / width

    @classmethod
    def of(cls, x: np.ndarray, bins: int) -> Self:
        """Pieces from the training rows [rows, features], at most `bins` of each number."""
        edges = [_edges(column, bins) for column in x.T]
        made = cls(sum(len(own) - 1 for own in edges))
        made.column = torch.from_numpy(np.repeat(np.arange(len(edges)), [len(own) - 1 for own in edges]))
        made.start = torch.from_numpy(np.concatenate([own[:-1] for own in edges]))
        made.slope = torch.from_numpy(np.concatenate([1 / np.diff(own) for own in edges]))
        return made

    def __len__(self) -> int:
        return len(self.start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, features] to [batch, pieces]."""
        return x[:, self.column].sub_(self.start).mul_(self.slope).clamp_(0, 1)


def _edges(column: np.ndarray, bins: int) -> np.ndarray:
    """Quantiles, all values where they are few; a value that many rows share does not use up the others' pieces."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) > bins + 1:
        common = values[counts.argmax()]
        others = column[column != common] if counts.max() > 0.3 * len(column) else column
        values = np.unique(np.append(np.quantile(others, np.linspace(0, 1, bins)), common))
    return np.unique(values.astype(np.float32))


class EnsembleMLP(nn.Module):
    """Many multilayer perceptrons that share their weight matrices, trained as one network (TabM; Gorishniy et al. 2025).

    Each copy scales the inputs and outputs of the shared matrices in its own way and has its own biases and head
    (BatchEnsemble; Wen et al. 2020). The scaling of the first inputs starts random, the others as ones, as TabM has it.

    Args:
        inputs: numbers a row.
        hidden: width of each layer.
        layers: hidden layers.
        copies: size of the ensemble.
        dropout: after each hidden layer.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, copies: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        sizes = list(zip([inputs, *[hidden] * layers], [hidden] * layers, strict=False))
        self.weights = nn.ParameterList([torch.empty(a, b).uniform_(-(a**-0.5), a**-0.5) for a, b in sizes])
        self.before = nn.ParameterList([torch.ones(copies, a) for a, _ in sizes])
        nn.init.normal_(self.before[0])
        self.after = nn.ParameterList([torch.ones(copies, b) for _, b in sizes])
        self.biases = nn.ParameterList([torch.empty(copies, b).uniform_(-(a**-0.5), a**-0.5) for a, b in sizes])
        self.head = nn.Parameter(torch.empty(copies, hidden).uniform_(-(hidden**-0.5), hidden**-0.5))
        self.head_bias = nn.Parameter(torch.zeros(copies))
        self.kept: torch.Tensor | None = None  # the first matrix, until the next `train`, `eval` or `load_state_dict`
        self.register_load_state_dict_post_hook(_forget_kept)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each copy: [batch, inputs] to [batch, copies]."""
        x = (x @ self._first_matrix()).unflatten(1, self.after[0].shape)
        for layer, (after, bias) in enumerate(zip(self.after, self.biases, strict=True)):
            if layer:
                x = (x * self.before[layer]) @ self.weights[layer]
            x = nn.functional.dropout(torch.addcmul(bias, x, after).relu_(), self.dropout, self.training)
        return (x * self.head).sum(-1) + self.head_bias

    def _first_matrix(self) -> torch.Tensor:
        """The first layer of all copies side by side: as they share their input, this costs less than scaling it for each."""
        if self.kept is not None and not torch.is_grad_enabled():
            return self.kept
        made = (self.weights[0].unsqueeze(1) * self.before[0].T.unsqueeze(2)).flatten(1)
        if not self.training and not torch.is_grad_enabled():
            self.kept = made
        return made

    def train(self, mode: bool = True) -> Self:
        self.kept = None
        return super().train(mode)


def _forget_kept(net: EnsembleMLP, _: object) -> None:
    net.kept = None
