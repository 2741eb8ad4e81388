"""Rows without a time in, as requests or as a table; scores, decisions and reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from shared.data import cleaning, tables
from shared.data.cleaning import Faults
from shared.errors import DataError, UserError, nearest
from shared.records import validate
from shared.usecase import Progress, Record
from usecases.fraud_detection import data
from usecases.fraud_detection.answers import DIGITS, ReasonText, number, records, tidy
from usecases.fraud_detection.detector import Detector, Scored
from usecases.fraud_detection.inputs import Frame
from usecases.fraud_detection.plain_evidence import rows_of

BLOCK = 100_000


class RowRequest(Record):
    """One row. `values` are the data's inputs by their column names."""

    id: str = Field("", description="what to call it in the answer")
    values: dict[str, float | str | None] = Field(description="inputs by the names of the data's columns; missing: not known")
    reasons: int = Field(3, ge=0, le=10, description="how many reasons are given")
    similar: int = Field(3, ge=0, le=10, description="how many similar rows of the training with a finding are given")


class SimilarRow(Record):
    id: str
    similarity: float = Field(description="0 to 1")


class RowDecision(Record):
    id: str
    score: float = Field(description="probability of a finding")
    expected_loss: float = Field(description="score times what a missed finding costs")
    flagged: bool = Field(description="whether that is worth what a look costs")
    reasons: list[ReasonText] = []
    similar: list[SimilarRow] = []
    notes: list[str] = Field([], description="what makes the score less certain")


SCHEMA = pa.schema(
    [("id", pa.string()), ("score", pa.float64()), ("expected_loss", pa.float64()), ("flagged", pa.bool_()),
     ("reasons", pa.list_(pa.string()))]
)  # fmt: skip


