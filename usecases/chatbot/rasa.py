"""Rasa NLU training data: YAML, version 3.1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from shared.errors import Collector
from usecases.chatbot import documents
from usecases.chatbot.corpus import Utterances
from usecases.chatbot.documents import Document

ENTITY = re.compile(r"\[([^\[\]]+)\](?:\([^()]*\)|\{[^{}]*\}|\[\s*\{[^\[\]]*\}\s*\])")
"""`[Berlin](city)`, `[Berlin]{"entity": "city", …}`, `[Berlin][{"entity": …}, …]`."""
MANY = 20_000  # files and folders that are looked at
KINDS = ("intent", "synonym", "lookup", "regex")


def files(folder: Path) -> list[Path]:
    """YAML files in a folder and below it that hold a key `nlu:`, as seen at a glance; hidden folders are not entered."""
    found = []
    for path in sorted(islice(folder.rglob("*"), MANY)):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in (".yml", ".yaml") and path.is_file() and looks_like(path):
            found.append(path)
    return found


def looks_like(path: Path) -> bool:
    """Has the file a line `nlu:`?"""
    if path.stat().st_size > documents.LARGEST:
        return False
    return re.search(rb"(?m)^(?:\xef\xbb\xbf)?[\"']?nlu[\"']?[ \t]*:", path.read_bytes()) is not None


def read(paths: Sequence[Path], faults: Collector) -> Utterances:
    """The examples of all intents; annotations of entities are taken out, the words they mark stay."""
    utterances = Utterances()
    for path in paths:
        document = documents.read(path, faults)
        if document is None:
            continue
        entries = document.value.get("nlu") if isinstance(document.value, dict) else None
        if not isinstance(entries, list):
            faults.add("error", "no list below `nlu:`", "Write `- intent: name` with `examples: |` below it", where=path)
            continue
        for number, entry in enumerate(entries):
            _add(entry, number, document, utterances, faults)
    return utterances


def _add(entry: Any, number: int, document: Document, utterances: Utterances, faults: Collector) -> None:
    row = document.line(("nlu", number))
    kind = next((kind for kind in KINDS if isinstance(entry, dict) and kind in entry), None)
    if kind is None:
        fix = f"Each entry is one of {', '.join(KINDS)}"
        faults.add("error", "an entry of no known kind", fix, row=row, where=document.path)
    elif kind != "intent":
        fix = "It was skipped: entities are recognised by the forms' slots"
        faults.add("info", f"an entry of kind {kind}", fix, str(entry[kind]), row, document.path)
    elif not isinstance(entry["intent"], str) or not isinstance(entry.get("examples"), str | list):
        fix = "Write `- intent: name`, and below it `examples: |` with a line `- utterance` for each"
        faults.add("error", "an intent without name or examples", fix, row=row, where=document.path)
    else:
        for text, line in _examples(entry["examples"], number, document, faults):
            utterances.add(ENTITY.sub(r"\1", text), entry["intent"], "", document.path, line)


def _examples(given: str | list[Any], number: int, document: Document, faults: Collector) -> list[tuple[str, int]]:
    """Utterances with their lines."""
    place = ("nlu", number, "examples")
    if isinstance(given, list):  # `- text: |` with metadata beside it, or plain ones
        found = []
        for index, one in enumerate(given):
            text = one.get("text") if isinstance(one, dict) else one
            row = document.line((*place, index))
            if isinstance(text, str):
                found.append((text.strip().removeprefix("- "), row))
            else:
                faults.add("error", "an example without text", "Write `- text: utterance`", row=row, where=document.path)
        return found
    node = document.at(*place)
    block = isinstance(node, yaml.ScalarNode) and node.style == "|"
    first = document.first + node.start_mark.line + 1 if block and node is not None else 0
    found = []
    for offset, line in enumerate(given.splitlines()):
        row = first + offset if block else document.line(place)
        if re.match(r"\s*-(\s|$)", line):
            found.append((line.strip()[1:].strip(), row))
        elif line.strip() and not line.lstrip().startswith("#"):
            fix = "Begin each utterance with `- `; the line was left out"
            faults.add("warning", "a line that is no utterance", fix, line.strip(), row, document.path)
    return found
