"""The articles and the dialogue, judged before a customer meets them: by questions and by scripted conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tokenizers import Tokenizer

from shared import pretrained
from shared.evaluation.operating import proportion
from shared.hardware import Choice
from shared.models.transformer import Bert
from shared.runs import Run
from usecases.chatbot import data, questions, tester
from usecases.chatbot.assistant import Assistant
from usecases.chatbot.classifier import quick
from usecases.chatbot.config import ChatConfig
from usecases.chatbot.content import Question
from usecases.chatbot.corpus import Corpus
from usecases.chatbot.protocols import Classifier
from usecases.chatbot.retrieval import LONGEST_PASSAGE, Retriever

OURS = "assistant"
FEW = 20  # messages that nothing answers; with fewer, general ones are added
PARTS = ("tuning", "held_out")
Log = Callable[[str], None]


def learn_articles(
    corpus: Corpus, config: ChatConfig, classifier: Classifier, run: Run, chip: Choice, say: Log
) -> tuple[Retriever | None, dict[str, Any] | None]:
    """A retriever over the articles, and how it does on the held-out half of the questions; None where there are none."""
    if corpus.desk is None or not corpus.desk.articles:
        return None, None
    tuning, held_out = questions.halves(corpus.questions)
    say(f"Learning to find passages in {len(corpus.desk.articles)} articles")
    encoder = _encoder(config)
    written = corpus.desk
    if len(written.out_of_scope) + len(written.unanswered) < FEW:
        written = written.model_copy(update={"out_of_scope": (*written.out_of_scope, *data.outsiders())})
    found = Retriever.fit(written, encoder, classifier, tuning, config.retrieval, run, chip, config.seed)
    if not run.is_main:
        return found, None
    if found.quality:
        say(f"On questions kept for tuning: {found.quality}")
    if any(len({bool(question.articles) for question in part}) < 2 for part in (tuning, held_out)):
        return found, None  # both kinds are needed to judge it
    simple = {"BM25": found.library.by_words}
    if encoder is not None:
        simple["frozen encoder"] = partial(found.library.by_vectors, *encoder)
    methods = {OURS: questions.judge(held_out, found.rank(_texts(held_out), classifier(_texts(held_out))), found.threshold)}
    for name, rank in simple.items():
        threshold = questions.choose_threshold(tuning, rank(_texts(tuning)), config.retrieval.refused)
        methods[name] = questions.judge(held_out, rank(_texts(held_out)), threshold)
    return found, {
        "name": OURS,
        "answerable": sum(bool(question.articles) for question in held_out),
        "unanswerable": sum(not question.articles for question in held_out),
        "methods": {name: one.as_dict() for name, one in methods.items()},
    }


def _encoder(config: ChatConfig) -> tuple[Tokenizer, Bert] | None:
    """The sentence encoder as it came; None where nothing pretrained is used."""
    if config.understanding.network != "encoder" or not config.retrieval.meaning:
        return None
    folder = pretrained.locate(pretrained.SENTENCE_ENCODER, config.understanding.weights)
    tokenizer, body = pretrained.load_bert(folder, LONGEST_PASSAGE)
    return tokenizer, quick(body)


def _texts(asked: Sequence[Question]) -> list[str]:
    return [question.text for question in asked]


def conversations(corpus: Corpus, assistant: Assistant, say: Log) -> dict[str, Any] | None:
    """Replays the content's scripts, or `judging.every` so many-th, each in a fresh demonstration shop; None: there are none."""
    if not corpus.scripts:
        return None
    written = {part: [script for script in corpus.scripts if script.part == part] for part in PARTS}
    taken = {part: scripts[:: assistant.config.judging.every] for part, scripts in written.items() if scripts}
    say(f"Replaying {sum(map(len, taken.values()))} of {len(corpus.scripts)} conversations")
    return {
        part: _told([tester.replay(script, lambda: assistant.dialogue(assistant.rehearsal())) for script in scripts])
        | {"written": len(written[part])}
        for part, scripts in taken.items()
    }


def _told(results: list[tester.Result]) -> dict[str, Any]:
    went = sum(result.passed for result in results)
    return {
        "scripts": len(results),
        "went": went,
        "passed": proportion(went, len(results)).as_dict(),
        "kinds": tester.pass_rates(results),
        "differences": [
            {
                "conversation": result.script.name,
                "turn": one.turn,
                "user": one.user,
                "expected": f"{one.key}: {one.expected}",
                "got": "; ".join(f"{key}: {value}" for event in one.got for key, value in event.items()),
            }
            for result in results
            for one in result.differences
        ],
    }
