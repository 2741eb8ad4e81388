"""What is known of one case while its pictures come in, and what is written of it: rows, overlays, masks, a card for the page."""

from __future__ import annotations

import base64
import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shared.files import whole
from usecases.medical_imaging import anonymous, answers, dicomseg, measuring, nifti, overlay, series
from usecases.medical_imaging.answers import MedicalOptions
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.found import NOT_JUDGED, Found
from usecases.medical_imaging.items import is_finding, is_healthy
from usecases.medical_imaging.series import Study

OVERLAYS, MASKS = "overlays", "masks"
SEVERAL = 0.1  # share of a volume's slices that are referred, from which on it is, though its likeliest is not
Row = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """A case on the page. `rank` sorts: referred ones first, then by how likely there is something.

    `probability` is empty where it is not judged.
    """

    rank: tuple[bool, float]
    name: str
    finding: str
    probability: str
    share: float
    refer: bool
    reasons: str
    details: str
    thumbnail: str
    overlay: str


@dataclass
class Bits:
    """A mask of one bit a pixel."""

    packed: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, mask: np.ndarray) -> Bits:
        return cls(np.packbits(mask), (mask.shape[0], mask.shape[1]))

    def mask(self) -> np.ndarray:
        return np.unpackbits(self.packed, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)


@dataclass
class Entry:
    """Numbers of one picture, by which its case is judged."""

    row: Row
    file: int
    something: float  # 0..1, -2..-1 where it is not judged
    reasons: tuple[str, ...]
    mask: Bits | None
    area: float | None
    judged: bool


def general(reason: str) -> str:
    """A reason without its numbers, so that the same ones can be counted."""
    return re.sub(r"\d+([.,]\d+)*", "…", reason)


def something(found: Found, classes: Sequence[str]) -> float:
    """Probability that there is something; of several classes that are all findings, that of the likeliest one."""
    return float(found.probabilities.max() if is_finding(classes, classes[0]) else 1 - found.probabilities[0])


