"""What the commands print: results to stdout, logs and progress to stderr. Heavy imports happen inside."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
SHORT = 30  # characters of names that are not broken, in a first column
NARROW = ("value", "ours minus it")  # columns whose numbers are not broken
WIDE = 5  # metrics in a row at most; of more, each is a row


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def fail(message: str, code: int) -> NoReturn:
    say(message)
    sys.exit(code)


def show(value: Any, as_json: bool, as_text: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(value, ensure_ascii=False))
    else:
        as_text()


def table(rows: list[dict[str, Any]], title: str | None = None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True, pad_edge=False)
    for column in rows[0] if rows else []:
        short = max(len(str(row[column])) for row in rows) <= SHORT and (not table.columns or column in NARROW)
        table.add_column(column, overflow="fold", no_wrap=(short and column != "") or "\n" in column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(markup=False).print(table)


def show_metrics(metrics: dict[str, Any]) -> None:
    """A row for each method, best first after the model, with those metrics that share the headline's list length, if any."""
    headline = metrics["headline"]
    at = headline.partition("@")[2]
    shown = [name for name in metrics["model"] if not at or name.partition("@")[2] == at]
    others = {**metrics["baselines"], **metrics.get("parts", {})}
    ranked = sorted(others, key=lambda name: -others[name][headline]["value"])
    methods = {metrics["name"]: metrics["model"]} | {name: others[name] for name in ranked}
    heads = {metric: metric.replace("_", " ").replace("@", " @").replace(" ", "\n") for metric in shown}  # narrow columns
    numbers = {name: {m: f"{own[m]['value']:.4f}" if m in own else "" for m in shown} for name, own in methods.items()}
    if len(shown) <= WIDE:
        table([{"": name, **{heads[m]: own[m] for m in shown}} for name, own in numbers.items()])
    else:
        table([{"": m.replace("_", " "), **{name: own[m] for name, own in numbers.items()}} for m in shown])
    for said in ("decisions", "notice"):
        if said in metrics:
            print(f"{metrics[said]}\n")
    print(f"{metrics['protocol'][0].upper()}{metrics['protocol'][1:]}.")


def show_bench(result: dict[str, Any]) -> None:
    sources: list[str] = []

    def cited(source: str) -> str:
        if source not in sources:
            sources.append(source)
        return f"[{sources.index(source) + 1}]"

    for metric, entry in result["metrics"].items():
        ours = entry["model"]
        rows = [("ours", ours, "here")]
        rows += [(name, value, "here") for name, value in {**entry["baselines"], **entry.get("parts", {})}.items()]
        rows += [(name, value, cited(value["source"])) for name, value in entry["published"].items()]
        differences = entry.get("differences", {})
        table(
            [
                {
                    metric: name,
                    "value": f"{value['value']:,.4f}" if value["value"] < 10 else f"{value['value']:,.0f}",
                    **(
                        {"ours minus it": interval(differences[name]) if name in differences else ""}
                        if differences
                        else {"ours over it": f"{ours['value'] / value['value']:.2f}x" if value is not ours else ""}
                    ),
                    "from": source,
                }
                for name, value, source in rows
            ]
        )
    for number, source in enumerate(sources, 1):
        print(f"[{number}] {source}")
    if "conclusion" in result:
        print(result["conclusion"])
    print(f"{result['split']}; seeds {', '.join(map(str, result['seeds']))}")


def interval(numbers: dict[str, float]) -> str:
    return f"{numbers['value']:+.4f} [{numbers['low']:+.4f}, {numbers['high']:+.4f}]"


def counter(what: str) -> Any:
    """A context that yields `progress(n)` and shows a count on stderr."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    @contextmanager
    def count() -> Any:
        columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda n: bar.advance(task, n)

    return count()
