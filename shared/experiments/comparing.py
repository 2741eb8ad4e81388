"""Runs of one use case side by side: what differs in their metrics, how sure that is, and in which settings they differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from shared.errors import UserError
from shared.evaluation.intervals import Interval, bootstrap_groups
from shared.files import read_json
from shared.usecase import JudgedRows

RESAMPLES = 1000
CLOSE = 1e-3  # how far a metric from the predictions may lie from that of metrics.json, which is of unrounded scores
NOT_SET = "not set"

Judge = Callable[[Path], JudgedRows]


@dataclass(frozen=True)
class Compared:
    """One of the runs.

    Attributes:
        label: what to call it: its folder's name, or the part of the path that tells it from the others.
        metrics: its metrics.json.
        settings: its configuration, dotted key to value.
        rows: what it was judged on; None: its predictions do not tell, for the reason `why_not`.
    """

    folder: Path
    label: str
    metrics: dict[str, Any]
    settings: dict[str, Any]
    rows: JudgedRows | None
    why_not: str = ""


def read(folders: Sequence[Path], judge: Judge | None) -> list[Compared]:
    """The runs in these folders.

    Raises:
        UserError: a folder is given twice, or the runs have different headline metrics.
    """
    if again := [str(folder) for folder, times in Counter(folders).items() if times > 1]:
        raise UserError(f"{again[0]} is given twice. Give different runs.")
    runs = [_read(folder, label, judge) for folder, label in zip(folders, _labels(folders), strict=True)]
    headlines = {run.label: run.metrics["headline"] for run in runs}
    if len(set(headlines.values())) > 1:
        told = ", ".join(f"{label} by {metric}" for label, metric in headlines.items())
        raise UserError(f"These runs are not judged by the same metric: {told}. Compare runs that are.")
    return runs


def _read(folder: Path, label: str, judge: Judge | None) -> Compared:
    metrics = read_json(folder / "metrics.json")
    settings = flat(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    if judge is None:
        return Compared(folder, label, metrics, settings, None, "this use case's predictions hold no row for each that is judged")
    try:
        return Compared(folder, label, metrics, settings, judge(folder))
    except (UserError, OSError, KeyError) as error:  # an older run's predictions may lack what is asked for
        why = str(error) if isinstance(error, UserError) else f"its predictions tell not enough ({error!r})"
        return Compared(folder, label, metrics, settings, None, why)


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart, without what these have in common."""
    parts = [folder.parts for folder in folders]
    last = next(n for n in range(1, max(map(len, parts)) + 1) if len({own[-n:] for own in parts}) == len(parts))
    ends = [own[-last:] for own in parts]
    while all(len(end) > 1 for end in ends) and len({end[-1] for end in ends}) == 1:
        ends = [end[:-1] for end in ends]
    return [str(Path(*end)) for end in ends]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones; lists are values."""
    made: dict[str, Any] = {}
    for key, own in value.items():
        made |= flat(own, f"{prefix}{key}.") if isinstance(own, dict) and own else {f"{prefix}{key}": own}
    return made


def compare(runs: Sequence[Compared]) -> dict[str, Any]:
    """All that is to be told, as JSON: of each run, and of each the differences to the first."""
    first, *others = runs
    told = {run.label: _against(first, run) for run in others}
    headline = first.metrics["headline"]
    result = {
        "usecase": first.metrics["usecase"],
        "headline": headline,
        "runs": [
            {
                "run": run.label, "folder": str(run.folder), "method": run.metrics["name"], "data": run.metrics["data"]["name"],
                "seed": run.metrics["seed"], "train_s": run.metrics["timing"]["train_s"], "model": run.metrics["model"],
            }
            for run in runs
        ],
        "differences": {label: one["differences"] for label, one in told.items()},
        "judged": {label: one["judged"] for label, one in told.items()},
        "comparable": {label: one["comparable"] for label, one in told.items()},
        "warnings": [f"{label}: {text}" for label, one in told.items() for text in one["warnings"]],
        "settings": changed(runs),
    }  # fmt: skip
    return {**result, "conclusion": conclude(result)}


def changed(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """The settings in which the runs differ: `key`, and its value in each run by the run's label."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = [{"key": key, **{run.label: run.settings.get(key, NOT_SET) for run in runs}} for key in keys]
    return [row for row in rows if any(row[run.label] != row[runs[0].label] for run in runs)]


def _against(first: Compared, other: Compared) -> dict[str, Any]:
    """The other run's metrics minus the first's, and on what that rests."""
    order, judged = matched(first, other)
    comparable = order is not None
    warnings = []
    if order is None:
        reasons = unlike(first, other)
        comparable = (first.rows is None or other.rows is None) and not reasons
        if comparable:
            warnings.append(
                f"judged on {judged}; its data, split and seed are the first run's, so unpaired intervals serve, too wide"
            )
        else:
            apart = f" ({'; '.join(reasons)})" if reasons else ""
            warnings.append(
                f"judged on {judged}{apart}: its figures and the first run's are not comparable, intervals are unpaired"
            )
    paired = {} if order is None else _paired(first, other, order)
    differences = {}
    for metric in first.metrics["model"]:
        if metric in other.metrics["model"]:
            gap = paired.get(metric) or unpaired(other.metrics["model"][metric], first.metrics["model"][metric])
            differences[metric] = {**gap.as_dict(), "paired": metric in paired}
    if order is not None and (rest := [metric for metric, gap in differences.items() if not gap["paired"]]):
        warnings.append(f"the predictions do not tell {', '.join(rest)}: unpaired intervals, which are too wide")
    return {"differences": differences, "judged": judged, "comparable": comparable, "warnings": warnings}


