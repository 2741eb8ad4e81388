from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.config import RunConfig
from shared.runs import Run
from shared.usecase import UseCase
from tests.twins import Twins
from usecases.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process, where its imports, which take seconds, are done; an unforeseen error is raised."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["usecases", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def twins(name: str, twins_of: Callable[[str], Twins]) -> Twins:
    """The runs of the use case that a test module's fixture `name` gives, to be read only."""
    return twins_of(name)


def trained(usecase: UseCase, config: RunConfig, folder: Path) -> Path:
    """The folder of a run of the use case with this configuration."""
    made = Run.create(usecase.name, config, folder)
    usecase.train(config, made)
    made.finish()
    return made.folder
