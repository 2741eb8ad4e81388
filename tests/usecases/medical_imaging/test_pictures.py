from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.usecases.medical_imaging import bombs
from usecases.medical_imaging import pictures
from usecases.medical_imaging.scaling import Unreadable, robust, stretched


def packed(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg"])
def test_eight_bits_are_shown_as_they_are(suffix: str) -> None:
    image = np.arange(0, 160, dtype=np.uint8).reshape(10, 16)
    (picture,) = pictures.frames(packed(suffix, image), "a")
    assert picture.pixels.dtype == np.float32
    assert np.abs(picture.pixels * 255 - image).max() <= (3 if suffix == ".jpg" else 1e-4)
    assert (picture.name, picture.about["bits"], picture.about["width"], picture.about["height"]) == ("a", 8, 16, 10)
    colour = np.dstack([image, image // 2, image // 4])
    (picture,) = pictures.frames(packed(suffix, colour), "a")
    if suffix != ".jpg":
        np.testing.assert_allclose(picture.pixels * 255, colour[..., ::-1], atol=1e-4)  # RGB


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_twelve_bits_kept_in_sixteen_are_not_black(suffix: str) -> None:
    image = np.random.default_rng(0).integers(100, 4096, (40, 40)).astype(np.uint16)
    image[0, 0] = 65535  # a hot pixel
    (picture,) = pictures.frames(packed(suffix, image), "a")
    low, high = np.percentile(image, (0.5, 99.5))
    np.testing.assert_allclose(picture.pixels, np.clip((image - low) / (high - low), 0, 1), atol=1e-4)
    assert 0.4 < picture.pixels.mean() < 0.6
    deep = np.dstack([image] * 3)
    np.testing.assert_allclose(next(pictures.frames(packed(suffix, deep), "a")).pixels, deep / 65535, atol=1e-6)


def test_pages_have_numbers() -> None:
    several = [Image.new("L", (4, 3), shade) for shade in (10, 20, 30)]
    several[0].save(file := io.BytesIO(), "TIFF", save_all=True, append_images=several[1:])
    found = list(pictures.frames(file.getvalue(), "a.tif"))
    assert [picture.name for picture in found] == ["a.tif#1", "a.tif#2", "a.tif#3"]
    assert [round(float(picture.pixels.mean() * 255)) for picture in found] == [10, 20, 30]
    with pytest.raises(Unreadable, match="cut short"):
        list(pictures.frames(file.getvalue()[:-60], "a.tif"))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_values_are_stretched_between_percentiles(kind: type) -> None:
    values = np.random.default_rng(0).normal(50, 10, (100, 100)).astype(kind)
    low, high = robust(values)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, (0.5, 99.5))))
    right = np.clip((values.astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(stretched(values, low, high), right, atol=1e-5)


def test_pages_that_unpack_to_hours_are_refused() -> None:
    with pytest.raises(Unreadable, match="2,000 times"):
        list(pictures.frames(bombs.tiff(100, 4000), "a"))
    assert pictures.count(bombs.tiff(3, 20)) == len(list(pictures.frames(bombs.tiff(3, 20), "a"))) == 3


def test_nothing_but_one_value_is_black_and_a_rare_one_shows() -> None:
    same = np.full((50, 50), 7, np.int16)
    assert stretched(same, *robust(same)).max() == 0
    same[3, 4] = 9
    assert stretched(same, *robust(same)).sum() == 1
    assert robust(np.array([np.nan, np.inf])) == (0, 0)
    np.testing.assert_array_equal(stretched(np.array([np.nan, -np.inf, np.inf, 1.0]), 0, 2), [0, 0, 1, 0.5])
