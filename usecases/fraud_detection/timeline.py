"""Earlier transactions of the same account or counterparty, found for many transactions at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOUR, DAY = 3_600_000, 86_400_000  # milliseconds
MEMORY = 90 * DAY  # how far back anything is remembered
RECENT = 32  # transactions of an entity that are looked at one by one
SMALL_CODES = 2**15
NEVER = np.iinfo(np.int64).max // 4
Block = dict[str, np.ndarray]
MOST = 2_000
"""Of an entity at most this many transactions before the one in question are looked at: it bounds the work of a stream."""


@dataclass(frozen=True)
class Columns:
    """Transactions as arrays of one length, in the order in which they arrived.

    Attributes:
        time: int64 milliseconds since 1970.
        account, counterparty: int64 codes, -1 where not known.
        cents: int64, hundredths of the amount.
        known_at: int64, when it became known that the transaction is fraud; NEVER where it did not.
        categories: [n, c] int64 codes of the categorical inputs, -1 where missing.
        outlying: bool, far above the median of the account's transactions before it.
        ratio: float32, the amount in units of what was usual for the account.
    """

    time: np.ndarray
    account: np.ndarray
    counterparty: np.ndarray
    cents: np.ndarray
    known_at: np.ndarray
    categories: np.ndarray
    outlying: np.ndarray
    ratio: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def empty(cls, categories: int) -> Columns:
        none = np.zeros(0, np.int64)
        return cls(none, none, none, none, none, none.reshape(0, categories), none.astype(bool), none.astype(np.float32))


@dataclass(frozen=True)
class Span:
    """For each asked transaction the places [start, end) of earlier ones in the timeline."""

    start: np.ndarray
    end: np.ndarray

    @property
    def count(self) -> np.ndarray:
        return self.end - self.start


class Timeline:
    """Transactions sorted by entity, then time, then arrival.

    Args:
        entity: [n] int codes; below zero: not known, such a transaction has nothing before it.
        time: [n] int64 milliseconds.
        reach: the longest look back that will be asked for, milliseconds.
    """

    def __init__(self, entity: np.ndarray, time: np.ndarray, reach: int) -> None:
        few = entity.astype(np.int16) if len(entity) and entity.max() < SMALL_CODES else entity  # these are sorted much faster
        if (time[1:] >= time[:-1]).all():
            self.order = np.argsort(few, kind="stable")
        else:
            by_time = np.argsort(time, kind="stable")
            self.order = by_time[np.argsort(few[by_time], kind="stable")]
        first = int(time.min()) if len(time) else 0
        span = (int(time.max()) - first if len(time) else 0) + 2 * reach + 1
        if len(entity) and int(entity.max()) >= np.iinfo(np.int64).max // span:
            raise ValueError(f"{int(entity.max()):,} entities over {span:,} ms do not fit into 64 bits")
        self.key = entity.astype(np.int64) * span + (time - first)
        self.keys = self.key[self.order]
        self.place = np.empty(len(entity), np.int64)
        self.place[self.order] = np.arange(len(entity))
        self.known = entity >= 0

    def last(self, rows: np.ndarray, age: int) -> Span:
        """Those less than `age` ms older than each of `rows`."""
        end = self.place[rows]
        start = np.searchsorted(self.keys, self.key[rows] - age, side="right")
        return self._span(rows, start, end)

    def settled(self, rows: np.ndarray, age: int, delay: int) -> Span:
        """Those at least `delay` ms older than each of `rows`, and less than `delay + age`."""
        end = np.searchsorted(self.keys, self.key[rows] - delay, side="right")
        start = np.searchsorted(self.keys, self.key[rows] - delay - age, side="right")
        return self._span(rows, start, np.minimum(end, self.place[rows]))

    def _span(self, rows: np.ndarray, start: np.ndarray, end: np.ndarray) -> Span:
        start = np.where(self.known[rows], np.maximum(start, end - MOST), end)
        return Span(np.minimum(start, end), end)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Running sums of integers in the timeline's order; `total` takes differences of them, which are exact.

        Args:
            values: [n] integers, or booleans.
        """
        running = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values[self.order], dtype=np.int64, out=running[1:])
        return running

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Values by row as values by place in the timeline."""
        return values[self.order]

    def recent(self, span: Span, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The newest k of each span, newest first: their places [k, m], and which of these exist [k, m]."""
        places = span.end - np.arange(1, k + 1)[:, None]
        there = places >= span.start
        return np.maximum(places, 0), there


class Arrivals:
    """When it became known of an entity's transactions that they are fraud.

    Args:
        entity: [n] int codes.
        known_at: [n] int64 milliseconds; NEVER: nothing became known.
        reach: the longest look back that will be asked for, milliseconds.
    """

    def __init__(self, entity: np.ndarray, known_at: np.ndarray, reach: int) -> None:
        became = (known_at < NEVER) & (entity >= 0)
        times = known_at[became]
        self.first, self.last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self.reach, self.span = reach, self.last - self.first + 2 * reach + 1
        self.keys = np.sort(entity[became].astype(np.int64) * self.span + (times - self.first))

    def between(self, entity: np.ndarray, time: np.ndarray, age: int) -> np.ndarray:
        """How many in the last `age` ms before each time: [m]."""
        key = self._key(entity, time)
        return np.searchsorted(self.keys, key, side="left") - np.searchsorted(self.keys, key - age, side="left")

    def since(self, entity: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Milliseconds since the newest one before each time, NEVER where there is none: [m]."""
        if not len(self.keys):
            return np.full(len(time), NEVER)
        key = self._key(entity, time)
        place = np.searchsorted(self.keys, key, side="left") - 1
        newest = self.keys[np.maximum(place, 0)]
        mine = (place >= 0) & (newest >= entity * self.span)
        return np.where(mine, time - (newest - entity * self.span + self.first), NEVER)

    def _key(self, entity: np.ndarray, time: np.ndarray) -> np.ndarray:
        return entity.astype(np.int64) * self.span + np.clip(time, self.first - 1, self.last + self.reach + 1) - self.first


def total(running: np.ndarray, span: Span) -> np.ndarray:
    """The sum over each span, from `Timeline.sums`."""
    return running[span.end] - running[span.start]
