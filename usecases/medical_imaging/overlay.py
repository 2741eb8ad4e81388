"""The picture, what the opinion on it rests on, and the opinion in words, as one image to look at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import NOTICE, Found
from usecases.medical_imaging.items import is_finding

PANEL = 490  # pixels of a panel's longer side; two of them and their margins fit into 1024
NARROW = 224  # a panel's least width, so that text has room
BLOCKS = 6  # magnification from which on pixels stay visible as what they are, rather than as a smooth invention
MARGIN, GAP = 12, 8
GROUND, TEXT, FAINT = (17, 20, 26), (240, 243, 247), (152, 162, 176)
AMBER, CALM, RED = (255, 184, 77), (120, 200, 150), (255, 122, 107)
OUTLINE = (64, 224, 255)  # is not among the heat's colours
STRONGEST = 0.55  # opacity of the greatest heat: anatomy shines through
THUMB = 168  # pixels
Colour = tuple[int, int, int]


def draw(picture: Picture, found: Found, classes: Sequence[str], name: str = "") -> np.ndarray:
    """Left the picture, right the same with heat and the mask's outline; below, the finding, and that it is no diagnosis.

    Args:
        name: written small, such as the file's; never from a header.

    Returns:
        RGB uint8, at most 1024 wide. Pixels are drawn in their true proportions where the picture tells their spacing.
    """
    size = _size(picture)
    plain = _enlarged(picture.pixels, size)
    heated = _outlined(_heated(plain, found.heat, size), found.mask, size)
    panel = max(size[0], NARROW)
    top = np.full((size[1] + 2 * MARGIN, 2 * panel + GAP + 2 * MARGIN, 3), GROUND, np.uint8)
    for left, image in ((MARGIN, plain), (MARGIN + panel + GAP, heated)):
        left += (panel - size[0]) // 2
        top[MARGIN : MARGIN + size[1], left : left + size[0]] = image
    return np.concatenate([top, _caption(top.shape[1], found, classes, name)])


def thumbnail(picture: Picture, found: Found) -> np.ndarray:
    """The picture with heat and outline, small: RGB uint8."""
    width, height = _size(picture)
    scale = THUMB / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return _outlined(_heated(_enlarged(picture.pixels, size), found.heat, size), found.mask, size)


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    """An RGB or grey image as the bytes of a file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 85] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 2]
    done, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, options)
    if not done:
        raise OSError(f"the image could not be encoded as {suffix}")
    return data.tobytes()


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A mask as PNG, 255 where it is marked, with the notice in its text."""
    text = PngInfo()
    text.add_text("Comment", NOTICE)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, "PNG", pnginfo=text)


def certainty(probability: float, low: float, high: float) -> str:
    """`87% (81 to 92%)`: what the model gives its finding, and between what limits validation puts it."""
    return f"{percent(probability)}% ({percent(low)} to {percent(high)}%)"


def percent(share: float) -> str:
    """A share in percent; never 100 of what is not certain, nor 0."""
    value = 100 * float(share)
    if value >= 99.5 or 0 < value < 0.5:
        return ">99" if value >= 99.5 else "<1"
    return f"{value:.0f}"


def _size(picture: Picture) -> tuple[int, int]:
    """Width and height of a panel."""
    height, width = map(float, picture.pixels.shape[:2])
    if picture.spacing is not None and 0.05 < picture.spacing[0] / picture.spacing[1] < 20:
        height *= picture.spacing[0] / picture.spacing[1]
    scale = PANEL / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _enlarged(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RGB uint8 of that size (width, height)."""
    image = np.ascontiguousarray(np.clip(np.nan_to_num(pixels), 0, 1), np.float32)
    times = max(size) / max(image.shape[:2])
    how = cv2.INTER_AREA if times < 1 else cv2.INTER_NEAREST if times >= BLOCKS else cv2.INTER_CUBIC
    image = np.clip(cv2.resize(image, size, interpolation=how), 0, 1)
    shown = (255 * image + 0.5).astype(np.uint8)
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, 2)


@cache
def _colours() -> np.ndarray:
    """RGB float32 [256, 3] of matplotlib's `inferno`, whose steps look equally large, without its blacks."""
    return mpl.colormaps["inferno"](np.linspace(0.3, 0.95, 256))[:, :3].astype(np.float32)


