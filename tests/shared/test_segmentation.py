from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from shared.models.segmentation import UNetDecoder, dice


def test_fine_features_decide_where_and_coarse_ones_what() -> None:
    """A square is to be found where the fine features show one, but only if the coarse ones, elsewhere, say so."""
    torch.manual_seed(0)
    decoder = UNetDecoder((1, 1, 1), (8, 8), detail=2)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.005)
    for _ in range(80):
        fine, wanted = torch.zeros(8, 1, 16, 16), torch.zeros(8, 1, 64, 64)
        coarse = (torch.rand(8, 1, 1, 1) < 0.5).float()
        for i in range(8):
            top, left = torch.randint(0, 10, (2,)).tolist()
            fine[i, 0, top : top + 6, left : left + 6] = 1
            wanted[i, 0, 4 * top : 4 * top + 24, 4 * left : 4 * left + 24] = coarse[i, 0]
        found = decoder([fine, torch.zeros(8, 1, 8, 8), coarse.expand(-1, -1, 4, 4)], (64, 64))
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(found, wanted).backward()
        optimizer.step()
    assert found.shape == (8, 1, 64, 64)
    assert dice(found > 0, wanted).mean() > 0.9


def test_logits_are_as_large_as_the_image_whatever_its_sides() -> None:
    decoder = UNetDecoder((4, 6), (5,), classes=3, detail=4)
    assert decoder([torch.zeros(2, 4, 9, 13), torch.zeros(2, 6, 5, 7)], (35, 50)).shape == (2, 3, 35, 50)
    with pytest.raises(ValueError, match="2 features need 1 widths, not 2"):
        UNetDecoder((4, 6), (5, 5))


def test_dice_is_twice_what_masks_share_of_what_they_have() -> None:
    one = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).view(3, 1, 2, 2)
    other = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]).view(3, 1, 2, 2)
    torch.testing.assert_close(dice(one, other), torch.tensor([2 * 1 / 5, 1.0, 0.0]), atol=1e-5, rtol=0)
