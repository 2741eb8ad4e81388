from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

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
