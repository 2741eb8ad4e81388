"""Malformed files of every kind: valid ones that are cut, changed or lie; bombs; and what is no image at all.

Every valid file that they are made of bears a name, `SECRET`, where its format has room for one. The same seed makes the same
files.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from PIL import Image, PngImagePlugin

from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.bombs import BOMBS, NOT_LISTED, PLAIN, SECRET, TYPES, archive, array, array_header, tiff

LARGEST = 40_000  # bytes of pydicom's files that are taken
ALIKE = ("IM0000", "DICOMDIR-", "rtdose_expb", "rtdose_rle.", "1", "2", "3", "4", "5")  # starts of names that many files have
CLASSES = ("healthy", "ill")  # folders that the files lie in
Rng = np.random.Generator


def dicoms(folder: Path) -> list[bytes]:
    """pydicom's own small files with images or without, in many transfer syntaxes, and an enhanced CT; all bear the name."""
    scans.enhanced(own := folder / "enhanced.dcm", (0, 8))
    paths = sorted(path for path in TYPES.rglob("*") if path.is_file() and path.stat().st_size < LARGEST)
    paths = [path for path in paths if path.suffix in (".dcm", "") and not path.name.startswith(ALIKE)]
    made = []
    for path in [*paths, own]:
        try:
            dataset = pydicom.dcmread(path)
            for key in ("PatientName", "PatientID", "InstitutionName", "StudyDescription", "SeriesDescription"):
                setattr(dataset, key, SECRET)
            dataset.save_as(file := io.BytesIO())
            made.append(file.getvalue())
        except Exception:
            made.append(path.read_bytes())
    own.unlink()
    return made


def volumes(folder: Path) -> list[bytes]:
    """NIfTI of both versions, plain and compressed."""
    made = []
    for kind, ending in ((nibabel.Nifti1Image, ".nii"), (nibabel.Nifti1Image, ".nii.gz"), (nibabel.Nifti2Image, ".nii")):
        voxels = np.stack([scans.plane(one)[::2, ::2] for one in (0, 6, 9)], -1).astype(np.int16)
        image = kind(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
        image.header["descrip"] = SECRET.encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, SECRET.encode()))
        nibabel.save(image, path := folder / f"whole{ending}")
        made.append(path.read_bytes())
        path.unlink()
    return made


