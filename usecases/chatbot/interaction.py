"""Which passage answers a question: a fine-tuned reader of questions over a library that was read once.

Two views of the same reading are added. The question's mean vector meets a vector for each passage, which starts as the sentence
encoder's and is learnt on (a classifier that starts from the passages' meaning). And each of the question's tokens meets the
passage's token that is most like it (late interaction: Khattab & Zaharia 2020, ColBERT, section 3.3), which finds the one detail
that tells neighbouring articles apart. The passages' tokens are those of the pretrained encoder: only questions, which are
short, are read during training. A further row stands for "nothing here answers".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from shared.models.transformer import Bert, mean_of_each, rows_and_positions, through
from shared.pretrained import pack, tokenise
from usecases.chatbot.lexical import sentences

DROPOUT = 0.1
UNIT = 48  # tokens of a unit: passages are cut at sentences into units, of which the best counts
LONGEST = 64  # tokens of a question that are read
TABLE_SCALE, TOKEN_SCALE = 20.0, 20.0  # inverse temperatures that the cosines start with


class Read(NamedTuple):
    """Questions as the frozen lower layers give them, packed: hidden [tokens, dim], lengths [n], weight (idf) [tokens]."""

    hidden: torch.Tensor
    lengths: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class Units:
    """The library's tokens.

    Attributes:
        tokens: [units, UNIT, dim], the encoder's last layer.
        mask: [units, UNIT], true where there is a token of a word.
        owner: [units] the passage of each.
        rarity: [vocabulary] inverse document frequency over units.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    owner: torch.Tensor
    rarity: torch.Tensor


