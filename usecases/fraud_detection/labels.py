"""Labels as they are written, from 1 and 0 to words, and what a table's rows and findings are called."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shared.data import cleaning
from shared.data.cleaning import Faults
from shared.data.columns import normal

MEANING = dict.fromkeys(("1", "1.0", "true", "t", "yes", "y", "fraud", "fraudulent"), 1.0) | dict.fromkeys(
    ("0", "0.0", "false", "f", "no", "n", "legit", "legitimate", "genuine"), 0.0
)
# Words that say by themselves which of two values is to be found, whatever the other one is.
FOUND = (
    "churn",
    "churned",
    "attrited",
    "exited",
    "left",
    "default",
    "defaulted",
    "chargedoff",
    "bad",
    "fraud",
    "yes",
    "positive",
)
ASK = "Say which value is to be found: data.positive="


@dataclass(frozen=True)
class Words:
    """What a row and a finding are called, for messages, reports and pages."""

    record: str = "transaction"
    finding: str = "fraud"

    @property
    def records(self) -> str:
        return self.record + ("es" if self.record.endswith(("s", "x", "ch")) else "s")


PAYMENTS = Words()


def read(given: pd.Series, positive: bool | int | float | str | None, faults: Faults, named: Words = PAYMENTS) -> np.ndarray:
    """[rows] 1 finding, 0 not, NaN unknown. An unreadable label is no reason to forget the row.

    Args:
        positive: as data.positive.
    """
    codes, kinds = pd.factorize(given.astype("str").where(given.notna()) if given.dtype == "object" else given)
    words = [str(kind).strip().lower() for kind in kinds]
    known = meaning(words, positive)
    meant = np.array([*(known.get(word, np.nan) for word in words), np.nan])  # the last is for missing values: code -1
    odd = np.array([*(bool(word) and word not in known for word in words), False])[codes]
    yes, no = spelled(given, positive)
    fix = f"Write {yes} for {named.finding}, {no} for not, nothing for not known"
    if len(set(words) - {""}) == 2 and odd.any():
        fix = f"{ASK}{next(kind for kind, word in zip(kinds, words, strict=True) if word)}, or of the other"
    faults.report(given.to_frame(), odd, f"a label that is neither {yes} nor {no}", fix, "they count as not known")
    if odd.sum() > (codes >= 0).sum() / 2:
        what, fix = f"most values of '{given.name}' are no labels", f"{fix}; or set data.columns.label to another column"
        faults.add("error", what, fix, given.index[odd], list(dict.fromkeys(given[odd]))[:2], column=str(given.name))
    return meant[codes]


def spelled(given: pd.Series | None, positive: bool | int | float | str | None) -> tuple[str, str]:
    """How a column mostly writes a finding, and that there is none; 1 and 0 where it does not have both."""
    if given is None:
        return "1", "0"
    kinds = [str(kind) for kind in cleaning.tidy_ids(pd.Series(given.value_counts().index))]
    meant = meaning([kind.lower() for kind in kinds], positive)
    senses = {meant[kind.lower()]: kind for kind in reversed(kinds) if kind.lower() in meant}
    return (senses[1.0], senses[0.0]) if len(senses) == 2 else ("1", "0")


def meaning(words: Collection[str], positive: bool | int | float | str | None) -> dict[str, float]:
    """What each of a label's values means, as far as it can be told.

    Args:
        words: in small letters.
        positive: the one to be found, as data.positive; YAML makes true of a Yes, which then stands for all that mean it.
    """
    kinds = set(words) - {""}
    if isinstance(positive, bool):
        return {word: float(MEANING[word] == positive) for word in kinds if word in MEANING}
    if positive is not None:
        wanted = cleaning.tidy_ids(pd.Series([str(positive)])).iloc[0].lower()
        alike = {word for word in kinds if wanted in (word, word.removesuffix(".0"))}
        return {word: float(word in alike) for word in kinds} if alike else {}
    known = {word: MEANING[word] for word in kinds if word in MEANING}
    found = {word for word in kinds if normal(word) in FOUND}
    if len(kinds) == 2 and len(found) == 1 and len(known) < 2:
        return {word: float(word in found) for word in kinds}
    return known
