"""Transactions as requests, and what is answered to each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, field_validator

from shared.data import cleaning
from shared.usecase import Record
from usecases.fraud_detection.detector import Detector, Scored, alert_id
from usecases.fraud_detection.inputs import Frame


class TransactionRequest(Record):
    """One transaction. `extra` holds the data's further inputs by their column names."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    transaction: str = Field("", description="its id; alerts are named after it")
    time: float | str = Field(description="ISO 8601, or Unix seconds or milliseconds")
    amount: float = Field(ge=0, allow_inf_nan=False)
    account: str = Field("", description="account or card that pays; empty: not known")
    counterparty: str = Field("", description="terminal, merchant or account that is paid; empty: not known")
    extra: dict[str, float | str | None] = Field({}, description="further inputs")
    reasons: int = Field(3, ge=0, le=10, description="how many reasons an alert is given")
    similar: int = Field(3, ge=0, le=10, description="how many similar past frauds an alert is given")

    @field_validator("time")
    @classmethod
    def _readable(cls, value: float | str) -> float | str:
        milliseconds(value)
        return value


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
        made[name] = [_number(request.extra.get(name)) for request in requests]
    for name in how.categorical:
        made[name] = [_word(request.extra.get(name)) for request in requests]
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
            score=float(scored.scores[place]),
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


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if np.isfinite(number) else float("nan")


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def milliseconds(value: float | str, unit: str = "auto") -> int:
    """A time as milliseconds since 1970.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            moment = datetime.fromisoformat(str(value).strip())
            value, unit = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), "s"
    if unit == "auto":
        unit = "ms" if value > cleaning.LARGEST_SECONDS else "s"
    seconds = value * cleaning.SECONDS[unit]
    if not 0 <= seconds < cleaning.latest():
        raise ValueError(f"{value} is no time from 1970 to today")
    return round(seconds * 1000)
