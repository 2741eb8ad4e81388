"""Transformers over packed sequences: no computation is spent on padding outside attention itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

TOGETHER = 16  # texts in a grid: those of a batch sorted by length are then hardly padded


class Grid(NamedTuple):
    """Where packed tokens lie while they attend to each other.

    Attributes:
        place: [tokens] in the padded grid, flattened.
        shape: (batch, length) of the grid.
        mask: bool [batch, 1, 1, length], which places hold a token; None: attention is causal.
    """

    place: torch.Tensor
    shape: tuple[int, int]
    mask: torch.Tensor | None


class Block(nn.Module):
    """Self-attention and feed-forward, each followed by a norm (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, dim: int, heads: int, dropout: float, inner: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, inner or 4 * dim), nn.GELU(), nn.Linear(inner or 4 * dim, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, grids: Sequence[Grid]) -> torch.Tensor:
        """x: [tokens, dim], packed; `grids` hold all of them in order."""
        mixed = [
            self._attend(part, grid) for part, grid in zip(self.qkv(x).split([len(g.place) for g in grids]), grids, strict=True)
        ]
        x = self.norm1(x + self.drop(self.out(torch.cat(mixed))))
        return self.norm2(x + self.drop(self.feed(x)))

    def padded(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The same for prediction on padded sequences, whose shapes a graph for other programs can know beforehand.

        Args:
            x: [batch, length, dim].
            mask: bool, to [batch, heads, length, length]: which places each place looks at, one at least.
        """
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.norm1(x + self.out(F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.feed(x))

    def _attend(self, qkv: torch.Tensor, grid: Grid) -> torch.Tensor:
        """[tokens, dim] from [tokens, 3 * dim]."""
        (batch, length), dim = grid.shape, qkv.shape[1] // 3
        padded = qkv.new_zeros(batch * length, 3 * dim).index_copy(0, grid.place, qkv)
        query, key, value = padded.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        if grid.mask is None:  # padding is at the end, so that the causal mask alone keeps it from every token
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        elif query.requires_grad:  # the CPU's fused kernel goes back 5 to 10 times slower than these three lines in bf16
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            mixed = scores.masked_fill(~grid.mask, -torch.inf).softmax(-1).to(value.dtype) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, grid.mask)
        return mixed.transpose(1, 2).reshape(batch * length, dim)[grid.place]


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
        grids = [Grid(place, (len(lengths), longest), None)]
        for block in self.blocks:
            x = block(x, grids)
        return x


class Bert(nn.Module):
    """BERT's encoder (Devlin et al. 2019), for texts of one segment, without dropout in attention.

    Args:
        config: config.json of a BERT in transformers' format.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = {name: config[name] for name in _BERT_KEYS}
        dim, eps, dropout = config["hidden_size"], config["layer_norm_eps"], config["hidden_dropout_prob"]
        self.words = nn.Embedding(config["vocab_size"], dim)
        self.places = nn.Embedding(config["max_position_embeddings"], dim)
        self.norm, self.drop = nn.LayerNorm(dim, eps), nn.Dropout(dropout)
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
        self.blocks = nn.ModuleList(Block(dim, heads, dropout, inner, eps) for _ in range(config["num_hidden_layers"]))

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mean over each text's tokens in the last layer (Reimers & Gurevych 2019, section 3).

        Args:
            tokens: [tokens] numbers, the texts one after the other.
            lengths: [batch], summing to tokens; none is 0. Neighbours of like length cost the least.

        Returns:
            [batch, dim].
        """
        return mean_of_each(through(self.blocks, self.embedded(tokens, lengths), lengths), lengths)

    def padded(self, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The same of padded texts [batch, length], in evaluation; `there`: bool, where there are tokens."""
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.padded(x, there[:, None, None])
        weight = there.unsqueeze(2).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1)

    def embedded(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the first block is given, [tokens, dim]."""
        _, position = rows_and_positions(lengths)
        embedded: torch.Tensor = self.drop(self.norm(self.words(tokens) + self.places(position)))
        return embedded

    @staticmethod
    def translated(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of transformers' BertModel, for `load_state_dict`."""
        made = {f"norm.{part}": weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")}
        made["words.weight"] = weights["embeddings.word_embeddings.weight"]
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        made["places.weight"] = weights["embeddings.position_embeddings.weight"] + segment
        for number in range(sum(name.endswith("attention.self.query.bias") for name in weights)):
            for part in ("weight", "bias"):
                theirs, ours = f"encoder.layer.{number}.{{}}.{part}", f"blocks.{number}.{{}}.{part}"
                three = [weights[theirs.format(f"attention.self.{name}")] for name in ("query", "key", "value")]
                made[ours.format("qkv")] = torch.cat(three)
                for here, there in _BERT_NAMES.items():
                    made[ours.format(here)] = weights[theirs.format(there)]
        return made


def through(blocks: Iterable[nn.Module], x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Packed tokens [tokens, dim] after blocks in which those of a text, of `lengths` [batch], attend to each other."""
    grids = [_grid(part) for part in lengths.split(TOGETHER)]
    for block in blocks:
        x = block(x, grids)
    return x


def mean_of_each(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[batch, dim] float32: the mean over the packed tokens [tokens, dim] of each text."""
    row, _ = rows_and_positions(lengths)
    sums = x.new_zeros(len(lengths), x.shape[1], dtype=torch.float32).index_add(0, row, x.float())
    return sums / lengths[:, None]


def _grid(lengths: torch.Tensor) -> Grid:
    row, position = rows_and_positions(lengths)
    longest = int(lengths.max())
    mask = (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, None]
    return Grid(row * longest + position, (len(lengths), longest), mask)


_BERT_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "layer_norm_eps",
    "hidden_dropout_prob",
)
_BERT_NAMES = {
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "feed.0": "intermediate.dense",
    "feed.2": "output.dense",
    "norm2": "output.LayerNorm",
}


def rows_and_positions(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[tokens] the sequence that each packed token belongs to, and its position in it from 0."""
    row = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    starts = torch.cumsum(lengths, 0) - lengths
    return row, torch.arange(len(row), device=lengths.device) - starts[row]
