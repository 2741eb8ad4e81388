"""What the page asks of a run: its judged payments at other costs, and payments played again out of the model's memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from shared.evaluation.costs import Bill
from shared.serving.demo import Demo
from usecases.fraud_detection.answers import milliseconds
from usecases.fraud_detection.detector import Detector, costs_of
from usecases.fraud_detection.ledger import ROLES
from usecases.fraud_detection.stream import FraudStream
from usecases.fraud_detection.timeline import DAY, HOUR, NEVER, Columns

MINUTE = HOUR // 60
BEFORE = 60  # judged payments that are played before the first fraud
FAR = 12  # a thief pays so many times what is usual
NIGHT = 27 * HOUR + HOUR // 2  # half past three on the day after


class Desk:
    """A run's judged payments, and the model's memory, which holds them as they came.

    Attributes:
        core: the model.
        past: the memory's columns; `rows`: the row of each judged payment that it holds, by id.
        judged: predictions.parquet; `scores` and, where there are any, `labels` of it by id.
        days: how many it covers; `dates`: their names.
        first: the row from which payments are played: shortly before the first judged fraud.
        accounts, payees, values: names, those of most judged payments first; values by categorical input.
    """

    def __init__(self, demo: Demo) -> None:
        self.core: Detector = demo.predictor.detector
        self.labelled, self.simulated = self.core.source.labelled, demo.about["data"]["simulated"]
        self.categories = self.core.ledger.layout.categories
        ledger, self.lock = self.core.ledger, Lock()
        self.past = Columns(*(getattr(ledger.columns, field.name)[: len(ledger)] for field in fields(Columns)))
        self.names = {name: list(codes) for name, codes in ledger.codes.items()}
        self.ids = ledger.ids[: len(ledger)]
        self.judged = pd.read_parquet(demo.run / "predictions.parquet")
        wanted = set(self.judged["transaction"])
        self.rows = {name: row for row, name in enumerate(self.ids.tolist()) if name in wanted}
        self.judged["date"] = self.judged["time"].dt.strftime("%Y-%m-%d")
        self.days = max(1, math.ceil((self.judged["time"].max() - self.judged["time"].min()) / pd.Timedelta(days=1)))
        self.dates = sorted(self.judged["date"].unique())
        self.scores = dict(zip(self.judged["transaction"], self.judged["score"], strict=True))
        self.labels = dict(zip(self.judged["transaction"], self.judged["label"], strict=True)) if self.labelled else {}
        ordered = sorted(self.rows.values())
        fraud = next((place for place, row in enumerate(ordered) if self.label(self.ids[row])), 0)
        self.first = ordered[max(0, fraud - BEFORE)] if ordered else len(self.ids)
        columns = {"account": self.past.account, "counterparty": self.past.counterparty}
        columns |= {name: self.past.categories[:, place] for place, name in enumerate(self.categories)}
        self.values = {name: self._by_number(name, column) for name, column in columns.items()}
        self.accounts, self.payees = self.values["account"], self.values["counterparty"]

    def at(self, review: float, miss: float) -> Detector:
        """The model at other costs: of a review, and of a missed fraud beside its amount.

        The threshold moves in proportion to the cost of a review: what validation found is their ratio.
        """
        own = self.core.config
        costs = own.costs.model_copy(update={"alert": review, "loss_fixed": miss})
        rule = replace(self.core.rule, threshold=self.core.rule.threshold * review / own.costs.alert)
        return replace(self.core, config=own.model_copy(update={"costs": costs}), rule=rule)

    def at_risk(self, detector: Detector) -> np.ndarray:
        """[judged] what an alert is decided by."""
        scores = self.judged["score"].to_numpy()
        return scores * detector.costs.loss(self.judged["amount"].to_numpy()) if self.labelled else scores

    def bill(self, detector: Detector, charged: Detector) -> Bill:
        """What the alerts of a model cost, by the costs of `charged`."""
        alerts = self.at_risk(detector) >= detector.rule.threshold
        return charged.costs.bill(alerts, self.judged["label"].to_numpy(), self.judged["amount"].to_numpy())

    def curve(self, detector: Detector) -> np.ndarray:
        """[steps, 2] alerts a day, rising, and what they save, at all thresholds."""
        labels, amounts = self.judged["label"].to_numpy(), self.judged["amount"].to_numpy()
        curve = costs_of(detector.config).curve(self.at_risk(detector), labels, amounts).thinned()
        return np.column_stack([curve.alerts / self.days, curve.costs[0] - curve.costs])

    def queue(self, detector: Detector, date: str | None) -> pd.DataFrame:
        """The alerts of a day (None: of all) that are remembered, the most to lose first."""
        table = self.judged.assign(at_risk=self.at_risk(detector))
        table = table[(table["at_risk"] >= detector.rule.threshold) & ((table["date"] == date) | (date is None))]
        return table[[name in self.rows for name in table["transaction"]]].sort_values("at_risk", ascending=False, kind="stable")

    def label(self, transaction: str) -> int | None:
        return self.labels.get(transaction)

    def name(self, role: str, code: int) -> str:
        return self.names[role][code] if code >= 0 else ""

    def told(self, row: int) -> dict[str, str]:
        """What is remembered of a payment but its time and account."""
        values = [self.name(name, code) for name, code in zip(self.categories, self.past.categories[row].tolist(), strict=True)]
        return self.worded(int(self.past.cents[row]) / 100, self.name("counterparty", int(self.past.counterparty[row])), values)

    def worded(self, amount: float, payee: str, values: Iterable[str]) -> dict[str, str]:
        """The same of any payment; `values`: of the categorical inputs."""
        named = zip(self.categories, values, strict=True)
        paid = {"To": payee} if self.payees else {}
        return {"Amount": money(amount), **paid} | {name.capitalize(): value for name, value in named}

    def before(self, account: str, moment: int, span: int) -> np.ndarray:
        """Rows of an account's payments in the `span` ms before a moment."""
        rows = self._rows_of(account)
        return rows[(self.past.time[rows] < moment) & (self.past.time[rows] >= moment - span)]

    def replay(self, row: int, detector: Detector, options: Mapping[str, int]) -> dict[str, Any]:
        """The decision on a remembered payment, by what was known before it."""
        with self.lock:  # it sets how many threads there are, for all
            return FraudStream(detector, options).decide([self._record(row)])[0]

    def play(self, place: int, detector: Detector, count: int) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """From a row on, rows and decisions of judged payments, `count` at a time; what is not judged is taken in with them.

        Labels are taken in, too, and count from the time at which they became known.
        """
        stream, judged = FraudStream(detector, {"reasons": 1}), set(self.rows.values())
        ends = itertools.islice((row + 1 for row in range(place, len(self.ids)) if row in judged), count - 1, None, count)
        for end in ends:
            rows = list(range(place, end))
            with self.lock:
                decisions = stream.decide([self._record(row) for row in rows])
            for row in rows:
                if self.past.known_at[row] < NEVER and stream.ledger:
                    stream.ledger.learn(self.ids[row], True, int(self.past.known_at[row]))
            yield [(row, one) for row, one in zip(rows, decisions, strict=True) if row in judged]
            place = end

    def usual(self, account: str) -> list[Any]:
        """A payment as the account makes them: account, amount, time, counterparty, categorical inputs."""
        mine = self._rows_of(account)
        newest = int(self.past.time.max(initial=0)) + MINUTE
        if not len(mine):
            return [account, 20.0, _iso(newest)[:19], "", *("" for _ in self.categories)]
        last, amount = mine[-1], float(np.median(self.past.cents[mine])) / 100
        names = [self.name(name, code) for name, code in zip(self.categories, self.past.categories[last], strict=True)]
        return [account, round(amount, 2), _iso(newest)[:19], self.name("counterparty", self.past.counterparty[last]), *names]

    def unusual(self, account: str) -> list[Any]:
        """A far larger one at night, with everything as it never was in the account's memory."""
        mine, (_, amount, _, payee, *names) = self._rows_of(account), self.usual(account)
        night = int(self.past.time.max(initial=0)) // DAY * DAY + NIGHT
        for place, name in enumerate(self.categories):
            names[place] = self._other(name, self.past.categories[mine, place], names[place])
        payee = self._other("counterparty", self.past.counterparty[mine], payee)
        return [account, round(FAR * amount, 2), _iso(night)[:19], payee, *names]

    def request(self, given: Sequence[Any]) -> dict[str, Any]:
        """What `usual` gives, perhaps changed, as a request."""
        account, amount, time, payee, *values = given
        extra = dict(zip(self.categories, values, strict=True))
        return {
            "transaction": "yours",
            "time": time,
            "amount": amount,
            "account": account,
            "counterparty": payee,
            "extra": extra,
        }

    def moment(self, time: str) -> int:
        return milliseconds(time, self.core.source.time_unit)

    def _record(self, row: int) -> dict[str, Any]:
        """A remembered payment as a stream takes it."""
        past, named = self.past, self.core.source.mapping
        given = {"transaction": self.ids[row], "time": _iso(int(past.time[row])), "amount": int(past.cents[row]) / 100}
        given |= {role: self.name(role, int(getattr(past, role)[row])) for role in ROLES}
        columns = {role: role if "|" in named.get(role, "|") else named[role] for role in given}
        categories = zip(self.categories, past.categories[row].tolist(), strict=True)
        return {columns[role]: value for role, value in given.items()} | {
            name: self.name(name, code) for name, code in categories
        }

    def _rows_of(self, account: str) -> np.ndarray:
        code = self.core.ledger.codes["account"].get(account, -1) if account else -1
        return np.flatnonzero((self.past.account == code) & (code >= 0))

    def _by_number(self, name: str, column: np.ndarray) -> list[str]:
        judged = column[sorted(self.rows.values())]
        counts = np.bincount(judged[judged >= 0], minlength=len(self.names[name]))
        return [self.names[name][code] for code in np.argsort(-counts, kind="stable")]

    def _other(self, name: str, used: np.ndarray, otherwise: str) -> str:
        known = {self.name(name, code) for code in used.tolist()}
        return next((value for value in self.values[name] if value not in known), otherwise)


def money(amount: float) -> str:
    return f"{amount:,.2f}"


def when(moment: int | str) -> str:
    """A time, in ms or ISO 8601, as it is shown: without its year, and in one line."""
    return f"{pd.to_datetime(moment, unit=None if isinstance(moment, str) else 'ms'):%d %b %H:%M}".replace(" ", "\xa0")


def _iso(moment: int) -> str:
    return str(np.datetime64(moment, "ms"))
