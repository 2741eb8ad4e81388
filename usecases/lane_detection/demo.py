"""The page: rendered drives and the visitor's own image or video, with lines, a view from above, and the numbers over time."""

from __future__ import annotations

import functools
import math
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from markupsafe import Markup

from shared.data.images import content, decoded
from shared.data.video import Shot, Writer, frames
from shared.errors import UserError
from shared.serving.demo import Demo
from shared.serving.pieces import notice, picture
from usecases.lane_detection import simulator
from usecases.lane_detection.answers import FrameDecision
from usecases.lane_detection.calibration import Undistorter
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.driver import Eyes, Follower, LaneOptions
from usecases.lane_detection.driving import birds_eye
from usecases.lane_detection.overlay import annotate, colour
from usecases.lane_detection.predictor import LanePredictor
from usecases.lane_detection.simulator import Scene
from usecases.lane_detection.telling import FOLLOW, Drive, told_of, told_of_image
from usecases.lane_detection.tracking import Tracked

DRIVES = {  # seeds of the simulator
    "Leaving the lane": 1031,
    "Bend": 1181,
    "Rain": 1026,
    "Night": 1002,
    "No lines at all": 1033,
}
SECONDS, RATE = 6, 15  # of a rendered drive; images a second
LONGEST, FASTEST = 10, 15.0  # of a visitor's video: seconds, images a second (about); what is more is left out
LARGEST = 4096 * 2304  # pixels of a visitor's video
WIDTH, HEIGHT = 640, 360  # that a frame is fitted into; a larger one takes longer to encode than a visitor waits
AREA = (-8.0, 8.0, 5.0, 45.0)  # of the view from above: left, right, near, far, metres
SHADE, WHITE = (52, 44, 38), (255, 255, 255)  # BGR; shade is where there is nothing to be seen
FILES = [".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"]
WAIT = notice("The first frame. The simulator is driving on, and the model watches: the film is there in a moment.")
SHOWN = "Camera, and the road from above"
straighten = functools.lru_cache(4)(Undistorter)  # its maps take long to make

Advance = Callable[[float], object]


