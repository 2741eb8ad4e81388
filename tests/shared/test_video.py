from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.data import images, video
from shared.data.video import Ahead, Frames, Shot, Writer, frames, natural
from shared.errors import UserError

SIZE = 64, 48


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Its grey tells its number, also after lossy compression."""
    return np.full((size[1], size[0], 3), 30 + 5 * number, np.uint8)


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 28) / 5)


def record(path: Path, count: int = 40) -> Path:
    with Writer(path, 25) as writer:
        for number in range(count):
            writer.write(picture(number))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    with frames(record(tmp_path / f"a{suffix}", 12)) as source:
        shots = list(source)
        assert (source.fps, source.size, source.live) == (25, SIZE, False)
    assert [number_of(shot.image) for shot in shots if shot.image is not None] == list(range(12))
    assert [shot.seconds for shot in shots] == pytest.approx([i / 25 for i in range(12)], abs=0.002)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]  # nothing is left beside it


def test_folder_in_natural_order_and_a_damaged_file_is_one_fault(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "3.png").write_bytes(b"no image")
    (tmp_path / "4.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("not looked at")
    with frames(tmp_path, fps=10) as source:
        assert (source.count, source.fps) == (5, 10)
        shots = list(source)
    assert [shot.name for shot in shots] == ["1.png", "2.png", "3.png", "4.png", "10.png"]
    assert [shot.image is None for shot in shots] == [False, False, True, True, False]
    assert [bool(shot.fault) for shot in shots] == [False, False, True, True, False]
    assert "3.png" in shots[2].fault
    assert shots[4].seconds == pytest.approx(0.4)


def test_natural() -> None:
    names = ["a10.jpg", "a9.jpg", "A1.jpg", "b.jpg", "10.jpg", "2.jpg", "²1.jpg", "01.jpg", "1.jpg"]
    ordered = [path.name for path in sorted(map(Path, names), key=natural)]
    assert ordered[:4] == ["01.jpg", "1.jpg", "2.jpg", "10.jpg"]
    assert [name for name in ordered if name.lower().startswith("a")] == ["A1.jpg", "a9.jpg", "a10.jpg"]


def test_one_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.PNG"), picture(3))
    assert [number_of(shot.image) for shot in frames(tmp_path / "one.PNG") if shot.image is not None] == [3]


def test_too_large_image_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (images, video):
        monkeypatch.setattr(module, "PIXEL_LIMIT", SIZE[0] * SIZE[1] - 1)
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        cv2.imwrite(str(tmp_path / f"one{suffix}"), picture(3))
        (shot,) = frames(tmp_path / f"one{suffix}")
        assert shot.image is None
        assert "million pixels" in shot.fault
    with pytest.raises(UserError, match="64 x 48"):
        frames(record(tmp_path / "a.avi", 3))


@pytest.mark.parametrize("lossless", [False, True])
def test_every_kind_of_image_is_read_whole_or_not_at_all(tmp_path: Path, lossless: bool) -> None:
    """A decoder fills what is missing of a JPEG with grey: that would be taken for a road."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        file = tmp_path / f"one{suffix}"
        cv2.imwrite(str(file), noise, [cv2.IMWRITE_WEBP_QUALITY, 101 if lossless else 80] if suffix == ".webp" else [])
        (shot,) = frames(file)
        assert shot.image is not None
        assert shot.image.shape == (48, 64, 3)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        (shot,) = frames(file)
        assert shot.image is None
        assert shot.fault == f"{file.name}: the file is cut short"
        assert shot.lost == 1


