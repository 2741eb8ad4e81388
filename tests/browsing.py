"""Pages in a real browser: a server of our own, and a visit that fails for what must not happen on any page."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from shared.serving.api import make_app
from shared.serving.pages import mount
from shared.serving.service import Services
from shared.serving.training import COMMAND
from tests.shared.serving.standin import until

PHONE, DESK = 390, 1280  # widths in px


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def running(services: Services, command: Sequence[str] = COMMAND) -> Iterator[str]:
    """Serve the API with its pages in a thread; gives the address, with a slash at its end."""
    app = mount(make_app(services), services, command)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started and not any(service.state == "loading" for service in services.values()))
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def visit(browser: Browser, address: str, path: str = "", width: int = DESK, **context: Any) -> Iterator[Page]:
    """Open a page. At the end: no error in its console, no request to anywhere else, nothing wider than the window."""
    opened = browser.new_context(viewport={"width": width, "height": 900}, **context)
    page, wrong = opened.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None)
    page.goto(address + path)
    yield page
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.close()
