"""Files that claim or unpack to more than any memory holds, and files that are no image at all."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom

SECRET = "Quorrazzyx"  # stands in the headers of valid files, and must not get out of them
SIDE = 6304  # pixels of squares that are nearly as large as is allowed
TYPES = Path(pydicom.__file__).parent / "data" / "test_files"


def repeated(block: bytes, times: int) -> bytes:
    """A raw deflate stream of a block of zeros that often, made without going through all of them."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = pack.compress(block) + pack.flush(zlib.Z_FULL_FLUSH)
    again = pack.compress(block) + pack.flush(zlib.Z_FULL_FLUSH)
    return first + again * (times - 1) + pack.flush()


def inflating(size: int, times: int) -> bytes:
    """A whole zlib stream of zeros."""
    return b"\x78\xda" + repeated(bytes(size), times) + struct.pack(">HH", size * times % 65_521, 1)


def png(width: int, height: int, depth: int, content: bytes) -> bytes:
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def nifti(shape: tuple[int, ...], kind: type, content: bytes = b"", offset: int = 352, length: int = 0) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4))
    header["magic"], header["vox_offset"] = b"n+1", offset
    return bytes(header.binaryblock) + struct.pack("<4sii", b"\1\0\0\0", length, 0)[: 4 if not length else 12] + content


def zeros(megabytes: int) -> bytes:
    """That many, as members of a gzip file, which are one after the other."""
    return _zeros() * (megabytes // 16)


@cache
def _zeros() -> bytes:
    return gzip.compress(bytes(1 << 24), mtime=0)


def slice_of(**elements: Any) -> bytes:
    """A CT slice with elements of its own."""
    dataset = pydicom.dcmread(TYPES / "CT_small.dcm")
    dataset.PatientName = SECRET
    for key, value in elements.items():
        setattr(dataset, key, value)
    dataset.save_as(file := io.BytesIO())
    return file.getvalue()


def run_length(side: int) -> bytes:
    """A square of 32 bits a pixel, all zero, compressed to a sixty-fourth."""
    segment = b"\x81\0" * (side * side // 128)
    stream = struct.pack("<16I", 4, *(64 + len(segment) * n for n in range(4)), *[0] * 11) + segment * 4
    dataset = pydicom.dcmread(TYPES / "CT_small.dcm")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset.save_as(file := io.BytesIO())
    return file.getvalue()


def deflated() -> bytes:
    """A DICOM file of a gigabyte of zeros, deflated."""
    whole = (TYPES / "image_dfl.dcm").read_bytes()
    return whole[: 144 + int.from_bytes(whole[140:144], "little")] + repeated(bytes(1 << 22), 256)


def nested() -> bytes:
    """A sequence in a sequence, three thousand deep."""
    plain = slice_of()
    at = plain.index(b"\x28\0\2\0")
    return plain[:at] + b"\x28\0\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 3000


def tiff(pages: int, side: int) -> bytes:
    """Pages that all show the same strip of zeros, deflated."""
    strip = zlib.compress(bytes(side * side), 9)
    made = b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip
    for number in range(pages):
        tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: side, 279: len(strip)}
        after = len(made) + 6 + 12 * len(tags)
        made += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, told) for tag, told in tags.items())
        made += struct.pack("<I", after if number + 1 < pages else 0)
    return made


def array(shape: str) -> bytes:
    """The start of a NumPy array that is said to have that shape."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(300)


def array_header(megabytes: int) -> bytes:
    """An archive with one array, whose header is that long: zeros."""
    length = megabytes << 20
    start = b"\x93NUMPY\2\0" + struct.pack("<I", length)
    data = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = data.compress(start) + data.flush(zlib.Z_FULL_FLUSH) + repeated(bytes(1 << 20), megabytes)
    told = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), length + len(start), 16, 0)
    local = b"PK\3\4" + told + b"train_images.npy" + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + told + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"train_images.npy"
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def archive(parts: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return file.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "rows.dcm": lambda: slice_of(Rows=60_000, Columns=60_000),
    "frames.dcm": lambda: slice_of(NumberOfFrames=16_384, Rows=1, Columns=1),
    "many_frames.dcm": lambda: slice_of(NumberOfFrames=2_000_000_000),
    "deflated.dcm": deflated,
    "nested.dcm": nested,
    "rle.dcm": lambda: run_length(2048),
    "array.dcm": lambda: array("(1000000, 1000000, 3)"),
    "unpacks.nii.gz": lambda: gzip.compress(nifti((800, 800, 300), np.float64), mtime=0) + zeros(4096),
    "wide.nii": lambda: nifti((30_000, 30_000, 1), np.uint8, bytes(1000)),
    "single_voxels.nii": lambda: nifti((2, 2, 30_000), np.uint8, bytes(120_000)),
    "full.nii.gz": lambda: gzip.compress(nifti((SIDE, SIDE, 1), np.int16), mtime=0) + zeros(80),
    "extension.nii.gz": lambda: (
        gzip.compress(nifti((4, 4, 4), np.uint8, b"", 2_100_000_352, 2_100_000_000), mtime=0) + zeros(2048)
    ),
    "zeros.gz": lambda: zeros(4096),
    "huge.png": lambda: png(60_000, 60_000, 8, zlib.compress(bytes(1000))),
    "deep.png": lambda: png(SIDE, SIDE, 16, inflating(2 * SIDE + 1, SIDE)),
    "huge.jpg": lambda: b"\xff\xd8\xff\xc0\0\x0b\x08\xea\x60\xea\x60\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0\xff\xd9",
    "pages.tiff": lambda: tiff(9000, 4000),
    "huge.tiff": lambda: tiff(1, 10_000),
    "huge.bmp": lambda: b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "terabytes.dcm": lambda: archive({"train_images.npy": array("(1000000, 1000000)")}),
}
PLAIN: dict[str, bytes] = {
    "text.dcm": f"Name: {SECRET}\n".encode() * 40,
    "json.nii": json.dumps({"PatientName": SECRET}).encode(),
    "empty.png": b"",
    "one byte.jpg": b"\xff",
    "page.nii.gz": b"<!DOCTYPE html><html><body>404</body></html>",
    "pickle.dcm": b"\x80\4\x95" + bytes(200),
    "animation.tiff": b"GIF89a" + bytes(200),
    "report.dcm": b"%PDF-1.7 " + SECRET.encode(),
    "program.png": b"\x7fELF" + bytes(300),
    "preamble.dcm": bytes(128) + b"DICM",
    "=1+1.dcm": b"\1",
    'a, "quoted"; name.png': b"\2",
    "line\nbreak\r.png": b"\3",
    "<script>alert(1)</script>.dcm".replace("/", "\u2215"): b"\4",
    "-rf.dcm": b"\5",
    "\u202egnp.mcd": b"\6",
    "100 %s {0} \\n.tif": b"\7",
    "\u0130mage \U0001f9e0.bmp": b"\x08",
    f"{'long' * 60}.dcm": b"\x09",
    "ending.": b"\x0a",
    " ": b"\x0b",
}
NOT_LISTED = {"notes.txt": b"text", "table.csv": b"a,b", "data.json": b"{}", ".hidden.dcm": b"x", "DICOMDIR": b"x"}
