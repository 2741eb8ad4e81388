"""What keeps patients unknown: pseudonyms, and text burnt into pixels, which is found and covered."""

from __future__ import annotations

import functools
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from usecases.medical_imaging.cases import Known, Picture

SALT = "USECASES_SALT"
SMALLEST = 64  # pixels; a smaller image is no place for text that can be read
LARGEST = 2048  # pixels; of a larger image reduced ones are searched
STROKE = 11  # pixels; strokes of characters are narrower
CONTRAST = 40  # grey values of 255 between ink and what is around
INK = 40  # grey values between characters of a line
UNREST = 0.3  # deviation of ink, and of what is around, in parts of that contrast
LOWEST, HIGHEST = 5, 24  # pixels that characters are high; TALLEST times the image's height if that is more
TALLEST = 0.07
GAP = 1.3  # heights between characters of a line
CHARACTERS = 3  # that make a line near a border, and so many more in the middle:
MIDDLE = 3
BORDER = 0.1  # of the image
MOST = 4000  # components; an image with more has texture, not text


def pseudonym(identifier: str, salt: str) -> str:
    """Twelve hexadecimal digits that stand for a patient: HMAC-SHA256 of the identifier, keyed with the salt; "" for "".

    Without the salt nobody can try all numbers that a hospital gives and see which of them made the pseudonym.
    """
    return hmac.new(salt.encode(), identifier.encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:12] if identifier else ""


def salt() -> str:
    """The environment variable `USECASES_SALT`, or without it a random one, the same within this process.

    Random is the safe default: such pseudonyms keep a patient's images together within a run, and can be undone by nobody,
    not even with the list of all patients. Who wants the same pseudonyms in each run sets the variable, and keeps it secret.
    """
    return os.environ.get(SALT) or _random()


@functools.cache
def _random() -> str:
    return secrets.token_hex(16)


def covered(picture: Picture) -> Picture:
    """The picture with burnt-in text blacked out, `hidden` telling where that was and `about["covered"]` the share of it."""
    found = burnt_in_text(picture.pixels)
    if not found.any():
        return picture
    pixels = picture.pixels.copy()
    pixels[found] = 0
    hidden = found if picture.hidden is None else found | picture.hidden
    return replace(picture, pixels=pixels, hidden=hidden, about={**picture.about, "covered": round(float(hidden.mean()), 4)})


def exposed(about: Mapping[str, Known]) -> bool:
    """Does the header say that there is text in the image (BurnedInAnnotation, PS3.3 C.7.6.1), though none was found to cover?"""
    return about.get("burnt in") == "YES" and "covered" not in about


def burnt_in_text(pixels: np.ndarray) -> np.ndarray:
    """Where letters and numbers stand in lines: names, dates and the like that somebody wrote into an image.

    Strokes are what a top-hat transformation leaves: narrower than its kernel, and brighter (or, in the inverted image,
    darker) than what is around. Connected ones are taken for characters where their ink has one brightness and their
    surroundings nearly another; characters for text where several of about one height stand beside each other on one
    baseline. Single letters, such as a side marker, stay: they name nobody. Large strokes are found in the reduced image.
    After: Wu et al., "TextFinder", IEEE PAMI 21(11), 1999, section 3.2 (strokes to chips by height, gap and alignment).

    Args:
        pixels: in 0..1, [height, width] or [height, width, 3].

    Returns:
        bool [height, width]: boxes around the lines of text.
    """
    found = np.zeros(pixels.shape[:2], bool)
    if min(found.shape) < SMALLEST:
        return found
    bright, dark = (pixels, pixels) if pixels.ndim == 2 else (pixels.max(axis=2), pixels.min(axis=2))
    for grey in (cv2.convertScaleAbs(bright, alpha=255), 255 - cv2.convertScaleAbs(dark, alpha=255)):
        highest, factor = max(HIGHEST, TALLEST * grey.shape[0]), 1
        while factor == 1 or highest / factor > HIGHEST / 2:  # what is lower was found in the image before it was halved
            if max(grey.shape) <= LARGEST:
                for left, top, right, bottom in _lines(grey, highest / factor):
                    found[max(0, top) * factor : bottom * factor, max(0, left) * factor : right * factor] = True
            grey, factor = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), factor * 2
    return found


