"""Simulated lesions: smooth random bodies in three dimensions, with exact masks. They imitate, they are of no patient.

A lesion is a deformed ellipsoid in the person's millimetres, so neighbouring slices show one body. Its mask is where at least
half of the pixel is lesion; a core of fluid or dead tissue inside a rim belongs to it, the swelling around (`halo`) and the
tissue pushed away (`anatomy.Push`) do not. A cut below LEAST_MM2 is not drawn at all: no slice has a lesion and no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from usecases.medical_imaging.anatomy import Push, Tissues

Contrast = Literal["T1", "T1 with contrast agent", "T2", "FLAIR"]
LEAST_MM2 = 40.0  # area of a lesion's cut through a slice from which on it is drawn and labelled: a disc of 7.1 mm
OUTER = 2.0  # radii within which every lesion stays

KINDS = {"mass": 0.5, "diffuse": 0.2, "focus": 0.22, "cyst": 0.08}  # shares among ill people
DIAMETERS = {"mass": (12, 38), "diffuse": (14, 36), "focus": (8, 15), "cyst": (7, 26)}  # mm
# Brightness against the mean of grey and white matter, lowest and highest: by kind and contrast; several where both occur.
LEVELS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "T1": {
        "mass": ((-0.65, -0.3), (-0.65, -0.3), (0.3, 0.8)),
        "diffuse": ((-0.55, -0.28),),
        "focus": ((0.35, 0.8),),
        "cyst": ((-0.75, -0.5),),
    },
    "T1 with contrast agent": {
        "mass": ((0.3, 1.1),),
        "diffuse": ((-0.5, -0.25), (0.25, 0.6)),
        "focus": ((0.4, 1.1),),
        "cyst": ((-0.75, -0.5),),
    },
    "T2": {
        "mass": ((0.35, 0.9), (0.35, 0.9), (-0.5, -0.3)),
        "diffuse": ((0.3, 0.8),),
        "focus": ((0.5, 1.0), (-0.6, -0.4)),
        "cyst": ((0.8, 1.2),),
    },
    "FLAIR": {
        "mass": ((0.3, 0.9), (0.3, 0.9), (-0.5, -0.3)),
        "diffuse": ((0.28, 0.8),),
        "focus": ((0.4, 1.0),),
        "cyst": ((-0.8, -0.5),),
    },
}


@dataclass(frozen=True)
class Lesion:
    """A simulated lesion. Lengths in mm, places as in `anatomy.Body`; brightness is a change against grey and white's mean.

    Attributes:
        kind: of KINDS.
        centre: of the ellipsoid.
        axes: [3, 3], rows are its axes divided by their radii.
        radius: geometric mean of the radii.
        waves: [k, 5] that deform it: three frequencies in radii, a phase, an amplitude in radii.
        grain: [k, 5] of the same form, its texture.
        edge: width of its border.
        level: brightness.
        core: share of the radius taken by a core, 0 for none, and the core's brightness.
        halo: how far swelling reaches (0: none) and its brightness at the border.
        kept: share of the tissue's own pattern that shows through.
        push: mm by which it moves what surrounds it.
    """

    kind: str
    centre: tuple[float, float, float]
    axes: np.ndarray
    radius: float
    waves: np.ndarray
    grain: np.ndarray
    edge: float
    level: float
    core: tuple[float, float]
    halo: tuple[float, float]
    kept: float
    push: float

    @property
    def pushes(self) -> Push:
        """How it moves the anatomy."""
        return Push(self.centre, self.radius, self.push)

    @property
    def reach(self) -> float:
        """Millimetres from the centre beyond which there is nothing of it or its halo."""
        return OUTER * self.radius + self.halo[0]


def lesion(
    rng: np.random.Generator, contrast: Contrast, kind: str, diameter: float, centre: tuple[float, float, float]
) -> Lesion:
    """A random lesion of a kind and a mean diameter in mm, as it looks in this contrast."""
    radius = diameter / 2
    stretch = np.clip(rng.normal(0, 0.1 if kind in ("focus", "cyst") else 0.16, 3), -0.25, 0.25)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    axes = turn / (radius * np.exp(stretch - stretch.mean()))[:, None]
    rough = {"mass": 0.2, "diffuse": 0.25, "focus": 0.12, "cyst": 0.07}[kind] * rng.uniform(0.5, 1.3)
    ranges = LEVELS[contrast][kind]
    low, high = ranges[rng.integers(len(ranges))]
    level = rng.uniform(low, high)
    wet = 1 if contrast in ("T2", "FLAIR") else -1  # water is bright in these, dark in T1
    core, halo = (0.0, 0.0), (0.0, 0.0)
    if kind == "mass" and rng.random() < (0.55 if contrast == "T1 with contrast agent" else 0.3):
        core = (rng.uniform(0.45, 0.85), rng.uniform(-0.5, 0.1) if contrast != "T2" else rng.uniform(0.5, 1.1))
    if kind in ("mass", "focus") and rng.random() < 0.55:
        halo = (rng.uniform(4, 6 + 0.6 * radius), wet * min(0.5 * abs(level), rng.uniform(0.12, 0.35)))
    low, high = {"mass": (0.6, 2.5), "diffuse": (2.0, 5.0), "focus": (0.8, 1.8), "cyst": (0.5, 1.2)}[kind]
    return Lesion(
        kind=kind,
        centre=centre,
        axes=axes,
        radius=radius,
        waves=_waves(rng, 7, 2.8, rough),
        grain=_waves(rng, 16, 9.0, rng.uniform(0.05, 0.2) if kind != "cyst" else 0.02),
        edge=min(rng.uniform(low, high), 0.35 * radius),
        level=level,
        core=core,
        halo=halo,
        kept=rng.uniform(0.2, 0.6) if kind == "diffuse" else rng.uniform(0, 0.25),
        push=rng.uniform(0, 0.3) * radius if kind in ("mass", "cyst") else 0.0,
    )


def _waves(rng: np.random.Generator, count: int, frequency: float, spread: float) -> np.ndarray:
    """Random cosines in space: [count, 5] of three frequencies, a phase and an amplitude. Their sum has about this spread."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    pace = frequency * np.exp(rng.uniform(np.log(0.4), np.log(1.6), (count, 1)))
    amplitude = np.sqrt(1 / pace)
    amplitude *= spread * np.sqrt(2 / np.square(amplitude).sum())
    return np.hstack([direction * pace, rng.uniform(0, 2 * np.pi, (count, 1)), amplitude])


