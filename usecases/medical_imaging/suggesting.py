"""What somebody's folder of images is: its layout, classes, patients, and whether there are enough for one split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.data import columns, guessing
from shared.data.columns import normal
from shared.data.guessing import Assumed, Kind
from shared.errors import Collector, UserError
from shared.usecase import Assumption
from usecases.medical_imaging import layouts, manifest, medmnist
from usecases.medical_imaging.config import Data
from usecases.medical_imaging.items import HARMLESS, SPLITS, Item, is_healthy, ordered

LOOKED_FOR = "images in a folder for each class, images with masks, a table that lists images, or a MedMNIST file (.npz)"
FEW = 500  # images, below which a single test part says little
FOLDS = 5
ENOUGH = 4  # patients of the rarest class for each fold
PEOPLE = 20  # folders, from which on those of few images may be patients
EACH = 10  # images in such a folder, at most
LARGEST = 0.2  # of the images, more of which are not one patient's
DICOM = (".dcm", ".dicom", ".dic", ".ima")
PATTERNS = (  # of paths that name patients, most specific first
    r"(?i)((?<![a-z])(?:patient|subject|person|case|pat|subj|sub|pt|pid)[-_ ]?[a-z]?\d+)",
    r"([^/]*\d[^/]*?)[-_ ][^/_-]*\.[^/]+$",
    r"([^/_ -]*\d[^/_ -]*)[-_ ][^/]*$",
)
NOT = re.compile(r"(no|non|not|without|un|kein|keine|ohne)[-_ ]?(?P<of>.+)", re.IGNORECASE)


def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
    """What makes the classifier run on images; see `shared.usecase.UseCase.suggest`.

    Raises:
        UserError: there are no images, or no labels; or it cannot be told which class is the finding.
    """
    source = guessing.existing(Path(given.get("data.source", source)), LOOKED_FOR)
    assumed = Assumed(given)
    asked = Data(layout=given.get("data.layout", "auto"), columns=_given_columns(given))
    layout, place = layouts.layout_of(source, asked)
    if layout == "folders" and (table := _listing(source)):
        layout, place = "manifest", table
    taken, why = (place, f"{place.name} lists images") if layout == "manifest" else (source, f"{source.name}, as given")
    assumed.add("data.source", str(taken.resolve()), why)
    faults = Collector(place)
    if layout == "medmnist":
        held = medmnist.inspect(place, (), faults)
        assumed.add("data.layout", layout, f"{place.name} holds {len(held.cases):,} images with labels in train, val and test")
        _classes(list(held.classes), assumed)
        return assumed
    if layout == "manifest":
        named = asked.columns or _columns(place, assumed)
        items = manifest.items(place, Data(columns=named), faults)
        assumed.add("data.layout", layout, f"{place.name} lists {len(items):,} images that are there")
    else:
        items = layouts.folders(place, None, faults)
        assumed.add("data.layout", layout, _told(items))
    patients = _patients(items, place, assumed) if layout == "folders" else [item.patient for item in items]
    counts = Counter(item.label for item in items if item.label is not None)
    if len(counts) > 1:
        _no_people(counts, source)
        _classes(list(counts), assumed)
    elif counts or not any(item.masks for item in items):
        found = f"one class, '{next(iter(counts))}'" if counts else f"{len(items):,} images without labels"
        raise UserError(
            f"{source} has {found}. Looked for: {LOOKED_FOR}. To learn, give two classes at least, each a folder of its own, or "
            "masks beside the images (x_mask.png beside x.png). Images alone can be predicted on with a trained model."
        )
    _folds(items, patients, assumed)
    return assumed


def _given_columns(given: Mapping[str, Any]) -> dict[str, str]:
    start = "data.columns."
    single = {key.removeprefix(start): str(value) for key, value in given.items() if key.startswith(start)}
    return {**(given.get("data.columns") or {}), **single}


def _told(items: Sequence[Item]) -> str:
    """What folders hold, for the layout's reason."""
    counts = Counter(item.label for item in items if item.label is not None)
    split = " below train, val and test" if any(item.part for item in items) else ""
    masked = sum(bool(item.masks) for item in items)
    masks = f", masks of {masked:,} of them" if masked else ""
    if not counts:
        return f"{len(items):,} images{masks}"
    shown = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(5))
    return f"{len(counts)} folders of images{split}: {shown}{', …' if len(counts) > 5 else ''}{masks}"


def _listing(folder: Path) -> Path | None:
    """The one table of a folder with a column of images, told by its values."""
    if not folder.is_dir():
        return None
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in manifest.TABLES]
    if len(files) != 1:
        return None
    try:
        return files[0] if _paths(guessing.kinds(table := guessing.head(files[0])), table) else None
    except UserError:
        return None


def _paths(told: Mapping[str, Kind], table: Any) -> list[str]:
    """Columns whose values are names of images."""
    texts = [name for name, kind in told.items() if kind.what == "text" and kind.count]
    ends = {name: table[name].dropna().astype("str").str.lower().str.endswith(layouts.ENDINGS).mean() for name in texts}
    return [name for name, share in ends.items() if share >= guessing.NEARLY_ALL]


