"""Recurrent networks over packed sequences."""

from __future__ import annotations

import torch
from torch import nn

from shared.models.transformer import rows_and_positions


class BiLSTM(nn.Module):
    """Two LSTMs (Hochreiter & Schmidhuber 1997) read a text from both ends; a text is the largest of their states.

    Args:
        vocabulary: tokens there are.
        dim: size of a token's vector, and of the text's, which must be even.
        dropout: on the tokens' vectors.
    """

    def __init__(self, vocabulary: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.config = {"vocabulary": vocabulary, "dim": dim, "dropout": dropout}
        self.words, self.drop = nn.Embedding(vocabulary, dim), nn.Dropout(dropout)
        self.lstm = nn.LSTM(dim, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            tokens: [tokens] numbers, the texts one after the other.
            lengths: [batch], summing to tokens; none is 0.

        Returns:
            [batch, dim].
        """
        row, position = rows_and_positions(lengths)
        vectors = self.drop(self.words(tokens))
        padded = vectors.new_zeros(len(lengths), int(lengths.max()), vectors.shape[1]).index_put((row, position), vectors)
        packed = nn.utils.rnn.pack_padded_sequence(padded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, padding_value=-torch.inf)
        return states.amax(1)
