from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from shared import artifact
from shared.errors import UserError


class Empty(BaseModel):
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "artifact"
    artifact.save(
        place, usecase="thing", tensors={"w": torch.arange(6.0).view(2, 3)}, preprocess={"names": ["ä"]},
        request=Empty, response=Empty, about={"data": {"rows": 3}},
    )  # fmt: skip
    return place


def test_it_loads_after_a_move(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    loaded = artifact.load(tmp_path / "elsewhere", "thing")
    assert torch.equal(loaded.tensors["w"], torch.arange(6.0).view(2, 3))
    assert loaded.preprocess == {"names": ["ä"]}
    assert loaded.metadata["data"] == {"rows": 3}


@pytest.mark.parametrize("name", ["model.safetensors", "preprocess.json"])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name} was changed"):
        artifact.load(folder, "thing")


def test_a_missing_file_another_use_case_or_shape_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="this program reads"):
        artifact.load(folder, "other")
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**metadata, "shapes": {"w": [3, 2]}}))
    with pytest.raises(UserError, match="not those that"):
        artifact.load(folder, "thing")
    (folder / "preprocess.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        artifact.load(folder, "thing")
    with pytest.raises(UserError, match="cannot be read"):
        artifact.load(folder.parent, "thing")


def test_saving_again_replaces_the_whole(folder: Path) -> None:
    artifact.save(folder, usecase="thing", tensors={"v": torch.zeros(1)}, preprocess={}, request=Empty, response=Empty, about={})
    assert set(artifact.load(folder, "thing").tensors) == {"v"}
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


def test_its_files_can_be_read_by_the_same_people(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
