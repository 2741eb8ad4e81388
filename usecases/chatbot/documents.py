"""YAML files of users: read safely, with limits, and with the line of everything that is in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from shared.errors import Collector

LARGEST = 20_000_000  # bytes of a YAML or Markdown file
DEEPEST = 40  # levels
SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
S = TypeVar("S", bound=BaseModel)


class _Texts(SAFE):
    """Only null is no text: an utterance `no`, `12:30` or `2026-06-15` is what the customer wrote."""

    yaml_implicit_resolvers = {"~": [("tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL|)$"))]}


for first in ("n", "N", ""):
    _Texts.yaml_implicit_resolvers[first] = _Texts.yaml_implicit_resolvers["~"]


@dataclass(frozen=True)
class Document:
    """A YAML document: `value`, and its nodes, which know their lines."""

    path: Path
    value: Any
    node: yaml.Node | None
    first: int = 1  # line of the file on which it begins

    def line(self, place: Sequence[str | int] = ()) -> int:
        """The line of a place, given by keys and indices; of the last one that is there."""
        node, line = self.node, self.first
        for step in place:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = (node.value[step], node.value[step])
            if found is None:
                break
            line, node = self.first + found[0].start_mark.line, found[1]
        return line

    def at(self, *place: str | int) -> yaml.Node | None:
        """The node of a place, if it is there."""
        node = self.node
        for step in place:
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if key.value == str(step)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                return None
        return node


def read(path: Path, faults: Collector, typed: bool = False) -> Document | None:
    """Read a YAML file; None, with a finding, if it cannot be.

    Args:
        typed: numbers, dates and yes/no become such values; else every value is text, as it was written.
    """
    text = read_text(path, faults)
    return None if text is None else parse(text, path, faults, typed)


def read_text(path: Path, faults: Collector) -> str | None:
    """A text file in UTF-8; None, with a finding, if it cannot be read."""
    try:
        if (size := path.stat().st_size) > LARGEST:
            faults.add("error", f"{size / 1e6:,.0f} MB", f"At most {LARGEST / 1e6:,.0f} MB: divide it", where=path)
            return None
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add("error", f"not UTF-8 ({error.reason} at byte {error.start:,})", "Save it in UTF-8", where=path)
    except OSError as error:
        faults.add("error", f"cannot be read ({error.strerror})", "Check the file and its permissions", where=path)
    return None


def parse(text: str, path: Path, faults: Collector, typed: bool = False, first: int = 1) -> Document | None:
    """As `read`, of text that begins on line `first` of the file."""
    loader = SAFE if typed else _Texts
    try:
        if not _within_limits(text, path, faults, first):
            return None
        node = yaml.compose(text, Loader=loader)
        if not _unique_keys(node, path, faults, first):
            return None
        value = yaml.load(text, Loader=loader)  # both are safe
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        fix = "Mend it; text with : # { [ & * ! | > % @ ` belongs in quotes"
        faults.add("error", f"no valid YAML: {said}", fix, row=first + mark.line if mark else 0, where=path)
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        faults.add("error", f"no valid YAML: {str(error).splitlines()[0]}", "Save it as text in UTF-8", where=path)
        return None
    return Document(path, value, node, first)


def _within_limits(text: str, path: Path, faults: Collector, first: int) -> bool:
    """Neither aliases, by which a few lines can stand for gigabytes, nor nesting without end."""
    depth = 0
    for event in yaml.parse(text, Loader=SAFE):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = first + (event.start_mark.line if event.start_mark else 0)
        if isinstance(event, yaml.AliasEvent):
            faults.add("error", "an alias (*name)", "Write it out, or put the text in quotes", row=line, where=path)
            return False
        if depth > DEEPEST:
            faults.add("error", f"more than {DEEPEST} levels deep", "Write it flatter", row=line, where=path)
            return False
    return True


def _unique_keys(node: yaml.Node | None, path: Path, faults: Collector, first: int) -> bool:
    """Of two entries of one name YAML would silently keep the last."""
    fine, nodes = True, [node]
    while nodes:
        one = nodes.pop()
        if isinstance(one, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in one.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    fix = "Join the two, or rename one of them"
                    faults.add("error", "a name that is there twice", fix, key.value, first + key.start_mark.line, path)
                    fine = False
                seen.add(str(key.value))
                nodes += [key, value]
        elif isinstance(one, yaml.SequenceNode):
            nodes += one.value
    return fine


def validated(model: type[S], value: Any, document: Document, faults: Collector, place: tuple[str | int, ...] = ()) -> S | None:
    """`value`, which is at `place` of the document, as a `model`; None, with a finding for each mistake, if it is none."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            steps = tuple(step for step in (*place, *one["loc"]) if step != "[key]")
            named = ".".join(map(str, steps)) or document.path.name
            if one["type"] == "extra_forbidden":
                what, fix = f"{named}: no such entry", f"Known here: {', '.join(_fields(model, one['loc']))}"
            else:
                said = (
                    one["msg"].partition(" or instance of ")[0].replace("tuple", "list").replace("dictionary", "mapping of names")
                )
                what, fix = f"{named}: {said[0].lower()}{said[1:]}", "Mend it; see the guide (README, The data)"
            faults.add("error", what, fix, row=document.line(steps), where=document.path)
    return None


def _fields(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Names of the entries that a nested model has."""
    names = list(model.model_fields)
    for step in place[:-1]:
        info = model.model_fields.get(str(step))
        nested = _nested(info.annotation) if info else None
        if nested is not None:
            model, names = nested, list(nested.model_fields)
    return names


def _nested(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((one for one in map(_nested, getattr(annotation, "__args__", ())) if one), None)
