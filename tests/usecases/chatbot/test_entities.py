from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from usecases.chatbot.content import Desk, Form, Slot
from usecases.chatbot.entities import LIMIT, fill, find

TODAY = date(2026, 6, 15)  # a Monday
CONTENT = Path(__file__).parents[3] / "data/chatbot/forms.yaml"
FORMS = {
    name: Form(**form)
    for name, form in yaml.safe_load((Path(__file__).parents[3] / "data/chatbot/forms.yaml").read_text(encoding="utf-8"))[
        "forms"
    ].items()
}


def found(text: str) -> list[object]:
    return [entity.value for entity in find(text, TODAY)]


def filled(form: str, text: str, asked: str = "") -> dict[str, object]:
    slots = FORMS[form].slots.items()
    return {name: entity.value for name, slot in slots if (entity := fill(slot, text, TODAY, name == asked, name))}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("fw482913, FW 482913 and FW–482931", ["FW-482913", "FW-482913", "FW-482931"]),
        ("r20431 or R-20417", ["R-20431", "R-20417"]),
        ("gc 7f3k 92lm, GC7F3K92LM", ["GC-7F3K-92LM"] * 2),
        ("gc from them, FW-48293, PF4401928375, 0761 123456", []),
        ("jo (at) example (dot) com", ["jo@example.com"]),
        ("miriam dot okafor at example dot com", ["miriam.okafor@example.com"]),
        ("It is Henrik.Dahl@Example.NET.", ["henrik.dahl@example.net"]),
        (
            "Tomasz <tomasz@example.com>, mailto:jo@example.com, jo @ example.com!",
            ["tomasz@example.com", "jo@example.com", "jo@example.com"],
        ),
        ("<i>jo@example.com</i>", ["jo@example.com"]),
        ("I bought it at fernweg.example", []),
        ("49,90 €, EUR 49.90, 49.90 euros, €20, twenty-five euros", [49.9, 49.9, 49.9, 20.0, 25.0]),
        ("49 euros and 90 cents", [49.9]),
        ("1.490,00 € or 1,490.00 EUR; refund 12.90 please", [1490.0, 1490.0, 12.9]),
        ("100% coupon, 20 dollars, at 10:30", []),
        ("79102, 60-533, A-6020", ["79102", "60-533", "A-6020"]),
        ("since 2014 My wife, 8000 Aarhus", ["8000"]),
    ],
)
def test_numbers_addresses_and_amounts_are_found_however_they_are_written(text: str, values: list[object]) -> None:
    assert found(text) == values


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-06-24", "06-24"), ("24.12.", "12-24"), ("24/12/2026", "12-24"), ("12/24/2026", "12-24"), ("tommorow", "06-16"),
        ("the day after tomorrow", "06-17"), ("in two weeks", "06-29"), ("two weeks from today", "06-29"), ("the 19th", "06-19"),
        ("the 14th", "07-14"), ("19 June", "06-19"), ("the 23rd of June", "06-23"), ("july 1st", "07-01"),
        ("this thursday", "06-18"),
        ("friday", "06-19"), ("monday", "06-22"), ("next friday", "06-26"), ("a week on friday", "06-26"),
        ("22.6. and later", "06-22"),
        ("in a month", "07-15"), ("friday 26th", "06-26"), ("on the 26th, a friday", "06-26"), ("Monday 22 June", "06-22"),
    ],
)  # fmt: skip
def test_a_day_is_counted_from_today(text: str, day: str) -> None:
    assert found(text) == [f"2026-{day}"]


@pytest.mark.parametrize("text", ["31.2.", "a sun hat that sat on me", "may I", "my 2nd order", "open 24/7", "12.90.1"])
def test_what_is_no_day_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_date_of_the_past_is_next_years() -> None:
    assert found("5 June") == ["2027-06-05"]


def test_places_are_those_in_the_message_as_it_was() -> None:
    text = "📦 ‘FW–482913’\u00a0jo@example.com"
    assert [text[e.start : e.end] for e in find(text, TODAY)] == ["FW–482913", "jo@example.com"]


def test_the_last_value_that_is_not_denied_wins() -> None:
    assert filled("order_status", "FW-482913 ... no sorry, FW-482931") == {"order_number": "FW-482931"}
    assert filled("order_status", "the order is FW-471208, not FW-455017") == {"order_number": "FW-471208"}
    assert filled("book_appointment", "hm no, the evening is better, not the morning") == {"daytime": "evening"}
    assert filled("start_return", "in the morning I saw it: too small, no sorry, too large")["reason"] == "too_large"


def test_a_choice_is_neither_denied_nor_part_of_a_word() -> None:
    assert filled("start_return", "not too small, smallish") == {}
    assert filled("start_return", "I don’t need it any more") == {"reason": "changed_mind"}
    assert filled("report_damage", "no refund, a replacement") == {"solution": "replacement"}
    assert filled("start_return", "TOO ſMALL, I think") == {"reason": "too_small"}  # a letter that only ignoring case makes an s
    assert filled("start_return", "looks different from the picture, it isn't faulty") == {"reason": "not_as_expected"}


