"""The intent classifier: what it learns, keeps and refuses, and the figures of its benchmarks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared import hardware
from shared.config import RunConfig, Training
from shared.errors import UserError
from shared.evaluation.temperature import Temperature
from shared.runs import Run
from usecases.chatbot.benchmark import judge
from usecases.chatbot.classifier import IntentClassifier
from usecases.chatbot.config import Understanding
from usecases.chatbot.fitting import Examples, choose_weights, fit, pool_weights
from usecases.chatbot.network import NONE, Messages, contrastive, learn_vocabulary
from usecases.chatbot.outside import Outside
from usecases.chatbot.protocols import Scores

WORDS = {
    "refund": "money back refund return cash",
    "track": "parcel where track late post",
    "greet": "hello hi hey morning evening",
}
TINY = Understanding(
    network="lstm", dim=32, contrast=0.0, names=False, steps=60, training=Training(epochs=1, batch_size=32, learning_rate=0.01)
)


def _examples(count: int, seed: int, outside: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    pairs = [(" ".join(rng.choice(words.split(), 4)), name) for name, words in WORDS.items() for _ in range(count)]
    pairs += [(" ".join(rng.choice(["weather", "moon", "football", "paris"], 4)), "") for _ in range(outside)]
    return Examples([text for text, _ in pairs], [label for _, label in pairs])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> IntentClassifier:
    run = Run.create("chatbot", RunConfig(), tmp_path_factory.mktemp("runs") / "run")
    chip = hardware.select(RunConfig().hardware)
    return fit(TINY, _examples(30, 0, 20), _examples(20, 1, 40), run, chip, 0)[0]


def test_it_learns_the_intents_and_what_lies_outside(classifier: IntentClassifier) -> None:
    test = _examples(30, 2, 30)
    scores = classifier(test.texts)
    figures = judge(scores, classifier.intents, test)
    assert figures["accuracy"] > 0.95
    assert figures["oos_auroc"] > 0.9
    np.testing.assert_allclose(scores.probabilities.sum(1), 1)
    assert ((scores.outside >= 0) & (scores.outside <= 1)).all()
    assert classifier([]).probabilities.shape == (0, 3)
    assert np.isfinite(classifier(["", "🙂", "x" * 10_000]).probabilities).all()


def test_its_tensors_and_settings_are_all_there_is_to_keep(classifier: IntentClassifier, tmp_path: Path) -> None:
    save_file(classifier.tensors(), tmp_path / "model.safetensors")
    again = IntentClassifier.from_parts(load_file(tmp_path / "model.safetensors"), json.loads(json.dumps(classifier.settings())))
    texts = _examples(5, 3, 5).texts
    for kept, made in zip(classifier(texts), again(texts), strict=True):
        np.testing.assert_allclose(made, kept, atol=0.02)  # weights are kept in bf16


def test_an_encoder_is_fine_tuned_and_kept_with_the_one_it_was(tmp_path: Path) -> None:
    """A BERT of one layer in a folder of one's own; after training no file of it is needed."""
    from transformers import BertConfig, BertModel

    tokenizer = learn_vocabulary(_examples(30, 0, 20).texts, 200)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    save_file(BertModel(config, add_pooling_layer=False).state_dict(), encoder / "model.safetensors")
    (encoder / "config.json").write_text(json.dumps(config.to_dict()))
    (encoder / "tokenizer.json").write_text(tokenizer.to_str())
    training = Training(epochs=1, batch_size=32, learning_rate=0.01)
    knobs = Understanding(weights=encoder, contrast=0.5, steps=20, training=training)
    chip, run = hardware.select(RunConfig().hardware), Run.create("chatbot", RunConfig(), tmp_path / "run")
    unlabelled = _examples(10, 5).texts
    made, figures = fit(knobs, _examples(30, 0, 20), _examples(20, 1, 40), run, chip, 0, unlabelled=unlabelled)
    assert {"network", "frozen", "tfidf", "network + frozen + tfidf"} <= set(figures["candidates"])
    shutil.rmtree(encoder)
    test = _examples(30, 2, 30)
    assert judge(made(test.texts), made.intents, test)["accuracy"] > 0.95
    again = IntentClassifier.from_parts(made.tensors(), json.loads(json.dumps(made.settings())))
    assert (again.frozen is None) == (made.frozen is None)
    for kept, now in zip(made(test.texts), again(test.texts), strict=True):
        np.testing.assert_allclose(now, kept, atol=0.02)


