"""A stream of JSON lines in, exactly one decision line each out, with a state that survives `kill -9` at any point.

Lines are decided in micro-batches: what is there, about `lines.AHEAD` of them. One transaction journals the decisions, the
records and the place in the input; only then are the decision lines written. A restart takes the newest snapshot of the
processor's state, lets it learn the records journaled after that, makes the out file hold exactly the journal's decisions,
and goes on.

What is promised when the process is killed: no decision is lost, doubled or different. At a power loss (the journal is
not fsynced with each batch) the last seconds may be forgotten as a whole: a file is read again from there by itself, and
whoever sends to stdin sends again what came after the last decision line.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.errors import UserError
from shared.files import read_json, sha256, sync
from shared.lines import LINE_LIMIT, Interrupt, Line, Lines, Place, check, parse

if TYPE_CHECKING:
    from shared.usecase import StreamProcessor

BATCH = 16  # short lines can be more than were wanted
SNAPSHOT_EVERY = 100_000  # events
HASHES = "sha256.json"  # of each file of a snapshot
JOURNAL = "journal.sqlite"
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 16000;  -- pages of 4 KB; each fsyncs, and ids are scattered: about a page a record
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, decision TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replay (seq INTEGER PRIMARY KEY, records TEXT NOT NULL);  -- batches since the snapshot
CREATE TABLE IF NOT EXISTS stream (identity TEXT, snapshot INTEGER, path TEXT, offset INTEGER, head INTEGER, lines INTEGER);
COMMIT;
"""


class Entry(NamedTuple):
    """A line as it was understood: its id, its text, and its record, or the decision that says what is wrong with it."""

    id: str
    text: str
    record: dict[str, Any] | None
    fault: Mapping[str, Any] = {}


