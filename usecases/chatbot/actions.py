"""What can be done outside of the conversation: typed Python functions, or HTTP calls to a company's own services."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import sqlite3
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from pydantic import ConfigDict, Field, HttpUrl, ValidationError, validate_call

from shared.config import Section
from shared.errors import UserError
from usecases.chatbot.protocols import Outcome

LARGEST_ANSWER = 65_536
"""Bytes that a service may answer."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
REMEMBERED = 10_000
"""Actions that are not done again under the same key."""


class LocalActions:
    """Python functions by name, whose arguments are slots: they are checked and converted by the functions' annotations."""

    def __init__(self, functions: Mapping[str, Callable[..., Outcome]]) -> None:
        self._functions = dict(functions)
        self._checked = {name: validate_call(function) for name, function in functions.items()}
        self._lock = threading.Lock()
        self._done: dict[str, Future[Outcome]] = {}

    def __call__(self, name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        """What was done under a key, or is being done, is not done again: the outcome is that of the first time."""
        if not key:
            return self._once(name, slots)
        with self._lock:
            known = key in self._done
            outcome = self._done.setdefault(key, Future())
            if len(self._done) > REMEMBERED:
                del self._done[next(iter(self._done))]
        if known:
            return outcome.result()
        try:
            outcome.set_result(self._once(name, slots))
        except BaseException as error:
            outcome.set_exception(error)
        if outcome.exception() or not outcome.result().done:  # then it may be tried again
            with self._lock:
                self._done.pop(key, None)
        return outcome.result()

    def _once(self, name: str, slots: dict[str, Any]) -> Outcome:
        """A slot that does not fit, or a store that cannot be reached, gives an outcome that is not done."""
        if name not in self._checked:
            return Outcome(False, {}, f"there is no action '{name}'")
        try:
            return self._checked[name](**slots)
        except ValidationError as error:  # without the values: they are the customer's
            faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False, include_input=False))
            return Outcome(False, {}, "; ".join(faults))
        except (OSError, sqlite3.Error) as error:
            return Outcome(False, {}, f"{name}: {error}")


class HttpAction(Section):
    """One entry of `actions.yaml`."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a header may be a secret

    url: HttpUrl = Field(description="POST with {slot: value} as JSON; answers {done: true or false, value: …}")
    timeout_s: float = Field(5, gt=0, le=60, description="seconds for one try")
    retries: int = Field(
        2, ge=0, le=5, description="further tries, where the service could not be reached, failed (5xx) or was busy (429)"
    )
    gives: tuple[str, ...] = Field((), description="names of the values that it answers, which a form's last sentence may have")
    headers: dict[str, str] = Field(default_factory=dict, description="such as {Authorization: 'Bearer ${SHOP_TOKEN}'}")


class _Call(NamedTuple):
    action: HttpAction
    headers: dict[str, str]


class _Again(Exception):  # noqa: N818 - it is none that anybody outside sees
    """A try that failed in a way in which the next one may not."""

    def __init__(self, problem: str, after_s: float = 0) -> None:
        super().__init__(problem)
        self.after_s = after_s


class HttpActions:
    """Services of the company, one for each action. What is not configured goes to `otherwise`."""

    def __init__(
        self,
        configured: Mapping[str, HttpAction],
        otherwise: LocalActions | None = None,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises:
        UserError: names every environment variable that a header needs and that is not set, or cannot be sent.
        """
        problems: list[str] = []
        self._calls = {
            name: _Call(action, {header: _filled(name, value, environment, problems) for header, value in action.headers.items()})
            for name, action in configured.items()
        }
        if problems:
            raise UserError("The actions cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self._otherwise = otherwise or LocalActions({})
        self._sleep = sleep
        self._opener = urllib.request.OpenerDirector()  # bare: no file:, no ftp:, and no redirect, which may lead anywhere
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPErrorProcessor,
            urllib.request.HTTPDefaultErrorHandler,
        ):
            self._opener.add_handler(handler())

    def __call__(self, name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        """All tries carry the key, so that a service that knows it acts once (draft-ietf-httpapi-idempotency-key-header).

        Waits between tries are exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015).
        """
        if name not in self._calls:
            return self._otherwise(name, slots, key)
        call = self._calls[name]
        headers = {"Content-Type": "application/json", "Accept": "application/json"} | call.headers
        request = urllib.request.Request(
            str(call.action.url),
            json.dumps(slots).encode(),
            headers | {"Idempotency-Key": key or str(uuid.uuid4())},
            method="POST",
        )
        for attempt in range(call.action.retries + 1):
            try:
                return self._once(name, request, call.action.timeout_s)
            except _Again as error:
                problem, after_s = str(error), error.after_s
            if attempt < call.action.retries:
                jittered = random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))
                self._sleep(max(jittered, min(LONGEST_WAIT_S, after_s)))
        return Outcome(False, {}, problem)

    def _once(self, name: str, request: urllib.request.Request, timeout_s: float) -> Outcome:
        """Raises:
        _Again: another try may help.
        """
        until = time.monotonic() + timeout_s
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                body = b""
                for part in iter(partial(response.read1, 8192), b""):
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        return Outcome(False, {}, f"{name}: the answer is larger than {LARGEST_ANSWER} bytes")
                    if time.monotonic() > until:  # the socket's own limit is for each piece
                        raise TimeoutError("timed out")
        except urllib.error.HTTPError as error:
            problem = f"{name}: the service answered {error.code}"
            if error.code == 429 or error.code >= 500:
                wait = error.headers.get("Retry-After", "")
                raise _Again(problem, float(wait) if wait.isdecimal() else 0) from None
            return Outcome(False, {}, problem)
        except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
            reason = getattr(error, "reason", error)
            problem = f"{name}: the service cannot be reached ({reason})"
            if isinstance(reason, ssl.SSLError):
                return Outcome(False, {}, problem)
            raise _Again(problem) from None
        return _read(name, body)


def _filled(action: str, value: str, environment: Mapping[str, str], problems: list[str]) -> str:
    """A header with its ${VARIABLES}."""
    for variable in re.findall(r"\$\{(\w+)\}", value):
        if variable not in environment:
            problems.append(f"{action}: the environment variable {variable} is not set")
    filled = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), value)
    if not (filled.isascii() and filled.isprintable()):
        problems.append(f"{action}: a header holds signs that cannot be sent, such as the end of a line")
    return filled


def _read(name: str, body: bytes) -> Outcome:
    """The outcome in a service's answer: {"done": bool, name: text, number or truth value, …}."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return Outcome(False, {}, f"{name}: the answer is no JSON")
    if not isinstance(answer, dict) or not isinstance(answer.get("done"), bool):
        return Outcome(False, {}, f"{name}: the answer has no 'done' that is true or false")
    values = {key: value for key, value in answer.items() if key not in ("done", "problem")}
    said = {key: value for key, value in values.items() if isinstance(value, str | int | float | bool)}  # others cannot be said
    problem = answer.get("problem", "")
    return Outcome(answer["done"], said, problem if isinstance(problem, str) else "")
