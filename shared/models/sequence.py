"""Networks over the last events of something, of which the newest is in question."""

from __future__ import annotations

import torch
from torch import nn


class HistoryAttention(nn.Module):
    """The newest event looks at those before it: attention (Vaswani et al. 2017) with one query.

    Args:
        inputs: numbers an event.
        dim: size of an event's vector.
        heads: attention heads; divides dim.
        length: events, at most.
        dropout: on the result.
    """

    def __init__(self, inputs: int, dim: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.event = nn.Sequential(nn.Linear(inputs, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.place = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.result = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, 2 * dim), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, events: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """What the past says of the newest event: [batch, 2 * dim].

        Args:
            events: [batch, length, inputs], oldest first; the last is the one in question.
            there: [batch, length] bool, which of them exist; the last always does.
        """
        vectors = self.event(events) + self.place
        newest = vectors[:, -1:]
        seen, _ = self.attention(newest, vectors, vectors, key_padding_mask=~there, need_weights=False)
        return self.result(torch.cat([newest, seen], dim=-1).squeeze(1))
