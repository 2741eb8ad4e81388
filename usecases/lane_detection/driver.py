"""Frames from anywhere through the detector, the tracker and the gauge, to annotated video, JSON lines and a summary.

Decoding runs in a thread, as many images are looked at side by side as there are threads, and encoding runs in another thread;
tracking and drawing go on meanwhile. Memory does not grow with the number of frames.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import cv2
import numpy as np
import torch
from pydantic import Field

from shared.data.video import IMAGES, Ahead, Frames, Shot, frames, natural
from shared.errors import UserError
from shared.usecase import Progress
from usecases.lane_detection import answers, calibration
from usecases.lane_detection.answers import FrameDecision, FrameLine, Mounting
from usecases.lane_detection.calibration import Undistorter
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.config import Drive
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.driving import Driving, Gauge
from usecases.lane_detection.outputs import LINES, Kind, Pictures, json_lines, prepare
from usecases.lane_detection.overlay import annotate
from usecases.lane_detection.summary import Journal, counted
from usecases.lane_detection.tracking import Detected, Settings, Tracked, Tracker

EVEN = 0.9  # share of equal steps between the numbers of frames that follow each other
SQUARE = 0.02  # by which share a frame's proportions may differ from the calibrated camera's
GLIMPSE = (32, 18)  # columns and rows by which a scene is known again
CUT = 0.4  # mean difference from which on two images are of different scenes


class LaneOptions(Mounting):
    """What can be set for a video, a folder or a camera."""

    camera: Path | None = Field(None, description="a camera.json, as `usecases tool lane_detection calibrate` writes it")
    undistort: bool = Field(False, description="straighten whole images, not only the lines' points; needs camera")
    video: bool = Field(True, description="whether to write annotated video or images")
    format: Literal["mp4", "avi", "webm"] = Field("mp4", description="of the annotated video; browsers show webm")
    limit: int | None = Field(None, ge=1, description="frames after which to stop")
    fps: float = Field(25.0, gt=0, le=1000, description="frames a second of a folder's images that are followed")
    track: bool | None = Field(
        None, description="whether a folder's images follow each other; not given: if their names are numbered without gaps"
    )
    lane_width_m: float | None = Field(None, gt=0, le=20, description="of lanes, where the camera's height is not known")
    car_width_m: float | None = Field(None, gt=0, le=20, description="between the outer edges of the wheels")


@dataclass(frozen=True)
class Look:
    """A frame and what was found in it; its image is straightened, if that is wanted."""

    shot: Shot
    found: Sequence[Detected] = ()


def process(
    detector: LaneDetector,
    least: float,
    source: str | Path,
    out: Path,
    options: LaneOptions,
    progress: Progress,
) -> dict[str, Any]:
    """Look at every frame and write `out`; see `LanePredictor.process`.

    A frame that cannot be decoded is a line with its fault. On Ctrl-C, or if reading or writing fails, what was done is kept,
    and the summary says so (`interrupted`, `failed`). Of a camera or stream, each line can be read as soon as it is written.
    Images of a folder are followed like a video's frames if their names are numbered alike, and each is taken by itself
    otherwise; `track` overrules that.

    Args:
        detector: reports whatever it has seen, from confidence 0 on.
        least: confidence from which on a line is believed.

    Raises:
        UserError: the source, the options or the folder do not fit, or no frame could be used.
    """
    lens = _lens(options)
    with frames(source, options.fps) as shots:
        kind = _kind(source, shots, options.track)
        _check(options, kind, Path(source).is_dir())
        prepare(source, out)
        journal = Journal(_shown(source), kind)
        eyes = Eyes(detector, lens, options.undistort)
        follower = Follower(eyes, detector.config.drive, options, least, kind == "images", shots.fps)
        pictures = Pictures(out, kind, shots.fps, options.format) if options.video else None
        workers = 1 if shots.live else torch.get_num_threads()  # one frame of a camera is done soonest by itself
        with (
            json_lines(out / LINES, shots.live) as lines,
            Ahead(looks(eyes, islice(shots, options.limit), workers), workers) as looked,
        ):
            handle = partial(_handle, follower, journal, lines, pictures)
            error = _through(looked, handle, [shots, *([pictures] if pictures else [])], journal, options.limit, progress)
            if not journal.frames:  # nothing is left behind
                raise error or UserError(journal.nothing())
        journal.dropped, journal.scenes = shots.dropped, follower.scenes
    summary = journal.write(out)
    if error and not isinstance(error, UserError | OSError | cv2.error):
        raise error
    return summary


def _through(
    looked: Iterable[Look],
    handle: Callable[[Look], None],
    opened: Sequence[Frames | Pictures],
    journal: Journal,
    limit: int | None,
    progress: Progress,
) -> Exception | None:
    """Handle the frames and close what is open; returns why that failed, if it did. Ctrl-C ends it, too."""
    try:
        try:
            for look in looked:
                handle(look)
                progress(1)
        finally:
            for one in opened:
                one.close()
        if journal.number == limit:
            journal.ended = f"after {counted(limit, 'frame')}, as asked for"
    except KeyboardInterrupt:
        if not journal.frames:
            raise
        journal.interrupt()
    except Exception as error:
        journal.fail(error)
        return error
    return None


def looks(look: Callable[[Shot], Look], shots: Iterable[Shot], workers: int) -> Generator[Look]:
    """Every shot looked at, in order; `workers` at the same time, which a network with one thread each makes best use of."""
    waiting: deque[Future[Look]] = deque()
    threads, error = torch.get_num_threads(), None
    if workers > 1:
        torch.set_num_threads(1)
    with ThreadPoolExecutor(workers, "look") as pool:
        try:
            try:
                for shot in shots:
                    waiting.append(pool.submit(look, shot))
                    if len(waiting) >= workers + (workers > 1):
                        yield waiting.popleft().result()
            except Exception as caught:  # what came before it is still given
                error = caught
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(threads)
    if error is not None:
        raise error


class Eyes:
    """Looks at a shot; knows the camera at every size of image."""

    def __init__(self, detector: LaneDetector, lens: Camera | None, straighten: bool) -> None:
        self.detector, self.lens, self.straighten = detector, lens, straighten
        self.straighteners: dict[tuple[int, int], Undistorter] = {}
        _ = detector.fast  # made once, before threads ask for it

    def __call__(self, shot: Shot) -> Look:
        if shot.image is None:
            return Look(shot)
        try:
            image = self._straight(shot.image)
        except UserError as error:
            return Look(replace(shot, image=None, fault=str(error), lost=1))
        return Look(replace(shot, image=image), self.detector([image])[0])

    def camera(self, width: int, height: int) -> Camera | None:
        """Of images of this size, as they are after straightening.

        Raises:
            UserError: they have other proportions than those that the camera was calibrated with.
        """
        if self.lens is None:
            return None
        if abs(width * self.lens.height / (height * self.lens.width) - 1) > SQUARE:
            raise UserError(
                f"The camera was calibrated at {self.lens.width} x {self.lens.height} pixels, an image of {width} x {height} has"
                " other proportions. Calibrate with images of the same camera mode."
            )
        camera = self.lens.resized(width, height)
        return replace(camera, distortion=(0.0,) * 5) if self.straighten else camera

    def _straight(self, image: np.ndarray) -> np.ndarray:
        size = image.shape[1], image.shape[0]
        self.camera(*size)
        if not self.straighten or self.lens is None:
            return image
        if size not in self.straighteners:
            self.straighteners = {size: Undistorter(self.lens.resized(*size))}  # of the latest size alone
        return self.straighteners[size](image)


def glance(image: np.ndarray) -> np.ndarray:
    """The image as a few grey values without brightness and contrast."""
    step = max(1, image.shape[1] // 320)
    grey = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, GLIMPSE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return (small - small.mean()) / (small.std() + 1)


def other_scene(before: np.ndarray, now: np.ndarray) -> bool:
    """Was the film cut, or is the next image of another place? Of one drive, images half a second apart differ by .2 at most."""
    return float(np.abs(now - before).mean()) > CUT


class Follower:
    """From what was found in a frame to the lines followed and the car's place among them."""

    def __init__(self, eyes: Eyes, settings: Drive, options: LaneOptions, least: float, single: bool, fps: float) -> None:
        self.eyes, self.options, self.least, self.single = eyes, options, least, single
        self.pace = Settings.at_rate(fps)
        self.lane_m = options.lane_width_m or settings.lane_width_m
        self.car_m = options.car_width_m or settings.car_width_m
        self.size = (0, 0)
        self.tracker: Tracker | None = None
        self.scenes = 0
        self.glimpse = np.zeros(GLIMPSE[::-1], np.float32)

    def update(self, look: Look) -> tuple[FrameDecision, list[Tracked], Driving | None]:
        """To be called with the frames in order."""
        image, shot = look.shot.image, look.shot
        assert image is not None
        height, width = image.shape[:2]
        glimpse = glance(image)
        if self.single or self.tracker is None or self.size != (width, height) or other_scene(self.glimpse, glimpse):
            self.tracker = self._begin(width, height)
        self.glimpse = glimpse
        sure = [one for one in look.found if one.confidence >= self.least]
        tracked = answers.sided(sure, width, height) if self.single else self.tracker.update(sure, shot.seconds)
        driving = self.gauge.update(tracked, shot.seconds)
        driving = answers.alone(driving, self.gauge.camera) if self.single else driving
        own = [one for one in tracked if one.side and one.held]
        decision = FrameDecision(
            frame=shot.number,
            name=shot.name,
            seconds=round(shot.seconds, 3),
            lane={one.side for one in own if one.confidence >= self.least} >= set(answers.SIDES),
            confidence=round(answers.certainty(tracked, look.found, width, height), 4),
            lines=[_line(one) for one in tracked],
            **answers.quantities(driving),
            extrapolated=any(one.missed for one in own),
            seconds_to_crossing=_crossing(driving),
            warning=driving.departing if driving else "",
        )
        return decision, tracked, driving

    @property
    def camera(self) -> Camera | None:
        """What is known, or assumed, of the camera by now."""
        return self.gauge.camera or self.gauge.assumed

    def _begin(self, width: int, height: int) -> Tracker:
        """Start anew, with images of this size."""
        self.scenes += 1
        lens, height_m = self.eyes.camera(width, height), self.options.height_m or 0.0
        known = self.options.mounted(lens) if lens is not None and self.options.angles else None
        self.size = width, height
        self.gauge = Gauge(known, width, height, self.lane_m, self.car_m, lens, height_m)
        tracker = Tracker(width, height, self.pace)
        tracker.count = self.tracker.count if self.tracker else 0  # numbers are not given again
        return tracker


