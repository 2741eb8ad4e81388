"""Pictures that are refused as unlike the images of training: they get no finding, and nothing of them is marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.scans import Refuser
from usecases.medical_imaging import overlay

KINDS: dict[str, Callable[..., Any]] = {"v.nii.gz": scans.volume, "v.dcm": scans.enhanced, "v": scans.series}


def test_what_is_refused_is_not_judged_counted_for_no_class_and_not_marked(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    scans.png(source / "other.png", 12)
    scans.png(source / "ill.png", 9)
    scans.dicom(source / "other.dcm", scans.plane(12), 0, 1, scans.uids())
    summary = scans.process(source, out, Refuser())
    assert [summary[f"cases: {name}"] for name in ("normal", "lesion", "not judged")] == [0, 1, 2]
    assert summary["cases referred to a human"] == 2
    cases, rows = scans.cases(out), pd.read_csv(out / "findings.csv").set_index("name")
    for name in ("other.png", "other.dcm"):
        for row in (cases.loc[name], rows.loc[name]):
            assert (row["finding"], row["refer"], row["reasons"]) == ("not judged", True, "unlike the images of training")
            assert row[["probability", "low", "high", "lesions", "area_mm2", "diameter_mm", "mask"]].isna().all()
        assert rows.loc[name, "p_lesion"] == 0.95
        assert cases.loc[name, "with_finding"] == 0
    assert [path.name for path in (out / "masks").iterdir()] == ["ill.png"]
    image = np.asarray(Image.open(out / "overlays" / "other.png"))
    assert not (image == overlay.RED).all(2).any()
    assert not (image == overlay.OUTLINE).all(2).any()
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert "<strong>2</strong><span>not judged</span>" in page
    shown = {name: page.partition(f'"name">{name}<')[2].partition("</li>")[0] for name in ("other.png", "ill.png")}
    assert '"finding">not judged</div>' in shown["other.png"]
    assert [("%" in text, '"bar"' in text, "1 lesion" in text) for text in shown.values()] == [(False,) * 3, (True,) * 3]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_slices_of_a_volume_that_are_judged_decide_and_the_others_are_not_marked(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / kind, (0, 8, 12, 0))
    scans.process(tmp_path / kind, tmp_path / "out", Refuser())
    case, rows = scans.cases(tmp_path / "out").loc[kind], pd.read_csv(tmp_path / "out" / "findings.csv")
    assert (case["finding"], case["probability"], case["with_finding"], case["lesions"]) == ("lesion", 0.69, 1, 1)
    assert rows["finding"].tolist() == ["normal", "lesion", "not judged", "normal"]
    assert "1 of its pictures are not judged" in case["notes"]
    assert "4 pictures, 1 with the finding &#39;lesion&#39;, 1 not judged" in (tmp_path / "out" / "summary.html").read_text(
        "utf-8"
    )
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 2
    assert case["volume_ml"] > 0
    if kind == "v.nii.gz":
        marked = np.asarray(nibabel.load(tmp_path / "out" / "masks" / "v.nii.gz").dataobj).sum((0, 1))
        assert marked.tolist() == [0, 64, 0, 0]
    else:
        assert pydicom.dcmread(tmp_path / "out" / "masks" / "v.dcm").NumberOfFrames == 1


@pytest.mark.parametrize("kind", ["v.nii.gz", "v.dcm"])
def test_a_volume_of_which_nothing_is_judged_has_no_mask_and_no_lesions(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / kind, (12, 11, 12))
    assert scans.process(tmp_path / kind, tmp_path / "out", Refuser())["cases: not judged"] == 1
    case = scans.cases(tmp_path / "out").loc[kind]
    assert (case["finding"], case["refer"], case["with_finding"]) == ("not judged", True, 0)
    assert case[["probability", "lesions", "volume_ml", "mask"]].isna().all()
    assert not (tmp_path / "out" / "masks").exists()
