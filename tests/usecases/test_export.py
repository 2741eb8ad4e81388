"""Every use case's quick run as ONNX: exported, run by others, and used by `predict`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from tests.shared.test_export import BLOCKED
from tests.twins import Twins
from tests.usecases.conftest import Ended
from usecases import catalog, export_commands

PLAIN: dict[str, dict[str, Any]] = {"medical_imaging": {"heat": False, "mask": False}, "recommendation": {"because": 0}}
OWN = {"chatbot": ("state", "reply"), "fraud_detection": ("reasons", "similar")}
CLOSE = 0.03  # `predict` computes in bf16 where the processor does


@pytest.fixture(scope="module", params=sorted(set(catalog.MODULES) - {"lane_detection"}))  # its quick run is no network's
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(name: str, twins: Twins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to write into, without an export."""
    copy = tmp_path_factory.mktemp("run") / name
    shutil.copytree(twins.unbroken, copy, ignore=shutil.ignore_patterns("checkpoints"))
    return copy


def close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(close(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return abs(one - other) <= CLOSE if isinstance(one, float) and isinstance(other, float) else bool(one == other)


def test_a_run_is_exported_runs_elsewhere_and_predicts_the_same(
    name: str, run: Path, command_here: Callable[..., Ended], tmp_path: Path
) -> None:
    examples = catalog.get(name).load(run / "artifact").examples()
    records = json.dumps([json.loads(one.model_dump_json(exclude_unset=True)) | PLAIN.get(name, {}) for one in examples])
    missing = command_here("predict", str(run), records, "--runtime", "onnx")
    assert missing.code == 1
    assert f"usecases export {run}" in missing.err

    done = command_here("export", str(run), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert max(told["verified"]["largest_difference"].values()) < 1e-4
    assert told["verified"]["samples"] == len(examples)
    assert all(one["shape"][0] == "batch" for side in ("inputs", "outputs") for one in told[side].values())
    assert told["about"]["in_the_graph"]
    shutil.copytree(run / "export", tmp_path / "elsewhere")
    script = [sys.executable, "-c", BLOCKED, str(tmp_path / "elsewhere" / "example.py")]
    shown = subprocess.run(script, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == len(examples)

    answers = []
    for runtime in ("torch", "onnx"):
        done = command_here("predict", str(run), records, "--runtime", runtime, "--json")
        assert done.code == 0, done.err
        answers.append(json.loads(done.out))
    for one, other in zip(*answers, strict=True):
        for field in OWN.get(name, ()):
            one.pop(field, None), other.pop(field, None)
        assert close(one, other), (one, other)


@pytest.mark.parametrize(("content", "said"), [(b'{"text": "caf\xe9"}', "no text in UTF-8"), (b"{", "line 1 is not valid JSON")])
def test_samples_that_cannot_be_read_are_told(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=said):
        export_commands._records(tmp_path / "samples.jsonl")
