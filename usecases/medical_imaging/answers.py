"""Images as requests, and what is answered to each."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from shared.usecase import Record
from usecases.medical_imaging import measuring, overlay, reading
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.dicomseg import Identities
from usecases.medical_imaging.found import NOTICE, Found

BYTES = 64 << 20  # of a request's image
GZIP = b"\x1f\x8b"


class MedicalRequest(Record):
    """One image, or one of the images that a file holds."""

    image: str = Field(
        min_length=1,
        max_length=4 * BYTES // 3 + 100,
        description="a PNG, JPEG, TIFF, DICOM or NIfTI (also .nii.gz) file in base64",
        json_schema_extra={"contentEncoding": "base64"},
    )
    frame: int = Field(
        1, ge=1, description="which one, from 1, of a file with several images; of a NIfTI volume from the feet up"
    )
    heat: bool = Field(False, description="whether to answer with an image of what the finding rests on")
    mask: bool = Field(False, description="whether to answer with the mask, where the model knows masks")


class MedicalDecision(Record):
    finding: str = Field(description="the class that the model decides for; 'not judged' where it refuses")
    probabilities: dict[str, float] = Field(description="of every class, calibrated")
    low: float = Field(description="the probability of the class, also where it is not judged, lies above this")
    high: float = Field(description="and below this, as far as validation tells")
    refer: bool = Field(description="whether a human should decide instead")
    reasons: list[str] = Field(description="why")
    novelty: float = Field(description="how unlike the training images it is; from 1 on the model refuses")
    heat: str | None = Field(None, description="PNG in base64: the picture beside what the finding rests on")
    mask: str | None = Field(None, description="PNG in base64, of the picture's size: 255 where the finding is")
    area_mm2: float | None = Field(None, description="of the mask; not known without a mask and the size of a pixel")
    diameter_mm: float | None = Field(None, description="the largest within one lesion; as for the area")
    notice: str = NOTICE


class MedicalOptions(Record):
    """What can be set for a file or a folder."""

    overlays: bool = Field(
        True, description="whether to write overlays: the picture, the heat map, the mask's outline, the finding"
    )
    masks: bool = Field(True, description="whether to write masks, where the model knows any")
    slices: int = Field(
        12, ge=1, le=1000, description="overlays of one volume at most: slices with the finding or referred, likeliest first"
    )
    identities: Identities = Field(
        "hash",
        description="in DICOM segmentations: a pseudonym for the patient, or keep the images' own, for import into their archive",
    )


def picture_of(request: MedicalRequest) -> Picture:
    """The image that is meant.

    Raises:
        ValueError: it is no base64, too large, no image that can be read, or has fewer frames; the message says which.
    """
    text = request.image.partition(",")[2] if request.image.startswith("data:") else request.image
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64: give the file's content, encoded") from None
    if len(data) > BYTES:
        raise ValueError(f"has more than {BYTES >> 20} MB")
    with tempfile.TemporaryDirectory(prefix="usecases-") as folder:  # volumes are read piece by piece, from a file
        path = Path(folder, "image" + (".nii.gz" if data.startswith(GZIP) else ""))
        path.write_bytes(data)
        pictures = reading.read(path, "")
        try:
            found = next(islice(pictures, request.frame - 1, None), None)
        except OSError as error:
            raise ValueError(f"cannot be used: {error}") from None
    if found is None:
        raise ValueError(f"holds fewer than {request.frame} images: give a smaller frame")
    return found


def decision(found: Found, picture: Picture, classes: Sequence[str], heat: bool = False, mask: bool = False) -> MedicalDecision:
    """The answer to one picture.

    Args:
        heat, mask: whether to send them along.
    """
    area, diameter = sizes(found, picture)
    return MedicalDecision(
        finding=found.finding(classes),
        probabilities={name: round(float(value), 4) for name, value in zip(classes, found.probabilities, strict=True)},
        low=round(found.low, 4),
        high=round(found.high, 4),
        refer=bool(found.reasons),
        reasons=list(found.reasons),
        novelty=round(found.novelty, 4),
        heat=_text(overlay.draw(picture, found, classes)) if heat else None,
        mask=_text(found.mask.astype(np.uint8) * 255) if mask and found.mask is not None else None,
        area_mm2=area,
        diameter_mm=diameter,
        notice=found.notice,
    )


def sizes(found: Found, picture: Picture) -> tuple[float | None, float | None]:
    """Area in mm2 and largest diameter in mm of what is marked; None where they are not known."""
    if found.mask is None or picture.spacing is None:
        return None, None
    area, diameter = measuring.area_mm2(found.mask, picture.spacing), measuring.diameter_mm(found.mask, picture.spacing)
    return round(area, 2), round(diameter, 2)


def _text(image: np.ndarray) -> str:
    return base64.b64encode(overlay.encode(image)).decode()
