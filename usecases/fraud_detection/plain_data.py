"""Rows that stand for themselves, such as customers with a label: their ids, what they are called, and how rare findings are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shared.data import cleaning, sources
from shared.data.cleaning import Faults
from shared.data.columns import normal
from usecases.fraud_detection import config
from usecases.fraud_detection.checks import ENOUGH_ROWS, NEARLY_UNIQUE
from usecases.fraud_detection.formats import Raw
from usecases.fraud_detection.labels import ASK, PAYMENTS, Words, meaning

if TYPE_CHECKING:
    from usecases.fraud_detection.data import Source

# What is looked for, by the name of the label.
FINDINGS = {"churn": "churn", "attrition": "churn", "exited": "churn", "default": "default", "fraud": "fraud"}
ID = re.compile(r"(?:^|[\W_])(?i:id)$|[a-z0-9]I[dD]$")  # as a word by itself, which that of bid and amount_paid is not
SLIPS = 100  # rows, of which one may have no number, or another's
FEWEST = 20  # findings, and others: of fewer nothing can be said


def words(table: pd.DataFrame, mapping: Mapping[str, str], settings: config.FraudConfig) -> Words:
    """What rows and findings are called; payments are called payments."""
    if "time" in mapping:
        return PAYMENTS
    asked, label, positive = settings.words, mapping["label"], settings.data.positive
    kinds = [str(kind) for kind in table[label].dropna().unique()[:FEWEST]]
    meant = meaning([kind.strip().lower() for kind in kinds], positive)
    found = [kind for kind in kinds if meant.get(kind.strip().lower())]
    if positive is None and len(found) == 1:
        positive = found[0]
    return Words(asked.record or "record", asked.finding or finding(label, positive))


def finding(label: str, positive: object = None) -> str:
    """The noun that a label's name holds, or else its name, with the value that is to be found where that is given."""
    noun = next((noun for part, noun in FINDINGS.items() if part in normal(label)), None)
    return noun or (label if positive is None else f"{label} = {positive}")


def role(name: str, timed: bool) -> str:
    """What a role is called in messages."""
    return "id" if name == "transaction" and not timed else name


def identified(raw: Raw, named: Words, faults: Faults, excluded: Collection[str] = ()) -> Raw:
    """With a column of ids as the rows' id, not as an input, nor as an account that never comes again."""
    table, mapping = raw.table, dict(raw.mapping)
    if "account" in mapping and "transaction" not in mapping and table[mapping["account"]].nunique() > NEARLY_UNIQUE * len(table):
        mapping["transaction"] = mapping.pop("account")
    others = [name for name in table.columns if name not in mapping.values() and name not in excluded]
    ids = [str(name) for name in others if counts_rows(table[name])]
    if "transaction" not in mapping and (single := [name for name in ids if table[name].nunique() == len(table)]):
        mapping["transaction"] = single[0]
    if ids:
        what = f"{', '.join(ids)} only number{'s' if len(ids) == 1 else ''} the {named.records}"
        faults.add("info", what, "They are ids, no inputs; to use one all the same, name it in data.categorical")
    table = table.drop(columns=[name for name in ids if name != mapping.get("transaction")])
    return replace(raw, table=table, mapping=mapping)


def counts_rows(values: pd.Series) -> bool:
    """Whether they number the rows: whole, none missing or twice, and without gaps or under a name of ids.

    Of `ENOUGH_ROWS` rows or more, one in `SLIPS` (but at least one) may be missing, or there twice.
    """
    numbers = cleaning.numbers(values)
    few = max(1, len(values) // SLIPS) if len(values) >= ENOUGH_ROWS else 0
    slips = len(numbers) - numbers.nunique()
    if len(values) < 2 or slips > few or (numbers.dropna() % 1 != 0).any():
        return False
    name = normal(str(values.name))
    named = name in ("", "index", "rownames", "row", "rownumber") or name.startswith("unnamed")
    return named or bool(ID.search(str(values.name))) or bool(abs(numbers.max() - numbers.min() + 1 - len(numbers)) <= few)


def label_rate(frame: pd.DataFrame, named: Words, faults: Faults, spelled: tuple[str, str]) -> None:
    """Without both labels, enough of each, nothing can be learnt here: unlike payments, rows are not searched for the unusual."""
    known, found = int(frame["label"].notna().sum()), int(frame["label"].sum())
    if min(found, known - found) < FEWEST:
        what = (
            f"{found:,} of {known:,} labelled {named.records} have {named.finding}; {FEWEST} with and {FEWEST} without are needed"
        )
        fix = f"Give more, or check data.columns.label. {ASK}… where it is not {spelled[0]}"
        faults.add("error", what, fix, column="label", count=max(1, known))
    elif found > known / 2:
        what = f"{found / known:.0%} of the labels say {named.finding}"
        fix = f"Are {spelled[0]} and {spelled[1]} swapped? {ASK}{spelled[1]}"
        faults.add("warning", what, fix, frame.index[frame["label"] == 1], column="label")


def describe(name: str, frame: pd.DataFrame, named: Words) -> dict[str, Any]:
    """For metrics.json and the model card."""
    return {
        "name": name,
        "simulated": False,
        "fingerprint": sources.fingerprint(frame),
        named.records: len(frame),
        "groups": int(frame["account"].nunique()) if "account" in frame else None,
        f"with {named.finding}": int(frame["label"].sum()),
    }


def hashes(frame: pd.DataFrame, source: Source) -> np.ndarray:
    """[rows] int64 of what a row says (and its id, where the data has ids), by which one that was trained on is known again."""
    shown = frame[[*source.numeric, *source.categorical, *(["transaction"] if "transaction" in source.mapping else [])]]
    shown = shown.astype({name: "object" for name in shown if name not in source.numeric})
    return pd.util.hash_pandas_object(shown, index=False).to_numpy().view(np.int64)
