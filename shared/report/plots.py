"""Charts in one style, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter

from shared.evaluation.calibration import Reliability
from shared.evaluation.costs import Bill, CostCurve
from shared.evaluation.drift import MODERATE, SHIFTED, reading
from shared.evaluation.intervals import Interval
from shared.evaluation.operating import DecisionCurve, OperatingPoint
from shared.evaluation.selective import RiskCoverage

ACCENT, QUIET, GRID, INK = "#1f5fd0", "#9aa5b4", "#dde3ea", "#39424e"
RARE = 0.1  # share of positives
MARK: dict[str, Any] = {"color": INK, "markersize": 7, "markeredgecolor": "white", "zorder": 4}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[ACCENT, "#d9822b", "#2a9d8f", "#8e5bb5", "#b23a48", INK]),
}


def bars(values: Mapping[str, Interval], label: str, highlight: Sequence[str] = ()) -> Figure:
    """Horizontal bars with their 95% intervals, first on top."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.9 + 0.42 * len(values)))
        axes = figure.subplots()
        names = list(values)[::-1]
        centres = [values[name].value for name in names]
        spread = [
            [max(0.0, values[n].value - values[n].low) for n in names],
            [max(0.0, values[n].high - values[n].value) for n in names],
        ]
        colours = [ACCENT if name in highlight else QUIET for name in names]
        axes.barh(names, centres, xerr=spread, color=colours, height=0.62, error_kw={"ecolor": INK, "capsize": 3})
        right = max(values[n].high for n in names)
        for place, (name, centre) in enumerate(zip(names, centres, strict=True)):
            axes.text(values[name].high + right * 0.015, place, f"{centre:.3f}", va="center")
        axes.set_xlim(0, right * 1.12 or 1)
        axes.set_xlabel(label)
        axes.grid(axis="x", color=GRID)
        axes.tick_params(axis="y", length=0)
    return figure


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str) -> Figure:
    """One line a name, of (x values, y values), each labelled in the legend."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.2))
        axes: Axes = figure.subplots()
        for name, (xs, ys) in series.items():
            axes.plot(xs, ys, marker="o", markersize=3, label=name)
        if all(float(place).is_integer() for xs, _ in series.values() for place in xs):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(color=GRID)
        if len(series) > 1:
            axes.legend(frameon=False)
    return figure


def learning_curve(
    points: Mapping[float, Interval],
    curve: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None,
    y: str,
    x: str = "share of the training data",
) -> Figure:
    """Values with their intervals over amounts, doubling from tick to tick, and the fitted curve.

    Args:
        curve: [amounts] each: amounts, the curve there, and the lower and upper end of its interval; it is dashed beyond the
            largest of the points.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.8))
        axes: Axes = figure.subplots()
        at, values = list(points), list(points.values())
        if curve is not None:
            amounts, middle, low, high = curve
            inside = amounts <= max(at)
            axes.fill_between(amounts, low, high, color=ACCENT, alpha=0.12, linewidth=0, label="95% interval of the curve")
            axes.plot(amounts[inside], middle[inside], color=ACCENT, label="power law with a limit")
            axes.plot(amounts[~inside], middle[~inside], color=ACCENT, linestyle="--", label="continued")
        spread = [[max(0.0, one.value - one.low) for one in values], [max(0.0, one.high - one.value) for one in values]]
        centres = [one.value for one in values]
        axes.errorbar(at, centres, yerr=spread, fmt="o", color=INK, ecolor=QUIET, capsize=3, label="judged, 95% interval")
        axes.set_xscale("log", base=2)
        ticks = sorted({*at, *([2 * max(at)] if curve is not None else [])})
        axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
        axes.set(xlabel=x, ylabel=y)
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    return figure


