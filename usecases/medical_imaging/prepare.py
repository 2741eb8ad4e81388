"""Cases looked at once: each image brought to a square of the network's size, with prints by which it is found again."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import joblib
import numpy as np

from shared.data.images import Print, printed
from usecases.medical_imaging import measuring
from usecases.medical_imaging.cases import Case
from usecases.medical_imaging.framing import Frame
from usecases.medical_imaging.splits import units

THUMB = (32, 32)  # of prints; see `checks.NEAR`
GREY = 0.02  # largest difference between channels of an image that is grey, though stored in colour; of 1
BLOCK = 16  # cases that a worker takes at once
BLANK = 3  # grey values of 255 between the darkest and the brightest pixel of an image that shows something

NEARLY_ALL = 0.9  # images whose headers have the same id, which is then no patient's


@dataclass(frozen=True)
class Prepared:
    """Cases in memory, ready for the network.

    Attributes:
        images: uint8 [n, size, size], or where any image of the data set has colour RGB [n, size, size, 3].
        labels: int64 [n], places of the classes.
        masks: uint8 [n, size, size], 1 where the finding is; None: there are none, or not of every image.
        cases: [n] with what the images' files told: patient, facts.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    cases: list[Case]

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, places: Sequence[int] | np.ndarray) -> Prepared:
        """Some of them, copied."""
        rows = np.asarray(places, np.int64)
        masks = None if self.masks is None else self.masks[rows]
        return Prepared(self.images[rows], self.labels[rows], masks, [self.cases[place] for place in rows])


@dataclass
class Seen:
    """What is kept of a case that was looked at.

    Attributes:
        case: with what its file told: patient, facts, digest, a label out of its mask.
        header: the patient as the file's header has it, pseudonym; "": it names none.
        error: why the image or its mask cannot be used; "": they can. Else all below are empty.
        image: uint8 [size, size] or [size, size, 3].
        mask: uint8 [size, size].
        shape: height and width of the picture, and of its mask if it has one.
        outlined: has the mask (in its own size) a finding? None: no mask.
        print: to compare images that are nearly the same; None: there is nothing on it to compare.
    """

    case: Case
    error: str = ""
    header: str = ""
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    shape: tuple[int, int] = (0, 0)
    outlined: bool | None = None
    print: Print | None = None


def is_coloured(pixels: np.ndarray) -> bool:
    """Has a picture, [height, width] or [height, width, 3] in 0..1, any colour? Grey is often stored in three channels."""
    return pixels.ndim == 3 and float(np.ptp(pixels, axis=2).max()) > GREY


def look(case: Case, size: int) -> Seen:
    """Read a case's image and mask once. Never raises for bad data."""
    try:
        picture = case.picture()
    except OSError as error:
        return Seen(case, error=f"an image that cannot be read: {error.strerror or error}")
    channels = 3 if is_coloured(picture.pixels) else 1
    frame = Frame.of(picture.pixels, size)
    about = {**picture.about, "colour": "grey" if channels == 1 else "colour", **case.about}
    shown = np.rint(picture.pixels * 255).astype(np.uint8)
    told = replace(case, patient=case.patient or picture.patient, about=about)
    seen = Seen(told, header=picture.patient, image=frame.image(picture.pixels, channels), shape=frame.shape)
    if np.ptp(shown, axis=(0, 1)).max() >= BLANK:
        digest = hashlib.blake2b(shown.tobytes(), digest_size=8, person=b"%dx%d" % frame.shape).hexdigest()
        seen.case = replace(seen.case, digest=digest)
        seen.print = printed(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY) if shown.ndim == 3 else shown, THUMB)
    if case.mask is not None:
        try:
            mask = case.mask()
        except OSError as error:
            return Seen(case, error=f"a mask that cannot be read: {error.strerror or error}")
        if mask.shape != frame.shape:
            return Seen(case, error="a mask of another size than its image")
        if mask.any() and mask[frame.rows, frame.columns].sum() < mask.sum() / 2:
            return Seen(case, error="a mask that lies where the image is dark")
        _outline(seen, mask, frame, picture.spacing)
    return seen