def _handle(follower: Follower, journal: Journal, lines: IO[str], pictures: Pictures | None, look: Look) -> None:
    """One frame, from what was found to what is written."""
    shot, image = look.shot, look.shot.image
    if image is None:
        journal.fault(shot)
        fault = {"frame": shot.number, "name": shot.name, "seconds": round(shot.seconds, 3), "fault": shot.fault}
        lines.write(json.dumps(fault) + "\n")
        return
    decision, tracked, driving = follower.update(look)
    journal.add(decision, tracked, image, follower.camera)
    lines.write(decision.model_dump_json() + "\n")
    unsure = journal.unsure(decision)
    if pictures or unsure:
        annotate(image, tracked, driving, shot.name if follower.single else f"{shot.name}   {shot.seconds:.1f} s")
    if unsure:
        journal.picture(decision, image)
    if pictures:
        pictures.add(shot, image)


def consecutive(names: Sequence[str]) -> bool:
    """Are these the names of frames that follow each other: three or more, numbered alike, with few gaps?"""
    parts = [re.fullmatch(r"(.*?)(\d+)(\.\w+)", name) for name in names]
    if len(names) < 3 or any(part is None for part in parts) or len({(part[1], part[3]) for part in parts if part}) > 1:
        return False
    steps = np.diff([int(part[2]) for part in parts if part])
    return bool((steps > 0).all() and (steps == np.median(steps)).mean() >= EVEN)


