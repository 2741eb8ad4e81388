from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from shared.errors import UserError
from tests.usecases.conftest import Ended
from tests.usecases.suggested import errors, overrides, suggested
from usecases.arguments import settings_of
from usecases.medical_imaging import USECASE

RNG = np.random.default_rng(0)


def draw(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), cv2.resize(RNG.integers(0, 255, (8, 8), dtype=np.uint8), (40, 40)))


def test_a_first_look_trains_one_network_where_a_copys_full_run_trains_one_for_each_fold(tmp_path: Path) -> None:
    shutil.copy(USECASE.configs / "quick.yaml", tmp_path)
    (tmp_path / "default.yaml").write_text("split: {folds: 5}\n")
    copy = replace(USECASE, configs=tmp_path)
    folds = [settings_of(copy, quick, None, None, []).split.folds for quick in (False, True)]  # type: ignore[attr-defined]
    assert folds == [5, 1]


def test_class_folders_are_told_with_the_finding_last_patients_by_file_names_and_folds_where_images_are_few(
    tmp_path: Path,
) -> None:
    people = [(c, n, v) for c in ("tumor", "no_tumor") for n in range(20) for v in range(3)]
    draw(tmp_path, [f"{c}/{c[0]}{n:03d}_view{v}.png" for c, n, v in people])
    found = suggested(USECASE, tmp_path)
    assert found["data.layout"] == "folders"
    assert found["data.classes"] == ["no_tumor", "tumor"]
    assert found["split.folds"] == 5
    config = USECASE.config.model_validate({"data": {key[5:]: value for key, value in found.items() if key.startswith("data.")}})
    told = [finding.what for finding in USECASE.check(config)]
    assert any("of 40 patient(s)" in what for what in told)
    assert not errors(USECASE, found)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"person{n}_bacteria_{v}.png" for n in range(12) for v in range(2)], True),
        ([f"{n:08d}_{v:03d}.png" for n in range(12) for v in range(2)], True),
        ([f"P{n}-{eye}-{v}.png" for n in range(12) for v in range(2) for eye in ("left", "right")], True),
        ([f"tumour ({n}).png" for n in range(24)], False),
        ([f"img_{n}.png" for n in range(24)], False),
        ([f"scan{n}_x.png" for n in range(24)], False),
        ([f"IM-0001-{n:04d}.png" for n in range(24)], False),
    ],
)
def test_beginnings_of_names_are_patients_only_where_they_repeat(tmp_path: Path, names: list[str], pattern: bool) -> None:
    draw(tmp_path, [f"{c}/{c}{name}" if not pattern else f"{c}/{name}" for c in ("normal", "ill") for name in names])
    assert ("data.patient_pattern" in suggested(USECASE, tmp_path)) == pattern


def test_a_reason_shows_no_patient(tmp_path: Path) -> None:
    draw(tmp_path, [f"{c}/mueller{n}_{v}.png" for c in ("normal", "ill") for n in range(12) for v in range(2)])
    assert USECASE.suggest is not None
    assert not any("mueller" in one.why.lower() for one in USECASE.suggest(tmp_path, {}))


def test_which_of_two_classes_is_the_finding_is_asked_for_and_an_answer_is_kept(tmp_path: Path) -> None:
    draw(tmp_path, [f"{c}/{n}.png" for c in ("left", "right") for n in range(20)])
    with pytest.raises(UserError, match=r'\'data\.classes=\["left", "right"\]\' or \'data\.classes=\["right", "left"\]\''):
        suggested(USECASE, tmp_path)
    found = suggested(USECASE, tmp_path, data__classes=["right", "left"])
    assert "data.classes" not in found
    assert not errors(USECASE, {**found, "data.classes": ["right", "left"]})


def test_a_table_with_its_own_words_is_told_by_what_it_holds(tmp_path: Path) -> None:
    rows = [
        (f"pics/{n}_{v}.png", ("sick", "normal")[n % 2], f"x{n}", "train" if n < 30 else "test")
        for n in range(40)
        for v in (0, 1)
    ]
    draw(tmp_path, [row[0] for row in rows])
    pd.DataFrame(rows, columns=["bild", "befund", "patient_no", "fold"]).to_csv(tmp_path / "list.csv", index=False)
    found = suggested(USECASE, tmp_path)
    assert found["data.columns"] == {"path": "bild", "label": "befund", "patient": "patient_no", "split": "fold"}
    assert (found["data.layout"], found["data.classes"]) == ("manifest", ["normal", "sick"])
    assert "split.folds" not in found  # it has a split of its own
    assert not errors(USECASE, found)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([f"{n}.png" for n in range(30)], "30 images without labels.*Looked for: images in a folder for each class"),
        ([f"ill/{n}.png" for n in range(30)], "one class, 'ill'|without labels"),
        ([f"JD{n}/{v}.png" for n in range(30) for v in range(3)], "30 folders .* rather patients than classes"),
        (["notes.txt"], "has no images"),
    ],
)
def test_images_that_cannot_be_learnt_from_are_told_with_what_is_needed(tmp_path: Path, names: list[str], told: str) -> None:
    draw(tmp_path, [name for name in names if name.endswith(".png")])
    for name in set(names) - {n for n in names if n.endswith(".png")}:
        (tmp_path / name).write_text("nothing")
    with pytest.raises(UserError, match=told):
        suggested(USECASE, tmp_path)


def test_medmnist_keeps_its_own_split(shared_data: Path) -> None:
    found = suggested(USECASE, shared_data / "medical" / "pneumoniamnist")
    assert (found["data.layout"], found["data.classes"]) == ("medmnist", ["normal", "pneumonia"])
    assert "split.folds" not in found


def test_a_folder_of_brain_images_becomes_a_result(shared_data: Path, tmp_path: Path, command_here: Callable[..., Ended]) -> None:
    brains = shared_data / "medical" / "brain-mri-yes-no"
    found = suggested(USECASE, brains)
    assert (found["data.layout"], found["data.classes"], found["split.folds"]) == ("folders", ["no", "yes"], 5)
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        for file in sorted((brains / name).iterdir())[:20]:
            shutil.copy(file, tmp_path / name)
    few = {**suggested(USECASE, tmp_path), "split.folds": 2, "model.size": 64, "model.steps": 20}
    ended = command_here("run", "medical_imaging", "--quick", "--json", *overrides(few))
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)
    assert (made["data"]["classes"], 0 < made["model"]["roc_auc"]["value"] < 1) == (["no", "yes"], True)
