from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from shared.errors import UserError
from shared.serving.service import Services
from tests.browsing import PHONE, chromium, running, visit
from tests.usecases.lane_detection.bright import record, road, seeing
from usecases.lane_detection import USECASE

demo = importlib.import_module("usecases.lane_detection.demo")  # the package's `demo` is a function


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr(demo, "SECONDS", 1)
    services = Services({"lane_detection": lambda: replace(USECASE, load=lambda folder: seeing())}, {"lane_detection": tmp_path})
    with chromium() as browser, running(services) as address, visit(browser, address, "lane_detection/", PHONE) as opened:
        yield opened


def test_a_rendered_drive_plays_and_a_visitors_files_are_measured(page: Page, tmp_path: Path) -> None:
    film, measured = page.locator("video"), page.get_by_role("img", name="Offset from the lane's middle")
    expect(measured).to_be_visible(timeout=20_000)
    expect(page.get_by_text("the truth, as the simulator knows it")).to_be_visible()
    expect(film).to_have_js_property("videoWidth", 784)
    upload = page.locator("input[type=file]")

    upload.set_input_files(record(tmp_path / "drift.mp4", [road(0.05 * number) for number in range(50)]))
    expect(page.get_by_text("drift.mp4. Metres are approximate")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("right at")).to_be_visible()  # the tile; the car drifts 2.5 m in 2 s
    expect(measured.locator("text", has_text="right")).to_be_visible()
    expect(page.get_by_text("the truth, as the simulator knows it")).to_be_hidden()
    expect(measured.locator(".now")).not_to_have_attribute("x", "40")  # the film can be decoded and plays; the charts follow it

    cv2.imwrite(str(tmp_path / "lane <i>.png"), road(0.3))
    upload.set_input_files(tmp_path / "lane <i>.png")
    expect(page.get_by_role("img", name="the image with the lines")).to_be_visible()
    expect(page.locator(".facts div", has_text="Off the lane's middle")).to_contain_text("0.3")
    expect(film).to_be_hidden()
    assert page.get_by_role("radio", checked=True).count() == 0

    (tmp_path / "list.mp4").write_text("#EXTM3U\n/etc/passwd\n")
    upload.set_input_files(tmp_path / "list.mp4")
    expect(page.get_by_role("status").get_by_text("list.mp4 is neither an image nor a video")).to_be_visible()
    expect(page.get_by_role("img", name="the image with the lines")).to_be_hidden()  # of the file before


def test_what_a_visitor_gives_wrong_is_told_without_its_place_on_the_server(tmp_path: Path) -> None:
    whole = record(tmp_path / "whole.mp4", [road()] * 5).read_bytes()
    photo = cv2.imencode(".png", np.zeros((90, 160, 3), np.uint8))[1].tobytes()
    wrong = {"a.jpg": b"", "b.mp4": whole[: len(whole) // 2], "c.png": photo[:99], "d.png": b"hello", "e.png": whole}
    for name, data in wrong.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name) as told:
            demo.look_at(seeing(), tmp_path / name, tmp_path, lambda share: None)
        assert str(tmp_path) not in str(told.value)


def test_a_long_video_is_cut_and_thinned_and_a_huge_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LONGEST", 1)
    file = record(tmp_path / "long.avi", [road()] * 40)  # 25 a second
    _, told = demo.look_at(seeing(), file, tmp_path, lambda share: None)
    assert "The first 1 of its 2 seconds" in told
    with demo.frames(tmp_path / "lanes.webm") as shots:
        assert len(list(shots)) == 13
    monkeypatch.setattr(demo, "LARGEST", 320 * 180 - 1)
    with pytest.raises(UserError, match="320 x 180 pixels"):
        demo.look_at(seeing(), file, tmp_path, lambda share: None)
