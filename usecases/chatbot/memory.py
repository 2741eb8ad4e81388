"""Conversations, kept in SQLite: a log without personal data, and apart from it the state from which a conversation goes on.

A turn is one transaction, on the disk before `append` returns (write-ahead log, synchronous=FULL): a crash loses no such turn.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import UserError
from usecases.chatbot.content import PATTERNS, Coded
from usecases.chatbot.masking import mask
from usecases.chatbot.transactions import transaction

_VERSION = 2
_PATIENCE_S = 30.0  # with others who write
CLAIM_S = 1200.0
"""A turn that is not finished after so long may be somebody else's: the process that claimed it may have died.

Longer than any action: an `HttpAction` has 6 tries of 60 s to connect, 60 s until it is answered and 60 s for the last piece,
with 5 s between them: 1105 s.
"""
_SCHEMA = """
CREATE TABLE turns (
    conversation TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, message TEXT NOT NULL, reply TEXT NOT NULL,
    events TEXT NOT NULL, PRIMARY KEY (conversation, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_at ON turns (at);
CREATE TABLE states (conversation TEXT PRIMARY KEY, at REAL NOT NULL, state TEXT NOT NULL) STRICT;
CREATE INDEX states_at ON states (at);
CREATE TABLE claims (conversation TEXT PRIMARY KEY, at REAL NOT NULL) STRICT;
"""


def default_file() -> Path:
    """In the user's data folder (XDG Base Directory Specification): a run's folder is copied and handed on."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return home / "usecases" / "chatbot" / "conversations.sqlite"


class Overtaken(Exception):  # noqa: N818 - it says what has happened
    """Somebody else answers this turn, or has done so: load the conversation again."""


class Turn(NamedTuple):
    number: int  # from 1
    at: float  # seconds since 1970, UTC
    message: str  # masked, as are the reply and the texts of the events
    reply: str
    events: list[Any]


class Saved(NamedTuple):
    """Where a conversation stands after `number` turns. `state` is None if it is new, has ended or was left for too long."""

    number: int
    state: dict[str, Any] | None


class Listed(NamedTuple):
    conversation: str
    turns: int
    first: float  # seconds since 1970, UTC
    last: float


class Memory:
    """The conversations in one file. Several threads and several processes may use it at once."""

    def __init__(
        self,
        path: Path,
        keep_state: timedelta = timedelta(days=1),
        patterns: Mapping[Coded, str] = PATTERNS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            path: of the file, which is made if there is none; nobody but its owner may read it.
            keep_state: how long one may be silent and go on. States hold what the customer gave, unmasked.
            patterns: `Desk.patterns`, for masking.

        Raises:
            UserError: the file is something else.
        """
        self._keep_s = keep_state.total_seconds()
        self._patterns = patterns
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
            self._open(path)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{path} cannot be used to keep conversations ({error}). Give another file.") from None

    def _open(self, path: Path) -> None:
        """Raises:
        UserError: another version has written the file.
        """
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # for this statement SQLite does not wait by itself
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        with self._transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise UserError(f"{path} is a database of something else. Give another file.")
            if version == 0:
                for statement in _SCHEMA.split(";"):  # `executescript` would commit
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise UserError(f"{path} was written by another version ({version}, not {_VERSION}). Give another file.")
            erased = self._erase_left(db)
        if erased:
            self._forget()

    def _erase_left(self, db: sqlite3.Connection) -> int:
        """Erase the states that were left for too long."""
        return db.execute("DELETE FROM states WHERE at < ?", (self._clock() - self._keep_s,)).rowcount

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._db, self._lock)

    @contextmanager
    def claimed(self, conversation: str) -> Iterator[Saved]:
        """Where a conversation stands, for its next turn, which is nobody else's until it was appended or has failed.

        Raises:
            Overtaken: somebody else is at it.
        """
        now = self._clock()
        take = "INSERT INTO claims VALUES (?, ?) ON CONFLICT (conversation) DO UPDATE SET at = excluded.at WHERE at < ?"
        with self._transaction() as db:
            if not db.execute(take, (conversation, now, now - CLAIM_S)).rowcount:
                raise Overtaken(f"the next turn of conversation '{conversation}'")
            saved = self._saved(db, conversation)
        try:
            yield saved
        except BaseException:
            with self._transaction() as db:
                db.execute("DELETE FROM claims WHERE conversation = ? AND at = ?", (conversation, now))
            raise

    def append(
        self,
        conversation: str,
        number: int,
        message: str,
        reply: str,
        events: Sequence[Any] = (),
        state: Mapping[str, Any] | None = None,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a finished turn.

        Args:
            number: of the turn: one more than `load` told.
            message: the customer's, masked here, as are `reply` and every text in `events` (which are JSON).
            state: what the next turn goes on from (JSON), unmasked; None if the conversation has ended: then it is erased.
            known: what else is masked: `masking.private`.

        Raises:
            Overtaken: there is such a turn already.
        """
        now = self._clock()
        masked = self._masked([message, reply, list(events)], known)
        told = (*masked[:2], json.dumps(masked[2], allow_nan=False))
        kept = None if state is None else json.dumps(state, allow_nan=False)
        with self._transaction() as db:
            if number != self._last(db, conversation) + 1:
                raise Overtaken(f"turn {number} of conversation '{conversation}'")
            db.execute("INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?)", (conversation, number, now, *told))
            db.execute("DELETE FROM claims WHERE conversation = ?", (conversation,))
            erased = self._erase_left(db)
            if kept is None:
                erased += db.execute("DELETE FROM states WHERE conversation = ?", (conversation,)).rowcount
            else:
                db.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (conversation, now, kept))
        if erased:
            self._forget()

    def load(self, conversation: str) -> Saved:
        """Where it stands; a new one stands at 0."""
        with self._transaction() as db:
            return self._saved(db, conversation)

    def _saved(self, db: sqlite3.Connection, conversation: str) -> Saved:
        since = self._clock() - self._keep_s
        found = db.execute("SELECT state FROM states WHERE conversation = ? AND at >= ?", (conversation, since)).fetchone()
        return Saved(self._last(db, conversation), json.loads(found["state"]) if found else None)

    def turns(self, conversation: str) -> list[Turn]:
        """The log of a conversation, in order."""
        query = "SELECT number, at, message, reply, events FROM turns WHERE conversation = ? ORDER BY number"
        with self._lock:
            rows = self._db.execute(query, (conversation,)).fetchall()
        return [Turn(**dict(row) | {"events": json.loads(row["events"])}) for row in rows]

    def conversations(self) -> list[Listed]:
        """All of them, that with the newest turn first."""
        query = "SELECT conversation, count(*), min(at), max(at) FROM turns GROUP BY conversation ORDER BY max(at) DESC"
        with self._lock:
            return [Listed(*row) for row in self._db.execute(query)]

    def delete(self, conversation: str) -> int:
        """Erase one, as the person concerned may ask for (GDPR, article 17); tells how many turns it had."""
        with self._transaction() as db:
            for table in ("states", "claims"):
                db.execute(f"DELETE FROM {table} WHERE conversation = ?", (conversation,))
            gone = db.execute("DELETE FROM turns WHERE conversation = ?", (conversation,)).rowcount
        self._forget()
        return gone

    def delete_older(self, days: float) -> int:
        """Erase the turns that are older, and states left for too long; tells how many turns that were.

        The numbers of a conversation that goes on start again where the last remaining turn stands.
        """
        now = self._clock()
        with self._transaction() as db:
            db.execute("DELETE FROM states WHERE at < ?", (now - min(self._keep_s, days * 86_400),))
            db.execute("DELETE FROM claims WHERE at < ?", (now - max(CLAIM_S, days * 86_400),))
            gone = db.execute("DELETE FROM turns WHERE at < ?", (now - days * 86_400,)).rowcount
        self._forget()
        return gone

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _last(self, db: sqlite3.Connection, conversation: str) -> int:
        found = db.execute("SELECT max(number) FROM turns WHERE conversation = ?", (conversation,)).fetchone()
        return int(found[0] or 0)

    def _forget(self) -> None:
        """Empty the write-ahead log, which still holds what was erased. Left for later if others are reading just now."""
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _masked(self, value: Any, known: Mapping[str, str] | None) -> Any:
        if isinstance(value, str):
            return mask(value, self._patterns, known).encode(errors="replace").decode()  # half of a surrogate pair is no text
        if isinstance(value, Mapping):
            return {key: self._masked(part, known) for key, part in value.items()}
        return [self._masked(part, known) for part in value] if isinstance(value, list | tuple) else value
