from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import pytest

from shared import hardware
from tests import twins
from tests.twins import Twins

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks as small as the tests' are no faster on two threads, and many times slower where these wait for a busy core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def twins_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Twins]]:
    """The runs that the contract is tested on. They are begun with the first test, as the others leave a core free."""
    wanted = {item.callspec.params["name"] for item in request.session.items if "twins" in item.fixturenames}  # type: ignore[attr-defined]
    with twins.begun(sorted(wanted), tmp_path_factory.mktemp("twins")) as of:
        yield of


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never write to the user's runs or cache."""
    monkeypatch.setenv("USECASES_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("USECASES_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def shared_data() -> Path:
    """Real data beside the repository, where a developer has it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs {SHARED_DATA}")
    return SHARED_DATA
