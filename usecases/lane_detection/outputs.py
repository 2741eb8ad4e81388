"""The files of a drive: JSON lines, annotated video or images; and what of an earlier drive is in their place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

import cv2
import numpy as np

from shared.data.video import CODECS, Shot, Writer
from shared.errors import UserError
from shared.files import read_json, whole
from usecases.lane_detection.summary import PAGE, SUMMARY, WHAT

Kind = Literal["video", "sequence", "images", "live"]
LINES, PICTURES = "frames.jsonl", "annotated"
CATCH_UP = 5  # seconds without frames that an annotated video fills at most with the same picture


def prepare(source: str | Path, out: Path) -> None:
    """Refuse what would overwrite the source, and remove what an earlier call left in `out`.

    Raises:
        UserError: it is a file, or holds the source.
    """
    made = [out / name for name in (LINES, SUMMARY, PAGE, *(f"{PICTURES}{suffix}" for suffix in CODECS))]
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. The result is a folder: give another --out.")
    place = Path(source).resolve()
    if place in [path.resolve() for path in (out, *made)] or (out / PICTURES).resolve() in (place, *place.parents):
        raise UserError(f"The result would overwrite {source}. Give another --out.")
    for path in [*_earlier(out), *made]:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or it holds what is not ours
        (out / PICTURES).rmdir()


def _earlier(out: Path) -> Iterator[Path]:
    """The annotated images that an earlier call may have made: of those that it took one by one."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or it is not of our making
        if read_json(out / SUMMARY)["taken as"] == WHAT["images"]:
            with (out / LINES).open(encoding="utf-8") as lines:
                yield from (_picture(out, Path(json.loads(text)["name"]).name) for text in lines)


@contextmanager
def json_lines(path: Path, live: bool) -> Iterator[IO[str]]:
    """The file of JSON lines: of a live source to be read while it grows, else whole or not at all; none if nothing was done."""
    if not live:
        with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("w", encoding="utf-8", buffering=1) as file:  # each line is written at once
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class Pictures:
    """The annotated video, or images. They appear whole; a video when it is closed."""

    def __init__(self, out: Path, kind: Kind, fps: float, suffix: str) -> None:
        self.out, self.kind, self.fps = out, kind, fps or 25.0
        self.path = out / f"{PICTURES}.{suffix}"
        self.writer: Writer | None = None
        self.due = 0  # frames that the video should have by now

    def add(self, shot: Shot, image: np.ndarray) -> None:
        """An annotated frame, which is not to be changed from here on.

        A video keeps the source's time: a frame also stands for those before it that are missing.
        """
        if self.kind == "images":
            with whole(_picture(self.out, shot.name)) as partial:
                cv2.imwrite(str(partial), image)
            return
        self.writer = self.writer or Writer(self.path, self.fps)
        now = max(round(shot.seconds * self.fps) + 1, self.due)
        for _ in range(min(now - self.due, round(CATCH_UP * self.fps))):
            self.writer.write(image)
        self.due = now

    def close(self) -> None:
        """Finish the video.

        Raises:
            UserError: it could not be written.
        """
        if self.writer:
            self.writer.close()


def _picture(out: Path, name: str) -> Path:
    """Where the annotated image of this name is."""
    return out / PICTURES / (name if name.lower().endswith(".jpg") else f"{name}.jpg")
