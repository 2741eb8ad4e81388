"""From validated transactions to what models look at."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.data import Transactions
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.inputs import Inputs, Rows
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.timeline import DAY

PIECE = 1_000_000  # transactions whose features are in memory at once


@dataclass(frozen=True)
class Prepared:
    """Features and histories of some rows of a data set.

    Attributes:
        rows: places in the frame, rising; `built` and `history` are in their order.
        built: [rows, features] float32; see `features.build`.
        history: [rows, length, steps + 1] float16; see `Ledger.histories`.
        ledger: after the last transaction.
        seconds: it took.
    """

    transactions: Transactions
    rows: np.ndarray
    built: np.ndarray
    history: np.ndarray
    ledger: Ledger
    seconds: float

    def take(self, rows: np.ndarray, inputs: Inputs) -> Rows:
        """The models' view of some of the rows (places in the frame)."""
        own = np.searchsorted(self.rows, rows)
        return Rows(inputs.matrix(self.transactions.frame.iloc[rows], self.built[own]), self.history[own])

    def learn_inputs(self, rows: np.ndarray) -> Inputs:
        """See which values the training rows have (places in the frame)."""
        transactions = self.transactions
        return Inputs.learn(transactions.frame.iloc[rows], self.ledger.names, transactions.numeric, transactions.categorical)


def prepare(
    transactions: Transactions,
    config: FraudConfig,
    wanted: np.ndarray,
    threads: int,
    ledger: Ledger | None = None,
    members: Collection[str] | None = None,
) -> Prepared:
    """Features and histories of the wanted rows, from everything before each of them; piece by piece in time order.

    Args:
        wanted: places in the frame, rising.
        ledger: of what was before the first transaction; it is filled.
        members: the models that will look at the rows (None: all that are configured); few need the account's past.
    """
    begun = time.monotonic()
    frame = transactions.frame
    layout = Layout(
        "account" in frame, "counterparty" in frame, transactions.categorical, int(config.data.label_delay_days * DAY)
    )
    if ledger is None:
        ledger = Ledger(layout, threads)
    length = config.model.sequence.length if "sequence" in (members or config.model.members) else 1
    built, history = [], []
    for start in range(0, len(frame), PIECE):
        matrix = ledger.add(frame.iloc[start : start + PIECE])
        own = wanted[(wanted >= start) & (wanted < start + PIECE)] - start
        built.append(matrix[own])
        history.append(ledger.histories(own + len(ledger) - len(matrix), length))
        ledger.forget()
    return Prepared(transactions, wanted, np.concatenate(built), np.concatenate(history), ledger, time.monotonic() - begun)