def _lines(grey: np.ndarray, highest: float) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of lines of bright text in uint8 [height, width]."""
    everything, boxes, ink = _characters(grey, highest)
    if len(boxes) < CHARACTERS:
        return []
    left, top, right, bottom = boxes.T
    tall = bottom - top
    middle = (top + bottom) / 2
    larger = np.maximum(tall[:, None], tall)
    gap = np.maximum(left[:, None], left) - np.minimum(right[:, None], right)
    beside = (gap < GAP * larger) & (gap > -0.5 * larger)
    level = np.abs(middle[:, None] - middle) < 0.45 * larger
    similar = larger < 2.2 * np.minimum(tall[:, None], tall)
    alike = np.abs(ink[:, None] - ink) < INK
    count, line = connected_components(csr_array(beside & level & similar & alike), directed=False)
    found: list[tuple[int, int, int, int]] = []
    heights: list[float] = []
    sizes = np.bincount(line, minlength=count)
    longest = np.argsort(-sizes)[: int((sizes >= CHARACTERS - 1).sum())]
    for number in longest:  # first: they vouch for short ones like them
        members = np.flatnonzero(line == number)
        high = float(np.percentile(tall[members], 75))
        vouched = any(0.8 < high / other < 1.25 for other in heights)
        if len(members) < CHARACTERS - vouched:
            continue
        if _aligned(boxes[members], high) and (vouched or _certain(boxes[members], high, grey.shape)):
            heights.append(high)
            found.append(_grown(boxes[members], everything, high))
    return found


def _aligned(boxes: np.ndarray, high: float) -> bool:
    """Do most characters stand on one line (some letters hang below it), and is it wider than high?"""
    left, top, right, bottom = boxes.T
    base, head = np.abs(bottom - np.median(bottom)), np.abs(top - np.median(top))
    steady = max(1.0, 0.13 * high)
    return bool((base <= steady).mean() >= 0.6 and (head <= 3 * steady).mean() >= 0.6 and right.max() - left.min() > 1.2 * high)


def _certain(boxes: np.ndarray, high: float, shape: tuple[int, ...]) -> bool:
    """Inside the patient, spots and vessels may happen to stand in a row: there it takes more characters than near a border."""
    left, top, right, bottom = boxes.T
    border = min(left.min(), top.min(), shape[1] - right.max(), shape[0] - bottom.max())
    return bool(len(boxes) >= CHARACTERS + (0 if border < max(2 * high, BORDER * min(shape)) else MIDDLE))


def _grown(boxes: np.ndarray, everything: np.ndarray, high: float) -> tuple[int, int, int, int]:
    """The box of a line with what else stands in it (dashes, points, characters that touch), and a margin."""
    left, top, right, bottom = boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
    inside = everything[(everything[:, 1] > top - 0.5 * high) & (everything[:, 3] < bottom + 0.5 * high)]
    reach = 0
    while reach != right - left:
        reach = right - left
        near = inside[(inside[:, 2] > left - GAP * high) & (inside[:, 0] < right + GAP * high)]
        left, right = min(left, near[:, 0].min()), max(right, near[:, 2].max())
    margin = 2 + round(0.4 * high)
    return int(left - 1.5 * margin), int(top - margin), int(right + 1.5 * margin), int(bottom + margin)


def _characters(grey: np.ndarray, highest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [m, 4] of all bright strokes, boxes [n, 4] of what may be characters, and how bright their ink is [n]."""
    strokes = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((STROKE, STROKE), np.uint8))
    most = cv2.dilate(strokes, np.ones((15, 15), np.uint8))
    ink = cv2.compare(strokes, np.maximum(most // 2, CONTRAST), cv2.CMP_GT)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    left, top, wide, high, area = stats.T
    boxes = np.stack([left, top, left + wide, top + high], axis=1)
    fine = (high >= LOWEST) & (high <= highest) & (wide <= 4 * high) & (area > 5)
    fine &= (area < wide * high * 0.95 + 3) | (3 * wide <= high)  # no blocks, but a 1 or an l
    fine[0] = False
    if not CHARACTERS <= fine.sum() <= MOST:
        return boxes, boxes[:0], np.zeros(0)
    kept = np.where(fine, np.arange(count), 0).astype(np.float32)[labels]
    near, around = cv2.dilate(kept, np.ones((3, 3), np.uint8)), cv2.dilate(kept, np.ones((7, 7), np.uint8))
    around[near > 0] = 0
    level, spread = _moments(grey, kept, count)
    beside, unrest = _moments(grey, around, count)
    contrast = level - beside
    fine &= (contrast > CONTRAST) & (spread < UNREST * contrast) & (unrest < UNREST * contrast)
    return boxes[(high <= 1.5 * highest) & (np.arange(count) > 0)], boxes[fine], level[fine]


def _moments(grey: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the grey values under each label."""
    place = np.flatnonzero(labels)
    label, value = labels.ravel()[place].astype(np.int64), grey.ravel()[place].astype(np.float64)
    number = np.maximum(np.bincount(label, minlength=count), 1)
    mean = np.bincount(label, value, count) / number
    return mean, np.sqrt(np.maximum(np.bincount(label, value * value, count) / number - mean**2, 0))
