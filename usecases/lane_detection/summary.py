"""What is remembered of a drive, however long, and its page: numbers, plots, warnings, faults and the least sure frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from shared.data.video import Shot
from shared.files import write_json
from shared.report import Report, Section, Table
from shared.report.plots import ACCENT, GRID, INK, QUIET, STYLE
from usecases.lane_detection.answers import FrameDecision
from usecases.lane_detection.calibration import Undistorter
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.driving import birds_eye
from usecases.lane_detection.overlay import annotate, colour
from usecases.lane_detection.tracking import Tracked

SUMMARY, PAGE = "summary.json", "summary.html"
POINTS = 3000  # of a curve; a longer drive is thinned
LISTED = 200  # warnings and faults that are listed
WORST, SMALL, APART = 6, 400, 1.0  # pictures of the least sure frames, their width in pixels, seconds between them
AREA = (-8.0, 8.0, 5.0, 45.0)  # of the view from above: left, right, near, far, metres
ALARM = "#b23a48"
WHAT = {"video": "video", "sequence": "images that follow each other", "images": "images, each by itself", "live": "live"}


@dataclass
class Departure:
    """A warning, from when to when: seconds."""

    side: str
    start: float
    end: float
    frame: int


@dataclass
class Curves:
    """[points] each over time; every `stride`-th frame, so that memory stays constant."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, row: tuple[float, ...]) -> None:
        if self.seen % self.stride == 0:
            self.rows.append(row)
        self.seen += 1
        if len(self.rows) > POINTS:
            self.rows, self.stride = self.rows[::2], 2 * self.stride

    def columns(self) -> np.ndarray:
        """[6, points]: seconds, offset in m, curvature in 1/km, lines, confidence, whether there is a lane."""
        return np.array(self.rows, np.float64).reshape(-1, 6).T


