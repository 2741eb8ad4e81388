"""What every request passes before it is answered: its id, the key, the limits; and the log line after."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import math
import re
import time
import uuid
from collections import OrderedDict
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.serving import problems
from shared.serving.logs import ACCESS
from shared.serving.metrics import Metrics
from shared.serving.problems import ProblemError
from shared.serving.service import Services

LOG = logging.getLogger("usecases.serving")
OPEN = ("/healthz", "/readyz", "/metrics")  # need no key: they tell nothing of any request
API = "/v1/"
BURST = 10  # seconds' worth of requests that a client may send at once
CLIENTS = 10_000  # whose rate is remembered
GONE = 499  # logged where the client left before it was answered
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"no-referrer"),
]


class Rates:
    """A token bucket for each client: `rate` requests a second on average, `BURST` times as many at once."""

    def __init__(self, rate: float) -> None:
        self.rate, self.most = rate, max(1.0, rate * BURST)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Take one request's worth; seconds until there is one, 0: there was."""
        left, then = self._clients.pop(client, (self.most, now))
        left = min(self.most, left + (now - then) * self.rate)
        granted = left >= 1
        self._clients[client] = (left - granted, now)
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if granted else (1 - left) / self.rate


def _called(headers: Headers) -> str:
    """The name in the Host header; empty where it is none."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


class Gate:
    """The outermost layer of the app. Key and body limits hold for everything; rate and requests in flight for the API.

    `held` is the number of bytes of the bodies that are being worked on.
    """

    def __init__(self, app: ASGIApp, services: Services, metrics: Metrics) -> None:
        self.app, self.services, self.settings, self.metrics = app, services, services.settings, metrics
        self.rates = Rates(self.settings.rate)
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), GONE
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
        mine = [*HEADERS, (b"x-request-id", name.encode())]
        if scope["path"].startswith(API):
            mine.append((b"cache-control", b"no-store"))

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *mine]
            await send(message)

        try:
            await self._admit(scope, headers, receive, answer)
        except ClientDisconnect:  # nobody is there to be answered; the log notes the request below
            pass
        except Exception as error:
            problem = problems.of(error)
            if problem is None:
                LOG.exception("a request failed", extra={"fields": {"id": name}})
                problem = ProblemError(500, "The server has a defect here. Its log says where, under this request's id.")
            if status != GONE:  # half an answer is out: the connection must break, or it would look whole
                raise
            await problem.response(name)(scope, receive, answer)
        finally:
            self._note(scope, name, status, time.perf_counter() - started)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Refuse at once what must not be answered, else have it answered."""
        path, settings = scope["path"], self.settings
        if settings.hosts and _called(headers) not in settings.hosts:  # a page elsewhere whose name was made to lead here
            raise ProblemError(421, f"It is called by another name than {', '.join(settings.hosts)}. See the setting `hosts`.")
        if path not in OPEN and not self._has_key(headers):
            kind = "Bearer" if path.startswith(API) else "Basic"  # a browser asks for a password
            raise ProblemError(401, "Send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.", headers={
                "WWW-Authenticate": f'{kind} realm="usecases"'
            })  # fmt: skip
        length = headers.get("content-length", "0")
        body = _Body(self, receive)
        if not length.isdecimal() or int(length) > settings.body_bytes:
            raise body.too_large()
        is_call = path.startswith(API) and scope["method"] == "POST"
        if is_call and settings.rate:
            client = scope.get("client")
            if wait := self.rates.wait(client[0] if client else "", time.monotonic()):
                raise problems.busy(429, f"More than {settings.rate:g} requests a second.", math.ceil(wait))
        if is_call and self.services.calls >= settings.in_flight:
            raise problems.busy(503, f"{settings.in_flight} requests are being answered already.", 1)
        self.services.calls += is_call
        try:
            await self.app(scope, body, send)
        finally:
            self.services.calls -= is_call
            self.held -= body.size

    def _has_key(self, headers: Headers) -> bool:
        if self.settings.api_key is None:
            return True
        kind, _, told = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                told = base64.b64decode(told).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        given = told or headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode(), self.settings.api_key.get_secret_value().encode())

    def _note(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """Log and count one request, by its route's template: a path may hold what somebody wrote."""
        template = getattr(scope.get("route"), "path", "") or ("page" if "endpoint" in scope else "none")
        usecase = scope.get("usecase", "")
        self.metrics.requests.labels(template, usecase, status).inc()
        self.metrics.seconds.labels(template, usecase).observe(seconds)
        fields = {"id": name, "method": scope["method"], "route": template, "status": status, "ms": round(1000 * seconds, 2)}
        if usecase:
            fields |= {"usecase": usecase, "records": scope.get("records", 0)}
        ACCESS.info("request", extra={"fields": fields})


class _Body:
    """Receives a request's body and stops where it becomes too large, whatever its header said."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self.gate, self.receive, self.size = gate, receive, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        size = len(message.get("body", b"")) if message["type"] == "http.request" else 0
        self.size += size
        self.gate.held += size
        if self.size > self.gate.settings.body_bytes:
            raise self.too_large()
        if self.gate.held > self.gate.settings.held_bytes:
            raise problems.busy(503, "The requests being answered hold all the memory that there is for them.", 1)
        return message

    def too_large(self) -> ProblemError:
        return ProblemError(
            413, f"A request has at most {self.gate.settings.body_bytes:,} bytes, with its length in `Content-Length`."
        )
