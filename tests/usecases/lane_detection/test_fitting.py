from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from usecases.lane_detection.anchors import Grid
from usecases.lane_detection.classical import Classical
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.data import Part, Rendered
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.fitting import choose, right_rows
from usecases.lane_detection.network import LaneNetwork
from usecases.lane_detection.predictor import LanePredictor

MODEL = {"width": 128, "height": 96, "widths": (8, 12), "blocks": (1, 1), "features": 8}


@pytest.fixture(scope="module")
def chosen() -> tuple[LaneDetector, dict[str, object]]:
    """What is chosen where the network has learnt nothing."""
    torch.manual_seed(0)
    config = LaneConfig.model_validate({"model": MODEL})
    validation = Part((Rendered(1, 0, 16, 480, 272),))
    return choose(LaneDetector(config, LaneNetwork(config.model).eval()), validation)


def test_the_classical_method_is_used_where_the_network_is_worse(chosen: tuple[LaneDetector, dict[str, object]]) -> None:
    detector, about = chosen
    assert detector.method == about["method"] == "classical"
    scores = about["validation_f1"]
    assert isinstance(scores, dict)
    assert scores["classical"] > scores["network"]
    assert detector.least == about["threshold"]


def test_its_confidences_are_calibrated_and_survive_saving(
    chosen: tuple[LaneDetector, dict[str, object]], tmp_path: Path
) -> None:
    detector = chosen[0]
    frame = next(frame for frame in Part((Rendered(1, 0, 16, 480, 272),)) if len(Classical()(np.asarray(frame.image))) > 1)
    image = np.asarray(frame.image)
    raw = [one.confidence for one in Classical()(image)]
    found = detector.with_threshold(0.0)([image])[0]
    assert [one.confidence for one in found] != raw
    assert np.argsort([one.confidence for one in found]).tolist() == np.argsort(raw).tolist()
    LanePredictor(detector).save(tmp_path / "artifact", {})
    again = LanePredictor.load(tmp_path / "artifact").detector
    assert again.method == "classical"
    assert [one.confidence for one in again([image])[0]] == [one.confidence for one in detector([image])[0]]


def test_where_nothing_is_found_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither method sees a line on validation: a threshold near zero would then report everything."""
    monkeypatch.setattr(LaneDetector, "__call__", lambda self, images: [[] for _ in images])
    validation = Part((Rendered(1, 0, 2, 128, 96),))
    for least, expected in ((None, 0.5), (0.7, 0.7)):
        config = LaneConfig.model_validate({"model": MODEL, "decide": {"least": least}})
        detector, about = choose(LaneDetector(config, LaneNetwork(config.model).eval()), validation)
        assert detector.least == about["threshold"] == expected


class Says(nn.Module):
    """Gives the target's columns, moved, whatever it sees."""

    def __init__(self, columns: torch.Tensor, aside: float) -> None:
        super().__init__()
        self.columns, self.aside = columns, aside

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        there = ~self.columns.isnan()
        place = (self.columns.nan_to_num() + self.aside).round().clamp(0, 31)
        return {
            "columns": nn.functional.one_hot(place.long(), 32).float() * 50,
            "rows": there.float() * 20 - 10,
            "exist": there.any(2).float() * 20 - 10,
        }


def test_an_epoch_is_judged_by_the_rows_that_are_right() -> None:
    grid = Grid(128, 96)
    rows = np.linspace(10, 95, 60)
    columns = torch.from_numpy(grid.encode([np.column_stack([64 - 0.5 * (rows - 10), rows]).astype(np.float32)])[0])[None]
    batch = {"image": torch.zeros(1, 3, 96, 128), "columns": columns.round(), "other": columns.round()}
    assert right_rows(Says(columns.round(), 0.0), batch).item() == 1.0
    assert right_rows(Says(columns.round(), 8.0), batch).item() < 0.1
    assert right_rows(Says(torch.full_like(columns, torch.nan), 0.0), batch).item() < 0.1  # all missed
    empty = torch.full_like(columns, torch.nan)
    none = {"image": batch["image"], "columns": empty, "other": empty}
    assert right_rows(Says(none["columns"], 0.0), none).item() == 1.0
    assert right_rows(Says(columns, 0.0), none).item() < 0.1  # an invention
