"""Variational autoencoders, over bags of items and over rows of numbers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from shared.models.transformer import rows_and_positions


class BagVAE(nn.Module):
    """Multinomial VAE (Mult-VAE; Liang et al. 2018, section 2) whose input is a packed bag, not a dense row.

    Args:
        size: number of different items.
        hidden: width of the encoder's hidden layer; the decoder is linear.
        latent: width of the code.
        dropout: share of the bag's items that are hidden from the encoder in training.
    """

    def __init__(self, size: int, hidden: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.embed = nn.EmbeddingBag(size, hidden, mode="sum")
        nn.init.xavier_uniform_(self.embed.weight)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.code = nn.Linear(hidden, 2 * latent)
        self.decoder = nn.Linear(latent, size)

    def expect(self, counts: torch.Tensor) -> None:
        """Start from the items' shares: the decoder's bias becomes their logarithm; counts: [size]."""
        with torch.no_grad():
            self.decoder.bias.copy_(torch.log((counts + 0.5) / counts.sum()))

    def forward(self, items: torch.Tensor, weights: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of all items, and the KL divergence of the code from N(0, 1).

        Args:
            items: [tokens] int64, the bags one after the other.
            weights: [tokens] how much each item counts; each bag is scaled to unit length.
            lengths: [batch].

        Returns:
            [batch, size] and [batch] (nats; zero in evaluation, where the code is the mean).
        """
        row, _ = rows_and_positions(lengths)
        norm = torch.zeros(len(lengths), device=weights.device).index_add(0, row, weights**2).sqrt().clamp(min=1e-6)
        weights = F.dropout(weights / norm[row], self.dropout, self.training)
        starts = torch.cumsum(lengths, 0) - lengths
        hidden = torch.tanh(self.embed(items, starts, per_sample_weights=weights) + self.bias)
        mean, log_variance = self.code(hidden).chunk(2, dim=-1)
        if not self.training:
            return self.decoder(mean), mean.new_zeros(len(mean))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(code), divergence


class TabularVAE(nn.Module):
    """Gaussian VAE over rows of numbers in units of their deviation (Kingma & Welling 2014, appendix C.2).

    Rows that it cannot rebuild from a code as likely as those of the training rows are unusual (An & Cho 2015).
    The deviation of each number around its rebuilt value is learnt.

    Args:
        inputs: numbers a row.
        hidden: width of the encoder's and decoder's hidden layer.
        latent: width of the code.
    """

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, inputs))
        self.log_deviation = nn.Parameter(torch.zeros(inputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """How unlikely each row is: minus the evidence bound in nats, [batch, inputs] to [batch].

        In training the code is drawn; in evaluation it is the mean, so that a row has one value.
        """
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        deviation = self.log_deviation.clamp(min=-3)  # else a constant number would be rebuilt with endless certainty
        errors = 0.5 * ((x - self.decoder(code)) / deviation.exp()) ** 2 + deviation
        return errors.sum(-1) + divergence
