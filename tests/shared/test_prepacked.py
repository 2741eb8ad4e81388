"""Prepacked linear layers are the ordinary ones, laid out otherwise."""

import copy

import pytest
import torch
from torch import nn

from shared import hardware
from shared.models.prepacked import PrepackedLinear, prepacked


@pytest.fixture
def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Sequential(nn.Linear(40, 8, bias=False))).to(torch.bfloat16)


@pytest.mark.skipif(not hardware.native_bf16(), reason="the processor does not multiply bf16")
@torch.no_grad()
def test_a_prepacked_network_gives_the_same_to_the_bit_and_copies_to_an_ordinary_one(plain: nn.Sequential) -> None:
    x = torch.randn(5, 24).to(torch.bfloat16)
    packed = prepacked(copy.deepcopy(plain))
    assert isinstance(packed[0], PrepackedLinear)
    assert torch.equal(packed(x), plain(x))
    assert packed.state_dict().keys() == plain.state_dict().keys()
    again = copy.deepcopy(packed)
    assert type(again[0]) is nn.Linear
    again[0].weight.mul_(2)  # a copy's weights may change: it computes with them, and its origin does not
    assert torch.equal(packed(x), plain(x))
    assert not torch.equal(again(x), plain(x))


def test_layers_in_float32_stay_as_they_are(plain: nn.Sequential) -> None:
    assert type(prepacked(plain.float())[0]) is nn.Linear
