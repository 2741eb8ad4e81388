"""Trained models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from usecases import printing
from usecases.arguments import RunName, load_run
from usecases.printing import Json

app = typer.Typer()


@app.command()
def export(
    run_: RunName,
    format_: Annotated[str, typer.Option("--format", metavar="onnx|torch", help="ONNX, or a program of torch.export")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="default: export in the run's folder; export-torch")] = None,
    precision: Annotated[
        str, typer.Option(metavar="fp32|bf16|int8", help="of the weights; a lower one only where every sample is decided alike")
    ] = "fp32",
    samples: Annotated[
        Path | None, typer.Option(metavar="FILE", help="records to compare on, one a line as JSON; default: the model's examples")
    ] = None,
    json_: Json = False,
) -> None:
    """Write a run's network for other programs, verified against the original, with an example that runs it."""
    from shared.errors import UserError
    from shared.export import FORMATS, PRECISIONS
    from shared.export import export as write
    from shared.records import validate

    for value, valid, option in ((format_, FORMATS, "--format"), (precision, PRECISIONS, "--precision")):
        if value not in valid:
            raise typer.BadParameter(f"{option} {value}: expected one of {', '.join(valid)}.")
    name, usecase, folder = load_run(run_)
    predictor = usecase.load(folder / "artifact")
    if not hasattr(predictor, "exportable"):
        raise UserError(f"{name} cannot be exported: its predictor has no `exportable`.")
    requests = validate(predictor.Request, _records(samples), {}) if samples else predictor.examples()
    target = out or folder / ("export" if format_ == "onnx" else f"export-{format_}")
    told = write(
        predictor.exportable(requests), target, usecase=name, artifact=folder / "artifact", kind=format_, precision=precision
    )
    printing.show({"out": str(target), **told}, json_, lambda: _show(target, told))


def with_export(predictor: Any, name: str, folder: Path) -> Any:
    """The predictor of a run with the network that was exported beside it.

    Raises:
        UserError: there is none that can be used, or its use case has no such way.
    """
    from shared.errors import UserError
    from shared.export import open_network

    if not hasattr(predictor, "with_network"):
        raise UserError(f"{name} predicts with PyTorch only. Leave out --runtime onnx.")
    return predictor.with_network(open_network(folder))


def _records(file: Path) -> list[Any]:
    """Raises:
    UserError: the file is not in UTF-8, a line is no JSON, or there is none.
    """
    import json

    from shared.errors import UserError

    records = []
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            records += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number} is not valid JSON: {error}.") from None
    if not records:
        raise UserError(f"{file} has no records. Give one record as JSON a line.")
    return records


def _show(target: Path, told: dict[str, Any]) -> None:
    checked, times = told["verified"], told["latency_ms"]
    itself = checked["predict_itself_differs_by"]
    printing.table(
        [
            {"output": name, "largest difference from fp32 PyTorch": f"{value:.2g}", "of `predict` itself": f"{itself[name]:.2g}"}
            for name, value in checked["largest_difference"].items()
        ]
    )
    print(f"Compared on {checked['samples']} sample(s); none is decided otherwise.")
    ways = {"exported": told["format"], "pytorch_fp32": "PyTorch in fp32", "pytorch_as_predict": "PyTorch as `predict` has it"}
    threads = times["threads"]
    printing.table(
        [
            {"one sample": label, f"ms ({threads} thread{'s' * (threads != 1)})": f"{times[way]:.3g}"}
            for way, label in ways.items()
        ]
    )
    print(f"{times['times_faster_than_fp32']:.1f} times as fast as PyTorch in fp32. It is in {target}")
    if missing := told["about"].get("not_in_the_graph"):
        print(f"Not in it: {missing}.")
