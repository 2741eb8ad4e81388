from __future__ import annotations

import json

import pytest

from shared.errors import UserError
from tests.usecases.chatbot.standins import Rules, make_desk
from usecases.chatbot.config import Talking
from usecases.chatbot.messages import Reader, asks, clauses, clean


def read(message: str):
    return Reader(Rules(), make_desk(), Talking())(message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("<p>Where is <b>FW-1</b>?</p><script>alert(1)</script>", "Where is FW-1 ?"),
        ("a\u200bb\x00c\u202e d\ud800", "abc d"),
        ("Tomasz <tomasz@example.com>", "Tomasz <tomasz@example.com>"),
        ("one\r\n\r\n  two  \n", "one\ntwo"),
        ("ＦＷ－４８ &amp; 3 < 4 > 2", "FW-48 & 3 < 4 > 2"),
        (" \t ", ""),
    ],
)
def test_markup_and_what_cannot_be_seen_is_taken_away(message, expected):
    text, cut = clean(message, 1000)
    assert text == expected
    assert not cut
    json.dumps(text).encode()


def test_a_message_that_is_too_long_loses_its_end_and_this_is_told():
    assert clean("ab " * 100, 50) == (("ab " * 100)[:50], True)


def test_clauses_are_parts_that_ask_or_refuse_for_themselves():
    assert clauses("where is my parcel and can I still return the boots?") == [
        "where is my parcel",
        "can I still return the boots?",
    ]
    assert clauses("I want an exchange instead of a refund.") == ["I want an exchange", "instead of a refund."]
    assert clauses("socks and boots on 22.6. in Kiel") == ["socks and boots on 22.6. in Kiel"]


def test_what_opens_a_question_may_be_said_before_it():
    assert [
        asks(text)
        for text in ("oh and how many years is it valid", "tell me meanwhile if I can", "hmm no, that one", "thanks, will do")
    ] == [
        True,
        True,
        False,
        False,
    ]
    assert clauses("hmm no, first tell me where that order is") == ["hmm no", "first tell me where that order is"]


def test_what_is_asked_says_whether_a_message_is_about_something_known():
    (part,) = read("I am 78 and not used to it. Where is my parcel at present?").parts
    assert (part.top, part.outside < Talking().outside) == ("order_status", True)
    assert [part.top for part in read("better idea: track my return").parts if part.request] == ["track_return"]


def test_two_requests_are_two_parts_and_cost_one_call_of_the_classifier():
    rules = Rules()
    reading = Reader(rules, make_desk(), Talking())("where is my parcel? And at what temperature do I wash it?")
    assert [part.top for part in reading.parts] == ["order_status", "product_care"]
    assert rules.calls == 1


@pytest.mark.parametrize(
    ("message", "wanted", "refused"),
    [
        ("I do not want a refund, I want to exchange it", ["exchange_item"], ("request_refund",)),
        ("an exchange please, no refund", ["exchange_item"], ("request_refund",)),
        ("Don't cancel the order! Just tell me where is my parcel", ["order_status"], ("cancel_order",)),
        ("I want to exchange it instead of a refund", ["exchange_item"], ("request_refund",)),
        ("I don't want a refund", [], ("request_refund",)),
        ("I don't want a refund, my wish is an exchange", ["exchange_item"], ("request_refund",)),
        ("Not how I wash it please, I want to know the return cost", ["return_cost"], ("product_care",)),
        ("I don't know where my parcel is", ["order_status"], ()),
        ("I'm not at home, where is my parcel", ["order_status"], ()),
    ],
)
def test_what_is_refused_is_told_apart_from_what_is_wanted(message, wanted, refused):
    reading = read(message)
    assert [part.top for part in reading.parts] == wanted
    assert reading.refused == refused


@pytest.mark.parametrize("message", ["", "   ", "🥾🏔️", "...", "\u200b", "<br>"])
def test_what_says_nothing_has_no_parts(message):
    assert read(message).parts == ()


def test_a_classifier_of_other_intents_is_refused():
    rules = Rules()
    rules.intents = (*rules.intents, "gone")
    with pytest.raises(UserError, match="gone"):
        Reader(rules, make_desk(), Talking())


def test_markup_that_is_written_as_entities_or_in_wide_letters_is_gone_too():
    for text in ("&lt;img src=x onerror=alert(1)&gt;hi", "＜script＞x＜/script＞hi"):
        assert clean(text, 4000)[0] == "hi"
