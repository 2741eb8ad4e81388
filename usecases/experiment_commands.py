"""The commands that are about several runs of one use case. Heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usecases import printing
from usecases.arguments import INTERRUPTED, ConfigFile, Name, Overrides, Quick, Source, load_run, settings_of
from usecases.printing import Json

if TYPE_CHECKING:
    from shared.config import RunConfig
    from shared.usecase import UseCase

app = typer.Typer()


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="runs' folders, or use cases' names; the first is what others are compared with"
        ),
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="also write a page")] = None,
    json_: Json = False,
) -> None:
    """Compare runs of one use case: differences with paired intervals, and the settings that were changed."""
    from shared.errors import UserError
    from shared.experiments import comparing, pages

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more.")
    found = [load_run(run) for run in runs]
    if len({name for name, _, _ in found}) > 1:
        told = ", ".join(f"{run} is one of {name}" for run, (name, _, _) in zip(runs, found, strict=True))
        raise UserError(f"Only runs of one use case can be compared: {told}.")
    result = comparing.compare(comparing.read([folder for _, _, folder in found], found[0][1].judged))
    if html:
        pages.compared(result, html)
    printing.show(result, json_, lambda: _show_compared(result, html))


def learning_curve(usecase: UseCase, config: RunConfig | None, out: Path | None, json_: bool) -> None:
    """`usecases run --learning-curve`; without a configuration, go on with the one in `out`, or the newest."""
    from shared.experiments import learning_curve as curves
    from shared.experiments import pages, points

    if config is None:
        folder, _ = points.reopen(curves.KIND, usecase.name, out)
    else:
        folder = points.begin(curves.KIND, usecase.name, config, out)
    with _going_on(f"usecases run {usecase.name} --learning-curve --resume --out {folder}"):
        result = curves.run(usecase, folder, printing.say)
    pages.learning_curve(result, folder / "report.html")

    def show() -> None:
        heads = ["varied", "times", result["headline"], "validation", "seconds", ""]
        cells = [[row["varied"], *pages.point_cells(row, result["headline"])] for row in result["points"]]
        whys = [row.get("failed", "") for row in result["points"]]
        printing.table(
            [dict(zip(heads, [*map(_short, row[:-1]), why], strict=True)) for row, why in zip(cells, whys, strict=True)]
        )
        print(f"{result['judged']}.\n\n{result['conclusion']}\n")
        print(f"Folder  {folder}\nReport  {folder / 'report.html'}")

    printing.show({"folder": str(folder), **result}, json_, show)


@contextmanager
def _going_on(command: str) -> Iterator[None]:
    """Tells how to go on, where it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        printing.fail(f"Interrupted; what is done is kept. Go on with it: {command}", INTERRUPTED)


def _short(cell: Any) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _show_compared(result: dict[str, Any], html: Path | None) -> None:
    from shared.experiments.pages import difference, interval

    metrics = list(result["runs"][0]["model"])
    for run in result["runs"]:
        gaps = result["differences"].get(run["run"])
        beside = {} if gaps is None else {"minus the first": {m: difference(gap) for m, gap in gaps.items()}}
        rows = [
            {run["run"]: m, "value": interval(run["model"][m]), **{key: own.get(m, "") for key, own in beside.items()}}
            for m in metrics
            if m in run["model"]
        ]
        judged = result["judged"].get(run["run"])
        printing.table(rows, title=f"{run['method']} on {run['data']}{f', judged on {judged}' if judged else ''}")
    if result["settings"]:
        printing.table([{key: str(value) for key, value in row.items()} for row in result["settings"]], title="Changed settings")
    else:
        print("The runs have the same settings.\n")
    for warning in result["warnings"]:
        print(f"warning: {warning}.")
    print(result["conclusion"])
    if html:
        print(f"Page    {html}")


@app.command()
def tune(
    name: Name,
    overrides: Overrides = None,
    quick: Quick = False,
    data: Source = None,
    config: ConfigFile = None,
    trials: Annotated[int, typer.Option(min=1, help="settings to try, the defaults included; with --resume, in all")] = 20,
    minutes: Annotated[float | None, typer.Option(min=0, help="after which no further trial is begun")] = None,
    space: Annotated[
        list[str] | None, typer.Option("--space", metavar="KEY=LOW..HIGH", help="what to search, or KEY=A,B,C; may be repeated")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="the search's folder; default: a new one below runs/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the newest search, or the one in --out")] = False,
    json_: Json = False,
) -> None:
    """Search for better settings, by validation alone; the best ones are written as a file for `usecases run --config`."""
    from shared.experiments import pages, points, tuning
    from usecases import catalog

    usecase = catalog.get(name)
    if resume:
        if overrides or quick or data or config or space:
            raise typer.BadParameter("--resume goes on with the search's own configuration; leave out other settings.")
        folder, about = points.reopen(tuning.KIND, name, out)
        texts = about["space"]
    else:
        if odd := [text for text in space or [] if "=" not in text]:
            raise typer.BadParameter(f"--space {odd[0]}: expected KEY=LOW..HIGH or KEY=A,B,C.")
        settings = settings_of(usecase, quick, data, config, overrides or [])
        texts = {key: value for key, _, value in (text.partition("=") for text in space or [])} or dict(usecase.knobs)
        tuning.check_space(texts, settings)
        folder = points.begin(tuning.KIND, name, settings, out, {"space": texts})
    with _going_on(f"usecases tune {name} --resume --out {folder} --trials {trials}"):
        result = tuning.run(usecase, folder, texts, trials, minutes, printing.say)
    pages.tuned(result, folder)
    printing.show({"folder": str(folder), **result}, json_, lambda: _show_tuned(result, folder))


def _show_tuned(result: dict[str, Any], folder: Path) -> None:
    best = result["best"]
    blank = dict.fromkeys(best["settings"], "")  # of a trial that was interrupted before it had settings
    figures = [
        {
            "trial": row["trial"],
            result["metric"]: row.get("failed") or _short(row["value"]),
            **_told({**blank, **row["settings"]}),
        }
        for row in sorted(result["trials"], key=lambda row: -float("inf") if row["value"] is None else row["value"], reverse=True)
    ]
    printing.table(figures, title="Trials, the best on validation first; 1 has the defaults")
    printing.table(
        [
            {
                "key": key, "defaults": _setting(best["defaults"][key]), "best": _setting(value),
                **({"share of the variance": f"{result['importance'].get(key, 0):.0%}"} if result["importance"] else {}),
            }
            for key, value in best["settings"].items()
        ]
    )  # fmt: skip
    print(f"{result['conclusion']}\n{result['honest']}:\n")
    print(f"        usecases run {result['usecase']} --config {folder / 'best.yaml'}\n")
    print(f"Folder  {folder}\nReport  {folder / 'report.html'}")


def _told(settings: dict[str, Any]) -> dict[str, str]:
    """Short names of keys, so that many have room beside each other."""
    return {"\n".join(key.split(".")[-3:]): _setting(value) for key, value in settings.items()}


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
