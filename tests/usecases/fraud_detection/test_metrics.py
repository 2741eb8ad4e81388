from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from usecases.fraud_detection.metrics import card_precision_at_k


def by_hand(frame: pd.DataFrame, k: int) -> list[float]:
    """The definition, word by word and slowly."""
    caught: set[int] = set()
    precision = []
    for _, today in frame.groupby("day"):
        accounts = []
        for account, own in today.groupby("account"):
            if account not in caught:
                accounts.append((-own["score"].max(), account, own["label"].max()))
        checked = sorted(accounts)[:k]
        found = {account for _, account, fraud in checked if fraud}
        caught |= found
        precision.append(len(found) / k)
    return precision


@pytest.mark.parametrize("k", [1, 5, 20, 500])
@pytest.mark.parametrize("decimals", [1, 9])
def test_card_precision_is_what_the_definition_says(k: int, decimals: int) -> None:
    rng = np.random.default_rng(k)
    n = 3000
    frame = pd.DataFrame({
        "day": rng.choice([3, 4, 5, 9, 12, 17], n),
        "account": rng.integers(0, 150, n) * 1_000_003,  # codes need not be dense
        "label": (rng.random(n) < 0.05).astype(int),
    })  # fmt: skip
    frame["score"] = np.round(rng.random(n) + 0.5 * frame["label"], decimals)
    days, accounts, labels, scores = (frame[name].to_numpy() for name in frame)
    ours = card_precision_at_k(days, accounts, scores, labels, k)
    assert ours.tolist() == by_hand(frame, k)


def test_card_precision_worked_by_hand() -> None:
    table = [
        # day, account, score, label
        (1, 10, 0.9, 0), (1, 10, 0.2, 1),  # its highest score is of a genuine one, but it was compromised that day: caught
        (1, 11, 0.8, 0),
        (1, 12, 0.7, 1),                   # compromised, third of two: not caught
        (2, 10, 0.99, 1),                  # caught the day before: blocked, so the others move up
        (2, 11, 0.1, 0), (2, 12, 0.6, 1), (2, 13, 0.5, 1),
        (4, 12, 0.9, 1), (4, 13, 0.8, 1),  # both caught before: none is left to check
        (5, 14, 0.3, 1),                   # one account: still divided by two
    ]  # fmt: skip
    days, accounts, scores, labels = np.array(table[::-1]).T
    precision = card_precision_at_k(days.astype(int), accounts.astype(int), scores, labels, k=2)
    assert precision.tolist() == [0.5, 1.0, 0.0, 0.5]
