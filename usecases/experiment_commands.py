"""The commands that are about several runs of one use case. Heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usecases import printing
from usecases.arguments import INTERRUPTED, load_run
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
        heads = ["varied", "times", result["headline"], "validation", "seconds", "settings"]
        cells = ((row["varied"], *pages.point_cells(row, result["headline"])) for row in result["points"])
        printing.table([dict(zip(heads, map(_short, row), strict=True)) for row in cells])
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
