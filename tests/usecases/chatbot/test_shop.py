from __future__ import annotations

import inspect
import sqlite3
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.errors import UserError
from usecases.chatbot.actions import LocalActions
from usecases.chatbot.content import Form
from usecases.chatbot.protocols import Outcome
from usecases.chatbot.shop import NOT_FOUND, Shop

DATA = Path(__file__).parents[3] / "data/chatbot"
CONTENT = yaml.safe_load((DATA / "shop.yaml").read_text(encoding="utf-8"))
FORMS = {n: Form(**f) for n, f in yaml.safe_load((DATA / "forms.yaml").read_text(encoding="utf-8"))["forms"].items()}
JO = {"order_number": "FW-482931", "email": "jo@example.com"}  # placed
TENT = {"order_number": "FW-471208", "email": "jo@example.com"}  # delivered on 20 May
BACKPACK = {"order_number": "FW-479977", "email": "beat.z@example.net"}  # delivered on 11 June


@pytest.fixture
def shop() -> Shop:
    return Shop(CONTENT)


@pytest.fixture
def act(shop: Shop) -> LocalActions:
    return LocalActions(shop.functions)


def fitting(act: LocalActions, shop: str = "freiburg", day: str = "2026-06-24", daytime: str = "morning") -> Outcome:
    return act("book_fitting", {"shop": shop, "date": day, "daytime": daytime, "email": "jo@example.com"})


def test_every_form_has_its_action_and_every_placeholder_its_value(act: LocalActions) -> None:
    given: dict[str, dict[str, Any]] = {
        "order_status": JO,
        "start_return": TENT | {"item": "tent pegs", "reason": "faulty"},
        "request_refund": TENT | {"amount": 14.9, "refund_reason": "item_missing"},
        "change_address": JO | {"street": "Wiehrestraße 3", "postcode": "79102", "city": "Freiburg"},
        "cancel_order": JO,
        "book_appointment": {"shop": "munich", "date": "2026-06-26", "daytime": "evening", "email": "jo@example.com"},
        "report_damage": BACKPACK | {"item": "backpack", "description": "a slit", "solution": "refund"},
        "track_return": {"return_number": "R-20417", "email": "miriam.okafor@example.com"},
        "check_gift_card": {"gift_card": "GC-7F3K-92LM"},
    }
    for name, form in FORMS.items():
        outcome = act(form.action, given[name])
        said = form.done.format(**given[name], **outcome.values)
        assert outcome.done, (name, outcome)
        assert "  " not in said
    assert act("look_up_gift_card", {"gift_card": "GC-7F3K-92LM"}).values == {
        "balance": "35.00 euros", "valid_until": "31 December 2028",
    }  # fmt: skip


def test_somebody_elses_is_answered_like_what_does_not_exist(act: LocalActions) -> None:
    rest = {
        "street": "A 1",
        "postcode": "79102",
        "city": "F",
        "item": "x",
        "reason": "faulty",
        "amount": 1,
        "refund_reason": "other",
    }
    rest |= {"description": "d", "solution": "refund"}
    for form in FORMS.values():
        if "order_number" in form.slots:
            slots = {name: value for name, value in rest.items() if name in form.slots}
            strange = act(form.action, slots | {"order_number": "FW-482950", "email": "jo@example.com"})
            unknown = act(form.action, slots | {"order_number": "FW-000000", "email": "jo@example.com"})
            assert strange == unknown == NOT_FOUND
    assert act("look_up_return", {"return_number": "R-20417", "email": "jo@example.com"}) == NOT_FOUND
    assert act("look_up_order", {"order_number": "FW-482931' OR 1=1 --", "email": "' OR ''='"}) == NOT_FOUND


def test_only_a_placed_order_is_changed_or_cancelled(act: LocalActions) -> None:
    sent = {"order_number": "FW-482913", "email": "jo@example.com"}
    address = {"street": "Wiehrestraße 3", "postcode": "79102", "city": "Freiburg"}
    assert not act("cancel_order", sent).done
    assert not act("change_delivery_address", sent | address).done
    assert act("change_delivery_address", JO | address).done
    assert not act("change_delivery_address", JO | address | {"postcode": "60-533"}).done  # in another country
    assert act("cancel_order", JO | {"email": "JO@example.com"}).done
    assert act("look_up_order", JO).values["status"] == "cancelled"
    assert not act("cancel_order", JO).done
    invoice = act("cancel_order", {"order_number": "FW-482950", "email": "lukas.weidner@example.org"})
    assert "nothing to pay" in invoice.values["refund_text"]


@pytest.mark.parametrize(("today", "done"), [("2026-07-19", True), ("2026-07-20", False)])
def test_a_return_is_within_60_days_of_delivery(today: str, done: bool) -> None:
    act = LocalActions(Shop(CONTENT | {"today": today}).functions)
    assert act("create_return", TENT | {"item": "tent", "reason": "faulty"}).done is done