class Interaction(nn.Module):
    """Logits of passages, and of none of them, from questions that the lower layers have read.

    Args:
        layers: the encoder's upper layers; trained.
        table: [passages + 1, dim] what the passages' vectors start as.
        projection: [dim, small] of tokens; trained for questions, already applied to `tokens`.
        tokens: [units, UNIT, small] of unit length, 0 where there is none; kept to the precision of bfloat16.
        mask, owner: see `Units`.
        bf16: compare tokens in bfloat16, which is faster where the chip has it (see `shared.hardware`) and far slower elsewhere.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    owner: torch.Tensor

    def __init__(
        self,
        layers: nn.ModuleList,
        table: torch.Tensor,
        projection: torch.Tensor,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        owner: torch.Tensor,
        bf16: bool,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.table = nn.Parameter(table.clone())
        self.projection = nn.Parameter(projection.clone())
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.gate = nn.Parameter(torch.zeros(table.shape[1]))
        self.scales = nn.Parameter(torch.ones(2))
        self.register_buffer("tokens", tokens.to(torch.bfloat16).to(torch.bfloat16 if bf16 else torch.float32))
        self.register_buffer("mask", mask)
        self.register_buffer("owner", owner)

    def forward(self, read: Read) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, passages + 1] logits, the last of none; and the questions' unit vectors [n, dim]."""
        hidden = F.dropout(read.hidden, DROPOUT, self.training)
        last = through(self.layers, hidden, read.lengths).float()
        with torch.autocast(last.device.type, enabled=False):  # cosines of .90 and .91 are one in bf16
            return self._score(read._replace(hidden=last))

    def _score(self, read: Read) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, from the last layer."""
        n, hidden = len(read.lengths), read.hidden
        row, _ = rows_and_positions(read.lengths)
        vectors = F.normalize(mean_of_each(hidden, read.lengths), dim=-1)
        by_table = vectors @ self.table.T * TABLE_SCALE * self.scales[0]
        words = F.normalize(hidden @ self.projection, dim=-1).to(self.tokens.dtype)
        cosines = (words @ self.tokens.reshape(-1, self.tokens.shape[-1]).T).view(-1, *self.mask.shape)
        nearest = (cosines + (~self.mask).to(cosines.dtype) * -1).amax(-1).float()  # [tokens, units]
        strength = (read.weight.log() + hidden @ self.gate).clamp(-30, 30).exp()
        share = strength / strength.new_zeros(n).index_add(0, row, strength)[row]
        units = nearest.new_zeros(n, nearest.shape[1]).index_add(0, row, share[:, None] * nearest)
        best = units.new_full((n, len(self.table) - 1), -1.0)
        best = best.scatter_reduce(1, self.owner.expand(n, -1), units, "amax", include_self=False)
        return by_table + self.bias + F.pad(best * TOKEN_SCALE * self.scales[1], (0, 1)), vectors


class Reader:
    """The sentence encoder, split after its first `frozen` layers."""

    def __init__(self, tokenizer: Tokenizer, model: Bert, frozen: int) -> None:
        self.tokenizer, self.model, self.frozen = tokenizer, model, frozen

    def layers(self) -> nn.ModuleList:
        return copy.deepcopy(self.model.blocks[self.frozen :]).float()

    @torch.no_grad()
    def units(self, texts: Sequence[str], owners: Sequence[int]) -> Units:
        """Cut texts at sentences and read them. Units of one text have the same owner."""
        pairs = [(part, owner) for text, owner in zip(texts, owners, strict=True) for part in self._cut(text)]
        parts = tokenise(self.tokenizer, [part for part, _ in pairs], UNIT)
        tokens, mask = (
            torch.zeros(len(parts), UNIT, self.model.words.embedding_dim),
            torch.zeros(len(parts), UNIT, dtype=torch.bool),
        )
        occurs = torch.zeros(self.model.words.num_embeddings)
        for start in range(0, len(parts), 64):
            ids, lengths = pack(parts[start : start + 64])
            hidden = through(self.model.blocks, self.model.embedded(ids, lengths), lengths).float()
            for place, one in enumerate(hidden.split(lengths.tolist()), start):
                tokens[place, : len(one)], mask[place, 1 : len(one) - 1] = one, True
        for part in parts:
            occurs[list(set(part[1:-1]))] += 1
        rarity = torch.log1p(len(parts) / (occurs + 0.5))
        rarity[[parts[0][0], parts[0][-1]]] = 1e-3  # the ends say nothing of a question
        return Units(tokens, mask, torch.tensor([owner for _, owner in pairs]), rarity)

    @torch.no_grad()
    def read(self, texts: Sequence[str], rarity: torch.Tensor) -> Read:
        """Questions as the `frozen` layers give them."""
        parts = tokenise(self.tokenizer, texts, LONGEST)
        ids, lengths = pack(parts)
        hidden = through(self.model.blocks[: self.frozen], self.model.embedded(ids, lengths), lengths)
        return Read(hidden, lengths, rarity[ids])

    def _cut(self, text: str) -> Iterator[str]:
        part = ""
        for sentence in sentences(text):
            longer = f"{part} {sentence}".strip()
            if part and len(tokenise(self.tokenizer, [longer], UNIT + 1)[0]) > UNIT:
                yield part
                longer = sentence
            part = longer
        yield part


class Asked(Dataset[tuple[Read, torch.Tensor]]):
    """Questions with what may answer them.

    Args:
        reads: each question by itself.
        answers: bool [n, passages + 1]; the last column: nothing does.
    """

    def __init__(self, reads: Sequence[Read], answers: torch.Tensor) -> None:
        self.reads, self.answers = reads, answers

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, row: int) -> tuple[Read, torch.Tensor]:
        return self.reads[row], self.answers[row]

    @staticmethod
    def together(rows: Sequence[tuple[Read, torch.Tensor]]) -> tuple[Read, torch.Tensor]:
        """One batch; questions of like length are neighbours, which costs the least."""
        rows = sorted(rows, key=lambda row: int(row[0].lengths))
        reads = Read(*(torch.cat(parts) for parts in zip(*(read for read, _ in rows), strict=True)))
        return reads, torch.stack([answers for _, answers in rows])


def objective(model: nn.Module, batch: tuple[Read, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The logits of a question's passages together, against all others."""
    read, right = batch
    logits, _ = model(read)
    loss = (logits.logsumexp(1) - logits.masked_fill(~right, -1e9).logsumexp(1)).mean()
    return {"loss": loss, "output": logits}


def build(reader: Reader, units: Units, passages: torch.Tensor, dim: int, bf16: bool) -> Interaction:
    """Before training. `passages`: [n, dim] their vectors. Tokens keep their `dim` largest principal directions."""
    _, _, directions = torch.linalg.svd(units.tokens[units.mask], full_matrices=False)
    projection = directions[:dim].T.contiguous()
    tokens = F.normalize(units.tokens @ projection, dim=-1) * units.mask[..., None]
    table = torch.cat([passages, passages.new_zeros(1, passages.shape[1])])
    return Interaction(reader.layers(), table, projection, tokens, units.mask, units.owner, bf16)


def groups(network: Interaction) -> list[dict[str, Any]]:
    """Vectors and scales, of which each question moves a few, learn faster than layers."""
    plain = [network.bias, network.gate, network.scales]
    return [
        {"params": list(network.layers.parameters()), "times": 1},
        {"params": [network.table], "times": 30},
        {"params": [network.projection], "times": 10},
        {"params": plain, "times": 100},
    ]