def _columns(file: Path, assumed: Assumed) -> dict[str, str]:
    """The columns of a table that lists images, where their names are not the usual ones.

    Raises:
        UserError: it cannot be told which are the images, or the labels.
    """
    table = guessing.head(file)
    told = guessing.kinds(table)
    usual = {role: one for role, names in manifest.ROLES.items() if (one := columns.usual(names, told))}
    found: dict[str, str] = {}
    why: list[str] = []
    for role in ("path", "mask"):
        named = [name for name in _paths(told, table) if name not in (*usual.values(), *found.values())]
        alike = [name for name in named if ("mask" in normal(name) or "seg" in normal(name)) == (role == "mask")]
        if role not in usual and alike:
            found[role] = alike[0]
            why.append(f"'{alike[0]}' holds names of {'images' if role == 'path' else 'masks'}")
    if "path" not in usual | found:
        raise UserError(f"{file} has no column with names of images. It has: {guessing.listed(told, told)}.")
    left = {name: kind for name, kind in told.items() if name not in (*usual.values(), *found.values())}
    for role, values in (("split", set(SPLITS)), ("patient", None)):
        fits = [name for name, kind in left.items() if _fits(table[name], kind, values, manifest.ROLES[role])]
        if role not in usual and len(fits) == 1:
            found[role] = fits[0]
            why.append(f"'{fits[0]}' has {told[fits[0]].distinct:,} values that repeat, as a {role} has")
            del left[fits[0]]
    if "label" not in usual and "mask" not in usual | found:
        fits = [name for name, kind in left.items() if 1 < kind.distinct <= PEOPLE and kind.count > kind.rows / 2]
        fits = guessing.named_like(fits, (*manifest.ROLES["label"], "result", "grade", "tumor", "disease")) or fits
        if not fits:
            raise UserError(f"{file} has no column of few values, which may be labels. It has: {guessing.listed(told, told)}.")
        if len(fits) > 1:
            key = "data.columns.label"
            raise guessing.ask(f"It cannot be told which column of {file} is the label.", key, fits, told)
        found["label"] = fits[0]
        why.append(f"'{fits[0]}' has {told[fits[0]].distinct} values, as labels have")
    if found:
        assumed.add("data.columns", found, "; ".join(why))
    return found


def _fits(values: Any, kind: Kind, allowed: set[str] | None, names: Sequence[str]) -> bool:
    """Are a column's values parts of a split (`allowed`), or ids that repeat of what is named like `names`?"""
    if allowed is not None:
        return kind.count > 0 and set(values.dropna().astype("str").str.lower()) <= allowed
    return kind.repeats and bool(guessing.named_like([str(values.name)], [*names, "patno", "mrn"]))


def _classes(names: list[str], assumed: Assumed) -> None:
    """Their order, the finding last.

    Raises:
        UserError: of two, neither is healthy by name.
    """
    wanted = assumed.given.get("data.classes")
    if wanted:
        if missing := sorted(set(names) - set(wanted)):
            raise UserError(f"data.classes={list(wanted)} lacks {', '.join(missing)}, which the data has.")
        return
    negated = [name for name in names if (match := NOT.fullmatch(name)) and any(normal(match["of"]) == normal(o) for o in names)]
    order = [*negated, *(name for name in ordered(set(names)) if name not in negated)]
    first = order[0]
    healthy = first in negated or is_healthy(first) or normal(first) in HARMLESS
    if len(order) == 2 and not healthy:
        raise UserError(
            f"It cannot be told which of the classes '{order[0]}' and '{order[1]}' is the finding. Name both, the finding last: "
            f"{guessing.answer('data.classes', order)} or {guessing.answer('data.classes', order[::-1])}."
        )
    why = (
        f"'{first}' is named like a class without a finding, which comes first"
        if healthy
        else "as they sort: none is healthy by name"
    )
    assumed.add("data.classes", order, why)


def _no_people(counts: Mapping[Any, int], source: Path) -> None:
    """Raises UserError if folders, or values of the label, are rather patients than classes."""
    sizes = sorted(counts.values())
    if len(sizes) > PEOPLE and sizes[len(sizes) // 2] <= EACH:
        raise UserError(
            f"{source} has {len(sizes):,} folders (or labels) with about {sizes[len(sizes) // 2]} image(s) each: these are "
            "rather patients than classes. Put a folder for each class around them, as class/patient/image.png, or give a table "
            "with the columns path, label and patient."
        )


def _patients(items: Sequence[Item], root: Path, assumed: Assumed) -> list[str]:
    """The patient of each item: as its folders say, else as its file's name does where that repeats."""
    known = [item.patient for item in items]
    wanted = assumed.given.get("data.patient_pattern")
    base = root.parent if root.is_file() else root
    paths = [item.path.relative_to(base).as_posix() for item in items]
    if wanted:
        return [match[1] if (match := re.search(wanted, path)) else "" for path in paths]
    told = [bool(item.patient) or item.path.suffix.lower() in DICOM for item in items]  # a header names the patient
    if sum(told) > len(told) / 2:
        return known
    for pattern in PATTERNS:
        found = [match[1] if (match := re.search(pattern, path)) else "" for path in paths]
        counts = Counter(filter(None, found))
        several = sum(count for count in counts.values() if count > 1)
        if (
            found.count("") <= (1 - guessing.NEARLY_ALL) * len(found)
            and len(counts) >= ENOUGH
            and several >= len(found) / 2
            and max(counts.values()) <= max(2, LARGEST * len(found))
        ):
            why = f"paths repeat: {len(counts):,} beginnings for {len(found):,} images"  # which may be names: none is shown
            assumed.add("data.patient_pattern", pattern, why)
            return found
    return known


def _folds(items: Sequence[Item], patients: Sequence[str], assumed: Assumed) -> None:
    """Cross-validation where images are few, and every class has patients for it."""
    if len(items) >= FEW or any(item.part for item in items):
        return
    units: dict[Any, set[str]] = {}
    for place, (item, patient) in enumerate(zip(items, patients, strict=True)):
        units.setdefault(item.label, set()).add(patient or str(place))
    folds = min(FOLDS, min(map(len, units.values())) // ENOUGH)
    if folds > 1:
        why = f"{len(items):,} images are too few for a single test: each is judged once, by one of {folds} models"
        assumed.add("split.folds", folds, why)