def pictures() -> list[bytes]:
    """PNG, JPEG, TIFF and BMP, grey, deep and in colour, of one page and of three; with a comment where there is room for one."""
    deep = scans.plane(9)
    grey = (deep // 4).clip(0, 255).astype(np.uint8)
    colour = np.stack([grey, grey // 2, 255 - grey], -1)
    made = []
    for pixels in (grey, deep, colour):
        shown = Image.fromarray(pixels)
        comment = PngImagePlugin.PngInfo()
        comment.add_text("Patient", SECRET)
        ways: list[dict[str, Any]] = [{"format": "PNG", "pnginfo": comment}]
        ways += [
            {"format": "TIFF", "compression": how, "description": SECRET} for how in ("raw", "tiff_lzw", "tiff_adobe_deflate")
        ]
        ways += [{"format": "TIFF", "save_all": True, "append_images": [shown, shown], "description": SECRET}]
        if pixels is not deep:
            ways += [{"format": "JPEG", "comment": SECRET, "progressive": flag} for flag in (False, True)] + [{"format": "BMP"}]
        for way in ways:
            shown.save(file := io.BytesIO(), **way)
            made.append(file.getvalue())
    return made


def cut(data: bytes, rng: Rng) -> bytes:
    most = len(data) if rng.random() < 0.5 else min(len(data), 700)
    return data[: int(rng.integers(0, most))]


def flipped(data: bytes, rng: Rng) -> bytes:
    """Bits of the header or of anything."""
    made = bytearray(data)
    most = len(data) if rng.random() < 0.4 else min(len(data), 900)
    for at in rng.integers(0, most, int(rng.integers(1, 9))):
        made[at] ^= 1 << int(rng.integers(8))
    return bytes(made)


def overwritten(data: bytes, rng: Rng) -> bytes:
    """A stretch of zeros, of ones, of noise, or lengths that are too large or negative."""
    at, size = int(rng.integers(0, len(data))), int(rng.choice([1, 2, 4, 16, 200]))
    what = [bytes(size), b"\xff" * size, rng.bytes(size), struct.pack("<I", 0x7FFFFFFF), struct.pack(">i", -2)]
    patch = what[int(rng.integers(len(what)))]
    return data[:at] + patch + data[at + len(patch) :]


def shifted(data: bytes, rng: Rng) -> bytes:
    """Something put in, or left out."""
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 60))
    return data[:at] + (rng.bytes(size) + data[at:] if rng.random() < 0.5 else data[at + size :])


WHOLE_NUMBERS: list[Any] = [0, 1, 2, 3, 7, 8, 12, 16, 32, 64, 255, 1000, 30_000, 60_000, 65_535, [3, 4]]
TEXTS: list[Any] = ["", "-1", "-32768", "1e300", "99999999999", "0", "1\\2", "many", "nan", f"{SECRET}^A", "inf"]
COLOURS: list[Any] = [
    "",
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "CMYK",
    "RGB\\RGB",
    SECRET,
]
SYNTAXES = [pydicom.uid.UID(one) for one in ("", "1.2.3.4", SECRET, "1.2.840.10008.1.2.4.103")] + [
    *(pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRBigEndian, pydicom.uid.DeflatedExplicitVRLittleEndian),
    *(pydicom.uid.RLELossless, pydicom.uid.JPEG2000, pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEGLSLossless),
]
TAGS: dict[str, tuple[str, list[Any]]] = {
    **dict.fromkeys(("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"), ("US", WHOLE_NUMBERS)),
    **dict.fromkeys(("PixelRepresentation", "PlanarConfiguration", "PixelPaddingValue"), ("US", WHOLE_NUMBERS)),
    "NumberOfFrames": ("IS", [*TEXTS, "2", "500", "65535", "2147483647"]),
    **dict.fromkeys(("WindowWidth", "WindowCenter", "RescaleSlope", "RescaleIntercept", "PixelSpacing"), ("DS", TEXTS)),
    **dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"), ("DS", [*TEXTS, ["1"] * 6, ["0"] * 3, ["nan"] * 6])),
    "InstanceNumber": ("IS", TEXTS),
    "PhotometricInterpretation": ("CS", COLOURS),
    "SOPClassUID": ("UI", ["", SECRET, "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.1.3.10"]),
}


def lying(data: bytes, rng: Rng) -> bytes:
    """A DICOM file some of whose elements are wrong, of another kind, or gone."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        _, little = dataset.original_encoding
        chosen = rng.choice(list(TAGS), int(rng.integers(1, 4)), replace=False)
        for name in map(str, chosen):
            kind, values = TAGS[name]
            if (turn := rng.random()) < 0.15:
                dataset.pop(name, None)
                continue
            kind, values = ("LO", TEXTS) if turn < 0.3 else (kind, values)
            ignored = pydicom.config.IGNORE
            dataset[name] = pydicom.DataElement(name, kind, values[int(rng.integers(len(values)))], validation_mode=ignored)
        implicit = bool(dataset.original_encoding[0])
        if rng.random() < 0.15:
            dataset.file_meta.TransferSyntaxUID = SYNTAXES[int(rng.integers(len(SYNTAXES)))]
        pydicom.dcmwrite(file := io.BytesIO(), dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
        return file.getvalue()
    except Exception:  # it cannot even be written so
        return overwritten(flipped(data, rng), rng)


FIELDS = {40: "h", 42: "h", 44: "h", 46: "h", 48: "h", 50: "h", 70: "h", 72: "h", 76: "f", 80: "f", 84: "f", 88: "f", 108: "f"}
FIELDS |= {112: "f", 116: "f", 123: "B", 252: "h", 254: "h", 256: "f", 280: "f", 296: "f", 300: "f", 312: "f", 344: "B", 348: "i"}


def misled(data: bytes, rng: Rng) -> bytes:
    """A NIfTI volume with wrong dimensions, types, places, scales or orientations."""
    packed = data.startswith(b"\x1f\x8b")
    made = bytearray(gzip.decompress(data) if packed else data)
    for at in rng.choice(list(FIELDS), int(rng.integers(1, 4)), replace=False):
        kind = FIELDS[int(at)]
        values: dict[str, list[Any]] = {
            "f": [0.0, -1.0, 1e30, np.nan, np.inf, 0.5, 353.0],
            "B": [0, 7, 255],
            "i": [0, -1, 1 << 30],
        }
        value = rng.choice(values.get(kind, [0, 1, 2, 3, 4, 5, 8, 16, 64, 128, 1000, 32_767, -1, -32_768]))
        struct.pack_into(f"<{kind}", made, int(at), float(value) if kind == "f" else int(value))
    return gzip.compress(bytes(made), mtime=0) if packed else bytes(made)


def resized(data: bytes, rng: Rng) -> bytes:
    """A picture whose header tells another size, depth or kind of colour, as though nothing had happened to it."""
    made, size = bytearray(data), int(rng.choice([0, 1, 3, 47, 65, 200, 3000, 30_000, 60_000, 65_535]))
    if data.startswith(b"\x89PNG"):
        place = int(rng.choice([16, 20]))
        made[place : place + 4] = size.to_bytes(4)
        if rng.random() < 0.5:
            made[24:26] = bytes([int(rng.choice([1, 2, 4, 8, 16, 3])), int(rng.choice([0, 2, 3, 4, 6, 1]))])
        made[29:33] = zlib.crc32(made[12:29]).to_bytes(4)
    elif data.startswith(b"BM"):
        struct.pack_into("<i", made, int(rng.choice([18, 22])), int(rng.choice([size, -size, 1 << 30, -(1 << 31)])))
        made[28] = int(rng.choice([0, 1, 8, 16, 24, 32, 200]))
    elif data.startswith(b"\xff\xd8"):
        at = next(found.start() for found in re.finditer(rb"\xff[\xc0\xc2]\0", data))
        made[at + 4 : at + 10] = bytes([8]) + size.to_bytes(2) + made[at + 7 : at + 9] + bytes([int(rng.integers(0, 6))])
    else:
        at = int.from_bytes(data[4:8], "little")
        entry = at + 2 + 12 * int(rng.integers(int.from_bytes(data[at : at + 2], "little")))
        ways = [(entry + 8, "<I", size), (entry + 2, "<H", int(rng.integers(0, 14))), (entry + 4, "<I", size), (entry, "<H", 277)]
        place, kind, value = ways[int(rng.integers(len(ways)))]
        struct.pack_into(kind, made, place, value)
    return bytes(made)


WAYS: list[tuple[Callable[[bytes, Rng], bytes], int]] = [(cut, 3), (flipped, 4), (overwritten, 3), (shifted, 2)]


def folder(root: Path, count: int, seed: int = 5) -> set[str]:
    """Write that many malformed files, and others that are passed over; returns the names of those that must be accounted for.

    They lie in two folders, one of each class.
    """
    rng, names = np.random.default_rng(seed), set[str]()
    for name in CLASSES:
        (root / name).mkdir(parents=True)

    def put(name: str, content: bytes) -> None:
        path = root / CLASSES[len(names) % 2] / name
        path.write_bytes(content)
        names.add(path.relative_to(root).as_posix())

    for name, make in BOMBS.items():
        put(name, make())
    for name, content in PLAIN.items():
        put(name, content)
    names |= odd(root)
    whole = [*((one, ".dcm", lying) for one in dicoms(root)), *((one, ".nii", misled) for one in volumes(root) for _ in range(5))]
    whole += [(one, ending(one), resized) for one in pictures()]
    general, parts = zip(*WAYS, strict=True)
    while len(names) < count:
        data, end, special = whole[int(rng.integers(len(whole)))]
        way = special if rng.random() < 0.45 else general[int(rng.choice(len(general), p=np.array(parts) / sum(parts)))]
        end += ".gz" * (end == ".nii" and data.startswith(b"\x1f\x8b"))
        end = end if rng.random() < 0.9 else str(rng.choice([".dcm", ".png", ".nii.gz", ".tif", ""]))
        put(f"{len(names)}{end}", way(data, rng))
    for name, content in NOT_LISTED.items():
        (root / CLASSES[0] / name).write_bytes(content)
    return names


def ending(picture: bytes) -> str:
    return {b"\x89P": ".png", b"\xff\xd8": ".jpg", b"BM": ".bmp"}.get(picture[:2], ".tiff")


def odd(root: Path) -> set[str]:
    """Files that are none, or that cannot be opened, as far as this system knows such; returns those that are to be named."""
    place, names = root / CLASSES[1], set[str]()
    (place / "folder.dcm").mkdir()
    os.mkfifo(place / "pipe.dcm")
    (place / "gone.dcm").symlink_to("nowhere.dcm")
    (place / "circle.png").symlink_to("circle.png")
    (place / "out.dcm").symlink_to(TYPES / "CT_small.dcm")
    names |= {"gone.dcm", "circle.png"}
    with (place / "sparse.dcm").open("wb") as file:  # with an element of 2.5 GB that is looked for
        file.write(bytes(128) + b"DICM" + struct.pack("<HHI", 0x28, 8, 2_500_000_000))
        file.truncate(3_000_000_000)
    names.add("sparse.dcm")
    with contextlib.suppress(OSError):  # a file system may know none but Unicode names
        (place / os.fsdecode(b"patient \xff\xfe")).mkdir()
        (place / os.fsdecode(b"patient \xff\xfe/\x80.tiff")).write_bytes(tiff(3, 20))
        names.add("patient ??/?.tiff")
    if os.geteuid():  # root may read everything
        for name in ("secret.dcm", "closed.png"):
            (place / name).write_bytes(b"x")
            (place / name).chmod(0)
        (place / "closed").mkdir()
        (place / "closed" / "a.png").write_bytes(b"x")
        (place / "closed").chmod(0)
        names |= {"secret.dcm", "closed.png", "closed"}
    return {f"{CLASSES[1]}/{name}" for name in names}


def sources(folder: Path, seed: int = 7) -> list[Path]:
    """Malformed arrays in MedMNIST's format, and malformed tables that list images."""
    rng, found = np.random.default_rng(seed), list[Path]()

    def put(name: str, content: bytes) -> None:
        found.append(folder / f"{len(found)}-{name}")
        found[-1].write_bytes(content)

    whole = medmnist(rng)
    for number in range(44):
        put("mutated.npz", WAYS[number % len(WAYS)][0](whole, rng))
    for name, parts in ARRAYS.items():
        put(f"{name}.npz", archive(parts))
    put("header.npz", array_header(2500))
    put("text.npz", b"PK\3\4 text")
    put("empty.npz", b"")
    (folder / "pipe.png").parent.mkdir(exist_ok=True)
    os.mkfifo(folder / "pipe.png")
    scans.png(folder / "a.png", 9)
    lines = [{"path": "a.png", "label": "ill"}, {"path": "pipe.png", "label": "ill"}, {"path": "/dev/zero", "label": "healthy"}]
    table = pa.Table.from_pylist(lines)
    pq.write_table(table, file := io.BytesIO())
    for number in range(24):
        put("mutated.parquet", WAYS[number % len(WAYS)][0](file.getvalue(), rng))
    plain = "path,label,patient\n" + "\n".join(f"a.png,ill,{SECRET}" for _ in range(30))
    for number in range(16):
        put("mutated.csv", WAYS[number % len(WAYS)][0](plain.encode(), rng))
    for name, content in TABLES.items():
        put(name, content)
    return found


def medmnist(rng: Rng) -> bytes:
    """A valid one, small."""
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 6), ("val", 3), ("test", 3)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 16, 16), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    np.savez_compressed(file := io.BytesIO(), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


ARRAYS: dict[str, dict[str, bytes]] = {
    name: {f"{part}_{what}.npy": array(shape) for part in ("train", "val", "test") for what in ("images", "labels")}
    for name, shape in {
        "terabytes": "(1000000, 1000, 1000)",
        "negative": "(-5, 8, 8)",
        "text": "'many'",
        "unclosed": "((((1, 2",
        "endless": "(" + "9" * 5000 + ",)",
        "nothing": "()",
        "flat": "(300,)",
        "true": "(True, 8)",
    }.items()
}
TABLES: dict[str, bytes] = {
    "empty.csv": b"",
    "nul.csv": b"path,label\n\0\0,\0\n",
    "binary.csv": bytes(range(256)) * 20,
    "utf-16.csv": "path,label\na.png,ill\n".encode("utf-16"),
    "latin.csv": b"path,label\na.png,\xe4\xf6\n",
    "quote.csv": b'path,label\n"a.png,ill\na.png,healthy\n',
    "field.csv": b"path,label" + b"x" * 200_000 + b"\na.png,ill\n",
    "columns.csv": b",".join([b"path", b"label"] * 5000) + b"\na.png,ill\n",
    "twice.csv": b"path,path,label,label\na.png,a.png,ill,ill\n",
    "names.csv": b"path,label\n" + b"x" * 5000 + b".png,ill\n../../etc/passwd,ill\n,\n.,ill\n/,ill\nC:\\x.png,ill\n",
    "formula.csv": b"path,label\na.png,=1+1\na.png,<b>\n",
    "deep.jsonl": b'{"path": ' + b"[" * 100_000 + b"\n",
    "surrogate.jsonl": b'{"path": "a.png", "label": "\\ud800"}\n{"path": "\\ud800.png", "label": "\\ud801"}\n',
    "kinds.jsonl": b'{"path": ["a.png"], "label": {"a": 1}}\n{"path": 1e400, "label": null}\n[]\n1\n',
    "number.jsonl": b'{"path": "a.png", "label": ' + b"9" * 5000 + b"}\n",
    "magic.parquet": b"PAR1" + bytes(100) + b"PAR1",
    "text.parquet": b"path,label\n",
}
