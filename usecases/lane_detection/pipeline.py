"""Train a lane detector: the recipe, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from shared import hardware
from shared.config import knobs
from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from shared.files import whole
from shared.hardware import Choice
from shared.runs import Run
from shared.training import Fitted
from usecases.lane_detection import data, evidence, fitting, report
from usecases.lane_detection.classical import Classical
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.data import Lanes, Part
from usecases.lane_detection.detector import LaneDetector, grid_of
from usecases.lane_detection.evidence import Judged, Seen, counted
from usecases.lane_detection.judged import SCORES, scores
from usecases.lane_detection.predictor import LanePredictor
from usecases.lane_detection.tracking import Detected

TIMED = 40
KNOWN = "trained_on"  # in the artefact's metadata: hashes of files; see `data.Lanes`
HEEDED = (  # by `evaluate`
    "data.source", "data.layout", "data.names", "data.simulation.test", "data.simulation.width", "data.simulation.height",
    "decide.", "hardware.",
)  # fmt: skip
CLASSICAL = "classical method (edges, Hough, parabolas)"
NETWORK = "row-anchor network"


@dataclass(frozen=True)
class Outcome:
    """What training gave, and how it did on the test part."""

    detector: LaneDetector
    fitted: Fitted
    choice: dict[str, Any]
    train_s: float


def train(config: LaneConfig, run: Run) -> None:
    """Fit a network on labelled frames, choose on others, judge on the last; write artefact and report."""
    chip = hardware.select(config.hardware)
    run.say(f"Computing on {chip}")
    lanes = data.load(config, chip.threads)
    if lanes.about["simulated"]:
        run.say("The frames are rendered: numbers on them say nothing about a real road")
    for finding in lanes.findings:
        run.say(f"{finding.severity}: {finding}")
    outcome = fit(config, lanes, run, chip)
    if not run.is_main:
        return
    run.say(f"Judging on {counted(len(lanes.test), 'frame')}")
    seen, judged, found = judge(lanes.test, outcome.detector)
    result = {
        **found,
        "data": lanes.about,
        "data_findings": [str(finding) for finding in lanes.findings if finding.severity != "info"],
        "protocol": _protocol(lanes),
        "split": "worlds" if lanes.about["simulated"] else "clips",
        "seed": config.seed,
        "choice": outcome.choice,
        "timing": {"train_s": outcome.train_s, **speed(outcome.detector)},
        "hardware": chip.describe(),
    }
    predictor = LanePredictor(outcome.detector)
    about = {key: result[key] for key in ("data", "protocol", "seed", "model", "name")}
    predictor.save(run.artifact_dir, about | {KNOWN: lanes.known})
    run.write_json("metrics.json", result)
    write_predictions(run.folder / "predictions.parquet", seen, judged[result["name"]])
    report.write(run, result, seen, judged, outcome.fitted)


def fit(config: LaneConfig, lanes: Lanes, run: Run, chip: Choice) -> Outcome:
    """Train the network, and settle its confidence and threshold on validation."""
    started = time.monotonic()
    grid = grid_of(config.model)
    with _counting(run, "frames", len(lanes.train) + len(lanes.validation)) as tell:
        train = fitting.pack(lanes.train, grid, True, tell)
        validation = fitting.pack(lanes.validation, grid, False, tell)
    run.say(f"Prepared {len(train) + len(validation):,} frames in {time.monotonic() - started:.0f} s")
    network, fitted = fitting.train_network(config, train, validation, run, chip)
    on_cpu = hardware.select(config.hardware.model_copy(update={"device": "cpu"}))  # where the detector computes
    detector, choice = fitting.choose(LaneDetector(config, network, precision=on_cpu.precision), lanes.validation)
    run.validated("f1", choice["validation_f1"][detector.method])
    for name, f1 in choice["validation_f1"].items():
        run.say(f"  {name}: F1 {f1:.3f} on validation")
    run.say(f"The {detector.method} is used; lines are reported from a confidence of {detector.least:.2f} on")
    return Outcome(detector, fitted, choice, round(time.monotonic() - started, 2))


def judge(part: Part, detector: LaneDetector) -> tuple[list[Seen], dict[str, Judged], dict[str, Any]]:
    """The detector, and beside it the method that it does not use; the last are the numbers for metrics.json."""
    classical = Classical()

    def by_hand(images: Sequence[np.ndarray]) -> list[list[Detected]]:
        return [classical(image) for image in images]

    ours, other = NETWORK, CLASSICAL
    beside: evidence.Method = by_hand
    if detector.method == "classical":
        ours, other, beside = CLASSICAL, NETWORK, replace(detector, method="network", calibrator=Calibrator(), least=0.5)
    seen, judged = evidence.judge(part, {ours: detector, other: beside})
    return seen, judged, evidence.summarise(seen, judged, ours, other, CLASSICAL)


def evaluate(predictor: LanePredictor, config: LaneConfig) -> dict[str, Any]:
    """Judge a trained model on the configuration's labelled frames, but for those that it was trained or chosen on.

    Raises:
        UserError: the configuration changes what is settled by training, or no frame is left.
    """
    detector = _changed(predictor.detector, config)
    threads = hardware.select(config.hardware).threads
    if config.data.source == data.SIMULATED:
        lanes = data.load(config, threads)
    else:
        lanes = data.all_of(config, threads, set(detector.about.get(KNOWN, ())))
    _, _, found = judge(lanes.test, detector)
    return {**found, "data": lanes.about, "protocol": _protocol(lanes)}


def _changed(detector: LaneDetector, config: LaneConfig) -> LaneDetector:
    """The detector with what may differ from its own configuration; that of the data is heeded elsewhere."""
    own = detector.config
    changed = [key for key, _, _ in knobs(LaneConfig) if attrgetter(key)(config) != attrgetter(key)(own)]
    refused = [key for key in changed if not key.startswith(HEEDED)]
    if "decide.least" in changed and config.decide.least is None:
        refused.append("decide.least=null")
    if refused:
        raise UserError(
            f"A trained model is judged as it is: {', '.join(refused)} would change nothing. Train again, or leave it out. "
            f"What can be changed: {', '.join(key.rstrip('.') for key in HEEDED)}."
        )
    if any(key.startswith("hardware.") for key in changed):
        chip = hardware.select(config.hardware.model_copy(update={"device": "cpu"}))  # where the detector computes
        detector = replace(detector, precision=chip.precision)
    least = config.decide.least if "decide.least" in changed and config.decide.least is not None else detector.least
    return replace(detector, config=own.model_copy(update={"decide": config.decide}), least=least)


def speed(detector: LaneDetector) -> dict[str, float]:
    """Milliseconds of the network for one 1280x720 image, resizing included, and images a second."""
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    detector([image])
    took = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        detector([image])
        took.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {"rows_per_s": round(1000 / p50, 1), "latency_ms_p50": round(float(p50), 2), "latency_ms_p99": round(float(p99), 2)}


def write_predictions(path: Path, seen: list[Seen], judged: Judged) -> None:
    """A row for each line that was found in a test frame, points in the frame's own pixels; beside them the frames' scores."""
    columns: dict[str, list[Any]] = {"frame": [], "confidence": [], "right": [], "x": [], "y": []}
    for frame, found, matched in zip(seen, judged.found, judged.matched, strict=True):
        for line, right in zip(found, matched.right.tolist(), strict=True):
            values = (frame.name, line.confidence, right, line.line[:, 0].tolist(), line.line[:, 1].tolist())
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    with whole(path) as partial:
        pq.write_table(pa.table(columns, metadata={SCORES: scores(seen, judged)}), partial)


def _protocol(lanes: Lanes) -> str:
    count, left_out = counted(len(lanes.test), "frame"), lanes.about["frames"].get("left out")
    if lanes.about["simulated"]:
        what = "rendered with other seeds than those of training"
    elif left_out is None:
        what = "of clips that were not trained on, none nearly the same as a frame that was"
    else:
        what = "whose files were not trained on"
        what += f" ({counted(left_out, 'labelled frame')} that the model was trained or chosen on left out)" if left_out else ""
    return f"{count} {what}, TuSimple's scores in the scale of images 1280 wide"


@contextmanager
def _counting(run: Run, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields `tell(n)` and shows a bar."""
    with Progress(console=Console(stderr=True), disable=not run.is_main, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n)