def run(
    processor: StreamProcessor,
    source: Path | None,
    out: Path | None,
    state: Path,
    *,
    identity: Mapping[str, Any],
    follow: bool = False,
    snapshot_every: int = SNAPSHOT_EVERY,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Decide every line of `source` until its end or Ctrl-C, from where the state in `state` says. Main thread only.

    Args:
        source: a file or named pipe; None is stdin. A file goes on where it was left, or from its start if it is another one.
        out: holds one line for each decision ever made with this state, in order; a record sent again adds nothing to it.
            None is stdout: each line read now is answered, one sent again with the decision it got the first time.
            An invalid line's decision has its `error`, its `text`, and as `line` its number in a file that is not a pipe.
        identity: what decisions depend on besides the records (model, options); another one is refused.
        follow: wait for more at the end of the file; one that was replaced or truncated is read from its start.

    Returns:
        Of this session: records decided, alerts and invalid lines among them, repeated ones besides; records a second while
        there were any; latency from a line's being read, or the beginning of the snapshot that held it up, to its decision's
        being written (ms, within 1.1%; it knows nothing of the time in a pipe before); whether Ctrl-C ended it.

    Raises:
        UserError: the state is in use, of another identity or damaged, `out` is not this stream's, or `source` not JSON lines.
    """
    interrupt = Interrupt(pipes=out is None)
    with ExitStack() as stack:
        lines = stack.enter_context(closing(Lines(source, follow, interrupt, say)))
        if source and lines.name and not follow:
            check(source)
        stack.enter_context(_mended_by_the_user(state))
        journal = stack.enter_context(closing(Journal(state, {"format": 3, **identity})))
        write = stack.enter_context(closing(_OutFile(out, journal, say))).write if out else _answer
        session = _Session(processor, journal, write, answer_all=out is None)
        replayed = journal.restore(processor)
        if journal.seq:
            say(f"Going on after {journal.seq:,} decisions ({replayed:,} records learned again).")
        if out:  # stdout answers every line, so it needs them all
            lines.go_to(journal.place())
        stack.enter_context(interrupt)
        for chunk in lines.chunks():
            session.decide(chunk, lines.place)
            if journal.seq - journal.snapshot >= snapshot_every:
                session.keep()
        if journal.seq > journal.snapshot:
            session.keep()
        return {**session.summary(), "interrupted": interrupt.asked, "out": str(out or "-"), "state": str(state)}


@contextmanager
def _mended_by_the_user(state: Path) -> Iterator[None]:
    """Say what to do when the journal cannot be written or read."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and hasattr(error, "sqlite_errorname"):  # else it is text of no encoding
            raise UserError(f"{state} cannot be written: {error}. Mend that and start again: nothing was lost.") from error
        raise _damaged(state / JOURNAL, str(error)) from error


def _damaged(part: Path, fault: str) -> UserError:
    return UserError(
        f"{part} is damaged ({fault}): what the stream remembers cannot be trusted. Bring back a copy of "
        f"the whole state folder; or begin anew with another --state and --out, from the record after the last decision. The "
        "decisions so far stay in the old out file, but a new state does not know them: a record sent again is decided again."
    )


class Journal:
    """What was decided, what the state's snapshot does not know yet, and the place in the input. One process at a time."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
        self.folder = folder
        self.db = sqlite3.connect(folder / JOURNAL, timeout=0.5, isolation_level=None)
        try:
            self._open(json.dumps(identity, sort_keys=True, default=str))
        except BaseException as error:
            self.db.close()
            if getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY":
                raise UserError(f"Another process is using the state in {folder}. Stop it, or give another --state.") from None
            raise

    def _open(self, mine: str) -> None:
        self.db.executescript(SCHEMA)
        found = self.db.execute("SELECT identity, snapshot FROM stream").fetchone()
        if found is None:
            if (self.folder / "snapshots").exists():
                raise _damaged(self.folder / JOURNAL, "it is empty, yet there are snapshots")
            found = (mine, 0)
            self.db.execute("INSERT INTO stream (identity, snapshot) VALUES (?, ?)", found)
            self.db.execute("PRAGMA wal_checkpoint")  # durable before the first snapshot is
            sync(self.folder)
        if found[0] != mine:
            raise UserError(
                f"The state in {self.folder} was made with another model or other options: {found[0]}, now {mine}. "
                "Go on with those, or give another --out and --state."
            )
        self.snapshot: int = found[1]
        self.seq: int = self.db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]

    def close(self) -> None:
        self.db.close()

    def known(self, ids: Sequence[str]) -> dict[str, str]:
        """The decisions of those ids that have one."""
        marks = ",".join("?" * len(ids))
        return dict(self.db.execute(f"SELECT id, decision FROM events WHERE id IN ({marks})", ids))

    def decisions(self, after: int) -> Iterator[str]:
        return (row[0] for row in self.db.execute("SELECT decision FROM events WHERE seq > ? ORDER BY seq", (after,)))

    def place(self) -> Place | None:
        row = self.db.execute("SELECT path, offset, head, lines FROM stream").fetchone()
        return Place(*row) if row[0] is not None else None

    def add(self, decisions: Mapping[str, str], records: Iterable[str], place: Place | None) -> None:
        """Commit the decisions (by id), the texts of the records that the state learned, and the place after them."""
        first = self.seq + 1
        self.db.execute("BEGIN")
        rows = [(seq, *item) for seq, item in enumerate(decisions.items(), first)]
        self.db.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
        if text := "\n".join(records):
            self.db.execute("INSERT INTO replay VALUES (?, ?)", (first, text))
        if place:
            self.db.execute("UPDATE stream SET path = ?, offset = ?, head = ?, lines = ?", place)
        self.db.execute("COMMIT")
        self.seq += len(rows)

    def keep(self, processor: StreamProcessor) -> None:
        """Snapshot the processor's state; the journal then forgets the records, not the ids and decisions.

        The database says which snapshot counts, so one half written is never read. It says so durably before the old
        one goes.
        """
        folder = self.folder / "snapshots" / str(self.seq)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        processor.snapshot(folder)
        (folder / HASHES).write_text(json.dumps(_hashes(folder)))
        for path in (*folder.rglob("*"), folder, folder.parent, self.folder):
            sync(path)
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM replay")
        self.db.execute("UPDATE stream SET snapshot = ?", (self.seq,))
        self.db.execute("COMMIT")
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.snapshot = self.seq
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)

    def restore(self, processor: StreamProcessor) -> int:
        """Bring the processor to the journal's state; returns the number of records it learned again."""
        if self.snapshot:
            folder = self.folder / "snapshots" / str(self.snapshot)
            if not folder.is_dir():
                raise UserError(f"{folder} is missing, without which the state cannot be restored. Copy the whole state folder.")
            try:
                intact = read_json(folder / HASHES) == _hashes(folder)
            except (OSError, ValueError):
                intact = False
            if not intact:
                raise _damaged(folder, "its files are not those that were written")
            processor.restore(folder)
        replayed = 0
        for (text,) in self.db.execute("SELECT records FROM replay ORDER BY seq"):
            try:
                records = [parse(line) for line in text.split("\n")]
            except ValueError as error:
                raise _damaged(self.folder / JOURNAL, str(error)) from None
            processor.learn(records)
            replayed += len(records)
        return replayed


def _hashes(folder: Path) -> dict[str, str]:
    """Of each file of a snapshot but `HASHES`."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != HASHES)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


class _Session:
    """From lines to journaled and written decisions, with the counts of this session."""

    def __init__(
        self, processor: StreamProcessor, journal: Journal, write: Callable[[Iterable[str]], None], *, answer_all: bool
    ) -> None:
        self.processor = processor
        self.journal = journal
        self.write = write
        self.answer_all = answer_all
        self.counts = {"records": 0, "alerts": 0, "invalid": 0, "repeated": 0}
        self.latencies: Counter[int] = Counter()  # keys are 32 * log2(ms): constant memory
        self.busy = 0.0
        self.pause = 0.0  # seconds that the lines read next were held up by a snapshot

    def keep(self) -> None:
        begun = time.perf_counter()
        self.journal.keep(self.processor)
        self.pause = time.perf_counter() - begun

    def decide(self, lines: Sequence[Line], place: Callable[[Line], Place | None]) -> None:
        """Decide lines that were read just now."""
        read = time.perf_counter() - self.pause
        self.pause = 0.0
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            entries = [self._entry(line) for line in batch if line.text.strip()]
            self._batch(entries, place(batch[-1]))
            self.latencies[round(32 * math.log2((time.perf_counter() - read) * 1000))] += len(entries)
        self.busy += time.perf_counter() - read

    def _entry(self, line: Line) -> Entry:
        raw = line.text
        try:
            if len(raw) > LINE_LIMIT:
                raise ValueError(f"longer than {LINE_LIMIT:,} bytes")
            text = raw.decode().removeprefix("\ufeff")  # some programs put that at a file's start
            record = parse(text)
            key = self.processor.key(record)
            key.encode()  # JSON can hold half a surrogate pair, the journal cannot
            return Entry(key, text, record)
        except (ValueError, RecursionError) as error:
            text = raw[:100].decode(errors="replace")
            number = {"line": line.number} if line.number else {}
            fault = {"error": str(error), **number, "text": text}
            return Entry(f"line:{hashlib.sha256(raw).hexdigest()}", text, None, fault)

    def _batch(self, entries: Sequence[Entry], place: Place | None) -> None:
        known = self.journal.known([entry.id for entry in entries])
        fresh: dict[str, Entry] = {}
        for entry in entries:
            if entry.id not in known:
                fresh.setdefault(entry.id, entry)
        records = [entry.record for entry in fresh.values() if entry.record is not None]
        decided = self.processor.decide(records) if records else []
        if len(decided) != len(records):
            raise RuntimeError(f"{type(self.processor).__name__}.decide made {len(decided)} decisions for {len(records)} records")
        made = iter(decided)
        decisions: dict[str, str] = {}
        for entry in fresh.values():
            decision = entry.fault if entry.record is None else next(made)
            decisions[entry.id] = _encode(decision)
            self.counts["alerts"] += bool(decision.get("alert"))
            self.counts["invalid"] += "error" in decision
        self.journal.add(decisions, [entry.text for entry in fresh.values() if entry.record is not None], place)
        if self.answer_all:
            answers = {**known, **decisions}
            self.write(answers[entry.id] for entry in entries)
        else:
            self.write(decisions.values())
        self.counts["records"] += len(fresh)
        self.counts["repeated"] += len(entries) - len(fresh)

    def summary(self) -> dict[str, Any]:
        return {
            **self.counts,
            "records_per_s": round(self.latencies.total() / self.busy) if self.busy else 0,
            "latency_ms_p50": self._latency(0.5),
            "latency_ms_p99": self._latency(0.99),
            "latency_ms_max": self._latency(1),
        }

    def _latency(self, quantile: float) -> float | None:
        rank = quantile * self.latencies.total()
        for bucket in sorted(self.latencies):
            rank -= self.latencies[bucket]
            if rank <= 0:
                return float(f"{2 ** (bucket / 32):.3g}")
        return None


class _OutFile:
    """The file of decision lines: exactly the journal's, whatever happened between a commit and a write."""

    def __init__(self, path: Path, journal: Journal, say: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.file = path.open("a+b")
        self.file.seek(0)
        count = end = 0
        last = b""  # the last whole line, or a partial first one
        for line in self.file:
            if count == journal.seq or not line.endswith(b"\n"):
                last = last or line
                break
            count, end, last = count + 1, end + len(line), line
        size = path.stat().st_size
        known = next(journal.decisions(max(count - 1, 0)), None)
        if size and (known is None or not f"{known}\n".encode().startswith(last)):
            self.file.close()
            raise UserError(f"{path} holds other lines than the decisions of the state in {journal.folder}. Give another --out.")
        if size > end:
            say(f"Cut {size - end:,} bytes off {path}: they are not a whole decision that the journal knows.")
            self.file.truncate(end)
        if journal.seq > count:
            say(f"{path} lacked {journal.seq - count:,} of the journal's decisions: they are written now.")
        self.write(journal.decisions(count))

    def write(self, decisions: Iterable[str]) -> None:
        try:
            self.file.writelines(f"{decision}\n".encode() for decision in decisions)
            self.file.flush()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}. Mend that and start again.") from None

    def close(self) -> None:
        self.file.close()


def _answer(decisions: Iterable[str]) -> None:
    sys.stdout.writelines(f"{decision}\n" for decision in decisions)
    sys.stdout.flush()
