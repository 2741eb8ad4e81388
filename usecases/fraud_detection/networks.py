"""The networks and what each is trained for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.models.autoencoder import TabularVAE
from shared.models.sequence import HistoryAttention
from shared.models.tabular import EnsembleMLP, PiecewiseLinear, Standardise
from usecases.fraud_detection.config import Anomaly, Sequence, Tabular
from usecases.fraud_detection.inputs import Rows

Batch = Mapping[str, torch.Tensor]
HEADS = 4


class FraudNetwork(nn.Module):
    """Logits of one or several copies: a batch of `x` (and `history`) to [batch, copies]."""

    def learn(self, rows: Rows) -> None:
        """Take what does not need gradients, such as means, from the training rows."""
        raise NotImplementedError


class LinearNetwork(FraudNetwork):
    """Logistic regression as a network of one copy."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.linear = nn.Linear(features, 1)

    def learn(self, rows: Rows) -> None:
        self.standardise.learn(rows.x)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.linear(self.standardise(batch["x"]))


class TabularNetwork(FraudNetwork):
    """Features, each as itself and in pieces, into an ensemble of perceptrons."""

    def __init__(self, features: int, pieces: PiecewiseLinear, config: Tabular) -> None:
        super().__init__()
        self.standardise, self.pieces = Standardise(features), pieces
        self.ensemble = EnsembleMLP(features + len(pieces), config.hidden, config.layers, config.copies, config.dropout)

    def learn(self, rows: Rows) -> None:
        self.standardise.learn(rows.x)

    def forward(self, batch: Batch) -> torch.Tensor:
        x = batch["x"]
        return self.ensemble(torch.cat([self.standardise(x), self.pieces(x)], dim=1))


class SequenceNetwork(FraudNetwork):
    """The account's last transactions, with the features of the newest."""

    def __init__(self, features: int, steps: int, config: Sequence) -> None:
        super().__init__()
        self.standardise, self.standardise_steps = Standardise(features), Standardise(steps)
        self.history = HistoryAttention(steps, config.hidden, HEADS, config.length, config.dropout)
        width = features + 2 * config.hidden
        self.ensemble = EnsembleMLP(width, 2 * config.hidden, 2, config.copies, config.dropout)

    def learn(self, rows: Rows) -> None:
        self.standardise.learn(rows.x)
        self.standardise_steps.learn(rows.history[rows.history[..., -1] > 0][:, :-1].astype(np.float32))

    def forward(self, batch: Batch) -> torch.Tensor:
        history = batch["history"].float()
        there = history[..., -1] > 0
        steps = self.standardise_steps(history[..., :-1]) * there.unsqueeze(-1)
        return self.ensemble(torch.cat([self.standardise(batch["x"]), self.history(steps, there)], dim=1))


class AnomalyNetwork(FraudNetwork):
    """How unusual the features are, learnt without labels."""

    def __init__(self, features: int, config: Anomaly) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.vae = TabularVAE(features, config.hidden, config.latent)

    def learn(self, rows: Rows) -> None:
        self.standardise.learn(rows.x)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Minus the evidence bound in nats, [batch, 1]."""
        return self.vae(self.standardise(batch["x"])).unsqueeze(1)


def classify(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Cross-entropy, each copy for itself."""
    output = model(batch).float()
    return {"loss": F.binary_cross_entropy_with_logits(output, batch["y"].unsqueeze(1).expand_as(output)), "output": output}


def describe(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """The evidence bound of the rows themselves."""
    output = model(batch).float()
    return {"loss": output.mean(), "output": output}