class RowDetector:
    """The contract's predictor for rows that stand for themselves."""

    Request, Response = RowRequest, RowDecision

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        source = detector.source
        self.inputs = (*source.numeric, *source.categorical)
        self.amount = source.mapping.get("amount")

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.detector.save(folder, RowRequest, RowDecision, about)

    def examples(self) -> list[RowRequest]:
        """A usual row, and one with the values that are furthest from usual among the similar ones that are remembered."""
        inputs = self.detector.inputs
        usual = dict(zip(inputs.names, map(float, self.detector.typical.x), strict=True))
        values: dict[str, float | str | None] = {name: usual[name] for name in inputs.medians}
        for name, kinds in inputs.categories.items():
            values[name] = next((kind for kind in kinds if usual[f"{name} = {kind}"]), "")
        other = values | {name: kinds[-1] for name, kinds in inputs.categories.items() if kinds}
        return [RowRequest(id="example-1", values=values), RowRequest(id="example-2", values=other)]

    def predict(self, requests: Sequence[RowRequest]) -> list[RowDecision]:
        """Each by itself."""
        for request in requests:
            if unknown := [name for name in request.values if name not in (*self.inputs, self.amount)]:
                raise UserError(f"values: there is no input '{unknown[0]}'. {nearest(unknown[0], self.inputs)}")
        if not requests:
            return []
        source = self.detector.source
        frame: dict[str, list[Any]] = {"transaction": [r.id or f"request-{n}" for n, r in enumerate(requests, 1)]}
        for name in source.numeric:
            frame[name] = [number(request.values.get(name)) for request in requests]
        for name in source.categorical:
            frame[name] = [tidy(request.values.get(name)) for request in requests]
        given = np.array([number(request.values.get(self.amount or "")) for request in requests])
        usual = self.detector.inputs.medians.get(self.amount or "", 0.0)
        scored = self.score(frame, np.where(np.isnan(given), usual, given).clip(min=0))
        decisions = self.decisions(frame, scored, [r.reasons for r in requests], [r.similar for r in requests])
        for decision, request in zip(decisions, requests, strict=True):
            if missing := [name for name in self.inputs if tidy(request.values.get(name)) == ""]:
                decision.notes.append(f"not known: {', '.join(missing)}")
        return decisions

    def score(self, frame: Frame, amounts: np.ndarray) -> Scored:
        """Columns as in `data.Transactions.frame`."""
        return self.detector.decide(rows_of(self.detector, frame, len(amounts)), amounts)

    def decisions(self, frame: Frame, scored: Scored, reasons: Sequence[int], similar: Sequence[int]) -> list[RowDecision]:
        """A decision for each row of `frame`, with as many reasons and similar rows as asked for."""
        core, every = self.detector, np.arange(len(scored.scores))
        why = core.reasons(scored.rows, records(frame, every), max(reasons, default=0))
        alike = core.past.nearest(scored.rows.x, max(similar, default=0))
        return [
            RowDecision(
                id=str(name),
                score=round(float(scored.scores[place]), DIGITS),
                expected_loss=round(float(scored.at_risk[place]), 4),
                flagged=bool(scored.alerts[place]),
                reasons=[ReasonText(text=r.text, contribution=round(r.contribution, 3)) for r in why[place][: reasons[place]]],
                similar=[SimilarRow(id=one.transaction, similarity=one.similarity) for one in alike[place][: similar[place]]],
            )
            for place, name in enumerate(frame["transaction"])
        ]

    def process(self, source: Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Score each row of a table with the training data's columns: id, score, expected_loss, flagged, reasons (of flagged).

        Rows that cannot be used are written without a score.
        """
        validate(RowRequest, [{"values": {}}], options)
        if whose := set(options) - {"reasons"}:
            raise UserError(f"{', '.join(sorted(whose))} cannot be given for a whole table: it comes from the table's rows.")
        core, count = self.detector, int(options.get("reasons", 3))
        faults = Faults(str(source), remedy="; these rows have no score. data.* is as in the model's own run, not set here")
        words = core.source.words
        summary: dict[str, Any] = {words.records: 0, "flagged": 0, "not scored": 0, "out": str(out)}
        with tables.writer(out) as append:
            for table in tables.stream(source, BLOCK, core.config.data.encoding):
                if len(table):
                    table.index = pd.RangeIndex(summary[words.records] + 1, summary[words.records] + len(table) + 1)
                    append(self._block(table, faults, count, summary))
                    summary[words.records] += len(table)
                    progress(len(table))
            if not summary[words.records]:
                raise UserError(f"{source} has no rows.")
            if summary["not scored"] == summary[words.records]:
                raise DataError(faults.findings)
        return summary | {f"{finding.severity} {place}": str(finding) for place, finding in enumerate(faults.findings, 1)}

    def _block(self, table: pd.DataFrame, faults: Faults, count: int, summary: dict[str, Any]) -> pa.Table:
        how, piece = self.detector.source, Faults(faults.where, remedy=faults.remedy)
        mapping = {role: column for role, column in how.mapping.items() if role == "amount"}
        own = how.mapping.get("transaction")
        ids = table.get(own) if own else None
        frame = data.canonical(
            table, mapping, how.numeric, how.categorical, piece, notation=self.detector.config.data.notation, words=how.words
        )
        seen = {finding.what for finding in faults.findings}
        faults.findings += [f for f in piece.findings if f.what not in seen and f.severity != "info"]
        scored = self.score(frame, frame["amount"].to_numpy())
        flagged = np.flatnonzero(scored.alerts)
        words: list[list[str]] = [[] for _ in range(len(frame))]
        if count and len(flagged):
            found = self.detector.reasons(scored.rows.take(flagged), records(frame, flagged), count)
            for place, reasons in zip(flagged, found, strict=True):
                words[place] = [reason.text for reason in reasons]
        made = pd.DataFrame(
            {
                "score": np.round(scored.scores, DIGITS), "expected_loss": np.round(scored.at_risk, 4),
                "flagged": scored.alerts.astype(object), "reasons": words,
            },
            index=frame.index,
        ).reindex(table.index)  # fmt: skip
        made["id"] = (cleaning.tidy_ids(ids) if ids is not None else table.index.astype("str")).to_numpy(dtype=object)
        made["reasons"] = made["reasons"].map(lambda value: value if isinstance(value, list) else [])
        summary["flagged"] += len(flagged)
        summary["not scored"] += len(table) - len(frame)
        return pa.Table.from_pandas(made, schema=SCHEMA, preserve_index=False)