def test_a_folder_named_like_a_camera_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0531").mkdir()
    cv2.imwrite(str(tmp_path / "0531" / "1.jpg"), picture(3))
    monkeypatch.chdir(tmp_path)
    assert [len(list(frames(source))) for source in ("0531", Path("0531"), tmp_path / "0531")] == [1, 1, 1]
    for source in (Path("0"), "²"):  # a path is no camera, nor is what only looks like a number
        with pytest.raises(UserError, match="does not exist"):
            frames(source)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_cut_off_video_gives_what_was_readable(tmp_path: Path, suffix: str) -> None:
    whole = record(tmp_path / "whole.avi", 40)
    if suffix == ".mkv":
        whole = tmp_path / "whole.mkv"
        file = cv2.VideoWriter(str(whole), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
        for number in range(40):
            file.write(picture(number))
        file.release()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    *shots, last = frames(cut)
    assert 5 <= len(shots) <= 30
    assert [number_of(shot.image) for shot in shots if shot.image is not None] == list(range(len(shots)))
    assert last.image is None
    assert "cut off" in last.fault
    assert f"of which {len(shots)} could be read" in last.fault
    assert last.lost == 40 - len(shots)


def damaged(path: Path, places: range) -> Path:
    """A Motion JPEG video whose frames at these places are zeros."""
    data = bytearray(record(path).read_bytes())
    starts = [match.start() for match in re.finditer(b"00dc", data) if match.start() > data.index(b"movi")]  # of frames' chunks
    for place in places:
        data[starts[place] + 8 : starts[place + 1]] = bytes(starts[place + 1] - starts[place] - 8)
    path.write_bytes(data)
    return path


def test_frames_that_cannot_be_decoded_are_skipped(tmp_path: Path) -> None:
    shots = list(frames(damaged(tmp_path / "a.avi", range(19, 21))))
    assert [shot.number for shot in shots] == list(range(40))
    assert [shot.seconds for shot in shots] == pytest.approx([number / 25 for number in range(40)], abs=0.002)
    assert [shot.number for shot in shots if shot.image is None] == [shot.number for shot in shots if shot.lost == 1] == [19, 20]
    assert "frame 20 cannot be decoded" in shots[20].fault
    assert [number_of(shot.image) for shot in shots if shot.image is not None] == [*range(19), *range(21, 40)]


def test_a_recording_ends_where_too_much_of_it_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MISSES", 5)
    *shots, last = frames(damaged(tmp_path / "a.avi", range(10, 30)))
    assert [number_of(shot.image) for shot in shots if shot.image is not None] == list(range(10))
    assert (last.number, last.lost) == (10, 30)


def test_a_whole_video_has_no_fault(tmp_path: Path) -> None:
    assert not any(shot.fault for shot in frames(record(tmp_path / "a.mp4")))


@pytest.mark.parametrize(
    ("source", "says"),
    [("missing.mp4", "does not exist"), ("empty", "no images"), ("text.mp4", "not a video"), ("87", "no camera 87")],
)
def test_what_cannot_be_opened(tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(UserError, match=says):
        frames(source if source.isdigit() else tmp_path / source)


def test_passwords_stay_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_open", lambda source: Broken([]))
    with pytest.raises(UserError) as caught:
        frames("rtsp://me:secret@example.org/a")
    assert "secret" not in str(caught.value)
    assert "example.org/a" in str(caught.value)


class Broken:
    """A camera that gives what it is told to, then nothing."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = iter(images)
        self.opened = bool(images)
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        image = next(self.images, None)
        return image is not None, image

    def release(self) -> None:
        self.released = True


def test_a_stream_that_breaks_off_is_tried_again_then_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    captures = [Broken([picture(0)]), Broken([]), Broken([picture(1), picture(2)]), Broken([]), Broken([])]
    waiting = iter(captures)
    monkeypatch.setattr(video, "RETRIES", (0.01, 0.01))
    monkeypatch.setattr(video, "_open", lambda source: next(waiting))
    source = frames("rtsp://example.org/a")
    assert source.live
    source._queue.drop = False
    shots = list(source)
    assert ["fault" if shot.image is None else number_of(shot.image) for shot in shots] == [
        *(0, "fault", "fault", 1, 2, "fault", "fault", "fault")
    ]
    assert shots[-1].fault.endswith("giving up.")
    assert [shot.number for shot in shots] == list(range(8))
    assert all(capture.released for capture in captures)


def test_a_live_source_gives_its_newest_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "RETRIES", ())
    monkeypatch.setattr(video, "_open", lambda source: Broken([picture(number) for number in range(30)]))
    with frames("0") as source:
        first = next(source)
        time.sleep(0.3)  # while the camera goes on
        rest = list(source)
    numbers = [first.number, *(shot.number for shot in rest)]
    assert numbers[-1] == 30  # the newest: it says that the camera ended
    assert len(numbers) <= 2
    assert source.dropped == 31 - len(numbers)


def test_a_file_waits_for_its_reader(tmp_path: Path) -> None:
    with frames(record(tmp_path / "a.avi")) as source:
        next(source)
        time.sleep(0.2)
        assert len(list(source)) == 39
    assert source.dropped == 0


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name in ("ahead", "video writer")}


def test_ahead_overlaps() -> None:
    """While an item is worked on, upstream makes the next one, through two threads."""
    made = [threading.Event() for _ in range(5)]

    def numbers() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in Ahead(one for one in Ahead(numbers(), 1)):
        assert made[min(number + 1, 4)].wait(10)


def test_ahead_is_bounded() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with Ahead(numbers(), 3) as waiting:
        assert next(waiting) == 0
        time.sleep(0.1)
        assert len(made) <= 5
    assert not running()


def test_an_exception_passes_through_threads_after_the_items_before_it() -> None:
    closed = []

    def upstream() -> Iterator[int]:
        try:
            yield from (1, 2)
            raise ValueError("broken")
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in Ahead(item for item in Ahead(upstream())):
            seen.append(item)
    assert seen == [1, 2]
    assert closed == [True]
    assert not running()


def test_closing_in_the_middle_ends_upstream(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi")
    with pytest.raises(KeyboardInterrupt), frames(path) as source, Ahead(shot for shot in source) as work:
        for shot in work:
            if shot.number == 5:
                raise KeyboardInterrupt
    deadline = time.monotonic() + 5
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running()
    assert list(source) == []


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_an_interrupted_writer_keeps_what_was_written(tmp_path: Path, problem: type[BaseException]) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(problem), Writer(path, 25) as writer:
        for number in range(9):
            writer.write(picture(number))
            assert not path.exists()
        raise problem
    assert len([shot for shot in frames(path) if shot.image is not None]) == 9
    assert not running()


def test_a_writer_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.mp4"):
        Writer(tmp_path / "a.gif", 25)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"), Writer(tmp_path / "file" / "a.mp4", 25) as writer:
        for number in range(50):  # more than the queue holds: it must not wait for ever
            writer.write(picture(number))
    assert not running()


def test_images_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.avi", 25) as writer:
        writer.write(picture(40))
        writer.write(picture(40, (32, 48)))
    (_, second) = [shot.image for shot in frames(tmp_path / "a.avi")]
    assert second is not None
    assert second.shape == (48, 64, 3)
    assert second[:, :14].mean() < 30
    assert second[:, 20:44].mean() > 150


def test_frames_are_shots_without_a_context(tmp_path: Path) -> None:
    source = frames(record(tmp_path / "a.avi", 3))
    assert isinstance(source, Frames)
    assert all(isinstance(shot, Shot) for shot in source)
    assert not running()
