"""Pieces of HTML that several pages show. All take plain text and numbers and escape them.

Pages make HTML of their own only by `Markup("<p>{}</p>").format(text)`, which escapes what is put in, too.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
from markupsafe import Markup

Kind = Literal["info", "good", "warning", "bad"]
HUE_STEP = 137.508  # degrees: the golden angle, which keeps neighbouring hues apart


def notice(text: str, kind: Kind = "info") -> Markup:
    """A box with a sentence or two, which screen readers speak when it appears."""
    return Markup('<div class="notice {}" role="status">{}</div>').format(kind, text)


def facts(values: Mapping[str, object]) -> Markup:
    """Tiles: what is told small, its value large."""
    tiles = (Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value) for name, value in values.items())
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(tiles))


def table(rows: Sequence[Mapping[str, object]], caption: str) -> Markup:
    """A table with the first row's keys as its head. Where it is too wide it scrolls by itself, not the page."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in (rows[0] if rows else ()))
    lines = (
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(value) for value in row.values()))
        for row in rows
    )
    return Markup(
        '<div class="wide" role="region" aria-label="{0}" tabindex="0"><table><caption>{0}</caption>'
        "<thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>"
    ).format(caption, head, Markup("").join(lines))


def bars(values: Mapping[str, float], caption: str, form: str = "{:+.2f}") -> Markup:
    """Horizontal bars, the longest as long as there is room; values below zero in another colour.

    Args:
        form: how a value is written, as for `str.format`.
    """
    longest = max((abs(value) for value in values.values()), default=0) or 1
    lines = (
        Markup('<li><span>{}</span><b>{}</b><i class="{}" style="width:{:.1f}%"></i></li>').format(
            name, form.format(value), "down" if value < 0 else "up", 100 * abs(value) / longest
        )
        for name, value in values.items()
    )
    return Markup('<div class="bars"><p>{}</p><ul>{}</ul></div>').format(caption, Markup("").join(lines))


def shelf(title: str, cards: Sequence[Markup], note: str = "") -> Markup:
    """A titled row of `card`s that scrolls sideways by itself."""
    return Markup(
        '<section class="shelf"><h3>{0}</h3><p>{1}</p><ul role="region" aria-label="{0}" tabindex="0">{2}</ul></section>'
    ).format(title, note, Markup("").join(cards))


def card(title: str, text: str = "", cover: str = "", hue: int | None = None) -> Markup:
    """One thing on a shelf.

    Args:
        cover: written large on its coloured top.
        hue: which colour that has; the same number is the same colour. None: no top.
    """
    top = Markup("")
    if hue is not None:
        top = Markup('<div class="cover" style="--hue:{:.0f}" aria-hidden="true">{}</div>').format(hue * HUE_STEP % 360, cover)
    return Markup('<li class="card">{}<strong>{}</strong><small>{}</small></li>').format(top, title, text)


def picture(pixels: np.ndarray, alt: str) -> Markup:
    """An image, uint8 [height, width, 3] RGB or [height, width] grey, as wide as there is room.

    Args:
        alt: what is to be seen on it, for those who do not see it.
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    encoded = base64.b64encode(cv2.imencode(".png", bgr)[1].tobytes()).decode("ascii")
    return Markup('<img class="picture" src="data:image/png;base64,{}" alt="{}">').format(encoded, alt)
