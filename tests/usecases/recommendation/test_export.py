from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.errors import UserError
from usecases.recommendation import linear, networks
from usecases.recommendation.config import Transformer, Vae
from usecases.recommendation.export import Graph, as_arrays, as_histories, exportable
from usecases.recommendation.model import Blend, ColdLinks, Neural, Popularity
from usecases.recommendation.splits import Histories

WARM, COLD = 12, 4
KNOWN = Histories.of([[0, 3, 5], [], [12, 13], [2, 14, 2, 7, 1, 9, 4], [15], [6]])


def blend(links: int = 3, **weights: float) -> Blend:
    """Untrained members; the last new item has no text, so that nothing is linked to it."""
    torch.manual_seed(0)
    shape = Transformer(dim=8, layers=2, heads=2, max_length=4)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(WARM, WARM)).astype(np.float32)
    members = {
        "popularity": Popularity(np.arange(WARM)),
        "near_ease": linear.Linear(matrix, linear.Settings(decay=0.8)),
        "vae": Neural(networks.VaeRecommender(WARM, Vae(hidden=8, latent=4)), None),
        "transformer": Neural(networks.TransformerRecommender(WARM, shape), shape.max_length),
    }
    texts = torch.nn.functional.normalize(torch.randn(WARM + COLD, 5), dim=-1)
    texts[-1] = 0
    cold = ColdLinks.nearest(texts[:WARM], texts[WARM:], 0.3) if links else ColdLinks.none(COLD)
    return Blend(members, weights or dict.fromkeys(members, 0.5), torch.arange(float(WARM)), cold)  # type: ignore[arg-type]


@pytest.mark.parametrize("member", ["popularity", "near_ease", "vae", "transformer", ""])
@pytest.mark.parametrize("links", [0, 3])
def test_the_graph_scores_as_the_blend_does(member: str, links: int) -> None:
    model = blend(links, **({member: 1.0} if member else {}))
    arrays = as_arrays(KNOWN)
    with torch.inference_mode():
        (scores,) = Graph(model).eval()(*(torch.from_numpy(arrays[name]) for name in ("items", "weights")))
    wanted = model.score(KNOWN)
    assert torch.equal(scores.isinf(), wanted.isinf())
    torch.testing.assert_close(scores[wanted.isfinite()], wanted[wanted.isfinite()], atol=1e-5, rtol=0)


def test_histories_become_rows_and_come_back() -> None:
    again = as_histories(as_arrays(KNOWN))
    np.testing.assert_array_equal(again.items, KNOWN.items)
    np.testing.assert_array_equal(again.offsets, KNOWN.offsets)


def test_a_table_too_large_to_be_dense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usecases.recommendation.export.DENSE_UP_TO", 5)
    with pytest.raises(UserError, match="part 'near_ease' cannot be exported: it has a table of more than 5 items"):
        exportable(blend(near_ease=1.0), [str(place) for place in range(WARM + COLD)], KNOWN)
