"""What keeps patients unknown: pseudonyms, and text burnt into pixels, which is found and covered."""

from __future__ import annotations

import functools
import hmac
import os
import secrets
from dataclasses import replace

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from usecases.medical_imaging.cases import Picture

SALT = "USECASES_SALT"
SMALLEST = 64  # pixels; a smaller image is no place for text that can be read
LARGEST = 2048  # pixels; of a larger image reduced ones are searched
STROKE = 11  # pixels; strokes of characters are narrower
CONTRAST = 45  # grey values of 255 between ink and what is around
INK = 40  # grey values between characters of a line
LOWEST, HIGHEST = 5, 12  # pixels that a character is high, at least; and at most, where a tenth of the image is less
GAP = 1.3  # heights between characters of a line
CHARACTERS = 3  # that make a line
MOST = 4000  # components; an image with more has texture, not text


def pseudonym(identifier: str, salt: str) -> str:
    """Twelve hexadecimal digits that stand for a patient: HMAC-SHA256 of the identifier, keyed with the salt; "" for "".

    Without the salt nobody can try all numbers that a hospital gives and see which of them made the pseudonym.
    """
    return hmac.new(salt.encode(), identifier.encode(), "sha256").hexdigest()[:12] if identifier else ""


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
    """The picture with burnt-in text blacked out, and `hidden` telling where that was."""
    found = burnt_in_text(picture.pixels)
    if not found.any():
        return picture
    pixels = picture.pixels.copy()
    pixels[found] = 0
    return replace(picture, pixels=pixels, hidden=found if picture.hidden is None else found | picture.hidden)


def burnt_in_text(pixels: np.ndarray) -> np.ndarray:
    """Where letters and numbers stand in lines: names, dates and the like that somebody wrote into an image.

    Strokes are what a top-hat transformation leaves: narrower than its kernel, and brighter (or, in the inverted image,
    darker) than what is around. Connected ones are taken for characters where their ink has one brightness and their
    surroundings nearly another; characters for text where at least three of about one height stand beside each other on one
    baseline. Single letters, such as a side marker, stay: they name nobody. Large strokes are found in the halved image.
    After: Wu et al., "TextFinder", IEEE PAMI 21(11), 1999, section 3.2 (strokes to chips by height, gap and alignment).

    Args:
        pixels: in 0..1, [height, width] or [height, width, 3].

    Returns:
        bool [height, width]: boxes around the lines of text.
    """
    height, width = pixels.shape[:2]
    found = np.zeros((height, width), bool)
    if min(height, width) < SMALLEST:
        return found
    bright, dark = (pixels, pixels) if pixels.ndim == 2 else (pixels.max(axis=2), pixels.min(axis=2))
    for image in (bright, 1 - dark):
        grey = cv2.convertScaleAbs(image, alpha=255)
        factor = 1
        while min(grey.shape) >= SMALLEST and factor <= 1 << 3:
            if max(grey.shape) <= LARGEST:
                for left, top, right, bottom in _lines(grey):
                    found[max(0, top) * factor : bottom * factor, max(0, left) * factor : right * factor] = True
            grey, factor = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), factor * 2
            if max(grey.shape) < LARGEST // 8:
                break
    return found


def _lines(grey: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of lines of bright text in uint8 [height, width]."""
    boxes, ink = _characters(grey)
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
    found = []
    for number in range(count):
        members = np.flatnonzero(line == number)
        high = float(np.percentile(tall[members], 75))
        if len(members) < CHARACTERS or not _aligned(boxes[members], high):
            continue
        margin = 2 + round(0.4 * high)
        found.append((left[members].min() - margin - round(0.6 * high), top[members].min() - margin,
                      right[members].max() + margin + round(0.6 * high), bottom[members].max() + margin))  # fmt: skip
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in found]


def _aligned(boxes: np.ndarray, high: float) -> bool:
    """Do most characters stand on one line (some letters hang below it), and is it wider than high?"""
    left, top, right, bottom = boxes.T
    base, head = np.abs(bottom - np.median(bottom)), np.abs(top - np.median(top))
    steady = max(1.0, 0.13 * high)
    return bool((base <= steady).mean() >= 0.6 and (head <= 3 * steady).mean() >= 0.6 and right.max() - left.min() > 1.5 * high)


def _characters(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] of what may be bright characters, and how bright their ink is [n]."""
    strokes = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (STROKE, STROKE)))
    most = cv2.dilate(strokes, np.ones((15, 15), np.uint8))
    ink = (strokes > CONTRAST) & (strokes > most // 2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    left, top, wide, high, area = stats.T
    fine = (high >= LOWEST) & (high <= max(HIGHEST, grey.shape[0] * 0.1)) & (wide <= 4 * high) & (area > 5) & (area < wide * high * 0.95 + 3)
    fine[0] = False
    if fine.sum() < CHARACTERS or fine.sum() > MOST:
        return np.zeros((0, 4), int), np.zeros(0)
    labels[~fine[labels]] = 0
    near = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    around = cv2.dilate(labels.astype(np.float32), np.ones((7, 7), np.uint8)).astype(np.int32)
    around[near > 0] = 0
    level, spread = _moments(grey, labels, count)
    beside, unrest = _moments(grey, around, count)
    contrast = level - beside
    fine &= (contrast > CONTRAST) & (spread < 0.3 * contrast) & (unrest < 0.3 * contrast)
    chosen = np.flatnonzero(fine)
    return np.stack([left, top, left + wide, top + high], axis=1)[chosen], level[chosen]


def _moments(grey: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the grey values under each label."""
    place = np.flatnonzero(labels)
    label, value = labels.ravel()[place], grey.ravel()[place].astype(np.float64)
    number = np.maximum(np.bincount(label, minlength=count), 1)
    mean = np.bincount(label, value, count) / number
    return mean, np.sqrt(np.maximum(np.bincount(label, value * value, count) / number - mean**2, 0))
