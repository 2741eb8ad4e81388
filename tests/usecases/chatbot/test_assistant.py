"""From a content folder to an assistant that answers: trained from nothing, saved, loaded, asked, replayed."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from shared.config import resolve
from shared.errors import UserError
from shared.runs import Run
from shared.serving.service import Services
from shared.serving.settings import ServeSettings
from usecases.chatbot import USECASE, pipeline, predictor, rehearsal, report, tester, tools
from usecases.chatbot.actions import HttpActions
from usecases.chatbot.answers import ChatRequest
from usecases.chatbot.config import ChatConfig, Judging
from usecases.chatbot.memory import Memory
from usecases.chatbot.messages import Reader, Reading
from usecases.chatbot.predictor import Chatbot
from usecases.chatbot.protocols import Outcome
from usecases.chatbot.state import Reply, State, signed, verified
from usecases.cli import app

FRAMES = (
    "{}", "please {}", "hi, {}", "{} please", "hello can you {}", "{} now", "I would like to know: {}", "{} thanks", "so {}",
    "well, {}", "ok {}", "and {}",
)  # fmt: skip
WANTS = {"opening_hours": "when are you open", "parcel": "where is my parcel", "greeting": "good morning everybody"}
SETTINGS = ["understanding.network=lstm", "understanding.members=1", "understanding.steps=60", "understanding.dim=32"]


def content(folder: Path, service: str = "http://127.0.0.1:9") -> Path:
    """Three intents: an article, a form, small talk. `service`: what forms would call."""
    answered = {
        "opening_hours": {"articles": ["hours"]},
        "parcel": {"form": "parcel"},
        "greeting": {"says": ["Hello, how can I help?"]},
    }
    intents = {
        name: {"description": name, **answered[name], "examples": [frame.format(words) for frame in FRAMES]}
        for name, words in WANTS.items()
    }
    intents["parcel"]["examples"] += [f"{text} FW-482913, jo@example.com" for text in intents["parcel"]["examples"]]
    slots = {"order_number": {"type": "order_number", "ask": "Which order?"}, "email": {"type": "email", "ask": "Which e-mail?"}}
    form = {"slots": slots, "confirm": None, "action": "look_up_order", "done": "It is {status}.", "failed": "There is none."}
    turns = [
        {"user": "where is my parcel", "expect": {"asks": "order_number"}},
        {"user": "FW-482913", "expect": {"asks": "email"}},
    ]
    (folder / "articles").mkdir(parents=True)
    files: dict[str, Any] = {
        "intents.yaml": {"intents": intents},
        "forms.yaml": {"forms": {"parcel": form}},
        "actions.yaml": {"actions": {"look_up_order": {"url": f"{service}/orders", "retries": 0}}},
        "out_of_scope.yaml": {"examples": [f"{word} zebra quantum" for word in "abcdefghijkl"]},
        "conversations.yaml": {
            "conversations": [
                {"name": "form: asks in turn", "part": "held_out", "turns": turns},
                {"name": "form: wrong on purpose", "part": "tuning", "turns": [{**turns[0], "expect": {"asks": "email"}}]},
            ]
        },
    }
    for name, value in files.items():
        (folder / name).write_text(yaml.safe_dump(value, sort_keys=False))
    (folder / "articles" / "hours.md").write_text("---\ntitle: When we are open\n---\nWe are open from 9 to 5.\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("chatbot")
    calls: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.path)
            self.send_error(500)

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        desk = content(home / "desk", f"http://127.0.0.1:{server.server_port}")
        config = resolve(ChatConfig, [], [f"data.source={desk}", *SETTINGS])
        current = Run.create("chatbot", config, home / "run")
        pipeline.train(config, current)
        current.finish()
        server.shutdown()
    assert calls == []  # training acts on nobody's orders
    return home / "run"


@pytest.fixture(scope="module")
def chatbot(run: Path) -> Chatbot:
    return Chatbot.load(run / "artifact")


def bare(chatbot: Chatbot) -> list[dict[str, Any]]:
    """What a number alone leads to in a new conversation: tiny models differ in it."""
    (new,) = chatbot.predict([ChatRequest(message="FW-482913")])
    return new.events


def test_it_answers_with_its_source_and_asks_for_what_is_missing(chatbot: Chatbot) -> None:
    hours, parcel, nonsense = chatbot.predict(
        [ChatRequest(message=text) for text in ("hi, when are you open", "where is my parcel FW-482913", "zebra quantum")]
    )
    assert hours.intents[0].intent == "opening_hours"
    assert (hours.events, hours.sources[0].text) == ([{"answers": "hours"}], "We are open from 9 to 5.")
    assert parcel.events == [{"asks": "email"}]
    assert [(one.type, one.value) for one in parcel.entities] == [("order_number", "FW-482913")]
    assert nonsense.events == [{"falls_back": 1}]
    assert not nonsense.understood


def test_a_conversation_goes_on_from_its_state_and_no_other(chatbot: Chatbot) -> None:
    (first,) = chatbot.predict([ChatRequest(message="where is my parcel")])
    (second,) = chatbot.predict([ChatRequest(message="FW-482913", state=json.loads(json.dumps(first.state)))])
    assert (first.events, second.events) == ([{"asks": "order_number"}], [{"asks": "email"}])


def test_a_state_is_taken_from_the_model_that_gave_it_and_as_it_was(chatbot: Chatbot, run: Path) -> None:
    (first,) = chatbot.predict([ChatRequest(message="where is my parcel")])
    assert first.state
    (second,) = Chatbot.load(run / "artifact").predict([ChatRequest(message="FW-482913", state=first.state)])  # a restart
    assert second.events == [{"asks": "email"}]
    unsigned = {name: value for name, value in first.state.items() if name != "signature"}
    changes: list[dict[str, Any]] = [{"form": 7}, {"options": ["nothing"]}, {"slots": {"order_number": "FW-481702"}}]
    changes += [{"confirming": True}, {"tried": ["a supervisor agreed: done"]}, {"slots": {"amount": 1e999}}, {"signature": "é"}]
    for wrong in (unsigned, {}, *(first.state | change for change in changes)):
        with pytest.raises(UserError, match="record 1, state"):
            chatbot.predict([ChatRequest(message="FW-482913", state=wrong)])


def test_messages_of_several_clients_are_answered_together_as_by_themselves_and_one_bad_state_fails_alone(
    chatbot: Chatbot,
) -> None:
    asked = [ChatRequest(message=text) for text in ("hi, when are you open", "where is my parcel FW-482913", "", "zebra quantum")]
    bad = ChatRequest(message="FW-482913", state={"form": "nowhere"})
    chatbot = chatbot.rehearsing()
    first, failed, *rest = chatbot.predict_groups([asked[:1], [asked[1], bad], asked[1:2], asked[2:]])
    assert isinstance(failed, UserError)
    assert "record 2, state" in str(failed)
    together = [first[0], rest[0][0], *rest[1]]
    for answer, request in zip(together, asked, strict=True):
        (alone,) = chatbot.predict([request])
        assert answer.state
        assert alone.state
        random = {name: alone.state[name] for name in ("conversation", "signature")}
        assert (answer.reply, answer.events, answer.state | random) == (alone.reply, alone.events, alone.state)
        assert [one.intent for one in answer.intents[:1]] == [one.intent for one in alone.intents[:1]]


def test_nobody_waits_for_the_service_that_anothers_form_calls(chatbot: Chatbot, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def slow(name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        assert answered.wait(30)
        return Outcome(True, {"status": "sent", "status_text": ""})

    assistant = replace(chatbot.assistant, services={"look_up_order": {"url": "https://example.com", "returns": ["status"]}})
    monkeypatch.setattr(type(assistant), "actions", lambda self: slow)
    asked = "where is my parcel FW-482913, jo@example.com"
    acting, other = Chatbot(assistant).predict_groups([[ChatRequest(message=asked)], [ChatRequest(message="when are you open")]])
    assert isinstance(acting, Future)
    assert isinstance(other, Future)
    assert other.result(30)[0].reply
    assert not acting.done()
    answered.set()
    assert acting.result(30)[0].events[0]["does"] == "look_up_order"


def test_a_service_goes_on_with_conversations_by_their_names(chatbot: Chatbot, run: Path, tmp_path: Path) -> None:
    def answered(message: str, name: str) -> tuple[list[dict[str, Any]], Any]:
        keeping = Chatbot.load(run / "artifact").keeping(Memory(tmp_path / "kept.sqlite"))  # each time as after a restart
        (response,) = keeping.predict([ChatRequest(message=message, conversation=name)])
        return response.events, response.state

    assert answered("where is my parcel", "one") == ([{"asks": "order_number"}], None)
    assert answered("FW-482913", "two") == (bare(chatbot), None)
    assert answered("FW-482913", "one") == ([{"asks": "email"}], None)
    request = ChatRequest(message="hi", conversation="one")
    memory = Memory(tmp_path / "kept.sqlite")
    with memory.claimed("one"), pytest.raises(UserError, match="record 1, conversation: a message of it is being answered"):
        chatbot.keeping(memory).predict([request])
    with pytest.raises(UserError, match="record 2, conversation: none are kept"):
        chatbot.predict([ChatRequest(message="hi"), request])
    with pytest.raises(ValidationError, match="not both"):
        ChatRequest(message="hi", state={}, conversation="one")


def test_a_server_that_keeps_something_keeps_conversations(run: Path, tmp_path: Path) -> None:
    for message, event in (("where is my parcel", "order_number"), ("FW-482913", "email")):  # each after a restart
        services = Services({"chatbot": lambda: USECASE}, {"chatbot": run}, ServeSettings(keep=tmp_path))
        services.start().join()
        (response,) = services["chatbot"].predict_now([ChatRequest(message=message, conversation="one")])
        assert (response.events, response.state) == ([{"asks": event}], None)
        services.close()


def test_of_several_records_one_at_most_names_a_conversation(chatbot: Chatbot, tmp_path: Path) -> None:
    """A turn that is done would be lost with the next one's failure."""
    memory = Memory(tmp_path / "kept.sqlite")
    asked = [ChatRequest(message="hi", conversation=name) for name in ("one", "two")]
    with pytest.raises(UserError, match=r"record 2, conversation: .*send each by itself"):
        chatbot.keeping(memory).predict(asked)
    assert memory.conversations() == []  # nothing was done
    together = chatbot.rehearsing().keeping(memory).predict_groups([[ChatRequest(message="hi"), asked[0]], asked[1:]])
    assert [len(answer) for answer in together if isinstance(answer, list)] == [2, 1]
    assert len(memory.conversations()) == 2


