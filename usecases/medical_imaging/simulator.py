"""Simulated slices of brains with exact masks: the default data. They are no patients' images.

A person is the MNI152 template deformed at random (`anatomy.py`), with lesions if ill (`lesions.py`), scanned with one of four
contrasts (`scanner.py`). Every fifth person's skull is stripped, as it is in many research sets. Images are axial, front up.
Healthy people have what is harmless but not empty: wide ventricles, bright caps beside them, vessels, lime, hot spots, motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product

import numpy as np

from usecases.medical_imaging import anatomy, lesions, scanner
from usecases.medical_imaging.anatomy import Body
from usecases.medical_imaging.cases import Case, Known, Picture
from usecases.medical_imaging.lesions import DIAMETERS, KINDS, Lesion
from usecases.medical_imaging.scanner import Look

CLASSES = ("no lesion", "lesion")
HEIGHTS = (-36.0, 45.0)  # mm that slices lie above or below the template's middle, from temporal lobes to the crown


@dataclass(frozen=True)
class Slice:
    """A simulated slice and what is true of it.

    Attributes:
        pixels: float32 [size, size] in 0..1.
        mask: bool [size, size], where lesions are. Empty, or at least `lesions.LEAST_MM2`.
        spacing: mm between rows and between columns.
        about: ill (0 or 1, of the person), contrast, skull (0 or 1), height_mm, lesions (count), lesion_mm2, lesion_diameter_mm
            (of a disc of the largest lesion's area here), lesion_kind, lesion_contrast (size of its change of brightness
            against the mean of grey and white matter), artefacts.
    """

    pixels: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    about: Mapping[str, Known] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """What a simulated person's slices are made from. Heights and spacing in mm."""

    key: tuple[int, int]
    body: Body
    look: Look
    lesions: tuple[Lesion, ...]
    heights: tuple[float, ...]
    spacing: float
    size: int


def person(seed: int, index: int, slices: int, ill: float, size: int = 192) -> list[Slice]:
    """All slices of a simulated person, from the lowest up: the same for the same arguments, whatever was made before."""
    somebody = _person(seed, index, slices, ill, size)
    return [_slice(somebody, k) for k in range(slices)]


@lru_cache(maxsize=256)
def _person(seed: int, index: int, slices: int, ill: float, size: int) -> Person:
    rng = np.random.default_rng([seed, index])
    body, look = anatomy.body(rng), scanner.look(rng)
    gap = min(rng.uniform(4, 12), (HEIGHTS[1] - HEIGHTS[0]) / max(slices, 1))
    lowest = rng.uniform(HEIGHTS[0], HEIGHTS[1] - gap * (slices - 1))
    heights = tuple(float(lowest + gap * k) for k in range(slices))
    spacing = float(rng.uniform(185, 215) if body.stripped else rng.uniform(205, 255)) / size
    healthy = Person((seed, index), body, look, (), heights, spacing, size)
    if rng.random() >= ill:
        return healthy
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    count = rng.choice(3, p=(0.4, 0.35, 0.25) if kind == "focus" else (0.8, 0.15, 0.05)) + 1
    return Person((seed, index), body, look, _lesions(rng, healthy, kind, count), heights, spacing, size)


def _lesions(rng: np.random.Generator, somebody: Person, kind: str, count: int) -> tuple[Lesion, ...]:
    """Lesions of one kind in grey or white matter, near the heights of a person's slices so that most can be seen."""
    made: list[Lesion] = []
    low, high = DIAMETERS[kind]
    for _ in range(count):
        diameter = float(rng.uniform(low, high) if kind != "focus" else np.exp(rng.uniform(np.log(low), np.log(high))))
        z = somebody.heights[rng.integers(len(somebody.heights))] + float(np.clip(rng.normal(0, 0.15), -0.3, 0.3)) * diameter
        voxels = anatomy.places(somebody.body, z, somebody.size, somebody.spacing)
        depth = rng.uniform(0.1, 0.9) * diameter / 2
        along = anatomy.coarse(somebody.size, somebody.spacing)
        possible = np.argwhere(anatomy.in_tissue(voxels) & (anatomy.outside(voxels) < -depth))
        if not len(possible):
            continue
        i, j = possible[rng.integers(len(possible))]
        centre = (float(along[j]), -float(along[i]), z)
        made.append(lesions.lesion(rng, somebody.look.contrast, kind, diameter, centre))
    return tuple(made)


