from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from shared.config import resolve
from shared.serving.service import Services
from tests.browsing import PHONE, chromium, running, visit
from tests.usecases.conftest import trained
from tests.usecases.recommendation.conftest import SMALL, make_shop
from usecases.recommendation import USECASE
from usecases.recommendation.config import RecommendationConfig

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    table = make_shop()
    table["title"] = table["title"].replace("Film i7", f"Seven, The {NASTY}").replace("Film i11", "Matrix, The (1999)")
    table.to_csv(tmp_path / "shop.csv", index=False)
    config = resolve(RecommendationConfig, [], [f"data.source={tmp_path / 'shop.csv'}", *SMALL, "model.members=[near_ease]"])
    return trained(USECASE, config, tmp_path / "run")


def test_picks_and_known_users_get_shelves_with_reasons(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    services = Services({"recommendation": lambda: USECASE}, {"recommendation": run})
    with chromium() as browser, running(services) as address, visit(browser, address, "recommendation/", PHONE) as page:
        expect(page.get_by_role("heading", name="For a new visitor")).to_be_visible()
        search = page.get_by_label("Search 60 items")
        search.fill("matrix")
        page.get_by_label("The Matrix (1999)").check()
        expect(page.get_by_role("heading", name="For you")).to_be_visible()
        expect(page.get_by_text("because of The Matrix", exact=True).first).to_be_visible()
        search.fill("seven")
        page.get_by_label(f"Seven, The {NASTY}").check()
        expect(page.get_by_role("heading", name=f"Goes with Seven, The {NASTY}")).to_be_visible()
        assert page.get_by_role("checkbox", checked=True).count() == 2
        best = page.get_by_label("For you").get_by_role("listitem").all_text_contents()
        page.get_by_label("number input for Variety").fill("")  # on the way to another number
        expect(page.get_by_label("For you")).to_be_visible()
        page.get_by_label("number input for Variety").fill("1")
        page.get_by_label("number input for Variety").press("Enter")
        expect(page.get_by_label("For you").get_by_role("listitem").nth(1)).not_to_have_text(best[1])
        page.get_by_role("button", name="Start again").click()
        expect(page.get_by_role("heading", name="For a new visitor")).to_be_visible()
        page.get_by_label("A user of the training data").check()
        expect(page.get_by_role("heading", name="For user u0")).to_be_visible()
        expect(page.get_by_text("User u0 chose:")).to_be_visible()
    assert "Traceback" not in capfd.readouterr().err
