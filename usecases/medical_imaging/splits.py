"""Cases into training, validation and test, without leaks: a patient's images, and images that look alike, stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from shared.errors import DataError, Finding, UserError

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")


def units(patients: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """int64 [cases] which cases are never divided: those of one patient, and those linked by pairs that look alike.

    Args:
        patients: "" where not known.
        pairs: int64 [pairs, 2] places of cases.
    """
    names = {name: code for code, name in enumerate(dict.fromkeys(name for name in patients if name))}
    code = np.array([names.get(name, len(names) + place) for place, name in enumerate(patients)], np.int64)
    if not len(code):
        return code
    size = int(code.max()) + 1
    one, other = code[pairs[:, 0]], code[pairs[:, 1]]
    component = connected_components(coo_array((np.ones(len(pairs)), (one, other)), shape=(size, size)), directed=False)[1]
    return np.unique(component[code], return_inverse=True)[1]


def split(
    labels: np.ndarray, unit: np.ndarray, share_validation: float, share_test: float, seed: int, names: Sequence[str] = ()
) -> np.ndarray:
    """[cases] of "train", "validation" and "test": by units, with each class about alike in all; the same for the same seed.

    Args:
        labels: int [cases].
        unit: see `units`.
        share_validation, share_test: of the cases, as near as whole units come; 0: none.
        names: of the classes, for messages.

    Raises:
        UserError: shares that leave nothing to train on.
        DataError: a class has fewer units than there are parts.
    """
    if share_validation + share_test >= 1:
        raise UserError(f"split.validation={share_validation} and split.test={share_test} leave nothing to train on. Lower them.")
    _enough(labels, unit, 1 + (share_validation > 0) + (share_test > 0), names)
    parts = np.full(len(labels), TRAIN, dtype="<U10")
    for number, (name, share) in enumerate(((TEST, share_test), (VALIDATION, share_validation))):
        if share > 0:
            rest = np.flatnonzero(parts == TRAIN)
            parts[rest[_drawn(labels[rest], unit[rest], share * len(labels), seed + number)]] = name
    return parts


def within(
    labels: np.ndarray,
    unit: np.ndarray,
    given: Sequence[str],
    share_validation: float,
    share_test: float,
    seed: int,
    names: Sequence[str] = (),
) -> np.ndarray:
    """As `split`, where the data set comes with parts: its test is kept; what is missing is taken from its training part.

    Cases of a unit that is also in a later part are left out: "" for them. The test part stays whole.
    """
    parts = np.array(given, dtype="<U10")
    for number, (name, share) in enumerate(((TEST, share_test), (VALIDATION, share_validation))):
        if not (parts == name).any() and share > 0:
            rest = np.flatnonzero(parts == TRAIN)
            _enough(labels[rest], unit[rest], 2, names)
            parts[rest[_drawn(labels[rest], unit[rest], share * len(rest), seed + number)]] = name
    for later, earlier in ((TEST, (VALIDATION, TRAIN)), (VALIDATION, (TRAIN,))):
        parts[np.isin(parts, earlier) & np.isin(unit, unit[parts == later])] = ""
    return parts


def share(labels: np.ndarray, unit: np.ndarray, parts: np.ndarray, wanted: float, seed: int) -> np.ndarray:
    """The parts with a share of the units to train on, drawn by the seed, of each class alike and at least one; "" for others.

    Those of a smaller share are among those of a larger one.
    """
    made = parts.copy()
    train = parts == TRAIN
    order = np.random.default_rng(seed).permutation(unit.max(initial=-1) + 1)
    kept: set[int] = set()
    for label in np.unique(labels[train]):
        own = np.isin(order, unit[train & (labels == label)])
        kept.update(order[own][: max(1, round(wanted * own.sum()))].tolist())
    made[train & ~np.isin(unit, list(kept))] = ""
    return made


def folds(
    labels: np.ndarray, unit: np.ndarray, count: int, share_validation: float, seed: int, names: Sequence[str] = ()
) -> list[np.ndarray]:
    """`count` splits as of `split`, in which each case is in the test part exactly once.

    Raises:
        DataError: a class has fewer units than there are folds.
    """
    _enough(labels, unit, count + 1, names)
    made = []
    for number, (rest, test) in enumerate(_folded(labels, unit, count, seed)):
        parts = np.full(len(labels), TRAIN, dtype="<U10")
        parts[test] = TEST
        parts[rest[_drawn(labels[rest], unit[rest], share_validation * len(labels), seed + number)]] = VALIDATION
        made.append(parts)
    return made


def _folded(labels: np.ndarray, unit: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    folder = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(folder.split(np.zeros(len(labels)), labels, unit))


def _drawn(labels: np.ndarray, unit: np.ndarray, wanted: float, seed: int) -> np.ndarray:
    """Places of about `wanted` cases in whole units, of each class its share; some are left of every class.

    Units are gone through in random order, those of the rarest class first; each is taken where that brings the classes
    nearer to what is wanted of them.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    names, owner = np.unique(unit, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (owner, codes), 1)
    total = counts.sum(axis=0)
    aim = total * wanted / len(labels)
    rarest = np.array([min(total[row > 0]) for row in counts])
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(rarest[order], kind="stable")]
    has = counts > 0
    left, taken, chosen = has.sum(axis=0), np.zeros(len(classes)), []
    for name in order:
        first = bool((has[name] & (taken == 0)).any())
        nearer = (((taken + counts[name] - aim) / aim) ** 2).sum() < (((taken - aim) / aim) ** 2).sum()
        if (first or nearer) and not (has[name] & (left <= 1)).any():
            chosen.append(name)
            taken += counts[name]
            left = left - has[name]
    return np.flatnonzero(np.isin(owner, chosen))


def _enough(labels: np.ndarray, unit: np.ndarray, parts: int, names: Sequence[str]) -> None:
    for label in np.unique(labels):
        found = len(np.unique(unit[labels == label]))
        if found < parts:
            name = f"'{names[label]}'" if names else label
            what = f"class {name} has {found} patient(s) or group(s) of like images, {parts} are needed: these are never divided"
            fix = "Give more patients of this class, or fewer folds (split.folds)"
            raise DataError([Finding("error", what, "the data's images", fix)])
