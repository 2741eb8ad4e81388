"""Masks as DICOM segmentations, which viewers lay over the images that they were made of.

A segmentation must name its patient, as every DICOM object (PS3.3 A.51.3: the Patient and General Study modules are mandatory).
By default these attributes hold pseudonyms and nothing: results get passed on more freely than images, and who reads a folder of
findings need not know who they belong to. What the segmentation refers to, instances, series and study, keeps its real UIDs,
without which no viewer could find the images. A hospital's archive expects the same patient in all objects of a study: for import
there, `identities=keep` copies the patient and study attributes from the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.errors import require
from shared.files import whole
from usecases.medical_imaging.found import NOTICE
from usecases.medical_imaging.scaling import damaged

Identities = Literal["hash", "keep"]
MAKER, MODEL = "usecases", "medical_imaging"
VERSION = "1"  # of what stands in a segmentation
SERIES = 9000  # series numbers of results are far from a scanner's
TECHNICAL = (  # what a segmentation takes from its images: where their pixels lie, and which images they are
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
PERSONAL = (  # mandatory, may be empty
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


class UnreferableError(Exception):
    """The images lack what a segmentation needs of them; the message says so without naming their content."""


def write(images: Sequence[Path], masks: np.ndarray, out: Path, finding: str, patient: str, identities: Identities) -> bool:
    """Write a binary segmentation with one segment; frames without a marked pixel are left out, as is usual.

    Args:
        images: DICOM files of one series in the masks' order, or one with several frames.
        masks: bool [frames, height, width], of the images' size.
        finding: what is marked, such as the class's name.
        patient: pseudonym, which stands for name and id unless identities are kept.

    Returns:
        Whether something is written: a segmentation in which nothing is marked does not exist.

    Raises:
        UnreferableError: the images give no position where their kind must, are of several orientations or of another size.
    """
    if not masks.any():
        return False
    highdicom = require("highdicom", "medical")
    sources = [_source(path, patient, identities) for path in images]
    for one in sources:
        if (one.Rows, one.Columns) != masks.shape[1:]:
            raise UnreferableError("the images are of another size than the masks")
        if "ImageOrientationPatient" in one:  # they differ by rounding at most: others are not of one volume
            one.ImageOrientationPatient = sources[0].get("ImageOrientationPatient")
    try:
        with damaged("the images lack what a segmentation refers to"):  # which it tells with all kinds of errors
            segmentation = _segmentation(highdicom, sources, masks, finding)
    except OSError as error:
        raise UnreferableError(str(error)) from None
    if identities == "hash":
        segmentation.PatientIdentityRemoved = "YES"
        segmentation.DeidentificationMethod = "made of technical attributes only"
    with whole(out) as partial:
        segmentation.save_as(partial)
    return True


def _segmentation(highdicom: Any, sources: Sequence[Any], masks: np.ndarray, finding: str) -> Any:
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=masks.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(highdicom, finding)],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MODEL,
        software_versions=VERSION,
        device_serial_number="none",
        content_label="FINDING",
        content_description=f"{NOTICE.partition('.')[0]}.",
        series_description="Found by a model. Not a medical device.",
        specific_character_set="ISO_IR 192",
    )


def _segment(highdicom: Any, finding: str) -> Any:
    """The description of what is marked, and by what; the notice goes with it."""
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"{MAKER} {MODEL}"[:64],
        version=VERSION,
        family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        parameters={"notice": NOTICE},
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=finding[:64] or "finding",
        segmented_property_category=highdicom.sr.CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure"),
        segmented_property_type=highdicom.sr.CodedConcept("52988006", "SCT", "Lesion"),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor(82.0, -38.0, -28.0),  # the outline's on overlays
    )
    segment.SegmentDescription = NOTICE
    return segment


def _source(path: Path, patient: str, identities: Identities) -> Any:
    """A file's technical attributes, with the personal ones as they were or replaced.

    What is not listed here cannot get into the result.
    """
    pydicom = require("pydicom", "medical")
    replaced = {"PatientID": patient[:64], "PatientName": f"{patient[:62]}^"} if identities == "hash" else {}
    wanted = [*TECHNICAL, *PERSONAL, "SpecificCharacterSet"] if identities == "keep" else list(TECHNICAL)
    try:
        with damaged("its header cannot be read"):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)
            header.remove_private_tags()
            source = pydicom.Dataset()
            for name in wanted:
                if name in header:
                    source[name] = header[name]
            for name in PERSONAL:
                if name not in source:
                    setattr(source, name, replaced.get(name, ""))
            grouped = "PerFrameFunctionalGroupsSequence" in source
            if not grouped and int(source.get("NumberOfFrames") or 1) == 1:
                source.pop("NumberOfFrames", None)
    except OSError as error:
        raise UnreferableError(str(error)) from None
    if not grouped and "ImagePositionPatient" not in source:  # such as a projection's: of no use without a position
        source.pop("FrameOfReferenceUID", None)
    return source
