"""DICOM files as a reader would see them on a screen. Only technical elements are parsed, and the ids of patient and study, one
of which is hashed.

Sections named here are of the standard's part 3 (PS3.3, 2024): https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from shared.data.columns import normal
from shared.data.images import content, jpeg_size
from shared.errors import require
from usecases.medical_imaging import display
from usecases.medical_imaging.anonymous import pseudonym
from usecases.medical_imaging.cases import Known, Picture
from usecases.medical_imaging.scaling import FILE_LIMIT, Unreadable, damaged, limited, no_bomb

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
PLUGINS = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")  # of pydicom, by preference
DEFLATED_LIMIT = 128 << 20  # bytes, unpacked: zeros are empty elements by the million, which pydicom parses one by one
VIDEO = "1.2.840.10008.1.2.4.10"  # and what follows, MPEG-2 to HEVC: 100 to 108
COLOURS = ("Red", "Green", "Blue")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
WHO = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")  # the first of them that is there tells images of one patient
_NOBODY = "anon anonym anonymous anonymized anonymised deidentified na nobody noname none null patient removed test unknown"
NOBODY = frozenset(["", *_NOBODY.split()])  # what stands for an id that was removed; also zeros, and letters x
ELEMENTS = (
    *PIXELS,
    *WHO[1:],
    *("SOPClassUID", "Modality", "PatientID", "Manufacturer", "BodyPartExamined", "BurnedInAnnotation", "SpecificCharacterSet"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("PixelSpacing", "ImagerPixelSpacing", "DoseGridScaling"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in COLOURS),
    *(f"{colour}PaletteColorLookupTableData" for colour in COLOURS),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in COLOURS),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("EncapsulatedDocument", "WaveformSequence", "DirectoryRecordSequence"),
)
PHOTOMETRIC = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}  # with the values of a pixel
_MODALITIES = """
    BI BMD CR CT DG DX ECG EPS ES GM HC HD IO IVOCT IVUS KO LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OT PR PT PX REG RESP
    RF RG RTDOSE RTIMAGE RTPLAN RTSTRUCT SEG SM SMR SR TG US VA XA XC
"""
MODALITIES = frozenset(_MODALITIES.split())
_BODY_PARTS = """
    ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST CALF CAROTID CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX
    CSPINE ELBOW EYE FINGER FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LUNG MAXILLA NECK
    ORBIT PANCREAS PELVIS PROSTATE RIB SCAPULA SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THORAX THUMB
    THYROID TLSPINE TOE TSPINE UTERUS WHOLEBODY WRIST ZYGOMA
