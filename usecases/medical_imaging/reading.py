"""Any image file that a hospital may give -> pictures. What a file is tells its content, never its name."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from shared.data.images import content
from shared.data.video import natural
from usecases.medical_imaging import dicom, nifti, pictures
from usecases.medical_imaging.anonymous import covered
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.scaling import FILE_LIMIT, Unreadable

HEAD = 560  # bytes that tell what a file is
NO_IMAGES = {
    b"PK\x03\x04": "a ZIP archive (or a file in one, such as a document): unpack it first",
    b"Rar!": "an archive: unpack it first",
    b"7z\xbc\xaf": "an archive: unpack it first",
    b"BZh": "an archive: unpack it first",
    b"%PDF": "a PDF document",
    b"MZ": "a program",
    b"\x7fELF": "a program",
    b"GIF8": "a GIF: save it as PNG",
    b"\x93NUMPY": "a NumPy array: save it as PNG, TIFF or NIfTI",
}
_OTHER = """
    .csv .tsv .txt .md .rst .json .yaml .yml .xml .html .htm .css .js .py .log .ini .inf .db .exe .dll .bat .sh .pdf .doc .docx
    .xls .xlsx .bval .bvec .zip .npz .npy .sqlite .lnk .url
"""
OTHER = frozenset(_OTHER.split())  # endings of what lies beside images
Image = TypeVar("Image")


def read(path: Path, salt: str) -> Iterator[Picture]:
    """The images in a file: one of each frame, slice or page, in the file's order.

    Text that is burnt into an image is covered before anybody gets it (see `anonymous.burnt_in_text`). Colour images whose
    three channels are the same are grey images.

    Args:
        path: DICOM, NIfTI, PNG, JPEG, BMP or TIFF, whatever its name is.
        salt: for pseudonyms of patients; see `anonymous.salt`.

    Raises:
        Unreadable: an OSError with one clear reason in plain words, which quotes nothing from the file. It may come after
            some images were given, where a later one is damaged.
        UserError: a package is missing.
    """
    try:
        for picture in _frames(path, salt):
            yield covered(_grey(picture))
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None


def count(path: Path) -> int:
    """How many images `read` gives, after the header was compared with the limits and the file; 1 where it promises what cannot
    be: reading tells why.

    Raises:
        UserError: a package is missing.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if dicom.recognised(head):
            return dicom.count(path)
        if head.startswith(tuple(pictures.FORMATS)):
            return pictures.count(content(path, FILE_LIMIT)) if head.startswith((b"II", b"MM")) else 1
        return nifti.count(path) if nifti.recognised(nifti.header(path)) else 1
    except OSError:
        return 1


class InTurn(threading.local, Generic[Image]):
    """Images of files, each thread's one after the other: asking for the next one of a file does not start again.

    Where a file fails it is not read again for those that follow in it.
    """

    source: object = None
    ahead: int = 0
    images: Iterator[Any] = iter(())
    failed: str = ""

    def take(self, source: object, number: int, opened: Callable[[], Iterator[Image]]) -> Image:
        """The image of that number, from 0.

        Args:
            source: tells files apart. opened: its images.

        Raises:
            OSError: it cannot be read; the message says why.
        """
        if number == 0 or self.source != source or self.ahead > number:
            self.source, self.ahead, self.images, self.failed = source, 0, opened(), ""
        try:
            while not self.failed:
                image: Image = next(self.images)
                self.ahead += 1
                if self.ahead > number:
                    return image
        except StopIteration:
            self.failed = f"the file has only {self.ahead} image(s)"
        except OSError as error:
            self.failed = error.strerror or str(error) or "it cannot be read"
        except BaseException:
            self.source = None
            raise
        raise Unreadable(self.failed)


def _frames(path: Path, salt: str) -> Iterator[Picture]:
    if path.is_dir():
        raise Unreadable("the folder cannot be opened")
    if not path.is_file():
        raise Unreadable("there is no such file")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise Unreadable("the file is empty")
    if dicom.recognised(head):
        return dicom.frames(content(path, FILE_LIMIT), path.name, salt)
    if head.startswith(tuple(pictures.FORMATS)):
        return pictures.frames(content(path, FILE_LIMIT), path.name)
    if nifti.recognised(nifti.header(path)):
        return nifti.frames(path)
    if head.startswith(nifti.GZIP):
        raise Unreadable("the file is compressed with gzip, and not a NIfTI volume: unpack it first")
    known = next((what for magic, what in NO_IMAGES.items() if head.startswith(magic)), "")
    raise Unreadable(f"the file is {known}" if known else "the file is not an image of a kind that can be read")


def _grey(picture: Picture) -> Picture:
    """A photograph or a screen capture of a grey image has three channels that are the same."""
    pixels = picture.pixels
    if pixels.ndim == 3 and (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return replace(picture, pixels=np.ascontiguousarray(pixels[..., 0]))
    return picture


def files(folder: Path) -> list[Path]:
    """Files that may be images, in natural order (2 before 10), in the folder and in those below it.

    What cannot be opened is among them, so that reading it gives the reason: a broken link, a file or a folder without
    permission. Left out are hidden files and folders, DICOMDIR, what a name's ending tells to be no image (tables, texts,
    programs), what is no file (pipes, devices), and links that lead out of the folder; folders behind links are not entered.
    """
    root = os.path.realpath(folder)
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            skipped = name.startswith(".") or name.upper() == "DICOMDIR" or path.suffix.lower() in OTHER
            if not skipped and _is_file(path, root):
                found.append(path)
    return sorted(found, key=lambda path: [natural(Path(part)) for part in path.relative_to(folder).parts])


def _is_file(path: Path, root: str) -> bool:
    """Is it a file, a link to one below `root`, or nothing that could be opened to see?"""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            return True
        may_be = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        may_be = True
    return may_be and Path(os.path.realpath(path)).is_relative_to(root)
