"""Why a transaction is suspicious: the ideas behind the inputs that raise its score most, in words.

Inputs that say much the same belong to one idea. An idea's contribution is the fall of the model's logit when all of its
inputs are replaced by typical ones: occlusion (Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks",
section 4.2) of groups of inputs, which works for any model. As any leave-one-out, it misses an idea that another one says too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from usecases.fraud_detection.by_account import OUTLYING
from usecases.fraud_detection.inputs import Inputs, Rows
from usecases.fraud_detection.timeline import DAY, HOUR, MEMORY, MOST, RECENT

BLOCK = 1_024  # rows explained at once, which bounds the memory
LEAST = 0.05  # of the logit: what moves the odds by less than 5% is no reason
NOTABLE = 1.0  # deviance from which on a count stands out
ALIKE = 0.05  # of an amount: so near is another one that is about the same
RARE = 0.1  # expected of what usually does not happen, and of fraud among the last transactions: 2 of 3 say more than 1 of 1
LOGGED = re.compile("amount|usual_amount|account_transactions|account_spent_.*|hours_since_.*")  # log2(value + 1)
UNITS = {"h": "hour", "d": "day"}
REMEMBERED = f"{MEMORY // DAY} days"
PAST = "earlier payments of the account"


@dataclass(frozen=True)
class Reason:
    """Attributes:
    text: for an analyst.
    idea: the group of inputs.
    contribution: how much of the logit goes away without it.
    """

    text: str
    idea: str
    contribution: float


@dataclass(frozen=True)
class Typical:
    """Values that a legitimate transaction usually has: the median, and of a categorical input the most frequent value.

    Attributes:
        x: [inputs] float32.
        step: [steps] float16, of the newest step of a history.
    """

    x: np.ndarray
    step: np.ndarray

    @classmethod
    def learn(cls, rows: Rows, labels: np.ndarray, inputs: Inputs) -> Self:
        """Look at the training rows whose label [rows] is not 1."""
        legitimate = rows.take(np.flatnonzero(labels != 1))
        x = np.median(legitimate.x, axis=0)
        first = len(inputs.names) - sum(map(len, inputs.categories.values()))
        for values in inputs.categories.values():
            end = first + len(values)
            shares = legitimate.x[:, first:end].mean(0)
            shares = np.append(shares, 1 - shares.sum())  # the last: of the rare values
            x[first:end] = np.arange(len(values)) == np.argmax(shares)
            first = end
        return cls(x, np.median(legitimate.history[:, -1, :-1], axis=0))

    def arrays(self) -> dict[str, np.ndarray]:
        """From which `Typical(**arrays)` makes an equal one."""
        return dict(vars(self))


@dataclass(frozen=True)
class Idea:
    """Inputs that say much the same: their places in `Rows.x`, and in the newest step of `Rows.history`."""

    name: str
    columns: np.ndarray
    steps: np.ndarray


def ideas(inputs: Inputs, steps: Sequence[str]) -> list[Idea]:
    """Every input belongs to one idea; the last idea is the account's past as a sequence model sees it.

    Args:
        steps: names of the features of a step.
    """
    own = [*inputs.medians, *inputs.gappy, *(name for name, values in inputs.categories.items() for _ in values)]
    of_inputs = np.array([*(_topic(name, inputs) for name in inputs.built), *own])
    of_steps = np.array([_topic(name, inputs) for name in steps])
    found = dict.fromkeys(of_inputs.tolist())
    return [Idea(name, *(np.flatnonzero(topics == name) for topics in (of_inputs, of_steps))) for name in (*found, PAST)]


def _topic(name: str, inputs: Inputs) -> str:
    """The idea of a built feature."""
    if (category := name.removeprefix("new_")) != name and category in inputs.categories:
        return category
    return next((topic for topic, (pattern, _) in TOPICS.items() if re.fullmatch(pattern, name)), name)


def contributions(logits: Callable[[Rows], np.ndarray], rows: Rows, groups: Sequence[Idea], typical: Typical) -> np.ndarray:
    """How much each row's logit falls when an idea becomes typical: [rows, ideas]."""
    x = np.repeat(rows.x[None], len(groups) + 1, axis=0)  # the first as they are
    history = np.repeat(rows.history[None], len(groups) + 1, axis=0)
    for place, idea in enumerate(groups, 1):
        x[place][:, idea.columns] = typical.x[idea.columns]
        history[place][:, -1, idea.steps] = typical.step[idea.steps]
        if idea.name == PAST:
            history[place][:, :-1] = 0
    found = logits(Rows(x.reshape(-1, x.shape[2]), history.reshape(-1, *history.shape[2:]))).reshape(len(groups) + 1, len(rows))
    return (found[0] - found[1:]).T


