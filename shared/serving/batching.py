"""Requests of several clients computed together, in one thread a model."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

from shared.serving.settings import ServeSettings

Group = Sequence[Any]  # the records of one request
Answers = list[list[Any] | Exception | Future[list[Any]]]
SMOOTHING = 0.2  # weight of the newest batch in the mean time a record


class OverloadedError(Exception):
    """The queue is full; it should have room again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many records are waiting; try again after {retry_after} s")
        self.retry_after = retry_after


class ClosedError(Exception):
    """The server is about to stop and takes nothing new."""


@dataclass(frozen=True)
class _Job:
    records: Group
    future: Future[list[Any]]


class Batcher:
    """Computes requests in the order of their arrival, several together where several wait.

    Nobody waits where the model is idle: what comes while it computes is the next batch. Only where the last batch held
    several requests, whose clients are likely to call again at once, does it wait up to `wait_ms` for as many.

    Attributes:
        waiting: records in the queue.
        late: records whose answers wait for somebody else, such as a company's service.
        batches, computed: how many batches and records were computed so far.
    """

    def __init__(self, predict: Callable[[list[Group]], Answers], settings: ServeSettings, name: str = "model") -> None:
        """`predict`: the responses to each group of records, which must not depend on the other groups, or an exception.

        Or a future: what takes long for a reason other than computing holds up nobody else.
        """
        self._predict, self._settings = predict, settings
        self._jobs: deque[_Job] = deque()
        self._changed = Condition()
        self._closed = False
        self._expected = 1  # requests that the next batch may hold
        self._seconds = 0.0  # a record
        self.waiting = self.late = self.batches = self.computed = 0
        self._thread = Thread(target=self._run, name=f"compute-{name}", daemon=True)
        self._thread.start()

    def submit(self, records: Group) -> Future[list[Any]]:
        """Queue one request's records; cancelling the future before its turn takes them out.

        Raises:
            OverloadedError: too many records wait already.
            ClosedError: `close` was called.
        """
        job = _Job(records, Future())
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping")
            if (waiting := self.waiting + self.late) and waiting + len(records) > self._settings.queue:
                raise OverloadedError(max(1, math.ceil(self.waiting * self._seconds)))
            self._jobs.append(job)
            self.waiting += len(records)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Take nothing new, and return when what was accepted is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self.late)

    def _run(self) -> None:
        while jobs := self._next():
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            self._expected = len(running)
            if running:
                started = time.monotonic()
                self._compute(running)
                count = sum(len(job.records) for job in running)
                self._seconds += SMOOTHING * ((time.monotonic() - started) / max(1, count) - self._seconds)
                self.batches += 1
                self.computed += count

    def _next(self) -> list[_Job]:
        """The next batch, which waits for the first request; none: closed."""
        most = self._settings.batch
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._expected > 1 and most > 1:
                self._changed.wait_for(
                    lambda: len(self._jobs) >= self._expected or self.waiting >= most or self._closed,
                    self._settings.wait_ms / 1000,
                )
            jobs: list[_Job] = []
            count = 0
            while self._jobs and (not jobs or count + len(self._jobs[0].records) <= most):
                jobs.append(self._jobs.popleft())
                count += len(jobs[-1].records)
            self.waiting -= count
        return jobs

    def _compute(self, jobs: list[_Job]) -> None:
        """Answer the jobs; where that fails, each by itself, so that one that cannot be answered spoils no other's."""
        try:
            answers = self._predict([job.records for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._compute([job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Future):
                self._answer_later(job, answer)
            elif isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)

    def _answer_later(self, job: _Job, answer: Future[list[Any]]) -> None:
        def settle(answer: Future[list[Any]]) -> None:
            try:
                job.future.set_result(answer.result())
            except BaseException as error:  # whatever it is, its client must hear of it
                job.future.set_exception(error)
            with self._changed:
                self.late -= len(job.records)
                self._changed.notify_all()

        with self._changed:
            self.late += len(job.records)
        answer.add_done_callback(settle)
