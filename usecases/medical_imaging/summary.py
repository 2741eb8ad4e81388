"""What is remembered of a prediction, however many pictures it has, and its page: referred cases first."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from shared.files import write_json, write_text
from usecases.medical_imaging.found import NOT_JUDGED, NOTICE, Found
from usecases.medical_imaging.overlay import percent
from usecases.medical_imaging.recording import Card, Row, general

SUMMARY, PAGE = "summary.json", "summary.html"
SHOWN = 200  # cases with pictures on the page
LISTED = 200  # files that could not be read
EXAMPLES = 5  # reasons in an error


class Journal:
    """Counts what happens, and keeps the cases that the page shows.

    Attributes:
        point: of two classes the probability from which on the second is said; None: of more it is the likeliest.
        pictures: that were looked at.
        notice: what must stand on the result, as the pictures' opinions say.
        ended: how it came to an end, for the reader.
        incomplete: the case in whose middle it ended.
    """

    def __init__(self, source: Path, classes: Sequence[str], threshold: float, files: int) -> None:
        self.source, self.classes, self.files = source, classes, files
        self.point = threshold if len(classes) == 2 else None
        self.pictures = self.cases = self.referred = self.unreadable = 0
        self.ended, self.interrupted, self.incomplete = "after all files", False, ""
        self.findings: Counter[str] = Counter(dict.fromkeys([*classes, NOT_JUDGED], 0))
        self.faults: list[tuple[str, str]] = []
        self.reasons: Counter[str] = Counter()
        self.why: Counter[str] = Counter()
        self.cards: list[tuple[tuple[bool, float], int, Card]] = []  # a heap
        self.notice = NOTICE
        self.begun = time.monotonic()

    def picture(self, found: Found) -> None:
        self.pictures += 1
        self.notice = found.notice
        self.why.update(map(general, found.reasons))

    def fault(self, name: str, reason: str) -> None:
        self.unreadable += 1
        self.reasons[reason] += 1
        if len(self.faults) < LISTED:
            self.faults.append((name, reason))

    def case(self, row: Row, card: Card) -> None:
        self.cases += 1
        self.referred += row["refer"]
        self.findings[row["finding"]] += 1
        heapq.heappush(self.cards, (card.rank, -self.cases, card))
        if len(self.cards) > SHOWN:
            heapq.heappop(self.cards)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.interrupted, self.ended = True, f"interrupted after {self.pictures:,} pictures"

    def nothing(self) -> str:
        """Why there is no result."""
        if self.files == 1:
            return f"{self.source} cannot be used: {self.faults[0][1]}." if self.faults else f"{self.source} holds no images."
        told = [f"  - {n:,} of them: {reason}" for reason, n in self.reasons.most_common(EXAMPLES)]
        more = [f"  … and {len(self.reasons) - EXAMPLES} more reasons"] if len(self.reasons) > EXAMPLES else []
        return "\n".join([f"{self.source}: none of the {self.files:,} files could be used.", *told, *more])

    def write(self, out: Path) -> dict[str, Any]:
        """summary.json and summary.html; returns the main numbers."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        summary: dict[str, Any] = {
            "source": str(self.source),
            "cases": self.cases,
            "pictures": self.pictures,
            **{f"cases: {name}": count for name, count in self.findings.items()},
            "cases referred to a human": self.referred,
            "files not readable": self.unreadable,
            "ended": self.ended,
            "pictures a second": round(self.pictures / seconds, 1),
            "out": str(out),
            "notice": self.notice,
        }
        if self.interrupted:
            summary["interrupted"] = True
        details = {
            "operating point": None if self.point is None else round(self.point, 4),
            "incomplete": self.incomplete,
            "reasons": dict(self.why.most_common(LISTED)),
            "unreadable": dict(self.reasons.most_common(LISTED)),
        }
        write_json(out / SUMMARY, summary | details)
        self._page(out / PAGE)
        return summary

    def _page(self, path: Path) -> None:
        environment = Environment(loader=PackageLoader("usecases.medical_imaging", "."), autoescape=True)
        template = environment.get_template("summary.html.j2")
        cards = [card for _, _, card in sorted(self.cards, reverse=True)]
        tiles = [
            (f"{self.cases:,}", "cases"),
            (f"{self.referred:,}", "referred to a human"),
            *((f"{self.findings[name]:,}", name) for name in (*self.classes[:6], NOT_JUDGED)),
            (f"{self.unreadable:,}", "files not readable"),
        ]
        point = "" if self.point is None else percent(self.point)
        write_text(path, template.render(journal=self, cards=cards, tiles=tiles, point=point))
