"""A stream of transactions and labels, decided in the order in which they come; see `shared.streaming`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from threadpoolctl import ThreadpoolController

from shared.errors import UserError
from shared.files import read_json, write_json
from usecases.fraud_detection.answers import TransactionRequest, answer, columns, milliseconds, tidy
from usecases.fraud_detection.detector import Detector
from usecases.fraud_detection.ledger import Ledger

SPARE = 100_000
GIVEN = ("transaction", "time", "account", "counterparty", "amount")


class FraudStream:
    """Remembers what it decided, so that every transaction is judged by all before it.

    A record has the training data's columns, or the names of `TransactionRequest`. A record with a label and no amount says
    what became of an earlier transaction: {"transaction": "T1", "label": 1}; it counts from its time on, without one from
    the label's usual delay after the transaction. A stream that begins with a transaction which the model remembers plays the
    training data again: what is remembered from then on is put aside.

    Args:
        options: `reasons` and `similar`: how many an alert is given.
    """

    def __init__(self, detector: Detector, options: Mapping[str, Any]) -> None:
        self.detector = detector
        known = {"reasons": 3, "similar": 0}
        if wrong := set(options) - set(known):
            raise UserError(f"A stream has no setting {', '.join(sorted(wrong))}. Valid: {', '.join(known)}.")
        chosen = known | dict(options)
        try:
            checked = TransactionRequest(time=0, amount=0, **chosen)
        except ValidationError as error:
            raise UserError(f"The stream's settings do not fit: {_first(error)}.") from None
        self.reasons, self.similar = checked.reasons, checked.similar
        self.ledger: Ledger | None = None
        self.threads = ThreadpoolController()
        self.room = SPARE  # transactions above which it is worth the time to forget old ones
        how = detector.source
        self.names = {column: role for role, column in how.mapping.items() if role in GIVEN}
        self.label = how.mapping.get("label", "label")
        self.inputs = {*how.numeric, *how.categorical}

    def key(self, record: dict[str, Any]) -> str:
        """The transaction's id, or `label:` with id, label and time.

        Raises:
            ValueError: it is neither a transaction nor a label.
        """
        if self._is_label(record):
            transaction, label, time = self._label(record)
            return f"label:{transaction}:{label}:{time}"
        request = self._request(record)
        milliseconds(request.time, self.detector.source.time_unit)
        if not request.transaction:
            raise ValueError("transaction: an id is needed, so that nothing is decided twice")
        return request.transaction

    def decide(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A decision for each; labels are taken in at their place in the order."""
        decisions: list[dict[str, Any]] = []
        waiting: list[TransactionRequest] = []
        for record in records:
            if self._is_label(record):
                decisions += self._decide(waiting)
                waiting = []
                decisions.append(self._learn(record))
            else:
                waiting.append(self._request(record))
        return decisions + self._decide(waiting)

    def learn(self, records: Sequence[dict[str, Any]]) -> None:
        """Take them in without deciding."""
        self.decide(records)

    def snapshot(self, folder: Path) -> None:
        if self.ledger is not None:
            arrays, values = self.ledger.state()
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "ledger.safetensors")
            write_json(folder / "ledger.json", values)

    def restore(self, folder: Path) -> None:
        if (folder / "ledger.json").exists():
            arrays = load_file(folder / "ledger.safetensors")
            self.ledger = Ledger.restore(self.detector.ledger.layout, arrays, read_json(folder / "ledger.json"))

    def _decide(self, requests: list[TransactionRequest]) -> list[dict[str, Any]]:
        if not requests:
            return []
        frame = columns(self.detector, [request.transaction for request in requests], requests)
        if self.ledger is None:
            memory = self.detector.ledger
            replayed = requests[0].transaction in set(memory.ids[: len(memory)].tolist())
            self.ledger = memory.before(frame["time"][0] if replayed else None)
        if len(self.ledger) > self.room:
            self.ledger.forget()
            self.room = 2 * len(self.ledger) + SPARE
        counts = [self.reasons] * len(requests), [self.similar] * len(requests)
        with self.threads.limit(limits=1):  # a few rows are done before further threads have started
            decisions = answer(self.detector, frame, self.detector.score(frame, self.ledger), *counts)
        return [decision.model_dump(mode="json", exclude_defaults=True) for decision in decisions]

    def _is_label(self, record: Mapping[str, Any]) -> bool:
        return not {"amount", *(column for column, role in self.names.items() if role == "amount")} & set(record)

    def _label(self, record: Mapping[str, Any]) -> tuple[str, int, int | None]:
        named = self._roles(record)
        label = record.get("label", record.get(self.label))
        if label not in (0, 1, True, False, "0", "1") or not named.get("transaction"):
            raise ValueError("neither a transaction (with time and amount) nor a label (transaction, and label 0 or 1)")
        time = named.get("time")
        return (
            tidy(named["transaction"]),
            int(label),
            None if time is None else milliseconds(time, self.detector.source.time_unit),
        )

    def _learn(self, record: Mapping[str, Any]) -> dict[str, Any]:
        transaction, label, time = self._label(record)
        ledger = self.ledger or self.detector.ledger.before(None)
        self.ledger = ledger
        known = ledger.learn(transaction, label == 1, time)
        return {"transaction": transaction, "label": label, "noted": known}

    def _roles(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record by roles: a column of the training data by its role, else as it is named; joined ids as 'a|b'."""
        named = {self.names.get(name, name): value for name, value in record.items()}
        for column, role in self.names.items():
            parts = column.split("|")
            if len(parts) > 1 and column not in record and any(part in record for part in parts):
                together = [tidy(record.get(part)) for part in parts]
                named[role] = "|".join(together) if any(together) else ""
        return named

    def _request(self, record: Mapping[str, Any]) -> TransactionRequest:
        named = self._roles(record)
        given = {role: named[role] for role in GIVEN if named.get(role) is not None}
        extra = {name: record[name] for name in self.inputs if name in record} or named.get("extra") or {}
        try:
            return TransactionRequest(**given, extra=extra)
        except ValidationError as error:
            raise ValueError(_first(error)) from None


def _first(error: ValidationError) -> str:
    """What does not fit first, and why."""
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
