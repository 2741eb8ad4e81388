from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.config import resolve
from tests.usecases.conftest import Ended
from tests.usecases.test_contract import command
from usecases import catalog


def test_a_run_on_data_that_is_not_there_names_what_is_near_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("USECASES_RUNS", raising=False)
    (tmp_path / "customers.csv").touch()
    for usecase in ("recommendation", "fraud_detection", "lane_detection", "medical_imaging", "chatbot"):
        assert "Did you mean 'customers.csv'?" in command_here("run", usecase, "--data", "customer.csv").err
        done = command_here("run", usecase, "--data", "nope.csv")
        assert (done.code, f"{tmp_path} has customers.csv" in done.err, "amazon" in done.err) == (1, True, False)
    assert [file.name for file in tmp_path.iterdir()] == ["customers.csv"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['usecases', '--help']\nfrom usecases.cli import main\n"
    code += "try: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "recommend" not in done.stdout.split("Commands")[0]
    assert all(word in done.stdout for word in ("run", "predict", "tool", "evaluate", "check", "bench", "data", "list", "new"))
    assert not {"torch", "pandas", "numpy", "transformers", "pydantic"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "recomendation"], 1, "Did you mean 'recommendation'?"),
        (["rnu", "recommendation"], 2, "run"),
        (["run", "recommendation", "seeed=1", "split.method=tme"], 1, "Did you mean 'seed'?"),
        (["run", "recommendation", "--config", "absent.yaml"], 1, "absent.yaml"),
        (["run", "recommendation", "--nope"], 2, "--nope"),
        (["run"], 2, "NAME"),
        (["run", "recommendation", "--resume", "seed=1"], 2, "--resume goes on with the run's own configuration"),
        (["run", "recommendation", "--resume"], 1, "no unfinished run of recommendation"),
        (["predict", "recommendation", "x.csv"], 1, "no finished run of recommendation"),
        (["predict", "nowhere", "x.csv"], 1, "no folder nowhere"),
        (["check", "recommendation", "--data", "movilens-small"], 1, "Did you mean 'movielens-small'?"),
        (
            ["check", "fraud_detection", "--data", "payments.csv"],
            1,
            "There is no file or folder payments.csv. Give a path, or 'simulated'",
        ),
        (["stream", "recommendation", "-", "k=,", "--out", "x.jsonl"], 1, "no finished run of recommendation"),
        (["bench", "recommendation", "ml100k"], 1, "Did you mean 'ml-100k'?"),
        (["bench", "recommendation", "ml-100k"], 1, "needs the folder that holds ml-100k.inter"),
        (["data", "get", "movielens"], 1, "movielens-"),
        (["chat", "chatbot"], 1, "no finished run of chatbot"),
        (["bench", "chatbot", "banking"], 1, "Did you mean 'banking77'?"),
        (["tool", "chatbot", "test", "absent.yaml"], 1, "no file or folder absent.yaml"),
    ],
)
def test_mistakes_get_one_message_and_the_right_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_here: Callable[..., Ended],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command_here(*arguments)
    assert (done.code, "Traceback" in done.err) == (code, False), done.err
    assert says in done.out + done.err


def test_the_quick_configuration_can_be_checked(command_here: Callable[..., Ended]) -> None:
    assert command_here("check", "fraud_detection", "--quick").code == 0
    done = command_here("check", "fraud_detection", "--quick", "split.train_days=60")
    assert (done.code, "the record covers 77.0 days, the split needs" in done.out) == (1, True), done.out


def test_json_goes_to_stdout_alone() -> None:
    for arguments in (["list"], ["data", "list"], ["bench", "recommendation"], ["data", "get", "movielens-small"]):
        done = command(*arguments, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "usecases", "run", "recommendation", "--quick", "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    events, deadline = tmp_path / "run" / "events.jsonl", time.monotonic() + 120
    while not events.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume --out {tmp_path / 'run'}" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("name", sorted(catalog.MODULES))
def test_the_keys_that_are_listed_are_taken_with_the_defaults_that_are_told(
    name: str, command_here: Callable[..., Ended]
) -> None:
    config = catalog.get(name).config
    rows = json.loads(command_here("keys", name, "--json").out)
    told = {row["key"]: row["default"] for row in rows if row["default"] != "null"}
    assert {"seed", "data.source", "hardware.threads"} <= set(told)
    assert resolve(config, [], [f"{key}={value}" for key, value in told.items()]).settled() == config().settled()
    assert next(row for row in rows if row["key"] == "hardware.device")["may be"] == "auto, cpu, cuda, mps"
    assert all(row["what it does"] for row in rows)


def test_a_project_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "churn").mkdir()
    assert "Valid: chatbot" in command_here("run", "churn").err
    (tmp_path / "churn" / "pyproject.toml").touch()
    assert "is to be installed first: pip install -e ./churn" in command_here("run", "churn").err
