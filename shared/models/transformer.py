"""A causal transformer over packed sequences: no computation is spent on padding outside attention itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Causal self-attention and feed-forward, each followed by a norm (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, place: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """x: [tokens, dim]; place: [tokens] position of each token in the padded [batch * length] grid of `shape`."""
        (batch, length), dim = shape, x.shape[1]
        qkv = self.qkv(x)
        grid = qkv.new_zeros(batch * length, 3 * dim).index_copy(0, place, qkv)
        query, key, value = grid.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        # Padding is at the end, so that the causal mask alone keeps it from every token.
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        x = self.norm1(x + self.drop(self.out(mixed.transpose(1, 2).reshape(batch * length, dim)[place])))
        return self.norm2(x + self.drop(self.feed(x)))


class CausalTransformer(nn.Module):
    """A norm, dropout and blocks. Give it embeddings that know their positions."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Each token's representation, made from itself and the earlier tokens of its sequence.

        Args:
            x: [tokens, dim], the sequences one after the other.
            lengths: [batch], summing to tokens.

        Returns:
            [tokens, dim].
        """
        longest = int(lengths.max())
        row, position = rows_and_positions(lengths)
        place = row * longest + position
        x = self.drop(self.norm(x))
        for block in self.blocks:
            x = block(x, place, (len(lengths), longest))
        return x


def rows_and_positions(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[tokens] the sequence that each packed token belongs to, and its position in it from 0."""
    row = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    starts = torch.cumsum(lengths, 0) - lengths
    return row, torch.arange(len(row), device=lengths.device) - starts[row]
