from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.adapting import project
from shared.adapting.defaults import flat
from shared.adapting.renaming import Names
from shared.config import resolve
from shared.errors import UserError
from shared.usecase import Assumption
from tests.usecases.conftest import Ended
from tests.usecases.test_contract import command
from usecases import catalog, serve
from usecases.arguments import settings_of
from usecases.new_commands import assume

ROOT = Path(__file__).parents[2]
COLUMNS = ["data.columns.user=buyer_code", "data.columns.item=thing", "data.columns.timestamp=when"]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users, each with eight of the ten items of one of four kinds; nothing to recognise the columns by."""
    file = tmp_path_factory.mktemp("data") / "events.csv"
    lines = [f"u{u},p{4 * ((u + n) % 10) + u % 4},2024-{n + 1:02d}-{1 + u % 28:02d}" for u in range(60) for n in range(8)]
    file.write_text("\n".join(["buyer_code,thing,when", *lines]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def shop(events: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A project that the command made, checked and tried; and what it printed."""
    place = tmp_path_factory.mktemp("own")
    done = command(
        "new", "shop", "--from", "recommendation", "--data", events.name, "--out", str(place / "project"), "--json",
        *COLUMNS, "model.members=[popularity]", cwd=events.parent,
        env={"USECASES_RUNS": str(place / "runs"), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "project", json.loads(done.stdout)


def installed(folder: Path, name: str, value: str) -> str:
    """A folder that tells an entry point of the group, as `pip install` leaves it."""
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[usecases]\n{name} = {value}\n")
    return str(folder)


def ruff(folder: Path, *settings: str) -> str:
    said = [
        subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", *settings, "."], cwd=folder, capture_output=True, text=True
        )
        for arguments in (["check"], ["format", "--check"])
    ]
    return "".join(done.stdout + done.stderr for done in said if done.returncode)


def test_one_command_makes_checks_and_tries_a_use_case_of_ones_own(shop: tuple[Path, dict[str, Any]], events: Path) -> None:
    folder, result = shop
    assert not [finding for finding in result["findings"] if finding["severity"] == "error"]
    assert result["run"]["usecase"] == "shop"
    assumed = {one["key"]: one["value"] for one in result["assumed"]}
    given = dict(one.split("=") for one in COLUMNS) | {"data.source": str(events), "model.members": ["popularity"]}
    assert given.items() <= assumed.items()
    written = (folder / "shop" / "configs" / "default.yaml").read_text()
    assert dict(flat(yaml.safe_load(written))) == assumed
    assert "# given on the command line" in written
    assert ruff(folder) == ""


def test_the_tests_of_an_installed_copy_pass_and_fail_where_it_is_broken(
    shop: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = shop
    paths = os.pathsep.join([str(folder), installed(tmp_path, "shop", "shop:USECASE"), str(ROOT)])

    def tested(*arguments: str) -> subprocess.CompletedProcess[str]:
        run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(run, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)

    done = tested()
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout[-3000:]
    code = folder / "shop" / "splits.py"
    working = code.read_text()
    code.write_text(
        working.replace("def check(", "def check(config: RecommendationConfig) -> list[Finding]:\n    return []\n\n\ndef _check(")
    )
    assert code.read_text() != working
    try:
        done = tested("-k", "wrong_data")
    finally:
        code.write_text(working)
    assert "1 failed" in done.stdout


@pytest.mark.parametrize("template", catalog.OURS)
def test_a_copy_has_another_name_everywhere_and_is_as_tidy_as_its_template(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a_name_that_makes_lines_longer"
    done = command_here("new", name, "--from", template, "--no-run")
    assert done.code == 0, done.err
    assert f"usecases run {name}" in done.out
    folder = tmp_path / name
    assert ruff(folder) == ""
    wrong = re.compile(rf"usecases\.{template}|usecases [a-z]+ {template}|(?<!own\()[\"']{template}[\"']|runs/{template}")
    titled = re.compile(rf"title=f?\"({catalog.get(template).title}|{template.replace('_', ' ').capitalize()})")
    for file in (one for one in folder.rglob("*") if one.suffix in {".py", ".md", ".toml", ".j2"}):
        content = file.read_text(encoding="utf-8")
        assert not wrong.search(content), file
        assert not titled.search(content), file
        assert "Numbers to expect" not in content
    _readme_speaks_of_the_copy(folder / name / "README.md", name, template)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    own = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]
    assert own["ruff"] == known["ruff"]
    assert own["mypy"] == known["mypy"] | {"packages": [name]}


def _readme_speaks_of_the_copy(readme: Path, name: str, template: str) -> None:
    """It is short, answers the four questions with the copy's own name, says where the guide is and has no figures of others."""
    content = readme.read_text(encoding="utf-8")
    assert len(content) < 4000
    for question in ("data", "metric", "model", "deployment"):
        assert content.count(f"- **My {question}**: ") == 1
    assert f"usecases serve {name}" in content
    assert (catalog.get(template).configs.parent / "README.md").as_posix() in content
    assert not re.search(r"\d%|\d,\d{3}|\.\d{3}", content)


def test_the_readme_of_a_copy_says_what_was_assumed_of_its_data_and_not_what_its_template_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    lines = [f"{n},{n % 31},{'Yes' if n % 4 == 0 else 'No'}" for n in range(200)]
    (tmp_path / "customers.csv").write_text("\n".join(["customerID,months,churn", *lines]))
    monkeypatch.chdir(tmp_path)
    assert command_here("new", "churn", "--from", "fraud_detection", "--data", "customers.csv", "--no-run").code == 0
    content = (tmp_path / "churn" / "churn" / "README.md").read_text(encoding="utf-8")
    assert "| `data.columns.label` | `churn` | it has " in content
    assert not re.search(r"(?i)payment|transaction(?!`)|credit|terminal", content)


def test_the_code_of_every_copy_passes_the_type_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "_tidy", lambda *_, **__: True)
    for template in catalog.OURS:
        folder = catalog.get(template).configs.parent
        source = project.Template(Names(template, catalog.MODULES[template].module, catalog.get(template).title), folder)
        made = project.on_its_own(tmp_path / f"of_{template}", source, Names(f"our_{template}", f"our_{template}", "Ours"), [])
        made.package.rename(tmp_path / f"our_{template}")
    settings = [
        "--config-file",
        str(tmp_path / f"of_{catalog.OURS[0]}" / "pyproject.toml"),
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
    ]
    packages = [part for template in catalog.OURS for part in ("-p", f"our_{template}")]
    command = [sys.executable, "-m", "mypy", *settings, *packages]  # all at once: what they share is looked at once
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_a_clone_it_becomes_a_subpackage_with_tests_and_a_line_in_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    for folder in ("usecases", "tests/usecases", "some/where"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usecases" / "catalog.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.chdir(tmp_path / "some" / "where")
    assert command_here("new", "churn", "--from", "fraud_detection", "--no-run").code == 0
    contracts = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (independent,) = (contract for contract in contracts if contract["type"] == "independence")
    assert independent["modules"][-1] == "usecases.churn"
    assert "from usecases.churn.config import FraudConfig" in (tmp_path / "usecases/churn/__init__.py").read_text()
    assert {file.name for file in (tmp_path / "tests/usecases/churn").iterdir()} == {"__init__.py", "test_churn.py"}
    assert ruff(tmp_path, *project.OURS) == ""
    done = command_here("new", "churn", "--from", "recommendation", "--no-run")
    assert (done.code, "not empty" in done.err) == (1, True)


def test_all_use_cases_of_the_repository_are_in_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (independent,) = (contract for contract in contracts if contract["type"] == "independence")
    ours = {point.module for point in catalog.MODULES.values() if point.module.startswith("usecases.")}
    assert set(independent["modules"]) == ours


@pytest.mark.parametrize("name", ["Churn", "9lives", "class", "json", "yaml", "chatbot", "tests", "_x", "a-b", "a" * 31])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command_here("new", name, "--from", "recommendation", "--no-run")
    assert (done.code, "such as" in done.err, list(tmp_path.iterdir())) == (1, True, [])


def test_what_fails_halfway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    def broken(*_: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "_write_tests", broken)
    assert command_here("new", "churn", "--from", "recommendation", "--no-run").code == 1
    assert command_here("new", "churn", "--from", "recommendation", "--data", "absent.csv").code == 1
    assert command_here("new", "churn", "--from", "recommendation", "splt.method=time").code == 1
    assert list(tmp_path.iterdir()) == []


def test_data_with_errors_stops_it_and_the_copy_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.csv").write_text("buyer_code,thing,when\nu1,p1,2024-01-01\n")
    done = command_here("new", "shop", "--from", "recommendation", "--data", "few.csv", *COLUMNS)
    assert (done.code, "error" in done.out, "$ usecases run" in done.out) == (1, True, False)
    assert "shop is kept in ./shop" in done.err
    assert (tmp_path / "shop" / "shop" / "configs" / "default.yaml").exists()


def test_what_is_given_wins_over_what_the_use_case_sees_in_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
        assert source == tmp_path / "mine.csv"
        assert given == {"data.columns.item": "thing", "data.items.path": str(tmp_path / "mine.csv")}
        return [Assumption("data.columns.user", "buyer", "the only ids"), Assumption("data.columns.item", "other", "ids too")]

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").touch()
    usecase = replace(catalog.get("recommendation"), suggest=suggest)
    assumed = assume(usecase, "mine.csv", {"data.columns.item": "thing", "data.items.path": "mine.csv"})
    assert {one.key: one.value for one in assumed} == {
        "data.source": str(tmp_path / "mine.csv"),
        "data.columns.user": "buyer",
        "data.columns.item": "thing",
        "data.items.path": str(tmp_path / "mine.csv"),
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.source", 5), ("costs.alert", "cheap"), ("data.columns.label", ["a"]), ("data.encoding", "utf8x")],
)
def test_a_value_that_cannot_be_is_told_before_the_data_is_looked_at(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "mine.csv").write_text("months,churn\n3,yes\n4,no\n")
    with pytest.raises(UserError, match=value if value == "utf8x" else re.escape(key)):
        assume(catalog.get("fraud_detection"), None, {"data.source": str(tmp_path / "mine.csv"), key: value})


def test_the_default_configuration_is_read_first(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text("seed: 7\nat: [3]\nmodel: {text: none}\n")
    (tmp_path / "quick.yaml").write_text("at: [4]\n")
    usecase = replace(catalog.get("recommendation"), configs=tmp_path)
    settings: Any = settings_of(usecase, True, None, None, ["seed=8"])
    assert (settings.seed, settings.at, settings.model.text) == (8, (4,), "none")
    assert settings.split == resolve(usecase.config).split


def test_a_broken_use_case_of_another_package_is_told_by_name_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_here: Callable[..., Ended], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "brokencase.py").write_text("raise ImportError('no such engine')\n")
    monkeypatch.syspath_prepend(installed(tmp_path, "engines", "brokencase:USECASE"))
    installed(tmp_path, "borrowed", "usecases.chatbot:USECASE")
    installed(tmp_path, "chatbot", "brokencase:USECASE")
    monkeypatch.setattr(catalog, "MODULES", catalog.find())
    done = command_here("list", "--json")
    assert done.code == 0
    told = {row["name"]: row["what"] for row in json.loads(done.out)}
    assert "ImportError: no such engine" in told["engines"]
    assert "python -c" in told["engines"]
    assert "is the use case 'chatbot'" in told["borrowed"]
    assert told["chatbot"] == catalog.get("chatbot").summary
    assert command_here("check", "engines").err.startswith("The use case engines cannot be loaded")
    assert set(serve.choose([])) == set(catalog.OURS)
    assert "Left out: The use case engines" in capfd.readouterr().err
