from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from shared.errors import UserError
from tests.usecases.chatbot.standins import Till, make_dialogue
from usecases.chatbot import tools
from usecases.chatbot.chat import ENDED, converse, kept_turn
from usecases.chatbot.memory import Memory, Overtaken


def chat(memory, *messages, end=EOFError):
    lines, written = iter(messages), []

    def read(_):
        for line in lines:
            return line
        raise end

    converse(make_dialogue(), read, written.append, memory, "test")
    return written


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_a_chat_shows_sources_and_choices_and_ends_politely(tmp_path, end):
    written = chat(Memory(tmp_path / "memory.db"), "hello", "/help", "how do I wash it?", "boot fitting", "/summary", end=end)
    assert written[0] == written[2]
    assert "[Source: care-down]" in written[3]
    assert "Freiburg | Munich | Hamburg | Leipzig" in written[4]
    assert "- boot fitting" in written[5]
    assert written[-1] == ENDED


def test_a_chat_goes_on_where_it_was_left(tmp_path):
    chat(Memory(tmp_path / "memory.db"), "where is my parcel FW-482913")
    assert "is sent" in chat(Memory(tmp_path / "memory.db"), "jo@example.com")[1]
    assert "is sent" not in chat(Memory(tmp_path / "memory.db"), "where is my parcel FW-482913", "/restart", "jo@example.com")[-2]


def turn(dialogue, memory, message):
    return kept_turn(dialogue, memory, "test", dialogue.reader(message))


def test_a_turn_is_its_own_before_anything_is_done(tmp_path):
    """The second of two who say yes at once is told, and acts only after the first has: on what that one left."""
    go_on, begun = threading.Event(), threading.Event()

    class Slow(Till):
        def __call__(self, name, slots, key=""):
            begun.set()
            assert go_on.wait(10)
            return super().__call__(name, slots, key)

    till = Slow()
    first, second = make_dialogue(till), make_dialogue(till)
    one, other = Memory(tmp_path / "memory.db"), Memory(tmp_path / "memory.db")
    assert turn(first, one, "cancel order FW-482931, jo@example.com").events == [{"confirms": "cancel_order"}]
    thread = threading.Thread(target=turn, args=(first, one, "yes"))
    thread.start()
    begun.wait(10)
    with pytest.raises(Overtaken):
        turn(second, other, "yes")
    go_on.set()
    thread.join()
    turn(second, other, "yes")
    assert [name for name, _ in till.done] == ["cancel_order"]
    assert len(other.turns("test")) == 3


def test_a_turn_that_fails_can_be_had_again(tmp_path):
    class Broken(Till):
        def __call__(self, name, slots, key=""):
            raise RuntimeError("no such thing")

    memory = Memory(tmp_path / "memory.db")
    with pytest.raises(RuntimeError):
        turn(make_dialogue(Broken()), memory, "where is my parcel FW-482913, jo@example.com")
    assert "is sent" in turn(make_dialogue(), memory, "where is my parcel FW-482913, jo@example.com").text


def test_a_first_turn_that_is_sent_again_gives_its_action_the_same_key_and_another_conversation_does_not(tmp_path):
    class Broken(Till):
        def __call__(self, name, slots, key=""):
            super().__call__(name, slots, key)
            raise RuntimeError("the disk is full")

    memory, till, broken = Memory(tmp_path / "memory.db"), Till(), Broken()
    message = "where is my parcel FW-482913, jo@example.com"
    with pytest.raises(RuntimeError):
        turn(make_dialogue(broken), memory, message)
    turn(make_dialogue(till), memory, message)
    dialogue = make_dialogue(till)
    kept_turn(dialogue, memory, "other", dialogue.reader(message))
    kept_turn(dialogue, memory, "test", dialogue.reader(message), anew=True)
    assert till.keys[0] == broken.keys[0]
    assert len(set(till.keys)) == 3


@pytest.mark.parametrize("end", ["I want a human", "bye"])
def test_what_was_said_before_the_end_of_a_conversation_is_forgotten(tmp_path, end):
    memory = Memory(tmp_path / "memory.db")
    dialogue = make_dialogue()
    turn(dialogue, memory, "where is my parcel FW-482913, jo@example.com")
    assert memory.load("test").state
    turn(dialogue, memory, end)
    assert memory.load("test") == (2, None)
    assert turn(dialogue, memory, "hello").state.messages == ["hello"]


def test_a_goodbye_within_a_form_ends_nothing(tmp_path):
    memory, dialogue = Memory(tmp_path / "memory.db"), make_dialogue()
    turn(dialogue, memory, "where is my parcel FW-482913")
    turn(dialogue, memory, "bye")
    assert "is sent" in turn(dialogue, memory, "jo@example.com").text


def test_a_log_tells_no_address_that_was_given_for_a_slot(tmp_path, capsys):
    memory, dialogue = Memory(tmp_path / "memory.db"), make_dialogue()
    said = [
        "I have a new address for FW-482931",
        "jo@example.com",
        "Unter den Linden 5",
        "10117",
        "Old Mill Town",
        "no, old mill town",
        "yes",
    ]
    events = [event for message in said for event in turn(dialogue, memory, message).events]
    assert events[-1]["does"] == "change_delivery_address"
    assert events[-1]["with"]["street"] == "Unter den Linden 5"
    told = []
    tools.log(tmp_path / "memory.db", tmp_path / "log.txt", {"conversation": "test"}, told.append)
    assert not [word for word in ("Linden", "10117", "mill", "example.com") if word in told[0].lower()]
    assert "> [street]" in told[0]
    assert '"street": "[street]"' in told[0]
    assert (tmp_path / "log.txt").read_text() == told[0] + "\n"


def test_looking_at_a_file_erases_no_state_that_its_service_keeps_longer(tmp_path):
    file, month = tmp_path / "memory.db", timedelta(days=30)
    long_ago = Memory(file, month, clock=lambda: time.time() - 3 * 86_400)
    for name in ("kept", "other"):
        long_ago.append(name, 1, "hi", "hello", state={"turns": 1})
    long_ago.close()
    tools.log(file, None, {}, print)
    tools.forget(file, None, {"conversation": "other"}, print)
    tools.forget(file, None, {"days": 7}, print)
    assert Memory(file, month).load("kept") == (1, {"turns": 1})
    assert tools.forget(file, None, {"days": 1}, print) == {"erased turns": 1}
    assert Memory(file, month).load("kept") == (0, None)


def test_conversations_are_listed_and_erased_by_name_or_age(tmp_path):
    file, told = tmp_path / "memory.db", []
    memory = Memory(file)
    for name in ("4711", "other"):
        memory.append(name, 1, "hi", "hello", state={})
    memory.append("4711", 2, "hi", "hello", state={})
    assert tools.log(file, None, {}, told.append) == {"conversations": 2}
    assert "4711: 2 turn(s)" in told[0]
    both = {"conversation": "4711", "days": 1}
    for wrong, named in (({}, "days=N"), (both, "days=N"), ({"conversation": "othr"}, "other"), ({"days": -1}, "days")):
        with pytest.raises(UserError, match=named):
            tools.forget(file, None, wrong, print)
    assert tools.forget(file, None, {"conversation": 4711}, print) == {"erased turns": 2}
    assert [one.conversation for one in memory.conversations()] == ["other"]
    assert tools.forget(file, None, {"days": 0}, print) == {"erased turns": 1}
    assert memory.load("other") == (0, None)
