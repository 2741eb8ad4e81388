"""The pages of comparisons, learning curves and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.evaluation.intervals import Interval
from shared.report import Numeral, Report, Section, Table, plots

PAIRED = (
    "The first column is the run that the others are compared with; a difference is the other run's figure minus its. "
    "Paired intervals come from a bootstrap of what both were judged on, in the same draws for both, so that what is hard for "
    "both does not count; those marked * are unpaired, and wider. Where an interval leaves out 0, the difference is larger than "
    "chance among judged rows explains. Training the same again with another seed changes figures too, which no interval shows."
)

ONE_EACH = (
    "Each point was trained once: with another seed, or other rows of the same share, it would lie elsewhere. The points' own "
    "intervals do not show that; their scatter around the curve does, as far as few points tell it."
)


def interval(numbers: Mapping[str, Any], sign: str = "") -> Numeral:
    low, high = (f"{numbers[name]:{sign}.4f}" for name in ("low", "high"))
    return Numeral(f"{numbers['value']:{sign}.4f} [{low}, {high}]")


def difference(numbers: Mapping[str, Any]) -> Numeral:
    return Numeral(f"{interval(numbers, '+')}{' ' if numbers['paired'] else '*'}")


def compared(result: Mapping[str, Any], path: Path) -> None:
    """The page of a comparison; see `comparing.compare`."""
    runs, headline = result["runs"], result["headline"]
    names = [run["run"] for run in runs]
    bars = {run["run"]: Interval(**run["model"][headline]) for run in runs}
    metrics = [[metric, *(_figure(run, metric) for run in runs)] for metric in runs[0]["model"]]
    gaps = [
        [metric, *(difference(own[metric]) if metric in own else "" for own in result["differences"].values())]
        for metric in runs[0]["model"]
    ]
    about = [[run["run"], run["method"], run["data"], run["seed"], Numeral(f"{run['train_s']:,.0f}")] for run in runs]
    settings = [[row["key"], *(_value(row[name]) for name in names)] for row in result["settings"]]
    Report(
        title=f"{len(runs)} runs of {result['usecase']}",
        verdict=result["conclusion"],
        notice="" if all(result["comparable"].values()) else "Not all of these runs' figures can be compared; see below.",
        findings=[f"{warning}." for warning in result["warnings"]],
        facts=[("headline metric", headline), *((f"judged: {name}", text) for name, text in result["judged"].items())],
        sections=[
            Section("Runs", "", [], [Table(["run", "method", "data", "seed", "training, s"], about)]),
            Section(
                "Metrics",
                "Each with its 95% interval.",
                [(plots.bars(bars, headline, names[:1]), f"{headline} of each run, with its 95% interval")],
                [Table(["metric", *names], metrics)],
            ),
            Section(f"Differences to {names[0]}", PAIRED, [], [Table(["metric", *names[1:]], gaps)]),
            Section(
                "Changed settings",
                "" if settings else "None: the runs have the same configuration.",
                [],
                [Table(["key", *names], settings)] if settings else [],
            ),
        ],
    ).write(path)


def _figure(run: Mapping[str, Any], metric: str) -> Any:
    """On two lines, so that several runs have room beside each other."""
    return Numeral(interval(run["model"][metric]).replace(" ", "\n", 1)) if metric in run["model"] else ""


def _value(value: Any) -> str:
    """A setting as it is written in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def learning_curve(result: Mapping[str, Any], path: Path) -> None:
    """The page of a learning curve; see `learning_curve.run`."""
    headline, fitted = result["headline"], result["fit"]
    rows = {kind: [row for row in result["points"] if row["varied"] == kind] for kind in ("data", "width")}
    measured = {row["amount"]: Interval(**row[headline]) for row in rows["data"] if headline in row}
    curve = None
    if fitted:
        n, value, low, high = (np.array(fitted["curve"][name]) for name in ("n", "value", "low", "high"))
        curve = n, value, low, high
    figure = plots.learning_curve(measured, curve, headline)
    sections = [
        Section(
            "Amount of data",
            "The fitted curve is a − b·n^−c, a power law with a limit (Cortes et al. 1993; Hestness et al. 2017). Its interval "
            f"is from {fitted['uncertainty']}. A curve through few points says little about far more data than twice."
            if fitted
            else f"No curve: {result['why_not']}.",
            [(figure, f"{headline} over the share of the training data")],
            [_points(rows["data"], headline, "share of the data"), *([_law(fitted)] if fitted else [])],
        )
    ]
    if rows["width"]:
        all_data = next(row for row in rows["data"] if row["amount"] == max(measured))
        widths = sorted([*rows["width"], {**all_data, "amount": 1.0, "settings": {}}], key=lambda row: row["amount"])
        text = "All the data; the networks' widths times a factor. Which width to use is for validation to say."
        sections.append(Section("Width of the networks", text, [], [_points(widths, headline, "times as wide")]))
    Report(
        title=f"Learning curve of {result['usecase']}",
        verdict=result["conclusion"],
        findings=[f"{result['judged']}.", f"Protocol, with all the data: {result['protocol']}.", ONE_EACH],
        facts=[("headline metric", headline)],
        sections=sections,
    ).write(path)