def _sum(waves: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The cosines' sum at places [..., 3] in radii."""
    total: np.ndarray = np.cos(at @ waves[:, :3].T.astype(np.float32) + waves[:, 3].astype(np.float32)) @ waves[:, 4].astype(
        np.float32
    )
    return total


@dataclass(frozen=True)
class Cut:
    """A lesion where a slice cuts it, within the window `rows`, `columns` of the slice.

    Attributes:
        at: [h, w, 3] places in radii from the centre.
        depth: [h, w] mm inside its border; below 0 outside.
        share: [h, w] of each pixel that is lesion, 0..1; nothing outside the brain.
        mask: [h, w] bool, half or more.
    """

    rows: slice
    columns: slice
    at: np.ndarray
    depth: np.ndarray
    share: np.ndarray
    mask: np.ndarray


def cut(lesion: Lesion, z: float, spacing: float, brain: np.ndarray) -> Cut | None:
    """Where a slice at z mm cuts it; brain: [size, size], share of each pixel that is brain. None: not at all, or hardly."""
    size = len(brain)
    far = lesion.reach
    middle = (size - 1) / 2
    i, j = middle - lesion.centre[1] / spacing, middle + lesion.centre[0] / spacing
    rows, columns = (slice(max(0, int(c - far / spacing)), min(size, int(c + far / spacing) + 2)) for c in (i, j))
    x = ((np.arange(columns.start, columns.stop) - j) * spacing).astype(np.float32)
    y = ((i - np.arange(rows.start, rows.stop)) * spacing).astype(np.float32)
    if not len(x) or not len(y):
        return None
    axes = lesion.axes.astype(np.float32)
    at = x[None, :, None] * axes[:, 0] + y[:, None, None] * axes[:, 1] + np.float32(z - lesion.centre[2]) * axes[:, 2]
    depth = (1 + np.clip(_sum(lesion.waves, at), -0.4, 0.4) - np.sqrt(np.square(at).sum(2))) * np.float32(lesion.radius)
    share = np.clip(0.5 + depth / lesion.edge, 0, 1) * brain[rows, columns]
    mask = share >= 0.5
    if mask.sum() * spacing**2 < LEAST_MM2:
        return None
    return Cut(rows, columns, at, depth, share, mask)


def paint(image: np.ndarray, lesion: Lesion, cut: Cut, tissues: Tissues, mean: float) -> None:
    """Draw a cut into an image [size, size] whose grey and white matter have this mean brightness. Changes the image."""
    window = image[cut.rows, cut.columns]
    if lesion.halo[0]:
        fades = np.clip(1 + cut.depth / lesion.halo[0], 0, 1) ** 0.7 * lesion.halo[1] * mean
        white, grey = tissues.white[cut.rows, cut.columns], tissues.grey[cut.rows, cut.columns]
        window += fades * (white + 0.35 * grey) * tissues.brain[cut.rows, cut.columns]  # swelling spreads along white matter
    level = np.full(cut.share.shape, lesion.level, np.float32)
    if lesion.core[0]:
        within = np.clip((cut.depth / lesion.radius - (1 - lesion.core[0])) * lesion.radius / 1.5 + 0.5, 0, 1)
        level += within * (lesion.core[1] - lesion.level)
    level += _sum(lesion.grain, cut.at)
    inner = np.maximum(mean * (1 + level), 0.02) * (1 - lesion.kept) + lesion.kept * window * (1 + lesion.level)
    window += cut.share * (inner - window)
