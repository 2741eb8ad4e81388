"""Real roads with labels, and how fast the code is."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared import hardware
from shared.config import Hardware, resolve
from shared.errors import UserError
from shared.hardware import Choice
from shared.runs import Run, finished
from usecases.lane_detection import data, simulator
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.data import Part
from usecases.lane_detection.evidence import counted
from usecases.lane_detection.network import LaneNetwork, objective
from usecases.lane_detection.pipeline import judge, speed, train
from usecases.lane_detection.predictor import NAME, LanePredictor

Log = Callable[[str], None]
STEPS, BATCH = 6, 16
METRICS = ("accuracy", "fp", "fn", "f1")
SOURCE = "Zheng et al. 2022, table 3: trained on 3,626 of TuSimple's own frames, judged on its 2,782 test frames"
PUBLISHED = {
    "UFLD, ResNet-18 (Qin et al. 2020)": {"accuracy": 0.9582, "fp": 0.1905, "fn": 0.0392},
    "CLRNet, ResNet-18 (Zheng et al. 2022)": {"accuracy": 0.9684, "fp": 0.0228, "fn": 0.0192},
}


def tusimple(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """TuSimple's scores of a run on rendered frames with the default settings; without one it trains first."""
    if folder is None or not folder.exists():
        raise UserError("This needs a folder of frames with TuSimple's labels: --data DIR")
    log("One run is judged, however many --seeds")
    detector = _standard(log).detector
    chip = hardware.select(detector.config.hardware)
    where = detector.config.data.model_copy(update={"source": str(folder.resolve()), "layout": "tusimple"})
    lanes = data.all_of(detector.config.model_copy(update={"data": where}), chip.threads)
    log(f"Judging on {counted(len(lanes.test), 'frame')} of {folder}")
    *_, found = judge(lanes.test, detector)
    ((other, differences),) = found["differences"].items()
    metrics = {
        metric: {
            "model": found["model"][metric],
            "baselines": {name: table[metric] for name, table in found["baselines"].items()},
            "parts": {name: table[metric] for name, table in found["parts"].items()},
            "published": {name: {"value": own[metric], "source": SOURCE} for name, own in PUBLISHED.items() if metric in own},
            "difference": {"name": other, **differences[metric]},
            "differences": {other: differences[metric]},
        }
        for metric in METRICS
        if metric in found["model"]
    }
    split = f"{counted(len(lanes.test), 'frame')} of {folder.name}; trained on {detector.config.data.source} frames"
    return _result("tusimple", split, metrics, chip, speed(detector), detector.config.seed)


def _standard(log: Log) -> LanePredictor:
    """The newest run that was trained on rendered frames with the default settings; a new one where there is none."""
    for folder in finished(NAME):
        try:
            predictor = LanePredictor.load(folder / "artifact")
        except UserError as error:
            log(f"Not the run in {folder}: {error}")
            continue
        own, default = predictor.detector.config, LaneConfig()
        if (own.data, own.model, own.decide) == (default.data, default.model, default.decide):
            log(f"The model is that of {folder}, seed {own.seed}")
            return predictor
        log(f"Not the run in {folder}: it was not trained on rendered frames with the default settings")
    config = resolve(LaneConfig)
    run = Run.create(NAME, config)
    log(f"Training with the default settings into {run.folder}")
    train(config, run)
    run.finish()
    return LanePredictor.load(run.artifact_dir)


def training_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Seconds of a training step as configured, against the same network in a plain fp32 loop in the usual memory layout."""
    config = resolve(LaneConfig)
    chip = hardware.select(config.hardware)
    scene = torch.randint(0, 255, (BATCH, config.model.height, config.model.width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    columns = torch.rand(BATCH, 6, config.model.height // 4) * (config.model.width // 4 - 1)
    torch.manual_seed(0)
    network, targets = LaneNetwork(config.model), {"columns": columns, "other": columns}
    plain = _steps(copy.deepcopy(network), {"image": scene.contiguous(), **targets}, bf16=False, fused=False)
    hardware.keep_memory()
    bf16 = chip.precision == "bf16"
    ours = _steps(hardware.channels_last(network), {"image": scene, **targets}, bf16=bf16, fused=True)
    log(f"{1000 * ours:.0f} ms a step of {BATCH} frames; plain fp32 loop {1000 * plain:.0f} ms")
    values = {"ratio": plain / ours, "step_s": ours, "plain_step_s": plain}
    return _result(
        "training-speed", f"steps of {BATCH} frames {config.model.width}x{config.model.height}", _plain(values), chip, {}
    )


def _steps(network: torch.nn.Module, batch: dict[str, torch.Tensor], bf16: bool, fused: bool) -> float:
    """Seconds of the median step, the first two left out."""
    optimizer = torch.optim.AdamW(network.train().parameters(), fused=fused)
    took = []
    for _ in range(STEPS + 2):
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(network, batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - begun)
    return float(np.median(took[2:]))


def simulator_speed(folder: Path | None, seeds: Sequence[int], log: Log) -> dict[str, Any]:
    """Frames that one process, and all cores, render in a second at 640x360."""
    chip = hardware.select(Hardware())
    begun = time.perf_counter()
    for index in range(120):
        simulator.render(0, index)
    one = 120 / (time.perf_counter() - begun)
    frames = replace(data.simulated(LaneConfig().data.simulation, 0)[0], count=400)
    for count, _ in enumerate(Part((frames,), chip.threads), 1):
        if count == 40:  # the processes have started
            begun = time.perf_counter()
    values = {"frames_per_s": one, "frames_per_s_all_cores": 360 / (time.perf_counter() - begun)}
    return _result("simulator-speed", "frames of 640x360", _plain(values), chip, {})


def _plain(values: dict[str, float]) -> dict[str, Any]:
    return {name: {"model": {"value": round(value, 3)}, "baselines": {}, "published": {}} for name, value in values.items()}


def _result(
    protocol: str, split: str, metrics: dict[str, Any], chip: Choice, timing: dict[str, float], seed: int = 0
) -> dict[str, Any]:
    return {"usecase": NAME, "protocol": protocol, "split": split, "seeds": [seed], "metrics": metrics, "timing": timing,
            "hardware": chip.describe()}  # fmt: skip


BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "tusimple": tusimple,
    "training-speed": training_speed,
    "simulator-speed": simulator_speed,
}
