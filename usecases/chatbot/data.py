"""From a source to utterances with intents, checked, in parts for training, choosing and judging."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from shared.data import cleaning
from shared.errors import UserError
from usecases.chatbot import checks, formats
from usecases.chatbot.config import Data, Split
from usecases.chatbot.content import Desk
from usecases.chatbot.corpus import PARTS, TEST, TRAIN, VALIDATION, Corpus, Examples, normalised, unit_of


class Parts(NamedTuple):
    """Places of a corpus' utterances, int64, ascending; no utterance is in two parts, nor one that is nearly the same."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load(config: Data) -> Corpus:
    """Read and check a source; utterances without text are left out.

    Raises:
        UserError: there is no such source, or nothing of a known layout in it.
        DataError: it cannot be used; lists every fault.
    """
    raw = formats.read(config)
    checks.inspect(raw)
    cleaning.stop_on_errors(raw.faults.findings)
    given, content = raw.utterances, raw.content
    kept = [place for place, text in enumerate(given.texts) if text]
    return Corpus(
        raw.name,
        [given.texts[place] for place in kept],
        [given.labels[place] for place in kept],
        [given.parts[place] for place in kept],
        content.desk if content else None,
        _as_json(content.shop) if content else None,
        {name: one.model_dump(mode="json") for name, one in content.actions.items()} if content else {},
        raw.faults.findings,
        content.scripts if content else (),
        content.questions.all if content else (),
    )


def _as_json(value: Any) -> Any:
    """Days of YAML as ISO text."""
    return json.loads(json.dumps(value, default=str))


def split(corpus: Corpus, shares: Split, seed: int, train_share: float = 1.0) -> Parts:
    """The parts that the corpus came with; those it lacks are drawn from its training part, of each intent its share.

    Utterances of no part, where others have one, are trained on. One that is the same as another of a later part but for case
    and punctuation is in neither of the earlier ones: a given test stays whole. Messages out of scope count as one more
    intent. Each intent keeps at least one utterance to train on, before it gets any to judge, then to choose by.

    Args:
        train_share: of each intent's utterances to train on, at least one; those of a smaller share are among those of a larger.

    Raises:
        UserError: the shares leave nothing to train on.
    """
    if shares.validation + shares.test >= 1:
        raise UserError(
            f"split.validation={shares.validation} and split.test={shares.test} leave nothing to train on. Lower them."
        )
    units = np.array(unit_of(corpus.texts), np.int64)
    parts = np.array([part or TRAIN for part in corpus.parts], dtype="<U10")
    for later, earlier in ((TEST, (VALIDATION, TRAIN)), (VALIDATION, (TRAIN,))):
        parts[np.isin(parts, earlier) & np.isin(units, units[parts == later])] = ""
    lacking = {part: share for part, share in ((TEST, shares.test), (VALIDATION, shares.validation)) if not (parts == part).any()}
    order = np.random.default_rng(seed).permutation(len(parts))
    by_label: dict[str, list[int]] = defaultdict(list)
    for unit, place in dict(zip(units[order], order, strict=True)).items():  # one utterance tells the intent of its like
        if parts[place] == TRAIN:
            by_label[corpus.labels[place]].append(int(unit))
    for drawn in by_label.values():
        left = _draw(drawn, lacking, parts, units)
        parts[np.isin(units, left[max(1, round(train_share * len(left))) :]) & (parts == TRAIN)] = ""
    return Parts(*(np.flatnonzero(parts == part) for part in PARTS))


def _draw(drawn: Sequence[int], shares: dict[str, float], parts: np.ndarray, units: np.ndarray) -> Sequence[int]:
    """Move shares of one intent's units, given in random order, from training to other parts; changes `parts`.

    Returns:
        The units that are left to train on, in that order.
    """
    left, start = len(drawn), 0
    for part, share in shares.items():
        count = min(max(round(share * len(drawn)), 1 if share else 0), left - 1)
        parts[np.isin(units, drawn[start : start + count])] = part
        start, left = start + count, left - count
    return drawn[start:]


def filled_up(examples: Examples, desk: Desk | None, apart: Sequence[str]) -> Examples:
    """Examples, with questions of the articles of intents that have fewer than the most frequent one, as far as there are any.

    An article's questions are taken for its intent only where it answers no other.

    Args:
        apart: messages to choose and to judge by: what is the same as one of them, or as an example, is not added.
    """
    if desk is None:
        return examples
    answering = {name: desk.answering(name) for name in desk.articles}
    counts = Counter(label for label in examples.labels if label)
    texts, labels = list(examples.texts), list(examples.labels)
    had = set(map(normalised, [*texts, *apart]))
    for intent in sorted(counts):
        lists = [desk.articles[name].asked(name) for name, intents in answering.items() if intents == [intent]]
        in_turn = [one.text for group in zip_longest(*lists) for one in group if one and normalised(one.text) not in had]
        some = in_turn[: max(counts.values()) - counts[intent]]
        texts, labels = [*texts, *some], [*labels, *[intent] * len(some)]
    return Examples(texts, labels)


def outsiders() -> list[str]:
    """General messages about nothing that a desk knows, those of the invented shop: for data that has none."""
    corpus = load(Data())
    return [text for text, label in zip(corpus.texts, corpus.labels, strict=True) if not label]
