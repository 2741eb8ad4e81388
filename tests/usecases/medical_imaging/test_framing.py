"""Pictures into the network's square and masks back, against what the geometry says."""

from __future__ import annotations

import numpy as np
import pytest

from usecases.medical_imaging.framing import framed, framed_mask, unframed

SHAPES = [(96, 96), (40, 90), (90, 40), (300, 200), (123, 457), (7, 500), (31, 33)]


def ellipse(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y / shape[0] - 0.4) / 0.25) ** 2 + ((x / shape[1] - 0.6) / 0.2) ** 2 < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_goes_to_the_square_and_comes_back_to_its_place(shape: tuple[int, int]) -> None:
    mask = ellipse(shape)
    back = unframed(framed_mask(mask, 96).astype(np.float32), shape) > 0.5
    assert back.shape == shape
    scale = max(1.0, max(shape) / 96)  # pixels of the picture to one of the square: more than the edge cannot be told
    inner = max(0, int(np.ceil(scale)))
    differ = np.argwhere(back != mask)
    edge = np.argwhere(mask & ~(_shifted(mask, inner)))
    for y, x in differ:
        assert np.abs(edge - (y, x)).max(1).min() <= 2 * inner


def _shifted(mask: np.ndarray, by: int) -> np.ndarray:
    """True where all neighbours are in the mask, too."""
    padded = np.pad(mask, by)
    high, wide = mask.shape
    moved = [padded[by + v : by + v + high, by + u : by + u + wide] for v in (-by, 0, by) for u in (-by, 0, by)]
    return np.logical_and.reduce(moved)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_place_on_the_picture_is_the_same_share_of_its_frame(shape: tuple[int, int]) -> None:
    """Brute force: each pixel of the square shows the picture where its centre falls, and the rest is black."""
    high, wide = shape
    y, x = np.mgrid[:high, :wide]
    picture = 0.2 + 0.7 * (0.5 * (y + 0.5) / high + 0.5 * (x + 0.5) / wide)
    square = framed(picture.astype(np.float32), 96, 1) / 255
    factor = 96 / max(shape)
    height, width = max(1, round(factor * high)), max(1, round(factor * wide))
    top, left = (96 - height) // 2, (96 - width) // 2
    wanted = np.zeros((96, 96))
    for row in range(height):
        for column in range(width):
            wanted[top + row, left + column] = 0.2 + 0.35 * ((row + 0.5) / height + (column + 0.5) / width)
    border = np.zeros((96, 96), bool)
    border[top : top + height, left : left + width] = True
    assert not square[~border].any()
    np.testing.assert_allclose(square[border], wanted[border], atol=0.02)


def test_grey_becomes_colour_and_colour_grey_as_the_model_needs() -> None:
    grey = np.random.default_rng(0).random((40, 30)).astype(np.float32)
    rgb = np.zeros((40, 30, 3))
    rgb[..., 0] = 1
    shown = framed(grey, 32, 3)
    assert shown.shape == (32, 32, 3)
    assert (shown[..., 0] == shown[..., 2]).all()
    assert framed(rgb, 32, 3)[16, 16].tolist() == [255, 0, 0]
    assert framed(rgb, 32, 1)[16, 16] == 76  # red's share of luminance, 0.299


def test_a_small_lesion_of_a_large_image_stays_in_its_mask() -> None:
    for top, left, height, width in ((1000, 700, 8, 8), (30, 40, 1, 60), (2047, 0, 1, 1)):
        mask = np.zeros((2048, 1800), bool)
        mask[top : top + height, left : left + width] = True
        places = np.argwhere(framed_mask(mask, 96))
        assert 1 <= len(places) <= 3
        factor = 96 / 2048
        wanted = np.array([factor * (top + height / 2), factor * (left + width / 2) + 6])
        assert np.abs(places - wanted + 0.5).max() <= 2
    assert not framed_mask(np.zeros((2048, 1800), bool), 96).any()


def test_values_come_back_between_their_limits() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    back = unframed(values, (200, 77))
    assert back.shape == (200, 77)
    assert back.dtype == np.float32
    assert 0 <= back.min() < back.max() <= 1
