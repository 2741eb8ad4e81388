"""Typed configuration: defaults in code, then files, then `key=value`; every mistake reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import UserError, nearest


class Section(BaseModel):
    """A group of knobs: unknown keys are refused, values cannot be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hardware(Section):
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to compute")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of training; auto: what the chip is fast at")
    threads: int = Field(0, ge=0, description="CPU threads; 0: all cores")


class Training(Section):
    """The knobs of `shared.training.fit`, the same for every network."""

    epochs: int = Field(20, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(256, ge=1, description="examples a step and process")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps over which the rate rises; then it falls as a cosine")
    patience: int = Field(0, ge=0, description="epochs without a better validation metric before stopping; 0: never stop early")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay a step of a running average of the weights, which is what is kept; 0: the weights themselves",
    )
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: no clipping")


class RunConfig(Section):
    """What every use case's configuration has; use cases add their own sections."""

    seed: int = Field(0, ge=0, description="of splits, initial weights and shuffling")
    train_share: float = Field(
        1.0, gt=0, le=1, description="of the training data that is learnt from, for learning curves; the same is judged with any"
    )
    hardware: Hardware = Hardware()
    tensorboard: bool = Field(False, description="also write TensorBoard events (extra: tensorboard)")

    def settled(self) -> Self:
        """The same with nothing left open, such as a knob whose default is told by others; a run's folder keeps this one."""
        return self


C = TypeVar("C", bound=RunConfig)


def resolve(cls: type[C], files: Sequence[Path] = (), overrides: Sequence[str] = ()) -> C:
    """Read configuration files in order, then `key.path=value` overrides (values are YAML).

    Raises:
        UserError: lists every unreadable file, unknown key and invalid value together.
    """
    merged: dict[str, Any] = cls().model_dump()  # a changed key must not reset its neighbours to another default
    problems: list[str] = []
    for path in files:
        try:
            layer = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{path}: cannot be read as YAML ({error})")
            continue
        if isinstance(layer, dict):
            merge(merged, layer)
        else:
            problems.append(f"{path}: must hold `key: value` pairs, holds {type(layer).__name__}")
    for override in overrides:
        key, equals, text = override.partition("=")
        value = read_value(text)
        if not equals or not key:
            problems.append(f"'{override}': expected key=value, for example seed=1")
            continue
        for part in reversed(key.split(".")):
            value = {part: value}
        merge(merged, value)
    try:
        config = cls.model_validate(merged)
    except ValidationError as error:
        problems += [_explain(cls, e) for e in error.errors(include_url=False)]
    if problems:
        raise UserError("The configuration has these problems:\n" + "\n".join(f"  - {p}" for p in problems))
    return config


def read_value(text: str) -> Any:
    """The value of a KEY=VALUE: YAML; what is none, such as a comma, is text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def dump(config: Section) -> str:
    """YAML of the complete configuration; `resolve` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def knobs(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every knob as (dotted key, default, description)."""
    for name, info in cls.model_fields.items():
        kind = _model(info.annotation)
        if kind is None:
            yield prefix + name, info.get_default(call_default_factory=True), info.description or ""
        else:
            yield from knobs(kind, f"{prefix}{name}.")


def reference(config: RunConfig) -> list[dict[str, str]]:
    """A row for each knob, for people: its key, value in this configuration (as YAML), what it may be, and what it does."""
    rows, values = [], config.settled().model_dump(mode="json")
    for key, _, description in knobs(type(config)):
        value: Any = values
        for part in key.split("."):
            value = value and value.get(part)  # of a section that is by the data there is none
        written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
        default = written.strip().removesuffix("...").strip()
        rows.append({"key": key, "default": default, "may be": _allowed(type(config), key), "what it does": description})
    return rows


def _allowed(cls: type[BaseModel], key: str) -> str:
    """The values of a choice, or the bounds of a number; empty where the type tells nothing more."""
    *sections, name = key.split(".")
    for section in sections:
        cls = _model(cls.model_fields[section].annotation) or cls
    field = cls.model_fields[name]
    choices = [
        one for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal for one in get_args(kind)
    ]
    signs = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}", "multiple_of": "a multiple of {}"}
    bounds = [
        text.format(f"{getattr(one, sign):g}") for one in field.metadata for sign, text in signs.items() if hasattr(one, sign)
    ]
    return ", ".join([*map(str, choices), *bounds])


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model, get_args(annotation)) if m), None)


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put a layer's values over those of `into`, which is changed; sections are merged, not replaced."""
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def _explain(cls: type[BaseModel], error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key. {nearest(key, (name for name, _, _ in knobs(cls)))}"
    about = {name: description for name, _, description in knobs(cls)}.get(key)
    hint = f" ({about})" if about else ""
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}{hint}"
