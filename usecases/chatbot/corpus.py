"""Utterances with their intents, and what a support team has written around them."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import Finding
from usecases.chatbot.content import Desk, Question
from usecases.chatbot.scripts import Script

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
PART_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
}


class Examples(NamedTuple):
    """Messages and their intents' names; "" where they are about none."""

    texts: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class Corpus:
    """The data of a run.

    Attributes:
        name: of the source.
        texts: [utterances] as customers wrote them.
        labels: [utterances] intents; "": out of scope.
        parts: [utterances] "train", "validation" or "test"; "" where not given.
        desk: intents, forms and articles; None: the source holds only utterances.
        shop: shop.yaml as read; None: there is none.
        actions: actions.yaml as read.
        findings: what was noticed, none of them an error.
        scripts: conversations to replay.
        questions: what the search in the articles is judged by.
    """

    name: str
    texts: list[str]
    labels: list[str]
    parts: list[str]
    desk: Desk | None = None
    shop: dict[str, Any] | None = None
    actions: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    scripts: tuple[Script, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def intents(self) -> tuple[str, ...]:
        """Sorted names."""
        return tuple(sorted(set(self.labels) - {""}))

    def describe(self) -> dict[str, Any]:
        """For metrics.json and the model card."""
        desk = self.desk.model_dump(mode="json") if self.desk else None
        everything = (self.texts, self.labels, self.parts, desk, self.shop, self.actions)
        written = json.dumps(everything, ensure_ascii=False, default=str)  # shop.yaml holds dates
        return {
            "name": self.name,
            "utterances": len(self.texts),
            "intents": len(self.intents),
            "out_of_scope": self.labels.count(""),
            "articles": len(self.desk.articles) if self.desk else 0,
            "forms": len(self.desk.forms) if self.desk else 0,
            "fingerprint": hashlib.sha256(written.encode()).hexdigest(),
        }


@dataclass
class Utterances:
    """Utterances as they are being read.

    Attributes:
        texts, labels, parts: as of `Corpus`.
        files: [utterances] where they stand.
        rows: [utterances] line of the YAML file or row of the table; 0: not known.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, text: str, label: str, part: str = "", file: Path | str = "", row: int = 0) -> None:
        self.texts.append(text.encode("utf-8", "replace").decode().strip())  # half of a surrogate pair is no text
        self.labels.append(label.strip())
        self.parts.append(part)
        self.files.append(str(file))
        self.rows.append(row)


def normalised(text: str) -> str:
    """What is compared to tell that two utterances are the same: letters and digits in lower case, with single spaces.

    A text without any, such as an emoji, stays as it is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return " ".join(re.findall(r"\w+", plain)) or plain.strip()


def unit_of(texts: Sequence[str]) -> list[int]:
    """[utterances] number of the group of utterances that are the same but for case and punctuation; never divided."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(normalised(text), len(numbers)) for text in texts]