class Journal:
    """Takes in the frames of a drive in order.

    Attributes:
        number, frames: shots seen, and those of them that could be looked at.
        faulty: frames that could not be decoded or used.
        ended: how it came to an end, for the reader.
        dropped: frames of a live source that there was no time for.
        scenes: how often lines were looked for anew, as after a cut.
    """

    def __init__(self, source: str, kind: str) -> None:
        self.source, self.kind = source, kind
        self.number = self.frames = self.with_lane = self.dropped = self.scenes = self.faulty = self.warned = 0
        self.ids = 0  # the highest number of a line
        self.ended, self.interrupted, self.failed, self.approximate = "at the end of the source", False, False, False
        self.faults: list[tuple[int, str, float, str]] = []
        self.told = 0  # faults, each of which may stand for many frames
        self.departures: list[Departure] = []
        self.departing = ""
        self.curves = Curves()
        self.sum, self.seconds = 0.0, 0.0
        self.worst: list[tuple[FrameDecision, np.ndarray]] = []
        self.best: tuple[float, np.ndarray, Sequence[Tracked], Camera] | None = None
        self.begun = time.monotonic()

    def add(self, decision: FrameDecision, tracked: Sequence[Tracked], image: np.ndarray, camera: Camera | None) -> None:
        """Remember a frame; its image as it is before anything is drawn."""
        self.number, self.frames, self.seconds = self.number + 1, self.frames + 1, decision.seconds
        self.with_lane += decision.lane
        self.sum += decision.confidence
        self.ids = max([self.ids, *(one.id for one in tracked)])
        self.approximate |= decision.approximate
        nothing = float("nan")
        offset = nothing if decision.offset_m is None else decision.offset_m
        bend = 1000 / decision.radius_m if decision.radius_m else 0.0 if decision.lane else nothing
        x = float(decision.frame) if self.kind == "images" else decision.seconds
        self.curves.add((x, offset, bend, len(tracked), decision.confidence, decision.lane))
        self._warn(decision)
        if decision.lane and camera is not None and decision.confidence > (self.best[0] + 0.02 if self.best else 0.0):
            self.best = decision.confidence, image.copy(), tracked, camera

    def fault(self, shot: Shot) -> None:
        self.number, self.told, self.faulty = self.number + 1, self.told + 1, self.faulty + shot.lost
        if len(self.faults) < LISTED:
            self.faults.append((shot.number, shot.name, round(shot.seconds, 2), shot.fault))

    def unsure(self, decision: FrameDecision) -> bool:
        """Is it one of the frames with the lowest confidence so far?"""
        near = self._near(decision)
        if near is not None:
            return decision.confidence < self.worst[near][0].confidence
        return len(self.worst) < WORST or decision.confidence < self.worst[-1][0].confidence

    def picture(self, decision: FrameDecision, image: np.ndarray) -> None:
        """Keep a small copy of an unsure frame."""
        near = self._near(decision)
        if near is not None:
            del self.worst[near]
        small = cv2.resize(image, (SMALL, round(SMALL * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
        self.worst = sorted([*self.worst, (decision, small)], key=lambda one: one[0].confidence)[:WORST]

    def interrupt(self) -> None:
        """Ctrl-C, which is how a camera is stopped."""
        self.interrupted = self.kind != "live"
        self.ended = f"interrupted after {counted(self.number, 'frame')}" if self.interrupted else "stopped by Ctrl-C"

    def fail(self, error: Exception) -> None:
        """Reading or writing failed: what was done until then is kept."""
        self.failed, self.ended = True, f"broke off: {error}"

    def nothing(self) -> str:
        """Why there is no result."""
        if self.faults:
            return f"{self.source}: of {counted(self.number, 'frame')} none could be used. The first: {self.faults[0][3]}"
        return f"{self.source}: no frame could be read; it ended {self.ended}."

    def write(self, out: Path) -> dict[str, Any]:
        """summary.json and summary.html; returns the main numbers."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        summary: dict[str, Any] = {
            "source": self.source,
            "taken as": WHAT[self.kind],
            "frames": self.frames,
            "not decoded": self.faulty,
            "with a lane": round(self.with_lane / self.frames, 4),
            "confidence": round(self.sum / self.frames, 4),
            "departure warnings": self.warned,
            "ended": self.ended,
            "frames a second": round(self.number / seconds, 1),
            "out": str(out),
        }
        if self.kind != "images":
            summary["lines followed"] = self.ids
            if self.scenes > 1:
                summary["cuts"] = self.scenes - 1
        if self.kind == "live":
            summary["dropped"] = self.dropped
        if self.interrupted:
            summary["interrupted"] = True
        if self.failed:
            summary["failed"] = True
        details = {
            "departures": [vars(one) for one in self.departures],
            "faults": [dict(zip(("frame", "name", "seconds", "fault"), one, strict=True)) for one in self.faults],
            "least sure": [{"frame": one.frame, "name": one.name, "confidence": one.confidence} for one, _ in self.worst],
        }
        write_json(out / SUMMARY, summary | details)
        self._report(summary).write(out / PAGE)
        return summary

    def _warn(self, decision: FrameDecision) -> None:
        if decision.warning and decision.warning != self.departing:
            self.warned += 1
            if len(self.departures) < LISTED:
                self.departures.append(Departure(decision.warning, decision.seconds, decision.seconds, decision.frame))
        if decision.warning and self.warned == len(self.departures):
            self.departures[-1].end = decision.seconds
        self.departing = decision.warning

    def _near(self, decision: FrameDecision) -> int | None:
        """Which of the unsure frames is nearly the same one."""
        if self.kind == "images":
            return None
        return next((k for k, (one, _) in enumerate(self.worst) if abs(one.seconds - decision.seconds) < APART), None)

    def _report(self, summary: dict[str, Any]) -> Report:
        share, sure = summary["with a lane"], summary["confidence"]
        both = f"Both lines of the car's lane were found in {share:.0%} of {counted(self.frames, 'frame')}"
        warned = "" if self.kind == "images" else f" {counted(self.warned, 'departure warning').capitalize()}."
        return Report(
            title=f"Lanes in {Path(self.source).name or self.source}",
            verdict=f"{both}; confidence {sure:.2f} on average.{warned}",
            findings=self._findings(),
            facts=[
                ("source", f"{self.source} ({summary['taken as']})"),
                ("ended", self.ended),
                ("done at", f"{summary['frames a second']:g} frames a second"),
                *([("lines followed", f"{self.ids:,}")] if "lines followed" in summary else []),
                *([("dropped for want of time", f"{self.dropped:,}")] if self.kind == "live" else []),
            ],
            sections=[one for one in (self._time(), self._warnings(), self._above(), self._unsure(), self._faults()) if one],
        )

    def _findings(self) -> list[str]:
        offset = self.curves.columns()[1]
        known = offset[np.isfinite(offset)]
        found = []
        if len(known):
            low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
            found.append(
                f"The camera was {abs(middle):.2f} m {'right' if middle >= 0 else 'left'} of the lane's middle (median);"
                f" nine frames of ten were between {low:+.2f} and {high:+.2f} m (right is positive)."
            )
        if self.approximate:
            found.append(
                "Metres are approximate: the camera's lens or height is not known, so the lane was taken to be of the usual"
                " width. Give camera=FILE (usecases tool lane_detection calibrate makes it) and height_m."
            )
        if self.faulty:
            found.append(f"{counted(self.faulty, 'frame')} could not be decoded: see below.")
        if self.kind != "images" and self.scenes > 1:
            doubt = " If the images do not follow each other, give track=false." if self.kind == "sequence" else ""
            found.append(f"The scene changed {counted(self.scenes - 1, 'time')}; lines were then followed anew.{doubt}")
        if missing := self.frames - self.with_lane:
            found.append(f"{counted(missing, 'frame')} had no lane: one of its lines, or both, were not found.")
        return found

    def _time(self) -> Section:
        stride = self.curves.stride
        thinned = f" Every {stride}th frame is shown." if stride > 1 else ""
        shaded = "" if self.kind == "images" else " Shaded: departure warnings."
        text = f"Gaps are frames in which the quantity is not known. Right is positive.{shaded}{thinned}"
        figure = over_time(self.curves.columns(), self.departures, "image" if self.kind == "images" else "seconds")
        return Section("Over time" if self.kind != "images" else "Image by image", text, [(figure, "the drive in numbers")])

    def _warnings(self) -> Section | None:
        if self.kind == "images":
            return None
        rows = [(f"{one.start:.1f} s", one.side, f"{one.end - one.start:.1f} s", one.frame) for one in self.departures]
        if not rows:
            return Section("Departure warnings", "There were none.")
        more = f" The first {LISTED} of {self.warned:,} are listed." if self.warned > len(rows) else ""
        text = f"A warning goes on when a wheel is, or within moments will be, on a line.{more}"
        return Section("Departure warnings", text, tables=[Table(("at", "side", "for", "frame"), rows)])

    def _above(self) -> Section | None:
        if self.best is None:
            return None
        confidence, image, tracked, camera = self.best
        text = f"The frame with the surest lane (confidence {confidence:.2f}), and the road as if flat and seen from above."
        caption = "a frame, and its road from above; the car is below the picture"
        return Section("From above", text, [(from_above(image, tracked, camera), caption)])

    def _unsure(self) -> Section:
        text = "The frames with the lowest confidence in the car's lane: where to look first for what goes wrong."
        shown = [(f"{one.name}: {one.confidence:.2f}", image) for one, image in self.worst]
        return Section("Where it was least sure", text, [(grid(shown), "the least sure frames, with their confidence")])

    def _faults(self) -> Section | None:
        if not self.faults:
            return None
        more = f" The first {LISTED} of {self.told:,} are listed." if self.told > len(self.faults) else ""
        table = Table(("frame", "name", "at", "fault"), [(str(n), name, f"{s:.1f} s", why) for n, name, s, why in self.faults])
        return Section("Frames that could not be used", "They were skipped." + more, tables=[table])


def counted(number: int, name: str) -> str:
    """Such as "1 frame", "2 frames", "no frames"."""
    return f"{number:,} {name}{'s' * (number != 1)}" if number else f"no {name}s"


def over_time(columns: np.ndarray, departures: Sequence[Departure], unit: str) -> Figure:
    """Offset, curvature, lines and confidence, below each other.

    Args:
        columns: as from `Curves.columns`.
    """
    x = columns[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 7.2))
        parts = figure.subplots(4, 1, sharex=True)
        names = ("offset (m)", "curvature (1/km)", "lines", "confidence")
        mark = "o" if unit == "image" or len(x) < 3 else ""
        line = "none" if unit == "image" else "-"
        for axes, values, name in zip(parts, columns[1:5], names, strict=True):
            axes.plot(x, values, color=ACCENT, linewidth=1.2, marker=mark, markersize=3, linestyle=line)
            axes.set_ylabel(name)
            axes.grid(color=GRID)
            for one in departures:
                axes.axvspan(one.start, max(one.end, one.start + 0.05), color=ALARM, alpha=0.15, linewidth=0)
        for axes, least in zip(parts[:2], (1.0, 2.0), strict=True):  # small swings are not blown up
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, -least), max(high, least))
            axes.axhline(0, color=QUIET, linewidth=0.8)
        parts[2].set_ylim(0, max(float(columns[3].max(initial=0)), 1) + 0.5)
        parts[3].set_ylim(-0.02, 1.02)
        parts[3].set_xlabel(unit)
        figure.align_ylabels()
    return figure


def from_above(image: np.ndarray, tracked: Sequence[Tracked], camera: Camera) -> Figure:
    """The frame, and its road as a map in metres, with the lines."""
    left, right, near, far = AREA
    view = (round(20 * (right - left)), round(12 * (far - near)))
    flat = cv2.warpPerspective(Undistorter(camera)(image), birds_eye(camera, view, AREA), view)
    small = annotate(cv2.resize(image, (2 * SMALL, round(2 * SMALL * image.shape[0] / image.shape[1]))), _resized(tracked, image))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.6))
        seen, axes = figure.subplots(1, 2, width_ratios=(1.9, 1))
        seen.imshow(small[..., ::-1])
        seen.set_axis_off()
        axes.imshow(flat[..., ::-1], extent=(left, right, near, far), aspect="auto")
        for one in tracked:
            metres = camera.ground(one.line)
            blue, green, red = colour(one.id)
            axes.plot(metres[:, 0], metres[:, 1], color=(red / 255, green / 255, blue / 255), linewidth=1.5)
        axes.set(xlim=(left, right), ylim=(near, far), xlabel="m to the right", ylabel="m ahead")
    return figure


def grid(pictures: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Pictures with their titles, three in a row."""
    rows = -(-len(pictures) // 3)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.0 * rows))
        for place, axes in enumerate(figure.subplots(rows, 3, squeeze=False).ravel()):
            axes.set_axis_off()
            if place < len(pictures):
                title, image = pictures[place]
                axes.imshow(image[..., ::-1])
                axes.set_title(title[-40:], fontsize=8, color=INK)
        figure.tight_layout(pad=0.5)
    return figure


def _resized(tracked: Sequence[Tracked], image: np.ndarray) -> list[Tracked]:
    """The lines as in the image made twice `SMALL` wide."""
    factor = 2 * SMALL / image.shape[1]
    return [replace(one, line=one.line * np.float32(factor)) for one in tracked]
