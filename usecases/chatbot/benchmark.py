"""Later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {}
