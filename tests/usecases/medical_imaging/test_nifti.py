from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

nib = pytest.importorskip("nibabel")

from usecases.medical_imaging import nifti, reading  # noqa: E402
from usecases.medical_imaging.scaling import Unreadable  # noqa: E402

SHAPE = 7, 9, 5


def turned(degrees: float) -> np.ndarray:
    """Voxels of 2 x 3 x 4 mm, turned around the axis to the head."""
    a = np.radians(degrees)
    around = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = around @ np.diag([2.0, 3.0, 4.0])
    affine[:3, 3] = -5, 11, 20
    return affine


def permuted(axes: tuple[int, int, int], signs: tuple[int, int, int]) -> np.ndarray:
    affine = np.zeros((4, 4))
    for axis, (to, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[to, axis] = sign * (2.0, 3.0, 4.0)[axis]
    affine[:, 3] = 1, 2, 3, 1
    return affine


AFFINES = {
    "as stored": np.diag([2.0, 3.0, 4.0, 1.0]),
    "to the left": np.diag([-2.0, 3.0, 4.0, 1.0]),
    "all flipped": np.diag([-2.0, -3.0, -4.0, 1.0]),
    "sagittal": permuted((1, 2, 0), (-1, 1, 1)),
    "coronal": permuted((0, 2, 1), (1, -1, -1)),
    "oblique": turned(25),
    "oblique, backwards": turned(160),
}


def volume(affine: np.ndarray, path: Path, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    data = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return data


@pytest.mark.parametrize("kind", AFFINES)
def test_slices_are_axial_with_the_left_on_the_right(kind: str, tmp_path: Path) -> None:
    affine = AFFINES[kind]
    data = volume(affine, path := tmp_path / "a.nii.gz")
    pictures = list(nifti.frames(path))
    canonical = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    low, high = np.percentile(data, (0.5, 99.5))
    right = np.clip((canonical.get_fdata() - low) / (high - low), 0, 1)
    assert len(pictures) == right.shape[2]
    spacing = canonical.header.get_zooms()
    for place, picture in enumerate(pictures):
        height, width = picture.pixels.shape
        for row in range(height):  # the top is the front: the axis to the front runs upwards, that to the right leftwards
            for column in range(width):
                assert picture.pixels[row, column] == pytest.approx(right[width - 1 - column, height - 1 - row, place], abs=1e-5)
        assert picture.spacing == pytest.approx((spacing[1], spacing[0]))
    assert [picture.name for picture in pictures][:2] == ["a.nii.gz#1", "a.nii.gz#2"]


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_marked_on_slices_lies_on_the_same_voxels(kind: str, suffix: str, tmp_path: Path) -> None:
    data = volume(AFFINES[kind], path := tmp_path / "a.nii.gz")
    pictures = np.stack([picture.pixels for picture in nifti.frames(path)])
    nifti.write_mask(path, pictures > 0.8, out := tmp_path / f"b{suffix}")
    mask, reference = nib.load(out), nib.load(path)
    low, high = np.percentile(data, (0.5, 99.5))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), (data - low) / (high - low) > 0.8)
    np.testing.assert_array_equal(mask.affine, reference.affine)
    assert mask.get_data_dtype() == np.uint8
    for code in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
        np.testing.assert_array_equal(mask.header[code], reference.header[code])


def test_volumes_in_time_come_in_turn_and_go_back(tmp_path: Path) -> None:
    data = volume(AFFINES["to the left"], path := tmp_path / "a.nii", (4, 5, 3, 2))
    pictures = list(nifti.frames(path))
    assert len(pictures) == 6
    for number, picture in enumerate(pictures):
        time, place = divmod(number, 3)
        low, high = np.percentile(data[..., time], (0.5, 99.5))
        np.testing.assert_allclose(picture.pixels, np.clip((data[:, ::-1, place, time].T - low) / (high - low), 0, 1), atol=1e-5)
    nifti.write_mask(path, np.arange(60 * 2).reshape(6, 5, 4) % 2, out := tmp_path / "b.nii")
    assert nib.load(out).shape == (4, 5, 3, 2)
    with pytest.raises(ValueError, match="shape"):
        nifti.write_mask(path, np.zeros((3, 5, 4)), out)