@dataclass
class Recorder:
    """Takes in the pictures of one study in order.

    Memory grows with its number of pictures by a row and a bit a pixel each; of overlays, it holds the few that will be written.

    Args:
        out: the result's folder.
    """

    study: Study
    classes: Sequence[str]
    options: MedicalOptions
    out: Path
    seen: list[Entry] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    patient: str = ""
    exposed: int = 0
    covered: list[float] = field(default_factory=list)  # of the pictures with text, what share was blacked out
    best: float = -3.0
    thumbnail: bytes = b""
    of_interest: int = 0
    drawn: list[tuple[float, int, bytes]] = field(default_factory=list)  # a heap of overlays: likelihood, -place, PNG

    def fault(self, file: int, reason: str) -> None:
        """A file of the study that cannot be read, or not to its end."""
        self.faults.append((self.study.names[file], reason))

    def add(self, file: int, frame: int, picture: Picture, found: Found) -> None:
        likely = something(found, self.classes) - 2 * (not found.judged)  # what is judged comes first
        area, diameter = answers.sizes(found, picture)
        row: Row = {
            "case": self.study.name,
            "name": self.study.names[file],
            "frame": frame,
            "finding": found.finding(self.classes),
            "probability": round(float(found.probabilities[found.label]), 4) if found.judged else None,
            "low": round(found.low, 4) if found.judged else None,
            "high": round(found.high, 4) if found.judged else None,
            "refer": bool(found.reasons),
            "reasons": "; ".join(found.reasons),
            "novelty": round(found.novelty, 4),
            **{f"p_{name}": round(float(p), 4) for name, p in zip(self.classes, found.probabilities, strict=True)},
            "area_mm2": area,
            "diameter_mm": diameter,
            "lesions": None if found.mask is None else measuring.lesions(found.mask),
            "patient": picture.patient,
            "overlay": "",
            "mask": "",
            "notice": found.notice,
        }
        if not found.judged:  # between slices that are, it is one without a mark
            found = replace(found, mask=np.zeros(picture.pixels.shape[:2], bool))
            area = None if picture.spacing is None else 0.0
        mask = None if found.mask is None else Bits.of(found.mask)
        self.seen.append(Entry(row, file, likely, found.reasons, mask, area, found.judged))
        self.exposed += anonymous.exposed(picture.about)
        if "covered" in picture.about:
            self.covered.append(float(picture.about["covered"]))
        self.patient = self.patient or picture.patient
        if likely > self.best:
            self.best, self.thumbnail = likely, overlay.encode(overlay.thumbnail(picture, found), ".jpg")
        self._draw(picture, found, likely)

    def finish(self) -> tuple[Row, Card] | None:
        """Write overlays and masks, and give the case's row and card; None where none of its pictures could be read."""
        if not self.seen:
            return None
        notes = self._overlays()
        chief = max(self.seen, key=lambda one: one.something)
        written, more = self._masks(self._marked(chief.row["finding"]))
        notes += more
        told = self._reasons(chief)
        referred = sum(bool(one.reasons) for one in self.seen)
        if len(self.seen) > 1:
            notes.insert(0, f"finding and probability are those of the likeliest of {len(self.seen):,} pictures")
            if referred and not told:
                notes.append(f"{referred:,} of its pictures are referred, not the likeliest")
        refused = sum(not one.judged for one in self.seen)
        if refused and len(self.seen) > 1:
            notes.append(f"{refused:,} of its pictures are not judged")
        if self.covered:
            where = f" in {len(self.covered):,} of its pictures, at most" if len(self.seen) > 1 else ":"
            notes.append(f"text covered{where} {overlay.percent(max(self.covered))}% of the image")
        if self.exposed:
            notes.append(f"headers of {self.exposed:,} of its pictures tell of burnt-in text, but none was found to cover")
        if self.faults:
            notes.append(f"{len(self.faults)} of its files could not be read to the end")
        lesions, volume = self._lesions()
        row = {
            "case": self.study.name,
            "kind": self.study.kind,
            "pictures": len(self.seen),
            "unreadable": len(self.faults),
            **{key: chief.row[key] for key in ("finding", "probability", "low", "high")},
            "picture": f"{chief.row['name']}#{chief.row['frame']}" if len(self.seen) > 1 else "",
            "with_finding": sum(one.judged and is_finding(self.classes, one.row["finding"]) for one in self.seen),
            "refer": bool(told),
            "referred": referred,
            "reasons": "; ".join(told),
            "novelty": max(one.row["novelty"] for one in self.seen),
            "lesions": lesions,
            "diameter_mm": max((one.row["diameter_mm"] for one in self.seen if one.row["diameter_mm"] is not None), default=None),
            "area_mm2": chief.row["area_mm2"] if len(self.seen) == 1 else None,
            "volume_ml": volume,
            "patient": self.patient,
            "mask": written,
            "overlays": len(self.drawn),
            "notes": "; ".join(notes),
            "notice": chief.row["notice"],
        }
        return row, self._card(row, chief)

    def _reasons(self, chief: Entry) -> list[str]:
        """Why it is referred; [] if it is not.

        Of several pictures each kind of reason once, with the first one's numbers, where the one that is answered for is
        referred or many are: of some hundred slices one nearly always is.
        """
        if len(self.seen) == 1:
            return list(chief.reasons)
        if not chief.reasons and sum(bool(one.reasons) for one in self.seen) < SEVERAL * len(self.seen):
            return []
        counts = Counter(general(reason) for one in self.seen for reason in one.reasons)
        first = {general(reason): reason for one in reversed(self.seen) for reason in one.reasons}
        return [f"{n:,} of {len(self.seen):,} pictures: {first[kind]}" for kind, n in counts.most_common()]

    def _draw(self, picture: Picture, found: Found, likely: float) -> None:
        """Keep the overlay if it is among those to be written: of volumes, the likeliest slices with a finding or referred.

        One image may prove to be the first of many: those without a finding stay in the heap below all others.
        """
        interest = is_finding(self.classes, self.classes[found.label]) or bool(found.reasons)
        self.of_interest += interest
        if not self.options.overlays or (len(self.seen) > 1 and not interest):
            return
        rank = (likely if interest else likely - 4, -len(self.seen))
        if len(self.drawn) >= self.options.slices and rank < self.drawn[0][:2]:
            return
        row = self.seen[-1].row
        shown = f"{row['name']}  #{row['frame']}" if picture.name.endswith(f"#{row['frame']}") else row["name"]
        heapq.heappush(self.drawn, (*rank, overlay.encode(overlay.draw(picture, found, self.classes, shown))))
        if len(self.drawn) > self.options.slices:
            heapq.heappop(self.drawn)

    def _overlays(self) -> list[str]:
        """Write those that were kept; says what was left out."""
        if len(self.seen) > 1:
            self.drawn = [one for one in self.drawn if one[0] >= -2]
        for _, place, data in self.drawn:
            name = f"{OVERLAYS}/{self._named(-place - 1)}.png"
            with whole(self.out / name) as partial:
                partial.write_bytes(data)
            self.seen[-place - 1].row["overlay"] = name
        left = self.of_interest - len(self.drawn) if self.options.overlays and len(self.seen) > 1 else 0
        return (
            [f"overlays of the likeliest {len(self.drawn)} of {self.of_interest} slices with a finding or referred"]
            if left > 0
            else []
        )

    def _named(self, place: int) -> str:
        return f"{self.study.stem}__{place + 1:04d}" if len(self.seen) > 1 else self.study.stem

    def _marked(self, finding: str) -> str:
        """What masks mark, where the likeliest picture has that finding: masks themselves know one kind of thing only."""
        if not is_healthy(finding):
            return finding
        return self.classes[1] if len(self.classes) == 2 else "finding"

    def _masks(self, what: str) -> tuple[str, list[str]]:
        """Write the mask in the input's own kind, or as images; returns where it is, and why it is not as it should be.

        Args:
            what: is marked.
        """
        masks = [one.mask for one in self.seen if one.mask is not None]
        if not self._known() or not self.options.masks:
            return "", []
        whole_file = not self.faults and len({one.shape for one in masks}) == 1
        why = "not all of its pictures could be read, or they differ in size"
        if self.study.kind == "NIfTI" and whole_file:
            name = f"{MASKS}/{self.study.stem}.nii.gz"
            (self.out / MASKS).mkdir(parents=True, exist_ok=True)
            nifti.write_mask(self.study.paths[0], np.stack([one.mask() for one in masks]), self.out / name)
            return self._noted(name), []
        if self.study.kind == "DICOM" and (whole_file or len(self.study.paths) > 1):
            name, why = self._segmentation(what)
            if not why:
                return name, []
        notes = [f"the mask is written as images: {why}"] if self.study.kind != "image" else []
        return self._images(), notes

    def _known(self) -> bool:
        """Is there a mask of any picture that is judged?"""
        return any(one.judged and one.mask is not None for one in self.seen)

    def _segmentation(self, what: str) -> tuple[str, str]:
        """The name of the DICOM segmentation, "" where nothing is marked; and why it could not be written."""
        single = len(self.study.paths) == 1
        marked = [one for one in self.seen if one.mask is not None and (single or one.mask.packed.any())]
        if not any(one.mask is not None and one.mask.packed.any() for one in marked):
            return "", ""
        if len({one.mask.shape for one in marked if one.mask is not None}) > 1:
            return "", "its pictures differ in size"
        name = f"{MASKS}/{self.study.stem}.dcm"
        paths = self.study.paths if single else [self.study.paths[one.file] for one in marked]
        stack = np.stack([one.mask.mask() for one in marked if one.mask is not None])
        try:
            patient = self.patient or "anonymous"
            dicomseg.write(paths, stack, self.out / name, what, patient, self.options.identities)
        except dicomseg.UnreferableError as error:
            return "", str(error)
        return self._noted(name), ""

    def _images(self) -> str:
        """PNG files, of several pictures those with something marked."""
        names = []
        for place, one in enumerate(self.seen):
            if one.mask is None or (len(self.seen) > 1 and not one.mask.packed.any()):
                continue
            names.append(f"{MASKS}/{self._named(place)}.png")
            with whole(self.out / names[-1]) as partial:
                overlay.write_mask(partial, one.mask.mask())
            one.row["mask"] = names[-1]
        return names[0] if len(self.seen) == 1 and names else f"{len(names)} files" if names else ""

    def _noted(self, name: str) -> str:
        for one in self.seen:
            one.row["mask"] = name
        return name

    def _lesions(self) -> tuple[int | None, float | None]:
        """Their number, and their volume in ml; of several pictures only where these are known to be one stack."""
        masks = [one.mask for one in self.seen if one.mask is not None]
        if len(self.seen) == 1:
            return self.seen[0].row["lesions"], None
        places = self._places()
        if len(masks) < len(self.seen) or places is None or not self._known():
            return None, None
        counter = measuring.Lesions()
        for mask in masks:
            counter.add(mask.mask())
        areas = [one.area for one in self.seen if one.area is not None]
        volume = measuring.volume_ml(areas, places)
        return counter.count, None if volume is None else round(volume, 3)

    def _places(self) -> list[float] | None:
        """mm of each picture along the stack; None where they are not known, or not those of one stack."""
        places = series.stack(self.study)
        if places is not None and len(self.study.paths) > 1:
            return [places[one.file] for one in self.seen] if len({one.file for one in self.seen}) == len(self.seen) else None
        return places if places is not None and len(places) == len(self.seen) else None

    def _counted(self) -> str:
        """How many of several pictures have which finding; of two classes, only the second is one."""
        told, counts = f"{len(self.seen):,} pictures", Counter(str(one.row["finding"]) for one in self.seen)
        refused = [f"{counts[NOT_JUDGED]} {NOT_JUDGED}"] if counts[NOT_JUDGED] else []
        if len(self.classes) == 2:
            return ", ".join([f"{told}, {counts[self.classes[1]] or 'none'} with the finding '{self.classes[1]}'", *refused])
        return f"{told}: " + ", ".join([*(f"{counts[name]} '{name}'" for name in self.classes if counts[name]), *refused])

    def _card(self, row: Row, chief: Entry) -> Card:
        details = [self._counted()] if len(self.seen) > 1 else []
        details += [f"{row['lesions']} lesion{'s' * (row['lesions'] != 1)}"] if row["lesions"] else []
        details += [
            f"{row[key]:,.1f} {unit}"
            for key, unit in (("volume_ml", "ml"), ("area_mm2", "mm²"), ("diameter_mm", "mm across"))
            if row[key]
        ]
        details += [row["notes"]] if row["notes"] else []
        best = max(self.drawn, default=None)
        return Card(
            rank=(row["refer"], chief.something),
            name=row["case"],
            finding=row["finding"],
            probability=overlay.certainty(row["probability"], row["low"], row["high"]) if chief.judged else "",
            share=row["probability"] if chief.judged else 0,
            refer=row["refer"],
            reasons=row["reasons"],
            details=" · ".join(details),
            thumbnail=base64.b64encode(self.thumbnail).decode(),
            overlay="" if best is None else f"{OVERLAYS}/{self._named(-best[1] - 1)}.png",
        )
