from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.config import RunConfig
from shared.errors import UserError
from shared.files import whole, write_json
from shared.runs import Run, find, runs_root, state, unfinished


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), whole(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_finished_run_is_found_by_name_and_by_folder() -> None:
    run = Run.create("thing", RunConfig())
    with pytest.raises(UserError, match="no finished run of thing"):
        find("thing", ["thing"])
    with pytest.raises(UserError, match="did not finish"):
        find(str(run.folder), ["thing"])
    run.finish()
    assert find("thing", ["thing"]) == (run.folder.resolve(), "thing")
    assert find(str(run.folder), ["thing"]) == (run.folder.resolve(), "thing")
    assert (runs_root() / "thing" / "latest").resolve() == run.folder.resolve()


def test_resume_finds_the_newest_unfinished_run(tmp_path: Path) -> None:
    Run.create("thing", RunConfig()).finish()
    with pytest.raises(UserError, match="no unfinished run"):
        unfinished("thing")
    open_run = Run.create("thing", RunConfig())
    assert unfinished("thing") == open_run.folder
    assert unfinished("thing", open_run.folder) == open_run.folder
    with pytest.raises(UserError, match="not of other"):
        unfinished("other", open_run.folder)
    write_json(open_run.folder / "run.json", {**state(open_run.folder), "pid": os.getppid()})
    with pytest.raises(UserError, match="still going on"):
        unfinished("thing", open_run.folder)
    with pytest.raises(UserError, match="no unfinished run"):
        unfinished("thing")
    reopened = Run.reopen(open_run.folder, RunConfig())
    reopened.finish()
    with pytest.raises(UserError, match="ended well already"):
        unfinished("thing", open_run.folder)


def test_a_failed_run_is_resumed_only_when_named() -> None:
    run = Run.create("thing", RunConfig())
    run.fail(UserError("the data is bad"))
    assert state(run.folder)["reason"] == "the data is bad"
    with pytest.raises(UserError, match="no unfinished run"):
        unfinished("thing")
    assert unfinished("thing", run.folder) == run.folder


def test_a_run_that_is_discarded_takes_away_only_what_was_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USECASES_RUNS", "runs")
    Path("mine").mkdir()
    Path("runs").mkdir()
    for out in (Path("mine"), Path("new/a/b"), None):
        assert Run.create("thing", RunConfig(), out).discard()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "runs"]
    monkeypatch.chdir(tmp_path / "mine")
    assert Run.create("thing", RunConfig(), Path()).discard()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_is_discarded_also_where_folders_cannot_be_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create("thing", RunConfig(), tmp_path / "new")
    monkeypatch.setattr(Path, "rmdir", lambda _: (_ for _ in ()).throw(PermissionError("not yours")))
    assert run.discard()
    assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize("event", ["begun", "epoch", "validation"])
def test_a_run_whose_training_has_begun_is_not_discarded(event: str) -> None:
    run = Run.create("thing", RunConfig())
    run.say("Reading")
    run.event(event)
    assert not run.discard()
    assert (run.folder / "config.yaml").exists()


def test_a_used_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        Run.create("thing", RunConfig(), tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no readable run\.json"):
        find(str(tmp_path), ["thing"])
    with pytest.raises(UserError, match="There is no folder"):
        find(str(tmp_path / "absent"), ["thing"])