def page(demo: Demo) -> None:
    """Build it."""
    drives = Drives(demo.predictor)
    megabytes = demo.service.settings.body_bytes >> 20

    def rendered(name: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008  # Gradio looks for it
        if name is None:  # the visitor's own is shown
            yield gr.skip(), gr.skip(), gr.skip()
            return
        if name not in drives.made:
            yield gr.Video(visible=False), still(drives.glimpse(name)), WAIT
        file, told = drives.rendered(name, lambda share: progress(share, desc="The simulator drives, the model watches"))
        yield gr.Video(file, visible=True), still(), told

    def uploaded(file: str, progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        yield gr.skip(), gr.skip(), gr.skip(), None, None  # the next file can come, also if this one cannot be used
        with tempfile.TemporaryDirectory(prefix="lanes-") as folder:  # Gradio has a copy when it goes on after `yield`
            try:
                shown, told = look_at(
                    demo.predictor, Path(file), Path(folder), lambda share: progress(share, desc="The model watches")
                )
            except UserError as error:  # what was shown before is not of this file
                yield gr.Video(None, visible=False), still(), notice(str(error), "bad"), gr.skip(), gr.skip()
                return
            image = shown if isinstance(shown, Markup) else None
            film = gr.Video(None if image else shown, visible=not image)
            yield film, still(image), told, gr.skip(), gr.skip()

    with gr.Row(equal_height=True):
        with gr.Column(scale=3, min_width=290):
            chosen = gr.Radio(
                list(DRIVES),
                value=next(iter(DRIVES)),
                label="Example drive",
                info="Rendered by a simulator, so the truth is known",
            )
        with gr.Column(scale=2, min_width=290):
            own = gr.File(
                label=f"Or your own image or video, up to {megabytes} MB", file_types=FILES, type="filepath", height=150
            )
    film = gr.Video(
        label=SHOWN, show_label=False, visible=False, autoplay=True, loop=True, interactive=False, buttons=["download"]
    )
    image = gr.HTML(visible=False, label=SHOWN, padding=False)
    told = gr.HTML(label="What was measured", padding=False, min_height=120, js_on_load=FOLLOW)
    drive = gr.on(None, rendered, chosen, [film, image, told], show_progress_on=told)
    upload = own.upload(uploaded, own, [film, image, told, own, chosen], show_progress_on=told, cancels=[drive])
    chosen.input(None, cancels=[upload])  # what was asked for last is shown, whichever is done last


def still(shown: Markup | None = None) -> gr.HTML:
    """Show a picture, or none."""
    return gr.HTML(shown or "", visible=shown is not None)


class Drives:
    """Rendered drives: each made when it is first asked for, and kept in a temporary folder."""

    def __init__(self, predictor: LanePredictor) -> None:
        self.predictor = predictor
        self.folder = tempfile.TemporaryDirectory(prefix="lanes-")
        self.made: dict[str, tuple[str, Markup]] = {}
        self.lock = threading.Lock()

    def rendered(self, name: str, advance: Advance) -> tuple[str, Markup]:
        """The annotated video's path and what is told of it; whoever asks meanwhile waits."""
        with self.lock:
            if name not in self.made:
                self.made[name] = self._make(DRIVES[name], advance)
            return self.made[name]

    def glimpse(self, name: str) -> Markup:
        """The first frame, until the rest is made."""
        first = next(simulator.clip(DRIVES[name], 1, RATE))
        shown, _ = self._watcher(first)(Shot(0, name, 0.0, first.image))
        return shown_still(shown)

    def _watcher(self, first: Scene) -> Watcher:
        """One that knows the camera."""
        camera = replace(first.camera, yaw=first.camera.yaw - float(first.about["heading_rad"]))  # as it is mounted in the car
        pitch, yaw, roll = (math.degrees(angle) for angle in (camera.pitch, camera.yaw, camera.roll))
        options = LaneOptions(height_m=camera.above, pitch_deg=pitch, yaw_deg=yaw, roll_deg=roll)
        return Watcher(self.predictor, RATE, camera, options)

    def _make(self, seed: int, advance: Advance) -> tuple[str, Markup]:
        drive, count = Drive(), SECONDS * RATE
        first = next(simulator.clip(seed, 1, RATE))

        def shots() -> Iterator[Shot]:
            for number, scene in enumerate(simulator.clip(seed, count, RATE)):
                drive.true.append(scene.about)
                yield Shot(number, str(number), number / RATE, scene.image)
                advance((number + 1) / count)

        file = Path(self.folder.name) / f"{seed}.webm"
        watch(self._watcher(first), shots(), RATE, file, drive)
        return str(file), told_of(drive)


def look_at(predictor: LanePredictor, file: Path, folder: Path, advance: Advance) -> tuple[str | Markup, Markup]:
    """A visitor's image or video.

    Args:
        folder: for the annotated video.

    Returns:
        The video's path, or the picture; and what is told of it.

    Raises:
        UserError: it is neither, too large, empty or damaged.
    """
    kind = kind_of(file)
    if kind == "image":
        try:
            image = decoded(content(file), colour=True)
        except OSError as error:
            raise UserError(f"{file.name}: {error}. Give a whole JPEG, PNG or WebP file.") from None
        shown, decision = Watcher(predictor, 0.0)(Shot(0, file.name, 0.0, image))
        return shown_still(shown), told_of_image(decision, f"{file.name}. ")
    try:
        return _watched(predictor, file, folder / "lanes.webm", advance)
    except UserError as error:
        raise UserError(str(error).replace(str(file), file.name)) from None  # where it lies here is nobody's business


def _watched(predictor: LanePredictor, file: Path, out: Path, advance: Advance) -> tuple[str, Markup]:
    with frames(file) as opened:
        width, height = opened.size
        if width * height > LARGEST:
            raise UserError(f"{file.name} has {width} x {height} pixels. Make it smaller: up to 4096 x 2304 are looked at here.")
        fps, drive = opened.fps or FASTEST, Drive()
        step = max(1, round(fps / FASTEST))
        most = round(LONGEST * fps)

        def shots() -> Iterator[Shot]:
            expected = min(opened.count or most, most)
            for shot in islice(opened, most):
                advance(min((shot.number + 1) / expected, 1.0))
                if shot.image is not None and shot.number % step == 0:
                    yield shot

        watch(Watcher(predictor, fps / step), shots(), fps / step, out, drive)
        if not drive.decisions:
            raise UserError(f"{file.name} holds no frame that can be read. Try another file.")
        drive.note = f"{file.name}. "
        if opened.count > most:
            drive.note += f"The first {LONGEST} of its {opened.count / fps:.0f} seconds. "
    return str(out), told_of(drive)


def shown_still(shown: np.ndarray) -> Markup:
    return picture(shown[..., ::-1], "the image with the lines that were found; beside it the road from above")


def kind_of(file: Path) -> str:
    """Whether a file is an "image" or a "video": by how it begins, as its name is the visitor's.

    Playlists and the like, which name other files, are not let through to the decoder.

    Raises:
        UserError: neither.
    """
    with file.open("rb") as opened:
        head = opened.read(12)
    if not head:
        raise UserError(f"{file.name} is empty. Give an image or a video of a road.")
    if head.startswith((b"\xff\xd8", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")) or (head[:4], head[8:]) == (b"RIFF", b"WEBP"):
        return "image"
    if (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or head.startswith(b"\x1a\x45\xdf\xa3")
        or (head[:4], head[8:]) == (b"RIFF", b"AVI ")
    ):
        return "video"
    raise UserError(f"{file.name} is neither an image nor a video. Give a JPEG, PNG, WebP, MP4, MOV, WebM, MKV or AVI file.")


class Watcher:
    """Looks at frame after frame. Of a camera that is not known it assumes what the lines tell.

    Args:
        fps: frames a second; 0: an image by itself.
        lens, options: the camera, if it is known, and how it is mounted.
    """

    def __init__(
        self, predictor: LanePredictor, fps: float, lens: Camera | None = None, options: LaneOptions | None = None
    ) -> None:
        self.eyes = Eyes(predictor.candid, lens, False)
        settings, least = predictor.detector.config.drive, predictor.detector.least
        self.follower = Follower(self.eyes, settings, options or LaneOptions(), least, fps == 0, fps)
        self.size = (WIDTH, HEIGHT) if fps else (2 * WIDTH, 2 * HEIGHT)  # a picture need not be encoded in a hurry

    def __call__(self, shot: Shot) -> tuple[np.ndarray, FrameDecision]:
        """The frame with what was found, the road from above at its right: BGR, always of one size; and the decision."""
        assert shot.image is not None
        width, height = self.size
        image = fitted(shot.image, width, height)
        decision, tracked, driving = self.follower.update(self.eyes(replace(shot, image=image)))
        beside = from_above(image, tracked, self.follower.camera, height)
        shown = np.full((height, width, 3), SHADE, np.uint8)
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        shown[top : top + image.shape[0], left : left + image.shape[1]] = annotate(image, tracked, driving)
        return np.hstack([shown, beside]), decision


def watch(watcher: Watcher, shots: Iterable[Shot], fps: float, out: Path, drive: Drive) -> None:
    """Write the annotated video, and add what was found to `drive`."""
    with Writer(out, fps) as writer:
        for shot in shots:
            shown, decision = watcher(shot)
            writer.write(shown)
            drive.decisions.append(decision)


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """As large as fits into width x height; a copy."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def from_above(image: np.ndarray, tracked: Sequence[Tracked], camera: Camera | None, height: int) -> np.ndarray:
    """BGR uint8 [height, ...]: the road in AREA as if flat, with the lines; the same scale in both directions.

    Without a camera, as long as no lane was seen, there is nothing to see.
    """
    left, right, near, far = AREA
    scale = height / (far - near)  # pixels a metre
    size = round((right - left) * scale), height
    panel: np.ndarray = np.full((*size[::-1], 3), SHADE, np.uint8)
    if camera is not None:
        panel = cv2.warpPerspective(straighten(camera)(image), birds_eye(camera, size, AREA), size, borderValue=SHADE)
        for one in tracked:
            metres = camera.ground(one.line)
            metres = metres[np.isfinite(metres).all(1) & (metres[:, 1] > 0) & (metres[:, 1] < 2 * far)]
            points = (metres - (left, far)) * (scale, -scale)
            cv2.polylines(panel, [points.round().astype(np.int32)], False, colour(one.id), round(height / 180), cv2.LINE_AA)
        for ahead in range(10, round(far), 10):
            place = round(height / 50), round((far - ahead) * scale)
            cv2.putText(panel, f"{ahead} m", place, cv2.FONT_HERSHEY_SIMPLEX, height / 1100, WHITE, 1, cv2.LINE_AA)
    panel[:, :2] = WHITE
    return panel
