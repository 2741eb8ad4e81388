"""Requests to pictures, opinions to answers, measures and overlays."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist

from tests.usecases.medical_imaging import scans
from usecases.medical_imaging import answers, measuring, overlay
from usecases.medical_imaging.answers import MedicalRequest
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import NOTICE, Found


def _request(path: Path, **more: int) -> MedicalRequest:
    return MedicalRequest(image=base64.b64encode(path.read_bytes()).decode(), **more)


def _found(shape: tuple[int, ...] = (64, 48), reasons: tuple[str, ...] = (), mask: np.ndarray | None = None) -> Found:
    heat = np.zeros(shape, np.float32)
    heat[10:30, 10:30] = 1
    return Found(np.array([0.2, 0.8]), 1, 0.7, 0.9, reasons, 0.3, heat, mask)


def test_every_kind_of_file_becomes_the_same_picture(tmp_path: Path) -> None:
    scans.png(tmp_path / "a.png", 8)
    scans.dicom(tmp_path / "a.dcm", scans.plane(8), 0, 1, scans.uids())
    scans.volume(tmp_path / "v.nii.gz", (0, 8, 0))
    png, dicom = (answers.picture_of(_request(tmp_path / name)) for name in ("a.png", "a.dcm"))
    np.testing.assert_allclose(png.pixels, dicom.pixels, atol=0.03)
    assert (png.spacing, dicom.spacing) == (None, scans.SPACING)
    first, second = (answers.picture_of(_request(tmp_path / "v.nii.gz", frame=frame)) for frame in (1, 2))
    assert first.pixels.max() < second.pixels.max()


def test_requests_that_do_not_fit_are_told_why_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    scans.png(tmp_path / "a.png", 8)
    bad = {
        "not base64": MedicalRequest(image="$$$"),
        "cannot be used: the file is not an image": MedicalRequest(image=base64.b64encode(b"hello, world").decode()),
        "fewer than 2 images": _request(tmp_path / "a.png", frame=2),
    }
    for message, request in bad.items():
        with pytest.raises(ValueError, match=message) as caught:
            answers.picture_of(request)
        assert str(tmp_path) not in str(caught.value)
    monkeypatch.setattr(answers, "BYTES", 10)
    with pytest.raises(ValueError, match="more than"):
        answers.picture_of(_request(tmp_path / "a.png"))
    assert not any((tmp_path / "temporary").iterdir())


def test_an_answer_tells_sizes_only_where_they_are_known_and_sends_images_only_when_asked() -> None:
    mask = np.zeros((64, 48), bool)
    mask[5:15, 5:10] = True
    pixels = np.zeros((64, 48), np.float32)
    plain = answers.decision(_found(mask=mask), Picture("a", pixels), ("normal", "lesion"))
    assert (plain.finding, plain.probabilities, plain.refer) == ("lesion", {"normal": 0.2, "lesion": 0.8}, False)
    assert (plain.area_mm2, plain.diameter_mm, plain.heat, plain.mask, plain.notice) == (None, None, None, None, NOTICE)
    full = answers.decision(
        _found(mask=mask, reasons=("unsure",)), Picture("a", pixels, (0.5, 2.0)), ("normal", "lesion"), True, True
    )
    assert full.area_mm2 == 50
    assert full.diameter_mm == pytest.approx(np.hypot(5, 10), abs=0.01)
    assert (full.refer, full.reasons) == (True, ["unsure"])
    sent = cv2.imdecode(np.frombuffer(base64.b64decode(full.mask or ""), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(sent, mask * 255)
    assert base64.b64decode(full.heat or "").startswith(b"\x89PNG")


def test_an_answer_to_what_is_refused_says_that_it_is_not_judged() -> None:
    found = replace(_found(reasons=("unlike",)), novelty=1.0)
    answer = answers.decision(found, Picture("a", np.zeros((64, 48), np.float32), (1.0, 1.0)), ("normal", "lesion"), True, True)
    assert (answer.finding, answer.refer, answer.reasons) == ("not judged", True, ["unlike"])
    assert (answer.probabilities["lesion"], answer.mask, answer.area_mm2) == (0.8, None, None)


def test_diameters_agree_with_all_pairs_of_corners() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        mask = ndimage.gaussian_filter(random.random((40, 30)), 3) > 0.52
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        assert measuring.lesions(mask) == count
        largest = 0.0
        for label in range(1, count + 1):
            centres = np.argwhere(labels == label)
            corners = np.concatenate([centres + (y, x) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])  # noqa: RUF005 (arrays)
            largest = max(largest, float(pdist(corners * (0.7, 1.9)).max()))
        assert measuring.diameter_mm(mask, (0.7, 1.9)) == pytest.approx(largest, abs=1e-4)


def test_lesions_of_a_volume_agree_with_labelling_it_as_a_whole() -> None:
    random = np.random.default_rng(1)
    for share in (0.02, 0.06, 0.1, 0.2):
        volume = random.random((8, 30, 20)) < share
        counter = measuring.Lesions()
        for plane in volume:
            counter.add(plane)
        assert counter.count == ndimage.label(volume, np.ones((3, 3, 3)))[1]


def test_volumes_follow_the_distances_of_slices() -> None:
    assert measuring.volume_ml([100, 200, 300], [0, 5, 10]) == pytest.approx(600 * 5 / 1000)
    assert measuring.volume_ml([100, 100, 100], [0, 2, 10]) == pytest.approx(100 * (2 + 5 + 8) / 1000)
    assert measuring.volume_ml([100], [0]) is None


def test_the_left_panel_is_the_picture_alone_and_heat_stays_see_through() -> None:
    pixels = np.full((28, 28), 0.5, np.float32)
    pixels[::2] = 0.25
    heat = np.zeros((28, 28), np.float32)
    heat[8:20, 8:20] = 1
    image = overlay.draw(Picture("a", pixels), Found(np.array([0.2, 0.8]), 1, 0.7, 0.9, (), 0, heat), ("a", "b"))
    assert image.shape[1] <= 1024
    size, edge, gap = overlay.PANEL, overlay.MARGIN, overlay.GAP
    left = image[edge : edge + size, edge : edge + size].astype(int)
    right = image[edge : edge + size, edge + size + gap : edge + 2 * size + gap].astype(int)
    assert set(np.unique(left)) == {64, 128}
    np.testing.assert_array_equal(left[:90], right[:90])
    hot = right[size // 2 - 60 : size // 2 + 60, size // 2]
    assert (hot[:, 0] > hot[:, 2] + 60).all()  # coloured
    assert np.ptp(hot[:, 0]) > 20  # the picture's stripes are still seen


def test_the_caption_is_amber_when_referred_and_writes_more_than_ascii() -> None:
    picture = Picture("a", np.zeros((64, 48), np.float32))

    def amber(image: np.ndarray) -> int:
        return int((image == overlay.AMBER).all(-1).sum())

    sure, unsure = (overlay.draw(picture, _found(reasons=why), ("a", "b")) for why in ((), ("a long reason " * 40,)))
    assert amber(sure) == 0
    assert amber(unsure) > 500
    assert len(unsure) > len(sure)  # room is made for the text
    umlaut, plain, unknown = (overlay.draw(picture, _found(), ("a", name)) for name in ("Gr\u00f6\u00dfe", "Grose", "Gr??e"))
    assert not np.array_equal(umlaut, plain)
    assert not np.array_equal(umlaut, unknown)


def test_pixels_are_drawn_in_their_true_proportions() -> None:
    mask = np.zeros((50, 100), bool)
    mask[40, 60:80] = mask[41, 60:80] = True
    mask[20, 30] = True  # one pixel, which must not vanish
    picture = Picture("a", np.zeros((50, 100), np.float32), (4.0, 1.0))
    image = overlay.thumbnail(picture, replace(_found((50, 100), mask=mask), heat=np.zeros((50, 100), np.float32)))
    assert image.shape == (overlay.THUMB, overlay.THUMB // 2, 3)
    drawn = (image[..., 2] > 120) & (image[..., 0] < 110)
    assert drawn[:100].any()
    assert drawn[100:].any()


@pytest.mark.parametrize(("share", "text"), [(0.999, ">99"), (0.001, "<1"), (0.5, "50"), (0.0, "0")])
def test_what_is_not_certain_is_never_a_hundred_percent(share: float, text: str) -> None:
    assert overlay.percent(share) == text
