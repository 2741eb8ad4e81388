"""Exporting a tiny network: whole or not at all, verified, and run by others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from shared.errors import UserError
from shared.export import Exportable, export, open_network
from shared.files import sha256

BLOCKED = """
import runpy, sys
for name in ("torch", "usecases", "shared"):
    sys.modules[name] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


class Tiny(nn.Module):
    """Numbers of any count, and how many of them count; it may err when it is exported."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
        self.error = error

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.layers(x.mean(1, keepdim=True))
        logits = logits + self.error if torch.compiler.is_exporting() else logits
        return logits, logits.softmax(1)


def form(error: float = 0.0, samples: int = 5) -> Exportable:
    made = Exportable(
        module=Tiny(error).eval(),
        samples={"x": np.random.default_rng(0).normal(size=(samples, 4)).astype(np.float32)},
        inputs={"x": "numbers"},
        outputs={"logits": "of the classes", "probability": "of the classes"},
        usual=dict,
        decide=lambda outputs: outputs["probability"].argmax(1),
        answer="probability",
        names=["red", "green", "blue"],
        free={"x": {1: "count"}},
        about={"threshold": 0.5},
        files={"words.txt": "a\n"},
    )
    return replace(made, usual=made.plain)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    (tmp_path / "run" / "artifact" / "metadata.json").write_text("{}")
    return tmp_path / "run"


def write(run: Path, made: Exportable, kind: str = "onnx", precision: str = "fp32") -> dict[str, object]:
    return export(made, run / "export", usecase="tiny", artifact=run / "artifact", kind=kind, precision=precision)


def test_a_graph_computes_any_number_and_length_as_pytorch_does(run: Path) -> None:
    told = write(run, form())
    compute = open_network(run)
    for shape in ((1, 4), (2, 1), (33, 7)):
        x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(compute({"x": x})["probability"], form().plain({"x": x})["probability"], atol=1e-6)
    assert told["inputs"] == {"x": {"shape": ["batch", "count"], "dtype": "float32", "meaning": "numbers"}}
    verified = told["verified"]
    assert isinstance(verified, dict)
    assert verified["samples"] == 5
    assert 0 <= verified["largest_difference"]["logits"] < 1e-5


def test_what_it_is_stands_in_the_model_and_beside_it(run: Path) -> None:
    told = write(run, form())
    beside = json.loads((run / "export" / "metadata.json").read_text())
    assert beside == told
    inside = {one.key: one.value for one in onnx.load(str(run / "export" / "model.onnx")).metadata_props}
    assert json.loads(inside["about"]) == {"threshold": 0.5}
    assert json.loads(inside["outputs"])["probability"]["shape"] == ["batch", 3]
    names = {path.name for path in (run / "export").iterdir()}
    assert names == {"model.onnx", "metadata.json", "example.py", "sample.npz", "words.txt"}
    assert beside["sha256"] == {name: sha256(run / "export" / name) for name in names - {"metadata.json"}}


def test_the_example_runs_without_torch_and_without_us(run: Path) -> None:
    write(run, form())
    script = run / "export" / "example.py"
    done = subprocess.run([sys.executable, "-c", BLOCKED, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = form().plain(form().samples)["probability"]
    best = wanted[0].argmax()
    assert done.stdout.splitlines()[0].startswith(f"sample 1: {form().names[best]} {wanted[0, best]:.4f}, ")
    assert len(script.read_text().splitlines()) <= 25


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_graph_that_computes_otherwise_is_refused_and_leaves_nothing(run: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"differs from the original by up to 0\.001.* in 'logits'"):
        write(run, form(error=1e-3), kind)
    assert [path.name for path in run.iterdir()] == ["artifact"]
    write(run, form())
    before = sha256(run / "export" / "metadata.json")
    with pytest.raises(UserError, match="Nothing was written"):
        write(run, form(error=1e-3), kind)
    assert sha256(run / "export" / "metadata.json") == before


def test_another_decision_is_refused_in_any_precision(run: Path) -> None:
    close = form()
    strict = replace(close, decide=lambda outputs: outputs["logits"] > close.plain(close.samples)["logits"].mean())
    assert write(run, strict, precision="bf16")["verified"]
    exact = replace(close, decide=lambda outputs: outputs["logits"].round(6)[:, 0])
    for precision in ("bf16", "int8"):
        with pytest.raises(UserError, match=f"In {precision} .* decides otherwise on 5 of 5 samples"):
            write(run, exact, precision=precision)


@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.75), ("int8", 0.75)])
def test_a_lower_precision_is_smaller_and_close(run: Path, precision: str, share: float) -> None:
    write(run, form())
    whole = (run / "export" / "model.onnx").stat().st_size
    told = write(run, form(), precision=precision)
    assert (run / "export" / "model.onnx").stat().st_size < share * whole
    verified = told["verified"]
    assert isinstance(verified, dict)
    assert 1e-6 < verified["largest_difference"]["probability"] < 0.05


def test_a_program_of_torch_export_computes_the_same(run: Path) -> None:
    write(run, form(), "torch")
    program = torch.export.load(run / "export" / "model.pt2").module()
    x = torch.randn(9, 3)
    torch.testing.assert_close(program(x), form().module(x))
    with pytest.raises(UserError, match="fp32 only"):
        write(run, form(), "torch", "bf16")


def test_one_sample_is_enough(run: Path) -> None:
    write(run, form(samples=1))
    assert open_network(run)({"x": np.ones((3, 2), np.float32)})["logits"].shape == (3, 3)


def test_an_export_that_cannot_be_trusted_is_not_used(run: Path) -> None:
    with pytest.raises(UserError, match=f"There is no exported model in .*usecases export {run} --format onnx"):
        open_network(run)
    write(run, form(), "torch")
    with pytest.raises(UserError, match="holds no ONNX model"):
        open_network(run)
    write(run, form())
    (run / "artifact" / "metadata.json").write_text("{ }")
    with pytest.raises(UserError, match="from another artefact"):
        open_network(run)
    with (run / "export" / "model.onnx").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="was changed after it was written"):
        open_network(run)


def test_what_somebody_keeps_in_the_folder_is_not_overwritten(run: Path) -> None:
    (run / "export").mkdir()
    (run / "export" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else than an export"):
        write(run, form())
    assert (run / "export" / "thesis.txt").read_text() == "precious"
    (run / "export" / "thesis.txt").unlink()
    write(run, form())
    (run / "export" / "notes.md").write_text("precious")
    with pytest.raises(UserError, match=r"something else than an export: notes\.md\."):
        write(run, replace(form(), files={}))
    assert (run / "export" / "notes.md").read_text() == "precious"


def test_the_folder_where_it_runs_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "artifact")
    for out in (Path(), Path("..")):
        with pytest.raises(UserError, match="is where this runs"):
            export(form(), out, usecase="tiny", artifact=run / "artifact", kind="onnx", precision="fp32")
    assert (run / "artifact" / "metadata.json").exists()
