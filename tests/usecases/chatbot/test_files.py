"""Files of messages as they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UserError
from usecases.chatbot import files
from usecases.chatbot.answers import LONGEST


def read(path: Path, content: str | bytes, rows: int = 2) -> list[tuple[list[str], list[str | None]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(files.blocks(path, rows))


def test_a_text_file_holds_a_message_a_line(tmp_path: Path) -> None:
    found = read(tmp_path / "a.txt", "\ufeffwhere is it?\r\n\n \nü, tab\tinside\nhi\n")  # blank lines are none
    assert [message for messages, _ in found for message in messages] == ["where is it?", "ü, tab\tinside", "hi"]
    assert [len(messages) for messages, _ in found] == [2, 1]
    assert read(tmp_path / "b.txt", "x" * LONGEST + "\r\nhi\r\n") == [(["x" * LONGEST, "hi"], [None, None])]


def test_a_table_may_name_conversations(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", 'Session ID,Text\n7,hi\n,\n8,"a, b"\n')
    assert [message for messages, _ in found for message in messages] == ["hi", "", "a, b"]
    assert [name for _, names in found for name in names] == ["7", None, "8"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "colour,size\nred,1\n", "Name the messages' column message"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.txt", b"", "empty"),
        ("a.txt", b"hi\n" + b"x" * (LONGEST + 1), r"too long \(row 2\)"),
        ("a.pdf", b"x", "unknown kind"),
    ],
)
def test_what_holds_no_messages_is_named(tmp_path: Path, name: str, content: bytes | str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path / name, content)
