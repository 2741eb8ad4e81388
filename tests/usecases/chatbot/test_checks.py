"""What `check` tells of utterances and of what a support team has written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from shared.data import sources
from shared.errors import Finding
from usecases.chatbot import checks, confusion, content_checks, formats
from usecases.chatbot.config import ChatConfig, Data
from usecases.chatbot.corpus import Utterances
from usecases.chatbot.shop import Shop

WORDS = ["alpha", "bravo", "cargo", "delta", "eagle", "fancy", "giant", "hotel", "index", "joker", "karma", "lemon"]


def told(path: Path) -> list[Finding]:
    return checks.check(ChatConfig(data=Data(source=str(path))))


def table(path: Path, rows: list[tuple[str, ...]]) -> list[Finding]:
    pd.DataFrame(rows, columns=["text", "intent", "part"][: len(rows[0])]).to_csv(path / "t.csv", index=False)
    return told(path / "t.csv")


def usual() -> list[tuple[str, str]]:
    return [(f"where is my parcel {word}", "order") for word in WORDS] + [(f"please pay {word} back", "refund") for word in WORDS]


@pytest.mark.parametrize(
    ("rows", "what", "example"),
    [
        ([("hello", "greet")], "fewer than 10 utterances", "greet (1)"),
        ([("Where is my PARCEL alpha?", "refund")], "same utterance in two intents", "order, refund"),
        ([("where is, my parcel alpha", "order")], "same utterance twice", "where is my parcel alpha"),
        ([("  ", "order")], "without text", "order"),
        ([("x " * 1500, "order")], "more than 2,000 characters", "x x x"),
        ([("FW-482913, jo@example.com", "order")], "nothing but numbers", "FW-482913"),
        ([("где моя посылка", "order")], "another script", "посылка"),
        ([("where is it", "Order ")], "differ in case", "Order / order"),
        (
            [("again " + word + other, "refund") for word in WORDS for other in WORDS] + [("money", "refnd")],
            "nearly another",
            "refnd",
        ),
        ([("many " + word + other, "order") for word in WORDS for other in WORDS] + [("hi", "greet")], "hugely unbalanced", ""),
    ],
)
def test_what_is_odd_about_utterances_is_told_with_an_example(
    rows: list[tuple[str, str]], what: str, example: str, tmp_path: Path
) -> None:
    assert not [finding for finding in table(tmp_path, usual()) if finding.severity != "info"]
    found = [finding for finding in table(tmp_path, usual() + rows) if what in finding.what]
    assert len(found) == 1
    assert not example or any(example in one for one in found[0].examples)


def test_leaks_and_gaps_of_given_parts_are_told(tmp_path: Path) -> None:
    rows = [(text, label, "train") for text, label in usual()]
    rows += [("Please pay bravo back!", "refund", "test"), ("good day", "greet", "test"), ("where now", "order", "")]
    found = table(tmp_path, rows)
    assert [finding.examples for finding in found if "of no part" in finding.what] == [["where now"]]
    whats = {finding.what: finding.severity for finding in found}
    assert whats["utterances of test that are also in train"] == "warning"
    assert whats["1 utterances of no part, where 26 have one"] == "warning"
    assert whats["an intent with utterances to judge or choose by, but none to train on"] == "error"


def test_intents_that_say_the_same_are_told_and_those_that_do_not_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Utterances()
    alike = [f"{verb} my {thing} {word}" for verb in ("where is", "track") for thing in ("parcel", "box") for word in WORDS]
    for number, text in enumerate(alike):
        some.add(text, ("order", "tracking")[(number + number // 12) % 2])
    for word in WORDS:
        some.add(f"please pay {word} back", "refund")
    pairs = confusion.pairs(some)
    assert [(pair.one, pair.other) for pair in pairs] == [("order", "tracking")]
    assert pairs[0].share > 0.4  # nothing tells them apart
    assert pairs[0].cosine > confusion.CLOSE
    monkeypatch.setattr(confusion, "CLOSE", 2)
    assert confusion.pairs(some) == pairs
    monkeypatch.setattr(confusion, "SHARE", 2)
    assert confusion.pairs(some) == []


EMAIL = {"type": "email", "ask": "Which address?"}
DESK: dict[str, Any] = {
    "intents.yaml": {
        "intents": {
            "delivery": {"articles": ["delivery"]},
            "send_back": {"form": "send_back"},
            "thanks": {"says": ["You are welcome."]},
            **{name: {"says": ["?"]} for name in content_checks.STEERING},
        }
    },
    "forms.yaml": {
        "forms": {
            "send_back": {
                "slots": {
                    "order_number": {"type": "order_number", "ask": "Which order?"},
                    "email": EMAIL,
                    "item": {"type": "text", "ask": "What?"},
                    "reason": {"type": "choice", "of": ["small", "other"], "words": {"small": ["too small"]}, "ask": "Why?"},
                },
                "confirm": "Shall {item} go back?",
                "action": "create_return",
                "done": "It is {return_number}, valid for {label_days} days.",
                "failed": "There is no {order_number}.",
            }
        }
    },
    "shop.yaml": {"today": "2026-06-15", "return_days": 60, "label_days": 21},
    "out_of_scope.yaml": {"examples": ["zebra quantum"], "unanswered": ["who owns you"]},
    "conversations.yaml": {"conversations": [{"name": "new", "turns": [{"user": "", "expect": {"asks": "email"}}]}]},
    "questions.yaml": {"answerable": [{"question": "How long?", "article": "delivery"}], "unanswerable": ["Why?"]},
}
CARD = {"number": "GC-1", "balance": 1, "valid_until": "2028-12-31"}
INTENTS, FORM, SLOTS = (
    ("intents.yaml", "intents"),
    ("forms.yaml", "forms", "send_back"),
    ("forms.yaml", "forms", "send_back", "slots"),
)


def desk(folder: Path, *steps: str, to: object = None) -> list[Finding]:
    """The findings of a small desk of which one entry is set; None removes it."""
    content = copy.deepcopy(DESK)
    for name, intent in content["intents.yaml"]["intents"].items():
        intent |= {"description": name, "examples": [f"{name} {word}" for word in WORDS]}
    entry: dict[str, Any] = content
    for step in steps[:-1]:
        entry = entry[step]
    if steps and to is None:
        del entry[steps[-1]]
    elif steps:
        entry[steps[-1]] = to
    (folder / "articles").mkdir(parents=True)
    (folder / "articles" / "delivery.md").write_text("---\ntitle: Delivery\nintents: [delivery]\n---\nTwo days.\n")
    for file, value in content.items():
        (folder / file).write_text(yaml.safe_dump(value, sort_keys=False))
    return found(folder)


def found(folder: Path) -> list[Finding]:
    """Without the search for confusion, which takes longer."""
    raw = formats.read(Data(source=str(folder)))
    checks.inspect(raw)
    return raw.faults.findings


@pytest.mark.parametrize(
    ("severity", "what", "change"),
    [
        ("error", "nothing answers the intent 'thanks'", (*INTENTS, "thanks", "says", None)),
        ("warning", "the intent 'thanks' has form and says", (*INTENTS, "thanks", "form", "send_back")),
        ("error", "'thanks' names the article 'delivry', which", (*INTENTS, "thanks", "articles", ["delivry"])),
        ("error", "'thanks' names the form 'sendback', which", (*INTENTS, "thanks", "form", "sendback")),
        ("error", "the intent 'thanks' has no examples", (*INTENTS, "thanks", "examples", [])),
        ("warning", "the intent 'thanks' has no description", (*INTENTS, "thanks", "description", " ")),
        ("warning", "no intent deny", (*INTENTS, "deny", None)),
        ("warning", "no intent uses the form 'send_back'", (*INTENTS, "send_back", None)),
        ("error", "send_back.reason offers no choices", (*SLOTS, "reason", "of", [])),
        ("error", "words for broken, which cannot be chosen", (*SLOTS, "reason", "words", {"broken": ["broken"]})),
        ("warning", "more than one choice: big", (*SLOTS, "reason", "words", {"small": ["big"], "other": ["Big"]})),
        ("error", "needs reason, which the form 'send_back' does not ask for", (*SLOTS, "reason", None)),
        ("warning", "send_back.copy is asked for but never used", (*SLOTS, "copy", EMAIL)),
        ("error", "confirm has {return_number}, which no slot gives", (*FORM, "confirm", "{return_number}?")),
        ("error", "done has {colour}, which no slot or action gives", (*FORM, "done", "{colour} {email}")),
        ("error", "failed has {label_days}, which no slot gives", (*FORM, "failed", "{label_days}")),
        ("error", "ends in the action 'creat_return'", (*FORM, "action", "creat_return")),
        ("error", "ends in the action 'create_return', which neither", ("shop.yaml", None)),
        ("error", "return_days", ("shop.yaml", "return_days", -1)),
        ("error", "{since}", ("shop.yaml", "texts", {"sent": "on {since}"})),
        (
            "error",
            "expects asks: colour, which is not there",
            ("conversations.yaml", "conversations", 0, "turns", 0, "expect", "asks", "colour"),
        ),
        (
            "error",
            "there is no expectation 'ask'",
            ("conversations.yaml", "conversations", 0, "turns", 0, "expect", "ask", "x"),
        ),
        ("error", "answered by the article 'x', which is not", ("questions.yaml", "answerable", 0, "article", "x")),
        ("warning", "judge by that is also taught", ("questions.yaml", "answerable", 0, "question", "Thanks, ALPHA?")),
        ("warning", "judge by that is also taught", ("questions.yaml", "unanswerable", ["Who owns you?"])),
        ("warning", "judge by that is also taught", ("questions.yaml", "tuning", {"unanswerable": ["Who owns you?"]})),
    ],
)
def test_a_dead_end_in_content_is_told_with_its_line(severity: str, what: str, change: tuple[Any, ...], tmp_path: Path) -> None:
    told_of = [finding for finding in desk(tmp_path, *change[:-1], to=change[-1]) if what in finding.what]
    assert [finding.severity for finding in told_of] == [severity]
    assert told_of[0].rows
    assert told_of[0].fix


def test_a_desk_without_mistakes_has_no_findings_and_an_article_alone_has(tmp_path: Path) -> None:
    assert [str(finding) for finding in desk(tmp_path) if "out of scope" not in finding.what] == []
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump({**DESK["shop.yaml"], "gift_cards": [CARD, {**CARD}]}))
    assert any("does not fit together" in finding.what and finding.severity == "error" for finding in found(tmp_path))
    (tmp_path / "articles" / "alone.md").write_text("---\ntitle: Alone\n---\nText.\n")
    asked = "questions:\n  Costs: [How much?]\n  '': [Why?]"
    (tmp_path / "articles" / "asked.md").write_text(
        f"---\ntitle: Asked\nintents: [thanks]\n{asked}\n---\nText.\n\n## Cost\nNone.\n"
    )
    (tmp_path / "articles" / "typo.md").write_text("---\ntitle: Typo\nintents: [delivry]\n---\nText.\n")
    whats = {finding.what: finding for finding in found(tmp_path)}
    assert "the article 'alone' has no intent" in whats
    misplaced = whats["the article 'asked' has questions for the section 'Costs', which is not there"]
    assert (misplaced.severity, misplaced.fix, misplaced.rows) == ("error", "Did you mean 'Cost'?", [5])
    assert whats["the article 'typo' names the intent 'delivry', which is not there"].fix == "Did you mean 'delivery'?"


def test_an_action_of_actions_yaml_is_known_with_what_it_gives(tmp_path: Path) -> None:
    call = {"url": "https://example.com/returns", "gives": ["return_number"]}
    whats = [finding.what for finding in desk(tmp_path, "actions.yaml", to={"actions": {"create_return": call}})]
    assert "send_back.done has {label_days}, which no slot or action gives" in whats
    told_of = call | {"takes": ["order_number", "item", "colour"]}
    whats = [finding.what for finding in desk(tmp_path / "told", "actions.yaml", to={"actions": {"create_return": told_of}})]
    assert "the action 'create_return' needs colour, which the form 'send_back' does not ask for" in whats
    assert "send_back.reason is asked for but never used: no sentence and not the action has it" in whats
    assert not any("send_back.item" in what or "send_back.order_number" in what for what in whats)
    found_of = desk(
        tmp_path / "other", "actions.yaml", to={"actions": {"create_return": {"url": "file:///etc/passwd", "wait": 3}}}
    )
    assert {"actions.create_return.wait: no such entry"} <= {finding.what for finding in found_of}
    assert any("actions.create_return.url" in finding.what for finding in found_of)


def test_a_function_of_actions_yaml_is_known_with_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = "from usecases.chatbot.protocols import Outcome\ndef send_back(parcel: str) -> Outcome: ...\n"
    (tmp_path / "ourreturns.py").write_text(written)
    monkeypatch.syspath_prepend(tmp_path)
    for number, (name, what) in enumerate(
        (
            ("ourreturns:send_back", "the action 'create_return' needs parcel, which the form 'send_back' does not ask for"),
            ("ourreturns:send_bak", "ourreturns:send_bak: ourreturns has no such function (with `def`, not `async def`)"),
            ("nothing", "actions.create_return.function: string should match pattern"),
        )
    ):
        found = desk(tmp_path / str(number), "actions.yaml", to={"actions": {"create_return": {"function": name}}})
        assert [one for one in found if one.what.startswith(what) and one.severity == "error"], [one.what for one in found]


def test_what_the_shop_gives_is_known_of_each_of_its_actions() -> None:
    shop = Shop(yaml.safe_load((sources.own("chatbot") / "shop.yaml").read_text("utf-8")))
    assert set(content_checks.SHOP_GIVES) == set(shop.functions)
