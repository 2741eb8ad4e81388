"""Requests and tables of transactions in; scores, alerts and reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from shared.data import cleaning, tables
from shared.data.cleaning import Faults
from shared.errors import DataError, UserError
from shared.export import Compute, Exportable
from shared.records import validate
from shared.usecase import Progress
from usecases.fraud_detection import data, export
from usecases.fraud_detection.answers import DIGITS, FraudDecision, TransactionRequest, answer, columns, records
from usecases.fraud_detection.detector import Detector, alert_id
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.ledger import ROLES, Ledger
from usecases.fraud_detection.stream import FraudStream
from usecases.fraud_detection.timeline import DAY

BLOCK = 100_000
STALE_DAYS = 1.0
MINUTE = 60_000  # milliseconds
SCHEMA = pa.schema(
    [
        ("transaction", pa.string()),
        ("score", pa.float64()),
        ("expected_loss", pa.float64()),
        ("alert", pa.bool_()),
        ("alert_id", pa.string()),
        ("reasons", pa.list_(pa.string())),
    ]
)


class FraudDetector:
    """The contract's predictor. A request is judged by what the training data says of its account; nothing is remembered.

    Where payments must be remembered, use `process` (a table, in time order) or a stream.
    """

    Request, Response = TransactionRequest, FraudDecision

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(Detector.load(folder))

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.detector.save(folder, TransactionRequest, FraudDecision, about)

    def open_stream(self, options: Mapping[str, Any]) -> FraudStream:
        """A processor for `shared.streaming` that starts from the training data's memory."""
        return FraudStream(self.detector, options)

    def examples(self) -> list[TransactionRequest]:
        """The last remembered transaction again a minute later, the same amount tenfold, and one of nobody known."""
        ledger = self.detector.ledger
        last = int(np.argmax(ledger.columns.time[: len(ledger)]))
        known = {
            role: next((k for k, code in ledger.codes[role].items() if code == getattr(ledger.columns, role)[last]), "")
            for role in ("account", "counterparty")
        }
        time = str(np.datetime64(int(ledger.columns.time[last]) + MINUTE, "ms"))
        amount = int(ledger.columns.cents[last]) / 100
        return [
            TransactionRequest(transaction="example-1", time=time, amount=amount, **known),
            TransactionRequest(transaction="example-2", time=time, amount=10 * amount + 100, **known),
            TransactionRequest(transaction="example-3", time=time, amount=20.0),
        ]

    def predict(self, requests: Sequence[TransactionRequest]) -> list[FraudDecision]:
        """Each by itself, in order: earlier ones of the list count as past for later ones, and all are forgotten after."""
        return self.predict_groups([requests])[0]

    def predict_groups(self, groups: Sequence[Sequence[TransactionRequest]]) -> list[list[FraudDecision]]:
        """The same for lists that know nothing of one another; the model scores all of them together."""
        detector, ledger = self.detector, self.detector.ledger
        newest = int(ledger.columns.time[: len(ledger)].max(initial=0))
        frames = [self._columns(requests) for requests in groups]
        every = [request for requests in groups for request in requests]
        if not every:
            return [[] for _ in groups]
        frame = _joined(frames)
        scored = detector.decide(self._seen(frames), np.asarray(frame["amount"], np.float64))
        decisions = answer(detector, frame, scored, [r.reasons for r in every], [r.similar for r in every])
        for decision, request, time in zip(decisions, every, frame["time"], strict=True):
            known = {role: getattr(request, role) in ledger.codes[role] for role in ROLES}
            decision.notes = self._notes(known, (time - newest) / DAY)
        each = iter(decisions)
        return [[next(each) for _ in requests] for requests in groups]

    def exportable(self, requests: Sequence[TransactionRequest]) -> Exportable:
        """See `shared.export.Exportable`; each request is by itself, as in `predict_groups`."""
        frames = [self._columns([request]) for request in requests]
        return export.exportable(self.detector, self._seen(frames), np.asarray(_joined(frames)["amount"], np.float64))

    def with_network(self, compute: Compute) -> FraudDetector:
        return FraudDetector(replace(self.detector, blend=replace(self.detector.blend, exported=compute)))

    def _columns(self, requests: Sequence[TransactionRequest]) -> dict[str, list[Any]]:
        ids = [request.transaction or f"request-{place}" for place, request in enumerate(requests, 1)]
        try:
            return columns(self.detector, ids, requests)
        except ValueError as error:
            raise UserError(f"The input does not fit: {error}.") from None

    def _seen(self, frames: Sequence[Mapping[str, list[Any]]]) -> Rows:
        """What the model sees of each list's transactions, where those of the other lists have not happened."""
        rounds, ledger = _apart(frames), self.detector.ledger
        seen: list[Rows] = []
        mark = ledger.mark()
        for places in rounds:
            try:
                seen.append(self.detector.remember(_joined([frames[place] for place in places]), ledger))
            finally:
                ledger.cut(mark)
        starts = np.cumsum([0, *(len(one["time"]) for one in frames)])
        order = np.argsort(np.concatenate([np.arange(starts[place], starts[place + 1]) for places in rounds for place in places]))
        return Rows(*(np.concatenate([getattr(one, part.name) for one in seen])[order] for part in fields(Rows)))

    def _notes(self, known: Mapping[str, bool], days: float) -> list[str]:
        layout, notes = self.detector.ledger.layout, []
        for role, there in (("account", layout.accounts), ("counterparty", layout.counterparties)):
            if there and not known[role]:
                notes.append(f"the {role} is not known")
        if days > STALE_DAYS:
            notes.append(f"what happened in the {days:.0f} days since the end of the training data is not known")
        return notes

    def process(self, source: Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Score each row of a table with the training data's columns, in time order for the right features.

        Writes transaction, score, expected_loss, alert, alert_id and reasons (of alerts). Rows that cannot be used are
        written without a score. A table that begins before the end of the training data brings its own past: what the
        model remembers from that moment on is put aside.
        """
        validate(TransactionRequest, [{"time": 0, "amount": 0}], options)
        if whose := set(options) - {"reasons"}:
            raise UserError(f"{', '.join(sorted(whose))} cannot be given for a whole table: it comes from the table's rows.")
        detector, ledger = self.detector, None
        faults = Faults(str(source), remedy="; these rows have no score. data.* is as in the model's own run, not set here")
        summary: dict[str, Any] = {"transactions": 0, "alerts": 0, "not scored": 0, "out": str(out)}
        with tables.writer(out) as append:
            for table in tables.stream(source, BLOCK, detector.config.data.encoding):
                if not len(table):
                    continue
                table.index = pd.RangeIndex(summary["transactions"] + 1, summary["transactions"] + len(table) + 1)
                frame = self._read(table, faults)
                if ledger is None:
                    ledger = detector.ledger.before(int(frame["time"].min()) if len(frame) else None)
                append(self._score_block(table, frame, ledger, int(options.get("reasons", 3)), summary))
                ledger.forget()
                summary["transactions"] += len(table)
                progress(len(table))
            if not summary["transactions"]:
                raise UserError(f"{source} has no rows.")
            if summary["not scored"] == summary["transactions"]:
                raise DataError(faults.findings)
        return summary | {f"{finding.severity} {place}": str(finding) for place, finding in enumerate(faults.findings, 1)}

    def _read(self, table: pd.DataFrame, faults: Faults) -> pd.DataFrame:
        how = self.detector.source
        piece = Faults(faults.where, remedy=faults.remedy)
        notation = self.detector.config.data.notation
        frame = data.canonical(table, how.mapping, how.numeric, how.categorical, piece, how.time_unit, how.delay_days, notation)
        seen = {finding.what for finding in faults.findings}
        faults.findings += [f for f in piece.findings if f.what not in seen and f.severity != "info"]
        return frame

    def _score_block(
        self, table: pd.DataFrame, frame: pd.DataFrame, ledger: Ledger, count: int, summary: dict[str, Any]
    ) -> pa.Table:
        scored = self.detector.score(frame, ledger)
        alerts = np.flatnonzero(scored.alerts)
        words: list[list[str]] = [[] for _ in range(len(frame))]
        if count:
            found = self.detector.reasons(scored.rows.take(alerts), records(frame, alerts), count)
            for place, reasons in zip(alerts, found, strict=True):
                words[place] = [reason.text for reason in reasons]
        ids = frame["transaction"].astype("str").tolist()
        made = pd.DataFrame(
            {
                "transaction": ids,
                "score": np.round(scored.scores, DIGITS),
                "expected_loss": np.round(scored.at_risk, 4),
                "alert": scored.alerts,
                "alert_id": [alert_id(i) if alert else None for i, alert in zip(ids, scored.alerts, strict=True)],
                "reasons": words,
            },
            index=frame.index,
        ).astype({"transaction": object, "alert_id": object, "reasons": object})
        summary["alerts"] += len(alerts)
        summary["not scored"] += len(table) - len(frame)
        missing = table.index.difference(frame.index)
        made = made.reindex(table.index)
        mapped = self.detector.source.mapping.get("transaction")
        own = table.get(mapped, table.get("transaction")) if mapped else None
        made.loc[missing, "transaction"] = cleaning.tidy_ids(own[missing]) if own is not None else missing.astype("str")
        made["reasons"] = made["reasons"].map(lambda value: value if isinstance(value, list) else [])
        return pa.Table.from_pandas(made, schema=SCHEMA, preserve_index=False)


def _joined(frames: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [value for one in frames for value in one[name]] for name in frames[0]}


def _apart(frames: Sequence[Mapping[str, list[Any]]]) -> list[list[int]]:
    """Places of the lists, in rounds: those of a round share no account and no counterparty, so that none is another's past.

    A transaction's features come from those of its account and of its counterparty alone. In a round times only rise, as the
    ledger takes them in one by one where they fall.
    """
    rounds: list[tuple[set[tuple[str, str]], list[int]]] = []
    for place in sorted(range(len(frames)), key=lambda place: frames[place]["time"][:1]):
        own = {(role, name) for role in ROLES for name in frames[place][role] if name}
        taken, places = next((one for one in rounds if not one[0] & own), (set(), []))
        if not places:
            rounds.append((taken, places))
        taken |= own
        places.append(place)
    return [places for _, places in rounds]
