"""What a use case asks for: `usecases keys` lists its settings, `usecases check` the faults of the data, and mends a copy.

Heavy imports happen inside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from usecases import printing
from usecases.arguments import USER_PROBLEM, ConfigFile, Name, Overrides, Quick, Source, settings_of
from usecases.printing import Json

if TYPE_CHECKING:
    from shared.data.repair import Copy
    from shared.errors import Finding
    from shared.usecase import UseCase

app = typer.Typer()
HEADS = {"error": "Errors, which stop a run", "warning": "Warnings", "info": "Notes"}
NOTATION = ("decimal", "thousands", "day_first")  # settings that tell how numbers and dates are read


@app.command()
def keys(name: Name, json_: Json = False) -> None:
    """List every key of a use case's configuration: its default, what it may be, and what it does."""
    from shared.config import reference
    from usecases import catalog

    rows = reference(settings_of(catalog.get(name), False, None, None, []))
    printing.show(rows, json_, lambda: printing.table(rows))


@app.command()
def check(
    name: Name,
    overrides: Overrides = None,
    quick: Quick = False,
    data: Source = None,
    config: ConfigFile = None,
    strict: Annotated[bool, typer.Option("--strict", help="warnings count, too: exit code 1, for pipelines")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="also write the findings as a page")] = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="PATH", help="write a repaired copy there, and check that one")
    ] = None,
    json_: Json = False,
) -> None:
    """Look for every fault in the data at once; exit code 1 if there is one that stops a run."""
    from usecases import catalog

    usecase = catalog.get(name)
    given = ["--quick"] * quick + (["--config", str(config)] if config else []) + (overrides or [])
    settings = settings_of(usecase, quick, data, config, overrides or [])
    if html is not None:
        from shared.report.html import fits

        fits(html)
    changes: list[Finding] = []
    told: dict[str, Any] = {}
    if fix is None:
        findings, source = usecase.check(settings), settings.data.source  # type: ignore[attr-defined]
    else:
        copy, findings, extra = _repaired(usecase, settings, fix, [quick, config, overrides or []])
        changes, source = copy.changes, str(copy.out)
        told = {"copy": source, "left_out": len(copy.dropped), "command": _command(name, source, given + extra)}
    if html is not None:
        from shared.report import findings as page

        page.write(html, f"{usecase.title}: the data", source, findings, changes, told.get("command", ""))

    def show() -> None:
        if told:
            _show_changes(changes, told)
        _show(findings)

    listed = [finding.as_dict() for finding in findings]
    printing.show({**told, "changes": [one.as_dict() for one in changes], "left": listed} if told else listed, json_, show)
    if html is not None:
        printing.say(f"Page  {html}")
    if any(one.severity == "error" or (strict and one.severity == "warning") for one in findings):
        raise typer.Exit(USER_PROBLEM)


def _repaired(usecase: UseCase, settings: Any, out: Path, given: Sequence[Any]) -> tuple[Copy, list[Finding], list[str]]:
    """A copy without what can be repaired, what is left in it, and settings that it needs beside those `given`."""
    from shared.data import sources
    from shared.data.repair import Copy
    from shared.errors import UserError

    knobs = type(settings.data).model_fields
    source = sources.locate(settings.data.source)
    if not isinstance(source, Path):
        raise UserError(f"{settings.data.source} is a named data set, not a file or folder of yours. There is nothing to repair.")
    if source.is_file() and "encoding" not in knobs:
        raise UserError(f"{source} names images beside it. Give the folder that holds them all, so that the copy has them, too.")
    told = any(getattr(settings.data, knob, None) != knobs[knob].default for knob in NOTATION if knob in knobs)
    encoding = getattr(settings.data, "encoding", "utf-8")
    extra = ["data.encoding=utf-8"] if encoding != "utf-8" else []
    copy = Copy(source, out, encoding, plain=not told)
    quick, config, overrides = given
    try:
        again = settings_of(usecase, quick, None, config, [*overrides, *extra, f"data.source={json.dumps(str(copy.out))}"])
        while copy.leave_out(findings := usecase.check(again)):
            pass
        copy.list_dropped()
    except BaseException:
        copy.remove()
        raise
    return copy, findings, extra


def _command(name: str, source: str, given: Sequence[str]) -> str:
    own = [one for one in given if not one.startswith("data.source=")]
    return join(["usecases", "run", name, "--data", source, *own])


def _show_changes(changes: Sequence[Finding], told: dict[str, Any]) -> None:
    print(f"Copy  {told['copy']}")
    for one in changes:
        print(f"  {one.place}\n    {one.told}. {one.fix}.")
    print(f"{_counted(len(changes), 'change')}; the original is as it was.\nRun it: {told['command']}\n\nLeft in the copy:")


def _show(findings: Sequence[Finding]) -> None:
    """In groups by severity, those of one place together."""
    from shared.errors import Severity

    for severity in get_args(Severity):
        own = [one for one in findings if one.severity == severity]
        if own:
            print(f"{HEADS[severity]} ({len(own)})")
        place = ""
        for one in own:
            if one.place != place:
                print(f"  {one.place}")
            place = one.place
            print(f"    {severity}: {one.told}{'' if one.told.endswith('?') else '.'} {one.fix}")
    errors = sum(one.severity == "error" for one in findings)
    print(f"{_counted(len(findings), 'finding')}, {errors} of them stop a run." if findings else "No fault found.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
