"""`usecases check` on broken files of every kind: each fault is named with its place, and the files stay as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("nibabel")

from tests.usecases.broken import (
    SOUND,
    cell,
    cut,
    cut_parquet,
    desk,
    events,
    labelled,
    manifest,
    payments,
    records,
    road,
    scans,
    seconds,
    table,
    tusimple,
    two_tables,
    utterances,
    volume,
    without_pixels,
)
from tests.usecases.conftest import Ended

Command = Callable[..., Ended]


@dataclass(frozen=True)
class Fault:
    """How data is broken, and what `check` has to say: a distinctive part of its words, and the place."""

    usecase: str
    make: Callable[[Path], Path]
    severity: str
    what: str
    where: str  # how the file's path ends
    column: str = ""
    rows: list[int] = field(default_factory=list)
    example: str = ""


FRAUD, SHOP, SCANS, ROAD, CHAT = SOUND
FAULTS: dict[str, Fault] = {
    "a column is missing": Fault(
        FRAUD,
        table(payments, lambda lines: [line.rpartition(",")[0].rpartition(",")[0] for line in lines]),
        "error",
        "cannot be told which column is the amount",
        "data.csv",
    ),
    "a header twice": Fault(
        FRAUD,
        table(payments, lambda lines: lines.__setitem__(0, lines[0].replace("merchant", "amount"))),
        "error",
        "more than one column",
        "data.csv",
        "amount",
    ),
    "ragged rows": Fault(
        FRAUD,
        table(payments, lambda lines: lines.__setitem__(7, "t6,2024-01-01")),
        "warning",
        "not 6 values",
        "data.csv",
        rows=[7],
        example="t6,2024-01-01",
    ),
    "UTF-16": Fault(FRAUD, table(payments, lambda lines: "\n".join(lines).encode("utf-16")), "error", "UTF-16", "data.csv"),
    "NUL bytes": Fault(
        FRAUD, table(payments, lambda lines: lines.__setitem__(5, "\0" + lines[5])), "error", "NUL byte", "data.csv", rows=[5]
    ),
    "an Excel file named .csv": Fault(
        FRAUD, table(payments, lambda _: b"PK\x03\x04" + bytes(range(200)) * 9), "error", "an Excel workbook", "data.csv"
    ),
    "a quote not closed": Fault(
        FRAUD,
        table(payments, lambda lines: lines.__setitem__(9, '"' + lines[9])),
        "error",
        "never closed",
        "data.csv",
        rows=[9],
    ),
    "JSON lines that end halfway": Fault(
        FRAUD,
        table(payments, lambda lines: ("\n".join(records(lines))[:-20]).encode(), "data.jsonl"),
        "warning",
        "not a JSON object",
        "data.jsonl",
        rows=[2400],
    ),
    "Parquet that is cut": Fault(FRAUD, cut_parquet, "error", "not a readable Parquet file", "data.parquet"),
    "tables of other columns": Fault(FRAUD, two_tables, "error", "not those of a.csv: amount, sum", "b.csv"),
    "a negative amount": Fault(
        FRAUD, table(payments, cell(3, 4, "-5.00")), "warning", "negative", "data.csv", "amount", [3], "-5.00"
    ),
    "an empty column": Fault(
        FRAUD, table(payments, cell(0, 4, "")), "warning", "no usable amount", "data.csv", "amount", [1, 2, 3, 4, 5]
    ),
    "a label of three values": Fault(
        FRAUD, table(payments, cell(4, 5, "2")), "warning", "neither 1 nor 0", "data.csv", "label", [4], "2"
    ),
    "a time in the future": Fault(
        FRAUD,
        table(payments, cell(6, 1, "2124-01-01 10:00:00")),
        "warning",
        "future",
        "data.csv",
        "time",
        [6],
        "2124-01-01 10:00:00",
    ),
    "times in two units": Fault(FRAUD, table(payments, seconds), "warning", "future", "data.csv", "time", [7]),
    "ids in scientific notation": Fault(
        FRAUD,
        table(payments, cell(8, 2, "4.12346E+15")),
        "warning",
        "scientific notation",
        "data.csv",
        "account",
        [8],
        "4.12346E+15",
    ),
    "one id for two payments": Fault(
        FRAUD, table(payments, cell(2, 0, "t0")), "error", "id of another transaction", "data.csv", "id", [2], "t0"
    ),
    "two encodings": Fault(
        SHOP,
        table(events, lambda lines: "\n".join(lines).encode().replace(b"\nu2,", b"\n\xe9,", 1)),
        "error",
        "not valid utf-8",
        "data.csv",
        rows=[25],
    ),
    "times in 1970": Fault(SHOP, table(events, cell(10, 3, "0")), "warning", "1970", "data.csv", "timestamp", [10], "0"),
    "ratings with a decimal comma": Fault(
        SHOP,
        table(events, lambda lines: [one.replace(",", ";").replace(";3;", ";3,5;") for one in lines]),
        "warning",
        "not a number",
        "data.csv",
        "rating",
        example="3,5",
    ),
    "a missing user": Fault(
        SHOP, table(events, cell(11, 0, " ")), "warning", "no user or no item", "data.csv", "user, item", [11]
    ),
    "one time for all": Fault(
        SHOP, table(events, cell(0, 3, "1700000000")), "error", "timestamps are equal", "data.csv", "timestamp", [1, 2, 3, 4, 5]
    ),
    "an image that is cut": Fault(SCANS, scans(lambda root: cut(root / "ill/3.png")), "warning", "cut short", "ill/3.png"),
    "an image of one pixel": Fault(
        SCANS,
        scans(lambda root: cv2.imwrite(str(root / "ill/3.png"), np.full((1, 1), 9, np.uint8))),
        "warning",
        "fewer than 8 pixels",
        "ill/3.png",
    ),
    "a class without images": Fault(
        SCANS, scans(lambda root: (root / "unsure").mkdir()), "warning", "folder without images", "", example="unsure"
    ),
    "a mask of another size": Fault(
        SCANS,
        scans(lambda root: cv2.imwrite(str(root / "ill/3_mask.png"), np.full((30, 40), 255, np.uint8))),
        "warning",
        "a mask",
        "ill/3.png",
    ),
    "DICOM without pixels": Fault(
        SCANS, scans(lambda root: without_pixels(root / "ill/a.dcm")), "warning", "no pixel data", "ill/a.dcm"
    ),
    "NIfTI that is cut": Fault(
        SCANS, scans(lambda root: volume(root / "ill/a.nii.gz")), "warning", "cannot be read", "ill/a.nii.gz"
    ),
    "an image that the table only names": Fault(
        SCANS, manifest(lambda lines: lines.__setitem__(5, "ill/99.png,ill")), "warning", "not there", "images.csv", rows=[5]
    ),
    "a label that leaves the image": Fault(
        ROAD, road(lambda root: labelled(root / "4.json", [[[60, 40], [10, 500]]])), "warning", "leaves the image", "4.png"
    ),
    "a label of no image": Fault(
        ROAD, road(lambda root: (root / "4.png").unlink()), "error", "does not exist", "", example="4.jpg"
    ),
    "a frame that is cut": Fault(ROAD, road(lambda root: cut(root / "4.png")), "error", "cut short", "4.png"),
    "a label file that ends halfway": Fault(
        ROAD, road(lambda root: cut(root / "4.json", 0.6)), "error", "not a JSON object", "4.json"
    ),
    "too few points of a lane": Fault(
        ROAD,
        tusimple(lambda lines: lines.__setitem__(2, lines[2].replace("[60, 40, 20]", "[60, 40]"))),
        "error",
        "as many x as",
        "label_data.json",
        rows=[3],
        example="2.png",
    ),
    "a video instead of frames": Fault(
        ROAD,
        table(payments, lambda _: b"\0\0\0\x18ftypmp42" + bytes(500), "drive.mp4"),
        "error",
        "none of the layouts",
        "drive.mp4",
    ),
    "YAML with tabs": Fault(CHAT, desk("forms.yaml", "    slots:", "\tslots:"), "error", "no valid YAML", "forms.yaml", rows=[3]),
    "an intent of one utterance": Fault(
        CHAT,
        table(utterances, lambda lines: lines.append("hello,greet")),
        "warning",
        "fewer than 10 utterances",
        "data.csv",
        example="greet (1)",
    ),
    "an utterance in two intents": Fault(
        CHAT,
        table(utterances, lambda lines: lines.append("where is my parcel alpha,refund")),
        "warning",
        "in two intents",
        "data.csv",
        rows=[25],
    ),
    "a message without text": Fault(
        CHAT, table(utterances, lambda lines: lines.append('" ",order')), "warning", "without text", "data.csv", rows=[25]
    ),
    "an article without a title": Fault(
        CHAT, desk("articles/money.md", "title: Money back\n", ""), "error", "title: field required", "money.md", rows=[2]
    ),
    "a slot that does not exist": Fault(
        CHAT, desk("forms.yaml", "sent to {email}", "sent to {address}"), "error", "{address}", "forms.yaml", rows=[6]
    ),
    "an intent with a form that does not exist": Fault(
        CHAT, desk("intents.yaml", "form: status", "form: state"), "error", "the form 'state'", "intents.yaml", rows=[4]
    ),
    "a JSON table that ends halfway": Fault(
        CHAT,
        table(
            utterances, lambda lines: json.dumps([{"text": line, "intent": "a"} for line in lines]).encode()[:-30], "data.json"
        ),
        "error",
        "no row could be read",
        "data.json",
    ),
}


def hashes(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


def checked(command: Command, usecase: str, source: Path, *options: str) -> tuple[int, Any]:
    done = command("check", usecase, "--data", str(source), "--json", *options)
    assert "Traceback" not in done.err
    return done.code, json.loads(done.out)


@pytest.mark.parametrize("name", SOUND)
def test_sound_data_passes(name: str, tmp_path: Path, command_here: Command) -> None:
    code, findings = checked(command_here, name, SOUND[name](tmp_path))
    assert [one for one in findings if one["severity"] == "error"] == []
    assert code == 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_place(name: str, tmp_path: Path, command_here: Command) -> None:
    fault = FAULTS[name]
    source = fault.make(tmp_path)
    before = hashes(tmp_path)
    code, findings = checked(command_here, fault.usecase, source, *["--strict"] * (fault.severity == "warning"))
    assert code == 1
    assert hashes(tmp_path) == before
    assert all(one["what"] and one["where"] and one["fix"] and one["count"] for one in findings)
    found = [one for one in findings if fault.what in one["what"]]
    assert len(found) == 1, [one["what"] for one in findings]
    assert found[0]["severity"] == fault.severity
    assert found[0]["where"].endswith(fault.where or tmp_path.name)
    assert found[0]["column"] == fault.column
    if fault.rows:
        assert found[0]["rows"] == fault.rows
    if fault.example:
        assert fault.example in ", ".join(found[0]["examples"])