def explain(
    logits: Callable[[Rows], np.ndarray],
    rows: Rows,
    inputs: Inputs,
    groups: Sequence[Idea],
    typical: Typical,
    records: Sequence[Mapping[str, Any]],
    k: int = 3,
    payee: str = "counterparty",
) -> list[list[Reason]]:
    """For each row at most k reasons that raise its score, the strongest first.

    Args:
        logits: of rows, such as a `Blend`; called once for every `BLOCK` rows.
        groups: what `ideas` gives.
        records: of each row the amount and the data's own inputs by column; what is missing is left out of the words.
        payee: what the data calls its counterparties, such as "terminal".
    """
    usual = _natural(inputs, typical.x)
    explained = []
    blocks = (np.arange(start, min(start + BLOCK, len(rows))) for start in range(0, max(len(rows), 1), BLOCK))
    table = np.concatenate([contributions(logits, rows.take(block), groups, typical) for block in blocks])
    for row, falls in enumerate(table):
        best = [int(place) for place in np.argsort(-falls, kind="stable")[:k] if falls[place] >= LEAST]
        case = Case(_natural(inputs, rows.x[row]), usual, records[row], inputs, int(rows.history[row, :-1, -1].sum()), payee)
        explained.append([Reason(case.words(groups[i]), groups[i].name, round(float(falls[i]), 3)) for i in best])
    return explained


def _natural(inputs: Inputs, x: np.ndarray) -> dict[str, float]:
    """Inputs by name, with logarithms undone."""
    found = dict(zip(inputs.names, map(float, x), strict=True))
    return found | {name: 2 ** found[name] - 1 for name in inputs.built if LOGGED.fullmatch(name)}


def _expected(_: str, usual: int) -> float:
    return max(usual, RARE)


@dataclass(frozen=True)
class Case:
    """A transaction that is to be put in words.

    Attributes:
        now, usual: inputs by name, the transaction's and typical ones.
        record: the amount, and the data's own inputs by column.
        earlier: how many earlier steps there are in the history.
    """

    now: Mapping[str, float]
    usual: Mapping[str, float]
    record: Mapping[str, Any]
    inputs: Inputs
    earlier: int
    payee: str

    def words(self, idea: Idea) -> str:
        """What is unusual; where nothing better is known to say, the input of the idea that is furthest from typical."""
        text: str | None = None
        if idea.name in TOPICS:
            text = TOPICS[idea.name][1](self)
        elif idea.name in self.inputs.medians:
            text = _own_number(self, idea.name)
        elif idea.name in self.inputs.categories:
            text = _category(self, idea.name)
        if text is None:
            names = [self.inputs.names[place] for place in idea.columns]
            name = max(names, key=lambda name: abs(math.asinh(self.now[name]) - math.asinh(self.usual[name])))
            text = f"{name.replace('_', ' ')} = {_number(self.now[name])}, usually {_number(self.usual[name])}"
        return text

    def most(
        self, features: str, expected: Callable[[str, int], float] = _expected, more: int = 0
    ) -> tuple[int, str, int] | None:
        """Of counts over several windows the one that stands out most: its count, the window, and what is usual.

        It is the one with the largest deviance from what is expected, as a Poisson variable; None if none stands out.

        Args:
            features: pattern of names, with the window as its group.
            expected: from the window and the typical count, above zero.
            more: added to counts.
        """
        found = []
        for name in self.inputs.built:
            if match := re.fullmatch(features, name):
                count, usual = round(self.now[name]) + more, round(self.usual[name]) + more
                mean = expected(match[1], usual)
                if count > mean and (deviance := 2 * (count * math.log(count / mean) - count + mean)) >= NOTABLE:
                    found.append((deviance, count, match[1], usual))
        return max(found, key=lambda entry: entry[0])[1:] if found else None


