"""Tensors as a data set whose batches are cut out at once, not row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

Columns = dict[str, torch.Tensor]


class Rows(Dataset[Columns]):
    """Named tensors with the same number of rows. Use it with `collate=rows.take`.

    Args:
        columns: tensors [rows, ...].
    """

    def __init__(self, columns: Mapping[str, torch.Tensor]) -> None:
        self.columns = dict(columns)
        lengths = {name: len(tensor) for name, tensor in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        self.length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Columns:
        return {name: tensor[row] for name, tensor in self.columns.items()}

    def __getitems__(self, rows: Sequence[int]) -> Columns:
        """What the data loader asks for: a whole batch."""
        chosen = torch.as_tensor(rows)
        return {name: tensor[chosen] for name, tensor in self.columns.items()}


def take(batch: Any) -> Columns:
    """The collate function for `Rows`: a batch is one already."""
    return batch
