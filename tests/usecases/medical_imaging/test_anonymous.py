from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from usecases.medical_imaging import anonymous
from usecases.medical_imaging.anonymous import burnt_in_text, covered, pseudonym
from usecases.medical_imaging.cases import Picture

FONTS = {name: getattr(cv2, f"FONT_HERSHEY_{name}") for name in ("SIMPLEX", "DUPLEX", "COMPLEX", "TRIPLEX", "COMPLEX_SMALL")}
BRAINS = Path(__file__).parents[4] / "shared" / "data" / "medical" / "brain-mri-yes-no"


def chest(side: int) -> np.ndarray:
    """Something like a radiograph: bright, two dark lungs, ribs, noise. uint8."""
    y, x = np.mgrid[:side, :side] / side
    image = 0.55 + 0.25 * np.sin(3 * x + 1)
    for center in (0.32, 0.68):
        image -= 0.4 * np.exp(-((x - center) ** 2 / 0.02 + (y - 0.45) ** 2 / 0.08))
    for rib in range(8):
        image += 0.06 * np.exp(-((y - 0.15 - 0.09 * rib - 0.25 * (x - 0.5) ** 2) ** 2) / 0.00025)
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (side, side)), (0, 0), 1.2)
    return (255 * np.clip(image + 0.04 * noise, 0, 1)).astype(np.uint8)


def brain() -> np.ndarray:
    """A slice of the MNI152 template, uint8."""
    datasets, nib = pytest.importorskip("nilearn.datasets"), pytest.importorskip("nibabel")
    path = Path(datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    volume = np.asarray(nib.load(path).dataobj[:, :, 60:130:10], np.float32)
    return (255 * np.clip(volume / np.percentile(volume, 99.5), 0, 1)).astype(np.uint8).transpose(2, 1, 0)[:, ::-1]


def written(image: np.ndarray, text: str, font: int, height: float, corner: int, ink: int) -> tuple[np.ndarray, np.ndarray]:
    """The image in 0..1 with a text in a corner, and where its ink is."""
    scale = height / cv2.getTextSize("H", font, 1, 1)[0][1]
    thick = max(1, round(height / 14))
    (wide, high), under = cv2.getTextSize(text, font, scale, thick)
    place = 6 if corner % 2 else image.shape[1] - wide - 6, high + 6 if corner < 2 else image.shape[0] - under - 6
    image, mask = image.copy(), np.zeros(image.shape, np.uint8)
    cv2.putText(image, text, place, font, scale, ink, thick, cv2.LINE_AA)
    cv2.putText(mask, text, place, font, scale, 255, thick, cv2.LINE_AA)
    return image.astype(np.float32) / 255, mask > 100


@pytest.mark.parametrize(
    ("side", "height", "font"), [*((384, 10, font) for font in FONTS), (512, 16, "COMPLEX"), (1024, 40, "SIMPLEX")]
)
def test_text_in_corners_of_radiographs_is_found(side: int, height: int, font: str) -> None:
    for corner, text in enumerate(("SMITH JOHN", "1972-03-14", "ID 4711-0815", "Mueller, Anna")):
        image = chest(side) // 4 * 3
        if corner == 2:  # dark on a light plate
            image[-3 * height :] = 230
        pixels, ink = written(image, text, FONTS[font], height, corner, 10 if corner == 2 else 255)
        found = burnt_in_text(pixels)
        assert found[ink].mean() > 0.98, text
        assert found.mean() < 0.15


def test_text_on_slices_of_a_brain_is_found_and_the_brain_left_alone() -> None:
    for corner, image in enumerate(brain()):
        assert not burnt_in_text(image.astype(np.float32) / 255).any()
        pixels, ink = written(image, "DOE^JANE F", cv2.FONT_HERSHEY_SIMPLEX, 10, corner % 4, 200)
        found = burnt_in_text(pixels)
        assert found[ink].mean() > 0.98
        assert found.mean() < 0.15


def test_a_radiograph_and_noise_and_a_side_marker_have_no_text() -> None:
    rng = np.random.default_rng(0)
    for side in (28, 96, 256, 700):
        assert not burnt_in_text(chest(side).astype(np.float32) / 255).any()
        assert burnt_in_text(rng.random((side, side), np.float32)).mean() < 0.01
    pixels, _ = written(chest(512), "L", cv2.FONT_HERSHEY_DUPLEX, 24, 1, 255)
    assert not burnt_in_text(pixels).any()


@pytest.mark.skipif(not BRAINS.is_dir(), reason="needs ../shared/data")
def test_hospitals_brains_are_nearly_untouched() -> None:
    shares = []
    for path in sorted(BRAINS.rglob("*.jp*g"))[::6]:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            shares.append(burnt_in_text(image.astype(np.float32) / 255).mean())
    assert np.mean(shares) < 0.01  # some have captions
    assert np.mean(np.array(shares) > 0) < 0.2


def test_covered_text_is_black_in_colour_too_and_told() -> None:
    pixels, ink = written(chest(256) // 2, "SMITH JOHN", cv2.FONT_HERSHEY_SIMPLEX, 12, 1, 255)
    colour = np.dstack([pixels, pixels, pixels * 0.2])
    picture = covered(Picture("a", colour))
    assert picture.hidden is not None
    assert picture.hidden.shape == pixels.shape
    assert picture.pixels[picture.hidden].max() == 0
    assert picture.about["covered"] == pytest.approx(picture.hidden.mean(), abs=1e-4)
    assert picture.pixels[ink].max() == 0
    np.testing.assert_array_equal(picture.pixels[~picture.hidden], colour[~picture.hidden])
    assert colour.max() == 1  # the given picture is left as it was
    plain = Picture("a", chest(256).astype(np.float32) / 255)
    assert covered(plain) is plain


def test_pseudonyms_need_the_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pseudonym("4711", "a") == pseudonym("4711", "a")
    assert len({pseudonym("4711", "a"), pseudonym("4711", "b"), pseudonym("4712", "a")}) == 3
    assert len(pseudonym("4711", "a")) == 12
    assert int(pseudonym("4711", "a"), 16) >= 0
    assert pseudonym("", "a") == ""
    monkeypatch.delenv(anonymous.SALT, raising=False)
    assert anonymous.salt() == anonymous.salt() != ""
    monkeypatch.setenv(anonymous.SALT, "mine")
    assert anonymous.salt() == "mine"
