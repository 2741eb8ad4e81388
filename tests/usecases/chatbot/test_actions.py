from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from usecases.chatbot.actions import LARGEST_ANSWER, HttpAction, HttpActions, LocalActions, PythonAction, functions
from usecases.chatbot.protocols import Outcome

OK = (200, b'{"done": true, "status": "sent"}')


class Service:
    """Answers in turn (status, body); a body of None drops the connection, a number waits so many seconds."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes | float | None]] = []
        self.seen: list[tuple[dict[str, str], Any]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.seen.append((dict(self.headers), body))
                status, answer = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                if answer is None:
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Retry-After", "3")
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # who has waited long enough goes
                    for _ in range(20) if isinstance(answer, float) else ():
                        self.wfile.write(b" ")  # a drop at a time: the socket itself never times out
                        time.sleep(answer)
                    self.wfile.write(answer if isinstance(answer, bytes) else b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/orders"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    service = Service()
    threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield service
    service.server.shutdown()
    service.server.server_close()


def calls(service: Service, waits: list[float] | None = None, **options: Any) -> Callable[[], Outcome]:
    action = HttpAction(url=service.url, **{"timeout_s": 5, "retries": 2, **options})  # type: ignore[arg-type]
    sleep: Callable[[float], None] = (waits if waits is not None else []).append
    actions = HttpActions({"look_up_order": action}, environment={"TOKEN": "t0p"}, sleep=sleep)
    return lambda: actions("look_up_order", {"order_number": "FW-482913"})


def test_slots_are_posted_and_values_come_back(service: Service) -> None:
    service.answers = [OK]
    assert calls(service, headers={"Authorization": "Bearer ${TOKEN}"})() == Outcome(True, {"status": "sent"})
    headers, body = service.seen[0]
    assert body == {"order_number": "FW-482913"}
    assert headers["Authorization"] == "Bearer t0p"


def test_a_key_that_is_given_goes_to_the_service(service: Service) -> None:
    service.answers = [OK]
    actions = HttpActions({"look_up_order": HttpAction(url=service.url)})  # type: ignore[arg-type]
    actions("look_up_order", {}, "the turn's")
    assert service.seen[0][0]["Idempotency-Key"] == "the turn's"


def test_what_was_done_under_a_key_is_not_done_again() -> None:
    begun: list[str] = []
    go_on = threading.Event()

    def cancel(order: str) -> Outcome:
        begun.append(order)
        go_on.wait(10)
        return Outcome(len(begun) > 1, {"number": len(begun)})

    actions = LocalActions({"cancel": cancel})
    go_on.set()
    assert not actions("cancel", {"order": "a"}, "1").done
    go_on.clear()
    with ThreadPoolExecutor(2) as pool:  # a client that was not patient enough
        both = [pool.submit(actions, "cancel", {"order": "a"}, "1") for _ in range(2)]
        go_on.set()
    assert [one.result() for one in both] == [Outcome(True, {"number": 2})] * 2
    assert actions("cancel", {"order": "a"}, "2").values == actions("cancel", {"order": "a"}, "2").values == {"number": 3}
    assert actions("cancel", {"order": "a"}).values == {"number": 4}


@pytest.mark.parametrize("first", [(500, b""), (429, b""), (200, None)])
def test_a_try_that_failed_is_repeated_under_the_same_key(service: Service, first: tuple[int, bytes | None]) -> None:
    service.answers = [first, first, OK]
    waits: list[float] = []
    call = calls(service, waits)
    assert call().done
    assert len(service.seen) == 3
    assert len({headers["Idempotency-Key"] for headers, _ in service.seen}) == 1
    assert all(wait == 3 if first[1] is not None else 0 <= wait <= 0.4 for wait in waits)  # Retry-After is heeded
    call()
    assert service.seen[0][0]["Idempotency-Key"] != service.seen[-1][0]["Idempotency-Key"]


def test_it_ends_after_the_last_retry(service: Service) -> None:
    service.answers = [(503, b"")]
    assert calls(service)() == Outcome(False, {}, "look_up_order: the service answered 503")
    assert len(service.seen) == 3


@pytest.mark.parametrize("status", [400, 404, 302, 307])
def test_refusals_and_redirects_are_not_repeated_or_followed(service: Service, status: int) -> None:
    service.answers = [(status, b"")]
    assert calls(service)() == Outcome(False, {}, f"look_up_order: the service answered {status}")
    assert len(service.seen) == 1


def test_what_was_done_is_done_though_some_of_its_values_cannot_be_said(service: Service) -> None:
    service.answers = [(200, b'{"done": true, "status": {"a": 1}, "note": null, "days": 3}')]
    assert calls(service)() == Outcome(True, {"days": 3})


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[]", "no 'done'"),
        (b'{"done": "yes"}', "no 'done'"),
        (b" " * (LARGEST_ANSWER + 1) + b'{"done": true}', "larger than"),
    ],
)
def test_an_answer_out_of_shape_is_not_done(service: Service, answer: bytes, problem: str) -> None:
    service.answers = [(200, answer)]
    outcome = calls(service)()
    assert not outcome.done
    assert outcome.values == {}
    assert problem in outcome.problem


def test_a_service_that_says_no_says_why(service: Service) -> None:
    service.answers = [(200, b'{"done": false, "problem": "packed already"}')]
    assert calls(service)() == Outcome(False, {}, "packed already")


def test_a_slow_or_missing_service_is_given_up(service: Service) -> None:
    service.answers = [(200, 0.05)]
    assert "timed out" in calls(service, timeout_s=0.1, retries=0)().problem
    unreachable = HttpActions({"a": HttpAction(url="http://127.0.0.1:9/", retries=0)})  # type: ignore[arg-type]
    assert "cannot be reached" in unreachable("a", {}).problem


def test_what_has_no_url_is_done_locally() -> None:
    local = LocalActions({"cancel_order": lambda: Outcome(True, {"by": "hand"})})
    remote = HttpActions({"look_up": HttpAction(url="http://x")}, local)  # type: ignore[arg-type]
    assert remote("cancel_order", {}) == Outcome(True, {"by": "hand"})
    assert not remote("dance", {}).done


COMPANY = """
from __future__ import annotations
from datetime import date
from usecases.chatbot.protocols import Outcome

