"""The layouts in which utterances come, told by what is in the files: content folder, tables, CLINC, Rasa, Bitext, Banking77."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from shared.data import columns, sources, tables
from shared.errors import Collector, DataError, UserError
from usecases.chatbot import desk, rasa
from usecases.chatbot.config import SUPPORT_DESK, Data
from usecases.chatbot.corpus import PART_NAMES, PARTS, TEST, TRAIN, VALIDATION, Utterances
from usecases.chatbot.desk import Content

LARGEST = 500_000_000  # bytes of a table
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")
YAML = (".yaml", ".yml")
ROLES = {  # usual names of the columns, as columns.normal writes them
    "text": ("text", "utterance", "message", "query", "instruction", "sentence", "question", "input", "example"),
    "label": ("intent", "intentname", "labeltext", "labelname", "label", "category", "class", "target", "tag"),
    "part": ("part", "split", "subset", "partition"),
}
CONTENT = "content folder"
BITEXT = {"flags", "instruction", "category", "intent", "response"}
PLACEHOLDER = re.compile(r"\{\{\s*([^{}]{1,60}?)\s*\}\}")
VALUES = {"number": "4711", "amount": "50", "symbol": "€", "person": "Alex", "city": "London", "country": "France"}
CLINC = {"train": TRAIN, "val": VALIDATION, "test": TEST, "oos_train": TRAIN, "oos_val": VALIDATION, "oos_test": TEST}


@dataclass(frozen=True)
class Raw:
    """A source as it was read; labels of messages that are out of scope are ""."""

    name: str
    utterances: Utterances
    content: Content | None
    faults: Collector


def read(config: Data) -> Raw:
    """Read a source; mistakes that leave something to read are in `faults`.

    Raises:
        UserError: there is no such source, or nothing of a known layout in it.
        DataError: a table's columns cannot be told.
    """
    faults = Collector(config.source)
    try:
        found = sources.own("chatbot") if config.source == SUPPORT_DESK else sources.locate(config.source)
        layout, utterances, content = _read(found, config, faults)
    except OSError as error:
        raise UserError(f"{config.source} cannot be read: {error.strerror}. Check the file and its permissions.") from None
    outside = {label.strip().lower() for label in config.out_of_scope}
    if content is None:
        utterances.labels = ["" if label.lower() in outside else label for label in utterances.labels]
    if any(utterances.labels):
        _told(layout, utterances, config, faults)
    elif not any(finding.severity == "error" for finding in faults.findings):
        faults.add("error", "no utterance with an intent", "Give a message and the name of its intent in each row")
    name = SUPPORT_DESK if config.source == SUPPORT_DESK else Path(config.source).name or config.source
    return Raw(name, utterances, content, faults)


def _read(found: Path | pd.DataFrame, config: Data, faults: Collector) -> tuple[str, Utterances, Content | None]:
    """The layout and what it holds; raises as `read`."""
    utterances = Utterances()
    if isinstance(found, pd.DataFrame):
        return _add_table(found, config.source, config, "", utterances, faults), utterances, None
    if found.is_dir() and desk.is_content(found):
        content = desk.read(found, faults)
        return CONTENT, _of_desk(content), content
    if found.is_dir():
        return *_folder(found, config, faults), None
    return _file(found, config, "", utterances, faults), utterances, None


def _of_desk(content: Content) -> Utterances:
    utterances = Utterances()
    for name, intent in content.desk.intents.items():
        for number, text in enumerate(intent.examples):
            at = content.place(desk.INTENTS, "intents", name, "examples", number)
            utterances.add(text, name, "", at["where"], at["row"])
    for number, text in enumerate(content.desk.out_of_scope):
        at = content.place(desk.OUT_OF_SCOPE, "examples", number)
        utterances.add(text, "", "", at["where"], at["row"])
    return utterances


def _told(layout: str, utterances: Utterances, config: Data, faults: Collector) -> None:
    """What was made of the source."""
    outside, intents = utterances.labels.count(""), len(set(utterances.labels) - {""})
    names = ", ".join(label or '""' for label in config.out_of_scope)
    what = f"{layout} with {len(utterances.texts) - outside:,} utterances of {intents:,} intents, and {outside:,} out of scope"
    fix = (
        f"Out of scope are labels of data.out_of_scope: {names}"
        if layout != CONTENT
        else "Compare it with what you meant to give"
    )
    faults.add("info", what, fix, count=len(utterances.texts))


def _folder(folder: Path, config: Data, faults: Collector) -> tuple[str, Utterances]:
    """train.csv beside test.csv, CLINC's JSON, Rasa's YAML, or one table."""
    utterances = Utterances()
    given = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in TABLES]
    by_part = {path: PART_NAMES[path.stem.lower()] for path in given if path.stem.lower() in PART_NAMES}
    if TRAIN in by_part.values():
        for path, part in by_part.items():
            _file(path, config, part, utterances, faults)
        for path in given:
            if path not in by_part:
                faults.add("info", "a table beside train and test that was not read", "Name the file itself to use it", path.name)
        return "tables", utterances
    if nlu := rasa.files(folder):
        return "Rasa NLU", rasa.read(nlu, faults)
    clinc = [path for path in given if path.suffix.lower() == ".json"]
    chosen = [path for path in clinc if path.name == "data_full.json"] or clinc or given
    if len(chosen) == 1:
        return _file(chosen[0], config, "", utterances, faults), utterances
    seen = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise UserError(
        f"{folder} is no folder of utterances: it holds {seen}. Known are a content folder (intents.yaml, …), train.csv with "
        "test.csv, CLINC's data_full.json, Rasa's NLU YAML, or a single table; or name one file."
    )


def _file(path: Path, config: Data, part: str, utterances: Utterances, faults: Collector) -> str:
    """Read a file into `utterances`; returns its layout.

    Raises:
        UserError, DataError: as `read`.
    """
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} has more than {LARGEST / 1e6:,.0f} MB. Give fewer utterances.")
    if path.suffix.lower() in YAML:
        if not rasa.looks_like(path):
            fix = f" Name its folder {path.parent} instead." if path.name in desk.FILES else ""
            raise UserError(f"{path} is no NLU data of Rasa: it has no key `nlu:`.{fix}")
        read = rasa.read([path], faults)
        for text, label, row in zip(read.texts, read.labels, read.rows, strict=True):
            utterances.add(text, label, part, path, row)
        return "Rasa NLU"
    whole = whole_json(path)
    if isinstance(whole, dict) and set(whole) & set(CLINC):
        _clinc(whole, path, utterances, faults)
        return "CLINC"
    if isinstance(whole, list) and whole and all(isinstance(one, dict) for one in whole):
        table = pd.DataFrame(whole, index=range(1, len(whole) + 1), dtype="object")
    else:
        table, found = tables.read(path, config.encoding)
        faults.given += found
    try:
        return _add_table(table, str(path), config, part, utterances, faults)
    except DataError as error:  # the other tables may have mistakes, too
        faults.given += error.findings
        return "table"


def whole_json(path: Path) -> Any:
    """The value of a file that is one JSON document; None for any other, such as JSON lines."""
    if path.suffix.lower() not in (".json", ".jsonl"):
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _clinc(parts: Mapping[str, Any], path: Path, utterances: Utterances, faults: Collector) -> None:
    for key, pairs in parts.items():
        if key not in CLINC or not isinstance(pairs, list):
            faults.add("warning", "a part that is not read", f"Known: {', '.join(CLINC)}, each a list", key, where=path)
            continue
        for row, pair in enumerate(pairs, 1):
            if isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair):
                utterances.add(pair[0], "" if key.startswith("oos") else pair[1], CLINC[key], path, row)
            else:
                what = f"an entry of {key} that is no pair"
                faults.add("error", what, 'Write ["message", "intent"]', str(pair), row, path)


def _add_table(table: pd.DataFrame, where: str, config: Data, part: str, utterances: Utterances, faults: Collector) -> str:
    """Read a table of utterances; returns its layout.

    Args:
        part: of all its rows; "": its column tells, if it has one.
    """
    bitext = {columns.normal(str(column)) for column in table.columns} >= BITEXT
    wanted = config.columns.model_dump()
    if bitext:
        wanted = {"text": "instruction", "label": "intent", "part": None} | {k: v for k, v in wanted.items() if v}
    chosen = columns.assign(table, ROLES, wanted, ("text", "label"), where)
    if not len(table):
        faults.add("error", "no rows", "Give one message with its intent in each row", where=where)
    for role in ("text", "label"):
        nested = table.index[[isinstance(value, dict | list) for value in table[chosen[role]]]]
        for row in nested:
            faults.add("error", f"a {role} that is a list or an object", "Write text", row=int(row), where=where)
    texts, labels = (_strings(table[chosen[role]]) for role in ("text", "label"))
    if bitext:
        texts = _without_placeholders(texts, where, faults)
    given = _strings(table[chosen["part"]]) if "part" in chosen and not part else [part] * len(texts)
    parts = _parts(given, table.index, where, faults)
    for text, label, one, row in zip(texts, labels, parts, table.index, strict=True):
        utterances.add(text, label, one, where, int(row))
    return "Bitext" if bitext else "table"


def _strings(values: pd.Series) -> list[str]:
    return [str(value) for value in values.astype("object").where(values.notna(), "")]


def _parts(given: Sequence[str], rows: Sequence[int], where: str, faults: Collector) -> list[str]:
    parts = []
    for one, row in zip(given, rows, strict=True):
        known = PART_NAMES.get(one.strip().lower(), "")
        if one.strip() and not known:
            fix = f"Write {', '.join(PARTS)}; they count as of no part"
            faults.add("warning", "a part that is none", fix, one, int(row), where)
        parts.append(known)
    return parts


def _without_placeholders(texts: Sequence[str], where: str, faults: Collector) -> list[str]:
    """`{{Order Number}}` stands for a value that customers write; braces never occur in their messages.

    It becomes a value of its kind, or its own name in lower case where no kind is known.
    """
    names = Counter(name for text in texts for name in PLACEHOLDER.findall(text))
    if names:
        what = f"{names.total():,} placeholders"
        fix = "Each was replaced by a value of its kind or its name, as no customer writes braces"
        faults.add("info", what, fix, ", ".join(names), where=where, count=names.total())
    return [PLACEHOLDER.sub(lambda match: _value(match[1]), text) for text in texts]


def _value(name: str) -> str:
    lower = name.lower()
    return next((value for word, value in VALUES.items() if word in lower), lower)