def _outline(seen: Seen, mask: np.ndarray, frame: Frame, spacing: tuple[float, float] | None) -> None:
    seen.mask, seen.outlined = frame.mask(mask), bool(mask.any())
    if spacing is None:
        extent = {"lesion_percent": round(100 * float(mask.mean()), 4)}
    else:
        extent = {"lesion_mm2": round(measuring.area_mm2(mask, spacing), 2)}
    seen.case = replace(seen.case, about={**extent, **seen.case.about})  # of simulated ones it is known already
    if seen.case.label is None:
        seen.case = replace(seen.case, label=int(seen.outlined))


def look_at(cases: Sequence[Case], size: int, threads: int, processes: bool = False) -> list[Seen]:
    """`look` at all cases, in their order.

    Args:
        processes: whether workers are processes, for cases that are computed; else threads, for cases that are read from files.
    """
    work = joblib.Parallel(threads, prefer="processes" if processes else "threads", return_as="generator")
    with warnings.catch_warnings():  # readers of DICOM quote names, and what a thread sets of warnings another one takes back
        warnings.simplefilter("ignore")
        return [seen for block in work(joblib.delayed(_look_block)(block, size) for block in _blocks(cases)) for seen in block]


def join_patients(seen: Sequence[Seen]) -> None:
    """Give one name to the patients (folders, files, rows of a table) whose images' headers say that they are the same."""
    first: dict[str, int] = {}
    nobody = placeholder(seen)
    same = [(first.setdefault(one.header, place), place) for place, one in enumerate(seen) if one.header and one.header != nobody]
    names: dict[int, str] = {}
    unit = units([one.case.patient for one in seen], np.array(same, np.int64).reshape(-1, 2))
    for one, number in zip(seen, unit.tolist(), strict=True):
        if one.case.patient:
            one.case = replace(one.case, patient=names.setdefault(number, one.case.patient))


def placeholder(seen: Sequence[Seen]) -> str:
    """The id that nearly all headers have, of images that the data set says to be of several patients; "": there is none."""
    (name, count), *_ = Counter(one.header for one in seen).most_common(1) or [("", 0)]
    several = len({one.case.patient for one in seen if one.header == name}) > 1
    return name if several and count >= NEARLY_ALL * len(seen) else ""


def without_findings(seen: Sequence[Seen], label: int) -> None:
    """Give images of a healthy class that have no mask an empty one, where others have masks."""
    if any(one.mask is not None for one in seen):
        for one in seen:
            if one.image is not None and one.case.label == label and one.case.mask is None:
                one.mask, one.outlined = np.zeros(one.image.shape[:2], np.uint8), False


def _look_block(cases: Sequence[Case], size: int) -> list[Seen]:
    return [look(case, size) for case in cases]


def _blocks(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Neighbours together; images of one file are not divided, so that it is opened once."""
    block: list[Case] = []
    for case in cases:
        if len(block) >= BLOCK and file_of(case) != file_of(block[-1]):
            yield block
            block = []
        block.append(case)
    if block:
        yield block


def file_of(case: Case) -> str:
    """Name of the file of an image, which may hold several."""
    return case.name.rpartition("#")[0] or case.name


def stacked(seen: Sequence[Seen], size: int) -> Prepared:
    """The cases that were seen and have a label, together. Their single images are let go."""
    usable = [one for one in seen if one.image is not None and one.case.label is not None]
    colour = any(one.image is not None and one.image.ndim == 3 for one in usable)
    images = np.zeros((len(usable), size, size, 3) if colour else (len(usable), size, size), np.uint8)
    masked = bool(usable) and all(one.mask is not None for one in usable)
    masks = np.zeros((len(usable), size, size), np.uint8) if masked else None
    for place, one in enumerate(usable):
        assert one.image is not None
        images[place] = one.image[..., None] if colour and one.image.ndim == 2 else one.image
        one.image = None
        if masks is not None and one.mask is not None:
            masks[place] = one.mask
        one.mask = None
    return Prepared(images, np.array([one.case.label for one in usable], np.int64), masks, [one.case for one in usable])


def joined(parts: Sequence[Prepared]) -> Prepared:
    """Parts of one data set as one, in order."""
    masks = [part.masks for part in parts if part.masks is not None]
    return Prepared(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(masks) if len(masks) == len(parts) else None,
        [case for part in parts for case in part.cases],
    )
