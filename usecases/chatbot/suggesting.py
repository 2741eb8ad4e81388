"""What somebody's support tickets are: text and intent of a table, messages out of scope, encoding and language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from shared.data import guessing
from shared.data.columns import normal, usual
from shared.data.guessing import Assumed, Kind
from shared.errors import Collector, UserError
from shared.usecase import Assumption
from usecases.chatbot import checks, desk, formats, rasa
from usecases.chatbot.config import Data
from usecases.chatbot.corpus import PART_NAMES, TRAIN

LOOKED_FOR = (
    "a table with a column of messages and one of intents (.csv .tsv .parquet .jsonl .json), train.csv with test.csv, CLINC's "
    "JSON, Rasa's NLU YAML, or a content folder (intents.yaml, articles/*.md, …)"
)
HINTS = {  # parts of (normal) names, besides those that `formats.ROLES` knows
    "text": ("text", "message", "utterance", "question", "query", "body", "content", "description", "comment", "request"),
    "label": ("intent", "label", "category", "topic", "class", "queue", "reason", "subject", "tag", "kategorie", "type"),
    "part": ("split", "part", "fold", "subset"),
}
OUTSIDE = {  # labels of messages about none of the intents, as `columns.normal` writes them
    *("oos", "outofscope", "outofdomain", "ood", "none", "nointent", "noneoftheabove", "nlufallback", "fallback", "other"),
    *("others", "unknown", "unsupported", "irrelevant", "chitchat", "offtopic", "misc", "miscellaneous", "spam", "undefined"),
}
WORDS = 3  # of a message, on average, at least
SHORT = 5  # words of an intent's name, on average, at most
COMMON = {"the", "is", "my", "i", "to", "a", "and", "of", "in", "it", "you", "do", "have", "can", "for", "how", "what", "not"}
ENGLISH = 0.08  # of the words of English messages are among these, at least; usually 0.3


def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
    """What makes the assistant learn from a box of tickets; see `shared.usecase.UseCase.suggest`.

    Raises:
        UserError: there are no messages with intents, or which column is which cannot be told.
    """
    source = guessing.existing(Path(given.get("data.source", source)), LOOKED_FOR)
    assumed = Assumed(given)
    if source.is_dir() and desk.is_content(source):
        found = desk.read(source, Collector(source))
        told = f"{desk.INTENTS} with {len(found.desk.intents)} intents, {len(found.desk.articles)} help articles"
        assumed.add("data.source", str(source.resolve()), f"a content folder: {told}")
        return assumed
    file, several = _file(source)
    beside = source / desk.ARTICLES
    unused = f"; {desk.ARTICLES}/ is read only beside {desk.INTENTS}" if source.is_dir() and beside.is_dir() else ""
    assumed.add("data.source", str((source if several else file).resolve()), f"{file.name} holds messages{unused}")
    if file.suffix.lower() in formats.YAML or isinstance(formats.whole_json(file), dict):
        raw = formats.read(Data(source=str(source if several else file)))
        _out_of_scope(raw.utterances.labels, assumed)
        _language(raw.utterances.texts[: guessing.ROWS], assumed)
        return assumed
    _of_table(file, assumed)
    return assumed


def _file(source: Path) -> tuple[Path, bool]:
    """The file by which to tell what the source is, and whether the whole folder is taken, of which it is a part.

    Raises:
        UserError: it cannot be told which one.
    """
    if source.is_file():
        return source, False
    files = [path for path in sorted(source.iterdir()) if path.is_file() and path.suffix.lower() in formats.TABLES]
    if training := [path for path in files if PART_NAMES.get(path.stem.lower()) == TRAIN]:
        return training[0], True
    if nlu := rasa.files(source):
        return nlu[0], True
    clinc = [path for path in files if isinstance(formats.whole_json(path), dict)]
    chosen = clinc or [path for path in files if path.name.lower() not in ("readme.txt", "license.txt", "requirements.txt")]
    if not chosen:
        there = guessing.listed(sorted(path.name for path in source.iterdir()))
        raise UserError(f"{source} has no messages with intents. Looked for: {LOOKED_FOR}. There: {there}.")
    if len(chosen) > 1:
        raise guessing.ask(f"{source} has {len(chosen)} tables.", "data.source", [str(path) for path in chosen])
    return chosen[0], False


def _of_table(file: Path, assumed: Assumed) -> None:
    """Columns, encoding, labels and language of a table."""
    written = str(assumed.given.get("data.encoding") or "utf-8")
    if file.suffix.lower() not in (".parquet", ".pq") and "data.encoding" not in assumed.given:
        written = guessing.encoding(file)
        if written != "utf-8":
            assumed.add("data.encoding", written, "the text is not valid UTF-8, as most tables are")
    whole = formats.whole_json(file)
    if isinstance(whole, list):
        table = guessing.usable(pd.DataFrame([one for one in whole[: guessing.ROWS] if isinstance(one, dict)]), file)
    else:
        table = guessing.head(file, written)
    told = guessing.kinds(table)
    if {normal(name) for name in told} >= formats.BITEXT:
        roles = {"text": "instruction", "label": "intent"}
    else:
        roles = _roles(table, told, assumed.given, file)
    looked = f" in the first {len(table):,} rows" if len(table) == guessing.ROWS else ""
    for role, column in roles.items():
        assumed.add(f"data.columns.{role}", column, _why(role, column, told[column], looked))
    if unused := guessing.unused(name for name in told if name not in roles.values()):
        assumed.also("data.source", f"{unused} (what it answers is written in articles, which a table of messages does not have)")
    labels = table[roles["label"]].fillna("").astype("str").str.strip()
    _out_of_scope(labels.tolist(), assumed)
    _language(table[roles["text"]].dropna().astype("str").tolist(), assumed)


def _why(role: str, column: str, kind: Kind, looked: str) -> str:
    like = {"text": "a message", "label": "an intent", "part": "a part of a split"}[role]
    named = usual(formats.ROLES[role], [column]) or guessing.named_like([column], HINTS[role])
    seen = {
        "text": f"{kind.count:,} texts of {kind.words:.0f} words on average",
        "label": f"{kind.distinct:,} short values that repeat",
        "part": "train, validation or test in each row",
    }[role]
    return f"{seen}{looked}, named like {like}" if named else f"{seen}{looked}: no other column is like that"


def _roles(table: pd.DataFrame, told: Mapping[str, Kind], given: Mapping[str, Any], file: Path) -> dict[str, str]:
    """The columns of messages, intents and parts: by name and content, by content alone where only one is left.

    Raises:
        UserError: they cannot be told.
    """
    found: dict[str, str] = {}
    for role, fits in (("part", _is_part), ("text", _is_text), ("label", _is_label)):
        key = f"data.columns.{role}"
        if (column := given.get(key)) is not None:
            if column not in told:
                raise UserError(f"{key}={column}: {file} has no such column. It has: {guessing.listed(told)}.")
            found[role] = column
            continue
        left = [name for name in told if name not in found.values() and name not in given.values()]
        alike = [name for name in left if fits(table[name], told[name])]
        if role == "text":  # the longest texts, where one column is far longer than the others
            alike = sorted(alike, key=lambda name: -told[name].words)
        chosen = usual(formats.ROLES[role], alike) or next(iter(guessing.named_like(alike, HINTS[role])), None)
        if chosen is None and len(alike) == 1:
            chosen = alike[0]
        if chosen:
            found[role] = chosen
        elif role != "part":
            raise _untold(role, alike, told, file)
    return found


def _untold(role: str, alike: Sequence[str], told: Mapping[str, Kind], file: Path) -> UserError:
    what = {"text": "messages (texts of several words)", "label": "intents (few short values that repeat)"}[role]
    question = f"It cannot be told which column of {file} holds {what}."
    if alike:
        return guessing.ask(question, f"data.columns.{role}", alike, told)
    return UserError(f"{question} It has: {guessing.listed(told, told)}. Add one, or set data.columns.{role}=COLUMN.")


def _is_part(values: pd.Series, kind: Kind) -> bool:
    return kind.what == "text" and {str(one).strip().lower() for one in values.dropna().unique()[:20]} <= set(PART_NAMES)


def _is_text(values: pd.Series, kind: Kind) -> bool:
    longer = kind.words >= WORDS or bool((values.dropna().astype("str").str.len() > 20).mean() > 0.5)  # of scripts without spaces
    return kind.what == "text" and longer and kind.distinct > min(20, kind.count / 4)


def _is_label(values: pd.Series, kind: Kind) -> bool:
    few = 2 <= kind.distinct <= max(2, kind.count / 2)
    return few and kind.words <= SHORT and (kind.what == "text" or (kind.what == "number" and kind.whole))


def _out_of_scope(labels: Sequence[str], assumed: Assumed) -> None:
    """Labels that are named like none of the intents, beside those that are known as such."""
    known = Data().out_of_scope
    seen = {label for label in labels if label}
    named = sorted(label for label in seen if normal(label) in OUTSIDE and label.lower() not in known)
    if named:
        count = sum(label in named for label in labels)
        why = f"{count:,} messages with a label that is named like none of the intents: {', '.join(named)}"
        assumed.add("data.out_of_scope", [*known, *named], why)


def _language(texts: Sequence[str], assumed: Assumed) -> None:
    """The encoder that comes with the package reads English; an LSTM learns any language from nothing."""
    if "understanding.weights" in assumed.given:
        return
    words = [word for text in texts for word in text.lower().split()]
    share = sum(word in COMMON for word in words) / max(1, len(words))
    scripts = [checks.script_of(text) for text in texts[:1000]]
    foreign = sum(script not in ("LATIN", "") for script in scripts) > len(scripts) / 2
    if words and (foreign or share < ENGLISH):
        script = max(set(scripts), key=scripts.count).lower()
        seen = f"most messages are in {script} letters" if foreign else f"only {share:.0%} of the words are common in English"
        why = f"{seen}, and the encoder reads English: understanding.weights=FOLDER is better, with one for your language"
        assumed.add("understanding.network", "lstm", why)
