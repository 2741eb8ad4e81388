from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from shared.data.rows import Rows, take
from shared.models.autoencoder import BagVAE, TabularVAE
from shared.models.sequence import HistoryAttention
from shared.models.tabular import EnsembleMLP, PiecewiseLinear, Standardise
from shared.models.transformer import CausalTransformer


def test_the_transformer_equals_pytorchs_padded_one() -> None:
    torch.manual_seed(0)
    dim, heads, lengths = 16, 2, torch.tensor([3, 1, 5])
    ours = CausalTransformer(dim, 1, heads, 0.3).eval()
    for weight in ours.parameters():
        nn.init.normal_(weight, std=0.3)
    block = ours.blocks[0]
    theirs = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.3, activation="gelu", batch_first=True).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": block.qkv.weight, "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj.weight": block.out.weight, "self_attn.out_proj.bias": block.out.bias,
            "linear1.weight": block.feed[0].weight, "linear1.bias": block.feed[0].bias,
            "linear2.weight": block.feed[2].weight, "linear2.bias": block.feed[2].bias,
            "norm1.weight": block.norm1.weight, "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight, "norm2.bias": block.norm2.bias,
        }
    )  # fmt: skip
    sequences = [torch.randn(int(n), dim) for n in lengths]
    with torch.no_grad():
        packed = ours(torch.cat(sequences), lengths)
        padded = nn.utils.rnn.pad_sequence([ours.norm(s) for s in sequences], batch_first=True)
        mask = nn.Transformer.generate_square_subsequent_mask(padded.shape[1])
        expected = theirs(padded, src_mask=mask, is_causal=True)
    expected = torch.cat([expected[i, :n] for i, n in enumerate(lengths)])
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=1e-4)


def test_no_token_sees_a_later_one_or_another_sequence() -> None:
    torch.manual_seed(0)
    net, lengths = CausalTransformer(8, 2, 2, 0.0).eval(), torch.tensor([4, 3])
    x = torch.randn(7, 8)
    changed = x.clone()
    changed[3:] = torch.randn(4, 8)  # the last token of the first sequence, and the whole second one
    before, after = net(x, lengths), net(changed, lengths)
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])


def test_the_vae_equals_a_dense_one() -> None:
    torch.manual_seed(0)
    net = BagVAE(size=6, hidden=5, latent=3, dropout=0.5).eval()
    items, weights, lengths = torch.tensor([0, 2, 5, 1]), torch.tensor([1.0, 2.0, 1.0, 0.5]), torch.tensor([3, 1])
    dense = torch.tensor([[1.0, 0, 2, 0, 0, 1], [0, 0.5, 0, 0, 0, 0]])
    hidden = torch.tanh(F.normalize(dense) @ net.embed.weight + net.bias)
    expected = net.decoder(net.code(hidden)[:, :3])
    logits, divergence = net(items, weights, lengths)
    torch.testing.assert_close(logits, expected)
    assert divergence.tolist() == [0, 0]


def test_the_vaes_divergence_is_that_of_two_normals() -> None:
    torch.manual_seed(0)
    net = BagVAE(size=6, hidden=5, latent=3, dropout=0.0).train()
    items, weights, lengths = torch.tensor([0, 2, 5]), torch.ones(3), torch.tensor([3])
    _, divergence = net(items, weights, lengths)
    hidden = torch.tanh(F.normalize(torch.tensor([[1.0, 0, 1, 0, 0, 1]])) @ net.embed.weight + net.bias)
    mean, log_variance = net.code(hidden).chunk(2, dim=-1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(divergence, expected)


def test_numbers_are_standardised_and_tails_drawn_in() -> None:
    rows = np.array([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]], np.float32)
    net = Standardise(2)
    net.learn(rows)
    found = net(torch.tensor([[3.0, 6.0], [3.0 + 10 * (8 / 3) ** 0.5, 5.0]]))
    expected = torch.tensor([[0.0, np.arcsinh(1.0)], [np.arcsinh(10.0), 0.0]])  # a constant number keeps its unit
    torch.testing.assert_close(found, expected.float())


def test_the_pieces_of_a_number_equal_an_example_by_hand() -> None:
    net = PiecewiseLinear.of(np.array([[0.0, 1.0, 7.0], [1.0, 1.0, 7.0], [4.0, 2.0, 7.0], [10.0, 2.0, 7.0]], np.float32), bins=3)
    x = torch.tensor([[2.5, 1.5, 7.0], [-3.0, 5.0, 7.0], [10.0, 1.0, 8.0], [99.0, 0.0, 9.0]])
    # Pieces of the first number: 0 to 1, 1 to 4, 4 to 10; of the second one only 1 to 2; the third, a constant, has none.
    expected = torch.tensor([[1, 0.5, 0, 0.5], [0, 0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 0]])
    assert len(net) == 4
    torch.testing.assert_close(net(x), expected)
    again = PiecewiseLinear(4)
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(x), expected)


def test_pieces_are_quantiles_and_a_value_of_many_rows_takes_one_edge() -> None:
    rng = np.random.default_rng(0)
    smooth, spiked = rng.normal(size=2000), np.where(rng.random(2000) < 0.9, 0, rng.exponential(size=2000))
    net = PiecewiseLinear.of(np.stack([smooth, spiked], 1).astype(np.float32), bins=8)
    starts = [net.start[net.column == place].numpy() for place in (0, 1)]
    assert 7 <= len(starts[0]) <= 8
    shares = np.diff([(smooth <= start).mean() for start in starts[0]])
    assert shares.max() < 1.3 * shares.min()
    assert 7 <= len(starts[1]) <= 8
    assert (starts[1] > 0).sum() >= 6


