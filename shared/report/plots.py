"""Charts in one style, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.evaluation.intervals import Interval

ACCENT, QUIET, GRID = "#1f5fd0", "#9aa5b4", "#dde3ea"
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
        axes.barh(names, centres, xerr=spread, color=colours, height=0.62, error_kw={"ecolor": "#39424e", "capsize": 3})
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
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(color=GRID)
        if len(series) > 1:
            axes.legend(frameon=False)
    return figure
