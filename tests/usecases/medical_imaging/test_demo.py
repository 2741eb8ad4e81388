from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from shared.serving.service import Services
from tests.browsing import PHONE, chromium, running, visit
from tests.usecases.medical_imaging import scans
from tests.usecases.medical_imaging.conftest import Trained
from usecases.medical_imaging import USECASE
from usecases.medical_imaging.finder import Finder


def upload(page: Page, path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)


def test_a_case_and_an_own_file_are_judged_laid_over_and_refused(
    simulated: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [0.2]
    monkeypatch.setattr(Finder, "unusual", lambda finder, squares: np.full(len(squares), odd[0]))
    scans.enhanced(tmp_path / "scan.dcm", (0, 9, 0))
    (tmp_path / "<b>note.txt").write_text("Nothing.")
    services = Services({"medical_imaging": lambda: USECASE}, {"medical_imaging": simulated.folder})
    with chromium() as browser, running(services) as address, visit(browser, address, "medical_imaging/", PHONE) as page:
        expect(page.get_by_text("Probability of lesion")).to_be_visible()
        expect(page.get_by_text("What the simulator drew: a lesion (mass)")).to_be_visible()
        heat, asked = page.locator(".heat"), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_label("number input for Heat map").fill("30")
        page.get_by_label("number input for Heat map").press("Enter")
        expect(heat).to_have_css("opacity", "0.3")
        assert asked == []  # it is the browser's business

        upload(page, tmp_path / "scan.dcm")
        slices = page.get_by_label("number input for Slice, of 3")
        expect(slices).to_be_visible()
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        before = page.locator(".layers .picture").get_attribute("src") or ""
        slices.fill("2")
        slices.press("Enter")
        expect(page.locator(".layers .picture")).not_to_have_attribute("src", before)
        assert not any(told in page.content() for told in ("DOE", "JOHN", "SECRET77", scans.BORN, "Elsewhere"))

        page.get_by_label("Clear").click()
        expect(page.get_by_text("Choose a case, or upload a file.")).to_be_visible()
        expect(page.locator(".layers")).to_have_count(0)  # nobody takes another file's picture for this one's
        upload(page, tmp_path / "<b>note.txt")
        expect(page.get_by_text("This file cannot be used: the file is not an image")).to_be_visible()

        odd[0] = 2.0
        page.get_by_label("Photograph").check()
        expect(page.get_by_role("heading", name="Finding: not judged")).to_be_visible()
        expect(page.get_by_text("Refer to a human")).to_be_visible()
        expect(page.get_by_text("It is unlike the images of training")).to_be_visible()
        expect(page.get_by_text("Probability of")).to_have_count(0)
        expect(heat).to_have_count(0)
        expect(page.get_by_text("Not a medical device.")).to_be_in_viewport()
