from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared import streaming
from shared.errors import UserError
from shared.files import sha256
from shared.runs import Run
from tests.usecases.fraud_detection.test_predictor import judged_days, processed
from usecases.fraud_detection.answers import FraudDecision
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.stream import FraudStream

Record = dict[str, Any]
NO_LABELS = ["label", "scenario"]


def records_of(table: pd.DataFrame) -> list[Record]:
    return [
        {name: value for name, value in row.items() if name not in NO_LABELS}
        for row in table.assign(time=table["time"].astype("str")).to_dict("records")
    ]


def decide(stream: FraudStream, records: Sequence[Record], size: int = 32) -> list[Record]:
    decided: list[Record] = []
    for start in range(0, len(records), size):
        decided += stream.decide(records[start : start + size])
    return decided


@pytest.fixture
def days(run: Run, record: pd.DataFrame) -> pd.DataFrame:
    return judged_days(run, record).iloc[:240]


@pytest.fixture
def events(days: pd.DataFrame) -> list[Record]:
    """Transactions as they came, with the labels of earlier ones between them."""
    made: list[Record] = []
    for place, one in enumerate(records_of(days)):
        made.append(one)
        if place % 7 == 6:
            made.append({"transaction": days["transaction"].iloc[place - 5], "label": int(place % 3 == 0), "time": one["time"]})
    return made


def test_a_stream_decides_as_a_table_does(detector: FraudDetector, days: pd.DataFrame, tmp_path: Path) -> None:
    decisions = decide(detector.open_stream({"reasons": 0}), records_of(days))
    table = processed(detector, days.drop(columns=NO_LABELS), tmp_path)
    assert [decision["transaction"] for decision in decisions] == table["transaction"].tolist()
    np.testing.assert_allclose([decision["score"] for decision in decisions], table["score"], atol=2e-6)
    assert [decision["alert"] for decision in decisions] == table["alert"].tolist()
    ids = [decision["alert_id"] for decision in decisions if decision["alert"]]
    assert ids == table["alert_id"].dropna().tolist()
    assert ids
    for decision in decisions:
        FraudDecision.model_validate(decision)
        json.dumps(decision, allow_nan=False)


def test_it_remembers_what_a_single_request_does_not(detector: FraudDetector, days: pd.DataFrame) -> None:
    known = detector.examples()[0]
    again = [
        {**known.model_dump(include={"time", "amount", "account", "counterparty"}), "transaction": f"x{n}"} for n in range(5)
    ]
    decisions = decide(detector.open_stream({}), again, 1)
    assert decisions[0]["score"] != decisions[-1]["score"]
    assert decisions[0]["score"] == detector.predict([known])[0].score


@pytest.mark.parametrize("size", [7, 32])
def test_the_grouping_into_batches_does_not_matter(detector: FraudDetector, events: list[Record], size: int) -> None:
    single = decide(detector.open_stream({}), events, 1)
    assert decide(detector.open_stream({}), events, size) == single
    assert {"transaction", "label", "noted"} == set(single[7])


def test_the_grouping_does_not_matter_for_what_comes_out_of_order(detector: FraudDetector, days: pd.DataFrame) -> None:
    account = {
        "account": days["account"].iloc[0],
        "counterparty": days["counterparty"].iloc[0],
        "country": "DE",
        "channel": "online",
    }
    moments = pd.Timestamp("2025-03-02") + pd.to_timedelta(np.random.default_rng(0).integers(0, 3600, 40), unit="s")
    mixed = [{"transaction": f"x{n}", "time": str(at), "amount": 10.0 + n, **account} for n, at in enumerate(moments)]
    assert decide(detector.open_stream({}), mixed, 32) == decide(detector.open_stream({}), mixed, 1)


def test_a_stream_goes_on_from_a_snapshot(detector: FraudDetector, events: list[Record], tmp_path: Path) -> None:
    unbroken = decide(detector.open_stream({}), events)
    for cut in (0, 1, 133):
        first, second = detector.open_stream({}), detector.open_stream({})
        begun = decide(first, events[:cut])
        folder = tmp_path / str(cut)
        folder.mkdir()
        first.snapshot(folder)
        assert not {path.suffix for path in folder.iterdir()} - {".json", ".safetensors"}
        second.restore(folder)
        assert begun + decide(second, events[cut:]) == unbroken


def test_learning_is_deciding_without_decisions(detector: FraudDetector, events: list[Record]) -> None:
    stream, other = detector.open_stream({}), detector.open_stream({"reasons": 0})
    unbroken = decide(stream, events)
    other.learn(events[:120])
    rest = decide(other, events[120:])
    assert [decision.get("score") for decision in rest] == [decision.get("score") for decision in unbroken[120:]]


