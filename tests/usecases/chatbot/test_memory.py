from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import UserError
from usecases.chatbot.actions import LONGEST_WAIT_S, HttpAction
from usecases.chatbot.memory import CLAIM_S, Memory, Overtaken, Saved, default_file

WRITER = """
import sys, types
from pathlib import Path
import usecases
package = sys.modules["usecases.chatbot"] = types.ModuleType("usecases.chatbot")  # not with all that learns, which takes seconds
package.__path__ = [str(Path(usecases.__file__).parent / "chatbot")]
from usecases.chatbot.memory import Memory
memory = Memory(Path(sys.argv[1]))
name, turns = sys.argv[2], int(sys.argv[3])
for number in range(memory.load(name).number + 1, turns + 1):
    memory.append(name, number, f"message {number}", "reply", [{"asks": "email"}], {"turn": number, "email": "jo@example.com"})
    print(number, flush=True)
"""


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def writer(path: Path, name: str, turns: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(turns)], stdout=subprocess.PIPE, text=True)


def stored(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_a_process_that_is_killed_loses_no_finished_turn(tmp_path: Path) -> None:
    path = tmp_path / "chat.sqlite"
    said = 0
    for stop in (5, 40):
        process = writer(path, "a", 1_000_000)
        assert process.stdout
        for line in process.stdout:
            said = int(line)
            if said >= stop:
                break
        process.send_signal(signal.SIGKILL)
        said = int((process.stdout.read().split() or [said])[-1])  # what it had still finished
        process.wait()
        process.stdout.close()
        memory = Memory(path)
        number, state = memory.load("a")
        assert number >= said >= stop
        assert state == {"turn": number, "email": "jo@example.com"}
        assert [turn.number for turn in memory.turns("a")] == list(range(1, number + 1))
        memory.close()


def test_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "chat.sqlite"
    processes = [writer(path, name, 30) for name in "ab"]
    assert [process.communicate()[0].count("\n") for process in processes] == [30, 30]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(listed[:2] for listed in Memory(path).conversations()) == [("a", 30), ("b", 30)]


def test_who_comes_second_with_a_turn_is_told(tmp_path: Path) -> None:
    one, other = Memory(tmp_path / "chat.sqlite"), Memory(tmp_path / "chat.sqlite")
    one.append("a", 1, "hello", "hi", state={"by": "one"})
    with pytest.raises(Overtaken):
        other.append("a", 1, "hello", "hi", state={"by": "other"})
    assert other.load("a") == Saved(1, {"by": "one"})
    assert other.load("new") == Saved(0, None)


def test_the_log_is_masked_and_the_state_is_not(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "chat.sqlite")
    does = {"does": "look_up_order", "with": {"order_number": "FW-482913", "email": ("jo@example.com",)}, "ok": True}
    memory.append(
        "a", 1, "I am jo@example.com \ud800\x00", "FW-482913 of jo@example.com is sent", [does], {"email": "jo@example.com"}
    )
    (turn,) = memory.turns("a")
    assert turn.message == "I am [e-mail] ?\x00"
    assert turn.reply == "FW-****13 of [e-mail] is sent"
    assert turn.events == [{"does": "look_up_order", "with": {"order_number": "FW-****13", "email": ["[e-mail]"]}, "ok": True}]
    assert memory.load("a").state == {"email": "jo@example.com"}


def test_a_state_ends_with_its_conversation_or_after_its_time_and_nothing_stays_on_the_disk(tmp_path: Path) -> None:
    path, clock = tmp_path / "chat.sqlite", Clock()
    memory = Memory(path, keep_state=timedelta(hours=1), clock=clock)
    for name in ("ends", "left"):
        memory.append(name, 1, "hi", "hello", state={"email": f"{name}@example.com"})
    assert b"ends@example.com" in stored(path)
    memory.append("ends", 2, "bye", "goodbye", state=None)
    assert memory.load("ends") == Saved(2, None)
    assert b"ends@example.com" not in stored(path)
    clock.now += 3599
    assert memory.load("left").state
    clock.now += 2
    assert memory.load("left") == Saved(1, None)
    memory.append("other", 1, "hi", "hello")
    assert b"left@example.com" not in stored(path)


def test_a_state_that_was_left_is_erased_when_the_file_is_opened(tmp_path: Path) -> None:
    path, clock = tmp_path / "chat.sqlite", Clock()
    memory = Memory(path, clock=clock)
    memory.append("left", 1, "hi", "hello", state={"email": "left@example.com"})
    memory.close()
    clock.now += 86_401
    Memory(path, clock=clock)
    assert b"left@example.com" not in stored(path)


def test_a_claim_of_a_process_that_died_is_given_up(tmp_path: Path) -> None:
    clock = Clock()
    memory = Memory(tmp_path / "chat.sqlite", clock=clock)
    dead = memory.claimed("a")
    assert dead.__enter__() == Saved(0, None)
    with pytest.raises(Overtaken), memory.claimed("a"):
        pass
    clock.now += CLAIM_S + 1
    with memory.claimed("a") as saved:
        memory.append("a", saved.number + 1, "hi", "hello")
    with memory.claimed("a") as saved:
        assert saved.number == 1
        dead.__exit__(RuntimeError, RuntimeError(), None)  # it was not dead: what it ends is no longer its own
        with pytest.raises(Overtaken), memory.claimed("a"):
            pass


def test_a_claim_lasts_longer_than_any_action() -> None:
    limits = HttpAction.model_json_schema()["properties"]
    one_try = 3 * limits["timeout_s"]["maximum"]  # to connect, until it is answered, for the last piece
    tries = limits["retries"]["maximum"] + 1
    assert tries * one_try + (tries - 1) * LONGEST_WAIT_S < CLAIM_S


def test_conversations_are_erased_on_request_and_when_they_are_old(tmp_path: Path) -> None:
    path, clock = tmp_path / "chat.sqlite", Clock()
    memory = Memory(path, clock=clock)
    memory.append("old", 1, "a walrus", "hello", state={})
    clock.now += 10 * 86_400
    memory.append("new", 1, "a heron", "hello", state={"slots": "an otter"})
    assert [listed.conversation for listed in memory.conversations()] == ["new", "old"]
    assert memory.delete_older(days=9) == 1
    assert b"walrus" not in stored(path)
    assert memory.delete("new") == 1
    assert memory.delete("new") == 0
    assert b"heron" not in stored(path)
    assert b"otter" not in stored(path)
    assert memory.conversations() == []


def test_a_turn_that_cannot_be_kept_leaves_nothing_behind(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "chat.sqlite")
    with pytest.raises(ValueError, match="JSON"):
        memory.append("a", 1, "hi", "hello", state={"amount": float("nan")})
    assert memory.load("a") == Saved(0, None)
    memory.append("a", 1, "hi", "hello")


def test_the_file_is_its_owners_and_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    Memory(tmp_path / "made" / "chat.sqlite")
    assert (tmp_path / "made" / "chat.sqlite").stat().st_mode & 0o77 == 0
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE orders (number TEXT)")
    with pytest.raises(UserError, match="something else"):
        Memory(tmp_path / "other.sqlite")
    (tmp_path / "text").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(UserError, match="Give another file"):
        Memory(tmp_path / "text")
    with pytest.raises(UserError, match="Give another file"):
        Memory(tmp_path / "text" / "below")


def test_conversations_are_kept_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_file() == tmp_path / "usecases" / "chatbot" / "conversations.sqlite"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_file() == tmp_path / ".local" / "share" / "usecases" / "chatbot" / "conversations.sqlite"
