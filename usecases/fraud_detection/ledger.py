"""The memory of past transactions from which the features of new ones come; it grows with a file or a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd

from usecases.fraud_detection import features
from usecases.fraud_detection.features import Layout
from usecases.fraud_detection.timeline import MEMORY, MOST, NEVER, Columns, Timeline

LARGEST = 10**13  # hundredths; larger amounts count as this much
BULK = 4_096  # so many new transactions at once are not looked up one by one
ROLES = ("account", "counterparty")
Mark = tuple[int, dict[str, int]]
SANE = 0.99  # quantile of the times that counts as now
LARGEST_STEP = 60_000.0  # within half precision
STEP = (  # what a sequence model sees of each transaction
    "amount", "amount_over_usual", "amount_deviation", "hour", "hours_since_last", "new_counterparty", "account_count_1h",
    "account_count_1d", "unexplained_last_2", "unexplained_last_5", "fraud_run_unexplained", "days_since_unexplained",
    "legitimate_since_unexplained",
)  # fmt: skip


class Ledger:
    """Transactions of the last `MEMORY` plus the labels' delay; older ones change no feature, and `forget` drops them.

    Args:
        layout: which features there are.
        threads: for the features of many transactions at once.
    """

    def __init__(self, layout: Layout, threads: int = 1) -> None:
        self.layout, self.threads = layout, threads
        self.names = features.names(layout)
        self.kept = [self.names.index(name) for name in STEP if name in self.names]
        self.steps = np.zeros((0, len(self.kept)), np.float16)
        self.codes: dict[str, dict[str, int]] = {name: {} for name in (*ROLES, *layout.categories)}
        self.columns = Columns.empty(len(layout.categories))
        self.ids = np.empty(0, dtype=object)
        self.length = 0
        self._places: dict[str, _Places] = {}
        self._rows: dict[str, int] | None = None

    def __len__(self) -> int:
        return self.length

    def add(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Take in transactions in the order in which they arrived; returns their features [m, features] float32.

        Args:
            frame: columns as in `data.Transactions.frame`. A row with label 1 counts as fraud from its label_time on.
        """
        times = np.asarray(frame["time"], np.int64)
        if not len(times):
            return np.zeros((0, len(self.names)), np.float32)
        if len(turns := np.flatnonzero(np.diff(times) < 0) + 1):  # what arrived later is not known yet, though it is older
            edges = [0, *turns.tolist(), len(times)]
            parts = [{name: frame[name][start:end] for name in frame} for start, end in pairwise(edges)]
            return np.concatenate([self.add(part) for part in parts])
        new = self._encode(frame)
        self._make_room(len(new))
        first, end = self.length, self.length + len(new)
        for field in fields(Columns):
            getattr(self.columns, field.name)[first:end] = getattr(new, field.name)
        self.ids[first:end] = np.asarray(frame["transaction"], dtype=object)
        self.length = end
        if self._rows is not None:
            self._rows |= dict(zip(self.ids[first:end], range(first, end), strict=True))
        if len(new) >= BULK or first == 0:
            self._places.clear()
            matrix = features.build(self._view(), self.layout, np.arange(first, end), self.names, self.threads)
        else:
            matrix = self._build_few(first, end)
        self.steps[first:end] = np.clip(matrix[:, self.kept], -LARGEST_STEP, LARGEST_STEP)
        return matrix

    def histories(self, rows: np.ndarray, length: int) -> np.ndarray:
        """What the account did up to and including each of `rows`: [m, length, steps + 1] float16, oldest first.

        The last number of a step is 1 where there is a transaction; else the step is zeros.
        """
        made = np.zeros((len(rows), length, len(self.kept) + 1), np.float16)
        made[:, -1, :-1], made[:, -1, -1] = self.steps[rows], 1
        if length == 1 or not len(rows):
            return made
        mine = np.arange(self.length)
        if len(rows) < BULK:
            mine = _rising([rows, *self._rows_of("account", self.columns.account[rows])])
        timeline = Timeline(self.columns.account[mine], self.columns.time[mine], MEMORY)
        own = np.searchsorted(mine, rows)
        places, there = timeline.recent(timeline.last(own, MEMORY), length - 1)
        before = mine[timeline.order[places[::-1]]].T
        made[:, :-1, :-1] = np.where(there[::-1].T[:, :, None], self.steps[before], 0)
        made[:, :-1, -1] = there[::-1].T
        return made

    def learn(self, transaction: str, is_fraud: bool, known_at: int | None) -> bool:
        """Note a label, known from `known_at` on (ms; None: the usual delay after it); False if it is not remembered."""
        if self._rows is None:
            self._rows = dict(zip(self.ids[: self.length], range(self.length), strict=True))
        row = self._rows.get(transaction)
        if row is None:
            return False
        time = int(self.columns.time[row])
        self.columns.known_at[row] = max(time, time + self.layout.delay if known_at is None else known_at) if is_fraud else NEVER
        return True

    def frauds(self, since: int) -> pd.DataFrame:
        """account and label_time of the remembered frauds of known accounts since a moment (ms)."""
        view, names = self._view(), np.array(list(self.codes["account"]), dtype=object)
        rows = np.flatnonzero((view.known_at < NEVER) & (view.account >= 0) & (view.time >= since))
        return pd.DataFrame({"account": names[view.account[rows]], "label_time": view.known_at[rows]})

    def mark(self) -> Mark:
        """How much is remembered now, for `cut`."""
        return self.length, {name: len(codes) for name, codes in self.codes.items()}

    def cut(self, mark: Mark) -> None:
        """Forget what has come since the mark, as if it had not."""
        length, known = mark
        for name, codes in self.codes.items():
            while len(codes) > known[name]:
                codes.popitem()
        for role, places in list(self._places.items()):
            if length < len(places.order):
                del self._places[role]
            else:
                places.cut(getattr(self.columns, role)[length : self.length], length)
        if self._rows is not None:
            for transaction in self.ids[length : self.length]:
                self._rows.pop(transaction, None)
        self.length = length

    def before(self, time: int | None) -> Self:
        """A copy that remembers only what was before `time` (ms; None: everything)."""
        made = type(self)(self.layout, self.threads)
        made.codes = {name: dict(codes) for name, codes in self.codes.items()}
        keep = slice(self.length) if time is None else np.flatnonzero(self.columns.time[: self.length] < time)
        made.columns = Columns(*(getattr(self.columns, field.name)[keep].copy() for field in fields(Columns)))
        made.ids, made.steps, made.length = self.ids[keep].copy(), self.steps[keep].copy(), len(made.columns)
        return made

    def forget(self) -> None:
        """Drop what no later transaction will ask for."""
        if not self.length:
            return
        times = self.columns.time[: self.length]
        now = np.quantile(times, SANE, method="lower")  # a single wrong date far ahead must not end all memory
        known_at = self.columns.known_at[: self.length]
        keep = (times > now - MEMORY - self.layout.delay) | ((known_at < NEVER) & (known_at >= now - MEMORY))
        if not keep.all():
            view = self._view()
            self.columns = Columns(*(getattr(view, field.name)[keep] for field in fields(Columns)))
            self.ids, self.steps = self.ids[: self.length][keep], self.steps[: self.length][keep]
            self.length = len(self.columns)
            self._places.clear()
            self._rows = None
            for name in self.codes:
                self._forget_names(name)

    def _forget_names(self, name: str) -> None:
        """Number the ids that are still remembered anew, and drop the others."""
        column = (
            self.columns.categories[:, self.layout.categories.index(name)] if name not in ROLES else getattr(self.columns, name)
        )
        used = np.unique(column[column >= 0])
        codes = np.full(len(self.codes[name]) + 1, -1)  # the last place is that of code -1
        codes[used] = np.arange(len(used))
        ids = list(self.codes[name])
        self.codes[name] = {ids[code]: place for place, code in enumerate(used.tolist())}
        column[:] = codes[column]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-able values from which `restore` makes an equal ledger."""
        self.forget()
        view = self._view()
        names = {name: list(codes) for name, codes in self.codes.items()}
        arrays = {field.name: getattr(view, field.name) for field in fields(Columns)} | {"steps": self.steps[: self.length]}
        return arrays, {"names": names, "ids": self.ids[: self.length].tolist()}

    @classmethod
    def restore(cls, layout: Layout, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], threads: int = 1) -> Self:
        made = cls(layout, threads)
        made.codes = {name: {value: code for code, value in enumerate(known)} for name, known in values["names"].items()}
        made.columns = Columns(**{field.name: np.array(arrays[field.name]) for field in fields(Columns)})
        made.steps = np.array(arrays["steps"])
        made.ids, made.length = np.array(values["ids"], dtype=object), len(made.columns)
        return made

    def _encode(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> Columns:
        time = np.asarray(frame["time"], np.int64)
        cents = np.minimum(np.round(np.asarray(frame["amount"], np.float64) * 100), LARGEST).astype(np.int64)
        known_at = np.full(len(time), NEVER)
        if "label" in frame:
            fraud = np.asarray(frame["label"], np.float64) == 1
            known_at[fraud] = np.maximum(np.asarray(frame["label_time"], np.int64)[fraud], time[fraud])
        roles = [self._code(role, frame[role]) if role in frame else np.full(len(time), -1) for role in ROLES]
        categories = np.zeros((len(time), len(self.layout.categories)), np.int64)
        for place, name in enumerate(self.layout.categories):
            categories[:, place] = self._code(name, frame[name])
        derived = np.zeros(len(time), bool), np.zeros(len(time), np.float32)
        return Columns(time, roles[0], roles[1], cents, known_at, categories, *derived)

    def _code(self, name: str, values: Sequence[Any]) -> np.ndarray:
        """Codes of ids, -1 for missing ones (None, NaN or ""); new ids get the next code."""
        codes = self.codes[name]
        if len(values) < BULK:
            return np.array([codes.setdefault(v, len(codes)) if isinstance(v, str) and v else -1 for v in values], np.int64)
        places, found = pd.factorize(values)
        own = [codes.setdefault(v, len(codes)) if v else -1 for v in map(str, found)]
        return np.append(np.array(own, np.int64), -1)[places]

    def _view(self) -> Columns:
        return Columns(*(getattr(self.columns, field.name)[: self.length] for field in fields(Columns)))

    def _make_room(self, more: int) -> None:
        if self.length + more > len(self.columns):
            room = 2 * self.length + more
            self.columns = Columns(*(_longer(getattr(self.columns, field.name), room) for field in fields(Columns)))
            self.ids, self.steps = _longer(self.ids, room), _longer(self.steps, room)

    def _build_few(self, first: int, end: int) -> np.ndarray:
        """Features of a few new transactions, from those rows alone that belong to their accounts and counterparties."""
        times = self.columns.time[first:end]
        earliest, latest = int(times.min()), int(times.max())
        wanted = [np.arange(first, end)]
        for role in ROLES:
            if role not in self._places:  # the index ends before the new ones, so that `cut` can take them back
                self._places[role] = _Places(getattr(self.columns, role)[:first])
            codes = getattr(self.columns, role)[first:end]
            wanted += [self._matter(rows, earliest, latest) for rows in self._rows_of(role, codes)]
        rows = _rising(wanted)
        part = Columns(*(getattr(self.columns, field.name)[rows] for field in fields(Columns)))
        part = replace(part, **{role: _compact(getattr(part, role), end - first) for role in ROLES})
        fresh = np.arange(len(rows) - (end - first), len(rows))
        matrix = features.build(part, self.layout, fresh, self.names)
        self.columns.outlying[first:end] = part.outlying[fresh]
        self.columns.ratio[first:end] = part.ratio[fresh]
        return matrix

    def _rows_of(self, role: str, codes: np.ndarray) -> list[np.ndarray]:
        """The rows of each of the entities."""
        codes_of_all = getattr(self.columns, role)[: self.length]
        if role not in self._places:
            self._places[role] = _Places(codes_of_all)
        places = self._places[role]
        places.take_in(codes_of_all)
        return [places.of(code) for code in set(codes.tolist()) - {-1}]

    def _matter(self, rows: np.ndarray, earliest: int, latest: int) -> np.ndarray:
        """Of a busy entity's rows those that can be among the `MOST` last, or last settled, ones, and all frauds."""
        if len(rows) <= 2 * MOST:
            return rows
        rows = rows[np.argsort(self.columns.time[rows], kind="stable")]
        times = self.columns.time[rows]
        parts = [rows[self.columns.known_at[rows] < NEVER]]
        for delay in (0, self.layout.delay):
            low, high = np.searchsorted(times, earliest - delay), np.searchsorted(times, latest - delay, side="right")
            parts.append(rows[max(0, low - MOST) : high])
        return np.concatenate(parts)


