"""The simulated scanner: what tissue looks like in a contrast, and what a measurement does to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

from usecases.medical_imaging.anatomy import Body, Tissues
from usecases.medical_imaging.lesions import Contrast

CONTRASTS: dict[Contrast, float] = {"T1": 0.2, "T1 with contrast agent": 0.3, "T2": 0.2, "FLAIR": 0.3}  # shares of people
# Brightness of fluid, grey, white, bone, marrow, fat, vessels
LOOKS: dict[Contrast, tuple[float, ...]] = {
    "T1": (0.16, 0.46, 0.64, 0.06, 0.45, 0.95, 0.3),
    "T1 with contrast agent": (0.14, 0.42, 0.50, 0.05, 0.42, 0.95, 0.95),
    "T2": (1.0, 0.52, 0.36, 0.06, 0.35, 0.6, 0.1),
    "FLAIR": (0.1, 0.54, 0.42, 0.05, 0.3, 0.65, 0.2),
}


@dataclass(frozen=True)
class Look:
    """One person's brightness of tissues, and the settings that a scan keeps for all its slices.

    Attributes:
        fluid, grey, white, bone, marrow, fat, vessel: brightness, about 0..1.
        caps: extra brightness of white matter next to the ventricles, as in older people.
        bias: [4, 4] logarithms of the coil's sensitivity, and `hot`: one place (in 0..1 of the image), its width and its gain.
        kept: share of the measured frequencies that is kept, for rows and columns; less is more blurred, with rings at edges.
        blur: pixels, standard deviation, of scans that are not cut in frequency space.
        noise: standard deviation as a share of white matter's brightness.
        ghost: (strength, period in lines) of a regular ghost; (0, 0): none.
        window: brightness shown as black and as white.
        gamma: exponent of the display.
    """

    contrast: Contrast
    fluid: float
    grey: float
    white: float
    bone: float
    marrow: float
    fat: float
    vessel: float
    caps: float
    bias: np.ndarray
    hot: tuple[float, float, float, float]
    kept: tuple[float, float] | None
    blur: float
    noise: float
    ghost: tuple[float, int]
    window: tuple[float, float]
    gamma: float

    @property
    def mean(self) -> float:
        """Of grey and white matter."""
        return (self.grey + self.white) / 2


def look(rng: np.random.Generator) -> Look:
    """A random scan."""
    contrast = list(CONTRASTS)[rng.choice(len(CONTRASTS), p=list(CONTRASTS.values()))]
    levels = np.array(LOOKS[contrast]) * rng.normal(1, 0.06, 7)
    fluid, grey, white, bone, marrow, fat, vessel = (float(level) for level in levels)
    middle = (grey + white) / 2
    spread = rng.uniform(0.45, 1.25)  # some sequences hardly tell grey from white
    grey, white = middle + (grey - middle) * spread, middle + (white - middle) * spread
    edge, side = rng.uniform(0, 2 * np.pi), rng.random() < 0.3
    low = rng.uniform(0, 0.1) * middle
    high = max(grey, white) * rng.uniform(1.15, 2.1) if contrast != "T2" else rng.uniform(0.75, 1.15)
    return Look(
        contrast=contrast,
        fluid=fluid,
        grey=grey,
        white=white,
        bone=bone,
        marrow=marrow * rng.uniform(0.5, 1.4),
        fat=fat * rng.uniform(0.35, 1.2),
        vessel=vessel,
        caps=float(rng.uniform(0.1, 0.6)) if contrast in ("T2", "FLAIR") and rng.random() < 0.35 else 0.0,
        bias=(rng.normal(0, rng.uniform(0.03, 0.14), (4, 4))).astype(np.float32),
        hot=(
            0.5 + 0.42 * float(np.cos(edge)),
            0.5 + 0.42 * float(np.sin(edge)),
            float(rng.uniform(0.1, 0.25)),
            float(rng.uniform(0.15, 0.6)) * side,
        ),
        kept=(float(rng.uniform(0.55, 0.95)), float(rng.uniform(0.6, 1.0))) if rng.random() < 0.4 else None,
        blur=float(rng.uniform(0.45, 1.0)),
        noise=float(np.exp(rng.uniform(np.log(0.008), np.log(0.07)))),
        ghost=(float(rng.uniform(0.02, 0.08)), int(rng.integers(2, 5))) if rng.random() < 0.08 else (0.0, 0),
        window=(low, high),
        gamma=float(np.exp(rng.normal(0, 0.12))),
    )


def brightness(rng: np.random.Generator, look: Look, body: Body, tissues: Tissues, spacing: float) -> np.ndarray:
    """What a perfect scanner would measure, float32 [size, size]: tissues, skull, and harmless spots that are no lesions."""
    size = len(tissues.brain)
    image = look.fluid * tissues.fluid + look.grey * tissues.grey + look.white * tissues.white
    if look.caps:
        fluid = cv2.resize(np.where(tissues.out < -25, tissues.fluid, 0), (size // 4, size // 4), interpolation=cv2.INTER_AREA)
        near = cv2.resize(cv2.GaussianBlur(fluid, (0, 0), 5 / (4 * spacing)), (size, size))
        image += look.caps * look.mean * np.clip(2.2 * near, 0, 1) * tissues.white
    image *= 1 + _cloud(rng, size, 4 * spacing, 0.022)
    _spots(rng, image, look, tissues, spacing)
    if body.stripped:
        return image * tissues.brain
    around = _around(rng, look, body, tissues.out, spacing)
    inside = np.clip((body.layers[0] - tissues.out) / 0.8, 0, 1)
    np.maximum(inside, tissues.brain, out=inside)
    return around + inside * (image - around)


def _cloud(rng: np.random.Generator, size: int, pixels: float, spread: float) -> np.ndarray:
    """A smooth random field of this standard deviation that varies over this many pixels, float32 [size, size]."""
    n = max(4, int(size / pixels))
    return cv2.resize(rng.standard_normal((n, n), np.float32) * np.float32(spread), (size, size), interpolation=cv2.INTER_CUBIC)


def _around(rng: np.random.Generator, look: Look, body: Body, out: np.ndarray, spacing: float) -> np.ndarray:
    """Bone with marrow, scalp with fat, skin, air, by the distance from the hull."""
    fluid, bone, scalp = body.layers
    a, b, c = fluid, fluid + bone, fluid + bone + scalp
    steps = [
        -99,
        a - 0.3,
        a + 0.5,
        a + 0.3 * bone,
        a + 0.5 * bone,
        a + 0.7 * bone,
        b - 0.3,
        b + 0.7,
        c - 2,
        c - 1,
        c - 0.3,
        c + 0.4,
        99,
    ]
    muscle = 0.8 * look.grey
    levels = [look.fluid, look.fluid, look.bone, look.bone, look.marrow * min(1, bone / 6), look.bone, look.bone]
    levels += [look.fat, look.fat, muscle, muscle, 0, 0]
    table = np.interp(np.arange(1024) / 16 - 16, steps, levels).astype(np.float32)
    size = len(out)
    shaky = out + _cloud(rng, size, 14 / spacing, 0.35)
    found = table[np.clip((shaky + 16) * 16, 0, 1023).astype(np.intp)]
    uneven: np.ndarray = found * np.clip(
        1 + _cloud(rng, size, 5 / spacing, 0.13) + _cloud(rng, size, 20 / spacing, 0.15), 0.2, 1.8
    )
    return uneven


def _spots(rng: np.random.Generator, image: np.ndarray, look: Look, tissues: Tissues, spacing: float) -> None:
    """Vessels cut across, choroid plexus and specks of lime: all below the least size of a lesion. Changes the image."""
    size = len(image)
    count = rng.poisson(60 if look.caps else 14)
    where = rng.integers(2, size - 2, (count, 2))
    kinds, radii = rng.random(count), rng.uniform(0.4, 1.35, count)
    for (i, j), kind, radius in zip(where, kinds, radii, strict=True):
        if tissues.brain[i, j] < 0.9 or tissues.out[i, j] > -3 or (tissues.fluid[i, j] < 0.1 and kind < 0.6):
            continue  # most vessels that can be seen run in sulci
        deep = tissues.fluid[i, j] > 0.6 and tissues.out[i, j] < -25
        level = look.vessel if kind < 0.75 else 0.03
        if look.caps and tissues.white[i, j] > 0.8:
            level = (1 + look.caps) * look.mean
        if deep and look.contrast == "T1 with contrast agent":
            level, radius = look.vessel, 1.3 * radius
        reach = int(2 * radius / spacing) + 2
        rows, columns = slice(max(0, i - reach), i + reach + 1), slice(max(0, j - reach), j + reach + 1)
        y, x = np.arange(rows.start, min(size, rows.stop)) - i, np.arange(columns.start, min(size, columns.stop)) - j
        far = np.sqrt(np.square(y)[:, None] + np.square(x)[None]) * spacing
        window = image[rows, columns]
        window += (np.clip((radius - far) / spacing + 0.5, 0, 1) * (level - window)).astype(np.float32)


def measure(rng: np.random.Generator, look: Look, image: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The picture that the scan shows, float32 [size, size] in 0..1, and the names of its artefacts."""
    size = len(image)
    n = 24
    field = cv2.resize(look.bias, (n, n), interpolation=cv2.INTER_CUBIC)
    if look.hot[3]:
        along = (np.arange(n) + 0.5) / n
        far = np.square(along[:, None] - look.hot[0]) + np.square(along[None] - look.hot[1])
        field = field + np.float32(look.hot[3]) * np.exp(-far / (2 * look.hot[2] ** 2)).astype(np.float32)
    image = image * cv2.resize(np.exp(field), (size, size), interpolation=cv2.INTER_LINEAR)
    moved = rng.random() < 0.12
    artefacts = [
        name
        for name, there in (("motion", moved), ("ghost", look.ghost[1]), ("hot spot", look.hot[3]), ("rings", look.kept))
        if there
    ]
    if moved or look.ghost[1] or look.kept:
        image = _in_frequencies(rng, look, image, moved)
    if not look.kept:
        image = cv2.GaussianBlur(image, (0, 0), look.blur)
    noise = rng.standard_normal((size, size), np.float32) * np.float32(look.noise * look.white)
    # Rician: the magnitude of a complex number; turned, the same noise serves as its other part. Not cv2.magnitude nor cv2.pow:
    # their last bits depend on where in memory an image lies.
    image = np.sqrt(np.square(image + noise) + np.square(noise[::-1, ::-1]))
    low, high = look.window
    shown = np.clip((image - low) / (high - low), 0, 1)
    return np.power(shown, np.float32(look.gamma)), artefacts


def _in_frequencies(rng: np.random.Generator, look: Look, image: np.ndarray, moved: bool) -> np.ndarray:
    """Cut high frequencies, let some lines be measured after a movement, and make lines differ at a regular period."""
    size = len(image)
    lines = np.abs(fft.fftfreq(size, 1 / size))
    spectrum = fft.rfft2(image)
    if look.kept:
        spectrum[lines > look.kept[0] * size / 2] = 0
        spectrum[:, int(look.kept[1] * size / 2) + 1 :] = 0
    if look.ghost[1]:
        spectrum[:: look.ghost[1]] *= 1 + look.ghost[0]
    if moved:
        after = rng.integers(4, size // 5)  # the middle lines, which carry most, were measured before
        late = lines > after
        shift = rng.normal(0, 1.2, 2)
        ramp = np.exp(-2j * np.pi * shift[0] * fft.fftfreq(size))[late, None] * np.exp(
            -2j * np.pi * shift[1] * fft.rfftfreq(size)
        )
        spectrum[late] *= ramp.astype(np.complex64)
    back: np.ndarray = fft.irfft2(spectrum, s=image.shape)
    return np.abs(back).astype(np.float32, copy=False)