def test_a_label_counts_from_its_time_on(detector: FraudDetector, days: pd.DataFrame) -> None:
    shop = {"counterparty": "M-new", "country": "DE", "channel": "online"}
    start = pd.Timestamp("2025-03-02")
    paid = [
        {"transaction": f"x{n}", "time": str(start + pd.Timedelta(hours=n)), "amount": 20.0, "account": f"new{n}", **shop}
        for n in range(6)
    ]
    labels = [{"transaction": f"x{n}", "label": 1, "time": str(start + pd.Timedelta(days=1))} for n in range(6)]

    def score(known: list[Record], day: float) -> float:
        asked = {"transaction": "asked", "time": str(start + pd.Timedelta(days=day)), "amount": 20.0, "account": "other", **shop}
        return float(decide(detector.open_stream({}), [*paid, *known, asked])[-1]["score"])

    assert score(labels, 0.9) == score([], 0.9)
    assert score(labels, 1.1) != score([], 1.1)
    usual = [{"transaction": label["transaction"], "label": 1} for label in labels]  # known after the usual week
    assert score(usual, 6.5) == score([], 6.5)
    assert score(usual, 9) != score([], 9)
    assert score([*labels, *({**label, "label": 0} for label in labels)], 9) == score([], 9)
    stream = detector.open_stream({})
    assert stream.decide([{"transaction": "never seen", "label": "1"}]) == [
        {"transaction": "never seen", "label": 1, "noted": False}
    ]


def test_records_have_the_datas_names_or_the_requests(detector: FraudDetector, days: pd.DataFrame) -> None:
    one = records_of(days)[5]
    roles = {"transaction", "time", "account", "counterparty", "amount"}
    nested = {name: value for name, value in one.items() if name in roles}
    nested |= {"extra": {name: one[name] for name in ("country", "channel")}, "comment": "not used"}
    unix = {**one, "time": pd.Timestamp(one["time"]).timestamp()}
    scores = [decide(detector.open_stream({}), [written])[0] for written in (one, nested, unix)]
    assert scores[0] == scores[1] == scores[2]


def test_bad_records_say_what_is_wrong(detector: FraudDetector, days: pd.DataFrame) -> None:
    stream, one = detector.open_stream({}), records_of(days)[0]
    wrong: list[tuple[Record, str]] = [
        ({**one, "amount": -1}, "amount"),
        ({**one, "amount": "much"}, "amount"),
        ({**one, "time": "soon"}, "time"),
        ({name: value for name, value in one.items() if name != "time"}, "time"),
        ({**one, "transaction": ""}, "an id is needed"),
        ({"transaction": "a", "label": 2}, "label 0 or 1"),
        ({"transaction": "a", "label": [1]}, "label 0 or 1"),
        ({"label": 1}, "label 0 or 1"),
        ({}, "neither a transaction"),
        ({**one, "account": {"a": 1}}, "account"),
        ({"transaction": "a", "label": 1, "time": "soon"}, "soon"),
    ]
    for record, message in wrong:
        with pytest.raises(ValueError, match=message):
            stream.key(record)
    assert stream.key(one) == one["transaction"]
    assert stream.key({**one, "transaction": 5}) == "5"
    keys = {stream.key({"transaction": one["transaction"], "label": label}) for label in (0, 1)}
    assert len(keys | {one["transaction"]}) == 3


@pytest.mark.parametrize(
    "wrong", [{"reasons": 99}, {"reason": 1}, {"similar": -1}, {"account": "a"}], ids=lambda wrong: str(next(iter(wrong)))
)
def test_wrong_settings_are_refused(detector: FraudDetector, wrong: Record) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        detector.open_stream(wrong)


def lines(events: list[Record]) -> list[str]:
    """JSON lines of which some are bad, some given twice."""
    made = [json.dumps(event) for event in events]
    made[3:3] = ['{"amount": 3}', "no json", made[0], '{"transaction": "t", "time": "x", "amount": 1}']
    return made


def stream_file(run: Run, source: Path, out: Path) -> None:
    """An uninterrupted `usecases stream` in this process."""
    streaming.run(
        FraudDetector.load(run.artifact_dir).open_stream({}),
        source,
        out,
        Path(f"{out}.state"),
        identity={"usecase": "fraud_detection", "model": sha256(run.artifact_dir / "metadata.json"), "options": {}},
    )


def test_bad_lines_get_error_decisions_and_repeated_ones_none(run: Run, events: list[Record], tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(lines(events)) + "\n")
    stream_file(run, source, out)
    decided = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(decided) == len(lines(events)) - 1
    assert [place for place, decision in enumerate(decided) if "error" in decision] == [3, 4, 5]
    assert [decision.get("transaction") for decision in decided if "error" not in decision] == [e["transaction"] for e in events]
    expected = decide(FraudDetector.load(run.artifact_dir).open_stream({}), events)
    assert [decision for decision in decided if "error" not in decision] == expected


def test_a_killed_stream_ends_with_the_same_file(run: Run, record: pd.DataFrame, tmp_path: Path) -> None:
    table = judged_days(run, record).iloc[:4000]
    source, out, whole = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    source.write_text("\n".join(lines(records_of(table))) + "\n")
    stream_file(run, source, whole)
    wanted = whole.read_bytes()
    command = [sys.executable, "-m", "usecases", "stream", str(run.folder), str(source), "--out", str(out)]
    rng, kills = np.random.default_rng(), 0
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        written = out.stat().st_size if out.exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and not (out.exists() and out.stat().st_size > written):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.4))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wanted.startswith(out.read_bytes()[: len(wanted)].rpartition(b"\n")[0])
    assert kills
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert out.read_bytes() == wanted
