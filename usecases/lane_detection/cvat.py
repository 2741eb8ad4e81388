"""Labels of CVAT: XML, read as a stream and without its dangers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from shared.errors import Collector, UserError
from usecases.lane_detection.lanes import Frame
from usecases.lane_detection.layouts import folder_of, inside, is_file, made, together

XML_LIMIT = 1 << 30  # bytes


class _RefusedError(Exception):
    """The XML says something that is not read."""


class _Images:
    """Takes the events of an XML parser, so that no tree is built; entities are never expanded."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.tracks = names, False
        self.images: list[tuple[dict[str, str], list[str], dict[str, Any]]] = []
        self.inside = False

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise _RefusedError("it has a DOCTYPE, which can hide an attack and which CVAT does not write")

    def start(self, tag: str, given: dict[str, str]) -> None:
        self.tracks |= tag == "track"
        if tag == "image":
            self.images.append((given, [], {}))
            self.inside = True
        elif tag == "polyline" and self.inside and (not self.names or given.get("label") in self.names):
            self.images[-1][1].append(given.get("points", ""))
            if given.get("occluded") == "1":
                self.images[-1][2]["occluded"] = True

    def end(self, tag: str) -> None:
        self.inside &= tag != "image"

    def data(self, text: str) -> None:
        """Words between tags say nothing here."""

    def close(self) -> None:
        """There is no tree to give."""


def read(source: Path, names: Sequence[str], faults: Collector) -> list[Frame]:
    """CVAT for images 1.1: an XML file, its images beside it or in `images/`.

    Raises:
        UserError: it is another kind of XML.
    """
    target = _Images(names)
    parser = ElementTree.XMLParser(target=target)
    try:
        if source.stat().st_size > XML_LIMIT:
            raise _RefusedError(f"it has more than {XML_LIMIT >> 30} GB")
        with source.open("rb") as file:
            while chunk := file.read(1 << 16):
                parser.feed(chunk)
        parser.close()
    except (_RefusedError, ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise UserError(f"{source} is not read: {error}. Export it again as 'CVAT for images 1.1'.") from None
    if not target.images:
        kind = "It is of a video: export" if target.tracks else "Export"
        raise UserError(f"{source} labels no images. {kind} it as 'CVAT for images 1.1'.")
    frames = []
    for given, polylines, about in target.images:
        name, subset = given.get("name", ""), given.get("subset", "")
        if inside(name) is None or (subset and inside(f"{subset}/{name}") is None):
            fix = "An image's name is a path inside the data's folder"
            faults.add("error", "an image with a name that leads out of the data", fix, name, where=source)
            continue
        size = [int(given[side]) for side in ("width", "height") if given.get(side, "").isdecimal() and len(given[side]) < 7]
        about = about | {"labelled_size": tuple(size)} if len(size) == 2 else about
        folders = (source.parent / "images" / subset, source.parent / "images", source.parent)
        image = next((folder / name for folder in folders if is_file(folder / name)), source.parent / name)
        lines = made(map(_pairs, polylines), faults, source, name)
        frames.append(Frame(name, image, lines, folder_of(name), about))
    return together(frames)


def _pairs(points: str) -> list[list[float]] | None:
    try:
        return [[float(number) for number in pair.split(",")] for pair in points.split(";")]
    except ValueError:
        return None