class _Places:
    """Which rows belong to an entity: an index over the rows there were, and lists of those that came since.

    Args:
        codes: [rows] entity of each row so far.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.order = np.argsort(codes, kind="stable")
        self.sorted = codes[self.order]
        self.since: dict[int, list[int]] = {}
        self.length = len(codes)

    def take_in(self, codes: np.ndarray) -> None:
        """`codes`: [rows] of all rows there are; those that were taken in before have not changed."""
        for row, code in enumerate(codes[self.length :].tolist(), self.length):
            self.since.setdefault(code, []).append(row)
        self.length = len(codes)

    def cut(self, codes: np.ndarray, length: int) -> None:
        """Forget the last rows, which have these codes; there are `length` left. Only rows that came since the index."""
        for code in codes.tolist():
            self.since[code].pop()
        self.length = length

    def of(self, code: int) -> np.ndarray:
        start, end = np.searchsorted(self.sorted, [code, code + 1])
        return np.concatenate([self.order[start:end], np.array(self.since.get(code, ()), np.int64)])


def _compact(codes: np.ndarray, new: int) -> np.ndarray:
    """Small codes of the entities that the last `new` rows have; -1 where there is none, -2 for all others."""
    asked = _rising([codes[-new:]])
    place = np.minimum(np.searchsorted(asked, codes), len(asked) - 1)
    shift = int(asked[0] < 0)  # the code -1, of none, keeps its number
    return np.where(asked[place] == codes, place - shift, -2)


def _rising(parts: list[np.ndarray]) -> np.ndarray:
    """The numbers that are in any of the parts, each once."""
    found = np.sort(np.concatenate(parts))
    return found[np.append(True, found[1:] != found[:-1])]


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    longer = np.zeros((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
