from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from shared.models.autoencoder import BagVAE
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
