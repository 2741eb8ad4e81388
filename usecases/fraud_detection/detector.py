"""The trained detector: everything that turns transactions into scores and alerts, and how it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel

from shared import artifact
from shared.evaluation.calibration import Calibrator
from shared.evaluation.costs import Costs
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.evidence import Rule
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.inputs import Frame, Inputs, Rows
from usecases.fraud_detection.ledger import STEP, Ledger
from usecases.fraud_detection.model import Blend, restore
from usecases.fraud_detection.prepare import Prepared
from usecases.fraud_detection.reasons import Reason, Typical, explain
from usecases.fraud_detection.similar import PastFrauds

NAME = "fraud_detection"
SMALL = 32  # a few rows are filled up to so many, so that the arithmetic, and the last digit, do not depend on their number
DIGITS = 6


@dataclass(frozen=True)
class Source:
    """How the training data's columns are read; see `data.Transactions`."""

    mapping: dict[str, str]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    time_unit: str
    delay_days: float
    labelled: bool

    @property
    def payee(self) -> str:
        """What the data calls a counterparty."""
        column = self.mapping.get("counterparty", "").lower()
        return next((word for word in ("terminal", "merchant", "payee", "shop") if word in column), "counterparty")


@dataclass(frozen=True)
class Scored:
    """[rows] each: probability of fraud (without labels: how unusual, from 0 to 1), expected loss, and the decision."""

    rows: Rows
    scores: np.ndarray
    at_risk: np.ndarray
    alerts: np.ndarray


@dataclass
class Detector:
    """What is kept of a training.

    Attributes:
        blend, rule, inputs: the model.
        typical, past: for reasons, and similar past frauds.
        ledger: the memory as of the end of the training data; copied before it is changed.
        about: the artefact's metadata, once loaded.
    """

    config: FraudConfig
    source: Source
    blend: Blend
    rule: Rule
    inputs: Inputs
    typical: Typical
    past: PastFrauds
    ledger: Ledger
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def costs(self) -> Costs:
        return Costs(self.config.costs.alert, self.config.costs.loss_share, self.config.costs.loss_fixed)

    def score(self, frame: Frame, ledger: Ledger) -> Scored:
        """Take transactions (columns as in `data.Transactions.frame`) into the ledger and decide each."""
        built = ledger.add(frame)
        places = np.arange(len(ledger) - len(built), len(ledger))
        rows = Rows(self.inputs.matrix(frame, built), ledger.histories(places, self.config.model.sequence.length))
        return self.decide(rows, np.asarray(frame["amount"], np.float64))

    def decide(self, rows: Rows, amounts: np.ndarray) -> Scored:
        """Scores and alerts of rows whose features are ready."""
        wanted = np.arange(SMALL) % max(len(rows), 1) if 0 < len(rows) < SMALL else None
        logits = self.blend(rows if wanted is None else rows.take(wanted))[: len(rows)]
        scores = np.round(self.rule.calibrator(logits), DIGITS)
        at_risk = scores * self.costs.loss(amounts) if self.source.labelled else scores
        return Scored(rows, scores, at_risk, at_risk >= self.rule.threshold)

    def reasons(self, rows: Rows, values: Sequence[Mapping[str, Any]], k: int) -> list[list[Reason]]:
        """What moved each row's score up most, in words."""
        steps = [name for name in STEP if name in self.ledger.names]
        return explain(self.blend, rows, self.inputs, steps, self.typical, values, k, self.source.payee)

    def save(self, folder: Path, request: type[BaseModel], response: type[BaseModel], about: Mapping[str, Any]) -> None:
        """Write the artefact."""
        history, memory = self.ledger.state()
        kept = {"ledger": history, "typical": self.typical.arrays(), "past": self.past.arrays()}
        tensors = {
            f"{part}.{name}": torch.from_numpy(array.copy()) for part, arrays in kept.items() for name, array in arrays.items()
        }
        for name in self.blend.weights:
            tensors |= {f"member.{name}.{key}": tensor for key, tensor in self.blend.members[name].state().items()}
        preprocess = {
            "config": self.config.model_dump(mode="json"),
            "source": asdict(self.source),
            "weights": self.blend.weights,
            "rule": asdict(self.rule),
            "inputs": self.inputs.state(),
            "layout": asdict(self.ledger.layout),
            "memory": memory,
            "past": self.past.values(),
        }
        artifact.save(
            folder, usecase=NAME, tensors=tensors, preprocess=preprocess, request=request, response=response, about=about
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and verify the artefact; see `shared.artifact.load` for what it refuses."""
        saved = artifact.load(folder, NAME)
        read = saved.preprocess
        config = FraudConfig.model_validate(read["config"])
        layout = Layout(**{**read["layout"], "categories": tuple(read["layout"]["categories"])})
        inputs = Inputs.restore(read["inputs"])
        arrays = {part: {k: t.numpy() for k, t in _below(saved.tensors, part).items()} for part in ("ledger", "typical", "past")}
        ledger = Ledger.restore(layout, arrays["ledger"], read["memory"], max(1, torch.get_num_threads()))
        source = read["source"] | {key: tuple(read["source"][key]) for key in ("numeric", "categorical")}
        members = {
            name: restore(name, config.model, len(inputs.names), len(ledger.kept), _below(saved.tensors, f"member.{name}"))
            for name in read["weights"]
        }
        return cls(
            config=config,
            source=Source(**source),
            blend=Blend(members, read["weights"]),
            rule=Rule(Calibrator(**read["rule"]["calibrator"]), read["rule"]["threshold"]),
            inputs=inputs,
            typical=Typical(**arrays["typical"]),
            past=PastFrauds.restore(arrays["past"], read["past"]),
            ledger=ledger,
            about=saved.metadata,
        )


def assemble(config: FraudConfig, prepared: Prepared, fit: np.ndarray, inputs: Inputs, blend: Blend, rule: Rule) -> Detector:
    """A detector of fitted parts. `fit`: the places of the training rows in the frame."""
    transactions, rows = prepared.transactions, prepared.take(fit, inputs)
    frame = transactions.frame.iloc[fit]
    labelled = "label" in frame
    labels = frame["label"].to_numpy() if labelled else np.zeros(len(fit))
    source = Source(
        transactions.mapping,
        transactions.numeric,
        transactions.categorical,
        transactions.time_unit,
        config.data.label_delay_days,
        labelled,
    )
    past = PastFrauds.learn(rows.x, labels, frame[labels == 1])
    return Detector(config, source, blend, rule, inputs, Typical.learn(rows, labels, inputs), past, prepared.ledger)


def alert_id(transaction: str) -> str:
    """The same for a transaction in every run and file."""
    return "A-" + hashlib.sha256(transaction.encode()).hexdigest()[:12]


def _below(tensors: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{part}."): tensor for key, tensor in tensors.items() if key.startswith(f"{part}.")}
