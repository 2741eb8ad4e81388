"""How a use case's headline metric grows with the amount of training data and with the width of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.config import RunConfig
from shared.evaluation.intervals import Interval
from shared.experiments import comparing, points, power_law
from shared.experiments.comparing import Compared
from shared.files import write_json
from shared.runs import StillRunningError, reason, validation
from shared.usecase import UseCase

KIND = "learning-curve"
RESULT = "learning-curve.json"
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the configuration's own train_share
WIDTHS = (1 / 4, 1 / 2, 2.0)
MULTIPLE = 4  # heads and groups of channels divide it
NORMAL = 3.92  # widths of a 95% interval in standard deviations
ON_TEST = (
    "Each point is trained with the use case's own recipe, whose choices are made on validation, and judged on the same test "
    "part, from which nothing is chosen here. To choose a width, go by the validation figures"
)


@dataclass(frozen=True)
class Point:
    """One training: what is varied in it, by how much, and the settings for that."""

    varied: Literal["data", "width"]
    amount: float
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.varied}-{self.amount:g}"


def plan(config: RunConfig, widths: Sequence[str]) -> list[Point]:
    """The points, all data first, which must be possible; then from cheap to dear. Widths that come out the same are one.

    Args:
        widths: see `UseCase.widths`.
    """
    data = [Point("data", share, {"train_share": share * config.train_share}) for share in (1.0, *SHARES[:-1])]
    own = comparing.flat(config.settled().model_dump(mode="json"))
    sizes: dict[str, Point] = {}
    for factor in WIDTHS:
        changes = {key: _scaled(own[key], factor) for key in widths}
        if any(own[key] != width for key, width in changes.items()):
            sizes[str(changes)] = Point("width", factor, changes)  # of factors that give the same, the one nearest to it
    return data + list(sizes.values())


def _scaled(width: Any, factor: float) -> Any:
    if isinstance(width, list):
        return [_scaled(one, factor) for one in width]
    return max(MULTIPLE, round(width * factor / MULTIPLE) * MULTIPLE)


def run(usecase: UseCase, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train what has not been trained yet, fit the curve, and write the result into the folder.

    Args:
        folder: as `points.begin` or `points.reopen` gives it.

    Raises:
        StillRunningError: another process goes on with the same curve.
        Exception: all of the data cannot be trained on. That others cannot is told in the result, with the reason.
    """
    config = points.settings(usecase.config, folder, {})
    planned = plan(config, usecase.widths(config) if usecase.widths else ())
    failed: dict[str, str] = {}
    for number, point in enumerate(planned, 1):
        say(f"Point {number} of {len(planned)}: {point.varied} x {point.amount:g}")
        try:
            points.trained(usecase, folder, point.changes, folder / "points" / point.name)
        except StillRunningError:
            raise
        except Exception as error:
            if number == 1:
                raise
            failed[point.name] = reason(error)
            say(f"  Failed: {reason(error)}")
    done = [point.name for point in planned if point.name not in failed]
    runs = dict(zip(done, comparing.read([folder / "points" / name for name in done], usecase.judged), strict=True))
    result = summarise(usecase.name, planned, runs, failed)
    write_json(folder / RESULT, result)
    return result


def summarise(usecase: str, planned: Sequence[Point], runs: Mapping[str, Compared], failed: Mapping[str, str]) -> dict[str, Any]:
    """The result as JSON: the points, and the fit over those of data."""
    full = next(iter(runs.values()))
    headline = full.metrics["headline"]
    rows = []
    for point in sorted(planned, key=lambda one: (one.varied, one.amount)):
        row: dict[str, Any] = {"varied": point.varied, "amount": point.amount, "run": f"points/{point.name}"}
        row["settings"] = dict(point.changes)
        if own := runs.get(point.name):
            metrics, chosen = own.metrics, validation(own.folder)
            row |= {
                headline: metrics["model"][headline],
                "validation": chosen and {"metric": chosen[0], "value": chosen[1]},
                "train_s": metrics["timing"]["train_s"],
            }
        else:
            row["failed"] = failed[point.name]
        rows.append(row)
    order = sorted((one for one in planned if one.varied == "data" and one.name in runs), key=lambda one: one.amount)
    fitted = fit_curve([point.amount for point in order], [runs[point.name] for point in order], headline)
    result = {"usecase": usecase, "headline": headline, "protocol": full.metrics["protocol"], "judged": ON_TEST, "points": rows}
    return {**result, **fitted, "conclusion": conclude(headline, fitted, full.metrics["model"][headline]["value"])}


def fit_curve(shares: Sequence[float], runs: Sequence[Compared], headline: str) -> dict[str, Any]:
    """The fit as JSON, with its curve at some amounts; without one, the reason."""
    other = [run.label for run in runs if runs[-1].rows and run.rows and comparing.matched(runs[-1], run)[0] is None]
    if other:
        return {"fit": None, "why_not": f"the points were not judged on the same rows: {', '.join(other)}"}
    if len(shares) < power_law.FEWEST:
        return {"fit": None, "why_not": f"a curve of three parameters needs {power_law.FEWEST} points, there are {len(shares)}"}
    n, figures = np.array(shares), [run.metrics["model"][headline] for run in runs]
    values = np.array([figure["value"] for figure in figures])
    draws = comparing.resampled(runs, headline)
    how = "the same resamples of the judged rows for all points"
    if draws is None:
        widths = np.array([(figure["high"] - figure["low"]) / NORMAL for figure in figures])
        draws = np.random.default_rng(0).normal(values, widths, (comparing.RESAMPLES, len(values)))
        how = "each point's own interval, as its predictions do not tell more, which makes it too wide"
    made = power_law.extrapolate(n, values, draws)
    amounts = np.geomspace(n.min(), 2 * n.max(), 60)
    low, high = made.band(amounts)
    parameters = {}
    for name in ("a", "b", "c"):
        lower, upper = np.quantile(getattr(made.draws, name), [0.025, 0.975])
        parameters[name] = Interval(float(getattr(made.curve, name)), float(lower), float(upper)).as_dict()
    return {
        "fit": {
            "law": "a - b n^-c, n in shares of the training data",
            **parameters,
            "scatter": made.scatter,
            "uncertainty": f"{how}, and the scatter of the points around the curve",
            "twice_the_data": {"gain": made.gain.as_dict(), "reaches": float(made.curve(2 * n.max())), "tells": made.tells},
            "curve": {"n": amounts.tolist(), "value": made.curve(amounts).tolist(), "low": low.tolist(), "high": high.tolist()},
        },
    }


def conclude(headline: str, fitted: Mapping[str, Any], value: float) -> str:
    """The sentence to remember."""
    if fitted["fit"] is None:
        return f"With all the data {headline} is {value:.4f}. What more data would bring cannot be told: {fitted['why_not']}."
    gain = fitted["fit"]["twice_the_data"]["gain"]
    numbers = f"{gain['value']:+.4f}, 95% interval {gain['low']:+.4f} to {gain['high']:+.4f}"
    if not fitted["fit"]["twice_the_data"]["tells"]:
        return f"With all the data {headline} is {value:.4f}. Whether twice the data would help, the fit cannot tell ({numbers})."
    verb = "would bring" if gain["value"] > 0 else "would cost"
    return f"With all the data {headline} is {value:.4f}; twice the data {verb} {numbers}, if the curve goes on as it did."
