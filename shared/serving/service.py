"""The use cases as they are served: each one's state, its model, and its way to predictions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal

from pydantic import BaseModel

from shared.errors import UserError
from shared.serving.batching import Answers, Batcher, Group
from shared.serving.settings import ServeSettings
from shared.usecase import Predictor, UseCase

State = Literal["none", "loading", "ready", "failed"]
LOG = logging.getLogger("usecases.serving")


class NotReadyError(Exception):
    """There is no model to ask yet; the message says why and what to do."""


class Service:
    """One use case.

    Attributes:
        folder: the run that is served, or is to be; None: there is none.
        state: "none": no run; "loading"; "ready"; "failed": `reason` says why. A ready one stays ready while another run loads.
        predictor: the model, once ready.
        examples: a few valid requests, once ready.
    """

    def __init__(self, name: str, find: Callable[[], UseCase], folder: Path | None, settings: ServeSettings) -> None:
        """`find` gives the use case, perhaps by importing it, which takes seconds."""
        self.name, self.folder, self.settings = name, folder, settings
        self.state: State = "loading" if folder else "none"
        self.reason = ""
        self.predictor: Predictor | None = None
        self.examples: list[Any] = []
        self.batcher = Batcher(self._predict, settings, name)
        self._find = find
        self._loading = Lock()

    @cached_property
    def usecase(self) -> UseCase:
        """The use case; blocks while it is imported, so ask for it in a thread."""
        return self._find()

    def load(self, folder: Path | None = None) -> None:
        """Load a run (default: `self.folder`) and serve it from then on. Blocks for seconds: call it in a thread.

        What is served until then goes on being served, also if this fails.

        Raises:
            UserError: the run cannot be loaded; the state is "failed" with this reason, unless another run is being served.
        """
        with self._loading:
            folder = folder or self.folder
            if folder is None:
                raise UserError(f"There is no run of {self.name} to load.")
            if self.predictor is None:
                self.state, self.reason, self.folder = "loading", "", folder
            try:
                predictor = self.usecase.load(folder / "artifact")
                if self.settings.keep and hasattr(predictor, "keeping_in"):
                    predictor = predictor.keeping_in(self.settings.keep)
                examples = predictor.examples()
                predictor.predict(examples[:1])  # what is made at the first call is made now
            except Exception as error:
                known = isinstance(error, UserError)
                if not known:
                    LOG.exception("%s: %s cannot be loaded", self.name, folder)
                reason = str(error) if known else f"{folder} cannot be loaded; the server's log says why."
                if self.predictor is None:
                    self.state, self.reason = "failed", reason
                raise UserError(reason) from error
            self.predictor, self.examples, self.folder = predictor, examples, folder
            self.state, self.reason = "ready", ""

    @property
    def models(self) -> tuple[type[BaseModel], type[BaseModel]]:
        """Of a request and a response: the loaded predictor's, which may suit its data, else the use case's."""
        if self.predictor is not None:
            return self.predictor.Request, self.predictor.Response
        return self.usecase.request, self.usecase.response

    async def predict(self, records: Sequence[Any]) -> list[Any]:
        """One response for each record, computed together with what others ask for at the same time.

        Raises:
            NotReadyError, OverloadedError, ClosedError: not accepted.
            TimeoutError: not answered in time.
            UserError: a record cannot be answered.
        """
        self.check()
        answer = asyncio.wrap_future(self.batcher.submit(records))
        return await asyncio.wait_for(answer, self.settings.timeout_s)

    def predict_now(self, records: Sequence[Any]) -> list[Any]:
        """The same for a thread, which waits."""
        self.check()
        future = self.batcher.submit(records)
        try:
            return future.result(self.settings.timeout_s)
        finally:
            future.cancel()  # where it did not come in time

    def check(self) -> None:
        """Is there a model to ask?

        Raises:
            NotReadyError: not yet.
        """
        if self.predictor is None:
            how = {
                "none": f"There is no model of {self.name} yet. Train one: usecases run {self.name} --quick",
                "failed": f"The model of {self.name} could not be loaded: {self.reason}",
            }
            raise NotReadyError(how.get(self.state, f"The model of {self.name} is being loaded. Try again in a few seconds."))

    def _predict(self, groups: list[Group]) -> Answers:
        """Responses of each request's records; see `Predictor.predict_groups`."""
        predictor = self.predictor
        assert predictor is not None  # nothing is queued before
        if hasattr(predictor, "predict_groups"):
            answers: Answers = predictor.predict_groups(groups)
            return answers
        responses = iter(predictor.predict([record for group in groups for record in group]))
        return [[next(responses) for _ in group] for group in groups]


class Services(Mapping[str, Service]):
    """All of them by name. `start` loads the models one after another in a thread; `close` finishes what was accepted.

    `calls` is the number of requests to the API that are being answered.
    """

    def __init__(
        self, usecases: Mapping[str, Callable[[], UseCase]], runs: Mapping[str, Path], settings: ServeSettings | None = None
    ) -> None:
        """`runs`: folders of finished runs by use case; one without is there, but says that it has no model."""
        self.settings = settings or ServeSettings()
        self.calls = 0
        self._services = {name: Service(name, find, runs.get(name), self.settings) for name, find in usecases.items()}

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    def start(self) -> Thread:
        """Import the use cases and load their runs, in a thread, which is returned."""
        thread = Thread(target=self._load, name="load", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Take nothing new, and return when what was accepted is done."""
        for service in self._services.values():
            service.batcher.close()

    def _load(self) -> None:
        for service in self._services.values():
            service.usecase  # noqa: B018 (imports it: all before the first model, so that the front page is there early)
        for service in self._services.values():
            try:
                if service.folder:
                    service.load()
            except UserError as error:
                LOG.error("%s: %s", service.name, error)
