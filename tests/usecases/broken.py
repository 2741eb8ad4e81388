"""Sound data of each use case, small, and ways to break it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

Lines = list[str]


def payments() -> Lines:
    """Payments of 90 days, a fifth of which are fraud; row n is line n."""
    rng = np.random.default_rng(0)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 90 * 86_400, 2400)), unit="s")
    rows = [
        f"t{n},{times[n]},c{rng.integers(1000)},m{rng.integers(30)},{rng.uniform(1, 300):.2f},{int(rng.random() < 0.2)}"
        for n in range(2400)
    ]
    return ["id,time,account,merchant,amount,label", *rows]


def events() -> Lines:
    rng = np.random.default_rng(0)
    rows = [(user, item) for user in range(30) for item in rng.permutation(25)[:12]]
    return [
        "user,item,rating,timestamp",
        *(f"u{u},i{i},{rng.integers(1, 6)},{1.7e9 + 60 * n:.0f}" for n, (u, i) in enumerate(rows)),
    ]


def table(make: Callable[[], Lines], change: Callable[[Lines], Any], name: str = "data.csv") -> Callable[[Path], Path]:
    """Its `change` may change the lines, or give others, or bytes."""

    def made(root: Path) -> Path:
        lines = make()
        given = change(lines)
        lines = given if isinstance(given, list) else lines
        (root / name).write_bytes(given if isinstance(given, bytes) else ("\n".join(lines) + "\n").encode())
        return root / name

    return made


def cell(row: int, column: int, value: str | Callable[[str], str]) -> Callable[[Lines], None]:
    """Another value in a row; row 0: in every one."""

    def change(lines: Lines) -> None:
        for number in [row] if row else range(1, len(lines)):
            cells = lines[number].split(",")
            cells[column] = value(cells[column]) if callable(value) else value
            lines[number] = ",".join(cells)

    return change


def seconds(lines: Lines) -> Lines:
    """Times as numbers, one of them in milliseconds."""
    cell(0, 1, lambda given: f"{pd.Timestamp(given).timestamp():.0f}")(lines)
    cell(7, 1, lambda given: f"{given}000")(lines)
    return lines


def records(lines: Lines) -> Lines:
    return [json.dumps(dict(zip(lines[0].split(","), line.split(","), strict=True))) for line in lines[1:]]


def cut_parquet(root: Path) -> Path:
    head, *rows = payments()
    path = root / "data.parquet"
    pd.DataFrame([row.split(",") for row in rows], columns=head.split(",")).to_parquet(path)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def two_tables(root: Path) -> Path:
    head, *rows = payments()
    (root / "a.csv").write_text("\n".join([head, *rows]))
    (root / "b.csv").write_text("\n".join([head.replace("amount", "sum"), *rows]))
    return root


def pattern(seed: int, height: int = 60, width: int = 60) -> np.ndarray:
    """A smooth picture of its own, uint8 [height, width]."""
    coarse = np.random.default_rng(seed).random((6, 6), np.float32)
    return np.clip(255 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def scans(change: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """40 images of two classes, of persons; then the change."""

    def made(root: Path) -> Path:
        for number in range(40):
            path = root / ("ill" if number % 2 else "healthy") / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), pattern(number))
        change(root)
        return root

    return made


def cut(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def volume(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 20, 8), np.int16), np.eye(4)), path)
    cut(path)


def without_pixels(path: Path) -> None:
    import pydicom

    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
    made.save_as(path, enforce_file_format=True)


def manifest(change: Callable[[Lines], Any]) -> Callable[[Path], Path]:
    def listed(root: Path) -> None:
        lines = ["path,label", *(f"{'ill' if n % 2 else 'healthy'}/{n}.png,{'ill' if n % 2 else 'healthy'}" for n in range(40))]
        change(lines)
        (root / "images.csv").write_text("\n".join(lines))

    return scans(listed)


def road(change: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """12 frames with two lines each, then the change."""

    def made(root: Path) -> Path:
        for number in range(12):
            cv2.imwrite(str(root / f"{number}.png"), pattern(number, 90, 160))
            labelled(root / f"{number}.json", [[[60, 40], [10, 85]], [[100, 40], [150, 85]]])
        change(root)
        return root

    return made


def labelled(path: Path, lines: list[list[list[float]]]) -> None:
    path.write_text(json.dumps({"lines": lines}))


def tusimple(change: Callable[[Lines], Any]) -> Callable[[Path], Path]:
    def made(root: Path) -> Path:
        lines = []
        for number in range(6):
            cv2.imwrite(str(root / f"{number}.png"), pattern(number, 90, 160))
            lanes = [[60, 40, 20], [100, 120, 140]]
            lines.append(json.dumps({"raw_file": f"{number}.png", "lanes": lanes, "h_samples": [40, 60, 80]}))
        change(lines)
        (root / "label_data.json").write_text("\n".join(lines))
        return root

    return made


WORDS = ["alpha", "bravo", "cargo", "delta", "eagle", "fancy", "giant", "hotel", "index", "joker", "karma", "lemon"]


def utterances() -> Lines:
    return [
        "text,intent",
        *(f"where is my parcel {one},order" for one in WORDS),
        *(f"please pay {one} back,refund" for one in WORDS),
    ]


INTENTS = """intents:
  order:
    description: know where a parcel is
    form: status
    examples: [{}]
  refund:
    description: get money back
    articles: [money]
    examples: [{}]
""".format(*(", ".join(line.rpartition(",")[0] for line in part) for part in (utterances()[1:13], utterances()[13:])))
FORMS = """forms:
  status:
    slots:
      email: {type: email, ask: "Which e-mail address?"}
    action: look_up
    done: "It was sent to {email}."
    failed: "There is nothing for {email}."
"""
ACTIONS = "actions:\n  look_up:\n    url: https://shop.example/status\n    takes: [email]\n    gives: [state]\n"
ARTICLE = "---\ntitle: Money back\nintents: [refund]\n---\nIt takes five days.\n"


def desk(file: str, old: str, new: str) -> Callable[[Path], Path]:
    """A folder of a support team's content, in a file of which something is replaced."""

    def made(root: Path) -> Path:
        (root / "articles").mkdir()
        contents = {"intents.yaml": INTENTS, "forms.yaml": FORMS, "actions.yaml": ACTIONS, "articles/money.md": ARTICLE}
        for name, text in contents.items():
            assert name != file or old in text
            (root / name).write_text(text.replace(old, new) if name == file else text)
        return root

    return made


def nothing(_: Any) -> None:
    """No change."""


SOUND: dict[str, Callable[[Path], Path]] = {
    "fraud_detection": table(payments, nothing),
    "recommendation": table(events, nothing),
    "medical_imaging": scans(nothing),
    "lane_detection": road(nothing),
    "chatbot": desk("intents.yaml", "order", "order"),
}