def test_bare_numbers_count_only_in_reply_to_their_question() -> None:
    for form, slot, text, value in (
        ("order_status", "order_number", "it's 480255", "FW-480255"),
        ("order_status", "email", "jo at example.com", "jo@example.com"),
        ("track_return", "return_number", "20417", "R-20417"),
        ("check_gift_card", "gift_card", "7f3k-92lm", "GC-7F3K-92LM"),
        ("request_refund", "amount", "20", 20.0),
        ("request_refund", "amount", "12.10.", 12.1),
        ("request_refund", "amount", "64 euros 90", 64.9),
        ("request_refund", "amount", "64 euros and 90 cents", 64.9),
        ("request_refund", "amount", "between 20 euros and 30", 20.0),
        ("request_refund", "amount", "I paid 64 euros 15 days ago", 64.0),
        ("change_address", "postcode", "8000", "8000"),
        ("book_appointment", "date", "22.6", "2026-06-22"),
        ("book_appointment", "date", "the tuesday", "2026-06-16"),
    ):
        assert filled(form, text, slot) == {slot: value}
        assert form == "request_refund" or filled(form, text) == {}
    assert filled("request_refund", "two hundred euros", "amount") == {}
    assert filled("request_refund", "I have 2 questions first: do you pay in cash", "amount") == {}


def test_words_of_ones_own_are_taken_from_replies_lists_and_addresses() -> None:
    assert filled("report_damage", " the zip\x00 is  torn. ", "description") == {"description": "the zip is torn"}
    assert filled("report_damage", "the zip is torn") == {}
    assert filled("start_return", "the lantern {email} %s", "item") == {"item": "the lantern {email} %s"}
    assert filled("start_return", "hang on, the order is FW-471208, not the old one", "item") == {"order_number": "FW-471208"}
    assert filled("report_damage", "🥾 ?!", "item") == {}
    listed = "Item: trail shoes. Damage: the left sole is off. I would like: a replacement."
    assert filled("report_damage", listed) == {
        "item": "trail shoes",
        "description": "the left sole is off",
        "solution": "replacement",
    }
    address = {"street": "Wiehrestraße 3", "postcode": "79102", "city": "Freiburg"}
    assert filled("change_address", "send it to Wiehrestraße 3, 79102 Freiburg please") == address
    assert filled("change_address", "Wiehrestraße 3, 79102 Freiburg", "street") == address
    assert filled("start_return", "I'd like to send back the sun hat from order FW-478019, too big")["item"] == "sun hat"
    assert filled("start_return", "I want to return my order FW-471208") == {"order_number": "FW-471208"}
    assert filled("start_return", "register a return for the tent pegs from FW-471208, too short")["item"] == "tent pegs"
    assert filled("report_damage", "My backpack from order FW-479977 arrived damaged")["item"] == "backpack"
    assert "item" not in filled("report_damage", "report a damaged item from FW-474468")
    assert filled("start_return", "dont need it", "reason")["reason"] == "changed_mind"
    assert filled("start_return", "return: FW-471208") == {"order_number": "FW-471208"}
    assert filled("start_return", "Return: Sleeping mat Moos, order FW-460733")["item"] == "Sleeping mat Moos"
    assert filled("start_return", "it's the sun hat from FW-478019", "item")["item"] == "the sun hat"
    assert filled("change_address", "to Rempartstraße 4, 79098 Freiburg. My mail is a@b.de")["city"] == "Freiburg"
    assert filled("change_address", "to Marktgasse 4, 9000 St. Gallen")["city"] == "St. Gallen"
    assert filled("change_address", "the city is Freiburg", "city") == {"city": "Freiburg"}
    assert len(str(filled("report_damage", "torn " * 500, "description")["description"])) <= 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes, no problem", True),
        ("👍👍", True),
        ("that is not right", False),
        ("nope", False),
        ("not sure", None),
        ("FW-482913", None),
    ],
)
def test_yes_and_no(text: str, value: bool | None) -> None:
    slot = Slot(type="yes_no", ask="Was it open?")
    entity = fill(slot, text, TODAY, asked=True)
    assert (entity.value if entity else None) == value
    assert fill(slot, text, TODAY, asked=False) is None


def test_a_desk_has_numbers_of_its_own() -> None:
    desk = Desk(intents={}, patterns={"order_number": r"([0-9]{3})-?([0-9]{7})"})
    assert [e.value for e in find("1141234567 and FW-482913, R-20417", TODAY, desk.patterns)] == ["114-1234567", "R-20417"]
    with pytest.raises(ValidationError, match="no regular expression"):
        Desk(intents={}, patterns={"order_number": "(FW"})


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "@",
        ".",
        "1",
        "a.",
        "a@",
        "1 ",
        "1.",
        "12345 ",
        "a dot ",
        " ",
        "FW",
        "Aa ",
        "GC-",
        "(at)",
        "a: ",
        "not ",
        "it's ",
        "\n",
    ],
)
def test_a_hostile_message_ends(piece: str) -> None:
    """It takes some 10 ms; with an expression that backtracks exponentially it would never end."""
    message = piece * (100_000 // len(piece))
    found = find(message, TODAY)
    assert all(0 <= entity.start < entity.end <= LIMIT for entity in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    for name, form in FORMS.items():
        values = filled(name, message, next(iter(form.slots)))
        assert all(len(str(value)) <= 200 for value in values.values())
