"""The command line. Results go to stdout, logs and progress to stderr; heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from usecases import check_commands, data_commands, experiment_commands, export_commands, live_commands, new_commands, printing
from usecases.arguments import (
    DONE,
    INTERRUPTED,
    USER_PROBLEM,
    WRONG_USAGE,
    ConfigFile,
    Name,
    Overrides,
    Quick,
    RunName,
    Source,
    fields_of,
    load_run,
    settings_of,
    source_of,
)
from usecases.export_commands import with_export
from usecases.printing import Json

app = typer.Typer(
    help="Deep-learning applications that run on your data: trained, compared with the strongest simple method, explained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(live_commands.app)
app.add_typer(new_commands.app)
app.add_typer(check_commands.app)
app.add_typer(experiment_commands.app)
app.add_typer(export_commands.app)
app.add_typer(data_commands.app, name="data")


def main() -> None:
    """Run the command line; every problem of the user's is one message and exit code 1."""
    from shared.errors import UserError

    try:
        code = app(standalone_mode=False)
        sys.exit(code or DONE)
    except UserError as error:
        printing.fail(str(error), USER_PROBLEM)
    except (KeyboardInterrupt, typer.Abort):
        printing.fail("Interrupted.", INTERRUPTED)
    except OSError as error:
        if error.filename is None:
            raise
        printing.fail(f"{error.filename}: {error.strerror}", USER_PROBLEM)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's usage errors have it; the rest are ours to mend
            raise
        printing.fail(f"{error.format_message()} See `usecases --help`.", WRONG_USAGE)


@app.command("list")
def list_(json_: Json = False) -> None:
    """List the use cases and how good their newest runs are."""
    from shared.errors import UserError
    from shared.runs import runs_root
    from usecases import catalog

    rows = []
    for name in catalog.MODULES:
        try:
            what = catalog.get(name).summary
        except UserError as error:  # of one that others brought: the rest go on working
            what = str(error)
        metrics = runs_root() / name / "latest" / "metrics.json"
        newest = "none yet"
        if metrics.exists():
            found = json.loads(metrics.read_text("utf-8"))
            metric = found["headline"]
            newest = f"{metric} {found['model'][metric]['value']:.3f} ({found['data']['name']})"
        rows.append({"name": name, "what": what, "newest run": newest})
    printing.show(rows, json_, lambda: printing.table(rows))


@app.command()
def run(
    name: Name,
    overrides: Overrides = None,
    quick: Quick = False,
    data: Source = None,
    config: ConfigFile = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="the run's folder; default: a new one below runs/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the newest unfinished run, or the one in --out")] = False,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="train on shares of the data and in several widths: what would more bring?")
    ] = False,
    json_: Json = False,
) -> None:
    """Train, compare with baselines, and write a run's folder with the model and its report."""
    from shared.errors import UserError
    from shared.hardware import agree, leave
    from shared.runs import Run, state, unfinished
    from usecases import catalog

    if resume and (overrides or quick or data or config):
        raise typer.BadParameter("--resume goes on with the run's own configuration; leave out other settings.")
    usecase = catalog.get(name)
    if learning_curve:
        begin = None if resume else settings_of(usecase, quick, data, config, overrides or [])
        experiment_commands.learning_curve(usecase, begin, out, json_)
        return
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes of `accelerate launch` or `torchrun`
    if resume:
        folder = Path(agree(str(unfinished(name, out)) if is_main else None))
        settings = settings_of(usecase, False, None, folder / "config.yaml", [])
        current = Run.reopen(folder, settings, is_main=is_main)
        printing.say(f"Going on with {folder}")
    else:
        settings = settings_of(usecase, quick, data, config, overrides or [])
        created = Run.create(name, settings, out) if is_main else None
        folder = Path(agree(str(created.folder) if created else None))
        current = created or Run(folder, name, is_main=False)
    try:
        usecase.train(settings, current)
    except KeyboardInterrupt:
        printing.fail(f"Interrupted. Go on with it: usecases run {name} --resume --out {folder}", INTERRUPTED)
    except Exception as error:
        if is_main and not (isinstance(error, UserError) and not resume and current.discard()):
            current.fail(error)
        raise
    leave()
    if not is_main:
        return
    current.finish()
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    result = {"run": str(folder), **metrics}

    def show() -> None:
        printing.show_metrics(metrics)
        print(f"\n{metrics['conclusion']}\n")
        print(f"Run     {folder} ({state(folder)['seconds']:.0f} s)")
        print(f"Report  {folder / 'report.html'}")

    printing.show(result, json_, show)