def unlike(first: Compared, other: Compared) -> list[str]:
    """In words, how data, split and seed differ, which decide what is judged."""
    found = []
    keys = dict.fromkeys(["data.source", *(key for key in first.settings if key.startswith("split.")), "seed"])
    for name in ("name", "fingerprint"):
        ours, theirs = first.metrics["data"].get(name), other.metrics["data"].get(name)
        if ours != theirs:
            found.append(f"the data's {name} is {theirs}, not {ours}")
    for key in keys:
        ours, theirs = first.settings.get(key, NOT_SET), other.settings.get(key, NOT_SET)
        if ours != theirs:
            found.append(f"{key} is {theirs}, not {ours}")
    return found


def matched(first: Compared, other: Compared) -> tuple[np.ndarray | None, str]:
    """Places of the first run's rows among the other's, int64 [rows], None if they are not the same; and what is so, in words."""
    if first.rows is None or other.rows is None:
        return None, f"rows that cannot be told: {first.why_not or other.why_not}"
    ours, theirs = _keys(first.rows), _keys(other.rows)
    order = theirs.get_indexer(ours)
    if len(ours) != len(theirs) or (order < 0).any():
        common = int((order >= 0).sum())
        return None, f"other rows: {len(theirs):,}, of which {common:,} are among the first run's {len(ours):,}"
    truths = other.rows.truths
    if wrong := sum(one != truths[place] for one, place in zip(first.rows.truths, order, strict=True)):
        return None, f"other rows with the same ids: what is known of {wrong:,} of {len(ours):,} differs"
    return order, f"the same {len(ours):,} rows"


def _keys(rows: JudgedRows) -> pd.MultiIndex:
    ids = pd.Series(list(rows.ids), dtype="object")
    return pd.MultiIndex.from_arrays([ids, ids.groupby(ids).cumcount()])


def _paired(first: Compared, other: Compared, order: np.ndarray) -> dict[str, Interval]:
    """Metric to the other's minus the first's in the same resamples of the rows' groups."""
    assert first.rows is not None
    assert other.rows is not None
    back = np.argsort(order)  # place in the first's rows of each of the other's
    statistics: dict[str, Callable[[np.ndarray], float]] = {}
    ones = np.ones(len(order))
    for metric, statistic in first.rows.statistics.items():
        theirs = other.rows.statistics.get(metric)
        values = [(statistic, first), (theirs, other)]
        if theirs is not None and all(_agrees(one, run, metric, ones) for one, run in values):
            statistics |= {f"ours {metric}": statistic, f"theirs {metric}": _reordered(theirs, back)}
    draws = bootstrap_groups(np.asarray(first.rows.groups), statistics, resamples=RESAMPLES)
    names = [name.removeprefix("ours ") for name in statistics if name.startswith("ours ")]
    return {metric: draws.difference(f"theirs {metric}", f"ours {metric}") for metric in names}


def resampled(runs: Sequence[Compared], metric: str) -> np.ndarray | None:
    """[draws, runs] the metric of each run in the same resamples of what all were judged on; None: that cannot be told."""
    first = runs[0]
    statistics: dict[str, Callable[[np.ndarray], float]] = {}
    for run in runs:
        order, _ = matched(first, run)
        own = None if run.rows is None else run.rows.statistics.get(metric)
        if order is None or own is None or not _agrees(own, run, metric, np.ones(len(order))):
            return None
        statistics[run.label] = _reordered(own, np.argsort(order))
    assert first.rows is not None
    draws = bootstrap_groups(np.asarray(first.rows.groups), statistics, resamples=RESAMPLES).draws
    made = np.stack([draws[run.label] for run in runs], axis=1)
    return made[np.isfinite(made).all(axis=1)]


def _agrees(statistic: Callable[[np.ndarray], float] | None, run: Compared, metric: str, ones: np.ndarray) -> bool:
    """Do the predictions give the metric that the run has recorded?"""
    recorded = run.metrics["model"].get(metric)
    return recorded is not None and statistic is not None and abs(statistic(ones) - recorded["value"]) <= CLOSE


def _reordered(statistic: Callable[[np.ndarray], float], back: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: statistic(weights[back])


def unpaired(value: Mapping[str, float], other: Mapping[str, float]) -> Interval:
    """Interval of the first minus the other, both independent, from the interval of each (Zou & Donner 2008, equation 7)."""
    gap = value["value"] - other["value"]
    below = math.hypot(value["value"] - value["low"], other["high"] - other["value"])
    above = math.hypot(value["high"] - value["value"], other["value"] - other["low"])
    return Interval(gap, gap - below, gap + above)


def conclude(result: Mapping[str, Any]) -> str:
    """The sentence to remember."""
    headline, first = result["headline"], result["runs"][0]["run"]
    said = []
    for label, differences in result["differences"].items():
        gap = differences[headline]
        numbers = f"{gap['value']:+.4f}, 95% interval {gap['low']:+.4f} to {gap['high']:+.4f}"
        verdict = "better" if gap["low"] > 0 else "worse" if gap["high"] < 0 else "not reliably different"
        if gap["low"] == gap["high"] == 0:
            verdict = "exactly as good"
        if not result["comparable"][label]:
            said.append(f"{label} cannot be compared with it")
        else:
            said.append(f"{label} is {verdict} ({numbers}, {'paired' if gap['paired'] else 'unpaired'})")
    many = "; each interval is for its own comparison, so of many some are wrong by chance" if len(said) > 2 else ""
    return f"By {headline}, against {first}: {', '.join(said)}{many}."