"""  # of PS3.16, annex L; what else stands there may be anything
BODY_PARTS = frozenset(_BODY_PARTS.split())
MAKERS = (
    *("AGFA", "ALOKA", "CANON", "CARESTREAM", "ESAOTE", "FUJI", "GE MEDICAL", "GE HEALTHCARE", "HITACHI", "HOLOGIC", "KODAK"),
    *("KONICA", "MINDRAY", "PHILIPS", "SAMSUNG", "SHIMADZU", "SIEMENS", "TOSHIBA", "UNITED IMAGING", "VARIAN"),
)


def library() -> Any:
    """pydicom, silenced: it logs values of headers, such as names and dates.

    Raises:
        UserError: it is not installed.
    """
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    return require("pydicom", "medical")


def recognised(head: bytes) -> bool:
    """Does a file that begins so look like DICOM, with its preamble or (from before 1996) without?"""
    if head[128:132] == b"DICM":
        return True
    group, length = head[:2], int.from_bytes(head[4:8], "little")
    if len(head) < 12 or group not in (b"\x02\0", b"\x08\0", b"\0\x08", b"\0\x02"):
        return False
    return (head[4:6].isalpha() and head[4:6].isupper()) or (group[1] == 0 and length < 1024)


def frames(data: bytes, name: str, salt: str) -> Iterator[Picture]:
    """The images of a DICOM file.

    Args:
        data: the file's content.
        name: for the pictures.
        salt: for the patient's pseudonym.

    Raises:
        Unreadable: damaged, too large, compressed in a way that nothing installed can decode, or not an image.
    """
    library()
    with damaged("the DICOM file is damaged: its elements cannot be parsed"):
        dataset = parsed(data)
    with damaged("the DICOM file is damaged: what it says of its image contradicts itself"):
        _no_image(dataset)
        count = checked(dataset)
        about = _about(dataset, salt, count)
        patient = _patient(dataset, salt)
        found = _decoded(dataset, count)
    number = 0
    while number < count:
        with damaged("the pixel data of the DICOM file cannot be decoded"):
            stored, photometric = next(found)
        with damaged("the DICOM file is damaged: its pixels cannot be brought to a screen's values"):
            groups = display.functional_groups(dataset, number)
            pixels = display.shown(stored, photometric, dataset, groups)
            spacing = _spacing(dataset, groups)
        number += 1
        yield Picture(f"{name}#{number}" if count > 1 else name, pixels, spacing, patient, about)


def count(path: Path) -> int:
    """How many images `frames` gives of a file. Only headers are looked at, and where there are several, what is there of pixels.

    Raises:
        OSError: as `frames`.
    """
    pydicom = library()
    with damaged("the DICOM file is damaged: its elements cannot be parsed"):
        if not deflated(path):
            told = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["NumberOfFrames"], force=True)
            if int(told.get("NumberOfFrames") or 1) == 1:
                return 1
        dataset = parsed(content(path, FILE_LIMIT))
        _no_image(dataset)
        return checked(dataset)


def deflated(path: Path) -> bool:
    """Is its header not to be had without unpacking all of it?

    Raises:
        Unreadable: the file is too large to be looked at; an element may be as long as it is.
    """
    pydicom = require("pydicom", "medical")
    if path.stat().st_size > FILE_LIMIT:
        raise Unreadable(f"the file has more than {FILE_LIMIT >> 20} MB")
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    return str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")) == DEFLATED


def parsed(data: bytes, *more: str) -> Any:
    """The elements in `ELEMENTS` and `more`, and the group with the transfer syntax, which is guessed where it is missing.

    Raises:
        Exception: of any kind, see `damaged`.
    """
    pydicom = require("pydicom", "medical")
    if data[128:132] == b"DICM":
        _inflated(data)
    dataset = pydicom.dcmread(BytesIO(data), force=True, specific_tags=[*ELEMENTS, *more])
    if not len(dataset) and not len(dataset.file_meta):
        raise Unreadable("the file is not an image that can be read")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        uid = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = uid if little else pydicom.uid.ExplicitVRBigEndian
    return dataset


def _inflated(data: bytes) -> None:
    """Refuse a deflated data set that is a bomb: pydicom would inflate all of it at once."""
    length = int.from_bytes(data[140:144], "little") if data[132:136] == b"\x02\0\0\0" else len(data)
    if DEFLATED.encode() not in data[132 : 144 + min(length, 4096)]:
        return
    unpacking, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[144 + length :]
    while rest and not unpacking.eof:
        size += len(unpacking.decompress(rest, 1 << 20))
        rest = unpacking.unconsumed_tail
        if size > DEFLATED_LIMIT:
            raise Unreadable(f"the file has more than {DEFLATED_LIMIT >> 20} MB when it is unpacked")


def checked(dataset: Any) -> int:
    """The number of images, after all that can be known before decoding was looked at.

    Raises:
        Exception: of any kind, see `damaged`.
    """
    rows, columns, samples = (int(dataset.get(key) or 0) for key in ("Rows", "Columns", "SamplesPerPixel"))
    samples, count = samples or 1, int(dataset.get("NumberOfFrames") or 1)
    limited(rows, columns, samples, count)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric not in PHOTOMETRIC:
        raise Unreadable("the kind of colours (photometric interpretation) is missing or not supported")
    if PHOTOMETRIC[photometric] != samples:
        raise Unreadable("the DICOM file is damaged: what it says of its image contradicts itself")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        no_bomb(rows * columns * samples * count, len(dataset.PixelData))
        _streams(dataset, rows, columns, samples, count)
    elif "PixelData" in dataset:
        per_row = 2 if photometric == "YBR_FULL_422" else samples
        bits = rows * columns * per_row * count * int(dataset.BitsAllocated)
        if len(dataset.PixelData) < (bits + 7) // 8:
            raise Unreadable("the pixel data of the DICOM file is cut short")
    return count


def _no_image(dataset: Any) -> None:
    """Name what a file without an image is, by its class of object (PS3.4, annex B.5)."""
    kind = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
    title = kind.name if kind and kind.name != kind else ""  # of a class in the standard
    if "Segmentation Storage" in title:
        raise Unreadable("the file is a segmentation, not an image: give it as a mask, in a table or as x_seg.dcm beside x.dcm")
    if "DirectoryRecordSequence" in dataset or title == "Media Storage Directory Storage":
        raise Unreadable("the file is an index of a medium (DICOMDIR), not an image")
    if any(dataset.get(key) for key in PIXELS):
        return
    if "EncapsulatedDocument" in dataset:
        raise Unreadable("the file is a document in DICOM, not an image")
    if "WaveformSequence" in dataset:
        raise Unreadable("the file is a waveform in DICOM, not an image")
    if not title or "Image Storage" in title:
        raise Unreadable("the DICOM file has no pixel data")
    raise Unreadable(f"the DICOM file is no image, but of the class {title}")


def _streams(dataset: Any, rows: int, columns: int, samples: int, count: int) -> None:
    """Refuse compression that nothing here decodes, and streams that would fill more memory than the header says."""
    pydicom = require("pydicom", "medical")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.startswith(VIDEO):
        raise Unreadable("the file is a video in DICOM: take single images out of it")
    _plugin(syntax, pydicom)
    offsets = None
    if dataset.get("ExtendedOffsetTable") and dataset.get("ExtendedOffsetTableLengths"):
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    streams = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets)
    for number in range(count):
        try:
            stream = next(streams)
        except StopIteration:
            raise Unreadable(f"the pixel data of the DICOM file is cut short: {number} of {count} images are there") from None
        if syntax == RLE:  # tells no size
            continue
        size = jpeg_size(stream) if stream.startswith(b"\xff\xd8") else _jpeg_2000_size(stream)
        if size != (rows, columns, samples):
            raise Unreadable("the compressed image has another size than the DICOM file's header says")


def _jpeg_2000_size(stream: bytes) -> tuple[int, int, int]:
    """Height, width and components of a code stream, which may lie in a JP2 file. Source: ISO/IEC 15444-1, annex A.5.1."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 42:
        raise Unreadable("the pixel data of the DICOM file cannot be decoded")
    width, height, left, top = np.frombuffer(stream, ">u4", 4, start + 8).tolist()
    return height - top, width - left, int.from_bytes(stream[start + 40 : start + 42])


