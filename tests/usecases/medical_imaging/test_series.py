"""Which files belong together, and in which order."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.usecases.medical_imaging import scans
from usecases.medical_imaging import series


def _studies(source: Path) -> list[series.Study]:
    return series.studies(source, series.files(source))


def test_slices_are_ordered_by_their_position_whatever_their_names_and_numbers_say(tmp_path: Path) -> None:
    scans.series(tmp_path / "study" / "ct")
    (study,) = _studies(tmp_path)
    assert [path.stem for path in study.paths] == list("dacbe")  # as written from the feet up; numbers run the other way
    assert study.places == pytest.approx([0, 2.5, 5, 7.5, 10])
    assert (study.name, study.stem, study.kind) == ("study/ct", "study__ct", "DICOM")
    assert study.names[0] == "study/ct/d.dcm"


def test_the_position_counts_along_the_normal_of_oblique_slices(tmp_path: Path) -> None:
    of = scans.uids()
    axes = [0, 1, 0, 0, 0, -1]  # sagittal: the normal points to the left, minus x
    for number, x in enumerate((3.0, 1.0, 2.0)):
        more = {"ImagePositionPatient": [x, -7.0 * number, 5.0], "ImageOrientationPatient": axes}
        scans.dicom(tmp_path / f"{number}.dcm", scans.plane(0), 0, number, of, **more)
    (study,) = _studies(tmp_path)
    assert [path.stem for path in study.paths] == ["0", "2", "1"]
    assert study.places == pytest.approx([-3, -2, -1])


def test_directions_that_differ_by_rounding_do_not_split_a_volume(tmp_path: Path) -> None:
    of = scans.uids()
    for number, tilt in enumerate((0.1249, 0.1251, 0.125, 0.1249)):
        axes = [1, 0, 0, 0, round(float(np.sqrt(1 - tilt**2)), 4), tilt]
        more = {"ImageOrientationPatient": axes, "ImagePositionPatient": [300, 300, 0.5 * number]}
        scans.dicom(tmp_path / f"{number}.dcm", scans.plane(0), 0, number, of, **more)
    (study,) = _studies(tmp_path)
    assert [path.stem for path in study.paths] == ["0", "1", "2", "3"]


def test_without_positions_instance_numbers_order_a_series_and_no_places_are_claimed(tmp_path: Path) -> None:
    of = scans.uids()
    for name, number in (("a", 10), ("b", 9), ("c", 1)):
        scans.dicom(tmp_path / f"{name}.dcm", scans.plane(0), 0, number, of, ImagePositionPatient=None)
    (study,) = _studies(tmp_path)
    assert [path.stem for path in study.paths] == ["c", "b", "a"]
    assert study.places is None


def test_other_series_orientations_and_repeats_are_volumes_of_their_own(tmp_path: Path) -> None:
    of = scans.uids()
    for echo in range(2):
        for place in range(3):
            scans.dicom(tmp_path / f"{echo}{place}.dcm", scans.plane(0), place, 3 * echo + place, of)
    turned = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    scans.dicom(tmp_path / "x.dcm", scans.plane(0), 0, 9, of, **turned)  # a localiser in the same series
    scans.dicom(tmp_path / "y.dcm", scans.plane(0), 0, 1, scans.uids())
    studies = _studies(tmp_path)
    assert sorted("".join(path.stem + " " for path in one.paths).strip() for one in studies) == ["00 01 02", "10 11 12", "x", "y"]
    assert len({one.stem for one in studies}) == 4


def test_files_with_several_frames_and_damaged_headers_are_by_themselves(tmp_path: Path) -> None:
    of = scans.uids()
    for number in range(3):
        more = {"NumberOfFrames": 1 + number % 2}
        scans.dicom(tmp_path / f"{number}.dcm", scans.plane(0), number, number, of, **more)
    (tmp_path / "bad.dcm").write_bytes((tmp_path / "0.dcm").read_bytes()[:200])
    assert sorted(len(one.paths) for one in _studies(tmp_path)) == [1, 1, 2]


def test_names_of_outputs_are_safe_and_unique_on_every_file_system(tmp_path: Path) -> None:
    names = ("a b.png", "a_b.png", "A_B.png", "a_b.tif", "-rf $HOME;.png", "x" * 180 + ".png", "x" * 181 + ".png", "grün/ä.png")
    for name in names:
        scans.png(tmp_path / name.replace(".tif", ".png.png"), 0)
    stems = [one.stem for one in _studies(tmp_path)]
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(len(stem) <= 110 and not set(stem) & set("/\\ $;:*?\"'") and not stem.startswith(".") for stem in stems)
    assert "grün__ä" in stems


def test_results_of_an_earlier_prediction_are_no_input(tmp_path: Path) -> None:
    scans.png(tmp_path / "a.png", 0)
    scans.png(tmp_path / "a.findings" / "overlays" / "a.png", 0)
    for name in series.RESULTS:
        (tmp_path / "a.findings" / name).write_text("")
    assert [path.name for path in series.files(tmp_path)] == ["a.png"]
    assert series.files(tmp_path)[0].parent == tmp_path


def test_the_distance_of_axial_slices_is_found_whichever_axis_they_lie_on(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -3.0, 0], [2.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])  # axis 1 goes to the head
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine), tmp_path / "v.nii.gz")
    assert series.axial(tmp_path / "v.nii.gz") == (6, pytest.approx(1.5))