def _amount(case: Case) -> str | None:
    amount = float(case.record.get("amount", case.now.get("amount", np.nan)))
    paid = case.now.get("usual_amount", 0.0)
    ratio = case.now.get("amount_over_counterparty", 1.0)  # exactly 1: it got nothing before
    got = amount / ratio - 1 if 0 < ratio != 1 else 0.0
    for who, usual in (("account usually pays", paid), (f"{case.payee} usually gets", got)):
        if usual >= 0.01 and not 0.9 < amount / usual < 1.1:
            return f"{amount:,.2f} is {_times(amount / usual)} what this {who} ({usual:,.2f})"
    return f"{amount:,.2f}, where {case.usual['amount']:,.2f} is typical" if "amount" in case.usual else None


def _activity(case: Case) -> str | None:
    if found := case.most(r"account_count_(\w+)", more=1):
        count, window, usual = found
        return f"{_count(count, 'payment')} in {_window(window)}, usually {usual:,}"
    hours = case.now.get("hours_since_last")
    if hours is None:
        return None
    if hours * HOUR >= MEMORY - HOUR:
        return f"first payment of this account in {REMEMBERED}"
    return f"{_duration(hours)} after the account's previous payment, usually {_duration(case.usual['hours_since_last'])}"


def _large(case: Case) -> str | None:
    if found := case.most(r"account_large_(\w+)"):
        count, window, _ = found
        largest = case.now.get(f"account_largest_{window}", 0.0)
        size = f" ({'up to ' if count > 1 else ''}{_times(largest)} its usual amount)" if largest > OUTLYING else ""
        verb = "were" if count > 1 else "was"
        return f"{_count(count, 'earlier payment')} in {_window(window)} {verb} large for this account{size}"
    since = "hours_since_large"
    if since not in case.now:
        return None
    ago, usual = _duration(case.now[since]), _duration(case.usual[since])
    return f"{ago} since a payment that was large for this account, usually {usual}"


def _account_frauds(case: Case) -> str | None:
    found = case.most(r"account_frauds_(\w+)")
    return f"{_count(found[0], 'fraud')} of this account became known in the last {_window(found[1])}" if found else None


def _new_counterparty(case: Case) -> str | None:
    if not case.record.get("counterparty", True):
        return f"the {case.payee} is not known"
    if (apart := case.now.get("nearest_repeat", 1.0)) < min(ALIKE, case.usual.get("nearest_repeat", 1.0)):
        return f"the account paid {'about ' if apart > 0.005 else ''}the same amount at this {case.payee} before"
    return _novelty(case, "new_counterparty", f"at this {case.payee}")


def _counterparty_activity(case: Case) -> str | None:
    if found := case.most(r"counterparty_count_(\w+)", more=1):
        count, window, usual = found
        return f"{_count(count, 'payment')} at this {case.payee} in {_window(window)}, usually {usual:,}"
    if found := case.most(r"counterparty_large_(\w+)"):
        count, window, _ = found
        return f"{_count(count, 'earlier payment')} at this {case.payee} in {_window(window)} far above the payer's usual amount"
    day = "counterparty_count_1d"
    if day not in case.now:
        return None
    count, usual = round(case.now[day]) + 1, round(case.usual[day]) + 1
    return f"{_count(count, 'payment')} at this {case.payee} in 1 day, usually {usual:,}"


def _counterparty_frauds(case: Case) -> str | None:
    last = case.most(r"((?:frauds|unexplained)_last_\d+)", lambda name, _: RARE * int(name.rpartition("_")[2]))
    count, feature = last[:2] if last else (0, "")
    if (run := round(case.now.get("fraud_run", 0))) > count:
        count, feature = run, f"frauds_last_{run}"
    if count:
        of = int(feature.rpartition("_")[2])
        which = f"the last {_count(of, 'settled payment') if of > 1 else 'settled payment'} at this {case.payee}"
        part, kind = (f"{count} of ", " of ordinary amounts" * feature.startswith("unexplained")) if count < of else ("", "")
        return f"{part}{which} {'were' if count > 1 else 'was'} fraud{kind}"
    if found := case.most(r"(?:frauds|unexplained)_(\d+[hd])"):
        return f"{_count(found[0], 'fraud')} at this {case.payee} became known in the last {_window(found[1])}"
    since = "days_since_settled"
    if since not in case.now or (ago := _duration(24 * case.now[since])) == (usual := _duration(24 * case.usual[since])):
        return None
    return f"{ago} since the last settled payment at this {case.payee}, usually {usual}"


