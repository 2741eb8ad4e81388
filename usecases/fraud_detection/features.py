"""Features of transactions from what was known before each of them; the same code serves files and streams.

A stream passes the few transactions that matter to its new ones, a file passes all. Sums are of integers and therefore
exact, so that both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from usecases.fraud_detection.by_account import ByAccount
from usecases.fraud_detection.by_counterparty import ByCounterparty
from usecases.fraud_detection.timeline import DAY, HOUR, Block, Columns, Timeline

BLOCK = 4_096


@dataclass(frozen=True)
class Layout:
    """Which features there are: it follows from the data's roles and categorical inputs."""

    accounts: bool
    counterparties: bool
    categories: tuple[str, ...]
    delay: int  # milliseconds until labels are known
    timed: bool = True  # else rows stand for themselves, and have their own columns alone


def names(layout: Layout) -> list[str]:
    """The features of a layout, in the order of the matrix."""
    nothing = np.zeros(0, np.int64)
    table = Table(nothing, 0, [], 1)
    _fill(table, Columns.empty(len(layout.categories)), layout)
    return table.names


def build(columns: Columns, layout: Layout, fresh: np.ndarray, names: list[str], threads: int = 1) -> np.ndarray:
    """Compute the features of the rows `fresh`, [m, features] float32; fills in their `outlying` and `ratio` in `columns`.

    Args:
        fresh: [m] rows in increasing order; of the others `outlying` and `ratio` must be known.
        names: what `names(layout)` gives.
    """
    table = Table(fresh, len(columns), names, threads)
    _fill(table, columns, layout)
    return table.matrix


def _fill(table: Table, columns: Columns, layout: Layout) -> None:
    if layout.timed:
        table.fill(table.fresh, lambda rows: record(columns, rows))
    if layout.accounts:
        account = ByAccount(columns)
        order = table.ordered(account.timeline)
        table.fill(order, account.amounts)
        account.sum_usual()
        table.fill(order, account.ratios)
        account.sum_outliers()
        table.fill(order, account.activity)
        table.fill(order, lambda rows: account.novelty(rows, layout.categories))
    if layout.counterparties:
        counterparty = ByCounterparty(columns, layout.delay)
        order = table.ordered(counterparty.timeline)
        table.fill(order, counterparty.activity)
        table.fill(order, counterparty.risk)


def record(columns: Columns, rows: np.ndarray) -> Block:
    """What the transaction itself says."""
    time = columns.time[rows]
    return {
        "amount": np.log2(columns.cents[rows] / 100 + 1),
        "hour": time % DAY / HOUR,
    }


class Table:
    """The feature matrix of the fresh rows, filled in by blocks of rows and several threads.

    Args:
        names: of the features to come, or nothing to find them out.
    """

    def __init__(self, fresh: np.ndarray, length: int, names: list[str], threads: int) -> None:
        self.fresh, self.threads = fresh, threads
        self.slot = np.full(length, -1)
        self.slot[fresh] = np.arange(len(fresh))
        self.matrix = np.empty((len(fresh), len(names)), np.float32)
        self.names: list[str] = []

    def ordered(self, timeline: Timeline) -> np.ndarray:
        """The fresh rows in the timeline's order, in which looking back touches memory that is near."""
        return timeline.order[self.slot[timeline.order] >= 0]

    def fill(self, rows: np.ndarray, compute: Callable[[np.ndarray], Block]) -> None:
        """Put what `compute` gives for each block of rows into the matrix, after the features that are there."""
        first = len(self.names)

        def work(block: np.ndarray) -> list[str]:
            values = compute(block)
            numbers = np.empty((len(block), len(values)), np.float32)
            for place, column in enumerate(values.values()):
                numbers[:, place] = column
            if self.matrix.shape[1]:
                self.matrix[self.slot[block], first : first + len(values)] = numbers
            return list(values)

        blocks = [rows[start : start + BLOCK] for start in range(0, max(len(rows), 1), BLOCK)]
        if len(blocks) == 1 or self.threads == 1:
            done = [work(block) for block in blocks]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                done = list(pool.map(work, blocks))
        self.names += done[0]
