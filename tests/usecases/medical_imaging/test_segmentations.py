"""DICOM segmentations as masks, written by highdicom, which is another implementation than the one that reads them."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

import pydicom

from tests.usecases.medical_imaging import scans
from usecases.medical_imaging import dicomseg, layouts, masks, prepare, reading
from usecases.medical_imaging.config import Data
from usecases.medical_imaging.scaling import Unreadable


def outlines(count: int) -> np.ndarray:
    """bool [count, 64, 48], each of its own; nothing on the last."""
    made = np.random.default_rng(3).random((count, 64, 48)) > 0.8
    made[-1] = False
    return made


def test_each_slice_of_a_series_takes_its_own_frames_of_a_segmentation(tmp_path: Path) -> None:
    scans.series(tmp_path)
    files = sorted(tmp_path.glob("*.dcm"), key=lambda path: -int(pydicom.dcmread(path).InstanceNumber))
    truth = outlines(len(files))
    assert dicomseg.write(files, truth, tmp_path / "seg", "x", "p", "hash")
    listed = [f"{file.name},{number % 2},seg" for number, file in enumerate(files)]
    (tmp_path / "cases.csv").write_text("\n".join(["path,label,mask", *listed[::-1]]))
    cases = layouts.inspect(tmp_path, Data()).cases[::-1]
    for case, mask in zip(cases, truth, strict=True):
        assert case.mask is not None
        assert np.array_equal(case.mask(), mask)
    assert [seen.error for seen in prepare.look_at(cases, 32, 1)] == [""] * len(files)


def test_each_frame_of_an_enhanced_image_takes_its_own(tmp_path: Path) -> None:
    scans.enhanced(tmp_path / "a.dcm", (0, 5, 6, 0))
    truth = outlines(4)
    assert dicomseg.write([tmp_path / "a.dcm"], truth, tmp_path / "a_seg.dcm", "x", "p", "hash")
    cases = layouts.inspect(tmp_path, Data()).cases
    assert len(cases) == 4
    for case, mask in zip(cases, truth, strict=True):
        assert case.mask is not None
        assert np.array_equal(case.mask(), mask)


def test_segments_are_united_and_fractional_ones_count_above_half(tmp_path: Path) -> None:
    scans.series(tmp_path, (5,))
    (image,) = tmp_path.glob("*.dcm")
    truth = outlines(2)[:1]
    dicomseg.write([image], truth, tmp_path / "seg", "x", "p", "hash")
    made = pydicom.dcmread(tmp_path / "seg")
    made.SegmentationType, made.MaximumFractionalValue = "FRACTIONAL", 100
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.NumberOfFrames = 7, 2
    other = np.zeros_like(truth)
    other[0, :3] = True
    made.PixelData = np.where(truth, 60, 40).astype(np.uint8).tobytes() + np.where(other, 100, 50).astype(np.uint8).tobytes()
    made.PerFrameFunctionalGroupsSequence = list(made.PerFrameFunctionalGroupsSequence) * 2
    made.save_as(tmp_path / "fractional")
    assert np.array_equal(masks.read([tmp_path / "fractional"], 0, image), (truth | other)[0])


def test_links_shared_by_all_frames_and_links_to_whole_images_count_and_frames_without_any_are_refused(tmp_path: Path) -> None:
    scans.enhanced(tmp_path / "a.dcm", (0, 5, 6, 0))
    truth = outlines(4)
    dicomseg.write([tmp_path / "a.dcm"], truth, tmp_path / "seg", "x", "p", "hash")
    made = pydicom.dcmread(tmp_path / "seg")
    groups = made.PerFrameFunctionalGroupsSequence
    (link,) = groups[0].DerivationImageSequence
    del link.SourceImageSequence[0].ReferencedFrameNumber
    for group in groups:
        del group.DerivationImageSequence
    made.save_as(tmp_path / "without")
    with pytest.raises(Unreadable, match="does not say which image its frames lie on"):
        masks.read([tmp_path / "without"], 0, tmp_path / "a.dcm")
    made.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [link]
    made.save_as(tmp_path / "shared")
    for number in range(4):
        assert np.array_equal(masks.read([tmp_path / "shared"], number, tmp_path / "a.dcm"), truth.any(axis=0))
    other = deepcopy(link)
    other.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    made.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [link, other]
    made.save_as(tmp_path / "several")
    with pytest.raises(Unreadable, match="does not say which image its frames lie on"):
        masks.read([tmp_path / "several"], 0, tmp_path / "a.dcm")


def test_what_cannot_be_a_mask_of_an_image_is_one_reason(tmp_path: Path) -> None:
    scans.series(tmp_path / "a", (5, 6))
    scans.series(tmp_path / "b", (5,))
    image, other = sorted((tmp_path / "a").glob("*.dcm"))
    dicomseg.write([image, other], outlines(3)[:2], tmp_path / "seg", "x", "p", "hash")
    (stranger,) = (tmp_path / "b").glob("*.dcm")
    with pytest.raises(Unreadable, match="does not refer to this one"):
        masks.read([tmp_path / "seg"], 0, stranger)
    with pytest.raises(Unreadable, match="PNG, TIFF, BMP, JPEG or NIfTI"):
        masks.read([other], 0, image)
    with pytest.raises(Unreadable, match="give it as a mask"):
        list(reading.read(tmp_path / "seg", "s"))
    whole = (tmp_path / "seg").read_bytes()
    rng = np.random.default_rng(0)
    for turn in range(60):
        at = int(rng.integers(140, len(whole)))
        (tmp_path / "bad").write_bytes(whole[:at] if turn % 2 else whole[:at] + rng.bytes(6) + whole[at + 6 :])
        with suppress(OSError):  # and nothing else
            assert masks.read([tmp_path / "bad"], 0, image).shape == (64, 48)
