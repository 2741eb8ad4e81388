"""A use case without a model: it doubles numbers, so that the server can be tested in no time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from pydantic import Field

from shared.config import RunConfig
from shared.errors import UserError
from shared.serving.service import Services
from shared.serving.settings import ServeSettings
from shared.usecase import Progress, Record, UseCase


class Ask(Record):
    number: float = Field(le=1000, description="what to double")
    note: str = Field("", max_length=20)
    file: str = Field("", description="any file in base64", json_schema_extra={"contentEncoding": "base64"})


class Answer(Record):
    doubled: float
    length: int = 0


class Doubler:
    """Refuses 13, has a defect with 666, and computes only while `go` is set. `seen`: the batches; `begun`: one is there."""

    Request, Response = Ask, Answer

    def __init__(self) -> None:
        self.seen: list[list[float]] = []
        self.go = Event()
        self.go.set()
        self.begun = Event()

    def predict(self, requests: Sequence[Ask]) -> list[Answer]:
        self.begun.set()
        self.go.wait(10)
        self.seen.append([request.number for request in requests])
        for place, request in enumerate(requests, 1):
            if request.number == 13:
                raise UserError(f"The input does not fit:\n  - record {place}, number: 13 brings bad luck.")
            if request.number == 666:
                raise RuntimeError("a secret of the server")
        return [Answer(doubled=2 * request.number, length=len(request.file)) for request in requests]

    def process(self, source: Any, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        raise NotImplementedError

    def examples(self) -> list[Ask]:
        return [Ask(number=1), Ask(number=2, note="two")]


def usecase(load: Callable[[Path], Doubler], name: str = "doubling") -> UseCase:
    def never(*_: Any) -> Any:
        raise NotImplementedError

    return UseCase(
        name=name, title="Doubling", summary="Twice as much.", config=RunConfig, configs=Path(), train=never, load=load,
        request=Ask, response=Answer, evaluate=never, check=never,
    )  # fmt: skip


def served(predictor: Doubler, **settings: Any) -> Services:
    """`doubling` with a model, `waiting` without."""
    finders = {"doubling": lambda: usecase(lambda _: predictor), "waiting": lambda: usecase(lambda _: predictor, "waiting")}
    services = Services(finders, {"doubling": Path("run")}, ServeSettings(**settings))
    services.start().join()
    predictor.seen.clear()
    return services


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen; a test that waits ten seconds has failed."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
