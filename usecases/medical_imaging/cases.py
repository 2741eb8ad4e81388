"""What a case is here: one image of one patient, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Known = str | int | float


@dataclass(frozen=True)
class Picture:
    """One two-dimensional image as a reader would show it on a screen.

    Attributes:
        name: of its file, with `#3` for the third (from 1) of several images in it. Never made from a patient's data.
        pixels: float32 in 0..1, [height, width] for grey or [height, width, 3] for RGB; black is 0.
        spacing: millimetres between rows and between columns; None: not known.
        patient: pseudonym; "" where the file names none.
        about: technical facts that tell nothing of a person: format, modality, manufacturer, bits, width, height, ...
        hidden: text burnt into the pixels was found or is declared, and covered; the same shape as the image, bool; None: none.
    """

    name: str
    pixels: np.ndarray
    spacing: tuple[float, float] | None = None
    patient: str = ""
    about: Mapping[str, Known] = field(default_factory=dict)
    hidden: np.ndarray | None = None


@dataclass(frozen=True)
class Case:
    """A picture to learn from or to judge by.

    Attributes:
        name: unique in its data set.
        picture: reads it. Raises OSError with one clear reason where that cannot be done.
        label: place in the data set's classes; None: not labelled.
        mask: reads where the finding is, bool [height, width] of the picture; None: no masks. An image without a finding has
            an empty one.
        patient: pseudonym; cases of one patient are never divided between training and test.
        source: where it comes from, such as a hospital or a scanner, for slices; "" where nothing tells.
        about: facts for slices, such as {"lesion_mm2": 51.2}.
        digest: hash of the pixels as a screen shows them, whatever file they are in; "" until it was looked at, and where it
            shows nothing: black slices at a volume's ends are the same for all patients.
        row: of the table that lists it, from 1; 0: no table does.
        files: the image's and those of its masks; () where it is made, or lies among others in one file.
    """

    name: str
    picture: Callable[[], Picture]
    label: int | None = None
    mask: Callable[[], np.ndarray] | None = None
    patient: str = ""
    source: str = ""
    about: Mapping[str, Known] = field(default_factory=dict)
    digest: str = ""
    row: int = 0
    files: tuple[Path, ...] = ()