def _tissues(somebody: Person, height: float) -> anatomy.Tissues:
    pushes = tuple(lesion.pushes for lesion in somebody.lesions if lesion.push)
    voxels = anatomy.places(somebody.body, height, somebody.size, somebody.spacing, pushes)
    return anatomy.cut(somebody.body, height, somebody.size, voxels)


def _cuts(somebody: Person, height: float, brain: np.ndarray) -> list[tuple[Lesion, lesions.Cut]]:
    found = ((lesion, lesions.cut(lesion, height, somebody.spacing, brain)) for lesion in somebody.lesions)
    return [(lesion, cut) for lesion, cut in found if cut is not None]


def _slice(somebody: Person, k: int) -> Slice:
    """One slice. Its random numbers depend on the person and on k alone: without lesions it is the same but for them."""
    rng = np.random.default_rng([*somebody.key, 1, k])
    height, look = somebody.heights[k], somebody.look
    tissues = _tissues(somebody, height)
    cuts = _cuts(somebody, height, tissues.brain)
    image = scanner.brightness(rng, look, somebody.body, tissues, somebody.spacing)
    for lesion, cut in cuts:
        lesions.paint(image, lesion, cut, tissues, look.mean)
    pixels, artefacts = scanner.measure(rng, look, image)
    mask = _mask(somebody, cuts)
    about = {**_about(somebody, k, cuts, mask), "artefacts": ", ".join(artefacts) or "none"}
    return Slice(pixels, mask, (somebody.spacing, somebody.spacing), about)


def _mask(somebody: Person, cuts: list[tuple[Lesion, lesions.Cut]]) -> np.ndarray:
    mask = np.zeros((somebody.size, somebody.size), bool)
    for _, cut in cuts:
        mask[cut.rows, cut.columns] |= cut.mask
    return mask


def _about(somebody: Person, k: int, cuts: list[tuple[Lesion, lesions.Cut]], mask: np.ndarray) -> dict[str, Known]:
    about: dict[str, Known] = {
        "ill": int(bool(somebody.lesions)),
        "contrast": somebody.look.contrast,
        "skull": int(not somebody.body.stripped),
        "height_mm": round(somebody.heights[k], 1),
        "lesions": len(cuts),
        "lesion_mm2": round(float(mask.sum()) * somebody.spacing**2, 1),
    }
    if cuts:
        lesion, cut = max(cuts, key=lambda pair: int(pair[1].mask.sum()))
        about["lesion_diameter_mm"] = round(2 * float(np.sqrt(cut.mask.sum() * somebody.spacing**2 / np.pi)), 1)
        about["lesion_kind"] = lesion.kind
        about["lesion_contrast"] = round(abs(lesion.level), 2)
    return about


def cases(seed: int, start: int, people: int, slices: int, ill: float, size: int = 192) -> list[Case]:
    """Simulated people start, start + 1, ... as cases. They are made when they are asked for; masks tell the labels.

    Args:
        seed: of all people; one person is the same however many others are made.
        start, people: of the first, and how many.
        slices: of each person.
        ill: share of people with lesions; not each of their slices shows one.
        size: pixels to a side.
    """
    made = []
    for index, k in product(range(start, start + people), range(slices)):
        given = (seed, index, slices, ill, size, k)
        patient = f"simulated-{index:06d}"
        made.append(Case(f"{patient}/{k + 1}", partial(_picture, *given), None, partial(_outlined, *given), patient))
    return made


@lru_cache(maxsize=1)
def _made(seed: int, index: int, slices: int, ill: float, size: int, k: int) -> Slice:
    return _slice(_person(seed, index, slices, ill, size), k)


def _picture(seed: int, index: int, slices: int, ill: float, size: int, k: int) -> Picture:
    """Renders one slice of a simulated person."""
    made = _made(seed, index, slices, ill, size, k)
    patient = f"simulated-{index:06d}"
    about = {"format": "simulated", "modality": "MR", "width": size, "height": size, **made.about}
    return Picture(f"{patient}#{k + 1}", made.pixels, made.spacing, patient, about)


def _outlined(seed: int, index: int, slices: int, ill: float, size: int, k: int) -> np.ndarray:
    """Its mask, for nothing if it was the last that was rendered."""
    return _made(seed, index, slices, ill, size, k).mask
