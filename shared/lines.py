"""The lines of stdin, a pipe or a file, as they come: nothing waits for more than there is, and Ctrl-C ends the wait."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from shared.errors import UserError

AHEAD = 8  # lines read at once, were they as long as the last ones: what a line may have to wait for
CHUNK = 1 << 10, 1 << 8, 1 << 16  # bytes read at first, at least, at most
PROBE = 100  # lines, one of which must be JSON if the file is of JSON lines
LINE_LIMIT = 1 << 20  # bytes; of a longer line only this and one more byte are kept
POLL = 0.05  # seconds between looks at a followed file
HEAD = 4096  # bytes at a file's start by which it is known again
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows has text files


class Line(NamedTuple):
    """A line without its end, the offset after it, and its number from 1 (0 in a pipe, which can begin anywhere)."""

    text: bytes
    end: int
    number: int


class Place(NamedTuple):
    """A place in a file: its path, the offset in bytes, the checksum of its first `HEAD` bytes (at most to there), and the
    number of lines that ended before it."""

    path: str
    offset: int
    head: int
    lines: int


class Lines:
    """Reads a file or named pipe, or stdin (`path` is None)."""

    def __init__(self, path: Path | None, follow: bool, interrupt: Interrupt, say: Callable[[str], None]) -> None:
        self.path = path
        self.follow = follow
        self.interrupt = interrupt
        self.say = say
        self.fd = sys.stdin.fileno() if path is None else os.open(path, _READ)
        self.name = str(path.absolute()) if path and path.is_file() else ""  # where places can be kept: not in pipes
        self.size = CHUNK[0]
        self._start()

    def _start(self, offset: int = 0, head: bytes = b"", ended: int = 0) -> None:
        self.offset = offset
        self.head = head
        self.ended = ended  # lines before the offset
        self.rest = b""  # the line that has begun
        self.cut = 0  # bytes of it that are beyond the limit and not kept

    def close(self) -> None:
        if self.path is not None:
            os.close(self.fd)

    def place(self, after: Line) -> Place | None:
        """The place after a line of the newest chunk."""
        if not self.name:
            return None
        unended = after.end > self.offset
        return Place(self.name, after.end, zlib.crc32(self.head[: after.end]), after.number - unended)

    def go_to(self, place: Place | None) -> None:
        """Go on where an earlier session was in this file, if it still is the same."""
        if place is None or place.path != self.name:
            return
        head = os.read(self.fd, min(place.offset, HEAD))
        if zlib.crc32(head) == place.head and os.fstat(self.fd).st_size >= place.offset:
            os.lseek(self.fd, place.offset, os.SEEK_SET)
            self._start(place.offset, head, place.lines)
        else:
            self.say(f"{self.path} is not the file it was: reading it from its start. Records already decided stay as they are.")
            os.lseek(self.fd, 0, os.SEEK_SET)

    def chunks(self) -> Iterator[list[Line]]:
        """What is there, at most about `AHEAD` lines, until the end or Ctrl-C.

        A last line without its newline counts, unless it begins a JSON object and does not end it. Its writer was stopped
        then, or is not done: it is left to be read when it is whole.
        """
        while chunk := self.interrupt.during(self._read):
            if len(self.head) < HEAD:
                self.head += chunk[: HEAD - len(self.head)]
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            placed, before = [], self.offset
            for line in lines:
                self.offset += len(line) + self.cut + 1
                self.cut = 0
                self.ended += 1
                placed.append(Line(line, self.offset, self.ended if self.name else 0))
            wanted = AHEAD * (self.offset - before) // len(placed) if placed else 2 * self.size
            self.size = min(max(wanted, CHUNK[1]), CHUNK[2])
            if len(self.rest) > LINE_LIMIT + 1:
                self.cut += len(self.rest) - LINE_LIMIT - 1
                self.rest = self.rest[: LINE_LIMIT + 1]
            if placed:
                yield placed
        if not self.rest.strip() or self.interrupt.asked:
            return
        if self.rest.lstrip().startswith(b"{") and not _whole(self.rest):
            self.say(f"The last line is not whole and was left unread: {self.rest[:60].decode(errors='replace')} …")
        else:
            yield [Line(self.rest, self.offset + len(self.rest), self.ended + 1 if self.name else 0)]

    def _read(self) -> bytes:
        """The next bytes: at once if there are any, else when they come; none at the end."""
        while True:
            replaced = self.follow and self.name and self._replaced()  # looked at first: what the old one still has is read
            chunk = os.read(self.fd, self.size)
            if chunk or not self.follow:
                return chunk
            if replaced:
                self.say(f"{self.path} was replaced or truncated: reading it from its start.")
                fresh = os.open(self.name, _READ)
                os.dup2(fresh, self.fd)
                os.close(fresh)
                self._start()
            else:
                time.sleep(POLL)

    def _replaced(self) -> bool:
        try:
            now = Path(self.name).stat()
        except FileNotFoundError:
            return False
        return now.st_ino != os.fstat(self.fd).st_ino or now.st_size < os.lseek(self.fd, 0, os.SEEK_CUR)


class Interrupt:
    """Ctrl-C ends the wait for input; what has been read is decided first. A second one ends at once, which loses nothing.

    With `pipes`, the process ends silently, as others do, when whoever reads its stdout has gone.
    """

    def __init__(self, pipes: bool) -> None:
        self.asked = False
        self.waiting = False
        self.handlers: dict[int, Any] = {signal.SIGINT: self._handle}
        if pipes and hasattr(signal, "SIGPIPE"):
            self.handlers[signal.SIGPIPE] = signal.SIG_DFL

    def __enter__(self) -> Interrupt:
        self.before = {number: signal.signal(number, handler) for number, handler in self.handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self.waiting or again:
            raise KeyboardInterrupt

    def during(self, read: Callable[[], bytes]) -> bytes:
        """What `read` gives; nothing after Ctrl-C."""
        self.waiting = True
        try:
            return b"" if self.asked else read()
        except KeyboardInterrupt:
            return b""
        finally:
            self.waiting = False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def parse(text: str) -> dict[str, Any]:
    """One JSON object, strictly.

    Raises:
        ValueError, RecursionError: it is none.
    """
    record = _DECODER.decode(text)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def check(path: Path) -> None:
    """Refuse a file that is something else: it has lines, and none of its first ones is a JSON object.

    Raises:
        UserError
    """
    first = ""
    with closing(Lines(path, False, Interrupt(pipes=False), lambda message: None)) as lines:
        texts = (line.text for chunk in lines.chunks() for line in chunk if line.text.strip())
        for text in islice(texts, PROBE):
            try:
                parse(text.decode("utf-8-sig"))
                return
            except (ValueError, RecursionError) as error:
                first = first or f"{error}: {text[:60].decode(errors='replace').strip()}"
    if first:
        raise UserError(
            f"{path} does not hold JSON lines: of its first {PROBE} lines, none is a JSON object. The first: {first}. "
            'Expected is one object a line, such as {"transaction": "T1", "amount": 12.5}, and nothing between the lines.'
        )


def _whole(line: bytes) -> bool:
    try:
        parse(line.decode())
    except (ValueError, RecursionError):
        return False
    return True
