from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.data.images import decoded
from shared.errors import Finding
from tests.usecases.lane_detection.test_formats import LEFT, RIGHT, record, write
from tests.usecases.lane_detection.test_splits import changed, scene
from usecases.lane_detection import checks, splits
from usecases.lane_detection.lanes import Frame, line

LINES = (line([[30, 40], [10, 80]]), line([[60, 40], [90, 80]]))


def frame(name: str = "a/1.jpg", **changes: Any) -> Frame:
    return replace(Frame(name, scene(int.from_bytes(name.encode()) % 9973), LINES, "a"), **changes)


def found(*frames: Frame) -> dict[str, Finding]:
    """What one set of frames is told, but for its small number."""
    findings = checks.check_frames(frames, "here")
    return {finding.what.partition(" (")[0]: finding for finding in findings if not finding.what.startswith("only ")}


def test_good_frames_have_no_findings() -> None:
    frames = [frame(f"{clip}/{n}.jpg", clip=f"{clip}", rows=(40, 60, 80)) for clip in range(10) for n in range(5)]
    assert checks.check_frames(frames, "here") == []


def test_images_that_are_missing_or_unreadable(tmp_path: Path) -> None:
    good = cv2.imencode(".jpg", scene(0))[1].tobytes()
    png = cv2.imencode(".png", scene(0))[1].tobytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(good) + 2) + good  # inside, with an end marker of its own
    contents = {
        "empty.jpg": b"", "text.jpg": b"no image", "short.jpg": good[: len(good) // 2], "short.png": png[: len(png) // 2],
        "thumbnail.jpg": good[:2] + thumbnail + good[2 : len(good) // 2], "good.jpg": good, "good.png": png,
        "more.jpg": good + b"\0" * 99, "whole.jpg": good[:2] + thumbnail + good[2:],
        "bomb.png": png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:],
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    frames = [frame(name, image=tmp_path / name) for name in [*contents, "absent.jpg", "x" * 300, "nul\0"]]
    frames.append(frame("array", image=np.zeros((4, 4))))
    faults = [f for f in checks.check_frames(frames, "here") if f.severity == "error"]
    reasons = {name: f.what.partition(": ")[2].partition(" (")[0] for f in faults for name in f.examples}
    assert reasons == {
        "empty.jpg": "the file is not an image that can be read",
        "text.jpg": "the file is not an image that can be read",
        "short.jpg": "the file is cut short",
        "thumbnail.jpg": "the file is cut short",
        "short.png": "the file is cut short",
        "bomb.png": "the image has more than 100 million pixels",
        "absent.jpg": "the file does not exist",
        "x" * 120: "File name too long",
        "nul\0": reasons["nul\0"],
        "array": "the array is not a BGR image of uint8",
    }


def test_a_jpeg_that_is_too_large_is_not_decoded() -> None:
    data = bytearray(cv2.imencode(".jpg", scene(0))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(OSError, match="million pixels"):
        decoded(bytes(data))


def test_damaged_images_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    for kind in (".jpg", ".png", ".bmp"):
        whole = cv2.imencode(kind, cv2.resize(scene(0), (32, 18)))[1].tobytes()
        for _ in range(100):
            data = np.frombuffer(whole, np.uint8).copy()
            data[rng.integers(0, len(data), 5)] = rng.integers(0, 256, 5)
            with suppress(OSError):
                assert decoded(data[: rng.integers(0, len(data) + 1)].tobytes()).dtype == np.uint8


def test_labels_outside_the_image() -> None:
    over, under = line([[30, 40], [-5, 89]]), line([[30, 40], [-6, 89]])
    assert found(frame(lines=(over,))) == {}
    assert found(frame(lines=(under,)))["a line that leaves the image"].examples == ["a/1.jpg"]
    assert "a line that leaves the image" in found(frame(lines=(line([[30, 40], [165, 89]]),)))
    assert "a line that leaves the image" in found(frame(lines=(line([[30, 40], [30, 95]]),)))


def test_lines_that_cross() -> None:
    crossed = (line([[30, 40], [90, 80]]), line([[60, 30], [10, 80]]))
    assert found(frame(lines=crossed))["lines that cross"].severity == "warning"
    assert found(frame(lines=LINES)) == {}
    assert found(frame(lines=(line([[50, 40], [20, 80]]), line([[52, 40], [52, 60], [19, 80]])))) == {}  # the pen's width
    below = (line([[30, 40], [50, 80], [70, 94]]), line([[60, 40], [52, 80], [40, 94]]))
    assert "lines that cross" not in found(frame(lines=below))  # the image has 90 rows


def test_wrong_h_samples(tmp_path: Path) -> None:
    assert found(frame(rows=(40, 89))) == {}
    assert found(frame(rows=(40, 90)))["h_samples beyond the image"].severity == "error"
    write(tmp_path / "label.json", record(h_samples=[80, 60, 40]), record(lanes=[[1]]))
    whats = {finding.what for finding in checks.check(tmp_path)}
    assert {"h_samples that do not rise from 0 on", "a lane that has not as many x as there are h_samples"} <= whats


def test_sizes() -> None:
    odd = found(frame("1"), frame("2", image=scene(2)[:80]), frame("3", image=scene(3)))["images of 2 sizes: 160 x 90"]
    assert (odd.severity, odd.count, odd.examples) == ("info", 1, ["2: 160 x 80"])
    said = found(frame(about={"labelled_size": (1280, 720)}))["an image of another size than the labelled one"]
    assert said.examples == ["a/1.jpg: 160 x 90, labelled at 1280 x 720"]
    assert found(frame(about={"labelled_size": (160, 90)})) == {}


def test_too_few_labels() -> None:
    def whats(*frames: Frame) -> list[str]:
        return [finding.what for finding in checks.check_frames(frames, "here")]

    assert whats() == ["no frame has labels"]
    assert whats(frame(lines=None)) == ["no frame has labels"]
    assert whats(frame(lines=())) == ["no frame has a line", "only 1 frame has labels"]
    assert [finding.severity for finding in checks.check_frames([frame(lines=())], "here", training=False)] == ["warning"]
    some = [frame("1"), frame("2", lines=None)]
    assert whats(*some) == ["only 1 frame has labels", "1 of 2 frames have no labels"]
    assert [(one.count, one.examples) for one in checks.check_frames(some, "here")] == [(1, ["1"]), (1, ["2"])]
    (none, _) = checks.check_frames([frame("1", lines=()), frame("2", lines=(), image=scene(2))], "here")
    assert (none.what, none.count, none.examples) == ("no frame has a line", 2, ["1", "2"])


def test_of_one_image_with_two_labels_it_is_not_claimed_that_one_is_wrong(tmp_path: Path) -> None:
    for name in "12":
        cv2.imwrite(str(tmp_path / f"{name}.png"), scene(0))
    one, other = (frame(name, image=tmp_path / f"{name}.png") for name in "12")
    said = found(one, replace(other, lines=LINES[:1]))["the same image with different lines"]
    assert "may lack lines or be wrong, or" in said.fix
    assert said.examples == ["2 is as 1"]


def test_lines_and_names_that_cannot_be() -> None:
    assert "a line with fewer than two points" in found(frame(lines=(np.zeros((1, 2), np.float32),)))
    twice = found(frame("1"), frame("1", image=scene(2)))
    assert twice["a frame that is labelled more than once"].examples == ["1"]


def test_the_same_image_in_another_clip() -> None:
    one, copy = frame("1"), frame("2", image=changed(frame("1").image)[0], clip="b")  # type: ignore[arg-type]
    again = found(one, frame("3"), copy)["an image of another clip again"]
    assert again.examples == ["2 is as 1"]
    assert found(one, replace(copy, clip="a")) == {}  # frames of a clip are alike


def test_leaks_between_parts() -> None:
    train = [frame("1", clip="a"), frame("2", clip="b"), frame("3", clip="")]
    test = [frame("4", clip="c"), frame("5", clip="b"), frame("6", clip="", image=changed(frame("3").image)[1])]  # type: ignore[arg-type]
    clip, image = checks.check_parts({"train": train, "test": test}, "here")
    assert (clip.what, clip.examples) == ("a clip in train and in test", ["b"])
    assert (image.what, image.examples) == ("nearly the same image in train and in test", ["3 is as 6"])
    assert checks.check_parts({"train": train[:1], "test": test[:1]}, "here") == []
    three = checks.check_parts({"train": train[:1], "validation": train[1:], "test": test}, "here")
    assert {finding.what for finding in three} == {
        "a clip in validation and in test", "nearly the same image in validation and in test",
    }  # fmt: skip


def test_images_that_were_looked_at_are_not_read_again(tmp_path: Path) -> None:
    frames = []
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene(1))
        frames.append(frame(str(number), image=tmp_path / f"{number}.png", clip=str(number)))
    _, looks = checks.looked_at(frames, "here", True)
    assert looks["0"].size == (160, 90)
    assert looks["0"].digest == looks["1"].digest
    for one in frames:
        Path(str(one.image)).unlink()
    prints = {name: one.print for name, one in looks.items()}
    assert splits.units(frames, prints).tolist() == [0, 0]
    assert len(checks.check_parts({"train": frames[:1], "test": frames[1:]}, "here", prints)) == 1


def test_check_of_a_source_never_raises(tmp_path: Path) -> None:
    assert "no file or folder" in checks.check(tmp_path / "nowhere")[0].what
    assert "none of the layouts" in checks.check(tmp_path)[0].what
    (tmp_path / "1.json").write_text("[]")
    assert "none of the layouts" in checks.check(tmp_path)[0].what
    write(tmp_path / "2.json", {"lines": [LEFT, RIGHT]})
    whats = [finding.what for finding in checks.check(tmp_path)]
    assert whats == [
        "a file that is not a JSON object",
        "an image that cannot be used: the file does not exist",
        "only 1 frame has labels",
    ]


def test_real_labels(shared_data: Path) -> None:
    findings = checks.check(shared_data / "lane" / "tusimple-labels" / "label_data_0601.json.gz")
    assert [(finding.what.partition(" (")[0], finding.count) for finding in findings] == [
        ("a line with fewer than two points", 1),
        ("an image that cannot be used: the file does not exist", 410),
        ("lines that cross", 1),
    ]
    assert not [f for f in checks.check(shared_data / "lane" / "tusimple-6") if f.severity == "error"]
