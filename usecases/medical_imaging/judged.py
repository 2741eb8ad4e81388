"""The cases that a run was judged on, as another run is compared with it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shared.files import read_json
from shared.usecase import JudgedRows
from usecases.medical_imaging.evidence import Method, statistics


def judged(folder: Path) -> JudgedRows:
    """See `UseCase.judged`."""
    table = pd.read_parquet(folder / "predictions.parquet")
    classes = read_json(folder / "metrics.json")["data"]["classes"]
    labels, decided = (table[name].map(classes.index).to_numpy() for name in ("label", "finding"))
    dice = table["dice"].to_numpy() if "dice" in table else None
    method = Method(table[[f"p_{name}" for name in classes]].to_numpy(), decided, dice)
    groups = table["patient"].where(table["patient"] != "", table["case"])
    return JudgedRows(table["case"].tolist(), table["label"].tolist(), groups.to_numpy(), statistics(labels, method))
