"""Frames in, from whatever shows them, and annotated video out; decoding and encoding overlap with the work between."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import cv2
import numpy as np

from shared.data.images import PIXEL_LIMIT, content, decoded
from shared.errors import UserError
from shared.files import whole

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80"}  # what OpenCV's wheels can encode (H.264 they cannot)
RETRIES = (0.5, 1.0, 2.0)  # seconds before a stream that broke off is tried again
TIMEOUT = 5000  # milliseconds in which a stream must open, and answer
MISSES = 50  # frames that cannot be decoded, one after the other, after which a recording is at its end
T = TypeVar("T")

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # faults are reported by us, each once


@dataclass(frozen=True)
class Shot:
    """One frame of a source.

    Attributes:
        number: from 0, counting frames that could not be decoded, too.
        name: of the image file; of a video, the frame's number.
        seconds: from the source's start.
        image: BGR uint8 [height, width, 3]; None if it could not be decoded, then `fault` says why.
        lost: frames that the fault stands for; none where a live source only broke off.
    """

    number: int
    name: str
    seconds: float
    image: np.ndarray | None
    fault: str = ""
    lost: int = 0


class Ahead(Generic[T]):
    """The items of `upstream`, which runs in a thread of its own, at most `size` items ahead, or dropping the oldest.

    Chained, they make decoding, inference and drawing overlap (OpenCV and PyTorch let other threads run meanwhile). An exception
    upstream is raised here, after the items before it. `close`, or the end of a `with` block, closes upstream.
    """

    def __init__(self, upstream: Iterable[T], size: int = 2, drop: bool = False) -> None:
        self._upstream, self._queue = upstream, _Queue[T](size, drop)
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None and not self._queue.stopped:
            self._thread = threading.Thread(target=self._queue.fill, args=(self._upstream,), name="ahead", daemon=True)
            self._thread.start()
        try:
            return next(self._queue)
        except StopIteration:
            if (error := self._queue.error) is not None:
                self._queue.error = None
                raise error from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._queue.end(stop=True)

    def close(self) -> None:
        """End the thread, and upstream."""
        self._queue.end(stop=True)
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT / 1000)


class Frames(Ahead[Shot]):
    """The frames of a source, decoded in a background thread a few ahead of whoever asks. To be gone through once.

    Who is slow gets a live source's newest frame; those before it are dropped, and counted. A broken stream is tried again.

    Attributes:
        fps: frames a second; of a folder, the number given; 0 if a camera does not say.
        count: frames to expect; 0 if unknown.
        size: width and height, pixels; (0, 0) for images, which may differ.
        live: a camera or a stream.
    """

    def __init__(self, shots: Iterator[Shot], fps: float, count: int, size: tuple[int, int] = (0, 0), live: bool = False) -> None:
        super().__init__(shots, size=1 if live else 4, drop=live)
        self.fps, self.count, self.size, self.live = fps, count, size, live

    @property
    def dropped(self) -> int:
        """Frames of a live source that nobody had time for."""
        return self._queue.dropped


def frames(source: str | Path, fps: float = 25.0) -> Frames:
    """Open an image, a folder of images, a video file, a camera ("0") or a stream ("rtsp://…", "http://…").

    Args:
        source: cameras and streams as text; a number is a camera's unless a file or folder has that name.
        fps: frames a second that the numbered images of a folder stand for.

    Raises:
        UserError: there is no such source, or nothing in it can be read.
    """
    if is_live(source):
        text = str(source)
        if "://" in text:
            return _video(text, re.sub(r"//[^/@]*@", "//", text), True)  # passwords stay out of messages
        return _video(int(text), f"camera {text}", True)
    path = Path(source)
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGES), key=natural)
        if not files:
            raise UserError(f"{path} holds no images. Give a folder with files that end in {', '.join(IMAGES)}, or a video file.")
        return Frames(_images(files, fps), fps, len(files))
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give an image, a folder of images, a video, a camera's number such as 0, or a stream's URL."
        )
    if path.suffix.lower() in IMAGES:
        return Frames(_images([path], fps), fps, 1)
    return _video(str(path), str(path), False)


def is_live(source: str | Path) -> bool:
    """Does it name a camera or a stream, and no path? What `frames` opens as one."""
    return isinstance(source, str) and ("://" in source or (source.isdecimal() and not Path(source).exists()))


def natural(path: Path) -> tuple[Any, ...]:
    """A key that sorts 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", path.name.lower())
    return (*((int(part), part) if part.isdecimal() else (-1, part) for part in parts), path.name)


