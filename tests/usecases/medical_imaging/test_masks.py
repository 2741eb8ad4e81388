"""Masks beside images: read once, placed and measured like them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from usecases.medical_imaging import prepare
from usecases.medical_imaging.cases import Case, Picture


def test_the_area_of_an_outlined_lesion_is_known_where_the_size_of_a_pixel_is_and_its_share_elsewhere() -> None:
    outlined = np.zeros((40, 50), bool)
    outlined[5:9, 10:15] = True
    found = {}
    for spacing in ((0.5, 2.0), None):

        def picture(spacing: tuple[float, float] | None = spacing) -> Picture:
            return Picture("a", np.ones((40, 50), np.float32), spacing)

        found[spacing] = prepare.look(Case("a", picture, 1, lambda: outlined), 32).case.about
    assert found[0.5, 2.0]["lesion_mm2"] == 20
    assert found[None]["lesion_percent"] == 1
    assert not {"lesion_percent"} & set(found[0.5, 2.0]) | {"lesion_mm2"} & set(found[None])


def test_masks_are_read_in_one_pass_and_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nibabel = pytest.importorskip("nibabel")
    from usecases.medical_imaging import masks

    decoded = []
    page = masks.images.pages
    monkeypatch.setattr(masks.images, "pages", lambda data: (decoded.append(1) or one for one in page(data)))
    pages = [np.zeros((9, 7), np.uint8) for _ in range(30)]
    for number, one in enumerate(pages):
        one[number // 7, number % 7] = 1
    cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    cv2.imwrite(str(tmp_path / "b.png"), np.eye(9, 7, dtype=np.uint8))
    files = [tmp_path / "a.tif", tmp_path / "b.png"]
    for number in range(30):
        assert np.array_equal(masks.read(files, number, files[0]), (pages[number] + np.eye(9, 7)) > 0)
        assert len(decoded) <= number + 3
    with pytest.raises(OSError, match="only 30 image"):
        masks.read(files, 30, files[0])
    volume = np.zeros((7, 9, 4), np.int16)
    volume[2, 3, 1] = 5
    (tmp_path / "volume").write_bytes(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes())  # whatever its name is
    found = [masks.read([tmp_path / "volume"], place, tmp_path / "volume") for place in range(4)]
    assert [np.argwhere(one).tolist() for one in found] == [[], [[5, 4]], [], []]
    monkeypatch.setattr("usecases.medical_imaging.nifti.VOLUME_LIMIT", 100)
    with pytest.raises(OSError, match="a volume of the NIfTI file has more than"):
        masks.read([tmp_path / "volume"], 0, tmp_path / "volume")


def test_a_nifti_mask_has_the_depth_of_its_image_or_of_each_of_its_volumes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    from usecases.medical_imaging import masks

    def file(name: str, *shape: int) -> Path:
        marked = np.arange(np.prod(shape)).reshape(shape, order="F") // 16 % 2  # every other slice
        nibabel.Nifti1Image(marked.astype(np.uint8), np.eye(4)).to_filename(tmp_path / name)
        return tmp_path / name

    def outlined(mask: Path, image: Path, count: int) -> list[bool]:
        return [bool(masks.read([mask], number, image).any()) for number in range(count)]

    image, film, mask = file("a.nii", 4, 4, 4), file("b.nii", 4, 4, 5, 2), file("mask.nii", 4, 4, 5)
    once = [False, True, False, True, False]
    assert outlined(mask, film, 10) == once * 2
    assert outlined(film, film, 10) == [*once, *np.logical_not(once)]
    assert outlined(file("plane.nii", 4, 4, 1), film, 10) == [False] * 10
    for other, shown, slices, wanted in ((mask, image, 5, 4), (file("c.nii", 4, 4, 2), image, 2, 4), (film, mask, 10, 5)):
        with pytest.raises(OSError, match=f"the mask has {slices} slices, the image {wanted}"):
            masks.read([other], 0, shown)


def test_a_mask_that_lies_where_the_image_is_dark_is_named() -> None:
    """Dark borders are cut off: the network would be taught that nothing is there, though the label says so."""
    pixels, outlined = np.full((300, 300), 0.02, np.float32), np.zeros((300, 300), bool)
    pixels[100:200, 100:200] = 0.8
    outlined[10:30, 10:30] = True
    assert "dark" in prepare.look(Case("a", lambda: Picture("a", pixels), 1, lambda: outlined), 32).error
    outlined[110:150, 110:150] = True
    assert prepare.look(Case("a", lambda: Picture("a", pixels), 1, lambda: outlined), 32).error == ""
