"""Image files read with care, and prints of images by which those that are nearly the same are found.

Nothing here trusts a file: its size is looked at before it is read, what its header says of pixels before memory is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

FILE_LIMIT = 64 << 20  # bytes
PIXEL_LIMIT = 100_000_000
PAGE_LIMIT = 10_000
SCAN_LIMIT = 1_000_000_000  # pixels that the scans of a progressive JPEG go over; a small file can ask for thousands of scans
THUMB = (32, 18)
HASH_DISTANCE = 10  # bits of 64; frames 1/25 s apart differ by up to 9, of different recordings by 9 and more
THUMB_DISTANCE = 5.0  # see `alike`; frames 1/25 s apart: up to 3.2, 1 s apart: from 5.5 on, of different recordings: from 13 on
NEAREST = 32  # candidates by hash that are looked at
CUT_SHORT = "the file is cut short"
NO_IMAGE = "the file is not an image that can be read"
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths in bytes of its versions

Print = tuple[np.uint64, np.ndarray]


class Page(NamedTuple):
    """What a header says of one image: its size, values per pixel, and whether 0 is white."""

    height: int
    width: int
    samples: int
    inverted: bool = False


def content(file: Path, limit: int = FILE_LIMIT) -> bytes:
    """A file's bytes.

    Raises:
        OSError: there is no such file, or it is larger than `limit` bytes.
    """
    try:
        if not file.is_file():
            raise FileNotFoundError("the file does not exist")
        if file.stat().st_size > limit:
            raise OSError(f"the file has more than {limit >> 20} MB")
        return file.read_bytes()
    except ValueError:
        raise OSError("no file can have this name") from None


def decoded(data: bytes, colour: bool = False) -> np.ndarray:
    """A PNG, JPEG, BMP, TIFF or WebP file's (first) image as uint8 [height, width], or in colour: BGR [height, width, 3].

    Raises:
        OSError: it is too large, cut short or no image.
    """
    page = _webp(data) if data[:4] == b"RIFF" else next(iter(headers(data)), Page(0, 0, 0))
    if min(page.height, page.width) < 1:
        raise OSError(NO_IMAGE)
    if page.height * page.width > PIXEL_LIMIT:
        raise OSError(f"the image has more than {PIXEL_LIMIT // 10**6} million pixels")
    _few_scans(data, page)
    try:
        mode = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:
        image = None
    if image is None:
        raise OSError(NO_IMAGE)
    return image


def pages(data: bytes, limit: int = PIXEL_LIMIT) -> Iterator[np.ndarray]:
    """The images of a PNG, JPEG, BMP or TIFF file with all the bits that they have.

    Args:
        data: the file's content.
        limit: values (pixels times channels) of one image.

    Yields:
        uint8, uint16, int32 or float [height, width], or in colour: RGB [height, width, 3]. A JPEG is turned as its EXIF says,
        what is transparent lies on black, and where a TIFF calls 0 white it is inverted.

    Raises:
        OSError: it is too large, cut short or no image.
    """
    known = headers(data)
    if len(known) > PAGE_LIMIT:
        raise OSError(f"the file has more than {PAGE_LIMIT:,} pages")
    for number, page in enumerate(known):
        if min(page) < 0 or 0 in (page.height, page.width):
            raise OSError(NO_IMAGE)
        if page.height * page.width * page.samples > limit:
            raise OSError(f"the image has more than {limit // 10**6} million values")
        _few_scans(data, page)
        image = _plain(_page(data, number), data.startswith((b"II", b"MM")))
        yield _inverted(image) if page.inverted else image


def jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Height, width and components that the header of a JPEG or JPEG-LS stream says; zeros where it is none."""
    place = 2
    while data.startswith(b"\xff\xd8") and place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9]), data[place + 9]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0, 0, 0


def _png(data: bytes) -> Page:
    if not data.startswith(b"\x89PNG") or len(data) < 26:
        return Page(0, 0, 0)
    samples = {0: 1, 4: 2}.get(data[25], 4)  # of a palette, which is expanded, and of RGB, which may get transparency: 4
    return Page(int.from_bytes(data[20:24]), int.from_bytes(data[16:20]), samples)