def precision_recall(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], base_rate: float) -> Figure:
    """One line in steps a name, of (recall, precision), the first on top; `base_rate` is what chance reaches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4))
        axes: Axes = figure.subplots()
        for place, (name, (recall, precision)) in enumerate(curves.items()):
            steps = np.append(0 * recall[:1], recall), np.append(precision[:1], precision)
            axes.step(*steps, where="pre", label=name, linewidth=2 if place == 0 else 1.2, zorder=3 - place / len(curves))
        axes.axhline(base_rate, color=QUIET, linestyle=":", label="chance")
        axes.set(xlabel="recall: share of the positives found", ylabel="precision: share of\nthe alerts that are right")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        _percent(axes, "xy")
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def reliability(curves: Mapping[str, Reliability]) -> Figure:
    """What share of each bin's rows are positive, over their mean probability; on the dashed line the two agree.

    The axes are logarithmic if positives are rare, which is where their small probabilities matter.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4))
        axes: Axes = figure.subplots()
        shares = np.concatenate([[*curve.predicted, *curve.observed] for curve in curves.values()])
        rare = all(np.average(curve.observed, weights=curve.rows) < RARE for curve in curves.values())
        limits = (shares[shares > 0].min(initial=RARE) / 1.5, 1.3) if rare else (0, 1)
        axes.plot(limits, limits, color=QUIET, linestyle="--", label="perfect")
        for name, curve in curves.items():
            axes.plot(curve.predicted, np.maximum(curve.observed, limits[0]), marker="o", markersize=5, label=name, clip_on=False)
        if rare:
            axes.set(xscale="log", yscale="log")
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="predicted probability", ylabel="share that is positive")
        _percent(axes, "xy")
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def costs(curves: Mapping[str, CostCurve], marked: Mapping[str, Bill], x: str = "alerts", y: str = "cost") -> Figure:
    """Cost over the number of alerts, as far as alerts do not cost much more than doing nothing.

    Args:
        curves: one line a name.
        marked: one point a label, such as the chosen threshold's bill for the same rows.
        x, y: axis labels, with units.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.6))
        axes: Axes = figure.subplots()
        for name, curve in curves.items():
            thin = curve.thinned()
            axes.plot(thin.alerts, thin.costs, label=name)
        for shape, (name, bill) in zip(cycle("oDs^v"), marked.items(), strict=False):
            axes.plot(bill.alerts, bill.cost, shape, color=INK, markersize=7, markeredgecolor="white", label=name, zorder=4)
        axes.set_xscale("symlog", linthresh=1, linscale=0.3)
        nothing = max(curve.costs[0] for curve in curves.values())
        axes.axhline(nothing, color=QUIET, linestyle="--", label="no alerts")
        top = 1.25 * nothing
        widest = max(curve.alerts[curve.costs <= top].max() for curve in curves.values())
        axes.set(xlabel=x, ylabel=y, xlim=(0, 1.5 * widest + 1), ylim=(0, top or None))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def drift(index: pd.DataFrame, x: str) -> Figure:
    """Population stability index as a table in colours.

    Args:
        index: [periods, columns] as from `psi_by_period`.
        x: what the periods are.
    """
    colours = ["#eef2f7", "#f2c879", "#c8553d"]
    with mpl.rc_context(STYLE):
        periods, columns = index.shape
        figure = Figure(figsize=(7.5, 1.2 + 0.32 * columns))
        axes: Axes = figure.subplots()
        levels = BoundaryNorm([-np.inf, MODERATE, SHIFTED, np.inf], 3)
        axes.pcolormesh(index.to_numpy().T, cmap=ListedColormap(colours), norm=levels, edgecolors="white", linewidth=1.5)
        if periods <= 16:
            for (row, column), value in np.ndenumerate(index.to_numpy()):
                ink = "white" if value > SHIFTED else INK
                axes.text(row + 0.5, column + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
        every = -(-periods // 16)
        axes.set_xticks(np.arange(0, periods, every) + 0.5, [str(period) for period in index.index[::every]])
        axes.set_yticks(np.arange(columns) + 0.5, [str(name) for name in index.columns])
        axes.invert_yaxis()
        axes.set_xlabel(x)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        names = [reading(value) for value in (0, MODERATE, np.inf)]
        patches = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
        axes.legend(handles=patches, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    return figure


def sensitivity_specificity(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], points: Mapping[str, OperatingPoint] | None = None
) -> Figure:
    """ROC curves, the first on top, with chosen operating points and the intervals of these.

    Args:
        curves: name to (share of the healthy called ill, sensitivity), [steps] each, as scikit-learn's `roc_curve` gives.
        points: label to a point of the first curve's scores on the same rows.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.2))
        axes: Axes = figure.subplots()
        for place, (name, (false, true)) in enumerate(curves.items()):
            axes.plot(false, true, label=name, **_leading(place))
        axes.plot((0, 1), (0, 1), color=QUIET, linestyle=":", label="chance")
        for shape, (label, point) in zip(cycle("oDs^v"), (points or {}).items(), strict=False):
            sens, spec = point.sensitivity, point.specificity
            text = f"{label}: sensitivity {_span(sens)},\nspecificity {_span(spec)}"
            axes.errorbar(
                1 - spec.value,
                sens.value,
                xerr=[[max(0.0, spec.high - spec.value)], [max(0.0, spec.value - spec.low)]],
                yerr=[[max(0.0, sens.value - sens.low)], [max(0.0, sens.high - sens.value)]],
                fmt=shape,
                capsize=3,
                label=text,
                **MARK,
            )
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.02), aspect="equal")
        axes.set(xlabel="1 - specificity: share of the healthy called ill", ylabel="sensitivity: share of the ill found")
        _percent(axes, "xy")
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.8, fontsize=9)
    return figure


