from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future
from pathlib import Path
from threading import Thread

import pytest

from shared.errors import UserError
from shared.serving.batching import ClosedError, OverloadedError
from shared.serving.service import NotReadyError, Services
from shared.serving.settings import ServeSettings
from tests.shared.serving.standin import Answer, Ask, Doubler, served, until, usecase


def test_what_arrives_while_the_model_computes_is_the_next_batch() -> None:
    doubler = Doubler()
    batcher = served(doubler, batch=4)["doubling"].batcher
    doubler.go.clear()
    first = batcher.submit([Ask(number=0)])
    until(lambda: batcher.waiting == 0)
    rest = [batcher.submit([Ask(number=number), Ask(number=-number)]) for number in (1, 2, 3)]
    doubler.go.set()
    assert first.result(10) == [Answer(doubled=0)]
    assert [future.result(10) for future in rest] == [[Answer(doubled=2 * n), Answer(doubled=-2 * n)] for n in (1, 2, 3)]
    assert doubler.seen == [[0], [1, -1, 2, -2], [3, -3]]  # at most four together, and no request is torn apart


def test_one_bad_record_spoils_no_other_clients_answer() -> None:
    doubler = Doubler()
    batcher = served(doubler)["doubling"].batcher
    doubler.go.clear()
    first = batcher.submit([Ask(number=0)])
    until(lambda: batcher.waiting == 0)
    good, bad, broken, last = (batcher.submit([Ask(number=number)]) for number in (1, 13, 666, 4))
    doubler.go.set()
    assert [one.result(10)[0].doubled for one in (first, good, last)] == [0, 2, 8]
    with pytest.raises(UserError, match="record 1, number"):  # of its own request, not of the batch
        bad.result(10)
    with pytest.raises(RuntimeError):
        broken.result(10)


def test_a_full_queue_refuses_at_once_and_a_request_that_gave_up_is_not_computed() -> None:
    doubler = Doubler()
    service = served(doubler, queue=2, timeout_s=0.05)["doubling"]
    doubler.go.clear()
    first = service.batcher.submit([Ask(number=0)])
    until(lambda: service.batcher.waiting == 0)
    with pytest.raises(TimeoutError):
        service.predict_now([Ask(number=1)])
    with pytest.raises(TimeoutError):
        asyncio.run(service.predict([Ask(number=2)]))
    with pytest.raises(OverloadedError) as refused:
        service.predict_now([Ask(number=3)])
    assert refused.value.retry_after >= 1
    doubler.go.set()
    first.result(10)
    service.batcher.close()
    assert doubler.seen == [[0]]


def test_closing_finishes_what_was_accepted() -> None:
    doubler = Doubler()
    services = served(doubler, batch=1)
    futures = [services["doubling"].batcher.submit([Ask(number=number)]) for number in range(5)]
    services.close()
    assert [future.result(0)[0].doubled for future in futures] == [0, 2, 4, 6, 8]
    with pytest.raises(ClosedError):
        services["doubling"].predict_now([Ask(number=1)])


def test_requests_whose_records_belong_together_stay_apart_from_others() -> None:
    class Counting(Doubler):
        def predict_groups(self, groups: list[list[Ask]]) -> list[list[Answer]]:
            return [[Answer(doubled=place) for place, _ in enumerate(group)] for group in groups]

    doubler = Counting()
    batcher = served(doubler)["doubling"].batcher
    futures = [batcher.submit([Ask(number=1)] * count) for count in (1, 3, 2)]
    assert [[one.doubled for one in future.result(10)] for future in futures] == [[0], [0, 1, 2], [0, 1]]


def test_an_answer_that_waits_for_a_service_holds_up_nobody_and_is_waited_for_at_the_end() -> None:
    class Slow(Doubler):
        def __init__(self) -> None:
            super().__init__()
            self.late: list[Future[list[Answer]]] = []

        def predict_groups(self, groups: list[list[Ask]]) -> list[list[Answer] | Future[list[Answer]]]:
            self.late += [Future() for group in groups if group[0].number > 9]
            return [self.late[-1] if group[0].number > 9 else self.predict(group) for group in groups]

    doubler = Slow()
    batcher = served(doubler, queue=2, batch=1)["doubling"].batcher
    slow = batcher.submit([Ask(number=10)])
    until(lambda: batcher.late == 1)
    assert batcher.submit([Ask(number=1)]).result(10) == [Answer(doubled=2)]
    slower = batcher.submit([Ask(number=11)])
    until(lambda: batcher.late == 2)
    with pytest.raises(OverloadedError):  # it waits as well as what is in the queue
        batcher.submit([Ask(number=2)])
    closing = Thread(target=batcher.close)
    closing.start()
    doubler.late[1].set_exception(UserError("the service is gone"))
    with pytest.raises(UserError, match="gone"):
        slower.result(10)
    assert closing.is_alive()
    doubler.late[0].cancel()
    with pytest.raises(CancelledError):
        slow.result(10)
    closing.join(10)
    assert not closing.is_alive()


def test_a_model_that_cannot_be_loaded_says_why_and_the_one_that_is_served_stays() -> None:
    def load(folder: Path) -> Doubler:
        if "bad" in str(folder):
            raise UserError("its weights were changed")
        return Doubler()

    services = Services({"doubling": lambda: usecase(load)}, {"doubling": Path("bad")}, ServeSettings())
    services.start().join()
    service = services["doubling"]
    assert (service.state, service.reason) == ("failed", "its weights were changed")
    with pytest.raises(NotReadyError, match="weights were changed"):
        service.predict_now([Ask(number=1)])
    service.load(Path("good"))
    with pytest.raises(UserError):
        service.load(Path("bad"))
    assert (service.state, service.folder) == ("ready", Path("good"))
    assert service.predict_now([Ask(number=1)])[0].doubled == 2
