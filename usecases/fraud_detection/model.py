"""The models: each gives a row a logit, and all of them together make the score."""

from __future__ import annotations

import io
import re
import zipfile
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import skops.io
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from shared.errors import require
from shared.export import Compute
from shared.models.tabular import PiecewiseLinear
from usecases.fraud_detection.config import Model
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.networks import AnomalyNetwork, FraudNetwork, LinearNetwork, SequenceNetwork, TabularNetwork

VERY_FEW = 64  # rows for which a call of each tree is most of the work
FEW = 1_000  # rows that are not worth the start of further threads
MANY = 8_192  # rows that trees take at once
CHUNK = 1_024  # rows that networks take at once: what fits into a processor's own memory
TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"  # holds arrays; skops asks before it makes one
NAMES = {
    "logistic": "logistic regression",
    "boosting": "boosted trees (scikit-learn)",
    "lightgbm": "boosted trees (LightGBM)",
    "tabular": "ensemble of perceptrons (TabM)",
    "sequence": "attention over the account's past",
    "anomaly": "anomaly (VAE, no labels)",
    "blend": "combination",
    "amount": "amount alone",
    "forest": "isolation forest",
}
SIMPLE = ("logistic", "boosting", "lightgbm", "amount", "forest")
Tensors = dict[str, torch.Tensor]


class Member(Protocol):
    """A fitted model."""

    @abstractmethod
    def __call__(self, rows: Rows) -> np.ndarray:
        """Logits [rows]: higher is more likely fraud."""
        ...

    @abstractmethod
    def state(self) -> Tensors:
        """Tensors from which `restore` makes an equal one."""
        ...


@dataclass(frozen=True)
class Boosting:
    """Gradient-boosted trees with histograms (scikit-learn)."""

    trees: HistGradientBoostingClassifier

    def __call__(self, rows: Rows) -> np.ndarray:
        if len(rows) < VERY_FEW:
            return self.flat(rows.x)
        starts = range(0, len(rows), MANY)
        parts = [self.trees.decision_function(rows.x[start : start + MANY]) for start in starts]
        return np.concatenate(parts) if parts else np.zeros(0)

    @cached_property
    def flat(self) -> FlatTrees:
        return FlatTrees.of(self.trees)

    def state(self) -> Tensors:
        return {"skops": torch.frombuffer(bytearray(_same_bytes(skops.io.dumps(self.trees))), dtype=torch.uint8)}


