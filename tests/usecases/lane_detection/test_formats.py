from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import DataError, UserError
from usecases.lane_detection import formats
from usecases.lane_detection.checks import check
from usecases.lane_detection.lanes import Frame

LEFT, RIGHT = [[30.0, 40.0], [20.0, 60.0], [10.0, 80.0]], [[60.0, 40.0], [90.0, 80.0]]


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC))
    return path


def record(**changes: Any) -> dict[str, Any]:
    given = {"raw_file": "clips/a/20.jpg", "h_samples": [40, 60, 80], "lanes": [[60, 75, 90], [30, 20, 10], [-2, -2, -2]]}
    return given | changes


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return path


def points(frame: Frame) -> list[list[list[float]]]:
    assert frame.lines is not None
    return [one.tolist() for one in frame.lines]


def whats(source: Path, **kind: Any) -> list[str]:
    return [finding.what for finding in formats.inspect(source, **kind).findings]


def test_tusimple(tmp_path: Path) -> None:
    image(tmp_path / "clips/a/20.jpg")
    write(tmp_path / "label_data.json", record(), record(raw_file="clips/b/20.jpg", lanes=[]), "")
    write(tmp_path / "tasks.json", record(raw_file="clips/never/20.jpg"))
    first, second = formats.load(tmp_path)
    assert points(first) == [LEFT, [[60, 40], [75, 60], [90, 80]]]  # from left to right; the padding is left out
    assert (first.name, first.clip, first.rows) == ("clips/a/20.jpg", "clips/a", (40, 60, 80))
    assert first.image == tmp_path / "clips/a/20.jpg"
    assert second.lines == ()
    assert second.clip == "clips/b"


