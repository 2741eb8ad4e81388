"""What the tests of every use case's `suggest` do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.config import RunConfig, resolve
from shared.errors import Finding
from shared.usecase import UseCase


def suggested(usecase: UseCase, source: Path, **given: Any) -> dict[str, Any]:
    """What is assumed, by key; `given` are keys that the user has decided, with __ for a dot. Each has a reason."""
    assert usecase.suggest is not None
    found = usecase.suggest(source, {key.replace("__", "."): value for key, value in given.items()})
    assert all(one.why.strip() for one in found)
    assert len({one.key for one in found}) == len(found)
    return {one.key: one.value for one in found}


def overrides(values: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def errors(usecase: UseCase, values: dict[str, Any]) -> list[Finding]:
    """What `check` says of the data with these settings."""
    config: RunConfig = resolve(usecase.config, [], overrides(values))
    return [finding for finding in usecase.check(config) if finding.severity == "error"]
