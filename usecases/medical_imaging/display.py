"""The DICOM greyscale pipeline: stored values -> modality values -> the window -> what a screen shows, and colours by palette.

Own code instead of pydicom's functions of that kind, because those give the window's result in units of the stored values,
in 64 bits, and take the entries of a palette as bytes in the machine's order. Sections named here are of PS3.3 (2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from usecases.medical_imaging.scaling import Unreadable, bands, robust, sampled, stretched

GROUPS = ("PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence")


def functional_groups(dataset: Any, number: int) -> dict[str, Any]:
    """Of an enhanced object (C.7.6.16): what is said of this image (from 0), or else of all images."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    single = dataset.get("PerFrameFunctionalGroupsSequence") or []
    found: dict[str, Any] = {}
    for holder in (*shared[:1], *single[number : number + 1]):
        found |= {key: holder[key].value[0] for key in GROUPS if key in holder and holder[key].value}
    return found


def numbers(value: Any) -> list[float]:
    """Of an element with one or several numbers; [] where it is empty or one of them is none."""
    try:
        several = value if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]
        found = [float(one) for one in several]
    except (TypeError, ValueError):
        return []
    return found if all(np.isfinite(found)) else []


def shown(stored: np.ndarray, photometric: str, dataset: Any, groups: Mapping[str, Any]) -> np.ndarray:
    """What a screen shows of stored values: float32 in 0..1, [height, width] or [height, width, 3].

    Args:
        stored: of one image, as decoded; YBR has become RGB.
        photometric: interpretation of `stored`.
        dataset: the file's elements.
        groups: see `functional_groups`.

    Raises:
        Unreadable: the elements are not enough to show it.
    """
    if photometric == "PALETTE COLOR":
        return _palette(stored, dataset)
    if photometric == "RGB":
        bits = int(dataset.get("BitsStored") or stored.dtype.itemsize * 8)
        return stretched(stored, 0, 2.0**bits - 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Unreadable("the kind of colours (photometric interpretation) is not supported with that many bits")
    padding = _padding(stored, dataset)
    pixels = _windowed(stored, padding, dataset, groups)
    if photometric == "MONOCHROME1":
        np.subtract(1, pixels, out=pixels)
    if padding is not None:
        pixels[padding] = 0
    return pixels


def _padding(stored: np.ndarray, dataset: Any) -> np.ndarray | None:
    """Where there was nothing to image (C.7.5.1.1.2); None: nowhere."""
    value = numbers(dataset.get("PixelPaddingValue"))
    if len(value) != 1:
        return None
    limit = numbers(dataset.get("PixelPaddingRangeLimit")) or value
    low, high = sorted((value[0], limit[0]))
    found = (stored >= low) & (stored <= high)
    return found if found.any() and not found.all() else None


def _windowed(stored: np.ndarray, padding: np.ndarray | None, dataset: Any, groups: Mapping[str, Any]) -> np.ndarray:
    """Modality transformation (C.11.1), then VOI lookup table or window (C.11.2); without one, bytes as they are and other
    values stretched over the image's own range."""
    voi = groups.get("FrameVOILUTSequence", dataset)
    tables = voi.get("VOILUTSequence")
    centers, widths = numbers(voi.get("WindowCenter")), numbers(voi.get("WindowWidth"))
    has_window = bool(centers and widths) and widths[0] > 0
    if not tables and not has_window:
        low, high = _ends(stored if padding is None else stored[~padding], dataset, groups)
    pixels = np.empty(stored.shape, np.float32)
    for band in bands(stored):
        values, _ = _modality(stored[band], dataset, groups)
        if tables:
            table, first, highest = _table(tables[0], dataset)
            pixels[band] = stretched(table[_places(values, first, len(table))], 0, highest)
        elif has_window:
            function = str(voi.get("VOILUTFunction") or "LINEAR").strip().upper()
            pixels[band] = window(values, centers[0], widths[0], function)
        else:
            pixels[band] = stretched(values, low, high)
    return pixels


def _ends(stored: np.ndarray, dataset: Any, groups: Mapping[str, Any]) -> tuple[float, float]:
    """What is black and what is white of stored values without a window, in the modality's units."""
    values, moved = _modality(sampled(stored), dataset, groups)
    bits = int(dataset.get("BitsStored") or 16)
    return (0, 2**bits - 1) if not moved and bits <= 8 and stored.dtype.kind == "u" else robust(values)


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Values through a window, float32 in 0..1. Source: C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2
    (LINEAR_EXACT). What is named otherwise is taken as LINEAR, the default."""
    if function == "SIGMOID":
        exponent = (values.astype(np.float32) - np.float32(center)) * np.float32(-4 / width)
        exponent = np.clip(np.nan_to_num(exponent), -80, 80)
        return (1 / (1 + np.exp(exponent))).astype(np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
    if width <= 0:  # a threshold
        return (values > center).astype(np.float32)
    return stretched(values, center - width / 2, center + width / 2)


def _modality(stored: np.ndarray, dataset: Any, groups: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """Values in the modality's units, such as Hounsfield's, and whether they differ from the stored ones."""
    if tables := dataset.get("ModalityLUTSequence"):
        table, first, _ = _table(tables[0], dataset)
        return table[_places(stored, first, len(table))], True
    told = groups.get("PixelValueTransformationSequence", dataset)
    slope = (numbers(told.get("RescaleSlope")) or numbers(dataset.get("DoseGridScaling")) or [1.0])[0] or 1.0
    intercept = (numbers(told.get("RescaleIntercept")) or [0.0])[0]
    if slope == 1 and intercept == 0:
        return stored, False
    values = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    np.multiply(values, slope, out=values)
    np.add(values, intercept, out=values)
    return values, True


def _places(values: np.ndarray, first: int, length: int) -> np.ndarray:
    """Of values in a lookup table whose first entry is for `first`; what lies outside takes the nearest entry."""
    wide = np.rint(values) if values.dtype.kind == "f" else values
    return np.clip(np.nan_to_num(wide).astype(np.int64) - first, 0, length - 1)


def _table(item: Any, dataset: Any) -> tuple[np.ndarray, int, int]:
    """Entries of a lookup table, the value that the first is for, and the highest value that an entry can have (C.11.1.1)."""
    entries, first, bits = (int(one) for one in item.LUTDescriptor)
    if bits < 1:
        raise Unreadable("the DICOM file is damaged: the entries of a lookup table have no bits")
    return _entries(item["LUTData"].value, entries or 1 << 16, dataset), first, (1 << min(bits, 16)) - 1


def _entries(data: Any, count: int, dataset: Any) -> np.ndarray:
    """A table's entries, from numbers or from bytes: one byte each, or two in the file's order."""
    if isinstance(data, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
    else:
        table = np.array(data, np.int64).ravel()
    if not 0 < count <= len(table):
        raise Unreadable("the DICOM file is damaged: a lookup table is cut short")
    return table[:count]


def _palette(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Colours by lookup tables (C.7.6.3.1.5 and 6). Some writers keep entries of 8 bits where they announce 16: such a table
    is taken for what it holds."""
    tables: list[tuple[np.ndarray, int]] = []
    for colour in ("Red", "Green", "Blue"):
        entries, first, bits = (int(one) for one in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
        plain = dataset.get(f"{colour}PaletteColorLookupTableData")
        data = plain if plain else _expanded(dataset[f"Segmented{colour}PaletteColorLookupTableData"].value, bits, dataset)
        tables.append((_entries(data, entries or 1 << 16, dataset), first))
    highest = 65535 if any(int(table.max()) > 255 for table, _ in tables) else 255
    pixels = np.empty((*stored.shape, 3), np.float32)
    for band in bands(stored):
        for place, (table, first) in enumerate(tables):
            pixels[band, ..., place] = stretched(table[_places(stored[band], first, len(table))], 0, highest)
    return pixels


def _expanded(data: bytes, bits: int, dataset: Any) -> np.ndarray:
    """A segmented table as a plain one (C.7.9.2): runs of given, of linearly rising, and of repeated earlier entries."""
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    codes = np.frombuffer(data, np.uint8 if bits == 8 else f"{order}u2").tolist()
    found: list[int] = []
    _segments(codes, 0, len(codes), found, bits, True)
    return np.array(found, np.int64)


def _segments(codes: list[int], place: int, end: int, found: list[int], bits: int, outer: bool, most: int = 1 << 30) -> None:
    done = 0
    while place + 1 < end and done < most:
        code, length = codes[place], codes[place + 1]
        if code == 0:
            found += codes[place + 2 : place + 2 + length]
            place += 2 + length
        elif code == 1 and found:
            found += np.rint(np.linspace(found[-1], codes[place + 2], length + 1)[1:]).astype(int).tolist()
            place += 3
        elif code == 2 and outer:
            parts = 4 if bits == 8 else 2
            start = sum(one << (8 if bits == 8 else 16) * n for n, one in enumerate(codes[place + 2 : place + 2 + parts]))
            _segments(codes, start, end, found, bits, False, length)
            place += 2 + parts
        else:
            raise Unreadable("the DICOM file is damaged: a lookup table cannot be expanded")
        done += 1
        if len(found) > 1 << 16:
            raise Unreadable("the DICOM file is damaged: a lookup table is longer than it can be")
