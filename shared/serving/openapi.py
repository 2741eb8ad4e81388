"""The API's description (OpenAPI 3.1), made of the contract: schemas, examples, and what can go wrong."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.serving import problems, reading
from shared.serving.service import Service, Services

REF = "#/components/schemas/{model}"
LONGEST = 2000  # characters of an example's text; a file in base64 is cut, and uploaded anyway
PROBLEMS = {
    400: "no valid JSON",
    401: "no API key, or a wrong one",
    404: "there is no such use case",
    408: "the body did not arrive in time",
    413: "too large: bytes, records or values",
    415: "neither JSON nor, where the case takes files, a form",
    422: "a record does not fit; `errors` names the field",
    429: "too many requests of this client; `Retry-After` says when to come again",
    500: "a defect of the server",
    503: "overloaded, or there is no model yet; `Retry-After` says when to come again",
    504: "not answered in time",
}


def describe(services: Services) -> dict[str, Any]:
    """The document. Imports the use cases, so call it in a thread."""
    wanted: list[tuple[type[BaseModel], Any]] = []
    for service in services.values():
        wanted += zip(service.models, ("validation", "serialization"), strict=True)
    refs, definitions = models_json_schema(wanted, ref_template=REF)
    paths: dict[str, Any] = {
        "/v1/usecases": {"get": _get("What is served, and its state", "usecases")},
        "/healthz": {"get": _get("Does the process live? Needs no key", "health")},
        "/readyz": {"get": _get("Are all models loaded? Needs no key", "readiness", 503)},
        "/metrics": {"get": _get("For Prometheus. Needs no key", "metrics", kind="text/plain")},
    }
    for name, service in services.items():
        request, response = (refs[pair] for pair in wanted[:2])
        wanted = wanted[2:]
        paths[f"/v1/{name}/schema"] = {"get": _get(f"{service.usecase.title}: the models of a record", f"{name}-schema")}
        paths[f"/v1/{name}/predict"] = {"post": _predict(service, request, response)}
    schemas = {**definitions.get("$defs", {}), "Problem": problems.SCHEMA}
    keys = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "usecases",
            "version": version("usecases"),
            "description": "Predictions of trained models, with reasons.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": keys},
    }
    if services.settings.api_key:
        document["security"] = [{name: []} for name in keys]
    return document


def _get(summary: str, name: str, *failures: int, kind: str = reading.JSON) -> dict[str, Any]:
    good = {"description": "done", "content": {kind: {"schema": {}}}}
    return {"operationId": name, "summary": summary, "responses": {"200": good, **_failures(401, 500, *failures)}}


def _predict(service: Service, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    records = {"type": "array", "items": request, "minItems": 1, "maxItems": service.settings.records}
    examples = {
        f"example {number}": {"value": _short(one.model_dump(mode="json", exclude_unset=True))}
        for number, one in enumerate(service.examples, 1)
    }
    body: dict[str, Any] = {reading.JSON: {"schema": {"anyOf": [request, records]}, "examples": examples}}
    place = reading.file_field(service.models[0])
    if place:
        form = service.models[0].model_json_schema(ref_template=REF)
        form.pop("$defs", None)
        fields = form["properties"] | {place: {"type": "string", "contentMediaType": "application/octet-stream"}}
        body[reading.FORM] = {"schema": {**form, "properties": fields}}
    good = {"schema": {"anyOf": [response, {"type": "array", "items": response}]}}
    return {
        "operationId": f"{service.name}-predict",
        "summary": service.usecase.title,
        "description": f"{service.usecase.summary} Send a record, or a list of them; a list is answered with a list.",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "decided", "content": {reading.JSON: good}}, **_failures(*PROBLEMS)},
    }


def _failures(*statuses: int) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": PROBLEMS[status], "content": content} for status in statuses}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return value[:LONGEST] if isinstance(value, str) else value
