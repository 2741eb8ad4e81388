from __future__ import annotations

import pytest

from tests.usecases.chatbot.standins import make_dialogue
from usecases.chatbot.chat import ENDED, converse
from usecases.chatbot.memory import Memory


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
