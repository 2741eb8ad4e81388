"""Splits do not leak, and give each part its share of every class."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import DataError, UserError
from usecases.medical_imaging import splits

NONE = np.zeros((0, 2), np.int64)


def cohort(seed: int = 0, people: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of images: one to six of each person, a tenth of the people ill."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(people), rng.integers(1, 7, people))
    return (rng.random(people) < 0.1).astype(np.int64)[patient], patient


def test_units_join_patients_and_images_that_look_alike() -> None:
    unit = splits.units(["a", "", "b", "", "a", ""], np.array([[1, 2], [3, 5]]))
    assert [np.flatnonzero(unit == one).tolist() for one in np.unique(unit)] == [[0, 4], [1, 2], [3, 5]]
    assert len(splits.units([], NONE)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_split_divides_no_patient_and_keeps_shares(seed: int) -> None:
    labels, patient = cohort(seed)
    parts = splits.split(labels, patient, 0.15, 0.2, seed)
    assert all(len(set(parts[patient == one])) == 1 for one in np.unique(patient))
    for part, share in (("train", 0.65), ("validation", 0.15), ("test", 0.2)):
        assert (parts == part).mean() == pytest.approx(share, abs=0.03)
        assert labels[parts == part].mean() == pytest.approx(labels.mean(), abs=0.03)
    assert np.array_equal(parts, splits.split(labels, patient, 0.15, 0.2, seed))
    assert not np.array_equal(parts, splits.split(labels, patient, 0.15, 0.2, seed + 1))


def test_every_part_gets_of_a_rare_class() -> None:
    labels = np.array([0] * 60 + [1] * 3)
    parts = splits.split(labels, np.arange(63), 0.15, 0.2, 0)
    assert sorted(parts[60:]) == ["test", "train", "validation"]
    with pytest.raises(DataError, match="class 'rare' has 2"):
        splits.split(labels[:-1], np.arange(62), 0.15, 0.2, 0, ("usual", "rare"))
    with pytest.raises(UserError, match="nothing to train on"):
        splits.split(labels, np.arange(63), 0.5, 0.5, 0)


def test_a_given_split_is_kept_and_what_leaks_into_its_test_is_left_out() -> None:
    labels = np.tile([0, 1], 50)
    unit = np.arange(100)
    given = np.array(["train"] * 80 + ["test"] * 20)
    unit[3] = unit[90]  # a patient who is also in the test part
    parts = splits.within(labels, unit, given.tolist(), 0.15, 0.2, 0)
    assert (parts[80:] == "test").all()
    assert parts[3] == ""
    assert (parts == "validation").sum() == 12
    assert (parts == "train").sum() == 67
    three = np.where(np.arange(100) < 10, "validation", given)
    unit[20] = unit[5]  # a training image of a patient who is in the validation part
    parts = splits.within(labels, unit, three.tolist(), 0.15, 0.2, 0)
    assert set(np.flatnonzero(parts == "").tolist()) == {3, 20}


def test_folds_test_each_case_once_and_divide_no_patient() -> None:
    labels, patient = cohort()
    made = splits.folds(labels, patient, 5, 0.15, 0)
    assert (np.sum([parts == "test" for parts in made], axis=0) == 1).all()
    for parts in made:
        assert all(len(set(parts[patient == one])) == 1 for one in np.unique(patient))
        assert (parts == "validation").mean() == pytest.approx(0.15, abs=0.03)
        assert set(labels[parts == "validation"]) == {0, 1}