def cancel(order_number: str, amount: float) -> Outcome:
    if amount > 100:
        raise ZeroDivisionError(order_number)
    return Outcome(True, {"refunded": amount * 2})

def bare(order_number, amount: float) -> Outcome: ...
def silent(order_number: str): ...
def unknown(order_number: Parcel) -> Outcome: ...
async def late(order_number: str) -> Outcome: ...
def forgets(order_number: str) -> Outcome: ...
"""


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ourcompany").mkdir()
    (tmp_path / "ourcompany" / "orders.py").write_text(COMPANY)
    (tmp_path / "ourcompany" / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_companys_own_function_gets_its_slots_as_annotated(company: None, caplog: pytest.LogCaptureFixture) -> None:
    named = {name: PythonAction(function=f"ourcompany.orders:{name}") for name in ("cancel", "forgets")}
    actions = LocalActions(functions(named))
    assert actions("cancel", {"order_number": "FW-1", "amount": "12.5"}) == Outcome(True, {"refunded": 25.0})
    assert not actions("cancel", {"order_number": "FW-1", "amount": "much"}).done
    assert actions("cancel", {"order_number": "FW-1", "amount": 101}) == Outcome(False, {}, "cancel: ZeroDivisionError")
    assert "orders.py" in caplog.text  # for who wrote it
    assert "ZeroDivisionError" in caplog.text
    assert "FW-1" not in caplog.text  # the customer's
    assert not actions("forgets", {"order_number": "FW-1"}).done


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nowhere.at_all:cancel", "no module 'nowhere'. Install"),
        ("ourcompany.nowhere:cancel", "no module 'ourcompany.nowhere'"),
        ("ourcompany.broken:cancel", "ZeroDivisionError"),
        ("ourcompany.orders:cancle", "Did you mean 'cancel'"),
        ("ourcompany.orders:date", "no such function"),
        ("ourcompany.orders:late", "not `async def`"),
        ("ourcompany.orders:bare", "order_number has no annotation"),
        ("ourcompany.orders:unknown", "Parcel"),
        ("ourcompany.orders:silent", "-> Outcome"),
        ("os:system", "no such function"),
    ],
)
def test_a_function_that_cannot_be_used_is_named_with_what_to_do(company: None, function: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        functions({"cancel_order": PythonAction(function=function), "other": PythonAction(function="none:such")})
    assert message in str(error.value)
    assert f"cancel_order: {function}" in str(error.value)
    assert "other: none:such" in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"), [("${SURELY_NOT_SET}", "SURELY_NOT_SET is not set"), ("${TWO_LINES}", "end of a line")]
)
def test_a_header_that_cannot_be_sent_is_named(monkeypatch: pytest.MonkeyPatch, header: str, message: str) -> None:
    monkeypatch.setenv("TWO_LINES", "secret\r\nX: y")
    with pytest.raises(UserError, match=message) as error:
        HttpActions({"a": HttpAction(url="http://x", headers={"K": header})})  # type: ignore[arg-type]
    assert "secret" not in str(error.value)
