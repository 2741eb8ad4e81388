"""Conversations that are kept, and talking to the assistant in the terminal."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable

from shared.errors import UserError
from usecases.chatbot.answering import NOTHING, Searched
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.masking import private
from usecases.chatbot.memory import Memory, Overtaken, Saved
from usecases.chatbot.messages import Reading
from usecases.chatbot.replies import summary_so_far
from usecases.chatbot.state import Reply, State

HELP = "/help: this list. /summary: what a colleague would be told. /restart: from the beginning. Ctrl-D: the end."
ENDED = "Goodbye!"


def kept_turn(
    dialogue: Dialogue,
    memory: Memory,
    conversation: str,
    reading: Reading,
    anew: bool = False,
    found: Searched = NOTHING,
) -> Reply:
    """Answer the next message of a conversation that `memory` keeps. The turn is claimed before anything is done.

    Args:
        anew: forget what was said before.
        found: what `dialogue.search` has found, perhaps.

    Raises:
        Overtaken: somebody else is answering a message of this conversation.
        UserError: the turn cannot be kept.
    """
    try:
        with memory.claimed(conversation) as saved:
            before = State() if anew else resumed(dialogue, saved)
            # a first turn that is tried again gives its actions the same keys
            before.conversation = before.conversation or uuid.uuid5(uuid.NAMESPACE_OID, f"{saved.number} {conversation}").hex
            reply = dialogue.answer(before, reading, found)
            state = None if reply.ended else reply.state.model_dump(mode="json")
            known = private(dialogue.desk, (before, reply.state), reply.events)
            memory.append(conversation, saved.number + 1, reading.text, reply.text, reply.events, state, known)
            return reply
    except sqlite3.Error as error:
        raise UserError(f"The turn cannot be kept ({error}). Free some space, or keep conversations in another file.") from None


def resumed(dialogue: Dialogue, saved: Saved) -> State:
    """Where a conversation goes on; from the beginning if another desk has kept it."""
    state = State.model_validate(saved.state or {})
    return state if dialogue.knows(state) else State()


def converse(
    dialogue: Dialogue, read: Callable[[str], str], write: Callable[[str], None], memory: Memory, conversation: str
) -> None:
    """Read and answer messages until the customer ends it (Ctrl-C, Ctrl-D). Every turn is kept before it is shown.

    Args:
        conversation: one that `memory` holds goes on.
    """
    state, anew = resumed(dialogue, memory.load(conversation)), False
    write(HELP)
    while True:
        try:
            message = read("> ")
        except (EOFError, KeyboardInterrupt):
            write(ENDED)
            return
        except UnicodeDecodeError:
            write("That was no text in UTF-8.")
            continue
        command = message.strip().lower()
        if command == "/help":
            write(HELP)
        elif command == "/summary":
            write(str(summary_so_far(state, "asked for in the terminal")))
        elif command == "/restart":
            state, anew = State(), True
            write("We start again.")
        else:
            try:
                reply = kept_turn(dialogue, memory, conversation, dialogue.reader(message), anew)
            except Overtaken:
                write("This conversation is being answered elsewhere just now. Send your message again.")
                continue
            state, anew = reply.state, False
            write(shown(reply))


def shown(reply: Reply) -> str:
    """A reply with where it is quoted from, and what could be answered."""
    lines = [reply.text, *(f"[Source: {source.article}]" for source in reply.sources)]
    if reply.suggestions:
        lines.append(f"({' | '.join(reply.suggestions)})")
    if reply.summary is not None:
        lines.append(f"--- for the colleague ---\n{reply.summary}")
    return "\n".join(lines)
