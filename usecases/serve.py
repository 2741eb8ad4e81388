"""`usecases serve`: the API, and the pages where Gradio is installed, in one process."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shared import runs
from shared.errors import UserError, require
from shared.records import read_options
from shared.serving.settings import LOOPBACK, ServeSettings, read_key
from usecases import catalog

uvicorn = require("uvicorn", "serve")


def settings_of(fields: Mapping[str, Any], key_file: Path | None) -> ServeSettings:
    """The settings of KEY=VALUE arguments; the API key comes from a file or the environment, where nobody else sees it."""
    if "api_key" in fields:
        raise UserError(
            "A key among the arguments is seen by everybody on this machine. Give --key-file, or set USECASES_API_KEY."
        )
    settings = read_options(ServeSettings, fields)
    own = LOOPBACK if settings.host in LOOPBACK else ()
    return settings.model_copy(update={"api_key": read_key(key_file), "hosts": settings.hosts or own})


def choose(names: Sequence[str]) -> dict[str, Path | None]:
    """The runs to serve by use case; without names every use case's newest, None where there is none.

    Without names what others brought and cannot be loaded is left out, and told.
    """
    known = sorted(catalog.MODULES)
    if not names:
        working = [name for name in catalog.MODULES if name in catalog.OURS or _works(name)]
        there = {name: (runs.runs_root() / name / "latest").exists() for name in working}
        return {name: runs.find(name, known)[0] if there[name] else None for name in there}
    chosen: dict[str, Path | None] = {}
    for one in names:
        folder, name = runs.find(one, known)
        if name in chosen:
            raise UserError(f"Two runs of {name}: {chosen[name]} and {folder}. A server has one of each use case.")
        chosen[name] = folder
    return chosen


def _works(name: str) -> bool:
    try:
        catalog.get(name)
    except UserError as error:
        print(f"Left out: {error}", file=sys.stderr)
        return False
    return True


def serve(chosen: Mapping[str, Path | None], settings: ServeSettings, *, train: bool = False) -> None:
    """Answer until the process is told to stop (SIGINT, SIGTERM); then finish what was accepted.

    `train`: meanwhile train what has no run, with small settings; this needs the pages.

    Raises:
        UserError: the address cannot be listened at, or a package is missing.
    """
    for package in ("fastapi", "prometheus_client", "multipart", "httptools"):
        require(package, "serve")
    from shared.serving import logs
    from shared.serving.api import make_app
    from shared.serving.protocol import Protocol
    from shared.serving.service import Services

    listener = _listen(settings)
    services = Services(
        {name: partial(catalog.get, name) for name in chosen},
        {name: folder for name, folder in chosen.items() if folder},
        settings,
    )
    logs.to_stderr()
    app = make_app(services)
    if train:
        require("gradio", "serve")
    if importlib.util.find_spec("gradio"):
        from shared.serving.pages import mount

        mount(app, services)
    for name in (name for name, folder in chosen.items() if train and folder is None):
        app.state.trainings.start(name)
    config = uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.timeout_s),
    )
    server = _server(config, services, _address(settings.host, listener))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # how it is stopped
        print("Stopped.", file=sys.stderr)
    finally:
        services.close()


def _server(config: Any, services: Any, address: str) -> Any:
    class Server(uvicorn.Server):  # type: ignore[name-defined]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"Serving at {address}", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Wait for calls of the API, not for pages that somebody has open: their streams never end."""
            waiting = asyncio.create_task(self._end_streams())
            await super().shutdown(sockets)
            waiting.cancel()
            if self.force_exit:
                await self.lifespan.shutdown()

        async def _end_streams(self) -> None:
            while services.calls:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)  # for what is sent already
            self.force_exit = True

    return Server(config)


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # only where it says TCP does asyncio send at once
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise UserError(f"Cannot listen at {where}: {error.strerror}. Give another --port, or 0 for any free one.") from None
    if settings.host not in LOOPBACK and settings.api_key is None:
        print("Everybody who reaches this machine can use it: no API key is set. See --key-file.", file=sys.stderr)
    return listener


def _address(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
