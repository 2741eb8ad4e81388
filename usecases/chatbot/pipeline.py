"""Train an assistant: the recipe, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared import hardware
from shared.errors import UserError
from shared.files import whole
from shared.runs import Run
from usecases.chatbot import baselines, data, evidence, fitting, rehearsal, report
from usecases.chatbot.assistant import Assistant
from usecases.chatbot.config import ChatConfig
from usecases.chatbot.corpus import Corpus, Examples
from usecases.chatbot.evidence import Judged
from usecases.chatbot.predictor import Chatbot
from usecases.chatbot.protocols import Scores
from usecases.chatbot.rehearsal import OURS
from usecases.chatbot.shop import Shop

TIMED = 100  # messages, of one at a time
MANY = 500  # messages, in batch
SAMPLES = 5


def train(config: ChatConfig, run: Run) -> None:
    """Learn intents and articles, choose on validation, judge on messages, questions and conversations kept apart."""
    say = run.say
    chip = hardware.select(config.hardware)
    say(f"Computing on {chip}")
    corpus = data.load(config.data)
    for finding in corpus.findings:
        say(f"{finding.severity}: {finding}")
    parts = data.split(corpus, config.split, config.seed, config.train_share)
    training, validation, test = (_examples(corpus, places) for places in parts)
    say(
        f"{len(corpus.intents)} intents; messages: {len(training.texts):,} train, {len(validation.texts):,} validation, "
        f"{len(test.texts):,} test"
    )
    if not any(test.labels):
        raise UserError("There is nothing to judge on: no message of the test part has an intent. Raise split.test.")
    if corpus.shop:
        Shop(corpus.shop)  # a mistake in it ends the run here, not after training
    training = data.filled_up(training, corpus.desk, [*validation.texts, *test.texts])
    outsiders = [] if "" in validation.labels else data.outsiders()
    if outsiders:
        say(f"The data has no messages out of scope: {len(outsiders)} general ones take their place in training and choosing")

    started = time.monotonic()
    classifier, choice = fitting.fit(config.understanding, training, validation, run, chip, config.seed, outsiders=outsiders)
    run.validated("accuracy", choice["candidates"][" + ".join(choice["weights"])]["accuracy"])
    library, articles = rehearsal.learn_articles(corpus, config, classifier, run, chip, say)
    if not run.is_main:
        return
    simple = baselines.fit(classifier.intents, training, validation, baselines.encoder(config.understanding), outsiders[1::2])
    samples = tuple(text for text, label in zip(training.texts, training.labels, strict=True) if label)[:SAMPLES]
    assistant = Assistant(config, classifier, corpus.desk, library, corpus.shop, corpus.actions, samples)
    trained = round(time.monotonic() - started, 2)

    say(f"Judging on {len(test.texts):,} messages")
    judged = to_judge(classifier.intents, test)
    scores = {OURS: classifier(test.texts)} | {name: method(test.texts) for name, method in simple.items()}
    limits = {OURS: config.talking.outside, **{name: one.limit for name, one in simple.items()}}
    chatbot = Chatbot(assistant, assistant.rehearsal())
    result = {
        **evidence.summarise(judged, scores, limits, OURS),
        "data": corpus.describe(),
        "data_findings": [str(finding) for finding in corpus.findings if finding.severity != "info"],
        "protocol": protocol(corpus, config, len(test.texts)),
        "split": "given" if any(corpus.parts) else "random, of each intent its share",
        "seed": config.seed,
        "choice": choice,
        "articles": articles,
        "conversations": rehearsal.conversations(corpus, assistant, say),
        "hardware": chip.describe(),
    }
    chatbot.save(run.artifact_dir, {key: result[key] for key in ("data", "protocol", "seed", "model")})
    result["timing"] = {"train_s": trained, **speed(Chatbot.load(run.artifact_dir).rehearsing(), test.texts)}
    run.write_json("metrics.json", result)
    write_predictions(run.folder / "predictions.parquet", judged, scores[OURS])
    report.write(run, result, judged, scores, config.wording.model)


def _examples(corpus: Corpus, places: Sequence[int] | np.ndarray) -> Examples:
    return Examples([corpus.texts[place] for place in places], [corpus.labels[place] for place in places])


def to_judge(intents: Sequence[str], test: Examples) -> Judged:
    places = {name: place for place, name in enumerate(intents)}
    return Judged(intents, test.texts, np.array([places[label] if label else -1 for label in test.labels], dtype=np.int64))


def protocol(corpus: Corpus, config: ChatConfig, count: int) -> str:
    split = (
        "the data's own test part"
        if "test" in corpus.parts
        else f"{config.split.test:.0%} of each intent's messages, drawn at random"
    )
    return f"{count:,} messages of {split}; all choices on other messages; 95% bootstrap intervals over messages"


def speed(chatbot: Chatbot, texts: Sequence[str]) -> dict[str, float]:
    """Messages understood a second in batch, and milliseconds for one through everything."""
    many = list(np.resize(np.array(texts, dtype=object), MANY))
    begun = time.perf_counter()
    chatbot.assistant.classifier(many)
    rate = len(many) / (time.perf_counter() - begun)
    laps = []
    for text in many[:TIMED]:
        request = chatbot.Request(message=text)
        begun = time.perf_counter()
        chatbot.predict([request])
        laps.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(laps, [0.5, 0.99])
    return {"rows_per_s": round(rate), "latency_ms_p50": round(float(p50), 3), "latency_ms_p99": round(float(p99), 3)}


def write_predictions(path: Path, judged: Judged, scores: Scores) -> None:
    """Every judged message with its intent and what it was taken for."""
    names = [*judged.intents, ""]
    likeliest = scores.probabilities.argmax(1)
    table = pa.table(
        {
            "message": list(judged.texts),
            "intent": [names[label] for label in judged.labels],
            "predicted": [names[place] for place in likeliest],
            "probability": scores.probabilities.max(1),
            "outside": scores.outside,
        }
    )
    with whole(path) as partial:
        pq.write_table(table, partial)


def evaluate(chatbot: Chatbot, config: ChatConfig) -> dict[str, Any]:
    """Judge a trained assistant on the test part of its own data, or on all messages of other data.

    Raises:
        UserError: the data has intents that it does not know, or the split is not that of its run.
    """
    assistant = chatbot.assistant
    corpus = data.load(config.data)
    own = corpus.describe()["fingerprint"] == chatbot.about.get("data", {}).get("fingerprint")
    if own and (config.split, config.seed) != (assistant.config.split, assistant.config.seed):
        raise UserError(
            "With another seed or split it would be judged on messages that it was trained on. Leave seed and split.* as they "
            "were, or give other --data."
        )
    known = set(assistant.classifier.intents)
    if unknown := sorted(set(corpus.intents) - known):
        raise UserError(
            f"{config.data.source} has intents that the model does not know: {', '.join(unknown[:8])}"
            f"{', …' if len(unknown) > 8 else ''}. Train on this data, or give messages of the intents that it knows."
        )
    places = data.split(corpus, config.split, config.seed).test if own else np.arange(len(corpus.texts))
    test = _examples(corpus, places)
    judged = to_judge(assistant.classifier.intents, test)
    scores = {OURS: assistant.classifier(test.texts)}
    said = protocol(corpus, config, len(test.texts)) if own else f"all {len(test.texts):,} messages; 95% bootstrap intervals"
    result: Mapping[str, Any] = evidence.summarise(judged, scores, {OURS: config.talking.outside}, OURS)
    return {**result, "data": corpus.describe(), "protocol": said}
