"""A content folder: intents.yaml, forms.yaml, articles/*.md, out_of_scope.yaml, shop.yaml, actions.yaml, and what tests it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.config import Section
from shared.errors import Collector
from usecases.chatbot import documents
from usecases.chatbot.actions import Action, entry_type
from usecases.chatbot.content import Article, Desk, Form, Intent, Patterns, Question
from usecases.chatbot.documents import Document
from usecases.chatbot.scripts import Script

INTENTS, FORMS, OUT_OF_SCOPE, SHOP, ACTIONS, CONVERSATIONS, QUESTIONS = FILES = (
    "intents.yaml", "forms.yaml", "out_of_scope.yaml", "shop.yaml", "actions.yaml", "conversations.yaml", "questions.yaml",
)  # fmt: skip
ARTICLES, PATTERNS = "articles", "patterns"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_/-]{0,59}")
FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)
MANY = 20_000  # articles
S = TypeVar("S", bound=BaseModel)


class OutOfScope(Section):
    examples: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


class Answerable(Section):
    question: str
    article: str | tuple[str, ...]

    @property
    def articles(self) -> tuple[str, ...]:
        return (self.article,) if isinstance(self.article, str) else self.article


class Kinds(Section):
    answerable: tuple[Answerable, ...] = ()
    unanswerable: tuple[str, ...] = ()

    def listed(self, tuning: bool) -> tuple[Question, ...]:
        known = (Question(one.question, one.articles, tuning) for one in self.answerable)
        return (*known, *(Question(text, tuning=tuning) for text in self.unanswerable))


class Questions(Kinds):
    """Every second one is held out, but for those of `tuning`."""

    tuning: Kinds = Kinds()

    @property
    def all(self) -> tuple[Question, ...]:
        return (*self.listed(False), *self.tuning.listed(True))


@dataclass
class Content:
    """What the folder holds, with the files it was read from.

    Attributes:
        names: of the intents, forms and articles that are written there, those with mistakes included.
        documents: by file name; of articles by `articles/<name>.md`.
    """

    folder: Path
    desk: Desk
    names: dict[str, set[str]]
    documents: dict[str, Document]
    shop: dict[str, Any] | None = None
    actions: dict[str, Action] = field(default_factory=dict)
    scripts: tuple[Script, ...] = ()
    questions: Questions = field(default_factory=Questions)

    def place(self, file: str, *steps: str | int) -> dict[str, Any]:
        """`where` and `row` of something, for `Collector.add`."""
        document = self.documents.get(file)
        return {"where": self.folder / file, "row": document.line(steps) if document else 0}


def is_content(folder: Path) -> bool:
    return (folder / INTENTS).is_file()


def read(folder: Path, faults: Collector) -> Content:
    """Read everything that the folder holds; mistakes become findings, what has one is left out."""
    found: dict[str, Document] = {}
    for name in FILES:
        if (folder / name).is_file():
            document = documents.read(folder / name, faults, typed=name in (SHOP, ACTIONS, CONVERSATIONS))
            if document is not None and _is_mapping(document, faults):
                found[name] = document
    names = {kind: set(_entries(found.get(file), kind)) for kind, file in (("intents", INTENTS), ("forms", FORMS))}
    intents = _named(lambda _: Intent, found.get(INTENTS), "intents", faults)
    if INTENTS in found and not names["intents"]:
        faults.add("error", "no intents", "Write them below `intents:`", where=folder / INTENTS)
    outside = (
        documents.validated(OutOfScope, found[OUT_OF_SCOPE].value, found[OUT_OF_SCOPE], faults) if OUT_OF_SCOPE in found else None
    )
    told = _entries(found.get(FORMS), PATTERNS)
    patterns = documents.validated(Patterns, {PATTERNS: told}, found[FORMS], faults) if told else None
    articles = dict(_articles(folder / ARTICLES, found, faults))
    names["articles"] = {path.stem for path in _markdown(folder / ARTICLES)}
    desk = Desk(
        intents=intents,
        forms=_named(lambda _: Form, found.get(FORMS), "forms", faults, beside=PATTERNS),
        articles=articles,
        out_of_scope=outside.examples if outside else (),
        unanswered=outside.unanswered if outside else (),
        **(patterns or Patterns()).model_dump(),
    )
    questions = documents.validated(Questions, found[QUESTIONS].value, found[QUESTIONS], faults) if QUESTIONS in found else None
    content = Content(
        folder,
        desk,
        names,
        found,
        found[SHOP].value if SHOP in found else None,
        _named(entry_type, found.get(ACTIONS), "actions", faults),
        tuple(scripts(found.get(CONVERSATIONS), faults)),
        questions or Questions(),
    )
    if ACTIONS in found and not _entries(found[ACTIONS], "actions"):
        faults.add("error", "no actions", "Write them below `actions:`, by name", where=folder / ACTIONS)
    _not_read(folder, faults)
    return content


def _is_mapping(document: Document, faults: Collector) -> bool:
    if not isinstance(document.value, dict):
        what = "empty" if document.value is None else "no `key: value` pairs at its top"
        faults.add("error", what, "Write it as the guide says (README, The data)", where=document.path)
        return False
    return True


def _entries(document: Document | None, kind: str) -> dict[str, Any]:
    """The mapping below the key `kind`; {} where it is none, which `_named` reports."""
    value = document.value.get(kind) if document else None
    return {str(name): entry for name, entry in value.items()} if isinstance(value, dict) else {}


def _named(
    model: Callable[[Mapping[str, Any]], type[S]], document: Document | None, kind: str, faults: Collector, beside: str = ""
) -> dict[str, S]:
    """The valid entries below the key `kind`, each as its `model`; the file may hold another one `beside` it."""
    if document is None:
        return {}
    if other := sorted(set(map(str, document.value)) - {kind, beside}):
        fix = f"This file holds `{kind}:`" + (f" and `{beside}:`" if beside else " alone")
        faults.add("error", f"no such entry: {', '.join(other)}", fix, row=document.line(other[:1]), where=document.path)
    if not isinstance(document.value.get(kind) or {}, dict):
        fix = "Write one entry per name: `name:`, and below it, indented, what it has"
        faults.add("error", f"{kind} is no mapping", fix, row=document.line((kind,)), where=document.path)
    valid: dict[str, S] = {}
    for name, entry in _entries(document, kind).items():
        if not NAME.fullmatch(name):
            fix = "Use letters, digits and _, at most 60, a letter first"
            faults.add("error", f"{kind}: a name that is none", fix, name, document.line((kind, name)), document.path)
        made = documents.validated(model(entry if isinstance(entry, dict) else {}), entry or {}, document, faults, (kind, name))
        if made is not None:
            valid[name] = made
    return valid


def _markdown(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.md"))[:MANY] if folder.is_dir() else []


def _articles(folder: Path, found: dict[str, Document], faults: Collector) -> Iterator[tuple[str, Article]]:
    """Valid articles by name; the documents of their front matter are added to `found`."""
    for path in _markdown(folder):
        text = documents.read_text(path, faults)
        if text is None:
            continue
        front = FRONT.match(text)
        if front is None:
            fix = "Begin it with a line ---, then title: and intents: [...], then a line ---, then the text"
            faults.add("error", "no front matter", fix, where=path)
            continue
        document = documents.parse(front[1], path, faults, first=2)
        if document is None or not _is_mapping(document, faults):
            continue
        body = text[front.end() :].strip()
        if not body:
            faults.add("error", "no text below the front matter", "Write the article, or remove the file", where=path)
        article = documents.validated(Article, {**document.value, "body": body}, document, faults)
        if article is not None and body:
            found[f"{ARTICLES}/{path.name}"] = document
            yield path.stem, article


def scripts(document: Document | None, faults: Collector) -> Iterator[Script]:
    if document is None or not _is_mapping(document, faults):
        return
    given = document.value.get("conversations")
    if not isinstance(given, list):
        faults.add("error", "no list `conversations:`", "Write `- name:` with `turns:` below it", where=document.path)
        return
    for number, one in enumerate(given):
        made = documents.validated(Script, one, document, faults, ("conversations", number))
        if made is not None:
            yield made


def _not_read(folder: Path, faults: Collector) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in FILES and path.name != ARTICLES and path.suffix.lower() in (".yaml", ".yml", ".md"):
            fix = f"A content folder holds {', '.join(FILES)} and {ARTICLES}/*.md; rename it if it is meant to be one of them"
            faults.add("warning", "a file that is not read", fix, path.name)
