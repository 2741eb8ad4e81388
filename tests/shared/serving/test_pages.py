from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from shared.serving.service import Services
from tests.browsing import DESK, PHONE, chromium, running, visit
from tests.shared.serving.standin import Doubler, usecase

NASTY = "<img src=x onerror=alert(1)>"
TRAIN = """
import json, pathlib, sys, time
go, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
with (folder / "starts").open("a") as file: file.write("x")
print("epoch 1 of 2", NASTY, file=sys.stderr, flush=True)
while not (told := go.read_text()): time.sleep(0.01)
print(json.dumps({"run": str(folder)})) if told == "go" else sys.exit(told)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def make_run(folder: Path) -> Path:
    """What a training leaves behind, as far as pages read it."""
    folder.mkdir(parents=True)
    score = {"quality": {"value": 0.9, "low": 0.8, "high": 0.95}}
    metrics = {
        "headline": "quality", "name": "network", "model": score, "best_baseline": "table",
        "baselines": {"table": {"quality": {"value": 0.5, "low": 0.4, "high": 0.6}}}, "data": {"name": NASTY},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.json").write_text(json.dumps({"ended": "2026-01-02T03:04:05+00:00", "seconds": 61}))
    (folder / "report.html").write_text("<h1>Findings</h1>" + 3000 * "<p>line</p>")
    (folder / "model_card.md").write_text(f"# Doubler\n\n| a | b |\n| - | - |\n| 1 | {NASTY} |\n")
    return folder


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """`doubling` with a model and a guide, `waiting` with neither, `broken` whose model cannot be loaded."""
    guide = "# Doubling\n\n```sh\nusecases predict doubling 3\n```\n\n## The data\n\nA column `number`.\n\n## Limits\n"
    (tmp_path / "README.md").write_text(guide)
    made = replace(usecase(lambda _: Doubler()), configs=tmp_path / "configs")
    found = {"doubling": made, "waiting": replace(made, name="waiting"), "broken": usecase(lambda _: json.loads(NASTY), "broken")}
    runs = {"doubling": make_run(tmp_path / "run"), "broken": tmp_path}
    return Services({name: lambda one=one: one for name, one in found.items()}, runs)  # type: ignore[misc]


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_the_front_page_tells_of_each_use_case_and_leads_to_all_its_pages(
    browser: Browser, services: Services, width: int, scheme: str
) -> None:
    with running(services) as address, visit(browser, address, width=width, color_scheme=scheme) as page:
        card = page.get_by_role("article").first
        expect(card).to_contain_text("0.900 [0.800, 0.950]")
        expect(card).to_contain_text("0.500 [0.400, 0.600]")
        expect(card).to_contain_text(NASTY)
        card.get_by_role("link", name="Try it").click()
        page.get_by_role("textbox").first.wait_for()
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".json-holder")).to_contain_text("doubled")
        page.get_by_role("link", name="Report").click()
        expect(page.frame_locator("iframe").get_by_role("heading")).to_have_text("Findings")
        page.get_by_role("link", name="Model card").click()
        expect(page.get_by_role("cell", name=NASTY)).to_be_visible()
        page.get_by_role("link", name="Use your own data").click()
        expect(page.get_by_role("main")).to_contain_text("A column number.")
        expect(page.get_by_role("main")).to_contain_text("usecases run doubling --data YOUR_DATA")
        expect(page.get_by_role("main")).to_contain_text(f"curl {address}v1/doubling/predict")
        page.get_by_role("link", name="All use cases").click()
        page.get_by_role("heading", name="Use cases", exact=True).wait_for()


def test_a_mistake_is_told_to_the_visitor_and_a_defect_is_not(browser: Browser, services: Services) -> None:
    with running(services) as address, visit(browser, address, "doubling/") as page:
        mistakes = (
            ({"number": 13}, "13 brings bad luck"),
            ({"number": 4000}, "less than or equal"),
            ({"number": 1, NASTY: 1}, NASTY),
        )
        for record, told in (*mistakes, ({"number": 666}, "Something went wrong")):
            page.get_by_role("textbox").first.fill(json.dumps(record))
            page.get_by_role("button", name="Predict").click()
            expect(page.get_by_test_id("toast-body").filter(has_text=told)).to_be_visible()
        assert "secret" not in page.content()


def test_a_report_runs_no_script(services: Services) -> None:
    with running(services) as address:
        policy = httpx.get(address + "doubling/report.html").headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy


def test_two_visitors_who_ask_for_a_model_start_one_training_and_both_get_it(
    browser: Browser, services: Services, tmp_path: Path
) -> None:
    script, go, run = tmp_path / "train.py", tmp_path / "go", make_run(tmp_path / "trained")
    script.write_text(TRAIN.replace("NASTY", repr(NASTY)))
    go.touch()
    command = (sys.executable, str(script), str(go), str(run))
    with (
        running(services, command) as address,
        visit(browser, address, "waiting/", PHONE) as one,
        visit(browser, address, "waiting/") as other,
    ):
        for page in (one, other):
            page.get_by_role("button", name="Train a quick model").click()
        for page in (one, other):
            expect(page.get_by_role("log")).to_contain_text(NASTY)
        go.write_text("no memory left")
        expect(one.get_by_role("alert")).to_contain_text("no memory left")
        go.write_text("")
        one.get_by_role("button", name="Train a quick model").click()
        go.write_text("go")
        for page in (one, other):
            expect(page.get_by_role("button", name="Predict")).to_be_visible(timeout=10_000)
    assert (run / "starts").read_text() == "xx"


def test_a_model_that_cannot_be_loaded_says_so_and_other_sites_start_nothing(browser: Browser, services: Services) -> None:
    with running(services) as address:
        with visit(browser, address, "broken/") as page:
            expect(page.get_by_role("alert")).to_contain_text(re.compile("could not be loaded.*log says why"))
        assert httpx.post(address + "broken/train", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert httpx.get(address + "broken/status").json()["training"] is None