def _whole(data: bytes) -> None:
    """A decoder may fill what is missing with grey. The end marker of a thumbnail comes before the picture's own start."""
    jpeg = data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    if jpeg or (data.startswith(b"\x89PNG") and b"IEND" not in data):
        raise OSError(CUT_SHORT)


def _few_scans(data: bytes, page: Page) -> None:
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") * page.height * page.width > SCAN_LIMIT:
        raise OSError("the image is compressed in too many scans")


def headers(data: bytes) -> list[Page]:
    """What is known of each image in a PNG, JPEG, BMP or TIFF file before it is decoded.

    Raises:
        OSError: it is cut short or no image.
    """
    _whole(data)
    if data.startswith(b"\x89PNG"):
        return [_png(data)]
    if data.startswith(b"\xff\xd8"):
        return [Page(*jpeg_size(data))]
    if data.startswith(b"BM"):
        return [_bmp(data)]
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(data)
    raise OSError(NO_IMAGE)


def _webp(data: bytes) -> Page:
    """Source: the WebP container's specification and RFC 6386, section 9.1: lossy, lossless, or extended."""
    if 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise OSError(CUT_SHORT)
    if data[12:16] == b"VP8X":
        return Page(1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little"), 4)
    if data[12:16] == b"VP8L":
        sizes = int.from_bytes(data[21:25], "little")
        return Page(1 + (sizes >> 14 & 0x3FFF), 1 + (sizes & 0x3FFF), 4)
    return Page(int.from_bytes(data[28:30], "little") & 0x3FFF, int.from_bytes(data[26:28], "little") & 0x3FFF, 3)


def _bmp(data: bytes) -> Page:
    header = int.from_bytes(data[14:18], "little")
    if header not in BMP_HEADERS or len(data) < 14 + header:
        raise OSError(NO_IMAGE)
    if header == 12:
        width, height, _, bits = np.frombuffer(data, "<u2", 4, 18).tolist()
        packed = 0
    else:
        width, height = np.frombuffer(data, "<i4", 2, 18).tolist()
        bits, packed = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    if packed in (0, 3) and abs(height) * width <= PIXEL_LIMIT and int.from_bytes(data[10:14], "little") + rows > len(data):
        raise OSError(CUT_SHORT)
    return Page(abs(height), width, 4)


def _tiff(data: bytes) -> list[Page]:
    """Of each image file directory. Source: TIFF revision 6.0, section 2; BigTIFF has the same with longer numbers."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = b"+" in data[2:4]
    word, entry, counter = (8, 20, 8) if big else (4, 12, 2)

    def number(at: int, size: int) -> int:
        if at + size > len(data):
            raise OSError(CUT_SHORT)
        return int.from_bytes(data[at : at + size], order)

    def values(at: int) -> list[int]:
        size = {1: 1, 3: 2, 4: 4, 16: 8}.get(number(at + 2, 2), 0)
        count = number(at + 4, word)
        start = at + 4 + word if size * count <= word else number(at + 4 + word, word)
        if start + size * count > len(data):
            raise OSError(CUT_SHORT)
        kind = np.dtype(f"{'<' if order == 'little' else '>'}u{size}") if size else np.dtype("u1")
        return np.frombuffer(data, kind, count if size else 0, start).tolist()

    found: list[Page] = []
    place, seen = number(8 if big else 4, word), set[int]()
    while place and len(found) <= PAGE_LIMIT:
        entries = number(place, counter)
        if place in seen or entries > 4096:
            raise OSError(NO_IMAGE)
        seen.add(place)
        tags = {number(at, 2): at for at in range(place + counter, place + counter + entries * entry, entry)}
        told: dict[int, list[int]] = {
            tag: values(tags[tag]) for tag in (256, 257, 258, 262, 273, 277, 279, 322, 323, 324, 325) if tag in tags
        }
        one = {tag: given[0] for tag, given in told.items() if given}
        for starts, lengths in ((273, 279), (324, 325)):
            if any(a + b > len(data) for a, b in zip(told.get(starts, []), told.get(lengths, []), strict=False)):
                raise OSError(CUT_SHORT)
        height, width = max(one.get(257, 0), one.get(323, 0)), max(one.get(256, 0), one.get(322, 0))  # a tile is no smaller bomb
        bits = max(told.get(258, []), default=1)
        samples = max(one.get(277, 1), 3 if one.get(262) in (3, 6) else 1) * max(1, bits // 16)
        found.append(Page(height if 257 in one else 0, width if 256 in one else 0, samples, one.get(262) == 0 and bits > 8))
        place = number(place + counter + entries * entry, word)
    return found


def _page(data: bytes, number: int) -> np.ndarray:
    buffer = np.frombuffer(data, np.uint8)
    try:
        if data.startswith((b"II", b"MM")):
            fine, images = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(number, number + 1))
            image = images[0] if fine and images else None
        else:  # of these only a JPEG has no transparency that "unchanged" is needed for, and only "any" turns it
            jpeg = data.startswith(b"\xff\xd8")
            image = cv2.imdecode(buffer, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if jpeg else cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.size == 0 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise OSError(NO_IMAGE)
    return image


def _plain(image: np.ndarray, tiff: bool) -> np.ndarray:
    """BGR(A) as RGB; what is transparent becomes black. OpenCV's TIFF reader has multiplied the colours of 8 bits already."""
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(image.shape[:2])
    if image.shape[2] == 4 and image.dtype.kind == "u" and not (tiff and image.dtype == np.uint8):
        share = image[..., 3:].astype(np.float32) / np.iinfo(image.dtype).max
        image = np.rint(image[..., :3] * share).astype(image.dtype)
    return np.ascontiguousarray(image[..., 2::-1])


def _inverted(image: np.ndarray) -> np.ndarray:
    return np.iinfo(image.dtype).max - image if image.dtype.kind == "u" else image.max() - image


@dataclass(frozen=True)
class Prints:
    """What is kept of images to compare them.

    Attributes:
        hashes: uint64 [n], dHash: is a pixel of the image at 9 x 8 brighter than its left neighbour?
        thumbs: float32 [n, width * height], the image at 32 x 18 or another size with mean 0 and deviation 50.
        there: [n] bool, the image could be read.
    """

    hashes: np.ndarray
    thumbs: np.ndarray
    there: np.ndarray


def printed(image: np.ndarray, thumb_size: tuple[int, int] = THUMB) -> Print:
    """Hash and thumbnail, of that width and height, of a grey image; see `Prints`."""
    small = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)[0]
    thumb = cv2.resize(image, thumb_size, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    return bits, (thumb - thumb.mean()) * (50 / max(float(thumb.std()), 1.0))


def collected(found: Sequence[Print | None]) -> Prints:
    """`printed` of each image, None where it could not be read."""
    size = next((one[1].size for one in found if one is not None), 0)
    nothing = (np.uint64(0), np.zeros(size, np.float32))
    hashes, thumbs = zip(*(one or nothing for one in found), strict=True) if found else ((), np.zeros((0, nothing[1].size)))
    return Prints(np.array(hashes, np.uint64), np.array(thumbs, np.float32), np.array([one is not None for one in found], bool))


def alike(
    a: Prints, b: Prints | None = None, hash_distance: int = HASH_DISTANCE, thumb_distance: float = THUMB_DISTANCE
) -> np.ndarray:
    """Pairs of images that are nearly the same: int64 [pairs, 2], places in `a` and in `b`.

    Nearly the same: their hashes differ in at most `hash_distance` bits and their thumbnails by less than `thumb_distance`
    on average, which by default survives another compression, size or brightness, but not another second of a drive (measured on
    TuSimple's and Udacity's frames). Of each image in `a` at most `NEAREST` candidates are looked at.

    Args:
        b: None: among the images of `a` themselves, each pair once, the lower place first.
    """
    other = a if b is None else b
    found = []
    for place in np.flatnonzero(a.there):
        first = place + 1 if b is None else 0
        distance = np.bitwise_count(other.hashes[first:] ^ a.hashes[place])
        near = np.flatnonzero((distance <= hash_distance) & other.there[first:])
        if not len(near):
            continue
        if len(near) > NEAREST:
            near = near[np.argpartition(distance[near], NEAREST)[:NEAREST]]
        near = near + first
        apart = np.abs(other.thumbs[near] - a.thumbs[place]).mean(axis=1)
        found += [(place, match) for match in near[apart < thumb_distance]]
    return np.array(found, np.int64).reshape(-1, 2)
