from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from shared.export import export, open_network
from tests.usecases.lane_detection.bright import guessing
from usecases.lane_detection.predictor import LanePredictor


def test_an_exported_network_finds_the_same_lines(tmp_path: Path) -> None:
    ours = guessing()
    ours.save(tmp_path / "artifact", {})
    examples = ours.examples()
    form = ours.exportable(examples)
    told = export(
        form, tmp_path / "export", usecase="lane_detection", artifact=tmp_path / "artifact", kind="onnx", precision="fp32"
    )
    assert max(told["verified"]["largest_difference"].values()) < 1e-4
    theirs = ours.with_network(open_network(tmp_path))
    for name, wanted in ours.detector.look(form.samples["image"]).items():
        np.testing.assert_allclose(theirs.detector.look(form.samples["image"])[name], wanted, atol=1e-4)
    assert [one.model_dump() for one in theirs.predict(examples)] == [one.model_dump() for one in ours.predict(examples)]


def test_the_classical_method_has_nothing_to_export() -> None:
    by_hand = LanePredictor(replace(guessing().detector, method="classical"))
    with pytest.raises(UserError, match="no network to export"):
        by_hand.exportable(by_hand.examples())
