"""What the page tells of a video or an image: tiles with numbers, and charts over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from shared.serving.pieces import facts, notice
from usecases.lane_detection.answers import FrameDecision
from usecases.lane_detection.driving import LANE_M

Warned = Sequence[tuple[str, float, float]]  # side, start and end in seconds of each departure warning
FOLLOW = """document.addEventListener("timeupdate", (event) => {
  for (const mark of element.querySelectorAll(".now")) mark.setAttribute("x", 40 + event.target.currentTime * mark.dataset.scale);
}, true);"""  # a video's events do not bubble


@dataclass
class Drive:
    """What was found in a video's frames, and what is true of them if that is known.

    Attributes:
        true: of each frame: `Scene.about`.
        note: what it is, and what was left out; the beginning of the notice above the tiles.
    """

    decisions: list[FrameDecision] = field(default_factory=list)
    true: list[Mapping[str, Any]] = field(default_factory=list)
    note: str = ""


def told_of(drive: Drive) -> Markup:
    """The tiles and charts of a video."""
    found = drive.decisions
    metres = "≈ " if any(one.approximate for one in found) else ""
    offset = max((one.offset_m for one in found if one.offset_m is not None), key=abs, default=None)
    radius = min((one.radius_m for one in found if one.radius_m is not None), key=abs, default=None)
    warned = spans(found)
    tiles = {
        "Frames with a lane": f"{np.mean([one.lane for one in found]):.0%}",
        "Departure warnings": ", ".join(f"{side} at {start:.1f} s" for side, start, _ in warned) or "none",
        "Farthest off the middle": sided(offset, ".2f", metres) if offset is not None else "not known",
        "Tightest bend": _bend(radius, offset, metres),
        "Confidence (median)": f"{np.median([one.confidence for one in found]):.0%}",
    }
    end = found[-1].seconds
    offsets = {"measured": [one.offset_m for one in found]}
    bends = {"measured": [_curvature(one) for one in found]}
    if drive.true:
        offsets["true"] = [true_offset(about) for about in drive.true]
        bends["true"] = [1000 / about["radius_m"] for about in drive.true]
    seconds = [one.seconds for one in found]
    charts = Markup('<div style="display:flex;flex-wrap:wrap;gap:0 2rem">{}{}</div>').format(
        chart("Offset from the lane's middle, metres to the right", seconds, offsets, 1.0, warned, end),
        chart("Curvature, 1/km, positive to the right", seconds, bends, 2.0, warned, end),
    )
    return Markup("{}{}{}{}").format(_notices(found, drive.note), facts(tiles), charts, _legend(bool(drive.true)))


def told_of_image(one: FrameDecision, note: str) -> Markup:
    """The tiles of an image; `note` begins the notice above."""
    metres = "≈ " if one.approximate else ""
    tiles = {
        "Own lane": "found" if one.lane else "not found",
        "Confidence": f"{one.confidence:.0%}",
        "Lines": len(one.lines),
        "Off the lane's middle": "not known" if one.offset_m is None else sided(one.offset_m, ".2f", metres),
        "Bend": _bend(one.radius_m, one.offset_m, metres),
    }
    return Markup("{}{}").format(_notices([one], note), facts(tiles))


def _notices(found: Sequence[FrameDecision], note: str) -> Markup:
    if not any(one.lane for one in found):
        return notice(f"{note}No lane: the two lines beside the car were not found, so nothing is measured.", "warning")
    if any(one.approximate for one in found):
        note += f"Metres are approximate: the camera is not known, the lane is taken to be {LANE_M:g} m wide."
    return notice(note) if note else Markup("")


def sided(value: float, form: str, about: str = "") -> str:
    return f"{about}{abs(value):{form}} m {'right' if value >= 0 else 'left'}"


def _bend(radius: float | None, offset: float | None, about: str) -> str:
    """Without a radius a lane is straight, but only if there is one."""
    return sided(radius, ".0f", about) if radius is not None else "straight" if offset is not None else "not known"


def spans(found: Sequence[FrameDecision]) -> list[tuple[str, float, float]]:
    """Side, start and end, in seconds, of each warning."""
    made: list[tuple[str, float, float]] = []
    before = ""
    for one in found:
        if one.warning and one.warning == before:
            made[-1] = (*made[-1][:2], one.seconds)
        elif one.warning:
            made.append((one.warning, one.seconds, one.seconds))
        before = one.warning
    return made


def true_offset(about: Mapping[str, Any]) -> float:
    """Metres right of the middle of the lane that the camera is in by now."""
    width: float = about["lane_width_m"]
    return (about["offset_m"] + width / 2) % width - width / 2


def _curvature(one: FrameDecision) -> float | None:
    return 1000 / one.radius_m if one.radius_m else 0.0 if one.offset_m is not None else None


def chart(
    title: str,
    seconds: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    least: float,
    warned: Warned,
    end: float,
) -> Markup:
    """SVG: curves over time around zero, with gaps where nothing is known and where they jump; warnings shaded.

    Args:
        least: the range is at least from -least to least.
    """
    limit = max(least, *(1.1 * abs(value) for values in series.values() for value in values if value is not None), 0.0)
    scale = 370 / max(end, 0.1)  # of 420 x 180

    def place(at: float, value: float) -> str:
        return f"{40 + at * scale:.1f},{85 - 65 * value / limit:.1f}"

    marks = [
        Markup(
            '<rect x="{0:.1f}" y="20" width="{1:.1f}" height="130" fill="var(--bad)" opacity=".18"/>'
            '<text x="{0:.1f}" y="14" fill="var(--bad)" font-weight="700" text-anchor="{2}">⚠ {3}</text>'
        ).format(40 + start * scale, max((stop - start) * scale, 3), "end" if start > 0.8 * end else "start", side)
        for side, start, stop in warned
    ]
    marks += [
        Markup('<text x="{:.1f}" y="168" text-anchor="middle" fill="var(--soft)">{} s</text>').format(40 + at * scale, at)
        for at in range(0, int(end) + 1, 1 if end < 8 else 2)
    ]
    marks += [
        Markup('<text x="34" y="{}" text-anchor="end" fill="var(--soft)">{:+.1f}</text>').format(y, value)
        for y, value in ((24, limit), (154, -limit))
    ]
    looks = {"measured": 'stroke="var(--accent)" stroke-width="2.5"', "true": 'stroke="var(--ink)" stroke-dasharray="2 4"'}
    for name, values in series.items():
        for piece in pieces(seconds, values, limit):
            points = " ".join(place(at, value) for at, value in piece)
            marks.append(Markup('<polyline points="{}" fill="none" {}/>').format(points, Markup(looks[name])))
    summary = "; ".join(f"{side} warning from {start:.1f} to {stop:.1f} s" for side, start, stop in warned) or "no warnings"
    return Markup(
        '<figure style="flex:1 1 290px;margin:0 0 1rem;min-width:0"><figcaption>{0}</figcaption>'
        '<svg viewBox="0 0 420 180" width="100%" role="img" aria-label="{0}, over {1:.0f} seconds: {2}" font-size="12">'
        '<path d="M40 20V150H410" fill="none" stroke="var(--edge)"/><path d="M40 85H410" stroke="var(--line)"/>'
        '<text x="34" y="89" text-anchor="end" fill="var(--soft)">0</text>{3}'
        '<rect class="now" data-scale="{4:.3f}" x="40" y="20" width="1.5" height="130" fill="var(--warn)"/></svg></figure>'
    ).format(title, end, summary, Markup("").join(marks), scale)


def pieces(seconds: Sequence[float], values: Sequence[float | None], jump: float) -> Iterator[list[tuple[float, float]]]:
    """The parts of a curve without gaps and without jumps from one lane to the next."""
    piece: list[tuple[float, float]] = []
    for at, value in zip(seconds, values, strict=True):
        if piece and (value is None or abs(value - piece[-1][1]) > jump):
            yield piece
            piece = []
        if value is not None:
            piece.append((at, value))
    if piece:
        yield piece


def _legend(true: bool) -> Markup:
    known = " Dotted: the truth, as the simulator knows it." if true else ""
    return Markup('<p class="soft">Blue: measured.{} Shaded: departure warning. This is no safety system.</p>').format(known)