def _decoded(dataset: Any, count: int) -> Iterator[tuple[np.ndarray, str]]:
    """Stored values of each image and their photometric interpretation; YBR has become RGB where it is stored as bytes."""
    pydicom = require("pydicom", "medical")
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder, plugin = pydicom.pixels.get_decoder(syntax), _plugin(syntax, pydicom) if syntax.is_encapsulated else ""
    # By index, because pydicom 3.0 fails to correct signed values of JPEG 2000 when it iterates over all.
    for array, told in decoder.iter_array(dataset, indices=range(count), decoding_plugin=plugin, number_of_frames=count):
        yield array, str(told["photometric_interpretation"])


def _plugin(syntax: Any, pydicom: Any) -> str:
    """The installed decoder to take for a compressed syntax. Never GDCM: on damaged JPEG streams it ends the whole process."""
    try:
        there = pydicom.pixels.get_decoder(syntax).available_plugins
    except NotImplementedError:
        raise Unreadable("the image is compressed in a way that is not supported") from None
    for plugin in PLUGINS:
        if plugin in there:
            return plugin
    raise Unreadable(f'the image is compressed ({syntax.name}), which needs: pip install "usecases[medical]"')


def _patient(dataset: Any, salt: str) -> str:
    """Pseudonym of the patient; where the id was removed, of the study, whose images are of one patient, or of the series."""
    told = [str(dataset.get(key) or "").strip() for key in WHO]
    return pseudonym(next((one for one in told if normal(one).strip("0x") not in NOBODY), ""), salt)


def _about(dataset: Any, salt: str, count: int) -> dict[str, Known]:
    """Technical facts. Free text of the header is either one of the words known here or becomes a hash."""
    about: dict[str, Known] = {"format": "DICOM"}
    modality, part = (str(dataset.get(key) or "").strip().upper() for key in ("Modality", "BodyPartExamined"))
    if modality in MODALITIES:
        about["modality"] = modality
    about["photometric"] = str(dataset.PhotometricInterpretation)
    syntax = dataset.file_meta.TransferSyntaxUID
    about["transfer syntax"] = syntax.name if syntax.name != syntax else "private"
    about["bits"] = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0)
    if maker := str(dataset.get("Manufacturer") or "").strip().upper():
        known = next((one for one in MAKERS if maker.startswith(one)), "")
        about["manufacturer"] = known or f"unlisted {pseudonym(maker, salt)}"
    if part in BODY_PARTS:
        about["body part"] = part
    if (burnt := str(dataset.get("BurnedInAnnotation") or "").strip().upper()) in ("YES", "NO"):
        about["burnt in"] = burnt
    return about | {"width": int(dataset.Columns), "height": int(dataset.Rows), "frames": count}


def _spacing(dataset: Any, groups: Mapping[str, Any]) -> tuple[float, float] | None:
    """Millimetres between rows and columns in the patient. None where there are only those at the detector (10.7.1.3: also where
    both are the same), to which rays spread, or on a scanned film: what is measured by them is too large."""
    detector = display.numbers(dataset.get("ImagerPixelSpacing"))
    for place in (groups.get("PixelMeasuresSequence"), dataset):
        told = display.numbers(place.get("PixelSpacing")) if place is not None else []
        if len(told) == 2 and all(0 < one < 1000 for one in told) and told != detector:
            return told[0], told[1]
    return None
