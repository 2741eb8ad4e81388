"""The trained detector: everything that turns transactions into scores and alerts, and how it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel

from shared import artifact
from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from shared.evaluation.costs import Costs
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Source
from usecases.fraud_detection.evidence import Rule
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.inputs import Frame, Inputs, Rows
from usecases.fraud_detection.labels import Words
from usecases.fraud_detection.ledger import STEP, Ledger
from usecases.fraud_detection.model import Blend, Member, restore
from usecases.fraud_detection.prepare import Prepared
from usecases.fraud_detection.reasons import Idea, Reason, Typical, explain, ideas
from usecases.fraud_detection.similar import PastFrauds
from usecases.fraud_detection.splits import Part

NAME = "fraud_detection"
KEPT = ("ledger", "typical", "past", "judged", "plain")
VERSION = 1  # of what the artefact holds
SMALL = 16  # a few rows are filled up to so many, so that the arithmetic, and the last digit, do not depend on their number


@dataclass(frozen=True)
class Scored:
    """[rows] each: probability of fraud (without labels: how unusual, from 0 to 1), expected loss, and the decision."""

    rows: Rows
    scores: np.ndarray
    at_risk: np.ndarray
    alerts: np.ndarray


@dataclass(frozen=True)
class Rival:
    """A simple method, kept to compare the model with on other data."""

    name: str
    member: Member
    rule: Rule


@dataclass
class Detector:
    """What is kept of a training.

    Attributes:
        blend, rule, inputs: the model.
        typical, past: for reasons, and similar past frauds.
        ledger: the memory as of the end of the training data.
        learnt_days: first and last time of the rows that were trained on, ms since 1970, the last exclusive.
        rival: the strongest simple method beside the model.
        judged: of rows without a time, [rows] what each method gave those of the training when it had not seen them, as logits.
        seen: [rows] of these, by which they are known again; see `plain_data.hashes`.
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
    learnt_days: tuple[int, int]
    rival: Rival | None = None
    judged: dict[str, np.ndarray] = field(default_factory=dict)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def costs(self) -> Costs:
        return costs_of(self.config)

    def learnt(self, frame: pd.DataFrame) -> int:
        """How many of these transactions are from the training days, as far as they are remembered."""
        start, end = self.learnt_days
        own = self.ledger.columns.time[: len(self.ledger)]
        inside = (own >= start) & (own < end)
        known = set(zip(self.ledger.ids[: len(self.ledger)][inside].tolist(), own[inside].tolist(), strict=True))
        frame = frame[(frame["time"] >= start) & (frame["time"] < end)]
        return sum(pair in known for pair in zip(frame["transaction"].tolist(), frame["time"].tolist(), strict=True))

    def score(self, frame: Frame, ledger: Ledger) -> Scored:
        """Take transactions (columns as in `data.Transactions.frame`) into the ledger and decide each."""
        return self.decide(self.remember(frame, ledger), np.asarray(frame["amount"], np.float64))

    def remember(self, frame: Frame, ledger: Ledger) -> Rows:
        """Take transactions into the ledger; what the model sees of each."""
        built = ledger.add(frame)
        places = np.arange(len(ledger) - len(built), len(ledger))
        length = self.config.model.sequence.length if "sequence" in self.blend.members else 1
        return Rows(self.inputs.matrix(frame, built), ledger.histories(places, length))

    def decide(self, rows: Rows, amounts: np.ndarray) -> Scored:
        """Scores and alerts of rows whose features are ready."""
        wanted = np.arange(SMALL) % max(len(rows), 1) if 0 < len(rows) < SMALL else None
        logits = self.blend(rows if wanted is None else rows.take(wanted))[: len(rows)]
        scores = self.rule.calibrator(logits)
        at_risk = scores * self.costs.loss(amounts) if self.source.labelled else scores
        return Scored(rows, scores, at_risk, at_risk >= self.rule.threshold)

    def reasons(self, rows: Rows, values: Sequence[Mapping[str, Any]], k: int) -> list[list[Reason]]:
        """What moved each row's score up most, in words."""
        return explain(self.blend, rows, self.inputs, self.groups, self.typical, values, k, self.source.payee)

    @cached_property
    def groups(self) -> list[Idea]:
        """Inputs that are one reason together."""
        return ideas(self.inputs, [name for name in STEP if name in self.ledger.names])

    def save(self, folder: Path, request: type[BaseModel], response: type[BaseModel], about: Mapping[str, Any]) -> None:
        """Write the artefact."""
        history, memory = self.ledger.state()
        kept = {"ledger": history, "typical": self.typical.arrays(), "past": self.past.arrays(), "judged": self.judged}
        kept |= {"plain": {"seen": self.seen}} if self.judged else {}
        tensors = {
            f"{part}.{name}": torch.from_numpy(array.copy()) for part, arrays in kept.items() for name, array in arrays.items()
        }
        members = {self.rival.name: self.rival.member} if self.rival else {}
        for name, member in (members | self.blend.members).items():
            tensors |= {f"member.{name}.{key}": tensor for key, tensor in member.state().items()}
        preprocess = {
            "version": VERSION,
            "rival": self.rival and {"name": self.rival.name, "rule": asdict(self.rival.rule)},
            "learnt_days": self.learnt_days,
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
        if read.get("version") != VERSION:
            raise UserError(f"{folder} was made by another version of this program. Train again with this one.")
        config = FraudConfig.model_validate(read["config"])
        layout = Layout(**{**read["layout"], "categories": tuple(read["layout"]["categories"])})
        inputs = Inputs.restore(read["inputs"])
        arrays = {part: {k: t.numpy() for k, t in _below(saved.tensors, part).items()} for part in KEPT}
        ledger = Ledger.restore(layout, arrays["ledger"], read["memory"], max(1, torch.get_num_threads()))
        source = read["source"] | {key: tuple(read["source"][key]) for key in ("numeric", "categorical")}
        source["words"] = Words(**read["source"].get("words", {}))

        def member(name: str) -> Member:
            return restore(name, config.model, len(inputs.names), len(ledger.kept), _below(saved.tensors, f"member.{name}"))

        rival = read["rival"]
        return cls(
            config=config,
            source=Source(**source),
            blend=Blend({name: member(name) for name in read["weights"]}, read["weights"]),
            rule=_rule(read["rule"]),
            inputs=inputs,
            typical=Typical(**arrays["typical"]),
            past=PastFrauds.restore(arrays["past"], read["past"]),
            ledger=ledger,
            learnt_days=tuple(read["learnt_days"]),
            rival=rival and Rival(rival["name"], member(rival["name"]), _rule(rival["rule"])),
            judged=arrays["judged"],
            seen=arrays["plain"].get("seen", np.zeros(0, np.int64)),
            about=saved.metadata,
        )


def assemble(config: FraudConfig, prepared: Prepared, part: Part, inputs: Inputs, blend: Blend, rule: Rule) -> Detector:
    """A detector of parts that were fitted on `part.fit`."""
    transactions, rows = prepared.transactions, prepared.take(part.fit, inputs)
    frame, labels = transactions.frame.iloc[part.fit], part.learnt
    days = int(frame["time"].min()), int(frame["time"].max()) + 1
    source = Source(
        transactions.mapping,
        transactions.numeric,
        transactions.categorical,
        transactions.time_unit,
        config.data.label_delay_days,
        "label" in frame,
    )
    past = PastFrauds.learn(rows.x, labels, frame[labels == 1])
    return Detector(config, source, blend, rule, inputs, Typical.learn(rows, labels, inputs), past, prepared.ledger, days)


def costs_of(config: FraudConfig) -> Costs:
    return Costs(config.costs.alert, config.costs.loss_share, config.costs.loss_fixed)


def _rule(values: Mapping[str, Any]) -> Rule:
    return Rule(Calibrator(**values["calibrator"]), values["threshold"])


def alert_id(transaction: str) -> str:
    """The same for a transaction in every run and file."""
    return "A-" + hashlib.sha256(transaction.encode()).hexdigest()[:12]


def _below(tensors: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{part}."): tensor for key, tensor in tensors.items() if key.startswith(f"{part}.")}