def test_a_return_is_registered_once_and_can_be_tracked(act: LocalActions) -> None:
    first = act("create_return", TENT | {"item": "tent pegs", "reason": "faulty"})
    again = act("create_return", TENT | {"item": "Tent pegs", "reason": "changed_mind"})
    other = act("create_return", TENT | {"item": "tent", "reason": "faulty"})
    assert first == again == Outcome(True, {"return_number": "R-20441", "label_days": 21})
    assert other.values["return_number"] == "R-20442"
    tracked = act("look_up_return", {"return_number": "R-20441", "email": "jo@example.com"})
    assert tracked.values["stage"] == "registered"


def test_only_what_is_in_the_order_goes_back(act: LocalActions) -> None:
    for item, done in (("the PEGS please", True), ("Wegwart tent", True), ("everything", True), ("a Rolex", False), ("", False)):
        assert act("create_return", TENT | {"item": item, "reason": "faulty"}).done is done


@pytest.mark.parametrize(("today", "done"), [("2026-06-25", True), ("2026-06-26", False)])
def test_damage_is_reported_within_14_days(today: str, done: bool) -> None:
    act = LocalActions(Shop(CONTENT | {"today": today}).functions)
    assert act("create_damage_report", BACKPACK | {"item": "b", "description": "d", "solution": "refund"}).done is done


def test_a_refund_is_at_most_what_was_paid(act: LocalActions) -> None:
    for amount, done in ((293.91, False), (0, False), (-1, False), (14.9, True), (279, True), (0.01, False)):
        assert act("create_refund_request", TENT | {"amount": amount, "refund_reason": "other"}).done is done


def test_fittings_keep_to_opening_days_and_take_turns(act: LocalActions) -> None:
    assert not fitting(act, day="2026-06-15").done  # today
    assert not fitting(act, day="2026-07-16").done  # in 31 days
    assert fitting(act, day="2026-07-15").done
    assert not fitting(act, day="2026-06-21").done  # a Sunday
    assert not fitting(act, "leipzig", "2026-06-22").done  # a Monday
    assert not fitting(act, "berlin").done
    assert not fitting(act, day="soon").done
    assert fitting(act, "leipzig", "2026-06-23").values["time"] == "11:00"
    assert fitting(act, "hamburg", "2026-06-27", "evening").values["time"] == "17:00"  # Saturday until 18:00
    assert not fitting(act, "hamburg", "2026-06-27", "evening").done
    assert [fitting(act).values.get("time") for _ in range(5)] == ["10:00", "10:45", "11:30", "12:15", None]


def test_a_branch_is_closed_on_single_days() -> None:
    branch = CONTENT["shops"]["freiburg"] | {"closed": ["2026-06-24"]}
    act = LocalActions(Shop(CONTENT | {"shops": {"freiburg": branch}}).functions)
    assert not fitting(act).done
    assert fitting(act, day="2026-06-25").done


def test_two_threads_never_get_the_same_number_or_time(shop: Shop) -> None:
    told: list[Any] = []

    def book(who: str) -> None:
        for item in range(8):
            name = f"tent {who} {item}"
            told.append(shop.create_return(**TENT, item=name, reason="faulty").values["return_number"])
            told.append(shop.book_fitting("munich", date(2026, 6, 24), "evening", "jo@example.com").values.get("time", name))

    threads = [threading.Thread(target=book, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(told)) == len(told) == 64


def test_wrong_content_is_named_at_once() -> None:
    with pytest.raises(UserError, match=r"(?s)return_days.*orders\.0\.status"):
        Shop(CONTENT | {"return_days": -1, "orders": [CONTENT["orders"][0] | {"status": "lost"}]})
    with pytest.raises(UserError, match="does not fit together"):
        Shop(CONTENT | {"orders": CONTENT["orders"][:1] * 2})
    with pytest.raises(UserError, match=r"no customer has the e-mail 'jo@example\.com'"):
        Shop(CONTENT | {"customers": CONTENT["customers"][1:]})
    for texts, fault in (
        ({"sent": "{weather}"}, "placeholder"),
        ({"sent": "{since}"}, "placeholder"),  # that of a return
        ({"snet": "."}, "Did you mean 'sent'"),
    ):
        with pytest.raises(UserError, match=fault):
            Shop(CONTENT | {"texts": texts})


def test_all_of_the_shops_texts_are_given(shop: Shop, act: LocalActions) -> None:
    for order in CONTENT["orders"]:
        known = {"order_number": order["number"], "email": order["email"]}
        assert act("look_up_order", known).values["status_text"]
        for back in order.get("returns", []):
            assert act("look_up_return", {"return_number": back["number"], "email": order["email"]}).values["stage_text"]


def test_a_store_out_of_reach_is_an_outcome_but_a_mistake_in_code_is_not() -> None:
    def locked(email: str) -> Outcome:
        raise sqlite3.OperationalError("database is locked")

    def broken(email: str) -> Outcome:
        raise TypeError("a bug")

    act = LocalActions({"locked": locked, "broken": broken})
    assert act("locked", {"email": "x"}) == Outcome(False, {}, "locked: database is locked")
    assert not act("nowhere", {}).done
    wrong = act("locked", {"email": ["secret"]})
    assert not wrong.done
    assert "secret" not in wrong.problem
    with pytest.raises(TypeError, match="a bug"):
        act("broken", {"email": "x"})
    assert inspect.signature(locked).parameters.keys() == {"email"}