def test_without_two_intents_or_validation_it_says_what_it_needs(tmp_path: Path) -> None:
    chip, run = hardware.select(RunConfig().hardware), Run(tmp_path, "chatbot")
    for training, validation in ((Examples(["a"], ["one"]), _examples(1, 0)), (_examples(1, 0), Examples([], []))):
        with pytest.raises(UserError, match="two intents and validation"):
            fit(TINY, training, validation, run, chip, 0)


def test_the_weight_of_a_single_part_is_its_inverse_temperature() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 4)) + 2 * np.eye(4)[labels]
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert pool_weights({"network": logs}, labels)["network"] == pytest.approx(
        1 / Temperature.fit(logs, labels).temperature, rel=1e-3
    )


def test_a_part_is_blended_in_only_where_it_pays() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    network, frozen = (rng.normal(size=(400, 4)) + 1.5 * np.eye(4)[labels] for _ in range(2))
    noise = rng.normal(size=(400, 4))
    weights, figures = choose_weights({"network": network, "frozen": frozen, "tfidf": noise}, labels, blend=True)
    assert set(weights) == {"network", "frozen"}
    assert figures["network + frozen"]["log_loss"] < figures["network"]["log_loss"]
    assert set(choose_weights({"network": network, "frozen": frozen}, labels, blend=False)[0]) == {"network"}


def test_outside_is_a_probability_for_the_share_expected_in_use() -> None:
    rng = np.random.default_rng(0)
    inside = {"energy": rng.normal(size=4000), "probability": rng.normal(size=4000)}
    outside = {"energy": rng.normal(size=500) + 2, "probability": rng.normal(size=500)}
    made, aucs = Outside.fit(inside, outside, share=0.5)
    assert set(made.weights) == {"energy"}
    assert aucs["energy"] == pytest.approx(0.921, abs=0.02)
    # of two normals 2 apart, equally frequent, the middle is as likely inside as outside
    assert made({"energy": np.array([1.0])})[0] == pytest.approx(0.5, abs=0.06)
    none, _ = Outside.fit(inside, {name: np.empty(0) for name in outside}, share=0.5)
    assert (none(inside) > 0.5).mean() == pytest.approx(0.05, abs=0.005)


def test_contrast_agrees_with_its_definition() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
    labels = torch.tensor([0, 0, 1, 0, NONE, NONE])
    each = []
    for row in (0, 1, 3):
        rest = [other for other in range(6) if other != row]
        total = torch.stack([vectors[row] @ vectors[other] / 0.1 for other in rest]).logsumexp(0)
        each.append(torch.stack([total - vectors[row] @ vectors[o] / 0.1 for o in rest if labels[o] == 0]).mean())
    torch.testing.assert_close(contrastive(vectors, labels), torch.stack(each).mean())


def test_a_batch_of_messages_is_packed_by_length() -> None:
    data = Messages([[1, 5, 6, 2], [1, 2], [1, 7, 2]], torch.arange(3), torch.eye(3))
    batch = data.__getitems__([0, 1, 2])
    assert batch["lengths"].tolist() == [2, 3, 4]
    assert batch["tokens"].tolist() == [1, 2, 1, 7, 2, 1, 5, 6, 2]
    assert batch["label"].tolist() == [1, 2, 0]


def test_recall_out_of_scope_is_read_where_95_of_100_in_scope_are_right_and_accepted() -> None:
    right = np.r_[np.ones(98), np.zeros(2)].astype(int)
    probabilities = np.stack([1 - right, right], 1).astype(float)
    inside = np.r_[np.linspace(0, 0.97, 98), 0.0, 0.0]  # rejecting the 3 least sure right ones leaves 95
    outside = np.array([0.1, 0.945, 0.955, 0.99])
    scores = Scores(np.r_[probabilities, np.ones((4, 2)) / 2], np.r_[inside, outside])
    figures = judge(scores, ["a", "b"], Examples([""] * 104, ["b"] * 100 + [""] * 4))
    assert figures["accuracy"] == 0.98
    assert figures["oos_recall"] == 0.75