def risk_coverage(curves: Mapping[str, RiskCoverage], marked: Mapping[str, tuple[float, float]] | None = None) -> Figure:
    """The share of wrong decisions over the share that is decided, the surest first; the first on top.

    Args:
        curves: one line a name, with its area.
        marked: label to a coverage and its risk, such as those of the rule as it was used on these rows.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.6))
        axes: Axes = figure.subplots()
        for place, (name, curve) in enumerate(curves.items()):
            thin = np.unique(np.linspace(0, len(curve.risk) - 1, 400).astype(int))
            axes.plot(curve.coverage[thin], curve.risk[thin], label=f"{name} (area {curve.area:.3g})", **_leading(place))
        for shape, (label, (coverage, risk)) in zip(cycle("oDs^v"), (marked or {}).items(), strict=False):
            text = f"{label}: {coverage:.1%} decided,\n{risk:.1%} of these wrong"
            axes.plot(coverage, risk, shape, label=text, clip_on=False, **MARK)
        # the first few rows make the curve jump; what matters is the height where most are decided
        top = max(curve.risk[len(curve.risk) // 10 :].max() for curve in curves.values())
        axes.set(xlim=(0, 1), ylim=(0, 1.15 * top or 0.01), xlabel="coverage: share that is decided, not referred")
        axes.set_ylabel("risk: share of the\ndecisions that is wrong")
        _percent(axes, "xy")
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.8)
    return figure


def decision_curve(curve: DecisionCurve, top: float = 1.0) -> Figure:
    """Net benefit of each model, of treating everyone and of treating no one, over the threshold probability.

    Args:
        top: the largest threshold probability shown; beyond what anyone would wait for, the curve only distracts.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.6))
        axes: Axes = figure.subplots()
        for place, (name, benefit) in enumerate(curve.models.items()):
            axes.plot(curve.thresholds, benefit, label=name, **_leading(place))
        axes.plot(curve.thresholds, curve.everyone, color=QUIET, linestyle="--", label="treat everyone")
        axes.axhline(0, color=INK, linewidth=1, label="treat no one")
        shown = curve.thresholds <= top
        highest = max(benefit[shown].max() for benefit in [curve.everyone, *curve.models.values()])
        axes.set(xlim=(0, top), ylim=(-0.25 * highest, 1.08 * highest) if highest > 0 else (-1, 1))
        axes.set(xlabel="threshold probability", ylabel="net benefit\n(true positives per person)")
        _percent(axes, "x")
        axes.grid(color=GRID)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def _leading(place: int) -> dict[str, Any]:
    """The look of a line: the first stands out."""
    return {"linewidth": 2 if place == 0 else 1.2, "zorder": 2 + 1 / (1 + place)}


def _span(interval: Interval) -> str:
    return f"{interval.value:.1%} ({100 * interval.low:.0f}\u2013{100 * interval.high:.0f})"


def _percent(axes: Axes, which: str) -> None:
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g}%"))
