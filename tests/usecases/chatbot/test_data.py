"""Splits: nothing that is trained on is judged on, and every intent is trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import UserError
from usecases.chatbot import data
from usecases.chatbot.config import Split
from usecases.chatbot.content import Article, Desk, Intent
from usecases.chatbot.corpus import Corpus, Examples, normalised

HALF = Split(validation=0.2, test=0.2)


def corpus(counts: dict[str, int], parts: list[str] | None = None) -> Corpus:
    texts = [f"{label} {number}" for label, count in counts.items() for number in range(count)]
    labels = [label for label, count in counts.items() for _ in range(count)]
    return Corpus("test", texts, labels, parts or [""] * len(texts))


def test_each_intent_has_its_share_in_each_part_and_the_same_for_the_same_seed() -> None:
    some = corpus({"a": 50, "b": 20, "": 10, "two": 2, "one": 1})
    parts = data.split(some, HALF, 3)
    counts = [Counter(some.labels[place] for place in part) for part in parts]
    assert counts == [
        {"a": 30, "b": 12, "": 6, "two": 1, "one": 1},
        {"a": 10, "b": 4, "": 2},
        {"a": 10, "b": 4, "": 2, "two": 1},
    ]
    assert sorted(np.concatenate(parts)) == list(range(len(some.texts)))
    assert all(np.array_equal(one, other) for one, other in zip(parts, data.split(some, HALF, 3), strict=True))
    assert not np.array_equal(parts.test, data.split(some, HALF, 4).test)


def test_utterances_that_differ_in_case_and_signs_alone_are_never_in_two_parts() -> None:
    texts = [f"{start}where is parcel {n // 4}{end}" for n in range(80) for start, end in [("", ""), ("Oh, ", "?!")][n % 2 :][:1]]
    texts = [text.upper() if n % 3 == 0 else text for n, text in enumerate(texts)]
    some = Corpus("test", texts, ["a"] * 80, [""] * 80)
    parts = data.split(some, HALF, 0)
    keys = [{normalised(texts[place]) for place in part} for part in parts]
    assert all(len(part) for part in parts)
    assert not keys[0] & keys[1]
    assert not (keys[0] | keys[1]) & keys[2]


def test_a_given_test_stays_whole_and_validation_is_carved_out_of_training() -> None:
    some = corpus({"a": 40}, ["train"] * 28 + [""] * 2 + ["test"] * 10)
    some.texts[0] = "A, 35!"  # also in the test
    parts = data.split(some, HALF, 0)
    assert parts.test.tolist() == list(range(30, 40))
    assert len(parts.validation) == 6
    assert set(parts.train) | set(parts.validation) == set(range(1, 30))


def test_given_parts_are_kept_and_shares_may_be_none() -> None:
    given = corpus({"a": 9}, ["train"] * 3 + ["validation"] * 3 + ["test"] * 3)
    assert [part.tolist() for part in data.split(given, HALF, 0)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [len(part) for part in data.split(corpus({"a": 9}), Split(validation=0, test=0), 0)] == [9, 0, 0]
    with pytest.raises(UserError, match="nothing to train on"):
        data.split(given, Split(validation=0.5, test=0.5), 0)


def test_the_fingerprint_tells_other_data() -> None:
    one = corpus({"a": 3, "b": 2, "": 1})
    prints = [
        some.describe()["fingerprint"]
        for some in (
            one,
            replace(one, labels=["b", *one.labels[1:]]),
            replace(one, parts=["test", *one.parts[1:]]),
            replace(one, texts=["x", *one.texts[1:]]),
            replace(one, shop={"today": 1}),
        )
    ]
    assert len(set(prints)) == 5
    assert replace(one, name="other").describe()["fingerprint"] == prints[0]
    assert {"utterances": 6, "intents": 2, "out_of_scope": 1}.items() <= one.describe().items()


def test_rare_intents_are_filled_up_with_questions_of_their_articles_but_with_none_that_is_judged_on() -> None:
    articles = {
        "hours": Article(title="", body="x", questions=("Open today?", "WHEN do you open", "how late", "on Sunday")),
        "both": Article(title="", body="x", questions=("anything",)),
    }
    intents = {"open": Intent(articles=("hours", "both")), "often": Intent(articles=("both",))}
    given = Examples(["open today", "a", "b", "c", "d"], ["open", *["often"] * 4])
    filled = data.filled_up(given, Desk(intents=intents, articles=articles), ["When do you open?!"])
    assert list(zip(*filled, strict=True))[5:] == [("how late", "open"), ("on Sunday", "open")]
    assert data.filled_up(given, None, []) == given
