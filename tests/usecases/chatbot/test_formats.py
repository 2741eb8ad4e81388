"""Readers: each layout is told by what is in the files, and every mistake is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from shared.errors import DataError, Finding, UserError
from usecases.chatbot import checks, data, formats
from usecases.chatbot.config import SUPPORT_DESK, ChatConfig, Columns, Data

ROWS = [(f"where is parcel {word}", "order") for word in "abcdef"] + [(f"pay by {word}", "payment") for word in "ghijkl"]
RASA = """\
version: "3.1"
nlu:
- intent: travel
  examples: |
    - to [Berlin](city) please
    - from [Rome]{"entity": "city", "role": "departure"} to [Oslo][{"entity": "city"}, {"entity": "port"}]
    - tomorrow
- lookup: city
  examples: |
    - Berlin
- synonym: bln
  examples: |
    - Berlin
- intent: greet/morning
  examples:
  - text: |
      - good morning
    metadata: {source: us}
  - text: hello
- intent: nlu_fallback
  examples: |
    - blorp
"""


def load(path: Path, **settings: object) -> data.Corpus:
    return data.load(Data(source=str(path), **settings))  # type: ignore[arg-type]


def found(path: Path, severity: str = "error", **settings: object) -> list[Finding]:
    config = ChatConfig(data=Data(source=str(path), **settings))  # type: ignore[arg-type]
    return [finding for finding in checks.check(config) if finding.severity == severity]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "semicolon", "tsv", "parquet", "jsonl", "json"])
def test_a_table_is_read_whatever_its_kind_and_its_columns_are_recognised(kind: str, tmp_path: Path) -> None:
    rows = [('I paid; twice, "really"', "payment"), *ROWS, ("will it rain", "OOS"), ("who are you", "")]
    if kind == "tsv":
        rows[0] = ("I paid twice", "payment")
    table = pd.DataFrame(rows, columns=["Utterance", "intent"])
    path = tmp_path / f"table.{'csv' if kind == 'semicolon' else kind}"
    if kind in ("csv", "semicolon", "tsv"):
        table.to_csv(path, index=False, sep={"csv": ",", "semicolon": ";", "tsv": "\t"}[kind])
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=kind == "jsonl")
    corpus = load(path)
    assert list(zip(corpus.texts, corpus.labels, strict=True)) == [*rows[:-2], ("will it rain", ""), ("who are you", "")]


def test_columns_parts_and_labels_out_of_scope_are_as_configured(tmp_path: Path) -> None:
    rows = [*ROWS, ("hi f", "greet")]
    table = pd.DataFrame([(text, label, "x", "dev" if text == "where is parcel f" else "train") for text, label in rows])
    table.columns = ["what", "topic", "label", "split"]
    table.to_csv(tmp_path / "t.csv", index=False)
    corpus = load(tmp_path / "t.csv", columns=Columns(text="what", label="topic"), out_of_scope=("payment",))
    assert corpus.labels == ["order"] * 6 + [""] * 6 + ["greet"]
    assert corpus.parts[4:6] == ["train", "validation"]
    with pytest.raises(DataError, match=r"no column 'topik'.*what, topic"):
        load(tmp_path / "t.csv", columns=Columns(text="what", label="topik"))


def test_bitext_takes_instruction_and_intent_and_writes_values_for_placeholders(tmp_path: Path) -> None:
    table = pd.DataFrame(
        [("B", f"{text} {{{{Order Number}}}} of {{{{Account Type}}}}", "X", label, "r") for text, label in ROWS],
        columns=["flags", "instruction", "category", "intent", "response"],
    )
    table.to_csv(tmp_path / "b.csv", index=False)
    corpus = load(tmp_path / "b.csv")
    assert corpus.texts[0] == "where is parcel a 4711 of account type"
    assert corpus.intents == ("order", "payment")
    assert any("24 placeholders" in finding.what for finding in corpus.findings)


def test_clinc_is_read_from_its_file_or_folder_with_its_parts(tmp_path: Path) -> None:
    parts = {"train": ROWS, "val": ROWS[:1], "test": ROWS[-1:], "oos_train": [("rain?", "oos")], "oos_test": [("x y", "what")]}
    path = write(tmp_path / "clinc" / "data_full.json", json.dumps(parts))
    corpus = load(path)
    assert corpus.labels[-2:] == ["", ""]
    assert corpus.parts == ["train"] * 12 + ["validation", "test", "train", "test"]
    assert load(path.parent).texts == corpus.texts
    write(path, json.dumps({**parts, "val": [["alone"]]}))
    assert [str(finding.rows) for finding in found(path)] == ["[1]"]


def test_rasa_is_read_without_annotations_from_a_file_or_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "data" / "nlu.yml", RASA)
    write(tmp_path / "domain.yml", "intents: [travel]\n")
    corpus = load(tmp_path)
    assert corpus.texts == ["to Berlin please", "from Rome to Oslo", "tomorrow", "good morning", "hello", "blorp"]
    assert corpus.labels == ["travel"] * 3 + ["greet/morning"] * 2 + [""]
    assert load(tmp_path / "data" / "nlu.yml").texts == corpus.texts
    assert {f.what for f in corpus.findings if f.severity == "info" and "kind" in f.what} == {
        "an entry of kind lookup",
        "an entry of kind synonym",
    }
    raw = formats.read(Data(source=str(tmp_path)))
    lines = RASA.splitlines()
    assert "tomorrow" in lines[raw.utterances.rows[2] - 1]


def test_a_folder_with_train_and_test_tables_does_not_mix_in_others(tmp_path: Path) -> None:
    for name, some in (("train.csv", ROWS), ("train_5.csv", ROWS[:3]), ("test.csv", [("pay now", "payment")])):
        pd.DataFrame(some, columns=["text", "category"]).to_csv(tmp_path / name, index=False)
    corpus = load(tmp_path)
    assert corpus.parts == ["test"] + ["train"] * 12
    assert any(finding.examples == ["train_5.csv"] for finding in corpus.findings)


def test_what_yaml_takes_for_values_is_what_the_customer_wrote(tmp_path: Path) -> None:
    text = "intents:\n  a: {says: [yes], examples: [no, on, 12:30, 2026-06-15, 1_000, 0x1F, .5, true]}\n"
    write(tmp_path / "intents.yaml", text + "  b: {hands_over: yes, description: off, examples: [x]}\n")
    corpus = load(tmp_path)
    assert corpus.texts[:8] == ["no", "on", "12:30", "2026-06-15", "1_000", "0x1F", ".5", "true"]
    assert corpus.desk is not None
    assert corpus.desk.intents["b"].hands_over is True
    assert corpus.desk.intents["b"].description == "off"


def test_mistakes_of_all_tables_of_a_folder_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "colour,intent\nred,a\n")
    write(tmp_path / "test.csv", "text,size\nred,a\n")
    with pytest.raises(DataError) as raised:
        load(tmp_path)
    assert {finding.where for finding in raised.value.findings} == {str(tmp_path / "train.csv"), str(tmp_path / "test.csv")}


def test_the_support_desk_comes_with_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = data.load(Data())
    assert corpus.desk is not None
    assert corpus.shop is not None
    assert len(corpus.intents) >= 46
    assert corpus.describe()["name"] == SUPPORT_DESK
    assert corpus.describe() == data.load(Data()).describe()
    assert not [finding for finding in corpus.findings if finding.severity != "info"]


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        ("intents.yaml", "intents:\n  a:\n    says: [x]\n    examples: [a: b: c]\n", 4, "no valid YAML"),
        ("intents.yaml", "intents:\n  a:\n    says: [x]\n    exampels: [b]\n", 4, "intents.a.exampels: no such entry"),
        ("intents.yaml", "intents:\n  a: {says: [x]}\n  b: {says: [x]}\n  a: {says: [y]}\n", 4, "there twice"),
        ("intents.yaml", "intents:\n  a: &x {says: [x]}\n  b: *x\n", 3, "an alias"),
        ("intents.yaml", "intents:\n  a:\n    examples:\n    - ok\n    -\n", 5, "valid string"),
        ("intents.yaml", "intents: " + "[" * 100_000, 1, "levels deep"),
        ("intents.yaml", "- a\n- b\n", 0, "no `key: value` pairs"),
        ("intents.yaml", "", 0, "empty"),
        ("articles/a.md", "just text\n", 0, "no front matter"),
        ("articles/a.md", "---\ntitle: T\nintents: x\n---\ntext\n", 3, "valid list"),
        ("forms.yaml", "forms:\n  f:\n    action: a\n    slots:\n      s: {type: nuber, ask: q}\n", 5, "slots.s.type"),
        ("conversations.yaml", "conversations:\n- name: x\n  turns:\n  - {user: hi}\n", 4, "expect: field required"),
        ("actions.yaml", "look_up: {url: x}\n", 0, "no actions"),
    ],
)
def test_a_mistake_in_a_content_folder_is_named_with_its_line(file: str, text: str, line: int, said: str, tmp_path: Path) -> None:
    write(tmp_path / "intents.yaml", "intents:\n  a: {says: [x], examples: [y]}\n")
    path = write(tmp_path / file, text)
    findings = [finding for finding in found(tmp_path) if said in finding.what]
    assert [(finding.where, list(finding.rows)) for finding in findings] == [(str(path), [line] if line else [])]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"text,label\n"),
        ("other.csv", b"colour,size\nred,1\nblue,2\n"),
        ("noise.bin", bytes(range(256)) * 20),
        ("noise.csv", bytes(range(256)) * 20),
        ("noise.json", bytes(range(256)) * 20),
        ("noise.yml", b"nlu:" + bytes(range(256)) * 20),
        ("text.txt", b"nothing to see here\n" * 5),
        ("records.jsonl", b'{"a": 1}\nnot json\n'),
        ("deep.json", b"[" * 100_000),
        ("half.json", b'[{"text": "\\ud800", "label": "\\udfff"}, {"text": "a", "label": "b"}]'),
        ("one.csv", b"text,label\nhello,greet\n"),
        ("nlu.yml", b"nlu: 5\n"),
        ("domain.yml", b"intents: [a]\n"),
        ("data.json", b'{"train": [["a", "b"], 3]}'),
    ],
)
def test_hostile_files_give_findings_and_no_traceback(file: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    findings = found(path)
    assert findings or file == "half.json"
    assert all(finding.what and finding.where and finding.fix for finding in findings)
    if findings:
        with pytest.raises(UserError):
            load(path)
    assert found(tmp_path) or file == "half.json"  # the folder that holds nothing but it
