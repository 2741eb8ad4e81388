from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from usecases.medical_imaging import reading
from usecases.medical_imaging.anonymous import pseudonym
from usecases.medical_imaging.scaling import Unreadable

pydicom = pytest.importorskip("pydicom")
nib = pytest.importorskip("nibabel")

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


def archive() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as made:
        made.writestr("a.dcm", "x" * 99)
    return file.getvalue()


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def without_preamble() -> bytes:
    """A data set as it was written before there were files for it: no preamble, no group 2."""
    dataset = pydicom.dcmread(FOLDER / "MR_small_implicit.dcm")
    pydicom.dcmwrite(file := io.BytesIO(), pydicom.Dataset(dataset), implicit_vr=True, little_endian=True)
    return file.getvalue()


GREY = np.arange(100, dtype=np.uint8).reshape(10, 10)
VOLUME = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)).to_bytes()


@pytest.mark.parametrize("name", ["a.dcm", "a.png", "a.nii.gz", "a"])
def test_the_content_tells_what_a_file_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    mri = (FOLDER / "MR_small.dcm").read_bytes()
    tiff = cv2.imencode(".tiff", GREY)[1].tobytes()
    kinds = {"DICOM": (mri, without_preamble()), "PNG": (png(GREY),), "NIfTI": (VOLUME, gzip.compress(VOLUME)), "TIFF": (tiff,)}
    for kind, data in ((kind, data) for kind, several in kinds.items() for data in several):
        path.write_bytes(data)
        pictures = list(reading.read(path, "s"))
        assert [picture.about["format"] for picture in pictures] == [kind] * (5 if kind == "NIfTI" else 1)
    path.write_bytes(without_preamble())
    (tmp_path / "b").write_bytes(mri)
    (one,), (other,) = reading.read(path, "s"), reading.read(tmp_path / "b", "s")
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.patient == pseudonym(str(pydicom.dcmread(tmp_path / "b").PatientID), "s")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (archive(), "ZIP archive"),
        (b"MZ" + bytes(2000), "a program"),
        (b"<!DOCTYPE html><html>" + bytes(2000), "not an image of a kind"),
        (b"%PDF-1.7" + bytes(2000), "PDF"),
        (gzip.compress(bytes(2000)), "compressed with gzip"),
        (bytes(128) + b"DICM", "not an image that can be read"),
        (bytes(3000), "not an image of a kind"),
    ],
)
def test_what_is_no_image_has_one_reason(data: bytes, why: str, tmp_path: Path) -> None:
    (path := tmp_path / "Zyx Secret.dcm").write_bytes(data)
    with pytest.raises(OSError, match=why) as error:
        list(reading.read(path, "s"))
    assert "Zyx" not in str(error.value)
    with pytest.raises(Unreadable, match="no such file"):
        list(reading.read(tmp_path / "missing", "s"))


def test_text_is_covered_and_three_equal_channels_are_grey(tmp_path: Path) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    cv2.putText(image, "SMITH JOHN", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255))
    cv2.circle(image, (150, 120), 40, (90, 90, 90), -1)
    (path := tmp_path / "a.png").write_bytes(png(image))
    (picture,) = reading.read(path, "s")
    assert picture.pixels.shape == (200, 300)
    assert picture.hidden is not None
    assert picture.pixels[:40].max() == 0
    assert picture.pixels[120, 150] > 0


def test_files_in_natural_order_without_what_is_hidden_or_leads_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    folder = tmp_path / "in"
    for name in ("b/10", "b/2", "a.png", ".hidden", ".git/c", "DICOMDIR", "labels.csv", "c/d/e.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "leads_out").symlink_to(outside / "secret")
    (folder / "folder_out").symlink_to(outside)
    (folder / "within").symlink_to(folder / "a.png")
    (folder / "b" / "circle").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path in reading.files(folder)] == [
        "a.png",
        "b/2",
        "b/10",
        "c/d/e.dcm",
        "within",
    ]


def test_what_cannot_be_opened_is_listed_and_has_a_reason_and_pipes_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").symlink_to("gone.dcm")
    (folder / "b.dcm").symlink_to("b.dcm")
    (folder / "leads_out").symlink_to(tmp_path / "gone.dcm")
    os.mkfifo(folder / "pipe.dcm")
    (folder / "piped.dcm").symlink_to("pipe.dcm")
    found = reading.files(folder)
    if os.geteuid():  # root may open everything
        (folder / "closed").mkdir(mode=0)
        found = reading.files(folder)
        assert found.pop().name == "closed"
    assert [path.name for path in found] == ["a.dcm", "b.dcm"]
    for path in [*found, folder]:
        assert reading.count(path) == 1
        with pytest.raises(Unreadable, match=r"no such file|cannot be opened|symbolic links"):
            list(reading.read(path, "s"))


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The same file, but cut, or with bits turned, lengths and numbers changed, or something put in."""
    made = bytearray(data)
    kind = rng.integers(5)
    if kind == 0:
        return data[: rng.integers(1, len(data))]
    if kind == 1:
        for at in rng.integers(0, len(made), 6):
            made[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for at in rng.integers(0, min(len(made), 3000), 3):
            made[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x10000000])))
    elif kind == 3:  # rows, columns, frames, samples, bits, sign
        for element in (0x10, 0x11, 0x08, 0x02, 0x100, 0x101, 0x103):
            at = made.find(struct.pack("<HH", 0x28, element))
            if at >= 0 and rng.random() < 0.5:
                made[at + 8 : at + 10] = struct.pack("<H", int(rng.choice([0, 1, 3, 7, 32, 64, 1000, 65535])))
    else:
        at = int(rng.integers(len(made)))
        made[at:at] = rng.bytes(40)
    return bytes(made)


def test_malformed_files_give_pictures_or_one_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = "CT_small MR_small_RLE MR_small_jp2klossless SC_rgb_jpeg_dcmtk rtdose image_dfl SC_rgb_rle_2frame MR_small_bigendian"
    whole = [(FOLDER / f"{name}.dcm").read_bytes() for name in names.split()]
    deep = np.random.default_rng(1).integers(0, 1 << 16, (20, 30)).astype(np.uint16)
    whole += [
        VOLUME,
        gzip.compress(VOLUME),
        png(GREY),
        png(deep),
        cv2.imencode(".tiff", deep)[1].tobytes(),
        cv2.imencode(".jpg", GREY)[1].tobytes(),
    ]
    reasons = []
    for number in range(64):
        (path := tmp_path / "a").write_bytes(damaged(whole[number % len(whole)], rng))
        try:
            for picture in reading.read(path, "s"):
                assert picture.pixels.dtype == np.float32
                assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        except Unreadable as error:
            reasons.append(str(error))
    assert 20 < len(reasons) < 64
    assert max(map(len, reasons)) < 120
