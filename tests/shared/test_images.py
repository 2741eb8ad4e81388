from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from shared.data import images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
DEEP = RNG.integers(0, 1 << 16, (6, 5), np.uint16)
RGB = RNG.integers(0, 256, (6, 5, 3), np.uint8)
ALPHA = np.dstack([RGB, GREY])


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A TIFF with another number in an entry of its first directory."""
    data = bytearray(tiff)
    start = int.from_bytes(data[4:8], "little")
    for at in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12):
        if int.from_bytes(data[at : at + 2], "little") == tag:
            data[at + 2 : at + 12] = b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
    return bytes(data)


PALETTE = Image.fromarray(RGB).quantize(16)
SAME = {
    "PNG 8": (packed(Image.fromarray(GREY), "PNG"), GREY),
    "PNG 16": (packed(Image.fromarray(DEEP), "PNG"), DEEP),
    "PNG 16 in colour": (
        cv2.imencode(".png", np.dstack([DEEP, DEEP // 2, DEEP // 3]))[1].tobytes(),
        np.dstack([DEEP // 3, DEEP // 2, DEEP]),
    ),
    "PNG with a palette": (packed(PALETTE, "PNG"), np.array(PALETTE.convert("RGB"))),
    "PNG of one bit": (packed(Image.fromarray(GREY > 99), "PNG"), np.uint8(GREY > 99) * 255),
    "PNG, transparent": (packed(Image.fromarray(ALPHA), "PNG"), np.rint(RGB * (GREY[..., None] / np.float32(255)))),
    "TIFF 16": (packed(Image.fromarray(DEEP), "TIFF"), DEEP),
    "TIFF 8, LZW": (packed(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    "TIFF, transparent": (packed(Image.fromarray(ALPHA), "TIFF"), np.rint(RGB * (GREY[..., None] / np.float32(255)))),
    "TIFF where 0 is white": (with_tag(packed(Image.fromarray(GREY), "TIFF"), 262, 0), 255 - GREY),
    "TIFF of 16 bits where 0 is white": (with_tag(packed(Image.fromarray(DEEP), "TIFF"), 262, 0), 65535 - DEEP),
    "TIFF of floats": (packed(Image.fromarray(GREY.astype(np.float32)), "TIFF"), GREY.astype(np.float32)),
    "BMP": (packed(Image.fromarray(RGB), "BMP"), RGB),
}


@pytest.mark.parametrize("kind", SAME)
def test_all_bits_of_an_image_are_read(kind: str) -> None:
    data, expected = SAME[kind]
    (page,) = images.pages(data)
    np.testing.assert_array_equal(page, expected)


@pytest.mark.parametrize("big", [False, True])
def test_the_pages_of_a_tiff_come_in_turn(big: bool) -> None:
    several = [Image.fromarray(GREY), Image.fromarray(DEEP), Image.fromarray(RGB)]
    data = packed(several[0], "TIFF", save_all=True, append_images=several[1:], big_tiff=big)
    assert len(images.headers(data)) == 3
    for page, expected in zip(images.pages(data), (GREY, DEEP, RGB), strict=True):
        np.testing.assert_array_equal(page, expected)


def test_a_jpeg_is_turned_as_it_says() -> None:
    exif = Image.Exif()
    exif[274] = 6  # a quarter to the right
    smooth = cv2.resize(GREY, (40, 48), interpolation=cv2.INTER_CUBIC)
    (page,) = images.pages(packed(Image.fromarray(smooth), "JPEG", exif=exif, quality=100))
    assert np.abs(page.astype(int) - np.rot90(smooth, -1)).max() < 8


def huge() -> dict[str, bytes]:
    png = bytearray(SAME["PNG 8"][0])
    png[16:24] = (60_000).to_bytes(4) * 2
    jpeg = bytearray(packed(Image.fromarray(GREY), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    bmp = bytearray(SAME["BMP"][0])
    bmp[18:26] = (60_000).to_bytes(4, "little") * 2
    tiff = packed(Image.fromarray(GREY), "TIFF")
    wide = with_tag(with_tag(tiff, 256, 60_000), 257, 60_000)
    return {"PNG": bytes(png), "JPEG": bytes(jpeg), "BMP": bytes(bmp), "TIFF": wide}


@pytest.mark.parametrize("kind", huge())
def test_what_the_header_says_is_refused_before_memory_is_taken(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    monkeypatch.setattr(cv2, "imdecodemulti", None)
    with pytest.raises(OSError, match="more than 100 million values"):
        list(images.pages(huge()[kind]))


def test_a_small_jpeg_cannot_ask_for_thousands_of_scans() -> None:
    jpeg = packed(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    with pytest.raises(OSError, match="too many scans"):
        list(images.pages(jpeg[:-2] + jpeg[last:-2] * 300 + jpeg[-2:]))


@pytest.mark.parametrize("kind", ["PNG 16", "TIFF 16", "TIFF 8, LZW", "BMP"])
def test_a_file_that_is_cut_short_says_so(kind: str) -> None:
    data = SAME[kind][0]
    with pytest.raises(OSError, match="cut short"):
        list(images.pages(data[: len(data) * 2 // 3]))


def test_directories_of_a_tiff_that_lead_in_a_circle_end() -> None:
    loop = b"II*\0\x08\0\0\0\1\0" + b"\0\1\4\0\1\0\0\0\5\0\0\0" + b"\x08\0\0\0"
    with pytest.raises(OSError, match="not an image"):
        list(images.pages(loop))


def test_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    with pytest.raises(OSError, match="more than 1 MB"):
        images.content(tmp_path / "a", 1 << 20)
    with pytest.raises(OSError, match="does not exist"):
        images.content(tmp_path / "b")