def test_tusimple_compressed_and_in_parts(tmp_path: Path) -> None:
    image(tmp_path / "train_set/clips/a/20.jpg")
    (tmp_path / "label_data_1.json.gz").write_bytes(gzip.compress(json.dumps(record()).encode()))
    (tmp_path / "label_data_2.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(record(raw_file="clips/b/20.jpg")).encode())
    frames = formats.load(tmp_path)
    assert [frame.clip for frame in frames] == ["clips/a", "clips/b"]
    assert frames[0].image == tmp_path / "train_set/clips/a/20.jpg"


def test_line_n_is_image_n_where_no_raw_file_exists(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        image(tmp_path / f"images/{number}.png", number)
    labels = write(tmp_path / "labels.json", record(), record(raw_file="clips/b/20.jpg"), record(raw_file="clips/c/20.jpg"))
    read = formats.inspect(labels)
    assert [Path(str(frame.image)).name for frame in read.frames] == ["0.png", "2.png", "10.png"]
    assert [finding.severity for finding in read.findings] == ["info"]
    image(tmp_path / "images/11.png")
    assert not any(Path(str(frame.image)).exists() for frame in formats.load(labels))  # 4 images, 3 lines: no guess


def test_real_tusimple_frames(shared_data: Path) -> None:
    frames = formats.load(shared_data / "lane" / "tusimple-6")
    assert [len(frame.lines or ()) for frame in frames] == [
        sum(max(lane) > 0 for lane in json.loads(line)["lanes"])
        for line in (shared_data / "lane/tusimple-6/labels.json").read_text().splitlines()
    ]
    assert all(Path(str(frame.image)).is_file() for frame in frames)
    given = formats.load(shared_data / "lane" / "tusimple-labels" / "label_data_0531.json.gz")
    assert len({frame.clip for frame in given}) == len(given) == 358


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"raw_file": "a.jpg", "lanes": [[1', "a line that is not a JSON object"),
        ("[1, 2]", "a line that is not a JSON object"),
        ('{"raw_file": "a", "h_samples": [1, 2], "lanes": [[NaN, 1]]}', "a line that is not a JSON object"),
        ("[" * 100_000, "a line that is not a JSON object"),
        (record(raw_file="../../etc/a.jpg"), "no raw_file"),
        (record(raw_file="C:\\a.jpg"), "no raw_file"),
        (record(raw_file=5), "no raw_file"),
        (record(h_samples=[40, 80, 60]), "h_samples that do not rise from 0 on"),
        (record(h_samples=[40, 40, 60]), "h_samples that do not rise from 0 on"),
        (record(h_samples=[-10, 40, 60]), "h_samples that do not rise from 0 on"),
        (record(h_samples=[40.5, 60, 80]), "h_samples that are not rows"),
        (record(h_samples="40"), "h_samples that are not rows"),
        (record(h_samples=[40, 60]), "a lane that has not as many x as there are h_samples"),
        (record(lanes=[[1, 2]]), "a lane that has not as many x as there are h_samples"),
        (record(lanes=7), "no lanes"),
        (record(lanes=[[1, "2", 3]]), "a lane with an x that is no number"),
        (record(lanes=[[1, None, 3]]), "a lane with an x that is no number"),
        (record(lanes=[[1, True, 3]]), "a lane with an x that is no number"),
        (record(lanes=[[1, 10**400, 3]]), "a lane with an x that is no number"),
        ('{"raw_file": "a", "h_samples": [1, 2], "lanes": [[1e999, 1]]}', "a lane with an x that is no number"),
        ('{"x": "' + "y" * (1 << 20) + '"}', "a line of more than 1 MB"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: Any, what: str) -> None:
    labels = write(tmp_path / "label.json", record(), line)
    findings = formats.inspect(labels, "tusimple").findings
    assert [(finding.what, list(finding.rows), finding.severity) for finding in findings] == [(what, [2], "error")]
    with pytest.raises(DataError, match="row 2"):
        formats.load(labels, "tusimple")


def test_a_line_of_one_row_is_left_out_with_a_warning(tmp_path: Path) -> None:
    labels = write(tmp_path / "label.json", record(lanes=[[50, -2, -2], [30, 20, 10]]))
    assert points(formats.load(labels)[0]) == [LEFT]
    assert whats(labels) == ["a line with fewer than two points"]


def test_damaged_files(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(json.dumps(record(raw_file=f"{n}.jpg")).encode() + b"\n" for n in range(2000)))
    (tmp_path / "label.json.gz").write_bytes(packed[: len(packed) // 2])
    assert whats(tmp_path / "label.json.gz") == ["the file is damaged or cut short"]
    (tmp_path / "latin.json").write_bytes(json.dumps(record(), ensure_ascii=False).encode() + b'\n{"raw_file": "\xe9"}\n')
    assert whats(tmp_path / "latin.json") == ["a text that is not UTF-8"]
    (tmp_path / "wide.json").write_bytes(json.dumps(record()).encode("utf-16"))
    assert whats(tmp_path / "wide.json", layout="tusimple") == ["a text that is not UTF-8"]


def test_text_beyond_ascii(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "2.png")
    (tmp_path / "1.json").write_bytes(b'\xef\xbb\xbf{"lines": [], "clip": "Stra\xc3\x9fe"}')
    assert formats.load(tmp_path)[0].clip == "Straße"
    (tmp_path / "2.json").write_bytes(b'{"lines": [], "clip": "Stra\xdfe"}')
    assert whats(tmp_path) == ["a text that is not UTF-8"]


def test_culane(tmp_path: Path) -> None:
    image(tmp_path / "driver_1/a.MP4/00000.jpg")
    image(tmp_path / "driver_1/a.MP4/00030.jpg")
    image(tmp_path / "driver_1/b.MP4/00000.jpg")
    (tmp_path / "driver_1/a.MP4/00000.lines.txt").write_text("10.0 80 20 60 30 40 \n90 80 60 40\n\n5 5\n")
    (tmp_path / "driver_1/b.MP4/00000.lines.txt").write_text("")
    (tmp_path / "driver_1/b.MP4/00060.lines.txt").write_text("10 80 20 60")
    night = tmp_path / "list" / "test_split" / "test8_night.txt"
    write(night, "driver_1/b.MP4/00000.jpg")
    first, second, third, fourth = formats.load(tmp_path)
    assert points(first) == [LEFT, RIGHT]
    assert second.lines is None
    assert third.lines == ()
    assert (third.clip, third.about) == ("driver_1/b.MP4", {"scene": "night"})
    assert fourth.name == "driver_1/b.MP4/00060.jpg"
    assert whats(tmp_path) == ["a line with fewer than two points"]
    image(tmp_path / "loose.jpg")
    assert formats.load(tmp_path)[-1].clip == ""
    assert [frame.name for frame in formats.load(night)] == ["driver_1/b.MP4/00000.jpg"]
    write(night, "/driver_1/a.MP4/00000.jpg /seg.png 1 1 0 0", "../../x.jpg")
    assert len(formats.inspect(night).frames) == 1
    assert whats(night) == ["a path that leads out of the data", "a line with fewer than two points"]


@pytest.mark.parametrize("text", ["1 2 3", "a b c d", "nan 1 2 3", "1e999 1 2 3"])
def test_culane_with_bad_numbers(tmp_path: Path, text: str) -> None:
    image(tmp_path / "a/0.jpg")
    (tmp_path / "a/0.lines.txt").write_text(text)
    findings = formats.inspect(tmp_path).findings
    assert [(finding.what, list(finding.examples)) for finding in findings] == [("a line that is no list of points", ["a/0.jpg"])]


def test_polylines(tmp_path: Path) -> None:
    for name in ("one/1.png", "two/2.jpg", "two/3.jpg"):
        image(tmp_path / "train" / name)
    write(tmp_path / "train/one/1.json", {"lines": [RIGHT, LEFT], "about": {"night": True, "list": []}})
    write(tmp_path / "train/two/2.json", {"lines": [], "clip": "evening"})
    write(tmp_path / "train/two/settings.json", {"colour": 1})
    first, second, third = formats.load(tmp_path)
    assert points(first) == [LEFT, RIGHT]
    assert (first.name, first.clip, first.about) == ("train/one/1.png", "one", {"night": True})
    assert (second.lines, second.clip) == ((), "evening")
    assert (third.lines, third.clip) == (None, "two")
    assert whats(tmp_path) == ["a JSON file that does not label an image"]


def test_one_folder_is_no_clip(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"recording/{number}.png")
    read = formats.inspect(tmp_path)
    assert read.layout == "polylines"
    assert [(frame.clip, frame.lines) for frame in read.frames] == [("", None)] * 3


def test_a_line_that_turns_back_is_named(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    write(tmp_path / "1.json", {"lines": [[[10, 80], [20, 20], [30, 80]]]})
    assert whats(tmp_path) == ["a line that turns back on itself"]


def test_labelme(tmp_path: Path) -> None:
    image(tmp_path / "images/x1.jpg")
    image(tmp_path / "images/x2.jpg")
    image(tmp_path / "images/x3.jpg")
    shapes = [
        {"label": "lane", "shape_type": "linestrip", "points": LEFT},
        {"label": "kerb", "shape_type": "line", "points": RIGHT},
        {"label": "lane", "shape_type": "rectangle", "points": RIGHT},
    ]
    labelled = {"shapes": shapes, "imagePath": "..\\images\\x1.jpg", "imageWidth": 120, "imageHeight": 90}
    write(tmp_path / "labels/other.json", labelled)
    write(tmp_path / "labels/x2.json", labelled | {"imagePath": "../../../../etc/x2.jpg", "shapes": []})
    write(tmp_path / "labels/moved.json", labelled | {"imagePath": "once/here/x3.jpg"})
    first, second, third = formats.load(tmp_path)
    assert third.name == "images/x3.jpg"
    assert points(first) == [LEFT, RIGHT]
    assert (first.name, first.about) == ("images/x1.jpg", {"labelled_size": (120, 90)})
    assert (second.name, second.lines) == ("images/x2.jpg", ())
    assert points(formats.load(tmp_path, names=["lane"])[0]) == [LEFT]


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>lane</name></label></labels></task></meta>
<image id="0" name="rec1/a.jpg" width="120" height="90">
<polyline label="lane" occluded="1" points="10.00,80.0;20,60;30,40"><attribute name="kind">solid</attribute></polyline>
<polyline label="kerb" occluded="0" points="60,40;90,80"></polyline><box label="car" xtl="0" ytl="0" xbr="1" ybr="1"></box>
</image><image id="1" name="rec2/b.jpg" width="120" height="90"></image>
<track><polyline frame="0" points="1,1;2,2"/></track></annotations>"""


def test_cvat(tmp_path: Path) -> None:
    image(tmp_path / "images/rec1/a.jpg")
    (tmp_path / "annotations.xml").write_text(CVAT)
    first, second = formats.load(tmp_path)
    assert points(first) == [LEFT, RIGHT]
    assert first.image == tmp_path / "images/rec1/a.jpg"
    assert (first.clip, first.about) == ("rec1", {"occluded": True, "labelled_size": (120, 90)})
    assert second.lines == ()
    kept = formats.load(tmp_path / "annotations.xml", names=["kerb"])[0]
    assert points(kept) == [RIGHT]
    assert "occluded" not in kept.about


def test_a_subset_of_cvat_does_not_lead_out_of_the_data(tmp_path: Path) -> None:
    image(tmp_path / "secret/a.jpg")
    image(tmp_path / "data/images/Train/a.jpg")
    labels = tmp_path / "data/annotations.xml"
    labels.parent.mkdir(exist_ok=True)
    inside, outside = tmp_path / "data/images/Train/a.jpg", ["an image with a name that leads out of the data"]
    for subset, images, told in (("Train", [inside], []), ("../../secret", [], outside), (str(tmp_path / "secret"), [], outside)):
        labels.write_text(f'<annotations><image name="a.jpg" subset="{subset}"/></annotations>')
        read = formats.inspect(labels)
        assert [frame.image for frame in read.frames] == images
        assert [finding.what for finding in read.findings] == told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations></annotations>', "DOCTYPE"),
        (CVAT[:200], "no element found|unclosed|not read"),
        ("<annotations><track id='1'><polyline frame='0' points='1,2;3,4'/></track></annotations>", "of a video"),
        ("<annotations></annotations>", "labels no images"),
        ('<?xml version="1.0" encoding="nonsense"?><annotations/>', "not read"),
        ("\0\1\2", "not read"),
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match=why):
        formats.load(tmp_path)


def test_cvat_with_bad_points_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(CVAT.replace("20,60", "20,6o").replace("rec2/b.jpg", "/etc/b.jpg"))
    findings = formats.inspect(tmp_path).findings
    assert {finding.what for finding in findings} == {
        "a line that is no list of points", "an image with a name that leads out of the data",
    }  # fmt: skip


def test_an_error_says_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "notes.md", "nothing")
    with pytest.raises(UserError, match=r"\*\.lines\.txt.*There: notes\.md"):
        formats.load(tmp_path)
    with pytest.raises(UserError, match="holds no frames of the layout culane"):
        formats.load(tmp_path, "culane")
    with pytest.raises(UserError, match="one XML file"):
        formats.load(tmp_path, "cvat")
    with pytest.raises(UserError, match="Did you mean 'tusimple'"):
        formats.load(tmp_path, "tusimpel")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no file or folder"):
        formats.load(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="Unpack it"):
        formats.load(tmp_path / "a.zip")


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """The content cut, with bytes changed, or with a piece put elsewhere."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, len(data) + 1))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[at : at + 1] = bytes([rng.integers(0, 256)])
        elif kind == 1:
            other = int(rng.integers(0, len(data) + 1))
            data[at:at] = data[other : other + 9]
        elif kind == 2:
            data[at:at] = rng.choice([b"null", b"-1e308", b"[[", b'"', b"\xff\xfe", b"9" * 30, b"{}", b"\n", b"../"])
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", ["label.json", "label.json.gz", "a/0.lines.txt", "a/0.json", "a/1.json", "annotations.xml"])
def test_damaged_labels_become_findings(tmp_path: Path, name: str) -> None:
    image(tmp_path / "a/0.jpg")
    labels = {
        "label.json": json.dumps(record()).encode() * 2,
        "label.json.gz": gzip.compress(json.dumps(record()).encode()),
        "a/0.lines.txt": b"10 80 20 60 30 40\n90 80 60 40",
        "a/0.json": json.dumps({"lines": [LEFT], "clip": "x", "about": {"night": True}}).encode(),
        "a/1.json": json.dumps({"shapes": [{"points": LEFT}], "imagePath": "0.jpg", "imageWidth": 3}).encode(),
        "annotations.xml": CVAT.encode(),
    }[name]
    kinds = {"label.json": "tusimple", "label.json.gz": "tusimple", "a/0.lines.txt": "culane", "a/0.json": "polylines",
             "a/1.json": "labelme", "annotations.xml": "cvat"}  # fmt: skip
    rng = np.random.default_rng(0)
    for turn in range(60):
        (tmp_path / name).write_bytes(damaged(rng, labels) if turn else b"")
        check(tmp_path)
        assert all(str(finding) for finding in check(tmp_path, kinds[name]))  # type: ignore[arg-type]
