from __future__ import annotations

import pytest

from usecases import printing


def method(value: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name in ("card_precision@100", "average_precision")}


def test_every_method_is_shown_best_first_after_the_model_and_what_the_alerts_are_worth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metrics = {
        "headline": "average_precision", "name": "ours", "model": method(0.4), "baselines": {"simple": method(0.3)},
        "parts": {"a network": method(0.35)}, "decisions": "Alerts: 7 a day.", "notice": "No toy.", "protocol": "by time",
    }  # fmt: skip
    printing.show_metrics(metrics)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    heads, rows = [line.split() for line in lines[1:4]], [line for line in lines if "0." in line]
    assert heads == [["card"], ["precision", "average"], ["@100", "precision"]]
    assert [row.split("  ")[0] for row in rows] == ["ours", "a network", "simple"]
    assert lines[-5:] == ["Alerts: 7 a day.", "", "No toy.", "", "By time."]


def test_only_the_headline_s_list_length_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    model = {"ndcg@10": {"value": 0.5}, "ndcg@20": {"value": 0.625}}
    printing.show_metrics({"headline": "ndcg@10", "name": "ours", "model": model, "baselines": {}, "protocol": "by time"})
    said = capsys.readouterr().out
    assert ("0.5000" in said, "0.6250" in said) == (True, False)


def test_a_long_value_does_not_push_out_what_it_is_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    printing.table([{"": "cases", "value": "29"}, {"": "notice", "value": "a notice that is longer than the line " * 3}])
    said = capsys.readouterr().out
    assert "cases" in said
    assert "notice  a notice" in said.replace(" ┃", "")


def test_what_is_in_brackets_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table([{"key": "data.classes", "value": "[ok, crack]"}])
    assert "[ok, crack]" in capsys.readouterr().out
