"""Which passage answers a question: a fine-tuned reader of questions over a library that was read once.

Two views of the same reading are added. The question's mean vector meets a vector for each passage, which starts as the sentence
encoder's and is learnt on (a classifier that starts from the passages' meaning). And each of the question's tokens meets the
passage's token that is most like it (late interaction: Khattab & Zaharia 2020, ColBERT, section 3.3), which finds the one detail
that tells neighbouring articles apart. The passages' tokens are those of the pretrained encoder: only questions, which are
short, are read during training. A further row stands for "nothing here answers".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.pretrained import SentenceEncoder
from usecases.chatbot.lexical import sentences

UNIT = 48  # tokens of a unit: passages are cut at sentences into units, of which the best counts
LONGEST = 64  # tokens of a question that are read
TABLE_SCALE, TOKEN_SCALE = 20.0, 20.0  # inverse temperatures that the cosines start with


class Read(NamedTuple):
    """Questions as the frozen lower layers give them: hidden [n, tokens, dim], mask [n, tokens], weight (idf) [n, tokens]."""

    hidden: torch.Tensor
    mask: torch.Tensor
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
        tokens: [units, UNIT, small] of unit length, 0 where there is none.
        mask, owner: see `Units`.
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
    ) -> None:
        super().__init__()
        self.layers = layers
        self.table = nn.Parameter(table.clone())
        self.projection = nn.Parameter(projection.clone())
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.gate = nn.Parameter(torch.zeros(table.shape[1]))
        self.scales = nn.Parameter(torch.ones(2))
        self.register_buffer("tokens", tokens.to(torch.bfloat16))
        self.register_buffer("mask", mask)
        self.register_buffer("owner", owner)

    def forward(self, read: Read) -> torch.Tensor:
        """[n, passages + 1] logits; the last is of none."""
        return self.score(read._replace(hidden=self.upper(read)))

    def upper(self, read: Read) -> torch.Tensor:
        """[n, tokens, dim] of the last layer."""
        hidden, unseen = read.hidden, (1 - read.mask)[:, None, None, :] * -1e4
        for layer in self.layers:
            given = layer(hidden, attention_mask=unseen.to(hidden.dtype))
            hidden = given[0] if isinstance(given, tuple) else given
        return hidden.float()

    def score(self, read: Read) -> torch.Tensor:
        """[n, passages + 1] logits from the last layer."""
        seen = read.mask[..., None]
        mean = F.normalize((read.hidden * seen).sum(1) / seen.sum(1), dim=-1)
        by_table = mean @ self.table.T * TABLE_SCALE * self.scales[0]
        words = F.normalize(read.hidden @ self.projection, dim=-1).to(self.tokens.dtype)
        n, length, dim = words.shape
        cosines = (words.reshape(-1, dim) @ self.tokens.reshape(-1, dim).T).view(n, length, *self.mask.shape)
        nearest = (cosines + (~self.mask).to(cosines.dtype) * -1).amax(-1).float()  # [n, tokens, units]
        share = torch.softmax(read.weight.log() + read.hidden @ self.gate + (read.mask - 1) * 1e4, dim=1)
        units = torch.einsum("nt,ntu->nu", share, nearest)
        best = units.new_full((n, len(self.table) - 1), -1.0)
        best = best.scatter_reduce(1, self.owner.expand(n, -1), units, "amax", include_self=False)
        return by_table + self.bias + F.pad(best * TOKEN_SCALE * self.scales[1], (0, 1))


class Reader:
    """The sentence encoder, split after its first `frozen` layers."""

    def __init__(self, encoder: SentenceEncoder, frozen: int) -> None:
        self.tokenizer, self.model, self.frozen = encoder.tokenizer, encoder.model, frozen
        frame = (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.tokenizer.pad_token_id)
        self._frame = torch.tensor([token for token in frame if token is not None])

    def layers(self) -> nn.ModuleList:
        return copy.deepcopy(self.model.encoder.layer[self.frozen :])

    @torch.no_grad()
    def units(self, texts: Sequence[str], owners: Sequence[int]) -> Units:
        """Cut texts at sentences and read them. Units of one text have the same owner."""
        parts, owner = [], []
        for text, name in zip(texts, owners, strict=True):
            for part in self._cut(text):
                parts.append(part)
                owner.append(name)
        tokens = torch.zeros(len(parts), UNIT, self.model.config.hidden_size)
        mask, ids = torch.zeros(len(parts), UNIT, dtype=torch.bool), torch.zeros(len(parts), UNIT, dtype=torch.long)
        for start in range(0, len(parts), 64):
            rows = slice(start, start + 64)
            given = self.tokenizer(parts[rows], padding="max_length", truncation=True, max_length=UNIT, return_tensors="pt")
            tokens[rows] = self.model(**given).last_hidden_state.float()
            special = torch.isin(given["input_ids"], self._frame)
            mask[rows], ids[rows] = given["attention_mask"].bool() & ~special, given["input_ids"]
        occurs = torch.zeros(len(self.tokenizer), dtype=torch.float32)
        for row, seen in zip(ids, mask, strict=True):
            occurs[row[seen].unique()] += 1
        rarity = torch.log1p(len(parts) / (occurs + 0.5))
        rarity[self._frame] = 1e-3  # they say nothing of a question
        return Units(tokens, mask, torch.tensor(owner), rarity)

    @torch.no_grad()
    def read(self, texts: Sequence[str], rarity: torch.Tensor) -> list[Read]:
        """Each question by itself ([tokens, dim], …), as `frozen` layers give it."""
        found: list[Read] = [Read(*[torch.empty(0)] * 3)] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            given = self._tokens([texts[i] for i in rows])
            hidden = self.model(**given, output_hidden_states=True).hidden_states[self.frozen]
            for row, i in enumerate(rows):
                count = int(given["attention_mask"][row].sum())
                found[i] = Read(hidden[row, :count].clone(), torch.ones(count), rarity[given["input_ids"][row, :count]])
        return found

    def attached(self, layers: nn.ModuleList) -> Callable[[Sequence[str], torch.Tensor], Read]:
        """Reads questions to the last layer with trained upper layers; the encoder itself stays as it is."""
        model = copy.deepcopy(self.model)
        model.encoder.layer = nn.ModuleList([*model.encoder.layer[: self.frozen], *layers]).eval()

        def read(texts: Sequence[str], rarity: torch.Tensor) -> Read:
            given = self._tokens(texts)
            hidden = model(**given).last_hidden_state
            return Read(hidden, given["attention_mask"].float(), rarity[given["input_ids"]])

        return read

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self.tokenizer(list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")

    def _cut(self, text: str) -> Iterator[str]:
        part = ""
        for sentence in sentences(text):
            longer = f"{part} {sentence}".strip()
            if part and len(self.tokenizer(longer)["input_ids"]) > UNIT:
                yield part
                longer = sentence
            part = longer
        yield part


def pad(reads: Sequence[Read]) -> Read:
    """One batch of questions; what is padded weighs nothing."""
    pad_sequence = nn.utils.rnn.pad_sequence
    return Read(
        pad_sequence([r.hidden for r in reads], batch_first=True),
        pad_sequence([r.mask for r in reads], batch_first=True),
        pad_sequence([r.weight for r in reads], batch_first=True, padding_value=1.0),
    )


def build(reader: Reader, units: Units, passages: torch.Tensor, dim: int) -> Interaction:
    """Before training. `passages`: [n, dim] their vectors. Tokens keep their `dim` largest principal directions."""
    _, _, directions = torch.linalg.svd(units.tokens[units.mask], full_matrices=False)
    projection = directions[:dim].T.contiguous()
    tokens = F.normalize(units.tokens @ projection, dim=-1) * units.mask[..., None]
    table = torch.cat([passages, passages.new_zeros(1, passages.shape[1])])
    return Interaction(reader.layers(), table, projection, tokens, units.mask, units.owner)


def train(
    network: Interaction,
    questions: Sequence[Read],
    answers: np.ndarray,
    *,
    epochs: int,
    learning_rate: float,
    bf16: bool,
    seed: int,
    batch_size: int = 32,
) -> None:
    """Fit the network in place: the logits of a question's passages together, against all others.

    Args:
        answers: [n, passages + 1], true where a passage may answer, and in the last column where none does.
        learning_rate: of the layers; vectors and scales, of which each question moves a few, learn faster.
    """
    generator, right = np.random.default_rng(seed), torch.as_tensor(answers)
    torch.manual_seed(seed)
    plain = [network.bias, network.gate, network.scales]
    rates = [learning_rate, 30 * learning_rate, 10 * learning_rate, 100 * learning_rate]
    groups = [list(network.layers.parameters()), [network.table], [network.projection], plain]
    optimizer = torch.optim.AdamW(
        [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)], weight_decay=0.01, fused=True
    )
    plan = [batch for _ in range(epochs) for batch in _batches(questions, batch_size, generator)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=len(plan) + 1, pct_start=0.1)
    network.train()
    for rows in plan:
        batch = pad([questions[i] for i in rows])
        batch = batch._replace(hidden=F.dropout(batch.hidden, 0.1))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            last = network.upper(batch)
        logits = network.score(batch._replace(hidden=last))
        loss = (logits.logsumexp(1) - logits.masked_fill(~right[rows], -1e9).logsumexp(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def _batches(questions: Sequence[Read], size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """In new order each time; questions of similar length share a batch, so that little is padded."""
    order = generator.permutation(len(questions))
    batches = []
    for start in range(0, len(order), 8 * size):
        block = sorted(order[start : start + 8 * size], key=lambda i: len(questions[i].hidden))
        batches += [np.array(block[i : i + size]) for i in range(0, len(block), size)]
    for i in generator.permutation(len(batches)):
        yield batches[i]
