"""What can be done outside of the conversation: typed Python functions, or HTTP calls to a company's own services."""

from __future__ import annotations

import http.client
import importlib
import inspect
import json
import logging
import os
import random
import re
import sqlite3
import ssl
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any, NamedTuple, get_type_hints

from pydantic import ConfigDict, Field, HttpUrl, PydanticUserError, ValidationError, validate_call

from shared.config import Section
from shared.errors import Finding, UserError, nearest
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
        self._checked = {name: validate_call(validate_return=True)(function) for name, function in functions.items()}
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


class Action(Section):
    """One entry of `actions.yaml`."""

    gives: tuple[str, ...] = Field((), description="names of the values that it answers, which a form's last sentence may have")


class PythonAction(Action):
    """A function of the company's own."""

    function: str = Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$",
        description="package.module:function, whose annotated arguments are the form's slots; it returns an Outcome",
    )


class HttpAction(Action):
    """A service."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a header may be a secret

    url: HttpUrl = Field(description="POST with {slot: value} as JSON; answers {done: true or false, value: …}")
    timeout_s: float = Field(5, gt=0, le=60, description="seconds for one try")
    retries: int = Field(
        2, ge=0, le=5, description="further tries, where the service could not be reached, failed (5xx) or was busy (429)"
    )
    takes: tuple[str, ...] = Field(
        (), description="slots that it needs, of all that it is sent; they let `check` tell what is missing"
    )
    headers: dict[str, str] = Field(default_factory=dict, description="such as {Authorization: 'Bearer ${SHOP_TOKEN}'}")


def entry_type(entry: Mapping[str, Any]) -> type[Action]:
    """What an entry of `actions.yaml` is."""
    return PythonAction if "function" in entry else HttpAction


def functions(configured: Mapping[str, PythonAction]) -> dict[str, Callable[..., Outcome]]:
    """The functions that are named, imported.

    Raises:
        UserError: names every one that cannot be used.
    """
    found = {name: imported(name, action) for name, action in configured.items()}
    if problems := [str(one) for one in found.values() if isinstance(one, Finding)]:
        raise UserError("The actions cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return {name: _guarded(name, one) for name, one in found.items() if not isinstance(one, Finding)}


def _guarded(name: str, function: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """A function that fails is an action that is not done: the customer gets an answer, who wrote the function the frames.

    The exception's own words may hold what the customer gave: they are not logged.
    """

    @wraps(function)
    def guarded(*args: Any, **slots: Any) -> Outcome:
        try:
            return function(*args, **slots)
        except Exception as error:
            frames = "".join(traceback.format_tb(error.__traceback__))
            logging.getLogger(__name__).error("The action %s failed (%s):\n%s", name, type(error).__name__, frames)
            return Outcome(False, {}, f"{name}: {type(error).__name__}")

    return guarded


def imported(name: str, action: PythonAction) -> Callable[..., Outcome] | Finding:
    """The function that an entry names; a finding if there is none, or none whose arguments and outcome are annotated."""
    module, _, attribute = action.function.partition(":")

    def problem(what: str, fix: str) -> Finding:
        return Finding("error", f"{action.function}: {what}", name, fix)

    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f"there is no module '{error.name}'"
        return problem(missing, "Install its package, or let the environment's PYTHONPATH name the folder that it is in")
    except Exception as error:  # whatever the module does while it is imported
        return problem(
            f"importing it fails ({type(error).__name__}: {error})", f"Mend it: `python -c 'import {module}'` shows where"
        )
    function = getattr(home, attribute, None)
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        own = [one for one, value in vars(home).items() if inspect.isfunction(value)]
        return problem(f"{module} has no such function (with `def`, not `async def`)", nearest(attribute, own))
    try:
        hints = get_type_hints(function)
        validate_call(function)
    except (NameError, TypeError, PydanticUserError) as error:
        return problem(
            f"an annotation is no type that a slot can have ({str(error).splitlines()[0]})", "Use str, float, bool or date"
        )
    if bare := [one for one in inspect.signature(function).parameters if one not in hints]:
        return problem(f"{', '.join(bare)} has no annotation", f"Write its type, such as `{bare[0]}: str`")
    if hints.get("return") is not Outcome:
        fix = "Write `-> Outcome` (from usecases.chatbot.protocols import Outcome), and return one"
        return problem("what it returns is not annotated as an Outcome", fix)
    return function


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
