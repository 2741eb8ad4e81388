"""The files of a new use case: a copy of a template's package, its tests, and outside the repository a project around both."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from shared.adapting import defaults, renaming
from shared.adapting.renaming import Names
from shared.errors import UserError
from shared.files import write_text
from shared.usecase import Assumption

INDEPENDENT = re.compile(r'(name = "use cases do not import each other"\n(?:.*\n)*?modules = \[[^\]]*?)(,?\s*\])')
OURS = ("--config", 'lint.isort.known-first-party = ["usecases", "shared"]')  # which ruff cannot see before all is in its place
LEFT_OUT = "report.png"  # a picture of the template's own report
TEXTS = {".py", ".md", ".j2"}


@dataclass(frozen=True)
class Template:
    """A use case to copy: its names, and the folder of its package."""

    names: Names
    folder: Path


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        package: the folder of the copy.
        tests: the folder of its tests.
        project: the folder of the project around both; None in the repository.
        is_tidy: whether ruff went over it.
    """

    package: Path
    tests: Path
    project: Path | None
    is_tidy: bool


def checkout(folder: Path) -> Path | None:
    """The clone of this repository that a folder is in, if it is in one."""
    for place in (folder, *folder.parents):
        if (place / "usecases" / "catalog.py").is_file() and (place / "pyproject.toml").is_file():
            with (place / "pyproject.toml").open("rb") as file:
                if tomllib.load(file).get("project", {}).get("name") == "usecases":
                    return place
    return None


def in_repository(root: Path, template: Template, new: Names, assumed: Sequence[Assumption]) -> Made:
    """Write `usecases/NAME/` and `tests/usecases/NAME/`, and name it in import-linter's contract.

    Raises:
        UserError: one of the two is there already.
    """
    package, tests = root / "usecases" / new.name, root / "tests" / "usecases" / new.name
    with _beside(package) as code, _beside(tests) as checks:
        _copy(template, new, assumed, code)
        (checks / "__init__.py").touch()
        _write_tests(template, new, checks)
        tidy = _tidy(code, checks, settings=OURS)
    write_text(root / "pyproject.toml", independent((root / "pyproject.toml").read_text("utf-8"), new.package))
    return Made(package, tests, None, tidy)


def on_its_own(folder: Path, template: Template, new: Names, assumed: Sequence[Assumption]) -> Made:
    """Write a project: pyproject.toml with the entry point, `NAME/`, `tests/`, README.md.

    Raises:
        UserError: the folder holds something.
    """
    with _beside(folder) as project:
        _copy(template, new, assumed, project / new.name)
        (project / "tests").mkdir()
        _write_tests(template, new, project / "tests")
        for file, source in {"pyproject.toml": "pyproject.toml.j2", "README.md": "project.md.j2"}.items():
            (project / file).write_text(_render(source, new=new, old=template.names), encoding="utf-8")
        (project / ".gitignore").write_text("runs/\n__pycache__/\n*.egg-info/\n", encoding="utf-8")
        tidy = _tidy(project)
    return Made(folder / new.name, folder / "tests", folder, tidy)


def independent(pyproject: str, package: str) -> str:
    """The repository's pyproject.toml with the package among those that must not import each other."""
    return INDEPENDENT.sub(rf'\g<1>, "{package}"\g<2>', pyproject, count=1)


def _copy(template: Template, new: Names, assumed: Sequence[Assumption], to: Path) -> None:
    old = template.names
    for source in sorted(template.folder.rglob("*")):
        part = source.relative_to(template.folder)
        hidden = any(name.startswith(".") or name == "__pycache__" for name in part.parts)
        if source.is_dir() or hidden or source.name == LEFT_OUT:
            continue
        target = to / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix not in TEXTS:
            shutil.copyfile(source, target)
            continue
        content = source.read_text(encoding="utf-8")
        if source.name == "__init__.py" and len(part.parts) == 1:
            content = renaming.front(content, old, new)
        elif source.suffix == ".py":
            content = renaming.code(content, old, new)
        elif part == Path("README.md"):
            guide, place = renaming.guide(content, old, new), _guide_of(template, new)
            content = _render(
                "readme.md.j2", new=new, old=old, assumed=assumed, heading=renaming.ADAPTING, guide=guide, place=place
            )
        else:
            content = renaming.text(content, old, new)
        target.write_text(content, encoding="utf-8")
    if assumed:
        (to / "configs").mkdir(exist_ok=True)
        (to / "configs" / "default.yaml").write_text(defaults.document(new.name, assumed), encoding="utf-8")


def _guide_of(template: Template, new: Names) -> str:
    """Where the template's own README is, as Markdown."""
    if "." in new.package:
        return f"[its README](../{template.folder.name}/README.md)"
    return f"`{template.names.package.replace('.', '/')}/README.md` of its package (`{template.folder / 'README.md'}`)"


def _write_tests(template: Template, new: Names, to: Path) -> None:
    (to / f"test_{new.name}.py").write_text(_render("test_usecase.py.j2", new=new, old=template.names), encoding="utf-8")


def _render(name: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("shared.adapting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": defaults.flow, "cell": lambda text: " ".join(text.split()).replace("|", "\\|")}
    return environment.get_template(name).render(values)


def _tidy(*folders: Path, settings: Sequence[str] = ()) -> bool:
    """Sort imports and break lines as ruff does, for names are of other lengths now, and excuse texts that became too long.

    Without ruff it is left as it is.
    """
    if importlib.util.find_spec("ruff") is None:
        return False
    for folder in folders:
        for arguments in (["check", "--fix-only", "--select", "I"], ["format"], ["check", "--add-noqa", "--select", "E501"]):
            command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache", *settings, "."]
            subprocess.run(command, cwd=folder, check=True)
    return True


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside it, which takes its place on success and is removed on failure."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty. Give another name, or another --out.")
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
