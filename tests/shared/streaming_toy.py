"""A processor that keeps a count and a sum for each card, and the program around it that the tests kill."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared import streaming

Record = dict[str, Any]


class Toy:
    """`at` maps a record's id to what happens before it is decided."""

    def __init__(self, at: dict[str, Callable[[], None]] | None = None) -> None:
        self.at = at or {}
        self.cards: dict[str, list[float]] = {}
        self.learned: list[str] = []
        self.restored: str | None = None

    def key(self, record: Record) -> str:
        if "id" not in record:
            raise ValueError("a record needs an id")
        return record["id"]

    def decide(self, records: Sequence[Record]) -> list[Record]:
        return [self._decide(record) for record in records]

    def _decide(self, record: Record) -> Record:
        self.at.get(record["id"], lambda: None)()
        card = self.cards.setdefault(record["card"], [0, 0.0])
        card[0] += 1
        card[1] += record["amount"]
        return {"id": record["id"], "count": card[0], "sum": card[1], "alert": record["amount"] > 95}

    def learn(self, records: Sequence[Record]) -> None:
        self.decide(records)
        self.learned += [record["id"] for record in records]

    def snapshot(self, folder: Path) -> None:
        (folder / "cards.json").write_text(json.dumps(self.cards))

    def restore(self, folder: Path) -> None:
        self.restored = folder.name
        self.cards = json.loads((folder / "cards.json").read_text())


def records(n: int, first: int = 0) -> list[bytes]:
    """Lines with some sent twice and some that are not JSON."""
    rng = random.Random(first)
    made = []
    for i in range(first, first + n):
        made.append(json.dumps({"id": f"t{i}", "card": f"c{rng.randrange(20)}", "amount": rng.random() * 100}).encode() + b"\n")
        if i % 50 == 7:
            made.append(made[rng.randrange(len(made))])
        if i % 90 == 5:
            made.append(f"bad {i}\n".encode())
    return made


def main(source: str, out: str, extra: str = "") -> None:
    """The program that gets killed; `extra` is a fault, `follow`, or the state folder where the decisions go to stdout."""

    def die(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str, at: int, act: Callable[..., Any]) -> None:
        """Do `act` with the arguments of the `at`-th call, in its place."""
        original, calls = getattr(owner, name), []

        def call(*arguments: Any) -> Any:
            calls.append(1)
            return act(*arguments) if len(calls) == at else original(*arguments)

        setattr(owner, name, call)

    def half_a_line(file: Any, decisions: Any) -> None:
        text = "".join(f"{decision}\n" for decision in decisions)
        os.write(file.file.fileno(), text[: len(text) * 2 // 3].encode())
        die()

    add, write, snapshot = streaming.Journal.add, streaming._OutFile.write, Toy.snapshot
    if extra == "before commit":
        before(streaming.Journal, "add", 9, die)
    elif extra == "after commit":
        before(streaming.Journal, "add", 9, lambda *arguments: (add(*arguments), die()))
    elif extra == "half a line":
        before(streaming._OutFile, "write", 9, half_a_line)
    elif extra == "after the write":
        before(streaming._OutFile, "write", 9, lambda *arguments: (write(*arguments), die()))
    elif extra == "half a snapshot":
        before(Toy, "snapshot", 2, lambda toy, folder: ((folder / "cards.json").write_text("{"), die()))
    elif extra == "snapshot not yet known":
        before(Toy, "snapshot", 2, lambda *arguments: (snapshot(*arguments), before(streaming, "sync", 4, die)))
    state = Path(extra if out == "-" else f"{out}.state")
    options: Record = {"identity": {}, "snapshot_every": 200, "follow": extra == "follow"}
    summary = streaming.run(Toy(), None if source == "-" else Path(source), None if out == "-" else Path(out), state, **options)
    print(summary, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
