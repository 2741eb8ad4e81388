from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import Field

from shared.config import RunConfig, Section, dump, knobs, resolve
from shared.errors import UserError


class Net(Section):
    width: int = Field(8, ge=1, description="units")
    kind: str = "plain"


class Config(RunConfig):
    net: Net = Net()


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("seed: 3\nnet: {width: 4, kind: file}\n")
    config = resolve(Config, [file], ["net.width=5"])
    assert (config.seed, config.net.width, config.net.kind) == (3, 5, "file")


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(UserError) as caught:
        resolve(Config, [], ["sed=1", "net.widht=2", "net.width=0", "novalue", "hardware.device=gpu"])
    text = str(caught.value)
    assert "sed: no such key. Did you mean 'seed'?" in text
    assert "Did you mean 'net.width'?" in text
    assert "net.width = 0: input should be greater than or equal to 1 (units)" in text
    assert "'novalue': expected key=value" in text
    assert "'auto', 'cpu', 'cuda' or 'mps'" in text


@pytest.mark.parametrize("content", ["- a\n- b\n", "{broken", "\xff\xfe"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"bad\.yaml"):
        resolve(Config, [file])


def test_dump_reads_back_to_the_same(tmp_path: Path) -> None:
    config = resolve(Config, [], ["seed=9", "net.kind=ü"])
    file = tmp_path / "config.yaml"
    file.write_text(dump(config), encoding="utf-8")
    assert resolve(Config, [file]) == config
    assert yaml.safe_load(dump(config))["net"]["kind"] == "ü"


def test_knobs_lists_nested_keys_with_descriptions() -> None:
    assert ("net.width", 8, "units") in list(knobs(Config))


class Tuned(RunConfig):
    net: Net = Net(width=3, kind="tuned")


def test_changing_one_key_leaves_its_neighbours_at_this_configurations_defaults() -> None:
    assert resolve(Tuned, [], ["net.width=4"]).net == Net(width=4, kind="tuned")
