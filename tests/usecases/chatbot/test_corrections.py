"""What customers say when a form has something wrong, or does not have it yet."""

from __future__ import annotations

import pytest

from tests.usecases.chatbot.standins import make_desk, make_dialogue, talk
from usecases.chatbot.dialogue import State


@pytest.mark.parametrize(
    ("correction", "number"), [("no, the other order: FW-482913", "FW-482913"), ("yes, but it is FW-482913", "FW-482913")]
)
def test_a_correction_is_confirmed_again(correction, number):
    reply = talk("cancel order FW-482931, jo@example.com", correction)
    assert reply.events == [{"confirms": "cancel_order"}]
    assert number in reply.text
    assert "FW-482931" not in reply.text


@pytest.mark.parametrize(
    ("form", "asked", "message", "slot", "value"),
    [
        ("change_address", "city", "It's 24103 Kiel", "city", "Kiel"),
        ("report_damage", "description", "It's broken since I got 482913", "order_number", "FW-482950"),
        ("change_address", "street", "hello? A joke: Lindenallee 9", "street", "Lindenallee 9"),
    ],
)
def test_what_was_given_stays_where_a_number_is_part_of_ones_own_words(form, asked, message, slot, value):
    slots = {
        "order_number": "FW-482950",
        "email": "jo@example.com",
        "street": "Lindenallee 8",
        "postcode": "24105",
        "item": "mug",
    }
    slots = {name: given for name, given in slots.items() if name in make_desk().forms[form].slots}
    assert talk(message, state=State(form=form, slots=slots, asked=asked)).state.slots[slot] == value


def test_a_wish_for_something_else_is_no_correction():
    slots = {"order_number": "FW-482950", "email": "jo@example.com"}
    reply = talk(
        "no, I want a refund for FW-482950 instead please", state=State(form="cancel_order", slots=slots, confirming=True)
    )
    assert reply.state.form == "request_refund"
    slots |= {"item": "Enamel mug", "reason": "changed_mind"}
    for message in ("No, I do not want the mug, it's ugly", "Sorry, must stop here"):
        reply = talk(message, state=State(form="start_return", slots=slots, confirming=True))
        assert reply.events == [{"cancels": "start_return"}]


def test_a_reason_is_no_item():
    slots = {"order_number": "FW-471208", "email": "jo@example.com"}
    reply = talk("it's too small", state=State(form="start_return", slots=slots, asked="item"))
    assert (reply.state.slots, reply.events) == ({**slots, "reason": "too_small"}, [{"asks": "item"}])


def test_no_thanks_to_a_day_is_no_end():
    slots = {"shop": "munich"}
    reply = talk("no thank you, not tomorrow", state=State(form="book_appointment", slots=slots, asked="date"))
    assert reply.events == [{"asks": "date"}]


def test_a_value_that_was_given_is_corrected_though_another_is_asked_for():
    slots = {"order_number": "FW-482950", "email": "jo@example.com", "street": "Lindenallee 8", "postcode": "81371"}
    reply = talk("sorry, I meant 24105", state=State(form="change_address", slots=slots, asked="city"))
    assert (reply.state.slots["postcode"], reply.events) == ("24105", [{"asks": "city"}])


@pytest.mark.parametrize(
    ("correction", "slot", "value"),
    [
        ("Ah non, not the enamel mug but the water filter", "item", "water filter"),
        ("the item is wrong, it should be the camping lantern of steel", "item", "the camping lantern of steel"),
        ("It was a water filter, not the mug", "item", "water filter"),
        ("change the reason please, I picked the wrong one: it is too small", "reason", "too_small"),
    ],
)
def test_a_confirmation_is_corrected_in_many_words(correction, slot, value):
    slots = {"order_number": "FW-482950", "email": "jo@example.com", "item": "Enamel mug 2 pieces", "reason": "changed_mind"}
    reply = talk(correction, state=State(form="start_return", slots=slots, confirming=True))
    assert (reply.state.slots[slot], reply.events) == (value, [{"confirms": "start_return"}])


def test_a_question_that_changes_a_choice_is_a_correction():
    slots = {"shop": "munich", "date": "2026-06-19", "daytime": "morning", "email": "jo@example.com"}
    state = State(form="book_appointment", slots=slots, confirming=True)
    dialogue = make_dialogue()
    reply = talk("Could my boot fitting, or where is order pick-up, be in the afternoon instead?", dialogue=dialogue, state=state)
    assert (reply.events, reply.state.slots["daytime"]) == ([{"confirms": "book_appointment"}], "afternoon")


def test_a_value_called_wrong_is_asked_for_again():
    assert talk("cancel order FW-482931, jo@example.com", "no, the order is wrong").events == [{"asks": "order_number"}]


def test_what_was_not_found_can_be_corrected():
    dialogue = make_dialogue()
    failed = talk("where is my parcel FW-482914, jo@example.org", dialogue=dialogue)
    assert failed.events[0]["fails"] == "look_up_order"
    assert "Sofia" not in failed.text
    assert talk("sorry, jo@example.com", dialogue=dialogue, state=failed.state).events[0]["does"] == "look_up_order"


def test_small_talk_in_a_form_gives_no_value():
    state = State(form="book_appointment", slots={"shop": "munich"}, asked="date")
    reply = talk("do you know a joke for today?", state=state)
    assert ("date" in reply.state.slots, reply.events[-1]) == (False, {"asks": "date"})


def test_a_question_is_no_answer_in_ones_own_words():
    state = State(form="start_return", slots={"order_number": "FW-471208", "email": "jo@example.com"}, asked="item")
    assert talk("what does the return cost?", state=state).events == [{"answers": "return-costs"}, {"asks": "item"}]
    assert talk("who won the match?", state=state).events == [{"asks": "item"}]
    assert talk("a small tent", state=state).state.slots["item"] == "a small tent"
    assert talk("a small tent", state=state).events == [{"asks": "reason"}]


@pytest.mark.parametrize("reply", ["yes, but only if it is free", "👍👎", "yes no yes no"])
def test_a_yes_with_a_reservation_is_none(reply):
    assert talk("cancel order FW-482931, jo@example.com", reply).events == [{"confirms": "cancel_order"}]


def test_hesitation_is_no_yes():
    assert talk("cancel order FW-482931, jo@example.com", "hmm").events == [{"confirms": "cancel_order"}]
    assert talk("cancel order FW-482931, jo@example.com", "cancel it").events[0]["does"] == "cancel_order"


def test_a_value_that_found_nothing_and_is_called_wrong_is_asked_for_again():
    assert talk("where is my parcel FW-482914, a@b.org", "the e-mail was wrong").events == [{"asks": "email"}]


def test_another_slots_value_and_a_long_question_are_no_answer_in_ones_own_words():
    slots = {"order_number": "FW-482950", "email": "jo@example.com", "street": "Lindenallee 8", "postcode": "81371"}
    state = State(form="change_address", slots=slots, asked="city")
    reply = talk("argh typo, the postcode is 81545", state=state)
    assert (reply.state.slots["postcode"], reply.events) == ("81545", [{"asks": "city"}])
    state = State(form="start_return", slots={"order_number": "FW-471208", "email": "jo@example.com"}, asked="item")
    assert talk("Quick one: the box, may I bin it or keep it until then?", state=state).events == [{"asks": "item"}]


def test_the_other_order_is_asked_for_in_the_middle_of_a_form():
    state = State(form="request_refund", slots={"order_number": "FW-471208"}, asked="email")
    assert talk("no, the other order", state=state).events == [{"asks": "order_number"}]