def _time(case: Case) -> str:
    hour, minute = divmod(round(case.now["hour"] * 60) % 1440, 60)
    return f"made at {hour:02d}:{minute:02d}"


def _past(case: Case) -> str:
    return f"how the account's last {f'{case.earlier} payments' if case.earlier > 1 else 'payment'} went"


# The idea of built features by patterns of their names, and its words.
TOPICS: dict[str, tuple[str, Callable[[Case], str | None]]] = {
    "amount": (r"amount|amount_\w+|usual_\w+", _amount),
    "earlier large payments": (r"account_(very_)?large(st)?_\w+|hours_since_large", _large),
    "frauds of the account": (r"account_frauds_\w+|days_since_account_fraud", _account_frauds),
    "activity of the account": (r"account_(count|spent)_\w+|account_transactions|hours_since_last", _activity),
    "new counterparty": ("new_counterparty|nearest_repeat", _new_counterparty),
    "activity of the counterparty": (r"counterparty_\w+", _counterparty_activity),
    "fraud at the counterparty": (
        r"(frauds?|unexplained|legitimate_since|days_since)_\w+|last_fraud_ratio",
        _counterparty_frauds,
    ),
    "time of day": ("hour", _time),
    PAST: (r"(?!)", _past),  # no input
}


def _own_number(case: Case, name: str) -> str:
    given = case.record.get(name, case.now[name])
    if given is None or math.isnan(given):
        return f"{name} is missing"
    return f"{name} = {_number(given)}, usually {_number(case.usual[name])}"


def _category(case: Case, name: str) -> str | None:
    frequent = case.inputs.categories[name]
    value = case.record.get(name) or next((v for v in frequent if case.now[f"{name} = {v}"]), "")
    if not value:
        return f"{name} is missing" if name in case.record else None
    usual = next((v for v in frequent if case.usual[f"{name} = {v}"]), value)
    new = case.now.get(f"new_{name}")
    if frequent and value not in frequent and new != 1:
        return f"{name} = {value}, rare"
    if new is not None and (new > 0.5 or value == usual):
        return _novelty(case, f"new_{name}", f"with {name} {value}")
    return f"{name} = {value}" + (f", usually {usual}" if usual != value else "")


def _novelty(case: Case, feature: str, what: str) -> str:
    """Words for the share of the account's recent payments that are unlike this one."""
    new = case.now[feature]
    looked_at = min(round(case.now.get("account_transactions", RECENT)), RECENT)
    if looked_at == 0:
        return f"first payment of this account in {REMEMBERED}"
    if new == 1:
        return f"first payment {what} among the account's last {looked_at + 1}"
    same = max(1, round((1 - new) * looked_at))
    only = "only " if new > case.usual[feature] else ""
    return f"{only}{same} of the account's last {looked_at} payments {'was' if same == 1 else 'were'} {what}"


def _count(n: int, what: str) -> str:
    number = f"over {MOST:,}" if n > MOST else f"{n:,}"  # the features count no further
    return f"{number if n else 'no'} {what}{'' if n == 1 else 's'}"


def _window(name: str) -> str:
    """'7d' as '7 days'."""
    match = re.fullmatch(r"(\d+)([hd])", name)
    return _count(int(match[1]), UNITS[match[2]]) if match else name


def _duration(hours: float) -> str:
    if hours >= 47.5:
        return _count(round(hours / 24), "day")
    return _count(round(hours), "hour") if hours >= 1.5 else _count(max(1, round(hours * 60)), "minute")


def _times(ratio: float) -> str:
    if ratio < 1:
        return f"{ratio:.0%} of" if ratio >= 0.01 else "less than 1% of"
    return f"{ratio:,.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"
