"""MedMNIST's files: small images of one size as arrays, with an official split.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41, 2023. https://medmnist.com
"""

from __future__ import annotations

import io
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared.errors import Collector, DataError, UserError
from usecases.medical_imaging.cases import Case, Picture
from usecases.medical_imaging.items import Source, ordered
from usecases.medical_imaging.scaling import damaged

PARTS = {"train": "train", "val": "validation", "test": "test"}
LABEL_LIMIT = 64 << 20  # bytes
HEADER_LIMIT = 1 << 16  # bytes; a header may claim gigabytes
SHARE = 0.5  # of the free memory that images may take
ORGANS = (
    *("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney"),
    *("liver", "left lung", "right lung", "pancreas", "spleen"),
)
CLASSES = {  # of the files, which carry numbers only; from the package medmnist (Apache-2.0), in places shortened
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
        *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    "dermamnist": (
        *("actinic keratoses", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma"),
        *("melanocytic nevi", "vascular lesions"),
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil", "platelet"),
    ),
    "tissuemnist": (
        *("collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells"),
        *("interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb"),
    ),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
}


def inspect(file: Path, wanted: tuple[str, ...], faults: Collector) -> Source:
    """The cases of an .npz with train, val and test images (uint8 [n, h, w] or [n, h, w, 3]) and labels ([n, 1]).

    Images are loaded when the first of them is asked for.

    Args:
        wanted: classes in order; a name of the set's own classes, or for an unknown set of the labels as text. (): as `ordered`.

    Raises:
        UserError: it is no such file, too large for the memory, of volumes, or with several labels an image.
        DataError: images and labels do not fit each other.
    """
    arrays = _Arrays(file)
    cases: list[Case] = []
    parts: list[str] = []
    labels = {part: arrays.labels(part) for part in PARTS}
    present = sorted({int(label) for given in labels.values() for label in given})
    known = CLASSES.get(file.stem.lower().partition("_")[0], ())
    names = {number: known[number] if 0 <= number < len(known) else str(number) for number in present}
    classes = wanted or ordered(set(names.values()))
    if left_out := sorted(set(names.values()) - set(classes)):
        fix = f"data.classes are {', '.join(classes)}; give all that the file has: {', '.join(ordered(set(names.values())))}"
        many = sum(names[int(label)] in left_out for given in labels.values() for label in given)
        faults.add("error", f"labels that are none of the classes: {', '.join(left_out)}", fix, left_out, count=many)
        raise DataError(faults.findings)
    for part, given in labels.items():
        count = arrays.shape(part)[0]
        if count != len(given):
            faults.add("error", f"{count} images but {len(given)} labels in {part}", "Download the file again")
            continue
        for number, label in enumerate(given):
            name = f"{file.stem}/{part}/{number}"
            cases.append(Case(name, partial(_picture, arrays, part, number), classes.index(names[int(label)])))
            parts.append(PARTS[part])
    return Source(cases, parts, tuple(classes), "medmnist", faults.findings, faults.where)


def _picture(arrays: _Arrays, part: str, number: int) -> Picture:
    pixels = arrays.images(part)[number]
    about = {"format": "MedMNIST", "bits": 8, "width": pixels.shape[1], "height": pixels.shape[0]}
    return Picture(f"{arrays.file.stem}/{part}#{number + 1}", pixels.astype(np.float32) / 255, about=about)


class _Arrays:
    """The arrays of an .npz, each loaded once, when it is needed. Headers are looked at before memory is taken."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._loaded: dict[str, np.ndarray] = {}
        self._headers = self._read_headers()
        needed = sum(_bytes(*self._header(f"{part}_images")) for part in PARTS)
        free = psutil.virtual_memory().available
        if needed > SHARE * free:
            raise UserError(
                f"{file} holds {needed / 1e9:,.1f} GB of images, more than half of the free memory ({free / 1e9:,.1f} GB). "
                "Take a smaller size of this set."
            )
        for part in PARTS:
            shape = self.shape(part)
            if len(shape) == 4 and shape[3] not in (1, 3):
                raise UserError(f"{file} holds volumes {shape[1:]}. Only sets of two-dimensional images can be used.")
            if len(shape) not in (3, 4) or 0 in shape[1:] or self._header(f"{part}_images")[1] != np.uint8:
                raise UserError(f"{file}: {part}_images is not uint8 [images, height, width] or [images, height, width, 3].")

    def _read_headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        told = []
        try:
            with damaged("it is no archive of arrays, or damaged"), zipfile.ZipFile(self.file) as archive:
                for member in archive.infolist():
                    with archive.open(member) as packed:
                        stream = io.BytesIO(packed.read(HEADER_LIMIT))
                    version = np.lib.format.read_magic(stream)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, kind = read(stream)
                    told.append((member, shape, kind))
        except OSError as error:
            raise UserError(f"{self.file} is not a readable .npz file: {error}.") from None
        for member, shape, kind in told:
            if kind.hasobject or _bytes(shape, kind) > member.file_size:
                raise UserError(f"{self.file}: {member.filename} is no array of numbers, or is cut short.")
        return {member.filename.removesuffix(".npy"): (shape, kind) for member, shape, kind in told}

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self._headers:
            raise UserError(f"{self.file} has no array '{name}'. MedMNIST has images and labels of train, val and test.")
        return self._headers[name]

    def shape(self, part: str) -> tuple[int, ...]:
        return self._header(f"{part}_images")[0]

    def labels(self, part: str) -> np.ndarray:
        """int64 [n]."""
        shape, kind = self._header(f"{part}_labels")
        if len(shape) == 2 and shape[1] > 1:
            raise UserError(
                f"{self.file} gives {shape[1]} labels to each image (multi-label, as ChestMNIST). Only one label an image can be "
                "learnt: make a table of paths with the label that you want."
            )
        if len(shape) not in (1, 2) or kind.kind not in "ui" or _bytes(shape, kind) > LABEL_LIMIT:
            raise UserError(f"{self.file}: {part}_labels is no array of whole numbers, one for each image.")
        return self._load(f"{part}_labels").reshape(-1).astype(np.int64)

    def images(self, part: str) -> np.ndarray:
        """uint8 [n, height, width] or [n, height, width, 3].

        Raises:
            OSError: the file is damaged.
        """
        with self._lock:
            name = f"{part}_images"
            if name not in self._loaded:
                loaded = self._load(name)
                self._loaded[name] = loaded[..., 0] if loaded.ndim == 4 and loaded.shape[3] == 1 else loaded
            return self._loaded[name]

    def _load(self, name: str) -> np.ndarray:
        with damaged(f"the array {name} is damaged"), np.load(self.file, allow_pickle=False) as archive:
            return np.asarray(archive[name])


def _bytes(shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    size = kind.itemsize
    for length in shape:
        size *= length
    return size
