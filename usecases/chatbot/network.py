"""The networks that turn messages into vectors and logits of intents: a fine-tuned sentence encoder, or an LSTM from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from shared import pretrained
from shared.models.recurrent import BiLSTM
from shared.models.transformer import Bert
from usecases.chatbot.config import Understanding

Batch = Mapping[str, torch.Tensor]
SHARPNESS = 0.1  # temperature of the contrastive loss, as in Khosla et al. 2020
NONE = -1  # label of a message that is about no intent


class Messages(Dataset[Batch]):
    """Tokenised messages, cut into batches without padding. Use it with `collate=rows.take`.

    Args:
        tokens: each message's.
        labels: [messages] numbers of intents; `NONE`: none.
        targets: [messages, intents] what is to be predicted.
    """

    def __init__(self, tokens: Sequence[Sequence[int]], labels: torch.Tensor, targets: torch.Tensor) -> None:
        self.tokens, self.labels, self.targets = tokens, labels, targets

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """What the data loader asks for: a whole batch, its messages by rising length."""
        rows = sorted(rows, key=lambda row: len(self.tokens[row]))
        tokens, lengths = pretrained.pack([self.tokens[row] for row in rows])
        return {"tokens": tokens, "lengths": lengths, "label": self.labels[rows], "target": self.targets[rows]}


class IntentNetwork(nn.Module):
    """A vector for the message, and its cosines to those of the intents.

    Args:
        body: from packed tokens and lengths to [batch, dim].
        dim: size of the vectors.
        intents: how many.
        scale: of the logits.
    """

    def __init__(self, body: nn.Module, dim: int, intents: int, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body, scale
        self.intents = nn.Parameter(torch.randn(intents, dim) / dim**0.5)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Logits [batch, intents] and unit vectors [batch, dim] of `tokens` and `lengths`."""
        vectors = F.normalize(self.body(batch["tokens"], batch["lengths"]).float(), dim=-1)
        return {"logits": self.logits(vectors), "vectors": vectors}

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        with torch.autocast(vectors.device.type, enabled=False):  # cosines of .90 and .91 are one in bf16
            return self.scale * vectors @ F.normalize(self.intents.float(), dim=-1).T


class Objective:
    """Cross-entropy with smoothed labels, and supervised contrast (Khosla et al. 2020; Gunel et al. 2021): messages of an intent
    come together, and a message with itself under another dropout (Gao et al. 2021).

    Args:
        smoothing, contrast: see `Understanding`.
    """

    def __init__(self, smoothing: float, contrast: float) -> None:
        self.smoothing, self.contrast = smoothing, contrast

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        if self.contrast:
            batch = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
        output = model(batch)
        target = batch["target"] * (1 - self.smoothing) + self.smoothing / batch["target"].shape[1]
        loss = -(target * output["logits"].log_softmax(1)).sum(1).mean()
        if self.contrast:
            loss = loss + self.contrast * contrastive(output["vectors"], batch["label"])
        return {"loss": loss, "output": output["logits"]}


def contrastive(vectors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over messages of the negative log-likelihood of the others of its intent (Khosla et al. 2020, equation 2).

    Args:
        vectors: [batch, dim] of unit length.
        labels: [batch]; a message about no intent (`NONE`) is alike to none.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    alike = (labels[:, None] == labels) & (labels != NONE) & ~itself
    logs = (vectors @ vectors.T / SHARPNESS).masked_fill(itself, -1e9).log_softmax(1)
    each = -(logs * alike).sum(1) / alike.sum(1).clamp(min=1)
    return each.sum() / alike.any(1).sum().clamp(min=1)


def learn_vocabulary(texts: Sequence[str], size: int) -> Tokenizer:
    """Pieces of words (Schuster & Nakajima 2012) that occur in the texts twice or more, lower-case."""
    learner = BertWordPieceTokenizer()
    learner.train_from_iterator(texts, vocab_size=size, min_frequency=2, show_progress=False)
    made = BertWordPieceTokenizer(learner.get_vocab())  # with the marks of a text's ends
    return Tokenizer.from_str(made.to_str())


def build(config: Understanding, texts: Sequence[str]) -> tuple[Tokenizer, Bert | BiLSTM]:
    """The tokenizer and an untrained body; the encoder's word vectors stay as they are, which is quicker and forgets less.

    Args:
        texts: from which an LSTM's vocabulary is learnt.

    Raises:
        UserError: the encoder's weights are not to be had, or it cannot read as many tokens.
    """
    if config.network == "lstm":
        tokenizer = learn_vocabulary(texts, config.vocabulary)
        return tokenizer, BiLSTM(tokenizer.get_vocab_size(), config.dim, dropout=0.3)
    tokenizer, body = pretrained.load_bert(pretrained.locate(pretrained.SENTENCE_ENCODER, config.weights), config.max_tokens)
    body.words.requires_grad_(False)
    body.places.requires_grad_(False)
    return tokenizer, body


def class_means(vectors: torch.Tensor, labels: torch.Tensor, intents: int) -> torch.Tensor:
    """[intents, dim] mean directions of unit vectors [n, dim]; rows labelled `NONE` count for none."""
    known = labels != NONE
    return F.normalize(vectors.new_zeros(intents, vectors.shape[1]).index_add(0, labels[known], vectors[known]), dim=-1)
