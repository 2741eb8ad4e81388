"""The messages that a run was judged on, as another run is compared with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from shared.usecase import JudgedRows
from usecases.chatbot.evidence import Judged, statistics
from usecases.chatbot.protocols import Scores


def judged(folder: Path) -> JudgedRows:
    """See `UseCase.judged`."""
    table = pd.read_parquet(folder / "predictions.parquet")
    limit = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["talking"]["outside"]
    intents = sorted({*table["intent"], *table["predicted"]} - {""})
    places = {name: place for place, name in enumerate(intents)} | {"": -1}
    sure = np.zeros((len(table), len(intents)))  # of the likeliest intent alone: nothing that is asked here needs the others
    sure[np.arange(len(table)), table["predicted"].map(places)] = table["probability"]
    texts = table["message"].tolist()
    known = Judged(intents, texts, table["intent"].map(places).to_numpy())
    made = statistics(known, Scores(sure, table["outside"].to_numpy()), limit)
    return JudgedRows(texts, table["intent"].tolist(), range(len(table)), made)
