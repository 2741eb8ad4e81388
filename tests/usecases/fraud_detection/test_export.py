from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from shared.export import export, open_network
from tests.usecases.fraud_detection.test_models import fitted as fitted  # the fixture
from tests.usecases.fraud_detection.test_models import make_rows
from usecases.fraud_detection.export import exportable
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.model import Blend, Member
from usecases.fraud_detection.predictor import FraudDetector

AMOUNTS = np.full(40, 100.0)


def test_networks_and_trees_together_become_one_graph(fitted: dict[str, Member], detector: FraudDetector, tmp_path: Path) -> None:
    members = {name: member for name, member in fitted.items() if name not in ("lightgbm", "anomaly")}
    blend = Blend(members, dict.fromkeys(members, 0.25))
    rows = make_rows(40, seed=2)[0]
    form = exportable(replace(detector.detector, blend=blend), rows, AMOUNTS)
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "metadata.json").write_text("{}")
    export(form, tmp_path / "export", usecase="fraud_detection", artifact=tmp_path / "artifact", kind="onnx", precision="fp32")
    exported = replace(blend, exported=open_network(tmp_path))
    for n in (1, 40):
        some = Rows(rows.x[:n], rows.history[:n])
        np.testing.assert_allclose(exported(some), blend(some), atol=1e-5)


def test_trees_of_lightgbm_are_refused_with_the_way_out(fitted: dict[str, Member], detector: FraudDetector) -> None:
    blend = Blend(fitted, {"lightgbm": 0.5, "tabular": 0.5})
    with pytest.raises(UserError, match=r"boosted trees \(LightGBM\), which cannot be exported.*model\.members="):
        exportable(replace(detector.detector, blend=blend), make_rows(40)[0], AMOUNTS)
