"""The transactions that a run was judged on, as another run is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from shared.errors import UserError
from shared.evaluation.classification import Ranked
from shared.evaluation.costs import Costs
from shared.files import read_json
from shared.usecase import JudgedRows
from usecases.fraud_detection.evidence import HEADLINE, RATES, saved_share

PLAIN = {"id": "transaction", "flagged": "alert"}  # what they are called of rows without a time


def judged(folder: Path) -> JudgedRows:
    """See `UseCase.judged`. Card precision is not among the metrics: predictions do not tell the day it is counted from."""
    table = pd.read_parquet(folder / "predictions.parquet").rename(columns=PLAIN)
    if "label" not in table:
        raise UserError("predictions without labels tell no metric")
    known = table[[name for name in ("time", "amount", "label") if name in table]]
    if "account" in table:
        groups = table["account"].to_numpy()
    else:
        groups = table["time"].dt.floor("h").to_numpy() if "time" in table else np.arange(len(table))
    labels, amounts = (table[name].to_numpy() for name in ("label", "amount"))
    ranked = Ranked(labels, table["score"].to_numpy())
    told = read_json(folder / "metrics.json")["costs"]
    costs = Costs(told["alert"], told["loss_share"], told["loss_fixed"])
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "roc_auc": ranked.roc_auc,
        HEADLINE: ranked.average_precision,
        **{f"recall@fpr{rate:g}": partial(ranked.recall_at_fpr, rate) for rate in RATES},
        "saved_share": saved_share(costs, table["alert"].to_numpy(), labels, amounts),
    }
    return JudgedRows(table["transaction"].astype("str").tolist(), list(known.itertuples(index=False)), groups, statistics)
