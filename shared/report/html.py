"""A report as one HTML file: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.figure import Figure

from shared.errors import UserError
from shared.files import write_text


class Numeral(str):
    """A number that is written already, such as an amount of money or a share: aligned like numbers."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column is a label, numbers are aligned right. `best` is the row to stress.

    `stacked`: on a narrow page each row becomes a block, with the columns' names before the cells; for rows of sentences.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    best: int | None = None
    caption: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, what to make of it in plain words, then figures (with their descriptions) and tables.

    A blank line in the text starts a new paragraph.
    """

    title: str
    text: str
    figures: Sequence[tuple[Figure, str]] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Report:
    """The page: `verdict` is the one sentence to remember, `findings` are the next few, `facts` are label and value.

    `notice` is what must be known before anything is believed; `tiles` are the few numbers to see first, and what each means.
    """

    title: str
    verdict: str
    findings: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)
    notice: str = ""
    tiles: Sequence[tuple[str, str]] = ()

    def write(self, path: Path) -> None:
        """Raises a UserError as `fits`."""
        fits(path)
        environment = Environment(loader=PackageLoader("shared.report", "."), autoescape=True)
        environment.filters["svg"] = _svg
        environment.tests["numeral"] = _is_number
        environment.filters |= {"cell": _cell, "kind": _kind}
        write_text(path, environment.get_template("report.html.j2").render(report=self))


def fits(path: Path) -> None:
    """Raises a UserError if the file is not named as a page is: it might be somebody's data, which a page would replace."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"A page cannot be written to {path}. Give a name that ends in .html.")


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float | Numeral)


def _cell(cell: Any) -> str:
    """Metrics with four digits, counts with separators."""
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _kind(cell: Any) -> str:
    """How a cell is laid out: short lines are not broken, and long ones get the width to be read."""
    if _is_number(cell):
        return "number"
    width = max(map(len, str(cell).split("\n")))
    return "short" if width <= 20 else "long" if width > 40 else ""


def _svg(figure: Figure) -> Markup:
    """The figure as inline SVG, in the page's own font."""
    text = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata=no_metadata)
    _, tag, rest = text.getvalue().partition("<svg")
    return Markup(tag + rest)
