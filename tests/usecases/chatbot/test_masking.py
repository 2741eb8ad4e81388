from __future__ import annotations

import random
import re

import pytest

from usecases.chatbot.entities import LIMIT
from usecases.chatbot.masking import luhn, mask

SAID = [
    ("FW-482913, fw 482931 and R-20417", "FW-****13, FW-****31 and R-***17"),
    ("jo@example.com, jo (at) example (dot) com, jo@localhost", "[e-mail], [e-mail], [e-mail]"),
    ("Tomasz Wilk <tomasz@example.com>", "[name] <[e-mail]>"),
    ("gc 7f3k 92lm", "[gift card]"),
    ("+49 761 123456, 0761/1234567, (0761) 12 34 56 7", "[phone], [phone], [phone]"),
    ("DE89 3704 0044 0532 0130 00, NL91ABNA0417164300", "[account], [account]"),
    ("4111 1111 1111 1111 until 12/27", "[card] until 12/27"),
    ("4111-1111-1111-1112", "[number]"),
    ("to Wiehrestraße 3, 79102 Freiburg please", "to [address] please"),
    ("8 rue des Tonneliers, 67000 Strasbourg", "[address]"),
    ("Daiserstraße 22", "[address]"),
    ("my name is petra steiner and I am Anna-Lena", "my name is [name] and I am [name]"),
    ("480255", "****55"),
    ("I am angry: 49,90 € on 2026-06-24, 2026-06-25, Karst 40", "I am angry: 49,90 € on 2026-06-24, 2026-06-25, Karst 40"),
]


@pytest.mark.parametrize(("text", "masked"), SAID)
def test_what_tells_a_person_is_masked_and_the_rest_is_kept(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_what_is_known_to_be_personal_is_masked_by_its_name() -> None:
    known = {"Unter den Linden 5": "street", "street": "item", "jo (b.)": "full_name", "": "nothing"}
    said = "unter  den\nLINDEN 5, a street, streets of Jo (b.)"
    assert mask(said, known=known) == "[street], a [item], streets of [full name]"


def test_masking_twice_changes_nothing_more() -> None:
    draw = random.Random(0)
    pieces = [text for text, _ in SAID] + ["0", "[", "@", "FW-", "R", "12 "]
    for _ in range(500):
        text = draw.choice([" ", "", ", ", "-"]).join(draw.choices(pieces, k=4))
        text = "".join(sign for sign in text if draw.random() > 0.03)
        assert mask(mask(text)) == mask(text), text


def test_a_check_digit_is_told_from_a_wrong_one() -> None:
    """The example of ISO/IEC 7812-1 as cited everywhere, and its neighbours."""
    assert [d for d in range(10) if luhn(f"7992739871{d}")] == [3]


def test_a_desks_own_numbers_are_masked() -> None:
    patterns = {"order_number": "#([0-9]{4})", "return_number": "(RET)([0-9]{3})", "gift_card": "([A-Z]{3}[0-9]{3})"}
    assert mask("#1234, ret123, ABC123", patterns) == "**34, RET-*23, [gift card]"


HOSTILE = [
    "a",
    "@",
    "FW",
    "1 ",
    "0-",
    "Aa Bb 3 ",
    "de12",
    "my name is ",
    "a@b",
    "jo@example.com ",
    "FW-482913 ",
    "+49 761 1234567 ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_message_ends_and_is_masked_up_to_its_end(piece: str) -> None:
    masked = mask(piece * (100_000 // len(piece)))
    assert not re.search(r"\d{3}|\w@\w", masked)
    assert 0 < len(masked) <= LIMIT
