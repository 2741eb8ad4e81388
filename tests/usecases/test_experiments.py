"""Commands over several runs, through the real command line on the quickest use case; and shares of the training data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from shared.config import RunConfig, resolve
from shared.experiments import learning_curve
from shared.files import write_json
from tests.usecases.conftest import Ended
from tests.usecases.fraud_detection.conftest import configured, make_frame, transactions
from tests.usecases.lane_detection.test_splits import of_clips
from tests.usecases.recommendation.conftest import SMALL, make_shop
from usecases.chatbot import data as messages
from usecases.chatbot.config import Split
from usecases.fraud_detection import splits as payments
from usecases.lane_detection import data as frames
from usecases.lane_detection import splits as clips
from usecases.lane_detection.config import LaneConfig
from usecases.medical_imaging import splits as patients
from usecases.recommendation import data as choices
from usecases.recommendation import splits as users
from usecases.recommendation.config import RecommendationConfig

SHARES = (0.2, 0.4, 0.7, 1.0)
TINY = [*SMALL, "hardware.threads=1", "model.members=[popularity,vae]"]
Parts = tuple[set[Any], list[Any]]  # what is learnt from, and what is judged (in validation and test)


def of_payments(share: float, validation: str) -> Parts:
    frame = make_frame(rows=3000, days=60, accounts=900)
    choosing, final = payments.split(
        transactions(frame), configured(train_share=share, split={"validation": validation}, data={"label_delay_days": 2})
    )
    learnt = {("choose", row) for row in choosing.fit.tolist()} | {("final", row) for row in final.fit.tolist()}
    if share < 1:
        assert final.fit.min() > 3000 / 10  # the latest
    return learnt, [choosing.judge.tolist(), final.judge.tolist(), final.truth.tolist()]


def of_shop(share: float, method: str, folder: Path) -> Parts:
    make_shop().to_csv(folder / "shop.csv", index=False)
    overrides = [f"data.source={folder / 'shop.csv'}", f"train_share={share}", f"split.method={method}"]
    config = resolve(RecommendationConfig, [], [*overrides, "model.min_item_events=1"])
    learnt, judged = set(), []
    for stage in users.split(choices.load(config), config):
        ids = stage.catalogue.ids
        pairs = zip(stage.users[stage.past.rows], ids[stage.past.items], strict=True)
        learnt |= {(len(judged), user, item) for user, item in pairs}
        for histories in (stage.queries.known, stage.queries.targets):
            judged.append(sorted(zip(stage.queries.users[histories.rows], ids[histories.items], strict=True)))
    return learnt, judged


def of_messages(share: float) -> Parts:
    corpus = messages.load(messages.Data())
    parts = messages.split(corpus, Split(), 0, share)
    learnt = {corpus.labels[place] for place in parts.train}
    assert learnt == set(corpus.labels)  # no intent is left without an utterance
    return set(parts.train.tolist()), [parts.validation.tolist(), parts.test.tolist()]


def of_patients(share: float) -> Parts:
    rng = np.random.default_rng(0)
    unit = np.sort(rng.integers(0, 80, 300))
    labels = rng.integers(0, 2, 80)[unit]
    before = patients.split(labels, unit, 0.2, 0.2, 0)
    parts = patients.share(labels, unit, before, share, 0)
    learnt = np.flatnonzero(parts == "train")
    assert set(unit[learnt]).isdisjoint(unit[(before == "train") & (parts == "")])  # whole patients
    return set(learnt.tolist()), [np.flatnonzero(parts == part).tolist() for part in ("validation", "test")]


def of_drives(share: float) -> Parts:
    training, validation, test = clips.split(of_clips([3, 5, 2, 4, 6, 3, 7, 2, 5, 4]), 0.2, 0.2, 0, None, share)
    return {frame.name for frame in training}, [[frame.name for frame in part] for part in (validation, test)]


def of_rendered(share: float) -> Parts:
    lanes = frames.load(LaneConfig.model_validate({"train_share": share, "data": {"simulation": {"frames": 100}}}), 1)
    (rendered,) = lanes.train.sources
    assert isinstance(rendered, frames.Rendered)
    return {(rendered.seed, rendered.start + n) for n in range(rendered.count)}, [lanes.validation, lanes.test]


@pytest.mark.parametrize(
    "split",
    [
        lambda share, _: of_payments(share, "time"),
        lambda share, _: of_payments(share, "accounts"),
        lambda share, folder: of_shop(share, "time", folder),
        lambda share, folder: of_shop(share, "leave_one_out", folder),
        lambda share, folder: of_shop(share, "random", folder),
        lambda share, _: of_messages(share),
        lambda share, _: of_patients(share),
        lambda share, _: of_drives(share),
        lambda share, _: of_rendered(share),
    ],
    ids=[
        "payments",
        "payments by account",
        "shop",
        "leave one out",
        "shop at random",
        "messages",
        "patients",
        "drives",
        "rendered",
    ],
)
def test_smaller_shares_are_among_larger_ones_and_the_same_is_judged(
    split: Callable[[float, Path], Parts], tmp_path: Path
) -> None:
    found = [split(share, tmp_path) for share in SHARES]
    for (less, judged), (more, judged_too) in pairwise(found):
        assert less < more
        assert judged == judged_too
    for share, (learnt, _) in zip(SHARES, found, strict=True):
        assert len(learnt) / len(found[-1][0]) == pytest.approx(share, abs=0.15)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    make_shop().to_csv(path, index=False)
    return path


def run_of(command_here: Callable[..., Ended], shop: Path, out: Path, *more: str) -> Path:
    done = command_here("run", "recommendation", "--data", str(shop), "--out", str(out), *TINY, *more)
    assert done.code == 0, done.err[-2000:]
    return out


def interrupted(arguments: list[str], ready: Path) -> int:
    """The exit code of a command that gets Ctrl-C once a file is there that says it is well under way."""
    process = subprocess.Popen([sys.executable, "-m", "usecases", *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 300  # as long as a busy machine may take
    while not ready.exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.wait(120)


def test_runs_are_compared_in_pairs_and_their_settings_are_told(
    command_here: Callable[..., Ended], shop: Path, tmp_path: Path
) -> None:
    one = run_of(command_here, shop, tmp_path / "one")
    two = run_of(command_here, shop, tmp_path / "two", "model.vae.latent=4")
    three = run_of(command_here, shop, tmp_path / "three", "split.test=0.3")
    done = command_here("compare", str(one), str(two), str(three), "--json", "--html", str(tmp_path / "page.html"))
    assert done.code == 0
    found = json.loads(done.out)
    assert set(found["differences"]) == {"two", "three"}
    metrics = [json.loads((run / "metrics.json").read_text())["model"]["ndcg@10"]["value"] for run in (one, two)]
    gap = found["differences"]["two"]["ndcg@10"]
    assert gap["paired"]
    assert gap["value"] == pytest.approx(metrics[1] - metrics[0], abs=2e-6)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert not found["differences"]["three"]["ndcg@10"]["paired"]
    assert "split.test is 0.3, not 0.2" in found["warnings"][0]
    assert {row["key"]: row["two"] for row in found["settings"]} == {"model.vae.latent": 4, "split.test": 0.2}
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:image/)|url\((?!#)|@import", page)
    assert found["conclusion"].split(",")[0] in page
    told = command_here("compare", str(one), str(two)).out
    assert "model.vae.latent" in told
    assert "the same" in told

    assert "given twice" in command_here("compare", str(one), str(one)).err
    write_json(tmp_path / "other" / "run.json", {"usecase": "chatbot", "state": "done"})
    other = command_here("compare", str(one), str(tmp_path / "other"))
    assert (other.code, "Only runs of one use case" in other.err) == (1, True)
    missing = command_here("compare", str(one), str(tmp_path / "nowhere"))
    assert (missing.code, "no folder" in missing.err) == (1, True)
    assert command_here("compare", str(one)).code == 2


def test_a_learning_curve_that_was_interrupted_does_no_point_again(
    command_here: Callable[..., Ended], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_curve, "SHARES", (0.25, 0.5, 0.75, 1.0))
    monkeypatch.setattr(learning_curve, "WIDTHS", (0.5,))
    out, begun = tmp_path / "curve", ["run", "recommendation", "--learning-curve"]
    first = out / "points" / "data-1" / "run.json"
    second = out / "points" / "data-0.0625" / "run.json"
    assert interrupted([*begun, "--data", str(shop), "--out", str(out), *TINY], second) == 130
    assert not (out / learning_curve.RESULT).exists()
    wrong = command_here("tune", "recommendation", "--resume", "--out", str(out))
    assert "not a tuning of recommendation" in wrong.err
    before = first.stat().st_mtime_ns
    done = command_here(*begun, "--resume", "--out", str(out), "--json")
    assert done.code == 0, done.err[-2000:]
    assert first.stat().st_mtime_ns == before
    found = json.loads(done.out)
    shares = [row["amount"] for row in found["points"] if row["varied"] == "data"]
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert {"model.vae.hidden": 8, "model.vae.latent": 4, "model.transformer.dim": 8} in [
        row["settings"] for row in found["points"]
    ]
    for row in found["points"]:
        assert row["validation"]["metric"] == "ndcg@10"
        assert row["ndcg@10"] == json.loads((out / row["run"] / "metrics.json").read_text())["model"]["ndcg@10"]
    gain = found["fit"]["twice_the_data"]["gain"]
    assert gain["low"] <= gain["high"]
    assert "the same resamples" in found["fit"]["uncertainty"]
    assert (out / "report.html").exists()
    assert "has no experiment.json" in command_here(*begun, "--resume", "--out", str(tmp_path)).err


def test_a_share_too_small_to_train_on_is_told_and_the_others_stand(
    command_here: Callable[..., Ended], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_curve, "SHARES", (0.001, 1.0))
    monkeypatch.setattr(learning_curve, "WIDTHS", ())
    done = command_here(
        "run", "recommendation", "--learning-curve", "--data", str(shop), "--out", str(tmp_path / "curve"), "--json", *TINY
    )
    assert done.code == 0, done.err[-2000:]
    found = json.loads(done.out)
    assert "failed" in found["points"][0]
    assert found["fit"] is None
    assert "needs 4 points" in found["conclusion"]


def test_a_search_goes_on_after_an_interruption_and_its_best_settings_can_be_trained(
    command_here: Callable[..., Ended], shop: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    space = ["--space", "model.vae.training.learning_rate=1e-4..1e-1", "--space", "model.vae.latent=2,4"]
    arguments = ["tune", "recommendation", "--data", str(shop), "--out", str(out), "--trials", "3", *space, *TINY]
    begun = out / "trials" / "0001" / "run.json"
    assert interrupted(arguments, begun) == 130
    kept = (out / "trials" / "0000" / "run.json").stat().st_mtime_ns
    done = command_here("tune", "recommendation", "--resume", "--out", str(out), "--trials", "3", "--json")
    assert done.code == 0, done.err[-2000:]
    found = json.loads(done.out)
    assert (out / "trials" / "0000" / "run.json").stat().st_mtime_ns == kept
    assert [row["trial"] for row in found["trials"]] == [1, 2, 3]  # the second is the one that was interrupted
    assert found["trials"][0]["settings"] == {"model.vae.training.learning_rate": 2e-3, "model.vae.latent": 8}  # the defaults
    values = [row["value"] for row in found["trials"]]
    assert found["best"]["value"] == max(values)
    assert found["best"]["gain"] == pytest.approx(max(values) - values[0])
    assert not list(out.glob("trials/*/metrics.json"))  # nothing was judged on the test part
    assert not list(out.glob("trials/*/predictions.parquet"))
    best = yaml.safe_load((out / "best.yaml").read_text())["model"]["vae"]
    assert best["latent"] == found["best"]["settings"]["model.vae.latent"]
    assert best["training"]["learning_rate"] == found["best"]["settings"]["model.vae.training.learning_rate"]
    trained = command_here("run", "recommendation", "--config", str(out / "best.yaml"), "--out", str(tmp_path / "run"))
    assert trained.code == 0
    recorded = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [one["value"] for one in recorded if one["event"] == "validation"] == [pytest.approx(found["best"]["value"])]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--space", "model.vae.latnt=1..2"], "no such key to search"),
        (["--space", "model.vae.dropout=0.5..3"], "less than 1"),
        (["--resume"], "no tuning of recommendation"),
    ],
)
def test_a_search_that_cannot_be_begun_leaves_no_folder(
    more: list[str], said: str, command_here: Callable[..., Ended], tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    done = command_here("tune", "recommendation", *more)
    assert (done.code, said in done.err) == (1, True), done.err
    assert not list((tmp_path / "runs").rglob("*"))


def test_every_use_cases_knobs_can_be_searched_and_its_widths_scaled() -> None:
    pytest.importorskip("optuna")
    from shared.experiments import tuning
    from usecases import catalog

    for name in catalog.MODULES:
        usecase = catalog.get(name)
        for files in ([], [usecase.configs / "quick.yaml"]):
            config: RunConfig = resolve(usecase.config, files)
            assert usecase.knobs
            tuning.check_space(usecase.knobs, config)
            for point in learning_curve.plan(config, usecase.widths(config) if usecase.widths else ()):
                resolve(usecase.config, files, [f"{key}={json.dumps(value)}" for key, value in point.changes.items()])