def test_each_perceptron_of_the_ensemble_is_one_of_its_own() -> None:
    torch.manual_seed(0)
    net = EnsembleMLP(inputs=3, hidden=4, layers=2, copies=3, dropout=0.5).eval()
    for parameters in (net.after, net.biases, net.before):
        for parameter in parameters:
            nn.init.normal_(parameter)
    x = torch.randn(5, 3)
    found = net(x)
    assert found.shape == (5, 3)
    for copy in range(3):
        hidden = x
        for weight, before, after, bias in zip(net.weights, net.before, net.after, net.biases, strict=True):
            own = before[copy].unsqueeze(1) * weight * after[copy]  # the copy's own matrix
            hidden = torch.relu(hidden @ own + bias[copy])
        torch.testing.assert_close(found[:, copy], hidden @ net.head[copy] + net.head_bias[copy])
    with torch.no_grad():
        assert torch.equal(net(x), found)
        assert torch.equal(net(x), found)  # with the matrix that was kept
        net.weights[0].mul_(2)
        assert not torch.equal(net.train().eval()(x), found)  # and not beyond the next change of the weights
        net.load_state_dict(net.state_dict() | {"weights.0": net.weights[0] / 2})
        assert torch.equal(net(x), found)
    started = EnsembleMLP(inputs=3, hidden=4, layers=2, copies=3, dropout=0.0)
    assert started.before[0].std() > 0.3
    assert (started.before[1] == 1).all()
    fresh = started(x)
    assert (fresh[:, 0] - fresh[:, 1]).abs().max() > 1e-3
    assert (fresh[:, 1] - fresh[:, 2]).abs().max() > 1e-3


def test_the_tabular_vae_notices_what_does_not_belong_together() -> None:
    torch.manual_seed(0)
    first = torch.randn(2000, 1)
    rows = torch.cat([first, first + 0.1 * torch.randn(2000, 1), torch.randn(2000, 2)], 1)
    net = TabularVAE(4, 16, 2).train()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(300):
        optimiser.zero_grad()
        net(rows).mean().backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        usual, far = net(rows[:500]), net(rows[:500] + torch.tensor([0.0, 0, 0, 8]))
        apart = net(torch.stack([rows[:500, 0], -rows[:500, 1], rows[:500, 2], rows[:500, 3]], 1)[first[:500, 0].abs() > 1])
        assert torch.equal(net(rows[:500]), usual)  # no noise
    edge = usual.quantile(0.99)
    assert (far > edge).float().mean() > 0.95
    assert (apart > edge).float().mean() > 0.8


def test_the_tabular_vaes_value_is_minus_the_evidence_bound() -> None:
    torch.manual_seed(0)
    net, x = TabularVAE(3, 4, 2).eval(), torch.randn(6, 3)
    with torch.no_grad():
        net.log_deviation.copy_(torch.tensor([0.3, -0.2, -9.0]))  # the last is drawn up to -3
        mean, log_variance = net.encoder(x).chunk(2, dim=-1)
        posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(-1)
        deviation = torch.tensor([0.3, -0.2, -3.0]).exp()
        likelihood = torch.distributions.Normal(net.decoder(mean), deviation).log_prob(x).sum(-1)
        constant = 1.5 * float(np.log(2 * np.pi))
        torch.testing.assert_close(net(x), divergence - likelihood - constant)


def test_attention_over_a_history_ignores_what_is_not_there_and_knows_the_order() -> None:
    torch.manual_seed(0)
    net = HistoryAttention(inputs=3, dim=8, heads=2, length=5, dropout=0.5).eval()
    nn.init.normal_(net.place)
    events = torch.randn(2, 5, 3)
    there = torch.tensor([[False, False, True, True, True], [False] * 4 + [True]])
    other = torch.where(there.unsqueeze(-1), events, torch.randn(2, 5, 3))
    torch.testing.assert_close(net(events, there), net(other, there))
    assert net(events, there).shape == (2, 16)
    swapped = events[:, [0, 1, 3, 2, 4]]
    changed = (net(swapped, there) - net(events, there)).abs().amax(1)
    assert changed[0] > 1e-4
    assert changed[1] == 0
    newest = events.clone()
    newest[:, -1] += 1
    assert (net(newest, there) - net(events, there)).abs().amax(1).min() > 1e-4


def test_rows_come_in_whole_batches_and_every_one_once() -> None:
    columns = {"x": torch.arange(20.0).reshape(10, 2), "y": torch.arange(10)}
    data = Rows(columns)
    assert len(data) == 10
    assert data[3]["x"].tolist() == [6, 7]
    loader = DataLoader(data, batch_size=4, shuffle=True, collate_fn=take)
    batches = list(loader)
    assert [len(batch["y"]) for batch in batches] == [4, 4, 2]
    order = torch.cat([batch["y"] for batch in batches])
    assert sorted(order.tolist()) == list(range(10))
    torch.testing.assert_close(torch.cat([batch["x"] for batch in batches]), columns["x"][order])
    with pytest.raises(ValueError, match="different lengths"):
        Rows({"x": torch.zeros(3), "y": torch.zeros(4)})
