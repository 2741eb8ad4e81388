from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from shared.config import resolve
from shared.serving.service import Services
from tests.browsing import PHONE, chromium, running, visit
from tests.usecases.chatbot.test_assistant import SETTINGS, content
from tests.usecases.conftest import trained
from usecases.chatbot import USECASE
from usecases.chatbot.config import ChatConfig

NASTY = "<img src=x onerror=alert(1)> **zebra** quantum"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    desk = content(tmp_path / "desk")
    with (desk / "articles" / "hours.md").open("a") as article:
        article.write("\n- **Sundays:** <b onclick=alert(1)>closed</b>\n")
    config = resolve(ChatConfig, [], [f"data.source={desk}", *SETTINGS])
    return trained(USECASE, config, tmp_path / "run")


def test_a_conversation_shows_sources_buttons_the_form_and_what_a_colleague_is_told(run: Path) -> None:
    services = Services({"chatbot": lambda: USECASE}, {"chatbot": run})
    with chromium() as browser, running(services) as address, visit(browser, address, "chatbot/", PHONE) as page:
        message, chat = page.get_by_label("Your message"), page.get_by_role("log")

        def say(text: str) -> None:
            message.fill(text)
            message.press("Enter")
            expect(message).to_have_value("")

        say(NASTY)
        expect(chat.get_by_text(NASTY)).to_be_visible()
        say("hi, when are you open")
        quoted = chat.get_by_text("• Sundays: <b onclick=alert(1)>closed</b>")
        expect(quoted.first).to_be_visible()
        expect(quoted.last).not_to_be_visible()
        chat.get_by_text("Source: When we are open").click()
        expect(quoted.last).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="opening hours")).to_be_visible()
        say("where is my parcel")
        expect(page.get_by_role("definition").filter(has_text="asked now")).to_be_visible()
        say("FW-482913")
        expect(chat.get_by_text("Which e-mail?")).to_be_visible()  # the state went with the message
        expect(page.get_by_text("✓ FW-482913")).to_be_visible()
        page.get_by_role("button", name="New conversation").click()
        expect(chat.get_by_text("Which e-mail?")).to_have_count(0)
        say("zebra quantum")
        say("zebra quantum")
        page.get_by_role("button", name="Yes", exact=True).click()
        expect(chat.get_by_text("What the colleague is told")).to_be_visible()
        expect(chat.get_by_text("- zebra quantum").first).to_be_visible()
