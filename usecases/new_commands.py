"""`usecases new`: a use case of one's own, made from a template and somebody's data."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usecases import printing
from usecases.arguments import DONE, INTERRUPTED, USER_PROBLEM, Overrides, fields_of
from usecases.printing import Json

if TYPE_CHECKING:
    from shared.adapting.project import Made
    from shared.usecase import Assumption, UseCase

app = typer.Typer()
LONGEST = 30  # characters of a name


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="what it is called: lower case, a Python identifier")],
    template: Annotated[str, typer.Option("--from", metavar="USECASE", help="what it is a copy of; see `usecases list`")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option("--data", metavar="PATH", help="your data; default: the template's")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="a project of its own; default in a clone of the repository: inside it")
    ] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="only write it: no check, no quick run")] = False,
    json_: Json = False,
) -> None:
    """Make a use case of your own: a copy of another one, set up for your data, checked, and tried with small settings."""
    from shared.adapting import project
    from shared.adapting.renaming import Names
    from usecases import catalog

    given = fields_of(overrides)
    usecase = catalog.get(template)
    root = None if out else project.checkout(Path.cwd())
    _name_is_free(name, root)
    assumed = assume(usecase, data, given)
    point = catalog.MODULES[template]
    source = project.Template(Names(template, point.module, usecase.title), usecase.configs.parent)
    names = Names(name, f"usecases.{name}" if root else name, name.replace("_", " ").capitalize())
    if root:
        made = project.in_repository(root, source, names, assumed)
    else:
        made = project.on_its_own((out or Path(name)).resolve(), source, names, assumed)
    result: dict[str, Any] = {
        "name": name,
        "from": template,
        "package": str(made.package),
        "tests": str(made.tests),
        "project": str(made.project) if made.project else None,
        "assumed": [{"key": one.key, "value": one.value, "why": one.why} for one in assumed],
        "findings": None,
        "run": None,
        "next": _next(name, made),
    }
    if not json_:
        _show_assumed(template, assumed)
        print(f"Written to {_near(made.project or made.package)}", flush=True)
    if not made.is_tidy:
        printing.say(
            "ruff is not installed: imports are unsorted and lines unbroken. pip install ruff, ruff check --fix, ruff format."
        )
    code = DONE if no_run else _try(name, made, root, result, json_)

    def show() -> None:
        if code == DONE:
            print("\nNext")
            for command, what in result["next"].items():
                print(f"  {command:<{max(map(len, result['next']))}}  {what}")

    printing.show(result, json_, show)
    if code:
        raise typer.Exit(code)


def assume(usecase: UseCase, data: str | None, given: Mapping[str, Any]) -> list[Assumption]:
    """What the copy's configuration holds: where the data is, what its use case sees in it, and over both what is given.

    Raises:
        UserError: there is no such data, a key is wrong, or the data does not tell something that must be known.
    """
    import yaml

    from shared.adapting.defaults import flat, flow
    from shared.config import resolve
    from shared.data import sources
    from shared.usecase import Assumption

    given = {key: _absolute(key, value) for key, value in given.items()}
    decided = [Assumption(key, value, "given on the command line") for key, value in given.items()]
    seen: list[Assumption] = []
    data = data or given.get("data.source")
    if data is not None:
        resolve(usecase.config, [], [f"{key}={flow(value)}" for key, value in ({"data.source": data} | given).items()])
        path = Path(data).expanduser().resolve()
        found = path if path.exists() else sources.locate(data)
        seen = [Assumption("data.source", str(path) if path.exists() else data, "the data that was named")]
        if usecase.suggest is not None and isinstance(found, Path):
            seen += [one for one in usecase.suggest(found, given) if one.key not in given]
    elif (own := usecase.configs / "default.yaml").exists():  # of a template that was made in this way itself
        kept = yaml.safe_load(own.read_text(encoding="utf-8")) or {}
        seen = [Assumption(key, value, f"as in {usecase.name}") for key, value in flat(kept)]
    assumed = list({one.key: one for one in (*seen, *decided)}.values())
    resolve(usecase.config, [], [f"{one.key}={flow(one.value)}" for one in assumed])
    return assumed


def _absolute(key: str, value: Any) -> Any:
    """A path works from any folder then."""
    is_path = isinstance(value, str) and key.rpartition(".")[2] in ("source", "path") and Path(value).expanduser().exists()
    return str(Path(value).expanduser().resolve()) if is_path else value


def _name_is_free(name: str, root: Path | None) -> None:
    """Can it be the name of a use case, a command's argument and a package?

    Raises:
        UserError: no, and why.
    """
    import importlib.util
    import keyword
    import re

    from shared.errors import UserError
    from usecases import catalog

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > LONGEST:
        raise UserError(
            f"'{name}' cannot be the name: it becomes a Python package. Give one of lower-case letters, digits and _ that begins"
            f" with a letter, is no word of Python's and has at most {LONGEST} characters, such as churn."
        )
    taken = f"The name '{name}' is taken: there is {{}} of that name. Give another one, such as our_{name}."
    if name in catalog.MODULES:
        raise UserError(taken.format("a use case"))
    if root and (root / "usecases" / f"{name}.py").exists():
        raise UserError(taken.format("a part of the command line"))
    found = importlib.util.find_spec(name)
    if name in sys.stdlib_module_names or name == "tests" or (found and found.origin):  # a mere folder has no origin
        raise UserError(taken.format("a Python module"))


def _try(name: str, made: Made, root: Path | None, result: dict[str, Any], json_: bool) -> int:
    """Check and a quick run by the real commands; puts what they say into the result. Returns the exit code."""
    with _findable(name, made, root) as environment:
        for key, arguments in (("findings", ["check", name]), ("run", ["run", name, "--quick"])):
            if not json_:
                print(f"\n$ usecases {shlex.join(arguments)}", flush=True)
            code, said = _command([*arguments, "--json"] if json_ else arguments, environment, json_)
            if code in (DONE, USER_PROBLEM) and said:
                result[key] = json.loads(said)
            if code == DONE:
                continue
            said = f"{name} is kept in {_near(made.project or made.package)}."
            if made.project:
                said += f" So that `usecases` knows it: {_install(made)}."
            if code != INTERRUPTED:
                settings = _near(made.package / "configs" / "default.yaml")
                said += f" Mend the data, or say in {settings} how it is to be read; then: usecases {shlex.join(arguments)}"
            printing.say(said)
            return code
    return DONE


def _command(arguments: list[str], environment: Mapping[str, str], captured: bool) -> tuple[int, str]:
    """Run one of our commands in a process of its own; returns its exit code and, if it is captured, what it printed."""
    command = [sys.executable, "-m", "usecases", *arguments]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE if captured else None, text=True)
    while True:
        try:
            said = process.communicate()[0]
            code = INTERRUPTED if process.returncode == -signal.SIGINT else process.returncode
            return code, said or ""
        except KeyboardInterrupt:  # that process gets it as well, and says how to go on
            continue


@contextmanager
def _findable(name: str, made: Made, root: Path | None) -> Iterator[dict[str, str]]:
    """The environment in which our commands know the new use case, though its project is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(root)]
        if made.project:
            about = Path(folder) / f"{name}-0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n", encoding="utf-8")
            (about / "entry_points.txt").write_text(f"[usecases]\n{name} = {name}:USECASE\n", encoding="utf-8")
            paths = [str(made.project), folder]
        yield {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _show_assumed(template: str, assumed: list[Assumption]) -> None:
    from shared.adapting.defaults import flow

    if assumed:
        printing.table([{"key": one.key, "value": flow(one.value), "why": one.why} for one in assumed], "Assumed")
    else:
        print(f"Nothing was assumed: it runs on the data that {template} runs on by default. --data PATH names yours.")


def _next(name: str, made: Made) -> dict[str, str]:
    """Commands to go on with, and what each is for."""
    install = {_install(made): "so that `usecases` knows it in every folder"} if made.project else {}
    return {
        **install,
        f"usecases run {name}": "train with full settings",
        f"python -m pytest {_near(made.tests)}": "its tests",
        f"usecases serve {name}": "an API and a page for its newest run",
    }


def _install(made: Made) -> str:
    return f'pip install -e "{_near(made.project or made.package)}[test]"'


def _near(path: Path) -> str:
    """From the current folder, if it lies below."""
    here = Path.cwd()
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path)
