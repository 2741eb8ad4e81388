"""Pictures into the network's square and masks back, against what the geometry says."""

from __future__ import annotations

import numpy as np
import pytest

from usecases.medical_imaging.framing import Frame


def whole(shape: tuple[int, int], side: int) -> Frame:
    """The frame of a picture that is bright everywhere."""
    return Frame.of(np.ones(shape), side)


SHAPES = [(96, 96), (40, 90), (90, 40), (300, 200), (123, 457), (7, 500), (31, 33)]


def ellipse(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y / shape[0] - 0.4) / 0.25) ** 2 + ((x / shape[1] - 0.6) / 0.2) ** 2 < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_goes_to_the_square_and_comes_back_to_its_place(shape: tuple[int, int]) -> None:
    mask = ellipse(shape)
    frame = whole(shape, 96)
    back = frame.back(frame.mask(mask).astype(np.float32)) > 0.5
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
    square = whole(shape, 96).image(picture.astype(np.float32), 1) / 255
    factor = 48 / max(shape)
    height, width = 2 * max(1, round(factor * high)), 2 * max(1, round(factor * wide))
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
    shown = Frame.of(grey, 32).image(grey, 3)
    assert shown.shape == (32, 32, 3)
    assert (shown[..., 0] == shown[..., 2]).all()
    assert Frame.of(rgb, 32).image(rgb, 3)[16, 16].tolist() == [255, 0, 0]
    assert Frame.of(rgb, 32).image(rgb, 1)[16, 16] == 76  # red's share of luminance, 0.299


def test_a_small_lesion_of_a_large_image_stays_in_its_mask() -> None:
    for top, left, height, width in ((1000, 700, 8, 8), (30, 40, 1, 60), (2047, 0, 1, 1)):
        mask = np.zeros((2048, 1800), bool)
        mask[top : top + height, left : left + width] = True
        places = np.argwhere(whole(mask.shape, 96).mask(mask))
        assert 1 <= len(places) <= 3
        factor = 96 / 2048
        wanted = np.array([factor * (top + height / 2), factor * (left + width / 2) + 6])
        assert np.abs(places - wanted + 0.5).max() <= 2
    assert not whole((2048, 1800), 96).mask(np.zeros((2048, 1800), bool)).any()


def test_values_come_back_between_their_limits() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    back = whole((200, 77), 64).back(values)
    assert back.shape == (200, 77)
    assert back.dtype == np.float32
    assert 0 <= back.min() < back.max() <= 1


@pytest.mark.parametrize(("shape", "colour"), [((400, 300), False), ((300, 420), True)])
def test_dark_borders_are_left_out_and_masks_and_maps_still_lie_right(shape: tuple[int, int], colour: bool) -> None:
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 0.03, shape)
    pixels[100:280, 60:220] = random.uniform(0.4, 1, (180, 160))
    mask = np.zeros(shape, bool)
    mask[150:200, 80:120] = True
    frame = Frame.of(np.repeat(pixels[..., None], 3, 2) if colour else pixels, 128)
    assert 85 <= frame.rows.start <= 100 <= 280 <= frame.rows.stop <= 300
    back = frame.back(frame.mask(mask).astype(np.float32))
    assert back.shape == shape
    assert (back[155:195, 85:115] > 0.5).all()
    assert (back > 0.5).sum() == pytest.approx(mask.sum(), rel=0.15)
    square = frame.image(pixels, 1)
    assert square[frame.mask(mask) > 0].min() > 50


def test_what_is_black_or_small_or_dark_in_the_middle_is_taken_whole_or_nearly() -> None:
    assert Frame.of(np.zeros((200, 300)), 96) == Frame((200, 300), slice(0, 200), slice(0, 300), 96)
    corner = np.zeros((28, 28))
    corner[:5, :5] = 1
    assert Frame.of(corner, 96).rows == slice(0, 28)
    ring = np.ones((300, 300))
    ring[20:280, 20:280] = 0
    assert Frame.of(ring, 96).columns == slice(0, 300)
    spot = np.zeros((300, 300))
    spot[290:, 140:160] = 1
    frame = Frame.of(spot, 96)
    assert (frame.rows.stop - frame.rows.start, frame.rows.stop) == (150, 300)  # half of the picture at least
    assert frame.columns.stop - frame.columns.start == 150
    assert frame.columns.start < 140 < 160 < frame.columns.stop
