"""The frames that a run was judged on, as another run is compared with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from shared.errors import UserError
from shared.evaluation.calibration import Calibration
from shared.usecase import JudgedRows
from usecases.lane_detection.evidence import Judged, Seen, average

SCORES = b"frames"  # in the file's metadata, as a row of the file is a line that was found


def scores(seen: Sequence[Seen], judged: Judged) -> bytes:
    """JSON of each frame's name, clip, number of labelled lines, and its part of every metric, null where it has none."""
    above, below = judged.ratio("f1") or (np.zeros(0), np.zeros(0))
    parts = {**judged.by_frame(), "f1 above": above, "f1 below": below}
    table = {name: [float(one) if np.isfinite(one) else None for one in values] for name, values in parts.items()}
    return json.dumps(
        {"frame": [one.name for one in seen], "clip": [one.clip for one in seen], "lines": judged.labels, "scores": table}
    ).encode()


def judged(folder: Path) -> JudgedRows:
    """See `UseCase.judged`."""
    file = pq.read_table(folder / "predictions.parquet", columns=["frame", "confidence", "right"])
    if SCORES not in (file.schema.metadata or {}):
        raise UserError("its predictions are of a time when frames' scores were not kept")
    told = json.loads(file.schema.metadata[SCORES])
    table = {name: np.array(values, dtype=np.float64) for name, values in told["scores"].items()}
    above, below = table.pop("f1 above"), table.pop("f1 below")
    statistics: dict[str, Callable[[np.ndarray], float]] = {name: partial(average, values) for name, values in table.items()}
    statistics["f1"] = lambda weights: float(weights @ above / (weights @ below)) if weights @ below else 1.0
    if len(file):
        places = {name: place for place, name in enumerate(told["frame"])}
        of = np.array([places[name] for name in file["frame"].to_pylist()])
        calibration = Calibration(file["confidence"].to_numpy(), file["right"].to_numpy().astype(np.int64))
        statistics["ece"] = lambda weights: calibration.ece(weights[of]) if weights[of].any() else np.nan
    return JudgedRows(told["frame"], told["lines"], told["clip"], statistics)
