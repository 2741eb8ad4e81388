"""What the pages tell about a use case, gathered from its run and its guide: no text is written twice."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from shared.files import read_json
from shared.usecase import UseCase

NAMES = {"roc_auc": "ROC AUC", "ndcg": "NDCG"}  # metrics whose names are not just their words
BLANK = Markup('<svg viewBox="0 0 320 140" aria-hidden="true"><circle cx="160" cy="70" r="32" fill="var(--accent)"/></svg>')


@dataclass(frozen=True)
class Bar:
    """One method's headline metric: `value` and its interval in the metric's unit, 0 to 1."""

    name: str
    value: float
    low: float | None
    high: float | None
    is_model: bool

    def __str__(self) -> str:
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.low is not None and self.high is not None else ""
        return f"{self.value:.3f}{interval}"


@dataclass(frozen=True)
class Quality:
    """How good a run's model is: its headline metric beside that of the best simple method."""

    metric: str
    bars: list[Bar]
    trained: str

    @property
    def most(self) -> float:
        """What the bars' full width stands for."""
        return max(bar.value if bar.high is None else bar.high for bar in self.bars) or 1.0


def quality(folder: Path) -> Quality:
    """What a run's metrics.json and run.json say."""
    metrics, run = read_json(folder / "metrics.json"), read_json(folder / "run.json")
    key, best = metrics["headline"], metrics.get("best_baseline")
    bars = [_bar(metrics["name"], metrics["model"][key], True)]
    if best in metrics["baselines"] and key in metrics["baselines"][best]:
        bars.append(_bar(best, metrics["baselines"][best][key], False))
    on = f"{datetime.fromisoformat(run['ended']).astimezone():%d %b %Y, %H:%M}"
    return Quality(words(key), bars, f"{on}, on {metrics['data']['name']}, in {duration(run['seconds'])}")


def _bar(name: str, found: dict[str, Any], is_model: bool) -> Bar:
    return Bar(name, found["value"], found.get("low"), found.get("high"), is_model)


def words(metric: str) -> str:
    """A metric's name for people: `card_precision@100` is card precision@100."""
    stem, at, k = metric.partition("@")
    return NAMES.get(stem, stem.replace("_", " ")) + at + k


def duration(seconds: float) -> str:
    """In the unit that suits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def picture(usecase: UseCase) -> Markup:
    """The use case's drawing, an SVG of ours that becomes part of the page and takes its colours."""
    file = usecase.configs.parent / "picture.svg"
    return Markup(file.read_text(encoding="utf-8")) if file.exists() else BLANK


def render(markdown: str) -> Markup:
    """Markdown as HTML; HTML in it is shown, not used."""
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Markup(text.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>"))


def guide(usecase: UseCase) -> tuple[str, Markup]:
    """From the use case's README: its first block of commands, and the section on what data is expected."""
    readme = usecase.configs.parent / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    commands = re.search(r"^```sh\n(.*?)^```$", text, re.S | re.M)
    section = re.search(r"^## The data\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return (commands[1] if commands else ""), render(section[1] if section else "")


def example(predictor: Any) -> str:
    """A request that works, as JSON on one line, without what is too long to read; empty if there is none."""
    for request in predictor.examples():
        text = json.dumps(request.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        if len(text) < 500:
            return text
    return ""
