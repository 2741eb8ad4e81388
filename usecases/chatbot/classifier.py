"""Messages to intents: the fitted networks and linear models together, as one thing that can be kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from tokenizers import Tokenizer
from torch import nn

from shared import hardware
from shared.models.prepacked import prepacked
from shared.models.recurrent import BiLSTM
from shared.models.transformer import Bert
from shared.pretrained import embed, tokenise
from usecases.chatbot import outside
from usecases.chatbot.linear import Linear, Tfidf
from usecases.chatbot.network import IntentNetwork
from usecases.chatbot.outside import Outside, Space
from usecases.chatbot.protocols import Scores

WORDS = "words.weight"  # the encoders' word vectors, which training leaves as they are: one copy is kept
M = TypeVar("M", bound=nn.Module)


class Seen(NamedTuple):
    """What networks say of n texts.

    Attributes:
        vectors: of each network [n, dim], of unit length.
        logits: [n, intents], the networks' mean.
        frozen: [n, intents] logits; None: there is no such part.
    """

    vectors: list[torch.Tensor]
    logits: torch.Tensor
    frozen: np.ndarray | None


@dataclass
class IntentClassifier:
    """Log-probabilities are the blend's, a weighted sum of those of its parts (a logarithmic opinion pool, Genest & Zidek 1986).

    Attributes:
        intents: in the order of the probabilities.
        tokenizer: of all networks.
        networks: fine-tuned; their logits are averaged. In evaluation mode.
        frozen: the encoder as it was before, and a linear model on it; None: it does not pay.
        tfidf: a linear model on words, likewise.
        weights: of "network", "frozen" and "tfidf" in the blend.
        spaces: of each network.
        shape: what makes a body again: its `kind`, and its configuration.
        exported: in place of `look`; see `export`.
    """

    intents: tuple[str, ...]
    tokenizer: Tokenizer
    max_tokens: int
    shape: dict[str, Any]
    networks: list[IntentNetwork]
    weights: dict[str, float]
    frozen: tuple[nn.Module, Linear] | None = None
    tfidf: tuple[Tfidf, Linear] | None = None
    spaces: list[Space] = field(default_factory=list)
    outside: Outside = field(default_factory=lambda: Outside({outside.FALLBACK: 1.0}, 0.0))
    exported: Callable[[Sequence[Sequence[int]]], Seen] | None = None

    def __call__(self, texts: Sequence[str]) -> Scores:
        if not len(texts):
            return Scores(np.empty((0, len(self.intents))), np.empty(0))
        tokens = tokenise(self.tokenizer, texts, self.max_tokens)
        vectors, logits, frozen = self.exported(tokens) if self.exported else self.look(tokens)
        parts = {"network": logits.numpy()}
        if frozen is not None:
            parts["frozen"] = frozen
        if self.tfidf:
            parts["tfidf"] = self.tfidf[1](self.tfidf[0](texts))
        blended = pool(parts, self.weights)
        scores = outside.of_logits(logits, log_softmax(blended, 1)) | outside.of_spaces(self.spaces, vectors)
        return Scores(softmax(blended, 1), self.outside(scores))

    def look(self, tokens: Sequence[Sequence[int]]) -> Seen:
        """What the networks, and the frozen encoder's linear model, say of texts' tokens."""
        vectors = [outside.unit(embed(network.body, tokens)) for network in self.networks]
        logits = torch.stack([network.logits(one) for network, one in zip(self.networks, vectors, strict=True)]).mean(0)
        frozen = self.frozen[1](outside.unit(embed(self.frozen[0], tokens)).numpy()) if self.frozen else None
        return Seen(vectors, logits, frozen)

    @property
    def encoder(self) -> tuple[Tokenizer, Bert] | None:
        """The tokenizer and the first network's body, if it is an encoder: of those its word vectors are as they came."""
        body = self.networks[0].body
        return (self.tokenizer, body) if isinstance(body, Bert) else None

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [n, dim] of the encoder as it came, if that is kept, else of the first network."""
        body = self.frozen[0] if self.frozen else self.networks[0].body
        return outside.unit(embed(body, tokenise(self.tokenizer, texts, self.max_tokens)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights; with `settings` all there is to keep. Those of the networks are in bf16, which computes as well."""
        made: dict[str, torch.Tensor] = {}
        bodies = {f"network.{n}": network.body for n, network in enumerate(self.networks)}
        for name, network in zip(bodies, self.networks, strict=True):
            made[f"{name}.intents"] = network.intents.detach().float()
        if self.frozen:
            bodies["frozen"] = self.frozen[0]
            made |= self.frozen[1].tensors("frozen")
        for name, body in bodies.items():
            for key, tensor in body.state_dict().items():
                shared_words = key == WORDS and self.shape["kind"] == "bert"
                made[WORDS if shared_words else f"{name}.body.{key}"] = tensor.bfloat16()
        if self.tfidf:
            made |= self.tfidf[1].tensors("tfidf")
            made |= {f"tfidf.idf.{n}": torch.from_numpy(weights).float() for n, weights in enumerate(self.tfidf[0].weights)}
        for number, space in enumerate(self.spaces):
            made |= {f"space.{number}.{name}": tensor.bfloat16() for name, tensor in space.tensors.items()}
        return made

    def settings(self) -> dict[str, Any]:
        """The rest, for JSON."""
        return {
            "intents": list(self.intents),
            "tokenizer": self.tokenizer.to_str(),
            "max_tokens": self.max_tokens,
            "shape": self.shape,
            "scales": [network.scale for network in self.networks],
            "weights": self.weights,
            "vocabularies": [list(words) for words in self.tfidf[0].vocabularies] if self.tfidf else None,
            "outside": self.outside.settings,
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> IntentClassifier:
        """The classifier whose `tensors()` and `settings()` these are."""

        def body(name: str) -> nn.Module:
            return quick(restore(settings["shape"], tensors, f"{name}.body."))

        networks = []
        for number, scale in enumerate(settings["scales"]):
            intents = tensors[f"network.{number}.intents"]
            network = IntentNetwork(body(f"network.{number}"), intents.shape[1], len(intents), scale)
            network.intents.data.copy_(intents)
            networks.append(network.eval().requires_grad_(False))
        frozen = (body("frozen"), Linear.from_tensors(tensors, "frozen")) if "frozen.weight" in tensors else None
        tfidf = None
        if settings["vocabularies"]:
            idf = [tensors[f"tfidf.idf.{number}"].numpy() for number in range(len(settings["vocabularies"]))]
            tfidf = (Tfidf(settings["vocabularies"], idf), Linear.from_tensors(tensors, "tfidf"))
        numbers = range(sum(name.startswith("space.") and name.endswith(".bank") for name in tensors))
        spaces = [Space({name: tensors[f"space.{n}.{name}"] for name in ("centres", "whiten", "bank")}) for n in numbers]
        return cls(
            tuple(settings["intents"]),
            Tokenizer.from_str(settings["tokenizer"]),
            settings["max_tokens"],
            settings["shape"],
            networks,
            settings["weights"],
            frozen,
            tfidf,
            spaces,
            Outside(**settings["outside"]),
        )


def pool(parts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """[n, intents] weighted sum of the parts' log-probabilities."""
    return np.sum([weight * log_softmax(parts[name].astype(np.float64), axis=1) for name, weight in weights.items()], axis=0)


def shape_of(body: Bert | BiLSTM) -> dict[str, Any]:
    """What `restore` makes such a body of."""
    return {"kind": "bert" if isinstance(body, Bert) else "lstm", **body.config}


def restore(shape: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], prefix: str) -> nn.Module:
    config = {name: value for name, value in shape.items() if name != "kind"}
    body = Bert(config) if shape["kind"] == "bert" else BiLSTM(**config)
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if shape["kind"] == "bert":
        weights[WORDS] = tensors[WORDS]
    body.load_state_dict(weights)
    return body


def quick(body: M) -> M:
    """A copy for prediction alone on the processor, in what that multiplies fast."""
    dtype = torch.bfloat16 if hardware.native_bf16() and isinstance(body, Bert) else torch.float32
    return prepacked(copy.deepcopy(body).to("cpu", dtype).eval().requires_grad_(False))
