"""What several commands take from the command line, and what it stands for. Heavy imports happen inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.config import RunConfig
    from shared.usecase import UseCase

DONE, USER_PROBLEM, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130  # exit codes

Name = Annotated[str, typer.Argument(metavar="NAME", help="a use case; see `usecases list`")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, or a use case's name for its newest run")]
Source = Annotated[str | None, typer.Option("--data", metavar="SOURCE", help="a path, or a name from `usecases data list`")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML with the keys to change")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="keys to change, e.g. seed=1")]
Quick = Annotated[bool, typer.Option("--quick", help="small settings: a first look in seconds")]


def settings_of(usecase: UseCase, quick: bool, data: str | None, config: Path | None, overrides: list[str]) -> RunConfig:
    from shared.config import resolve

    own = usecase.configs / "default.yaml"  # what a use case that was made for somebody's data runs on
    files = [own] if own.exists() else []
    files += [usecase.configs / "quick.yaml"] if quick else []
    files += [config] if config else []
    return resolve(usecase.config, files, source_of(data) + overrides)


def fields_of(options: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE arguments, the values as YAML."""
    from shared.config import read_value

    fields = {}
    for option in options or []:
        key, equals, value = option.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{option}': expected key=value, for example k=20.")
        fields[key] = read_value(value)
    return fields


def source_of(data: str | None) -> list[str]:
    """The override for --data; paths become absolute, so that a run's configuration works from any folder."""
    if data is None:
        return []
    return [f"data.source={json.dumps(str(Path(data).resolve()) if Path(data).exists() else data)}"]


def load_run(run_: str) -> tuple[str, UseCase, Path]:
    from shared.runs import find
    from usecases import catalog

    folder, name = find(run_, sorted(catalog.MODULES))
    return name, catalog.get(name), folder