def _points(rows: Sequence[Mapping[str, Any]], headline: str, amount: str) -> Table:
    metric = next((row["validation"]["metric"] for row in rows if row.get("validation")), "")
    columns = [amount, f"{headline} (test)", f"{metric} (validation)", "seconds", "settings"]
    return Table(columns, [point_cells(row, headline) for row in rows])


def point_cells(row: Mapping[str, Any], headline: str) -> list[Any]:
    """Amount, headline, validation figure, seconds, settings or why it failed."""
    amount = Numeral(f"{row['amount']:g}" if row["amount"] >= 1 else f"1/{1 / row['amount']:g}")
    if "failed" in row:
        return [amount, "", "", "", f"failed: {row['failed']}"]
    chosen = row["validation"]
    told = "\n".join(f"{key} = {_value(value)}" for key, value in row["settings"].items())
    return [amount, interval(row[headline]), chosen["value"] if chosen else "", Numeral(f"{row['train_s']:,.0f}"), told]


def _law(fitted: Mapping[str, Any]) -> Table:
    meaning = {"a": "limit with endless data", "b": "what is missing to it with all the data", "c": "exponent"}
    rows = [[f"{name}: {text}", interval(fitted[name])] for name, text in meaning.items()]
    rows.append(["gain from twice the data", interval(fitted["twice_the_data"]["gain"], "+")])
    return Table(["the curve", "value [95% interval]"], rows)


def tuned(result: Mapping[str, Any], folder: Path) -> None:
    """The page of a search, in its folder; see `tuning.run`."""
    metric, best = result["metric"], result["best"]
    complete = [row for row in result["trials"] if row["value"] is not None]
    numbers, values = [row["trial"] for row in complete], [row["value"] for row in complete]
    history = {"trial": (numbers, values), "best so far": (numbers, np.maximum.accumulate(values).tolist())}
    keys = list(best["settings"])
    rows = [[row["trial"], *_trial(row), *(_setting(row["settings"].get(key, "")) for key in keys)] for row in result["trials"]]
    chosen = [[key, _setting(best["defaults"][key]), _setting(best["settings"][key])] for key in keys]
    sections = [
        Section("Settings", "", [], [Table(["key", "defaults", "best"], chosen)]),
        Section(
            "Trials",
            "The first has the defaults.",
            [(plots.lines(history, "trial", f"{metric} on validation"), f"{metric} on validation of each trial")],
            [
                Table(
                    ["trial", metric, "s", *(key.replace(".", ". ") for key in keys)],
                    rows,
                    best=next(n for n, r in enumerate(rows) if r[0] == best["trial"]),
                )
            ],
        ),
    ]
    if result["importance"]:
        shares = [[key, Numeral(f"{share:.0%}")] for key, share in result["importance"].items()]
        text = (
            "The share of the figure's variance over the trials that each knob explains (fANOVA, Hutter et al. 2014). Of few "
            "trials it is a rough guide."
        )
        sections.append(Section("Which knobs mattered", text, [], [Table(["key", "share"], shares)]))
    Report(
        title=f"Search over settings of {result['usecase']}",
        verdict=result["conclusion"],
        findings=[f"{result['honest']}: usecases run {result['usecase']} --config {folder / 'best.yaml'}"],
        facts=[("trials", str(len(result["trials"]))), ("figure", f"{metric} on validation, higher is better")],
        sections=sections,
    ).write(folder / "report.html")


def _trial(row: Mapping[str, Any]) -> list[Any]:
    if row["value"] is None:
        return [f"failed: {row['failed']}", ""]
    return [row["value"], Numeral(f"{row['seconds']:,.0f}")]


def _setting(value: Any) -> Any:
    return Numeral(f"{value:.4g}") if isinstance(value, float) else Numeral(value) if isinstance(value, int) else _value(value)
