"""DICOM segmentations as masks of the images that they refer to.

Source: PS3.3 (2024) A.51, C.8.20 (segmentation image) and C.7.6.16.2.6 (derivation image: which image a frame lies on).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.data.images import content
from usecases.medical_imaging import dicom, display, reading
from usecases.medical_imaging.scaling import Unreadable, damaged

NEEDED = ("SegmentationType", "MaximumFractionalValue", "ReferencedSeriesSequence")
DAMAGED = "the DICOM segmentation is damaged"
ALL = 0  # in place of a frame's number


class Segmentation(NamedTuple):
    """What is in a file.

    Attributes:
        dataset: with its pixels, not decoded.
        images: instances that it was made of.
        frames: its frames, from 0, that lie on a frame, from 1, of an instance, or on all of its frames (`ALL`). None lies
            where nothing is marked.
    """

    dataset: Any
    images: set[str]
    frames: Mapping[tuple[str, int], Sequence[int]]


def recognised(file: Path) -> bool:
    """Is it DICOM? As a mask that can be a segmentation only."""
    with file.open("rb") as opened:
        return dicom.recognised(opened.read(reading.HEAD))


def marked(file: Path, image: Path) -> Iterator[np.ndarray]:
    """Where any of the segments lies on each of an image file's frames, bool [height, width]; in fractional ones, above half.

    Raises:
        OSError: one of both cannot be read, or the segmentation was made of other images.
    """
    pydicom = dicom.library()
    found = _opened(file, file.stat().st_mtime_ns)
    with damaged("the segmentation is of DICOM images, and this image has no header that it could refer to"):
        told = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "NumberOfFrames"], force=True)
        uid, count = str(told.SOPInstanceUID), int(told.get("NumberOfFrames") or 1)
    if uid not in found.images:
        raise Unreadable("the segmentation was made of other images: it does not refer to this one")
    with damaged(DAMAGED):
        decoder = pydicom.pixels.get_decoder(found.dataset.file_meta.TransferSyntaxUID)
        fractional = found.dataset.get("SegmentationType") == "FRACTIONAL"
        half = int(found.dataset.get("MaximumFractionalValue") or 255) / 2 if fractional else 0
    for number in range(1, count + 1):
        plane = np.zeros((found.dataset.Rows, found.dataset.Columns), bool)
        with damaged(DAMAGED):
            for frame in (*found.frames.get((uid, number), ()), *found.frames.get((uid, ALL), ())):
                plane |= decoder.as_array(found.dataset, index=frame)[0] > half
        yield plane


@lru_cache(2)  # because each image of a series asks for the same one
def _opened(file: Path, _changed: int) -> Segmentation:
    data = content(file)
    with damaged(DAMAGED):
        dataset = dicom.parsed(data, *NEEDED)
        if "SegmentationType" not in dataset:
            raise Unreadable("of DICOM files a segmentation alone can be a mask; others can be PNG, TIFF, BMP, JPEG or NIfTI")
        count = dicom.checked(dataset)
        frames: dict[tuple[str, int], list[int]] = defaultdict(list)
        shared = [source for group in dataset.get("SharedFunctionalGroupsSequence") or [] for source in _sources(group)]
        if count > 1 and len({str(source.ReferencedSOPInstanceUID) for source in shared}) > 1:
            shared = []  # which frame lies on which image is not said
        for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence[:count]):
            for source in _sources(group) or shared:
                for number in display.numbers(source.get("ReferencedFrameNumber")) or [ALL]:
                    frames[str(source.ReferencedSOPInstanceUID), int(number)].append(place)
        if len({place for linked in frames.values() for place in linked}) < count:
            raise Unreadable("the segmentation does not say which image its frames lie on")
        series = dataset.get("ReferencedSeriesSequence") or []
        named = {str(one.ReferencedSOPInstanceUID) for each in series for one in each.get("ReferencedInstanceSequence") or []}
    return Segmentation(dataset, named | {uid for uid, _ in frames}, frames)


def _sources(group: Any) -> list[Any]:
    """What a functional group, of one frame or shared by all, refers to."""
    derived = group.get("DerivationImageSequence") or []
    return [source for one in derived for source in one.get("SourceImageSequence") or []]
