from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from shared.errors import UserError
from shared.export import Exportable
from shared.models.recurrent import BiLSTM
from shared.models.transformer import Bert
from usecases.chatbot.classifier import IntentClassifier, shape_of
from usecases.chatbot.export import exportable, looking
from usecases.chatbot.linear import Linear
from usecases.chatbot.network import IntentNetwork, learn_vocabulary
from usecases.chatbot.outside import FALLBACK, Outside, Space

TEXTS = ["where is my parcel", "hello", "I want to return these boots because they do not fit me at all", "thanks hello"]
INTENTS = ("hello", "order_status", "return")


def classifier(kind: str = "bert") -> IntentClassifier:
    """Untrained: two networks, and the encoder as it came."""
    torch.manual_seed(0)
    tokenizer = learn_vocabulary(TEXTS * 2, 200)
    config = {
        "vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 24, "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
    }  # fmt: skip

    def body() -> nn.Module:
        made = (Bert(config) if kind == "bert" else BiLSTM(200, 16, 0.1)).eval()
        torch.manual_seed(1)
        made.words = nn.Embedding(200, 16)  # which all have in common
        return made.requires_grad_(False)

    networks = [IntentNetwork(body(), 16, len(INTENTS), 16.0).eval().requires_grad_(False) for _ in range(2)]
    rng = np.random.default_rng(0)
    linear = Linear(rng.normal(size=(16, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    weights = {"network": 1.2, "frozen": 0.4}
    shape = shape_of(networks[0].body)  # type: ignore[arg-type]
    vectors = nn.functional.normalize(torch.randn(30, 16), dim=-1)
    spaces = [Space.fit(vectors, torch.arange(30) % len(INTENTS), len(INTENTS), seed=0) for _ in networks]
    frozen = (body(), linear)
    return IntentClassifier(
        INTENTS, tokenizer, 20, shape, networks, weights, frozen, spaces=spaces, outside=Outside({FALLBACK: 1.0}, 0.0)
    )


def test_padded_in_a_graph_texts_are_read_as_packed() -> None:
    ours = classifier()
    form = exportable(ours, TEXTS)
    assert form.samples["tokens"].shape[0] == len(TEXTS)
    graph, usual = form.plain(form.samples), form.usual(form.samples)
    assert set(graph) == {"probability", "logits", "vectors", "frozen"}
    for name, wanted in usual.items():
        np.testing.assert_allclose(graph[name], wanted, atol=1e-5, err_msg=name)
    theirs = replace(ours, exported=looking(form.plain))
    np.testing.assert_allclose(theirs(TEXTS).probabilities, ours(TEXTS).probabilities, atol=1e-5)
    np.testing.assert_allclose(graph["probability"], ours(TEXTS).probabilities, atol=1e-5)


def test_the_tokenizer_stands_beside_the_graph() -> None:
    form: Exportable = exportable(classifier(), TEXTS)
    tokenizer = Tokenizer.from_str(form.files["tokenizer.json"])
    ids = tokenizer.encode(TEXTS[1]).ids
    assert form.samples["tokens"][1, : len(ids)].tolist() == ids
    assert form.samples["mask"][1].sum() == len(ids)
    assert "tokenizer.json" in form.about["tokenizer"]


def test_an_lstm_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"usecases run chatbot understanding\.network=encoder"):
        exportable(classifier("lstm"), TEXTS)
