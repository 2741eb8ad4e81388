"""Files of messages: read in blocks, answered, written as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from shared.data import columns, tables
from shared.errors import DataError, Finding, UserError
from usecases.chatbot.answers import LONGEST, ChatResponse

MESSAGE = ("message", "text", "utterance", "query", "question", "instruction")
CONVERSATION = ("conversation", "conversationid", "session", "sessionid", "thread")
SCHEMA = pa.schema(
    [
        ("message", pa.string()),
        ("conversation", pa.string()),
        ("intent", pa.string()),
        ("probability", pa.float64()),
        ("outside", pa.float64()),
        ("entities", pa.string()),
        ("reply", pa.string()),
        ("events", pa.string()),
        ("articles", pa.list_(pa.string())),
    ]
)


def blocks(source: Path, rows: int) -> Iterator[tuple[list[str], list[str | None]]]:
    """Messages and the conversations they belong to (None: each by itself), some rows at a time.

    A .txt file holds a message a line; blank ones are passed over. A table has a column
    `message` (or text, utterance, …) and may have `conversation`.

    Raises:
        UserError: it cannot be read, is empty, has no column of messages, or a line that is no message for its length.
    """
    if source.suffix.lower() == ".txt":
        yield from _lines(source, rows)
        return
    for table in tables.stream(source, rows):
        told = columns.usual(MESSAGE, table.columns)
        if told is None:
            found = ", ".join(map(str, table.columns))
            fix = f"The columns are: {found}. Name the messages' column message, or give a .txt file with a message a line"
            raise DataError([Finding("error", "there is no column with messages", str(source), fix)])
        whose = columns.usual(CONVERSATION, table.columns)
        names = table[whose].tolist() if whose else [None] * len(table)
        texts = table[told].fillna("").astype("str").tolist()
        yield texts, [None if pd.isna(name) else str(name) for name in names]


def _lines(source: Path, rows: int) -> Iterator[tuple[list[str], list[str | None]]]:
    if not source.stat().st_size:
        raise UserError(f"{source} is empty (0 bytes). Write a message a line.")
    try:
        with source.open(encoding="utf-8-sig") as file:
            block: list[str] = []
            for number, line in enumerate(iter(partial(file.readline, LONGEST + 2), ""), 1):
                message = line.rstrip("\r\n")
                if len(message) > LONGEST:
                    fix = f"A message has {LONGEST:,} characters at most: write one a line, or give a table"
                    raise DataError([Finding("error", "a line that is too long", str(source), fix, rows=(number,))])
                if message.strip():
                    block.append(message)
                if len(block) == rows:
                    yield block, [None] * len(block)
                    block = []
            if block:
                yield block, [None] * len(block)
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is no text in UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from None


def rows_of(messages: Sequence[str], names: Sequence[str | None], responses: Sequence[ChatResponse]) -> pa.Table:
    """A row for each message."""
    made: list[Mapping[str, Any]] = [
        {
            "message": message,
            "conversation": name,
            "intent": response.intents[0].intent if response.understood and response.intents else None,
            "probability": response.intents[0].probability if response.intents else None,
            "outside": response.outside,
            "entities": json.dumps([one.model_dump() for one in response.entities], ensure_ascii=False),
            "reply": response.reply,
            "events": json.dumps(response.events, ensure_ascii=False),
            "articles": list(dict.fromkeys(source.article for source in response.sources)),
        }
        for message, name, response in zip(messages, names, responses, strict=True)
    ]
    return pa.Table.from_pandas(pd.DataFrame(made, columns=SCHEMA.names), schema=SCHEMA, preserve_index=False)
