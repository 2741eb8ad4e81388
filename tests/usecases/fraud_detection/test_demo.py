from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import gradio as gr
import pandas as pd
import pytest
from playwright.sync_api import expect

from shared.runs import Run
from shared.serving.demo import Demo
from shared.serving.service import Services
from tests.browsing import PHONE, chromium, running, visit
from tests.usecases.fraud_detection.conftest import run_on
from usecases.fraud_detection import USECASE
from usecases.fraud_detection.demo import page as build
from usecases.fraud_detection.desk import Desk


def demo_of(folder: Path) -> Demo:
    service = Services({"fraud_detection": lambda: USECASE}, {"fraud_detection": folder})["fraud_detection"]
    service.load()
    return Demo(service)


def test_what_the_page_counts_and_plays_is_what_the_run_found(run: Run) -> None:
    desk = Desk(demo_of(run.folder))
    operating, costs = json.loads((run.folder / "metrics.json").read_text())["operating"], desk.core.config.costs
    own = desk.at(costs.alert, costs.loss_fixed)
    bill = desk.bill(own, own)
    assert (bill.alerts, bill.caught) == (operating["bill"]["alerts"], operating["bill"]["caught"])
    assert bill.saved == pytest.approx(operating["bill"]["saved"], abs=0.01)
    assert bill.alerts / desk.days == pytest.approx(operating["alerts_per_day"], abs=0.1)
    dearer = desk.at(2 * costs.alert, costs.loss_fixed)
    assert desk.bill(dearer, dearer).alerts < bill.alerts < desk.bill(desk.at(costs.alert, 50), own).alerts
    for row in desk.queue(own, None).iloc[::20].itertuples():
        decision = desk.replay(desk.rows[row.transaction], own, {"reasons": 2})
        assert decision["score"] == pytest.approx(row.score, abs=2e-6)
        assert decision["reasons"]
    played = [one for few in itertools.islice(desk.play(desk.first, own, 300), 15) for one in few]
    assert len({row for row, _ in played}) == 4500  # through the delay of the labels, which are learnt on the way
    for place, decision in played:
        assert decision["transaction"] == desk.ids[place]
        assert decision["score"] == pytest.approx(desk.scores[decision["transaction"]], abs=2e-6)


def test_a_run_without_labels_and_names_has_a_page(record: pd.DataFrame, tmp_path: Path) -> None:
    table = record.drop(columns=["label", "scenario", "device", "account", "counterparty"]).assign(balance=record["amount"] * 2)
    with gr.Blocks() as blocks:
        build(demo_of(run_on(table, tmp_path, ["model.anomaly.training.epochs=1"]).folder))
    shown = str(blocks.config["components"])
    assert "alerts, the most to lose first" in shown
    assert "Saved in" not in shown  # nobody knows what was fraud


def test_alerts_costs_live_payments_and_one_of_your_own(run: Run) -> None:
    services = Services({"fraud_detection": lambda: USECASE}, {"fraud_detection": run.folder})
    with chromium() as browser, running(services) as address, visit(browser, address, "fraud_detection/", PHONE) as page:
        alerts = page.get_by_text(re.compile(r"^[\d,]+ alerts, the most to lose first"))
        before = alerts.text_content() or ""
        page.get_by_label("number input for Cost of one review").fill("1")
        page.get_by_label("number input for Cost of one review").press("Enter")
        expect(page.get_by_text("At these costs the run's own threshold")).to_be_visible()
        expect(alerts).not_to_have_text(before)
        expect(page.get_by_role("img", name="payments in the 30 days before")).to_be_visible()
        amount = page.get_by_text("Amount", exact=True).first.locator("xpath=following-sibling::dd")
        first = amount.text_content() or ""
        page.get_by_role("radio").nth(1).check()
        expect(amount).not_to_have_text(first)
        expect(page.get_by_text(re.compile("^What came out later"))).to_be_visible()
        expect(page.get_by_role("region", name="Past frauds that are most like it")).to_be_visible()
        expect(page.get_by_text("Why: how much each raised")).to_be_visible()

        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("region", name="The latest alerts")).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="From the beginning").click()
        expect(page.get_by_text("Press Start.")).to_be_visible()

        page.get_by_role("tab", name="Try one").click()
        page.get_by_role("button", name="As a thief would").click()
        expect(page.get_by_text(re.compile("^Alert A-"))).to_be_visible()
        page.get_by_role("textbox", name="Time").fill("yesterday")
        page.get_by_role("button", name="Judge it").click()
        expect(page.get_by_role("status").get_by_text("'yesterday' is no time")).to_be_visible()
        expect(page.get_by_text(re.compile("^Alert A-"))).to_have_count(0)  # of the payment before
        page.get_by_role("button", name="As usual").click()
        expect(page.get_by_text("No alert by the run's own threshold.")).to_be_visible()
