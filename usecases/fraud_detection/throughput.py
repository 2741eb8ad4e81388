"""How fast the code is: features, scores in batch, decisions of a stream."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared import hardware, streaming
from shared.config import resolve
from shared.errors import UserError
from shared.runs import Run
from usecases.fraud_detection import data
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.detector import assemble
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.pipeline import fit_and_judge
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.prepare import prepare
from usecases.fraud_detection.timeline import DAY

Log = Callable[[str], None]
WEEK = ("split.start=2018-07-25", "split.train_days=7", "split.test_days=7", "split.validation=accounts")
STREAMED = 50_000
SCORED = 300_000


def feature_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Seconds for all features of the Handbook's 1.31 million transactions, and the memory that the process took."""
    config = resolve(FraudConfig, [], [handbook(folder)])
    chip = hardware.select(config.hardware)
    transactions = data.load(config)
    process = psutil.Process()
    loaded, peak = process.memory_info().rss, 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    none = np.zeros(0, np.int64)
    seconds = min(prepare(transactions, config, none, chip.threads).seconds for _ in range(3))
    done.set()
    gigabytes = (peak - loaded) / 1e9
    log(f"{len(transactions.frame):,} transactions in {seconds:.1f} s; memory peak {gigabytes:.2f} GB above the loaded table")
    metrics = {"features_s": seconds, "memory_gb": gigabytes, "rows_per_s": len(transactions.frame) / seconds}
    return _result("feature-speed", "all transactions of the Handbook, best of 3", metrics, chip)


def batch_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Rows a second that the chosen model scores, features ready, on the Handbook's training week from 2018-07-25."""
    config = resolve(FraudConfig, [], [handbook(folder), *WEEK])
    chip = hardware.select(config.hardware)
    with tempfile.TemporaryDirectory() as scratch:
        outcome = fit_and_judge(config, data.load(config), Run(Path(scratch), "fraud_detection"), chip, log)
    assert outcome is not None  # only other processes than the main one get none
    rows = outcome.prepared.take(outcome.part.judge, outcome.inputs)
    rows = rows.take(np.resize(np.arange(len(rows)), SCORED))
    rates = {}
    scorers: dict[str, Callable[[Rows], np.ndarray]] = {"model": outcome.blend, **outcome.blend.members}
    for name, score in scorers.items():
        score(rows.take(np.arange(10_000)))  # warms up
        begun = time.perf_counter()
        score(rows)
        rates[name] = SCORED / (time.perf_counter() - begun)
    return _result(
        "batch-speed", "test week of the Handbook, repeated; features ready", {"rows_per_s": rates.pop("model")}, chip, rates
    )


def stream_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Decisions a second of a file of JSON lines, features, state, journal and reasons of alerts included, in one process."""
    config = resolve(FraudConfig, [], [handbook(folder), *WEEK])
    chip = hardware.select(config.hardware)
    transactions = data.load(config)
    frame = transactions.frame
    first = int(np.searchsorted(frame["time"].to_numpy(), frame["time"].max() - 7 * DAY))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        outcome = fit_and_judge(config, transactions, Run(place, "fraud_detection"), chip, log)
        assert outcome is not None
        detector = assemble(config, outcome.prepared, outcome.part, outcome.inputs, outcome.blend, outcome.rule)
        columns = ["transaction", "time", "account", "counterparty", "amount"]
        records = frame.iloc[first : first + STREAMED][columns].to_dict("records")
        (place / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        processor = FraudDetector(detector).open_stream({})
        summary = streaming.run(processor, place / "in.jsonl", place / "out.jsonl", place / "state", identity={})
    metrics = {name: float(summary[name]) for name in summary if name.endswith("_per_s") or name.startswith("latency")}
    return _result("stream-speed", f"{STREAMED:,} transactions of the Handbook's last week as JSON lines", metrics, chip)


def handbook(folder: Path | None) -> str:
    """The setting that names the Handbook's table in a folder."""
    file = None if folder is None else folder / "transactions.parquet"
    if file is None or not file.exists():
        raise UserError("This needs the folder that holds the Handbook's transactions.parquet: --data DIR")
    return f"data.source={file}"


def _result(
    protocol: str, split: str, metrics: dict[str, float], chip: hardware.Choice, parts: dict[str, float] | None = None
) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = {
        name: {"model": {"value": round(value, 3)}, "baselines": {}, "published": {}} for name, value in metrics.items()
    }
    if parts:
        next(iter(entries.values()))["parts"] = {name: {"value": round(rate, 1)} for name, rate in parts.items()}
    return {"usecase": "fraud_detection", "protocol": protocol, "split": split, "seeds": [0], "metrics": entries,
            "timing": {}, "hardware": chip.describe()}  # fmt: skip