def test_scale_units_and_values_that_are_not_finite(tmp_path: Path) -> None:
    data = np.linspace(-1, 1, 8 * 8 * 3).reshape(8, 8, 3).astype(np.float32)
    data[0, 0, 0] = np.nan
    image = nib.Nifti2Image(data, np.diag([0.002, 0.003, 0.004, 1]))
    image.header.set_xyzt_units("meter")
    path = tmp_path / "any.name"
    path.write_bytes(image.to_bytes())
    pictures = list(reading.read(path, "s"))
    assert pictures[0].spacing == pytest.approx((3, 2))
    assert pictures[0].pixels[-1, -1] == 0
    assert pictures[2].pixels.max() == 1
    falling = nib.Nifti1Image((np.arange(60).reshape(3, 4, 5)).astype(np.int16), np.eye(4))
    falling.header.set_slope_inter(-2, 7)  # falling: what is stored as more is darker
    path.write_bytes(falling.to_bytes())
    first = next(iter(nifti.frames(path))).pixels
    assert first[-1, -1] == 1
    assert first[0, 0] < first[-1, -1]


def header(shape: tuple[int, ...], offset: float = 352) -> bytearray:
    made = nib.Nifti1Header()
    made.set_data_shape(shape)
    data = bytearray(made.binaryblock)
    data[108:112] = struct.pack("<f", offset)
    data[344:348] = b"n+1\0"
    return data


def edited(start: int, value: bytes) -> bytes:
    data = header((4, 4, 4)) + bytes(4 + 64 * 4)
    data[start : start + len(value)] = value
    return bytes(data)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a volume that is too large": (lambda: gzip.compress(header((30_000, 30_000, 30_000)) + bytes(100)), "million values|MB"),
    "many volumes": (lambda: gzip.compress(header((100, 100, 100, 32_767)) + bytes(1 << 22)), "100,000 images"),
    "more than gzip can hold": (lambda: gzip.compress(header((512, 512, 300)) + bytes(100)), "cut short"),
    "cut short": (lambda: bytes(header((9, 9, 9)) + bytes(100)), "cut short"),
    "cut short when unpacked": (lambda: gzip.compress(header((90, 90, 9)) + bytes(100_000)), "cut short"),
    "gzip itself cut short": (
        lambda: gzip.compress(header((9, 9, 9)) + np.random.default_rng(0).bytes(9000))[:2000],
        "cut short",
    ),
    "far offset": (lambda: edited(108, struct.pack("<f", 1e30)), "cut short"),
    "an endless extension of the header": (lambda: edited(348, struct.pack("<4sii", b"\1\0\0\0", 0x7FFFFFF0, 0)), ""),
    "colours": (lambda: edited(70, struct.pack("<hh", 128, 24)), "not plain numbers"),
    "complex": (lambda: edited(70, struct.pack("<hh", 32, 64)), "not plain numbers"),
    "two dimensions": (lambda: edited(40, struct.pack("<h", 2)), "2 dimensions"),
    "no orientation": (lambda: edited(252, struct.pack("<hh", 0, 1)), "how its axes lie"),
    "half of a pair": (lambda: edited(344, b"ni1\0"), "half of a pair"),
    "Analyze": (lambda: edited(344, b"\0\0\0\0")[:38] + b"r" + edited(344, b"\0\0\0\0")[39:], "Analyze 7.5"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_has_one_reason(kind: str, tmp_path: Path) -> None:
    made, why = REFUSED[kind]
    (path := tmp_path / "a.dcm").write_bytes(made())
    if why:
        with pytest.raises(Unreadable, match=why):
            list(reading.read(path, "s"))
    else:  # extensions are not looked at
        assert len(list(reading.read(path, "s"))) == 4


def test_text_of_the_reference_is_not_copied_into_masks(tmp_path: Path) -> None:
    volume(np.eye(4), path := tmp_path / "a.nii")
    image = nib.load(path)
    image.header["descrip"] = image.header["aux_file"] = b"Zyx Secret"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Zyx Secret"))
    nib.save(image, other := tmp_path / "b.nii")
    nifti.write_mask(other, np.zeros((5, 9, 7)), out := tmp_path / "c.nii")
    assert b"Zyx" in other.read_bytes()
    assert b"Zyx" not in out.read_bytes()
