"""The commands that go on until they are stopped: conversations, streams, the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from usecases import printing
from usecases.arguments import INTERRUPTED, RunName, fields_of, load_run
from usecases.printing import Json

app = typer.Typer()


@app.command()
def chat(
    run_: RunName,
    memory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="where turns are kept; default: one in the user's data folder")
    ] = None,
    conversation: Annotated[str, typer.Option(metavar="NAME", help="one that was begun before goes on")] = "",
) -> None:
    """Talk with a trained assistant in the terminal."""
    from shared.errors import UserError

    name, usecase, folder = load_run(run_)
    predictor = usecase.load(folder / "artifact")
    if not hasattr(predictor, "converse"):
        raise UserError(f"{name} holds no conversations. Use `usecases predict`.")
    predictor.converse(memory, conversation)


@app.command()
def stream(
    run_: RunName,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="a file or pipe of JSON lines; - is stdin")] = "-",
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings of the stream")] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help="one decision line for each record; - is stdout")] = "-",
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="what a restart goes on from; default: FILE.state")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="wait for more lines at the end of the file")] = False,
    json_: Json = False,
) -> None:
    """Decide a stream of records as they come; the same command again goes on after any stop, even kill -9."""
    import shlex

    from shared import streaming
    from shared.errors import UserError
    from shared.files import sha256

    if "=" in source and not Path(source).exists():
        source, options = "-", [source, *(options or [])]
    fields = fields_of(options)
    if out == "-" and (state is None or json_):
        raise typer.BadParameter("with decisions on stdout, give --state DIR and leave out --json; or give --out FILE.")
    if source == "-" and follow:
        raise typer.BadParameter("stdin is read until it ends anyway; --follow is for files.")
    if source != "-" and (not Path(source).exists() or Path(source).is_dir()):
        raise UserError(f"There is no file {source}.")
    name, usecase, folder = load_run(run_)
    predictor = usecase.load(folder / "artifact")
    if not hasattr(predictor, "open_stream"):
        raise UserError(f"{name} does not decide streams: its predictor has no `open_stream`. Use `usecases predict`.")
    summary = streaming.run(
        predictor.open_stream(fields),
        None if source == "-" else Path(source),
        None if out == "-" else Path(out),
        state or Path(f"{out}.state"),
        identity={"usecase": name, "model": sha256(folder / "artifact" / "metadata.json"), "options": fields},
        follow=follow,
        say=printing.say,
    )
    printing.show(summary, json_, lambda: printing.say("\n".join(f"{key:<15} {value}" for key, value in summary.items())))
    if summary["interrupted"]:
        printing.fail(f"Interrupted; nothing is lost. Go on: {shlex.join(['usecases', *sys.argv[1:]])}", INTERRUPTED)


Serving = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]... [KEY=VALUE]...", help="runs' folders or use cases' names, none: all; settings of the server"
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="holds the API key that clients must send; or set USECASES_API_KEY")
]


@app.command()
def serve(
    arguments: Serving = None,
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0: every network")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one")] = 8000,
    key_file: KeyFile = None,
) -> None:
    """Serve trained models: an API for products, and pages to try them. Ctrl-C ends it, after what was accepted."""
    from usecases import serve as serving

    given = arguments or []
    fields = fields_of([one for one in given if "=" in one])
    chosen = serving.choose([one for one in given if "=" not in one])
    serving.serve(chosen, serving.settings_of({"host": host, "port": port, **fields}, key_file))


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one")] = 8000,
    key_file: KeyFile = None,
) -> None:
    """Serve everything, and meanwhile train with small settings what has no run yet, one after another."""
    from usecases import serve as serving

    serving.serve(serving.choose([]), serving.settings_of({"host": host, "port": port}, key_file), train=True)
