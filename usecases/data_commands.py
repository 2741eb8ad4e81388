"""The commands of `usecases data`."""

from __future__ import annotations

from typing import Annotated

import typer

from usecases import printing
from usecases.printing import Json

app = typer.Typer(help="Named public data sets: list them, download them.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(json_: Json = False) -> None:
    """List the named data sets, with their licences."""
    from shared.data import sources

    rows = [sources.describe(entry) for entry in sources.catalog().values()]
    printing.show(
        rows, json_, lambda: printing.table([{key: row[key] for key in ("name", "here", "title", "licence")} for row in rows])
    )


@app.command("get")
def get(name: Annotated[str, typer.Argument(help="see `usecases data list`")], json_: Json = False) -> None:
    """Download a data set from its source into the cache folder (USECASES_DATA), verified by size and sha256."""
    from shared.data import sources

    with printing.counter("downloading") as progress:
        done = 0

        def report(now: int, total: int) -> None:
            nonlocal done
            progress(now - done)
            done = now

        place = sources.get(name, report)
    licence = sources.catalog()[name].licence
    printing.show(
        {"name": name, "place": place, "licence": licence},
        json_,
        lambda: print(f"{name} is in {place}\nLicence: {licence}"),
    )
