"""The API: every use case by the same routes, made of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.errors import nearest
from shared.serving import openapi, problems
from shared.serving.limits import Gate
from shared.serving.metrics import Metrics
from shared.serving.problems import ProblemError
from shared.serving.reading import JSON, records_of
from shared.serving.service import Service, Services


def make_app(services: Services) -> FastAPI:
    """The app. It starts to load the models when it starts, and ends when what was accepted is answered."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        await run_in_threadpool(services.close)

    metrics = Metrics(services)
    app = FastAPI(title="usecases", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Gate, services=services, metrics=metrics)
    app.add_exception_handler(HTTPException, _refused)
    _add_predictions(app, services)

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        states = {name: service.state for name, service in services.items()}
        is_ready = not {"loading", "failed"} & set(states.values())
        return JSONResponse({"ready": is_ready, "usecases": states}, 200 if is_ready else 503)

    @app.get("/metrics")
    def read_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


def _add_predictions(app: FastAPI, services: Services) -> None:
    def find(name: str) -> Service:
        if name not in services:
            raise ProblemError(404, f"There is no use case '{name[:100]}'. {nearest(name[:100], services)}")
        return services[name]

    @app.post("/v1/{usecase}/predict")
    async def predict(usecase: str, request: Request) -> Response:
        service = find(usecase)
        request.scope["usecase"] = usecase
        service.check()
        records, is_list = await records_of(request, service.models[0], services.settings)
        request.scope["records"] = len(records)
        answers = [answer.model_dump_json() for answer in await service.predict(records)]
        return Response(f"[{','.join(answers)}]" if is_list else answers[0], media_type=JSON)

    @app.get("/v1/usecases")
    def list_usecases() -> Response:
        return JSONResponse([_about(service) for service in services.values()])

    @app.get("/v1/{usecase}/schema")
    def schema(usecase: str) -> Response:
        request, response = (model.model_json_schema() for model in find(usecase).models)
        return JSONResponse({"request": request, "response": response})

    @app.get("/openapi.json")
    def read_openapi() -> Response:
        return JSONResponse(openapi.describe(services))


def _about(service: Service) -> dict[str, Any]:
    case = service.usecase
    about = {
        "name": service.name,
        "title": case.title,
        "summary": case.summary,
        "state": service.state,
        "run": service.folder.name if service.folder else None,
        "predict": f"/v1/{service.name}/predict",
        "schema": f"/v1/{service.name}/schema",
    }
    return about | ({"reason": service.reason} if service.reason else {})


async def _refused(request: Request, error: Exception) -> Response:
    """What the router refuses, such as an unknown path, is told by the gate like everything else."""
    problem = problems.of(error)
    assert problem is not None
    raise problem