@pytest.mark.parametrize("other", [torch.bfloat16, torch.float64])
def test_states_are_signed_alike_whatever_a_host_keeps_weights_in(chatbot: Chatbot, other: torch.dtype) -> None:
    def key(dtype: torch.dtype) -> bytes:
        tensors = {"w": torch.linspace(-1, 1, 50).bfloat16().to(dtype), "n": torch.arange(5)}
        assistant = replace(chatbot.assistant)
        assistant.parts = lambda: (tensors, {})  # type: ignore[method-assign]
        return assistant.key

    assert key(other) == key(torch.float32)


def test_a_signature_holds_where_a_client_writes_numbers_in_its_way() -> None:
    state = signed(State(form="refund", slots={"amount": 20.0, "sure": True}), b"key")
    through = json.loads(json.dumps(state).replace("20.0", "20"))
    assert verified(through, b"key") == State(form="refund", slots={"amount": 20.0, "sure": True})
    with pytest.raises(ValueError, match="signature"):
        verified(state, b"another")


def test_a_companys_own_function_is_an_action(chatbot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ourorders.py").write_text(
        "from usecases.chatbot.protocols import Outcome\n"
        "def look_up(order_number: str, email: str) -> Outcome:\n    return Outcome(True, {'status': 'in ' + order_number})\n"
    )
    services = {"look_up_order": {"function": "ourorders:look_up"}}
    request = ChatRequest(message="where is my parcel FW-482913, jo@example.com")
    with pytest.raises(UserError, match="PYTHONPATH"):
        Chatbot(replace(chatbot.assistant, services=services)).predict([request])
    monkeypatch.syspath_prepend(tmp_path)
    (response,) = Chatbot(replace(chatbot.assistant, services=services)).predict([request])
    assert response.reply == "It is in FW-482913."


