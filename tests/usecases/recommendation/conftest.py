from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GENRES = ["Comedy", "Drama", "War", "Sci-Fi"]


def make_shop(users: int = 120, items: int = 60, seed: int = 0) -> pd.DataFrame:
    """Interactions with something to learn: each user likes one genre, and takes its items in runs."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        taste, start = user % len(GENRES), rng.integers(0, 10_000_000)
        own = [i for i in range(items) if i % len(GENRES) == taste]
        for step, item in enumerate(rng.permutation(own)[: rng.integers(5, len(own))]):
            item = item if rng.random() < 0.85 else rng.integers(items)
            rows.append((f"u{user}", f"i{item}", rng.integers(1, 6), 1_000_000_000 + start + 60 * step))
    table = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"]).drop_duplicates(["user", "item"])
    table["title"] = "Film " + table["item"]
    table["genres"] = [GENRES[int(item[1:]) % len(GENRES)] for item in table["item"]]
    return table.sort_values("timestamp").reset_index(drop=True)


SMALL = [
    "model.text=none", "model.vae.training.epochs=4", "model.transformer.training.epochs=2", "model.transformer.dim=16",
    "model.vae.hidden=16", "model.vae.latent=8", "model.min_item_events=2",
]  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    make_shop().to_csv(path, index=False)
    return path
