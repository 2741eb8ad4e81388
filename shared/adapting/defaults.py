"""`configs/default.yaml`: what a use case runs on unless told otherwise, with the reason for each key."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from shared.usecase import Assumption

WIDTH = 120


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return " ".join(text.removesuffix("...\n").split("\n")).strip()


def flat(layer: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A configuration file's values by dotted key."""
    for key, value in layer.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def document(name: str, assumed: Iterable[Assumption]) -> str:
    """The file: nested keys, a comment above each value. Of two assumptions about a key the later one counts."""
    tree: dict[str, Any] = {}
    for one in {one.key: one for one in assumed}.values():
        *sections, last = one.key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = one
    head = f"# What `usecases run {name}` uses unless told otherwise (--config FILE, key=value), and why."
    return "\n".join([head, *_lines(tree, "")]) + "\n"


def _lines(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Assumption):
            why = " ".join(value.why.split())
            yield from textwrap.wrap(why, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
            yield f"{indent}{key}: {flow(value.value)}"
        else:
            yield f"{indent}{key}:"
            yield from _lines(value, f"{indent}  ")