@app.command()
def predict(
    run_: RunName,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="a file, folder, camera or URL; or one record as JSON")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="fields of requests, or settings")] = None,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="default: INPUT's name with another ending")] = None,
    runtime: Annotated[
        str, typer.Option(metavar="torch|onnx", help="onnx: with the network that `usecases export` wrote beside the run")
    ] = "torch",
    json_: Json = False,
) -> None:
    """Predict for a file, folder, camera, or one record as JSON."""
    from shared.errors import UserError

    if runtime not in ("torch", "onnx"):
        raise typer.BadParameter(f"--runtime {runtime}: expected torch or onnx.")
    name, usecase, folder = load_run(run_)
    predictor: Any = usecase.load(folder / "artifact")
    if runtime == "onnx":
        predictor = with_export(predictor, name, folder)
    fields = fields_of(options)
    if source.lstrip()[:1] in ("{", "["):
        from shared.records import parse

        if hasattr(predictor, "rehearsing") and fields.pop("act", False) is not True:
            predictor = predictor.rehearsing()
        responses = predictor.predict(parse(predictor.Request, source, fields))
        print(json.dumps([r.model_dump(mode="json") for r in responses], ensure_ascii=False, indent=None if json_ else 2))
        return
    is_path = not (hasattr(predictor, "accepts") and predictor.accepts(source))
    if is_path and not Path(source).exists():
        raise UserError(f"There is no file or folder {source}.")
    suffix = getattr(predictor, "suffix", ".predictions.parquet")
    target = out or Path(_name(source, suffix) + suffix)
    if target.resolve() == Path(source).resolve():
        raise UserError(f"The predictions would overwrite {source}. Give another --out.")
    with printing.counter("predicting") as progress:
        summary = predictor.process(Path(source) if is_path else source, target, fields, progress)
    _show_summary(summary, json_)
    if summary.get("interrupted"):
        printing.fail(f"Interrupted; what was done until then is in {target}.", INTERRUPTED)
    if summary.get("failed"):
        printing.fail(f"It {summary['ended']} What was done until then is in {target}.", USER_PROBLEM)


@app.command()
def tool(
    name: Name,
    tool_: Annotated[str | None, typer.Argument(metavar="[TOOL]", help="leave out to list them")] = None,
    source: Annotated[str | None, typer.Argument(metavar="[INPUT]", help="a file or folder")] = None,
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="the tool's settings")] = None,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="what is written; default: the tool's own name for it")] = None,
    json_: Json = False,
) -> None:
    """Run a use case's tool, such as a camera's calibration."""
    from shared.errors import UserError, nearest
    from usecases import catalog

    tools = catalog.get(name).tools
    if tool_ is None:
        rows = [{"tool": key, "what": (one.__doc__ or "").partition("\n")[0]} for key, one in sorted(tools.items())]
        printing.show(rows, json_, lambda: printing.table(rows))
        return
    if tool_ not in tools:
        raise UserError(f"{name} has no tool '{tool_}'. {nearest(tool_, tools)}")
    if source is None:
        raise typer.BadParameter(f"{tool_} needs an INPUT: a file or folder.")
    if not Path(source).exists():
        raise UserError(f"There is no file or folder {source}.")
    _show_summary(tools[tool_](Path(source), out, fields_of(options), printing.say), json_)


@app.command()
def evaluate(run_: RunName, overrides: Overrides = None, data: Source = None, json_: Json = False) -> None:
    """Judge a run's model again, on its own test part or on other data."""
    from shared.config import resolve

    _, usecase, folder = load_run(run_)
    settings = resolve(usecase.config, [folder / "config.yaml"], source_of(data) + (overrides or []))
    result = usecase.evaluate(usecase.load(folder / "artifact"), settings)
    printing.show(result, json_, lambda: printing.show_metrics(result))


@app.command()
def bench(
    name: Name,
    protocol: Annotated[str | None, typer.Argument(metavar="[PROTOCOL]", help="leave out to list them")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="the folder with the protocol's data")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds: 0, 1, …")] = 3,
    json_: Json = False,
) -> None:
    """Run a published protocol and print the result beside baselines and published figures."""
    from shared.errors import UserError, nearest
    from usecases import catalog

    usecase = catalog.get(name)
    if protocol is None:
        printing.show(sorted(usecase.benchmarks), json_, lambda: print("\n".join(sorted(usecase.benchmarks))))
        return
    if protocol not in usecase.benchmarks:
        raise UserError(f"{name} has no protocol '{protocol}'. {nearest(protocol, usecase.benchmarks)}")
    result = usecase.benchmarks[protocol](data, list(range(seeds)), printing.say)
    printing.show(result, json_, lambda: printing.show_bench(result))


def _name(source: str, suffix: str) -> str:
    """What results with this ending are named after: a path, or a URL's last part without what is no file's name.

    A path loses its own ending, unless the folder that it is in has another one that would be called the same.
    """
    if Path(source).exists():
        path = Path(source).resolve()
        others = (other for other in path.parent.iterdir() if other != path and not other.name.endswith(suffix))
        return path.name if path.is_dir() or any(other.stem == path.stem for other in others) else path.stem
    return re.sub(r"\W+", "-", source.rpartition("@")[2].rpartition("/")[2]).strip("-") or "stream"


def _show_summary(summary: dict[str, Any], json_: bool) -> None:
    printing.show(summary, json_, lambda: printing.table([{"": key, "value": value} for key, value in summary.items()]))
