"""A desk with the real forms, and stand-ins for everything that is learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from usecases.chatbot.config import Talking
from usecases.chatbot.content import Desk, Passage
from usecases.chatbot.dialogue import Dialogue
from usecases.chatbot.messages import Reader
from usecases.chatbot.protocols import Answer, Outcome, Scores
from usecases.chatbot.state import Reply, State

CONTENT = Path(__file__).parents[3] / "data" / "chatbot"
TODAY = date(2026, 6, 15)
WASHING = Passage("care-down", "Washing down", "At home", "Wash it at 30 °C. {slots} stay as they are.")
COST = Passage("return-costs", "What a return costs", "", "A return is free of charge.")
RULES = {  # what a message about the intent contains
    "order_status": r"where is (?:my parcel|order)|where my parcel",
    "start_return": r"\breturn (?:the|an|my)\b|send back",
    "request_refund": r"\brefund\b",
    "cancel_order": r"cancel (?:my |the )?order|cancel FW",
    "change_address": r"new address",
    "book_appointment": r"boot fitting",
    "report_damage": r"damaged",
    "track_return": r"track my return",
    "check_gift_card": r"left on .*card|what is GC",
    "product_care": r"\bwash",
    "return_cost": r"return cost",
    "exchange_item": r"\bexchange",
    "greeting": r"^hello",
    "goodbye": r"^bye",
    "joke": r"joke",
    "insult": r"stupid",
    "talk_to_human": r"human|colleague",
    "cancel": r"^never mind",
    "affirm": r"^(?:yes|👍)",
    "deny": r"^no\b",
    "repeat": r"say that again",
}
ARTICLES = {"product_care": ["care-down"], "return_cost": ["return-costs"], "exchange_item": ["exchange-size"]}


def make_desk() -> Desk:
    forms = yaml.safe_load((CONTENT / "forms.yaml").read_text(encoding="utf-8"))["forms"]
    intents: dict[str, dict[str, Any]] = {}
    for name in RULES:
        how: dict[str, Any] = {"says": [f"({name})"]}
        if name in forms:
            how = {"form": name}
        elif name in ARTICLES:
            how = {"articles": ARTICLES[name]}
        elif name == "talk_to_human":
            how = {"hands_over": True}
        intents[name] = {"description": name.replace("_", " "), **how}
    return Desk.model_validate({"intents": intents, "forms": forms})


class Rules:
    """Intents share the probability of a message whose rules fit it; without any it is outside."""

    intents = tuple(RULES)

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> Scores:
        self.calls += 1
        fits = np.array([[bool(re.search(rule, text, re.IGNORECASE)) for rule in RULES.values()] for text in texts], float)
        none = fits.sum(1) == 0
        fits += 1e-3
        return Scores(fits / fits.sum(1, keepdims=True), none * 0.98 + 0.01)


class Shelf:
    threshold = 0.5

    def __call__(self, questions: Sequence[str], scores: Scores, count: int = 3) -> list[list[Answer]]:
        return [
            [Answer(WASHING, 0.9)] if "wash" in q else [Answer(COST, 0.9)] if "cost" in q else [Answer(COST, 0.1)]
            for q in questions
        ]


class Till:
    """Notes what is done; finds only what belongs to jo@example.com."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []

    def __call__(self, name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        self.done.append((name, slots))
        self.keys.append(key)
        mine = slots.get("email", "jo@example.com") == "jo@example.com"
        values = {"status": "sent", "status_text": "", "balance": 35.0, "valid_until": "2028-12-31", "refund_text": ""}
        return Outcome(mine, values if mine else {}, "" if mine else "nobody knows Sofia")


def make_dialogue(actions: Till | None = None) -> Dialogue:
    desk, settings = make_desk(), Talking()
    return Dialogue(desk, Reader(Rules(), desk, settings), Shelf(), actions or Till(), lambda: TODAY, settings)


def talk(*messages: str, dialogue: Dialogue | None = None, state: State | None = None) -> Reply:
    """The last reply; the state goes through JSON after each turn."""
    dialogue, state = dialogue or make_dialogue(), state or State()
    for message in messages:
        reply = dialogue.turn(state, message)
        state = State.model_validate_json(reply.state.model_dump_json())
    return reply