def test_a_record_of_the_command_line_acts_on_the_services_only_where_it_is_asked_to(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted: list[str] = []

    def service(self: HttpActions, name: str, slots: dict[str, Any], key: str = "") -> Outcome:
        acted.append(name)
        return Outcome(True, {"status": "sent"})

    monkeypatch.setattr(HttpActions, "__call__", service)
    record = json.dumps({"message": "where is my parcel FW-482913, jo@example.com"})
    for options, calls in (([], 0), (["act=false"], 0), (["act=true"], 1)):
        done = CliRunner().invoke(app, ["predict", str(run), record, *options])
        assert done.exit_code == 0
        assert len(acted) == calls


def test_a_file_of_conversations_becomes_a_table(chatbot: Chatbot, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text,session\nwhere is my parcel,a\nwhen are you open,b\nFW-482913,a\nFW-482913,\n,b\n")
    summary = chatbot.process(source, out, {}, lambda done: None)
    rows = pd.read_csv(out)
    events = [json.loads(text) for text in rows["events"]]
    assert [events[0], events[1], events[2]] == [[{"asks": "order_number"}], [{"answers": "hours"}], [{"asks": "email"}]]
    assert events[3] == bare(chatbot)  # of no conversation
    assert rows["articles"].tolist()[1] == "hours"
    assert summary["messages"] == 5
    faster = chatbot.process(source, tmp_path / "intents.parquet", {"replies": False}, lambda done: None)
    assert faster["messages"] == 5
    assert pd.read_parquet(tmp_path / "intents.parquet")["intent"].tolist()[:2] == ["parcel", "opening_hours"]
    with pytest.raises(UserError, match="replies"):
        chatbot.process(source, out, {"reply": False}, lambda done: None)


def test_of_too_many_conversations_the_one_longest_silent_is_forgotten_and_that_is_told(
    chatbot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "OPEN", 2)
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    asked = "".join(f"where is my parcel,{name}\n" for name in "abac")  # b is forgotten, as a has spoken since
    source.write_text(f"text,session\n{asked}FW-482913,a\nFW-482913,b\n")
    summary = chatbot.process(source, out, {}, lambda done: None)
    *_, kept, lost = (json.loads(text) for text in pd.read_csv(out)["events"])
    assert {"asks": "email"} in kept
    assert lost == bare(chatbot)
    assert summary["conversations forgotten"] == 2


def test_a_conversation_of_a_file_that_has_ended_begins_anew(chatbot: Chatbot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reply, "ended", property(lambda self: self.state.messages[-1].startswith("hi")))
    talks = predictor._Conversations(chatbot, chatbot.assistant.rehearsal())
    talks(["where is my parcel", "hi, when are you open", "FW-482913", "where is my parcel", "FW-482913"], ["a"] * 3 + ["b"] * 2)
    assert {name: state.messages for name, state in talks.states.items()} == {
        "a": ["FW-482913"],
        "b": ["where is my parcel", "FW-482913"],
    }


@pytest.mark.parametrize("replies", [True, False])
def test_a_block_of_a_file_is_read_at_once(
    chatbot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replies: bool
) -> None:
    blocks: list[int] = []
    read = Reader.read

    def counted(self: Reader, messages: Sequence[str]) -> list[Reading]:
        blocks.append(len(messages))
        return read(self, messages)

    monkeypatch.setattr(Reader, "read", counted)
    (tmp_path / "in.txt").write_text("where is my parcel\nhi\nzebra\n")
    chatbot.process(tmp_path / "in.txt", tmp_path / "out.csv", {"replies": replies}, lambda done: None)
    assert blocks == [3]


def test_scripts_are_replayed_and_what_differs_is_told(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    scripts = run.parent / "desk" / "conversations.yaml"
    with pytest.raises(UserError, match="1 of 2 conversations"):
        tools.test(scripts, tmp_path / "report.txt", {"run": str(run)}, said.append)
    assert "wrong on purpose" in said[0]
    assert (tmp_path / "report.txt").read_text() == said[0] + "\n"
    assert tools.test(scripts, None, {"run": str(run), "part": "held_out"}, said.append) == {"conversations": 1, "passed": 1}


def test_the_run_tells_of_messages_and_conversations(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["model"]["accuracy"]["value"] > 0.8
    assert metrics["conversations"]["held_out"]["went"] == 1
    assert metrics["conversations"]["tuning"]["went"] == 0
    assert "wrong on purpose" not in (run / "report.html").read_text()  # differences of the held-out part alone are listed


def test_where_not_all_conversations_are_replayed_the_report_says_so(chatbot: Chatbot, run: Path) -> None:
    first, other = tester.load_scripts(run.parent / "desk" / "conversations.yaml")
    corpus: Any = SimpleNamespace(scripts=[first, other, first, other, first])
    third = chatbot.assistant.config.model_copy(update={"judging": Judging(every=3)})
    for config, scripts, few in ((third, (1, 1), True), (chatbot.assistant.config, (3, 2), False)):
        told = rehearsal.conversations(corpus, replace(chatbot.assistant, config=config), lambda line: None)
        assert told
        assert (told["held_out"]["scripts"], told["tuning"]["scripts"]) == scripts
        section = report._conversations({"conversations": told})
        assert section
        assert ("Only 2 of the 5 scripts" in section.text) == few


def test_the_terminal_keeps_what_was_said_without_what_is_personal(
    chatbot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["where is my parcel", "FW-482913, jo@example.com"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines, None) or (_ for _ in ()).throw(EOFError))
    chatbot.converse(tmp_path / "kept.sqlite", "one")
    assert "Which order?" in capsys.readouterr().out
    kept = sqlite3.connect(tmp_path / "kept.sqlite").execute("SELECT message FROM turns ORDER BY number").fetchall()
    assert len(kept) == 2
    assert "jo@example.com" not in str(kept)


def test_other_data_is_judged_if_its_intents_are_known(chatbot: Chatbot, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"so please {words},{name}\n" for name, words in WANTS.items()) * 4)
    judged = pipeline.evaluate(chatbot, resolve(ChatConfig, [], [f"data.source={other}"]))
    assert judged["model"]["accuracy"]["value"] == 1
    other.write_text("text,label\n" + "what about it,returns\nwhere is it,parcel\n" * 6)
    with pytest.raises(UserError, match="does not know: returns"):
        pipeline.evaluate(chatbot, resolve(ChatConfig, [], [f"data.source={other}"]))


def test_labelled_messages_alone_make_a_classifier_that_says_nothing(tmp_path: Path) -> None:
    table = tmp_path / "labelled.csv"
    rows = "".join(f'"{frame.format(words)}",{name}\n' for name, words in WANTS.items() for frame in FRAMES)
    table.write_text("text,label\n" + rows)
    config = resolve(ChatConfig, [], [f"data.source={table}", *SETTINGS])
    current = Run.create("chatbot", config, tmp_path / "run")
    pipeline.train(config, current)
    model = Chatbot.load(current.artifact_dir)
    (told,) = model.predict([ChatRequest(message="hi, when are you open")])
    assert (told.intents[0].intent, told.reply, told.state) == ("opening_hours", "", None)
    assert model.process(table, tmp_path / "out.csv", {}, lambda done: None)["messages"] == len(WANTS) * len(FRAMES)
    with pytest.raises(UserError, match="nothing to say"):
        model.converse(tmp_path / "kept.sqlite", "")
    with pytest.raises(UserError, match="none are kept"):
        model.predict([ChatRequest(message="hi", conversation="one")])
