"""Transactions as requests, and what is answered to each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from shared.data import cleaning
from shared.usecase import Record
from usecases.fraud_detection.detector import Detector, Scored, alert_id
from usecases.fraud_detection.inputs import Frame

DIGITS = 6  # of a score
NO_TIME = -1.0  # seconds, which are refused


class TransactionRequest(Record):
    """One transaction. `extra` holds the data's further inputs by their column names."""

    transaction: str = Field("", description="its id; alerts are named after it")
    time: float | str = Field(description="ISO 8601, or Unix seconds or milliseconds")
    amount: float = Field(ge=0, allow_inf_nan=False)
    account: str = Field("", description="account or card that pays; empty: not known")
    counterparty: str = Field("", description="terminal, merchant or account that is paid; empty: not known")
    extra: dict[str, float | str | None] = Field({}, description="further inputs")
    reasons: int = Field(3, ge=0, le=10, description="how many reasons an alert is given")
    similar: int = Field(3, ge=0, le=10, description="how many similar past frauds an alert is given")

    @field_validator("transaction", "account", "counterparty", mode="before")
    @classmethod
    def _tidy(cls, value: Any) -> Any:
        return tidy(value) if value is None or isinstance(value, str | int | float) else value


class ReasonText(Record):
    text: str = Field(description="what raised the score, in words")
    contribution: float = Field(description="how much of the score's logit goes away without it")


class SimilarFraud(Record):
    transaction: str
    time: str
    amount: float
    scenario: str = ""
    similarity: float = Field(description="0 to 1")


class FraudDecision(Record):
    transaction: str
    score: float = Field(description="probability of fraud; without labels in training: how unusual, alert from one half on")
    expected_loss: float = Field(description="score times what is lost with the transaction, in the currency of the amounts")
    alert: bool
    alert_id: str | None = Field(None, description="the same for a transaction whenever it is scored")
    reasons: list[ReasonText] = []
    similar: list[SimilarFraud] = []
    notes: list[str] = Field([], description="what makes the score less certain")


def columns(detector: Detector, ids: Sequence[str], requests: Sequence[TransactionRequest]) -> dict[str, list[Any]]:
    """Requests as columns like those of `data.Transactions.frame`; inputs that are not given count as missing."""
    how = detector.source
    made: dict[str, list[Any]] = {
        "transaction": list(ids),
        "time": [milliseconds(request.time, how.time_unit) for request in requests],
        "account": [request.account for request in requests],
        "counterparty": [request.counterparty for request in requests],
        "amount": [request.amount for request in requests],
    }
    for name in how.numeric:
        made[name] = [number(request.extra.get(name)) for request in requests]
    for name in how.categorical:
        made[name] = [tidy(request.extra.get(name)) for request in requests]
    return made


def answer(
    detector: Detector, frame: Frame, scored: Scored, reasons: Sequence[int], similar: Sequence[int]
) -> list[FraudDecision]:
    """A decision for each row of `frame`; alerts get as many reasons and similar frauds as asked for."""
    alerts = np.flatnonzero(scored.alerts)
    explained = detector.reasons(scored.rows.take(alerts), records(frame, alerts), max(reasons, default=0)) if len(alerts) else []
    alike = detector.past.nearest(scored.rows.x[alerts], max(similar, default=0)) if len(alerts) else []
    decisions = []
    for place, transaction in enumerate(frame["transaction"]):
        decision = FraudDecision(
            transaction=transaction,
            score=round(float(scored.scores[place]), DIGITS),
            expected_loss=round(float(scored.at_risk[place]), 4),
            alert=bool(scored.alerts[place]),
        )
        decisions.append(decision)
    for place, why, like in zip(alerts.tolist(), explained, alike, strict=True):
        decision = decisions[place]
        decision.alert_id = alert_id(decision.transaction)
        decision.reasons = [ReasonText(text=r.text, contribution=round(r.contribution, 3)) for r in why[: reasons[place]]]
        decision.similar = [SimilarFraud(**vars(one)) for one in like[: similar[place]]]
    return decisions


def records(frame: Frame, rows: np.ndarray) -> list[dict[str, Any]]:
    """Rows of columns as records."""
    if isinstance(frame, pd.DataFrame):
        return frame.iloc[rows].to_dict("records")
    return [{name: values[row] for name, values in frame.items()} for row in rows.tolist()]


def number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if np.isfinite(number) else float("nan")


def tidy(value: Any) -> str:
    """An id or category as `cleaning.tidy_ids` writes it: whole numbers whole, no space around it, nothing for a missing one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None or value != value else str(value).strip()


def milliseconds(value: Any, unit: str) -> int:
    """A time as milliseconds since 1970; numbers count `unit`, as data.time_unit.

    Raises:
        ValueError: it is none.
    """
    seconds = NO_TIME
    try:
        if isinstance(value, str):
            seconds = _iso(value) if re.search("[-:T]", value.strip()[1:]) else float(value) * _scale(float(value), unit)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value * _scale(value, unit)
    except (ValueError, OverflowError):
        seconds = NO_TIME
    if not 0 <= seconds < cleaning.latest():
        raise ValueError(f"time: {value!r:.60} is no time from 1970 to today; write ISO 8601 or numbers (data.time_unit={unit})")
    return round(seconds * 1000)


def _scale(number: float, unit: str) -> float:
    """Seconds that one of the unit is; auto: Unix seconds, or milliseconds where the number is large."""
    return cleaning.SECONDS[("ms" if number > cleaning.LARGEST_SECONDS else "s") if unit == "auto" else unit]


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