def _heated(image: np.ndarray, heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cover with colour what counts, the more the more it counts; the rest is left as it is."""
    heat = np.ascontiguousarray(np.clip(np.nan_to_num(heat), 0, 1), np.float32)
    shrinks = max(size) < max(heat.shape)
    heat = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), 0, 1)
    opacity = (STRONGEST * np.clip((heat - 0.1) / 0.6, 0, 1))[..., None]
    colours = 255 * _colours()[(255 * heat).astype(np.uint8)]
    return (image * (1 - opacity) + colours * opacity + 0.5).astype(np.uint8)


def _outlined(image: np.ndarray, mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    if mask is None or not mask.any():
        return image
    large = _enlarged_mask(mask, size)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    image = image.copy()
    large_enough = max(size) >= PANEL
    if large_enough:  # a dark rim tells the line from a bright ground
        cv2.drawContours(image, contours, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(image, contours, -1, OUTLINE, 1 + large_enough, cv2.LINE_AA)
    return image


def _enlarged_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 of that size (width, height), with smooth borders unless pixels are to be seen; nothing small gets lost."""
    times = max(size) / max(mask.shape)
    if times < 1:
        large = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    else:
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if times < BLOCKS:
        _, parts = cv2.connectedComponents(large.astype(np.uint8), connectivity=8)
        smooth = cv2.GaussianBlur(large.astype(np.float32), (0, 0), max(1.0, times)) > 0.5
        large = smooth | np.isin(parts, np.setdiff1d(parts[large], parts[smooth]))
    return large.astype(np.uint8)


def _caption(width: int, found: Found, classes: Sequence[str], name: str) -> np.ndarray:
    """The strip below: RGB uint8 of that width, as high as its text needs."""
    room = width - 2 * MARGIN
    lines: list[tuple[str, int, bool, Colour]] = []  # text, size, whether bold, colour
    tint = RED if is_finding(classes, classes[found.label]) else CALM
    finding = _wrapped(found.finding(classes), 24, True, room, 2)
    lines += [(text, 24, True, AMBER if found.reasons else tint) for text in finding]
    if found.judged:
        lines.append((f"probability {certainty(found.probabilities[found.label], found.low, found.high)}", 18, False, TEXT))
    if found.reasons:
        refer = f"refer to a human: {'; '.join(found.reasons)}"
        lines += [(text, 16, True, AMBER) for text in _wrapped(refer, 16, True, room, 5)]
    lines.append(("", 4, False, FAINT))
    legend = -1
    if found.judged:
        what = "right: what the finding rests on" + (", and the outline of where it is" if _marked(found) else "")
        lines += [(text, 13, False, FAINT) for text in _wrapped(what, 13, False, room - 150, 3)]
        legend = len(lines) - 1
    if name:
        lines += [(_shortened(name, 13, room), 13, False, FAINT)]
    lines += [(text, 13, True, TEXT) for text in _wrapped(found.notice, 13, True, room, 4)]
    height = sum(round(1.4 * size) for _, size, _, _ in lines) + MARGIN
    strip = Image.new("RGB", (width, height), GROUND)
    pen, y = ImageDraw.Draw(strip), 0
    for place, (text, size, bold, colour) in enumerate(lines):
        pen.text((MARGIN, y), text, colour, _font(size, bold))
        if place == legend:
            _scale(strip, pen, y)
        y += round(1.4 * size)
    return np.asarray(strip)


def _scale(strip: Image.Image, pen: ImageDraw.ImageDraw, y: int) -> None:
    """little [colours] much, at the right."""
    right, font = strip.width - MARGIN, _font(13, False)
    much = right - round(font.getlength("much"))
    pen.text((much, y), "much", FAINT, font)
    bar = Image.fromarray(np.repeat((255 * _colours()[None, ::4]).astype(np.uint8), 10, 0))
    strip.paste(bar, (much - 6 - bar.width, y + 4))
    pen.text((much - 12 - bar.width - round(font.getlength("little")), y), "little", FAINT, font)


def _marked(found: Found) -> bool:
    return found.mask is not None and bool(found.mask.any())


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu, which matplotlib brings along: OpenCV's own letters end with ASCII."""
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts/ttf", f"DejaVuSans{'-Bold' * bold}.ttf")), size)


def _wrapped(text: str, size: int, bold: bool, room: int, most: int) -> list[str]:
    """In lines of at most `room` pixels; what is beyond `most` lines is cut, with an ellipsis."""
    font, lines = _font(size, bold), [""]
    for word in text.split():
        while word:
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if font.getlength(longer) <= room:
                lines[-1], word = longer, ""
            elif lines[-1]:
                lines.append("")
            else:  # a word longer than a line
                fits = max(1, next((n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= room), 1))
                lines[-1], word = word[:fits], word[fits:]
                lines += [""] if word else []
    if len(lines) > most:
        lines = [*lines[: most - 1], _cut(lines[most - 1] + " …", font, room)]
    return lines


def _cut(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    while len(text) > 1 and font.getlength(text) > room:
        text = text[:-2].rstrip() + "…"
    return text


def _shortened(text: str, size: int, room: int) -> str:
    """A path keeps its end."""
    font = _font(size, False)
    if font.getlength(text) <= room:
        return text
    while len(text) > 1 and font.getlength("…" + text) > room:
        text = text[1:]
    return "…" + text
