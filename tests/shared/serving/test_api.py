from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from shared.serving.api import make_app
from shared.serving.logs import JsonLines
from tests.shared.serving.standin import Doubler, served, until
from usecases import serve

PREDICT = "/v1/doubling/predict"
KEY = "0123456789abcdef0123"


def ask(predictor: Doubler, talk: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """Let a client talk to an app that serves `doubling`."""
    app = make_app(served(predictor, **settings))

    async def run() -> Any:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await talk(client)

    return asyncio.run(run())


def post(content: Any, headers: dict[str, str] | None = None, **settings: Any) -> httpx.Response:
    """One body, JSON unless it is bytes."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    kind = {"content-type": "application/json", **(headers or {})}
    response: httpx.Response = ask(Doubler(), lambda client: client.post(PREDICT, content=body, headers=kind), **settings)
    return response


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(document)
    assert document["instance"] == f"urn:request:{response.headers['x-request-id']}"
    return document


def test_a_record_is_answered_with_a_record_and_a_list_with_a_list() -> None:
    assert post({"number": 3}).json() == {"doubled": 6, "length": 0}
    assert post([{"number": 3}]).json() == [{"doubled": 6, "length": 0}]


def test_every_fault_is_told_with_its_record_and_field() -> None:
    told = problem(post([{"number": 1}, {"numbr": 2}, {"number": "x"}]), 422)
    assert [(e["record"], e["field"]) for e in told["errors"]] == [(2, "number"), (2, "numbr"), (3, "number")]
    assert told["errors"][1]["fix"] == "Did you mean 'number'?"
    assert "bad luck" in problem(post({"number": 13}), 422)["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not valid JSON"),
        (b'{"number": NaN}', 400, "not valid JSON"),
        (b'{"number": -Infinity}', 400, "not valid JSON"),
        (b'{"number": 1e999}', 400, "too large"),
        (b'{"note": "\xff\xfe"}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b'{"note":' * 40 + b"1" + b"}" * 40, 400, "levels deep"),
        (b"[" + b"{}," * 600_000 + b"{}]", 413, "values"),
        (b"[" + b'{"number":1},' * 1000 + b'{"number":1}]', 413, "at most 1,000 records"),
        (b"[]", 422, "empty"),
        (b"7", 422, "whole record"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(body: bytes, status: int, says: str) -> None:
    assert says in problem(post(body), status)["detail"]


def test_a_body_is_too_large_by_its_length_or_by_what_comes() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        taken.append(0)
        for _ in range(1000):
            taken[0] += 1
            yield b" " * 100

    taken: list[int] = []
    kind = {"content-type": "application/json"}
    chunked = ask(Doubler(), lambda client: client.post(PREDICT, content=pieces(), headers=kind), body_bytes=1000)
    problem(chunked, 413)
    assert taken[0] < 20  # it was not read to the end
    problem(post({"number": 1, "note": "x" * 2000}, body_bytes=1000), 413)
    problem(post({"number": 1}, {"content-length": "-5"}), 413)
    assert post({"number": 1}, body_bytes=1000).status_code == 200
    assert problem(post({"number": 1}, held_bytes=5), 503)["detail"].startswith("The requests being answered hold")


def test_files_are_uploaded_with_the_other_fields_beside_them() -> None:
    def upload(files: Any, data: Any = None) -> httpx.Response:
        answer: httpx.Response = ask(Doubler(), lambda client: client.post(PREDICT, files=files, data=data))
        return answer

    assert upload({"file": ("../../etc/passwd", b"abcd")}, {"number": "2", "note": "7"}).json() == {"doubled": 4, "length": 8}
    two = upload([("file", b"abc"), ("file", b"abcd")], {"number": "2"}).json()
    assert two == [{"doubled": 4, "length": 4}, {"doubled": 4, "length": 8}]
    assert problem(upload({"fil": b"abc"}, {"number": "2"}), 422)["errors"][0]["field"] == "fil"
    assert problem(upload({"file": b"abc"}, {"numbr": "2"}), 422)["errors"][0]["fix"] == "Did you mean 'number'?"
    assert problem(upload({"file": b"abc"}, {"number": "lots"}), 422)["errors"][0]["field"] == "number"
    problem(upload({"file": b"abc"}, {"number": ["1", "2"]}), 422)
    problem(post(b"no parts", {"content-type": "multipart/form-data; boundary=x"}), 400)
    problem(post(b"number=1", {"content-type": "application/x-www-form-urlencoded"}), 415)


def test_with_a_key_set_only_who_sends_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        sent: list[dict[str, str]] = [{}, {"X-API-Key": KEY + "x"}, {"X-API-Key": "é"}, {"Authorization": "Basic !!!"}]
        for headers in sent:
            answer = await client.post(PREDICT, json={"number": 1}, headers={k: v.encode() for k, v in headers.items()})
            assert problem(answer, 401)["detail"].startswith("Send the API key")
            assert "Bearer" in answer.headers["www-authenticate"]
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert (await client.post(PREDICT, json={"number": 1}, headers=headers)).status_code == 200
        assert (await client.get("/v1/usecases", auth=("anybody", KEY))).status_code == 200  # as a browser sends it
        assert (await client.get("/openapi.json")).status_code == 401
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]

    ask(Doubler(), talk, api_key=KEY)


@pytest.mark.parametrize("host", ["rebound.example:8000", "", "[", "127.0.0.1.example"])
def test_a_page_elsewhere_whose_name_was_made_to_lead_here_is_refused(host: str) -> None:
    own = serve.settings_of({}, None)
    assert "another name than 127.0.0.1" in problem(post({"number": 3}, {"host": host}, hosts=own.hosts), 421)["detail"]


def test_it_is_called_by_its_own_names_or_by_those_of_the_settings() -> None:
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert post({"number": 3}, {"host": host}, hosts=serve.settings_of({}, None).hosts).status_code == 200
    assert post({"number": 3}, {"host": "models.example"}, hosts=("Models.example",)).status_code == 200
    assert serve.settings_of({"host": "0.0.0.0"}, None).hosts == ()


def test_more_than_it_can_answer_is_refused_at_once_and_late_answers_are_not_waited_for() -> None:
    doubler = Doubler()

    async def talk(client: httpx.AsyncClient) -> None:
        doubler.go.clear()
        doubler.begun.clear()
        calls = [asyncio.create_task(client.post(PREDICT, json={"number": 0}))]
        assert await asyncio.to_thread(doubler.begun.wait, 10)
        calls += [asyncio.create_task(client.post(PREDICT, json={"number": number})) for number in range(1, 20)]
        statuses = []
        for call in asyncio.as_completed(calls):
            answer = await call
            statuses.append(answer.status_code)
            problem(answer, statuses[-1])
            assert statuses[-1] == 504 or int(answer.headers["retry-after"]) >= 1
        late = statuses.count(504)
        assert late == 3  # one being computed, two in the queue
        assert statuses.count(503) == 20 - late  # although the model stands still
        doubler.go.set()

    ask(doubler, talk, queue=2, timeout_s=1)


def test_requests_in_flight_and_the_rate_of_a_client_are_limited() -> None:
    doubler = Doubler()

    async def crowd(client: httpx.AsyncClient) -> list[int]:
        doubler.go.clear()
        calls = [asyncio.create_task(client.post(PREDICT, json={"number": 1})) for _ in range(5)]
        await asyncio.wait(calls, timeout=0.05)
        assert (await client.get("/healthz")).status_code == 200
        doubler.go.set()
        return sorted([(await call).status_code for call in calls])

    assert ask(doubler, crowd, in_flight=2) == [200, 200, 503, 503, 503]

    async def hurry(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post(PREDICT, json={"number": 1}) for _ in range(12)]

    answers = ask(Doubler(), hurry, rate=0.5)
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 7
    assert answers[-1].headers["retry-after"] == "2"


def test_a_defect_is_told_by_its_id_alone_and_logs_hold_nothing_that_people_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "usecases")

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        await client.get("/v1/Jane Doe/predict?name=Jane+Doe")
        await client.get("/Jane Doe")
        await client.post(PREDICT, json={"number": "Jane Doe"})
        return await client.post(PREDICT, json={"number": 666, "note": "Jane Doe"}, headers={"X-Request-ID": "mine-1"})

    answer = ask(Doubler(), talk)
    assert problem(answer, 500)["instance"] == "urn:request:mine-1"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    lines = [JsonLines().format(record) for record in caplog.records if record.name.startswith("usecases")]
    assert not any("Jane" in line or "secret" in line or "127.0.0.1" in line for line in lines)
    defect, access = (json.loads(line) for line in lines[-2:])
    assert (defect["id"], defect["error"]) == ("mine-1", "RuntimeError")
    assert any("standin.py" in place for place in defect["where"])
    assert {"time", "id", "method", "route", "status", "ms", "records", "usecase"} <= set(access)
    assert (access["route"], access["status"], access["records"]) == ("/v1/{usecase}/predict", 500, 1)


def test_a_use_case_without_a_model_has_its_routes_and_says_how_to_train_it() -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/waiting/predict", json={"number": 1})
        assert "usecases run waiting --quick" in problem(answer, 503)["detail"]
        assert (await client.get("/v1/waiting/schema")).json()["request"]["title"] == "Ask"
        states = {one["name"]: one["state"] for one in (await client.get("/v1/usecases")).json()}
        assert states == {"doubling": "ready", "waiting": "none"}
        assert "Did you mean 'doubling'?" in problem(await client.post("/v1/doublin/predict", json={}), 404)["detail"]
        problem(await client.get("/nothing"), 404)
        problem(await client.delete("/healthz"), 405)

    ask(Doubler(), talk)


def test_metrics_count_requests_by_route_and_records_by_model() -> None:
    async def talk(client: httpx.AsyncClient) -> str:
        await client.post(PREDICT, json=[{"number": 1}, {"number": 2}])
        await client.get("/somewhere/secret")
        return (await client.get("/metrics")).text

    text = ask(Doubler(), talk)
    assert 'usecases_requests_total{route="/v1/{usecase}/predict",status="200",usecase="doubling"} 1.0' in text
    assert 'usecases_records_total{usecase="doubling"} 2.0' in text
    assert 'usecases_ready{usecase="waiting"} 0.0' in text
    assert "usecases_in_flight 0.0" in text
    assert "secret" not in text


def test_the_app_finishes_what_it_accepted_when_it_ends() -> None:
    doubler = Doubler()
    app = make_app(services := served(doubler))

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            async with app.router.lifespan_context(app):
                await asyncio.to_thread(until, lambda: services["doubling"].state == "ready")
                doubler.go.clear()
                call = asyncio.create_task(client.post(PREDICT, json={"number": 4}))
                await asyncio.sleep(0.05)
                doubler.go.set()
            problem(await client.post(PREDICT, json={"number": 4}), 503)
            return await call

    assert asyncio.run(run()).json()["doubled"] == 8
