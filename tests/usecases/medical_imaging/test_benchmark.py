"""The published protocol, on a file of its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.config import resolve
from shared.errors import UserError
from tests.usecases.medical_imaging.conftest import TINY, body, images
from usecases.medical_imaging import benchmark, pipeline
from usecases.medical_imaging.config import MedicalConfig


def test_pneumoniamnist_is_trained_chosen_and_judged_on_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    for start, (part, count) in enumerate({"train": 24, "val": 10, "test": 12}.items()):
        made[f"{part}_images"] = np.stack([body(100 * start + k, k % 2, 28, 28) for k in range(count)])
        made[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    made["train_images"][0] = made["test_images"][0]
    np.savez(tmp_path / "pneumoniamnist.npz", **made)
    monkeypatch.setattr(pipeline, "TIMED", 2)

    def tiny(schema: type[MedicalConfig], files: tuple[()] = (), overrides: tuple[str, ...] = ()) -> MedicalConfig:
        return resolve(schema, [], [*TINY, "model.size=32", *overrides])

    monkeypatch.setattr(benchmark, "resolve", tiny)
    said: list[str] = []
    found = benchmark.pneumoniamnist(tmp_path, [0, 1], said.append)
    assert found["split"] == "23 / 10 / 12 images, as given (left out: 1, nearly the same as one in a later part)"
    assert found["seeds"] == [0, 1]
    assert set(found["metrics"]) == {"roc_auc", "accuracy", "ece"}
    auc = found["metrics"]["roc_auc"]
    assert 0 <= auc["model"]["low"] <= auc["model"]["value"] <= auc["model"]["high"] <= 1
    assert auc["published"]["Google AutoML Vision"]["value"] == 0.991
    assert set(auc["differences"]) == set(auc["baselines"])
    assert len(said) == 2
    json.dumps(found)


def test_of_one_seed_a_difference_has_limits_that_json_can_hold() -> None:
    one = dict.fromkeys(benchmark.METRICS, 0.9)
    found = benchmark._result([{"ours": one, "other": one}], [0], "", {})
    json.dumps(found, allow_nan=False)
    assert found["metrics"]["roc_auc"]["deviation"] is None
    assert found["metrics"]["roc_auc"]["differences"]["other"] == {"value": 0, "low": -1, "high": 1}


def test_another_data_set_is_not_put_beside_published_figures(tmp_path: Path) -> None:
    source = images(tmp_path / "data", {"healthy": 6, "striped": 6})
    with pytest.raises(UserError, match="is not PneumoniaMNIST"):
        benchmark.pneumoniamnist(source, [0], print)


def test_without_the_data_it_says_where_to_get_it() -> None:
    with pytest.raises(UserError, match="usecases data get pneumoniamnist"):
        benchmark.pneumoniamnist(None, [0], print)
