from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from usecases.recommendation import metrics, networks
from usecases.recommendation.config import Transformer, Vae
from usecases.recommendation.splits import Histories


def transformer(**changes: int) -> networks.TransformerRecommender:
    torch.manual_seed(0)
    config = Transformer(dim=8, layers=1, heads=1, dropout=0.0, max_length=5, **changes)
    return networks.TransformerRecommender(50, config).expect(np.arange(1, 51, dtype=np.float32))


def test_the_sampled_softmax_is_near_the_full_one() -> None:
    known = Histories.of([[1, 2, 3], [30, 4], [40, 49, 20, 7]])
    full = transformer(full_softmax_up_to=100)
    batch = networks.pack(known)
    full.train()
    expected = full.objective(full, batch)["loss"].item()
    targets = torch.tensor([2, 3, 4, 49, 20, 7])
    assert expected == pytest.approx(F.cross_entropy(full(batch) @ full.items.weight.T, targets).item())
    sampled = transformer(full_softmax_up_to=1, sampled=25).train()
    sampled.load_state_dict(full.state_dict())
    losses = [sampled.objective(sampled, batch)["loss"].item() for _ in range(200)]
    assert np.mean(losses) == pytest.approx(expected, rel=0.02)


def test_the_monitored_ndcg_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    known = Histories.of([rng.permutation(50)[:5].tolist() for _ in range(20)])
    targets = Histories.of(
        [
            [i for i in rng.permutation(60)[:4].tolist() if i not in set(known.take(np.array([u])).items)] or [59]
            for u in range(20)
        ]
    )
    net = transformer().eval()
    data = networks.Users(known, targets)
    batch = networks.collate([data[i] for i in range(20)])
    with torch.no_grad():
        found = networks.judge(50)(net, batch)
        scores = net(batch)
    scores[torch.from_numpy(known.rows), torch.from_numpy(known.items)] = -torch.inf
    hit = metrics.hits(scores.topk(10).indices.numpy(), targets, 60)
    np.testing.assert_allclose(found.numpy(), metrics.per_user(hit, targets.lengths, (10,))["ndcg@10"], rtol=1e-5)


def test_the_transformer_scores_the_same_in_any_company() -> None:
    net = transformer().eval()
    histories = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    together = net(networks.pack(Histories.of(histories)))
    for row, history in enumerate(histories):
        torch.testing.assert_close(together[row], net(networks.pack(Histories.of([history])))[0], rtol=1e-4, atol=1e-6)


def test_the_vaes_loss_is_the_bound_and_its_scores_are_probabilities() -> None:
    torch.manual_seed(0)
    net = networks.VaeRecommender(6, Vae(hidden=4, latent=2, dropout=0.0, kl_weight=0.0, copies=1)).train()
    with torch.no_grad():  # no noise: the code's variance goes to zero
        net.copies[0].code.bias[2:] = -60.0
        net.copies[0].code.weight[2:] = 0.0
    known = Histories.of([[0, 3], [5]])
    loss = net.objective(net, networks.pack(known))["loss"].item()
    with torch.no_grad():
        probability = net.eval()(networks.pack(known)) ** 2
    torch.testing.assert_close(probability.sum(1), torch.ones(2))
    assert loss == pytest.approx(-(probability[0, [0, 3]].log().sum() + probability[1, 5].log()).item() / 2, rel=1e-4)
