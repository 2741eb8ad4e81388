"""A report as one HTML file: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.figure import Figure

from shared.files import write_text


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column is a label, numbers are aligned right. `best` marks rows to stress."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    best: int | None = None


@dataclass(frozen=True)
class Section:
    """A heading, what to make of it in plain words, then figures (with their descriptions) and tables."""

    title: str
    text: str
    figures: Sequence[tuple[Figure, str]] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Report:
    """The page: `verdict` is the one sentence to remember, `findings` are the next few, `facts` are label and value."""

    title: str
    verdict: str
    findings: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)

    def write(self, path: Path) -> None:
        environment = Environment(loader=PackageLoader("shared.report", "."), autoescape=True)
        environment.filters["svg"] = _svg
        environment.filters["is_number"] = lambda cell: isinstance(cell, int | float)
        write_text(path, environment.get_template("report.html.j2").render(report=self))


def _svg(figure: Figure) -> Markup:
    """The figure as inline SVG, in the page's own font."""
    text = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata=no_metadata)
    _, tag, rest = text.getvalue().partition("<svg")
    return Markup(tag + rest)
