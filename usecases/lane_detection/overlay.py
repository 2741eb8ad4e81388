"""What was found, drawn into the frame: lines, the car's own lane, and a panel with numbers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from usecases.lane_detection.driving import Driving
from usecases.lane_detection.lanes import Line
from usecases.lane_detection.tracking import Tracked

Colour = tuple[int, int, int]  # blue, green, red
COLOURS: tuple[Colour, ...] = (
    (255, 176, 64),
    (80, 208, 255),
    (220, 120, 255),
    (160, 235, 110),
    (90, 130, 255),
    (235, 225, 90),
    (190, 170, 250),
    (120, 255, 210),
)
LANE: Colour = (110, 190, 60)
ALARM: Colour = (50, 50, 235)
TEXT: Colour = (245, 245, 245)
FAINT: Colour = (170, 170, 170)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 4  # bits of a pixel's fraction, for smooth lines


def colour(number: int) -> Colour:
    """A line's own colour, by its number."""
    return COLOURS[number % len(COLOURS)]


def annotate(image: np.ndarray, tracked: Sequence[Tracked], driving: Driving | None = None, note: str = "") -> np.ndarray:
    """Draw into a frame.

    Args:
        image: BGR uint8 [height, width, 3]; changed in place.
        tracked: lines, in its pixels. Unsure ones are thinner, one that is not seen in this frame is as thin as can be; each
            bears its number and its confidence.
        driving: for the panel and, while a warning is on, the colour of the lane.
        note: a line of text at the bottom, such as the frame's number.

    Returns:
        The same image.
    """
    scale = max(image.shape[1] / 1280, 0.25)
    own = {one.side: one for one in tracked if one.side and one.held}
    alarm = driving.departing if driving else ""
    if len(own) == 2:
        _fill(image, own["left"].line, own["right"].line, ALARM if alarm else LANE)
    for one in tracked:
        _draw(image, one, scale, ALARM if alarm and one.side == alarm else colour(one.id))
    _panel(image, _texts(tracked, own, driving), scale)
    if note:
        _write(image, note, (round(16 * scale), image.shape[0] - round(14 * scale)), 0.5 * scale, FAINT)
    return image


def _texts(tracked: Sequence[Tracked], own: dict[str, Tracked], driving: Driving | None) -> list[tuple[str, str, Colour]]:
    """Lines of the panel: name, value, colour; the first is its title."""
    sure = min((one.confidence for one in own.values() or tracked), default=0.0)
    if len(own) == 2:
        unseen = " not seen now" if any(one.missed for one in own.values()) else ""
        texts = [("lane", f"{sure:.0%}{unseen}", FAINT if unseen else TEXT)]
    elif tracked:
        texts = [(f"{next(iter(own))} line" if own else "other lanes", f"{sure:.0%} no lane", FAINT)]
    else:
        texts = [("no lane", "", FAINT)]
    if driving is None:
        return texts
    about = "~ " if driving.approximate else ""
    if driving.departing:
        texts.append(("LEAVING", driving.departing.upper(), ALARM))
    if driving.offset_m is not None:
        texts.append(("offset", f"{about}{_sided(driving.offset_m, '.2f', 'm')}", TEXT))
    if driving.heading_rad is not None:
        bend = "straight" if driving.radius_m is None else f"{about}{_sided(driving.radius_m, '.0f', 'm')}"
        texts.append(("curve", bend, TEXT))
        texts.append(("heading", f"{about}{_sided(float(np.degrees(driving.heading_rad)), '.1f', 'deg')}", TEXT))
    if driving.seconds_to_crossing is not None:
        texts.append(("crossing", f"{about}in {driving.seconds_to_crossing:.1f} s", TEXT))
    return texts


def _sided(value: float, form: str, unit: str) -> str:
    return f"{abs(value):{form}} {unit} {'right' if value >= 0 else 'left'}"


def _fill(image: np.ndarray, left: Line, right: Line, tint: Colour) -> None:
    """Tint the lane between two lines, as far as both are known; only its bounding box is touched."""
    rows = np.arange(max(left[0, 1], right[0, 1]), min(left[-1, 1], right[-1, 1]) + 1, 4.0)
    if len(rows) < 2:
        return
    one, other = (np.column_stack([np.interp(rows, side[:, 1], side[:, 0]), rows]) for side in (left, right))
    if (one[:, 0] > other[:, 0]).any():
        return  # they cross: there is no lane between them
    points = np.concatenate([one, other[::-1]]).round().astype(np.int32)
    height, width = image.shape[:2]
    x1, y1 = np.clip(points.min(0), 0, (width, height))
    x2, y2 = np.clip(points.max(0) + 1, 0, (width, height))
    if x1 >= x2 or y1 >= y2:
        return
    part = image[y1:y2, x1:x2]
    tinted = part.copy()
    cv2.fillPoly(tinted, [points - (x1, y1)], tint)
    cv2.addWeighted(tinted, 0.3, part, 0.7, 0, dst=part)


def _draw(image: np.ndarray, one: Tracked, scale: float, tint: Colour) -> None:
    strength = 0.4 + 0.6 * one.confidence
    thick = 1 if one.missed else max(1, round(5 * scale * strength))
    limit = 4 * max(image.shape)  # far outside, fixed-point numbers overflow
    points = np.round(np.clip(one.line, -limit, limit) * 2**SHIFT).astype(np.int32)
    cv2.polylines(image, [points], False, tint, thick, cv2.LINE_AA, SHIFT)
    inside = one.line[(one.line[:, 0] > 0) & (one.line[:, 0] < image.shape[1] - 90 * scale) & (one.line[:, 1] < image.shape[0])]
    if len(inside):
        x, y = inside[int(0.75 * (len(inside) - 1))]
        _write(image, f"{one.id}: {one.confidence:.0%}", (round(float(x) + 14 * scale), round(float(y))), 0.55 * scale, tint)


def _panel(image: np.ndarray, texts: Sequence[tuple[str, str, Colour]], scale: float) -> None:
    """A dark box at the top left: names in one column, values in another."""
    step, edge, size = round(30 * scale), round(14 * scale), 0.62 * scale
    first, second = max(_wide(text[0], size) for text in texts), max(_wide(text[1], size) for text in texts)
    gap = edge if second else 0
    _darken(image, (edge, edge), (first + gap + second + 2 * edge, step * len(texts) + edge))
    for number, (name, value, tint) in enumerate(texts):
        row = round(edge + step * (number + 0.95))
        _put(image, name, (2 * edge, row), size, tint)
        _put(image, value, (2 * edge + first + gap, row), size, tint)


def _write(image: np.ndarray, text: str, place: tuple[int, int], size: float, tint: Colour) -> None:
    """Text on a dark ground; `place` is its lower left."""
    edge = max(2, round(8 * size))
    _darken(
        image, (place[0] - edge, place[1] - round(24 * size) - edge), (_wide(text, size) + 2 * edge, round(24 * size) + 2 * edge)
    )
    _put(image, text, place, size, tint)


def _put(image: np.ndarray, text: str, place: tuple[int, int], size: float, tint: Colour) -> None:
    cv2.putText(image, text, place, FONT, size, tint, _pen(size), cv2.LINE_AA)


def _wide(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, FONT, size, _pen(size))[0][0]) if text else 0


def _pen(size: float) -> int:
    return max(1, round(2 * size))


def _darken(image: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> None:
    x, y = max(corner[0], 0), max(corner[1], 0)
    part = image[y : max(corner[1] + size[1], 0), x : max(corner[0] + size[0], 0)]
    if part.size:
        cv2.convertScaleAbs(part, dst=part, alpha=0.35)
