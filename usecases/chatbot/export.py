"""The intent classifier's networks as one graph for other programs: tokens in, probabilities of the intents out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import softmax
from torch import nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.export import Arrays, Compute, Exportable
from shared.models.transformer import Bert
from shared.pretrained import tokenise
from usecases.chatbot.classifier import IntentClassifier, Seen, pool

TOGETHER = 64  # texts of like length that are computed together
LEAST = 2  # tokens, as of its ends alone: of one, PyTorch takes the length for a constant
Parts = dict[str, np.ndarray]


class Graph(nn.Module):
    """What `IntentClassifier` computes with encoders: those of its networks, and the one as it came where that takes part."""

    def __init__(self, classifier: IntentClassifier) -> None:
        super().__init__()
        kept = [network.body for network in classifier.networks] + ([classifier.frozen[0]] if classifier.frozen else [])
        self.bodies = nn.ModuleList(copy.deepcopy(body).float() for body in kept)
        for body in self.bodies:
            body.words = self.bodies[0].words  # one for all; see `classifier.WORDS`
        ours = classifier.networks
        self.intents = nn.ParameterList(network.scale * F.normalize(network.intents.float(), dim=-1).T for network in ours)
        self.weights = [classifier.weights["network"]]
        if classifier.frozen:
            self.weights.append(classifier.weights["frozen"])
            linear = classifier.frozen[1]
            self.weight, self.bias = (nn.Parameter(torch.from_numpy(one).float()) for one in (linear.weight, linear.bias))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """int64 [batch, length] each to the outputs that `exportable` describes."""
        bodies = (body for body in self.bodies if isinstance(body, Bert))
        vectors = [F.normalize(body.padded(tokens, mask.bool()), dim=-1) for body in bodies]
        own = zip(vectors, self.intents, strict=False)
        parts = [torch.stack([vector @ intents for vector, intents in own]).mean(0)]
        count = len(self.intents)
        parts += [vectors[-1] @ self.weight + self.bias] if len(vectors) > count else []
        pooled = torch.stack([weight * one.log_softmax(1) for weight, one in zip(self.weights, parts, strict=True)]).sum(0)
        return pooled.softmax(1), parts[0], torch.stack(vectors[:count], 1), *parts[1:]


def as_arrays(texts: Sequence[Sequence[int]]) -> Arrays:
    """Texts' tokens as the graph takes them."""
    shape = len(texts), max(LEAST, *map(len, texts))
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)], mask[row, : len(text)] = text, 1
    return {"tokens": tokens, "mask": mask}


def looking(compute: Compute) -> Callable[[Sequence[Sequence[int]]], Seen]:
    """An exported graph in place of `IntentClassifier.look`."""

    def look(texts: Sequence[Sequence[int]]) -> Seen:
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        starts = range(0, len(order), TOGETHER)
        parts = [compute(as_arrays([texts[row] for row in order[start : start + TOGETHER]])) for start in starts]
        back = np.argsort(order)
        made = {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}
        vectors = torch.from_numpy(made["vectors"]).unbind(1)
        return Seen(list(vectors), torch.from_numpy(made["logits"]), made.get("frozen"))

    return look


def exportable(classifier: IntentClassifier, texts: Sequence[str]) -> Exportable:
    """
    Args:
        texts: for the samples.

    Raises:
        UserError: the networks are LSTMs.
    """
    if not all(isinstance(network.body, Bert) for network in classifier.networks):
        fix = "usecases run chatbot understanding.network=encoder"
        raise UserError(f"This assistant's networks are LSTMs, which cannot be exported. Train one with an encoder: {fix}")
    tokens = tokenise(classifier.tokenizer, texts, classifier.max_tokens)
    weights = {name: weight for name, weight in classifier.weights.items() if name != "tfidf"}
    outside = classifier.weights.keys() - weights

    def usual(arrays: Arrays) -> Arrays:
        seen = classifier.look(
            [row[:length].tolist() for row, length in zip(arrays["tokens"], arrays["mask"].sum(1), strict=True)]
        )
        made: Parts = {"network": seen.logits.numpy()} | ({} if seen.frozen is None else {"frozen": seen.frozen})
        told = {"probability": softmax(pool(made, weights), 1), "logits": made["network"]}
        told["vectors"] = torch.stack(seen.vectors, 1).numpy()
        return told if seen.frozen is None else told | {"frozen": seen.frozen}

    outputs = {
        "probability": "[batch, intents] of the parts in the graph: softmax of the weighted sum of their log-probabilities",
        "logits": "[batch, intents] mean of the networks'",
        "vectors": "[batch, networks, dim] of unit length, the text's in each network",
    }
    return Exportable(
        module=Graph(classifier).eval(),
        samples=as_arrays(tokens),
        alone=as_arrays(tokens[:1]),
        inputs={"tokens": "numbers by tokenizer.json, 0 after a text's end", "mask": "1 where there is a token, 0 after the end"},
        outputs=outputs | ({"frozen": "[batch, intents] logits of the encoder as it came"} if classifier.frozen else {}),
        usual=usual,
        decide=lambda made: made["probability"].argmax(1),
        answer="probability",
        names=classifier.intents,
        free={"tokens": {1: "length"}, "mask": {1: "length"}},
        about={
            "tokenizer": f"tokenizer.json, for the package tokenizers: Tokenizer.from_file(...).encode(text).ids; of more than "
            f"{classifier.max_tokens} the first {classifier.max_tokens - 1} and the last",
            "weights": classifier.weights,
            "in_the_graph": f"encoder, mean over tokens, cosines, {', '.join(weights)} with their weights, softmax",
            "not_in_the_graph": "the tokenizer; whether a message is about none of the intents; dialogue, articles and forms"
            + (
                f"; {', '.join(outside)}, a linear model on words, so that probabilities differ from `predict`" if outside else ""
            ),
        },
        files={"tokenizer.json": classifier.tokenizer.to_str(pretty=False)},
    )
