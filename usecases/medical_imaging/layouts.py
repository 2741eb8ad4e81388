"""Where images lie and what their folders say of them: classes, patients, masks, an official split."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Collector, DataError, Finding, UserError
from usecases.medical_imaging import anonymous, dicom, manifest, medmnist, reading
from usecases.medical_imaging.config import Data
from usecases.medical_imaging.items import IMAGES, MASKS, SPLITS, Item, Source, name_of, says, source_of

MASK = re.compile(r"(?P<of>.+?)[-_ ](mask|seg|segmentation)([-_ ]?\d+)?", re.IGNORECASE)
ENDINGS = (".dcm", ".dicom", ".dic", ".ima", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*")  # of PNG, JPEG and TIFF
HEAD = 132  # bytes that tell what a file is
MANY = 20  # folders, beyond which with masks they are people, not classes
PATTERN = "data.patient_pattern"
SHOWN = 8  # names of what is there instead of images


def inspect(source: Path, config: Data) -> Source:
    """The cases of a source, with everything that is found about its files; no image is decoded.

    - A folder for each class; folders in these are patients. `masks/` beside `images/` or beside the classes, or files such as
      `x_mask.png`, `x_mask_1.png` and `x_seg.nii.gz`, are masks of the image of that name; several are united.
    - The same below `train/`, `val/` and `test/`: an official split.
    - A table with a column of paths (see `manifest`), or a folder with one.
    - MedMNIST's `.npz` (see `medmnist`), or a folder with one.

    Raises:
        UserError: there is nothing of these kinds.
        DataError: nothing of it can be used, or the pattern of patients is none.
    """
    pattern = _pattern(config.patient_pattern)
    layout, place = layout_of(source, config)
    faults = Collector(place)
    if pattern and layout != "folders":
        fix = "Leave it out, or name the patients in the table's column for them" if layout == "manifest" else "Leave it out"
        faults.add("info", f"{PATTERN} is for folders, and was not used", fix)
    if layout == "medmnist":
        return medmnist.inspect(place, config.classes, faults)
    if layout == "manifest":
        return source_of(manifest.items(place, config, faults), config.classes, layout, faults)
    for table in sorted(place.glob("*.*")):
        if table.suffix.lower() in manifest.TABLES:
            fix = "One that lists the images has the columns path and label (or mask), or what data.columns says"
            faults.add("info", "a table that was not used", fix, table.name)
    return source_of(folders(place, pattern, faults), config.classes, layout, faults)


def layout_of(source: Path, config: Data) -> tuple[str, Path]:
    """The layout, and the file or folder that has it.

    Raises:
        UserError: it is not laid out as the configuration says.
    """
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    arrays = [file for file in files if file.suffix.lower() == ".npz"]
    tables = [file for file in files if file.suffix.lower() in manifest.TABLES]
    if config.layout in ("auto", "medmnist") and len(arrays) == 1:
        return "medmnist", arrays[0]
    if config.layout == "medmnist":
        raise UserError(f"{source} is no MedMNIST file (.npz) and no folder with exactly one.")
    if config.layout == "manifest":
        if source.is_dir() and len(tables) != 1:
            raise UserError(f"{source} holds {len(tables) or 'no'} tables. Name the one that lists the images: --data FILE.")
        return "manifest", tables[0] if source.is_dir() else source
    if config.layout == "auto":
        listing = [file for file in tables if source.is_file() or manifest.lists_images(file, config)]
        if len(listing) == 1:
            return "manifest", listing[0]
    return "folders", source


@dataclass(frozen=True)
class _File:
    """A file with the folders that say something of it."""

    path: Path
    folders: tuple[str, ...]
    stem: str


def _pattern(given: str) -> re.Pattern[str] | None:
    """`data.patient_pattern`; None: there is none.

    Raises:
        DataError: it is no regular expression, or has no group.
    """
    if not given:
        return None
    fix = "Give a regular expression with a group for the patient, as 'patient(\\d+)'"
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise DataError([Finding("error", f"it is no regular expression: {error}", PATTERN, fix)]) from None
    if not pattern.groups:
        raise DataError([Finding("error", "it has no group for the patient", PATTERN, fix)])
    return pattern


def folders(root: Path, pattern: re.Pattern[str] | None, faults: Collector) -> list[Item]:
    """Files of a tree, with what their folders say; see `inspect`.

    Args:
        pattern: its first group in a file's path below `root` is the patient; None: folders tell.

    Raises:
        UserError: there are no images.
    """
    base = root.parent if root.is_file() else root
    names = _Names(base, pattern)
    paths = _images(root, names, faults)
    own, masks = _divided([_file(path, base) for path in paths])
    if not own:
        fix = "They were taken as images. If they are masks, give the images with them, as in x.png and x_mask.png"
        faults.add("warning", "nothing but masks, by the names of files or folders", fix, names.of(masks[0].path))
        own, masks = [_File(file.path, file.folders, file.path.stem) for file in masks], []
    paired = _paired(own, masks, names, faults)
    deep, own = own, _unwrapped(own)
    if len(deep[0].folders) > len(own[0].folders):
        fix = "The folders in it were taken as classes. If it is one itself, put the other class beside it"
        faults.add("info", "one folder around all images", fix)
    sharing = _sharing(paired)
    split = all(file.folders and file.folders[0].lower() in SPLITS for file in own)
    people = len({file.folders for file in own}) > MANY and sum(file.path in paired for file in own) > 0.9 * len(own)
    items = []
    for file in own:
        inner = file.folders[1:] if split else file.folders
        label, inner = (None, inner) if people or not inner else (inner[0], inner[1:])
        patient = names.patient(file.path) or (inner[0] if inner else "")
        name = names.of(file.path, label or "", patient)
        if pattern and not names.patient(file.path):
            faults.add("warning", f"a path that {PATTERN} does not match", "Its patient is unknown", name)
        patient = patient or sharing.get(file.path, "")
        part = SPLITS[file.folders[0].lower()] if split else ""
        items.append(Item(file.path, name, label, tuple(paired.get(file.path, ())), patient, part=part))
    if root.is_dir():
        _empty_classes(root, [item for item in items if item.label is not None], paths, faults)
    return items


def _empty_classes(root: Path, items: Sequence[Item], paths: Sequence[Path], faults: Collector) -> None:
    """Names folders without any image beside those of the classes, or beside the folders around these.

    Args:
        items: labelled ones. paths: all images and masks of the tree.
    """
    beside: set[Path] = set()
    for path, label in {(item.path.parent, item.label) for item in items}:
        inner = [path, *path.parents]
        around = inner[next(place for place, folder in enumerate(inner) if folder.name == label) + 1 :]
        beside.update(folder for folder in around if folder.is_relative_to(root))
    holding = {folder for path in paths for folder in path.parents}
    for folder in sorted(one for place in beside for one in place.iterdir() if one.is_dir() and one not in holding):
        if not folder.name.startswith(".") and os.access(folder, os.R_OK | os.X_OK):  # the others are named elsewhere
            fix = "If it is a class, put its images there, not a link to them; else nothing is to be done"
            faults.add("warning", "a folder without images beside those of the classes", fix, folder.name[:40])


class _Names:
    """What files are called, and whom `data.patient_pattern` finds in their paths."""

    def __init__(self, base: Path, pattern: re.Pattern[str] | None) -> None:
        self._find = pattern
        self._base, self._salt = base, anonymous.salt()

    def patient(self, path: Path) -> str:
        """As the data set calls it; "": the pattern does not match, or there is none."""
        match = self._find.search(path.relative_to(self._base).as_posix()) if self._find else None
        return (match[1] or "") if match else ""

    def of(self, path: Path, label: str = "", patient: str = "") -> str:
        """See `items.name_of`.

        Args:
            label: name of the file's class. patient: as the data set calls it; "": as the pattern finds it.
        """
        return name_of(path.relative_to(self._base), [label], patient or self.patient(path), self._salt)


def _images(root: Path, names: _Names, faults: Collector) -> list[Path]:
    """The file, or those of the tree, that are images by their ending or their start.

    Raises:
        UserError: there are none.
    """
    kinds = (
        f"images (DICOM, NIfTI, PNG, JPEG, TIFF, BMP), a table of images ({', '.join(manifest.TABLES)}), a MedMNIST file (.npz)"
    )
    if root.is_file():
        if not _may_be_image(root):
            raise UserError(f"{root} is none of these: {kinds}. Unpack it, if it is an archive.")
        return [root]
    paths = []
    for path in reading.files(root):
        if path.is_dir():
            faults.add("warning", "a folder that cannot be opened", "Permit to read it")
        elif _may_be_image(path):
            paths.append(path)
        else:
            faults.add("info", "a file that is no image", "It was passed over", names.of(path))
    if not paths:
        there = sorted(path.name if path.is_file() else "a folder" for path in root.iterdir())[:SHOWN]
        raise UserError(f"{root} has no images. Looked for: {kinds}. There: {', '.join(there) or 'nothing'}.")
    return paths


def _may_be_image(path: Path) -> bool:
    """By its ending, else by its start; a broken image keeps its ending, and reading it gives the reason."""
    if path.name.lower().endswith(ENDINGS):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(HEAD)
    except OSError:
        return False
    return dicom.recognised(start) or start.startswith(MAGIC)


def _file(path: Path, base: Path) -> _File:
    stem = path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem
    return _File(path, path.relative_to(base).parent.parts, stem)


def _divided(files: Sequence[_File]) -> tuple[list[_File], list[_File]]:
    """Images and masks, each without the folders that say only which of both they are."""
    images: list[_File] = []
    masks: list[_File] = []
    for file in files:
        in_masks = any(says(folder, MASKS) for folder in file.folders)
        kept = tuple(folder for folder in file.folders if not says(folder, MASKS | IMAGES))
        match = MASK.fullmatch(file.stem)
        if in_masks or match:
            masks.append(_File(file.path, kept, match["of"] if match else file.stem))
        else:
            images.append(_File(file.path, kept, file.stem))
    return images, masks


def _paired(images: Sequence[_File], masks: Sequence[_File], names: _Names, faults: Collector) -> dict[Path, list[Path]]:
    """The masks of each image: of its folder and name; else of its name alone where that is clear; else of the start of its name,
    as in BraTS and nnU-Net (x_flair.nii.gz, x_0000.nii.gz for the mask x)."""
    exact: dict[tuple[tuple[str, ...], str], list[_File]] = defaultdict(list)
    named: dict[str, list[_File]] = defaultdict(list)
    starts: dict[tuple[tuple[str, ...], str], list[_File]] = defaultdict(list)
    for file in images:
        exact[file.folders, file.stem].append(file)
        named[file.stem].append(file)
        starts[file.folders, file.stem.rpartition("_")[0]].append(file)
    paired: dict[Path, list[Path]] = defaultdict(list)
    for mask in masks:
        found = exact.get((mask.folders, mask.stem)) or named.get(mask.stem, [])
        if len(found) != 1:
            found = starts.get((mask.folders, mask.stem), [])
        if not found:
            fix = "Give the mask the name of its image, as in x.png and x_mask.png; it was left out"
            faults.add("warning", "a mask without an image", fix, names.of(mask.path))
        for image in found:
            paired[image.path].append(mask.path)
    return paired


def _sharing(paired: dict[Path, list[Path]]) -> dict[Path, str]:
    """The mask that an image has in common with others: they show one patient, as the sequences of an examination do."""
    images = Counter(mask for masks in paired.values() for mask in masks)
    return {image: str(mask) for image, masks in paired.items() for mask in masks if images[mask] > 1}


def _unwrapped(files: Sequence[_File]) -> list[_File]:
    """The files without folders around everything, such as `data/`."""
    while files and all(len(file.folders) > 1 for file in files) and len({file.folders[0] for file in files}) == 1:
        if files[0].folders[0].lower() in SPLITS:
            break
        files = [_File(file.path, file.folders[1:], file.stem) for file in files]
    return list(files)
