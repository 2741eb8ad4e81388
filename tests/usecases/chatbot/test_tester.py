from __future__ import annotations

import pytest

from shared.errors import DataError, UserError
from tests.usecases.chatbot.standins import CONTENT, make_dialogue
from usecases.chatbot.tester import Script, load_scripts, pass_rates, replay, told


def script(*turns, name="kind: of test"):
    return Script.model_validate({"name": name, "turns": [{"user": user, "expect": expect} for user, expect in turns]})


def test_a_conversation_that_goes_as_written_passes():
    result = replay(
        script(
            ("where is my parcel FW-482913", {"asks": "email", "not_contains": ["FW-482913"]}),
            ("and how do I wash it?", {"answers": ["care-tent", "care-down"], "asks": "email"}),
            ("jo@example.com", {"does": "look_up_order", "with": {"order_number": "FW-482913"}, "contains": ["sent"]}),
        ),
        make_dialogue,
    )
    assert result.passed


def test_differences_tell_turn_expectation_and_what_came():
    result = replay(
        script(("hello", {"says": "greeting"}), ("where is my parcel", {"asks": "email", "contains": ["order number"]})),
        make_dialogue,
    )
    (difference,) = result.differences
    assert (difference.turn, difference.key, difference.expected, difference.got) == (
        2,
        "asks",
        "email",
        [{"asks": "order_number"}],
    )
    assert pass_rates([result, replay(script(("hello", {"says": "greeting"})), make_dialogue)]) == {"kind": (1, 2)}
    assert "turn 2: where is my parcel" in told([result])
    assert "asks: order_number" in told([result])


@pytest.mark.parametrize(
    ("expect", "fails"),
    [
        ({"does": "look_up_order", "with": {"email": "a@b.de"}}, True),
        ({"does": "look_up_order", "with": {"email": "jo@example.com"}}, False),
        ({"not_contains": ["Sent"]}, True),
        ({"falls_back": 1}, True),
    ],
)
def test_each_expectation_can_fail(expect, fails):
    message = "where is my parcel FW-482913, jo@example.com"
    assert replay(script((message, expect)), make_dialogue).passed is not fails


def test_mistakes_in_a_script_are_told_together_with_their_place(tmp_path):
    file = tmp_path / "conversations.yaml"
    file.write_text(
        "conversations:\n- {name: one, turns: [{user: hi, expect: {sais: greeting}}]}\n- {name: two, turns: []}\n"
        "- {name: three, turns: [{user: hi, expect: {contains: text}}]}\n"
        "- {name: four, turns: [{user: hi, expect: {hands_over: false}}]}\n"
        "- {name: five, turns: [{user: hi, expect: {clarifies: greeting}}]}\n"
    )
    with pytest.raises(DataError) as caught:
        load_scripts(file)
    message = str(caught.value)
    for told_ in (
        str(file),
        "conversations.0.turns.0.expect",
        "Did you mean 'says'?",
        "conversations.1.turns",
        "'contains' is a list",
        "'hands_over' holds nothing",
        "'clarifies' is a list",
    ):
        assert told_ in message
    file.write_text("turns: 1")
    with pytest.raises(UserError, match="conversations:"):
        load_scripts(file)


def test_the_shops_scripts_can_be_read():
    assert len(load_scripts(CONTENT / "conversations.yaml")) >= 80
