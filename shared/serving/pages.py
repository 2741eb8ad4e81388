"""The pages: a front page with a card for each use case, and for each its demo, report, model card and guide.

What does not compute is plain HTML that this module renders; only the demos are Gradio, which is imported when the first one
is opened. Addresses in the pages are relative, so that they also work behind a proxy that serves them below a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from shared.serving import content
from shared.serving.reading import file_field
from shared.serving.service import Service, Services
from shared.serving.training import COMMAND, Trainings

TEMPLATES = Environment(
    loader=PackageLoader("shared.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
STYLE = Path(__file__).parent / "templates" / "style.css"
# A report is a file that somebody may have sent: it runs nothing, asks for nothing, and is no part of this site.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-same-origin"


def mount(app: FastAPI, services: Services, command: Sequence[str] = COMMAND) -> FastAPI:
    """Add the pages to the API's app. `app.state.trainings` then starts quick trainings.

    Args:
        command: what trains; see `Trainings`.
    """
    trainings = Trainings(lambda name, folder: services[name].load(folder), command)
    cases = {name: Case(service, trainings) for name, service in services.items()}

    def front(request: Request) -> Response:
        cards = [case.told() | {"picture": content.picture(case.service.usecase)} for case in cases.values()]
        response = page("front.html.j2", root="", cards=cards)
        response.background = BackgroundTask(importlib.import_module, "shared.serving.playground")  # the next click needs it
        return response

    def icon(request: Request) -> Response:
        return FileResponse(STYLE.with_name("icon.svg"), media_type="image/svg+xml")

    def style(request: Request) -> Response:
        return FileResponse(STYLE, media_type="text/css")

    app.router.routes.append(Route("/", front))
    app.router.routes.append(Route("/style.css", style))
    app.router.routes.append(Route("/favicon.ico", icon))
    for name, case in cases.items():
        app.mount(f"/{name}", case.router)
    app.state.trainings = trainings
    before = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(one: FastAPI) -> AsyncIterator[Any]:
        async with before(one) as state:
            try:
                yield state
            finally:
                for case in cases.values():
                    await case.close()
                await run_in_threadpool(trainings.close)

    app.router.lifespan_context = lifespan
    return app


def page(template: str, **values: Any) -> Response:
    return HTMLResponse(TEMPLATES.get_template(template).render(**values))


class Case:
    """The pages of one use case, below its name."""

    def __init__(self, service: Service, trainings: Trainings) -> None:
        self.service, self.trainings = service, trainings
        self._playground: Any = None
        self._lock = asyncio.Lock()
        self.router = Router(
            [
                Route("/report", self.report),
                Route("/report.html", self.report_file),
                Route("/card", self.card),
                Route("/data", self.guide),
                Route("/status", self.status),
                Route("/train", self.train, methods=["POST"]),
            ],
            default=self.demo,
        )

    async def close(self) -> None:
        if self._playground:
            await self._playground.close()

    def told(self) -> dict[str, Any]:
        """What every page of it shows."""
        usecase, folder = self.service.usecase, self.service.folder
        has_run = folder is not None and (folder / "metrics.json").exists()
        return {
            "name": self.service.name,
            "title": usecase.title,
            "summary": usecase.summary,
            "state": self.service.state,
            "reason": self.service.reason,
            "training": self.trainings[self.service.name],
            "quality": content.quality(folder) if folder is not None and has_run else None,
        }

    async def demo(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The demo, or why there is none yet and what to do."""
        if self.service.state == "ready":
            async with self._lock:
                if self._playground is None:
                    self._playground = await run_in_threadpool(self._open)
            await self._playground(scope, receive, send)
            return
        is_page = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == "/"
        response = await run_in_threadpool(self._page, "", "waiting.html.j2") if is_page else Response(status_code=404)
        await response(scope, receive, send)

    def _open(self) -> Any:
        from shared.serving.playground import Playground  # imports Gradio, which takes seconds

        return Playground(self.service, lambda: Markup(TEMPLATES.get_template("head.html.j2").render(self._frame(""))))

    def _frame(self, here: str) -> dict[str, Any]:
        return {"root": "../", "here": here, "case": self.told()}

    def _page(self, here: str, template: str, **values: Any) -> Response:
        return page(template, **self._frame(here), **values)

    def _file(self, name: str) -> Path | None:
        """A file of the run that is served."""
        folder = self.service.folder
        return folder / name if folder is not None and (folder / name).is_file() else None

    def report(self, request: Request) -> Response:
        return self._page("report", "report.html.j2", there=self._file("report.html") is not None)

    def report_file(self, request: Request) -> Response:
        file = self._file("report.html")
        if file is None:
            return Response(status_code=404)
        return FileResponse(file, headers={"Content-Security-Policy": REPORT_POLICY})

    def card(self, request: Request) -> Response:
        file = self._file("model_card.md")
        return self._page("card", "card.html.j2", text=content.render(file.read_text(encoding="utf-8")) if file else None)

    def guide(self, request: Request) -> Response:
        usecase, predictor = self.service.usecase, self.service.predictor
        commands, expected = content.guide(usecase)
        calls = {
            "file": file_field(self.service.models[0]),
            "example": content.example(predictor) if predictor else "",
            "address": request.base_url,
        }
        return self._page("data", "data.html.j2", commands=commands, expected=expected, **calls)

    def status(self, request: Request) -> Response:
        training = self.trainings[self.service.name]
        return JSONResponse(
            {
                "state": self.service.state,
                "training": training and training.state,
                "seconds": training and training.seconds,
                "lines": list(training.lines) if training else [],
            },
            headers={"Cache-Control": "no-store"},
        )

    def train(self, request: Request) -> Response:
        """Begin a quick training, if none is going on; other sites' pages may not ask for it."""
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return Response("This is only for the server's own pages.", status_code=403, media_type="text/plain")
        if self.service.state in ("none", "failed"):
            self.trainings.start(self.service.name)
        return RedirectResponse("./", status_code=303)
