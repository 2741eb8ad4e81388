"""Fraud-specific metrics."""

from __future__ import annotations

import numpy as np


def card_precision_at_k(
    days: np.ndarray, accounts: np.ndarray, scores: np.ndarray, labels: np.ndarray, k: int = 100
) -> np.ndarray:
    """[days] share of the k accounts that are checked each day which truly had fraud on it; the metric is its mean.

    As in the Fraud Detection Handbook (Le Borgne et al. 2022, chapter 4.4): an account's score is its highest of the day; an
    account that was caught is blocked, so it is left out from the next day on and others move up; a day with fewer than k
    accounts is divided by k all the same. Hence the best value is below 1: score by the labels to know it. Of accounts with
    equal scores the one with the lower code is checked first.

    Args:
        days: [rows] day of each transaction, as an integer; days without any are no days.
        accounts: [rows] account of each, as an integer code.
        scores: [rows], higher is more suspicious.
        labels: [rows] of 0 and 1.
        k: accounts that can be checked in a day.
    """
    _, day = np.unique(days, return_inverse=True)
    names, account = np.unique(accounts, return_inverse=True)
    pairs, pair = np.unique(day * len(names) + account, return_inverse=True)  # an account on a day
    highest = np.full(len(pairs), -np.inf)
    np.maximum.at(highest, pair, scores)
    compromised = np.bincount(pair, weights=labels) > 0
    day, account = np.divmod(pairs, len(names))
    order = np.lexsort((account, -highest, day))
    account, compromised = account[order], compromised[order]
    ends = np.cumsum(np.bincount(day))
    blocked = np.zeros(len(names), dtype=bool)
    precision = np.empty(len(ends))
    for place, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        checked = start + np.flatnonzero(~blocked[account[start:end]])[:k]
        caught = checked[compromised[checked]]
        blocked[account[caught]] = True
        precision[place] = len(caught) / k
    return precision