class Writer:
    """Writes a video in a background thread. The file appears when the writer is closed, also by an exception or Ctrl-C.

    Images of another size than the first are fitted in with black margins. One must not be changed after it was given away.

    A 1280 x 720 frame takes 4 ms of a core as .mp4 (MPEG-4 part 2: players show it, browsers do not) or .avi (Motion JPEG), and
    80 ms as .webm (VP8: browsers show it).

    Raises:
        UserError: the name's end is none of these, or the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise UserError(f"Cannot write {self.path}: a video's name ends in {', '.join(CODECS)}.")
        self.fps = fps if fps > 0 else 25.0
        self.written = 0
        self._queue: _Queue[np.ndarray] = _Queue(4)
        self._thread = threading.Thread(target=self._run, name="video writer", daemon=True)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, image: np.ndarray) -> None:
        """Add a BGR uint8 image [height, width, 3]."""
        if self._queue.error is not None:
            self.close()
        if self._thread.ident is None:
            self._thread.start()
        self._queue.put(image)

    def close(self) -> None:
        """Write what is waiting and finish the file; without a frame there is none."""
        self._queue.end()
        while self._thread.is_alive():
            self._thread.join(0.2)  # so that a second Ctrl-C is heard
        if (error := self._queue.error) is not None:
            self._queue.error = None
            raise error if isinstance(error, UserError) else UserError(f"Cannot write {self.path}: {error}") from error

    def _run(self) -> None:
        try:
            with whole(self.path) as partial:
                self._encode(partial)
        except BaseException as error:
            self._queue.error = error
        finally:
            self._queue.end(stop=True)

    def _encode(self, partial: Path) -> None:
        first = next(self._queue)
        size = first.shape[1] & ~1, first.shape[0] & ~1  # the codecs want even sizes
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
        file = cv2.VideoWriter(str(partial), cv2.CAP_FFMPEG, code, self.fps, size)
        if not file.isOpened():
            raise UserError(f"Cannot write {self.path}: this OpenCV has no encoder for it. Valid: {', '.join(CODECS)}.")
        try:
            file.write(_fitted(first, size))
            self.written = 1
            for image in self._queue:
                file.write(_fitted(image, size))
                self.written += 1
        finally:
            file.release()
        if not partial.exists() or not partial.stat().st_size:
            raise UserError(f"Cannot write {self.path}: nothing arrived on the disk. Is it full?")


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = cv2.resize(image, (min(width, round(image.shape[1] * scale)), min(height, round(image.shape[0] * scale))))
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    margins = top, height - inner.shape[0] - top, left, width - inner.shape[1] - left
    return cv2.copyMakeBorder(inner, *margins, cv2.BORDER_CONSTANT)


def _images(files: list[Path], fps: float) -> Iterator[Shot]:
    for number, file in enumerate(files):
        try:
            yield Shot(number, file.name, number / fps, decoded(content(file), colour=True))
        except OSError as error:
            yield Shot(number, file.name, number / fps, None, f"{file.name}: {error}", 1)


def _open(source: str | int) -> cv2.VideoCapture:
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        if isinstance(source, int):
            return cv2.VideoCapture(source)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT] if "://" in source else []
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    finally:
        cv2.utils.logging.setLogLevel(before)


def _video(source: str | int, name: str, live: bool) -> Frames:
    capture = _open(source)
    if not capture.isOpened():
        capture.release()
        if isinstance(source, int):
            raise UserError(f"There is no {name}, or another program uses it. Try another number, or give a video file.")
        if live:
            raise UserError(f"The stream {name} does not answer within {TIMEOUT / 1000:g} s. Check the address and the network.")
        raise UserError(
            f"{name} is not a video that can be read. If it was cut off, its index may be missing, without which an MP4"
            " file cannot be decoded: record to .mkv or .avi, or repair it."
        )
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if size[0] * size[1] > PIXEL_LIMIT:
        capture.release()
        raise UserError(
            f"{name} has {size[0]} x {size[1]} pixels, more than the limit of {PIXEL_LIMIT:,}. Make it smaller first."
        )
    fps = capture.get(cv2.CAP_PROP_FPS)
    fps = fps if 0 < fps < 1000 else 0.0
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    live = live and count == 0  # a file behind a URL can wait
    shots = _live(source, name, capture) if live else _recorded(name, capture, fps or 25.0, count)
    return Frames(shots, fps, count, size, live)


def _recorded(name: str, capture: cv2.VideoCapture, fps: float, count: int) -> Iterator[Shot]:
    """A decoder says of a frame that it cannot be decoded, as it does at the end, or leaves it out: a gap in time."""
    number, read, seconds, gaps = 0, 0, 0.0, []
    try:
        while (answer := _next(capture, count - number)) is not None:
            missed, image = answer
            now = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            now = max(now, seconds) if now > 0 else (number + missed) / fps
            if number and now - seconds > (1.5 + missed) / fps:
                gaps.append(f"{seconds:.1f} s")
            for left in range(missed, 0, -1):
                fault = f"{name}: frame {number} cannot be decoded."
                yield Shot(number, str(number), max(now - left / fps, seconds), None, fault, 1)
                number += 1
            seconds = now
            yield Shot(number, str(number), seconds, image)
            number, read = number + 1, read + 1
    finally:
        capture.release()
    if (lost := count - number) > (not gaps):  # the count is an estimate in some files
        after = f"there are gaps after {', '.join(gaps[:5])}" if gaps else f"it ends after {seconds:.1f} s"
        fault = f"{name} should have {count} frames, of which {read} could be read: {after}. It is damaged, or was cut off."
        yield Shot(number, str(number), seconds, None, fault, lost)


def _next(capture: cv2.VideoCapture, expected: int) -> tuple[int, np.ndarray] | None:
    """How many frames, of those still expected, cannot be decoded, and the one after them; None at the end."""
    for missed in range(max(min(expected, MISSES), 1)):
        begun = time.monotonic()
        fine, image = capture.read()
        if fine:
            return missed, image
        if time.monotonic() - begun > 1:  # the network is gone: each further frame would take as long
            break
    return None


def _live(source: str | int, name: str, capture: cv2.VideoCapture) -> Iterator[Shot]:
    start, number, waits = time.monotonic(), 0, list(RETRIES)
    try:
        while True:
            answer = capture.read()
            seconds = time.monotonic() - start
            if answer[0]:
                waits = list(RETRIES)
                yield Shot(number, str(number), seconds, answer[1])
            else:
                again = f"trying again in {waits[0]:g} s" if waits else "giving up"
                yield Shot(number, str(number), seconds, None, f"{name} broke off: {again}.")
                if not waits:
                    return
                capture.release()
                time.sleep(waits.pop(0))
                capture = _open(source)
            number += 1
    finally:
        capture.release()


class _Queue(Generic[T]):
    """Between two threads: bounded; its writer waits, or drops the oldest item that waits."""

    def __init__(self, size: int, drop: bool = False) -> None:
        self.size, self.drop, self.dropped = max(size, 1), drop, 0
        self.waiting: deque[T] = deque()
        self.changed = threading.Condition()
        self.done = False  # nothing more will come
        self.stopped = False  # nobody wants any more
        self.error: BaseException | None = None

    def put(self, item: T) -> bool:
        """False if nobody wants it."""
        with self.changed:
            while len(self.waiting) >= self.size and not self.stopped:
                if self.drop:
                    self.waiting.popleft()
                    self.dropped += 1
                else:
                    self.changed.wait(0.2)  # with a time limit, or Ctrl-C is not heard on every system
            if not self.stopped:
                self.waiting.append(item)
            self.changed.notify_all()
            return not self.stopped

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self.changed:
            while not self.waiting and not self.done:
                self.changed.wait(0.2)
            if not self.waiting:
                raise StopIteration
            item = self.waiting.popleft()
            self.changed.notify_all()
            return item

    def end(self, stop: bool = False) -> None:
        with self.changed:
            self.done = True
            if stop:
                self.stopped = True
                self.waiting.clear()
            self.changed.notify_all()

    def fill(self, upstream: Iterable[T]) -> None:
        try:
            for item in upstream:
                if not self.put(item):
                    break
        except BaseException as error:
            self.error = error
        finally:
            with suppress(AttributeError):
                upstream.close()  # type: ignore[attr-defined]  # generators have it
            self.end()
