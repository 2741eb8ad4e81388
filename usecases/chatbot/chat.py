"""Talking to the assistant in the terminal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from shared.errors import UserError
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.memory import Memory, Overtaken
from usecases.chatbot.replies import summary_so_far
from usecases.chatbot.state import Reply, State

HELP = "/help: this list. /summary: what a colleague would be told. /restart: from the beginning. Ctrl-D: the end."
ENDED = "Goodbye!"


def converse(
    dialogue: Dialogue, read: Callable[[str], str], write: Callable[[str], None], memory: Memory, conversation: str
) -> None:
    """Read and answer messages until the customer ends it (Ctrl-C, Ctrl-D). Every turn is kept before it is shown.

    Args:
        conversation: one that `memory` holds goes on.
    """
    number, saved = memory.load(conversation)
    state = State.model_validate(saved or {})
    if not dialogue.knows(state):
        state = State()  # kept by another desk
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
            write(str(summary_so_far(state, "it was asked for")))
        elif command == "/restart":
            state = State()
            write("We start again.")
        else:
            reply = dialogue.turn(state, message)
            state, number = reply.state, number + 1
            kept = None if reply.summary else state.model_dump(mode="json")  # with the hand-over the conversation has ended
            try:
                memory.append(conversation, number, message, reply.text, reply.events, kept)
            except Overtaken:
                raise UserError(f"The conversation '{conversation}' goes on elsewhere. Begin another one.") from None
            except sqlite3.Error as error:
                raise UserError(f"The turn cannot be kept ({error}). Free some space, or give another --memory FILE.") from None
            write(shown(reply))


def shown(reply: Reply) -> str:
    """A reply with where it is quoted from, and what could be answered."""
    lines = [reply.text, *(f"[Source: {source.article}]" for source in reply.sources)]
    if reply.suggestions:
        lines.append(f"({' | '.join(reply.suggestions)})")
    if reply.summary is not None:
        lines.append(f"--- for the colleague ---\n{reply.summary}")
    return "\n".join(lines)
