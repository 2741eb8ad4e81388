from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shared import pretrained
from shared.config import Hardware
from shared.errors import UserError, require
from shared.hardware import select


def test_bf16_is_picked_only_where_the_chip_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has, "cpu_name": "test"})
        choice = select(Hardware(device="cpu", threads=1))
        assert choice.precision == ("bf16" if has else "fp32")
        assert ("native bf16 (avx512_bf16)" in choice.reason) == has
    choice = select(Hardware(device="cpu", precision="bf16", threads=2))
    assert (choice.precision, torch.get_num_threads()) == ("bf16", 2)
    assert "set by the user" in choice.reason


def test_an_absent_device_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA GPU"):
            select(Hardware(device="cuda"))


def test_a_missing_extra_names_its_install_command() -> None:
    with pytest.raises(UserError, match=r'pip install "usecases\[samples\]"'):
        require("surely_not_installed", "samples")


def test_the_encoder_agrees_with_sentence_transformers() -> None:
    theirs = pytest.importorskip("sentence_transformers")
    texts = ["Toy Story, animation", "a war film", "", "Zażółć gęślą jaźń " * 5]
    folder = pretrained.locate(pretrained.SENTENCE_ENCODER)
    expected = theirs.SentenceTransformer(str(folder), device="cpu").encode(
        texts, convert_to_tensor=True, normalize_embeddings=True
    )
    torch.testing.assert_close(pretrained.SentenceEncoder(folder)(texts, batch_size=2), expected.cpu(), atol=1e-4, rtol=1e-3)


def test_weights_that_are_absent_or_altered_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        pretrained.locate(pretrained.SENTENCE_ENCODER, tmp_path / "absent")
    (tmp_path / "fakemodel").mkdir()
    (tmp_path / "fakemodel" / "__init__.py").touch()
    (tmp_path / "fakemodel" / "w.bin").write_bytes(b"altered")
    monkeypatch.syspath_prepend(tmp_path)
    source = pretrained.Source("fakemodel", ".", "w.bin", "0" * 64, "text", "hub/name", "main", "MIT")
    with pytest.raises(UserError, match="not the expected file"):
        pretrained.locate(source)
    with pytest.raises(UserError, match=r'cannot be downloaded .* Install it: pip install "usecases\[text\]"'):
        pretrained.locate(pretrained.Source("nowhere_to_be_found", ".", "w", "0", "text", "hub/name", "main", "MIT"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "roberta"}, "must be a BERT"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'; only 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"max_position_embeddings": 32}, "of 32 tokens a text; 64 are to be read"),
        ({"hidden_size": None}, "has no 'hidden_size'"),
        ({"intermediate_size": 8}, "do not fit together"),
    ],
)
def test_a_bert_that_would_compute_something_else_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = pretrained.locate(pretrained.SENTENCE_ENCODER)
    for file in ("model.safetensors", "tokenizer.json"):
        (tmp_path / file).symlink_to(folder / file)
    config = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    with pytest.raises(UserError, match=said):
        pretrained.load_bert(tmp_path, tokens=64)