def _lens(options: LaneOptions) -> Camera | None:
    if options.camera is None:
        if options.undistort:
            raise UserError("undistort=true needs camera=FILE: the lens must be known. `usecases tool lane_detection calibrate`.")
        if options.angles:
            raise UserError("pitch_deg needs camera=FILE: without its lens known, the camera's angles are taken from the lines.")
        return None
    return calibration.load(options.camera)


def _kind(source: str | Path, shots: Frames, track: bool | None) -> Kind:
    path = Path(source)
    if shots.live:
        return "live"
    if shots.size != (0, 0):
        return "video"
    names = sorted((one for one in path.iterdir() if one.suffix.lower() in IMAGES), key=natural) if path.is_dir() else []
    follow = consecutive([one.name for one in names]) if track is None else track
    return "sequence" if names and follow else "images"


def _check(options: LaneOptions, kind: Kind, folder: bool) -> None:
    """Refuse settings that would change nothing."""
    given = options.model_fields_set
    single = kind == "images"
    idle = {
        "track": "only for a folder of images" if not folder else "",
        "fps": "only for a folder of images that are followed (track=true)" if kind != "sequence" else "",
        "lane_width_m": "not used where height_m is known" if options.height_m else "",
        "car_width_m": "only for warnings, of which images taken one by one have none" if single else "",
        "format": f"there is no video to write with {'images taken one by one' if single else 'video=false'}"
        if single or not options.video
        else "",
    }
    if faults := [f"{name}: {why}." for name, why in idle.items() if why and name in given]:
        raise UserError(f"{' '.join(faults)} Leave {'it' if len(faults) == 1 else 'them'} out.")


def _shown(source: str | Path) -> str:
    """The source's name, without a password."""
    return re.sub(r"//[^/@]*@", "//", str(source))


def _line(one: Tracked) -> FrameLine:
    return FrameLine(
        points=answers.drawn(one), confidence=round(one.confidence, 4), side=one.side, id=one.id, seen=not one.missed
    )


def _crossing(driving: Driving | None) -> float | None:
    return None if driving is None or driving.seconds_to_crossing is None else round(driving.seconds_to_crossing, 2)