@dataclass(frozen=True)
class FlatTrees:
    """All trees as arrays that are walked down together: the same sums, without a call for each tree.

    Attributes:
        root: [trees] node at which each begins.
        feature, threshold: [nodes]; a leaf's threshold is infinite.
        child: [2 * nodes], the next node where the input is at most the threshold, and the one where it is more.
        value: [nodes] what a leaf adds to the logit.
        start: the logit before the first tree.
        depth: steps from a root to the deepest leaf.
    """

    root: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    child: np.ndarray
    value: np.ndarray
    start: float
    depth: int

    @classmethod
    def of(cls, trees: HistGradientBoostingClassifier) -> Self:
        parts = [predictor.nodes for (predictor,) in trees._predictors]
        sizes = [len(part) for part in parts]
        root = np.cumsum([0, *sizes[:-1]])
        nodes, shift = np.concatenate(parts), np.repeat(root, sizes)
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        left, right = (np.where(leaf, own, nodes[side].astype(np.int64) + shift) for side in ("left", "right"))
        return cls(
            root[:, None],
            np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
            np.where(leaf, np.inf, nodes["num_threshold"]),
            np.stack([left, right], axis=1).ravel(),
            nodes["value"].copy(),
            float(trees._baseline_prediction.item()),
            int(nodes["depth"].max()),
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logits [rows] of x [rows, inputs], none of them NaN: `Inputs` fills what is missing."""
        flat, first = x.astype(np.float64).ravel(), np.arange(len(x)) * x.shape[1]
        node = np.repeat(self.root, len(x), axis=1)
        for _ in range(self.depth):
            above = flat.take(first + self.feature.take(node)) > self.threshold.take(node)
            node = self.child.take(2 * node + above)
        steps = np.vstack([np.full(len(x), self.start), self.value.take(node)])
        return np.cumsum(steps, axis=0)[-1]  # one by one, as scikit-learn adds them


def _same_bytes(dump: bytes) -> bytes:
    """A skops dump without dates and memory addresses, so that equal trees are equal bytes."""
    with zipfile.ZipFile(io.BytesIO(dump)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = files.pop("schema.json").decode()
    order = {address: str(place) for place, address in enumerate(dict.fromkeys(re.findall(r'"__id__": (\d+)', schema)), 1)}

    def rename(text: str) -> str:
        return re.sub(r"\d+", lambda match: order.get(match[0], match[0]), text)

    clean = {"schema.json": rename(schema).encode()} | {rename(name): content for name, content in files.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(clean):
            archive.writestr(zipfile.ZipInfo(name), clean[name])
    return made.getvalue()


@dataclass(frozen=True)
class LightGBM:
    """Gradient-boosted trees (Ke et al. 2017), where the package is installed."""

    booster: Any

    def __call__(self, rows: Rows) -> np.ndarray:
        return self.booster.predict(rows.x, raw_score=True, num_threads=1 if len(rows) < FEW else 0)

    def state(self) -> Tensors:
        return {"text": torch.frombuffer(bytearray(self.booster.model_to_string().encode()), dtype=torch.uint8)}


@dataclass(frozen=True)
class Network:
    """A network whose copies' logits are averaged."""

    module: nn.Module

    def __post_init__(self) -> None:
        self.module.eval()

    @torch.inference_mode()
    def __call__(self, rows: Rows) -> np.ndarray:
        device = next(self.module.parameters()).device
        parts = []
        for start in range(0, len(rows), CHUNK):
            batch = {name: torch.from_numpy(array[start : start + CHUNK]).to(device) for name, array in vars(rows).items()}
            parts.append(self.module(batch).mean(1).cpu())
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)

    def state(self) -> Tensors:
        return self.module.state_dict()


def module(name: str, config: Model, inputs: int, steps: int, pieces: PiecewiseLinear | None = None) -> FraudNetwork:
    """The network of that name with fresh weights; only the tabular one has pieces."""
    if name == "logistic":
        return LinearNetwork(inputs)
    if name == "tabular":
        return TabularNetwork(inputs, pieces or PiecewiseLinear(0), config.tabular)
    if name == "sequence":
        return SequenceNetwork(inputs, steps, config.sequence)
    return AnomalyNetwork(inputs, config.anomaly)


def restore(name: str, config: Model, inputs: int, steps: int, state: Tensors) -> Member:
    """The member that gave that state."""
    if name == "boosting":
        return Boosting(skops.io.loads(state["skops"].numpy().tobytes(), trusted=[TREES]))
    if name == "lightgbm":
        return LightGBM(require("lightgbm", "boosting").Booster(model_str=state["text"].numpy().tobytes().decode()))
    pieces = PiecewiseLinear(len(state["pieces.start"])) if name == "tabular" else None
    made = module(name, config, inputs, steps, pieces)
    made.load_state_dict(state)
    return Network(made)


@dataclass(frozen=True)
class Blend:
    """Members whose weighted logits add up.

    Attributes:
        members: the fitted models.
        weights: of their logits.
        exported: computes in all members' place; see `export`.
    """

    members: dict[str, Member]
    weights: dict[str, float]
    exported: Compute | None = None

    def __call__(self, rows: Rows) -> np.ndarray:
        """Logits of fraud [rows]."""
        if self.exported is not None:
            return self.exported(vars(rows))["logit"][:, 0].astype(np.float64)
        return sum((weight * self.members[name](rows) for name, weight in self.weights.items()), np.zeros(len(rows)))
