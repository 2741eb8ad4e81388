"""Small scans in the formats of hospitals, with a bright lesion, and a stand-in for the network that finds what is bright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd
import pydicom
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from usecases.medical_imaging import writing
from usecases.medical_imaging.answers import MedicalOptions
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import Found

NAME, BORN = "DOE^JOHN", "19610504"
SPACING = (0.7, 0.8)
STEP = 2.5


class BrightFinder:
    """Not a network: calls bright pixels a lesion. The files that are written do not depend on how it was found."""

    classes: tuple[str, ...] = ("normal", "lesion")
    threshold = 0.5

    def __init__(self, masks: bool = True, fail_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.masks, self.fail_at, self.error, self.calls = masks, fail_at, error, 0

    def __call__(self, pictures: Sequence[Picture], heat: bool = True) -> list[Found]:
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error
        return [self._one(picture) for picture in pictures]

    def _one(self, picture: Picture) -> Found:
        grey = picture.pixels if picture.pixels.ndim == 2 else picture.pixels.mean(2)
        mask = grey > 0.9
        p = min(0.95, 0.05 + float(mask.sum()) / 100)
        label = int(p >= self.threshold)
        reasons = (f"decisions as unsure as this one ({p:.2f}) are often wrong",) if 0.3 < p < 0.6 else ()
        own = p if label else 1 - p
        heat = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4)
        return Found(np.array([1 - p, p]), label, own - 0.04, own + 0.04, reasons, 0.2, heat, mask if self.masks else None)


class Refuser(BrightFinder):
    """The stand-in, that refuses what has a bright square of 10 pixels, or more, a side."""

    def _one(self, picture: Picture) -> Found:
        found = super()._one(picture)
        if found.mask is None or found.mask.sum() < 100:
            return found
        return replace(found, reasons=("unlike the images of training",), novelty=1.0, heat=0 * found.heat, mask=None)


def plane(lesion: int, rows: int = 64, columns: int = 48) -> np.ndarray:
    """uint16 [rows, columns], a body at 500 of 1000 with a bright square whose side is `lesion`."""
    image = np.zeros((rows, columns), np.uint16)
    cv2.ellipse(image, (columns // 2, rows // 2), (columns // 3, rows // 3), 0, 0, 360, 500, -1)
    image[20 : 20 + lesion, 18 : 18 + lesion] = 1000
    return image


def dicom(path: Path, pixels: np.ndarray, place: float, number: int, uids: Sequence[str], **more: object) -> pydicom.Dataset:
    """Write one CT slice. `uids`: of study, series and frame of reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.PatientName, image.PatientID, image.PatientBirthDate = NAME, "SECRET77", BORN
    image.InstitutionName, image.StudyDescription = "St. Elsewhere", f"for {NAME}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = uids
    image.Modality, image.InstanceNumber = "CT", number
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, place], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = list(SPACING), STEP
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation, image.WindowCenter, image.WindowWidth = "MONOCHROME2", 500, 1000
    image.PixelData = pixels.tobytes()
    for key, value in more.items():
        if value is None:
            delattr(image, key)
        else:
            setattr(image, key, value)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.save_as(path, enforce_file_format=True)
    return image


def uids() -> tuple[str, str, str]:
    return generate_uid(), generate_uid(), generate_uid()


def series(folder: Path, lesions: Sequence[int] = (0, 0, 8, 10, 0), of: Sequence[str] | None = None) -> list[str]:
    """A CT series whose files' names are not in the order of its slices; returns the instances' UIDs from the feet up."""
    of = of or uids()
    return [
        str(dicom(folder / f"{'dacbegf'[i]}.dcm", plane(lesion), STEP * i, len(lesions) - i, of).SOPInstanceUID)
        for i, lesion in enumerate(lesions)
    ]


def enhanced(path: Path, lesions: Sequence[int], step: float = -STEP) -> None:
    """An enhanced CT: one file with a frame for each slice, from the head down."""
    frames = []
    for number in range(len(lesions)):
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 40 + step * number]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), STEP
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    more = {
        "SOPClassUID": EnhancedCTImageStorage,
        "NumberOfFrames": len(lesions),
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
        "PixelData": np.stack([plane(one) for one in lesions]).tobytes(),
        **dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")),
    }
    dicom(path, plane(0), 0, 1, uids(), **more)


def volume(path: Path, lesions: Sequence[int] = (0, 6, 9, 0)) -> np.ndarray:
    """A NIfTI volume with voxels of 1 x 2 x 3 mm; returns its voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.stack([plane(one) for one in lesions], -1).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return voxels


def png(path: Path, lesion: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (plane(lesion) // 4).clip(0, 255).astype(np.uint8))


def process(source: Path, out: Path, finder: BrightFinder | None = None, **options: Any) -> dict[str, Any]:
    """Predictions of a stand-in for a finder."""
    return writing.process(source, out, finder or BrightFinder(), "salt", MedicalOptions(**options), lambda done: None)


def cases(out: Path) -> pd.DataFrame:
    """What they say of each case, by its name."""
    return pd.read_csv(out / "cases.csv").set_index("case")
