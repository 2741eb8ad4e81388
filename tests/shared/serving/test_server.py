"""The server as a process, and all that its description allows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from shared.errors import UserError
from shared.serving import load
from shared.serving.api import make_app
from shared.serving.protocol import Protocol
from shared.serving.settings import KEY, ServeSettings, read_key
from tests.shared.serving.standin import Doubler, served, until
from usecases import serve

SERVICES = served(Doubler())
SERVICES.close = lambda: None  # type: ignore[method-assign]  # the client starts and ends the app with every call
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", make_app(SERVICES))


@SCHEMA.include(path_regex="doubling|usecases|healthz|readyz|metrics").parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_nothing_that_the_description_allows_or_forbids_breaks_the_server(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=[not_a_server_error])


@pytest.fixture
def address() -> Iterator[str]:
    """Of a server in a thread."""
    listener = serve._listen(ServeSettings(port=0))
    server = uvicorn.Server(uvicorn.Config(make_app(served(Doubler())), http=Protocol, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_load_test_counts_answers_and_times_them(address: str) -> None:
    url = f"{address}/v1/doubling/predict"
    told = asyncio.run(load.load(url, load.examples(url, ""), clients=4, seconds=2))
    assert set(told["statuses"]) == {200}
    assert told["rps"] * 2 == pytest.approx(told["statuses"][200])
    assert told["accepted_ms"]["p50"] <= told["accepted_ms"]["p99"] <= told["accepted_ms"]["max"]
    refused = asyncio.run(load.load(url, [b'{"number": 13}'], clients=2, seconds=0.2))
    assert set(refused["statuses"]) == {422}


def test_a_head_that_is_too_large_or_does_not_come_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(address)
    for head in (b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 3_000_000, b"GET /" + b"a" * 3_000_000):
        with socket.create_connection((place.hostname, place.port), timeout=20) as client:
            said = b""
            with contextlib.suppress(ConnectionError):  # the server leaves while it is still being sent
                client.sendall(head)
                said = client.recv(12)
            assert said in (b"HTTP/1.1 431", b"")  # waiting for the rest of it would end in a time-out
    monkeypatch.setattr(Protocol, "seconds", 0.2)
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"):
        with socket.create_connection((place.hostname, place.port), timeout=20) as client:
            client.sendall(begun)
            assert client.recv(1) == b""
    with httpx.Client(base_url=address) as client:  # one connection, whose bodies are no heads
        for _ in range(3):
            content = '{"number": 1' + 300_000 * " " + "}"
            assert client.post("/v1/doubling/predict", content=content, headers={"content-type": "application/json"}).is_success
    assert urllib.request.urlopen(f"{address}/healthz").status == 200


def test_serve_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-m", "usecases", "serve", "--port", "0", "batch=1"], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    with urllib.request.urlopen(f"{address}/readyz") as answer:
        assert set(json.load(answer)["usecases"].values()) == {"none"}
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert json.loads(log.splitlines()[0])["route"] == "/readyz"


def test_what_cannot_be_served_is_told_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve._listen(ServeSettings(port=0)) as taken, pytest.raises(UserError, match="Cannot listen"):
        assert taken.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's algorithm on: 40 ms an answer
        taken.listen()
        serve._listen(ServeSettings(port=taken.getsockname()[1]))
    with pytest.raises(UserError, match=r"there is no 'bach'\. Did you mean 'batch'"):
        serve.settings_of({"bach": 3}, None)
    with pytest.raises(UserError, match="seen by everybody"):
        serve.settings_of({"api_key": "0123456789abcdef"}, None)
    key = tmp_path / "key"
    with pytest.raises(UserError, match="cannot be read"):
        read_key(key)
    key.write_text("short\n")
    with pytest.raises(UserError, match="at least 16"):
        read_key(key)
    monkeypatch.setenv(KEY, "")  # is no key, not none
    with pytest.raises(UserError, match=KEY):
        read_key(None)
    monkeypatch.setenv(KEY, "fedcba9876543210")
    key.write_text("0123456789abcdef\n")
    assert [found.get_secret_value() for file in (key, None) if (found := read_key(file))] == [
        "0123456789abcdef",
        "fedcba9876543210",
    ]
