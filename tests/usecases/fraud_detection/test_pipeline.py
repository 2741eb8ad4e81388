from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from shared.config import resolve
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.fraud_detection.conftest import TINY, run_on
from usecases.fraud_detection.answers import TransactionRequest as Request
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.pipeline import evaluate, train
from usecases.fraud_detection.predictor import FraudDetector

FILES = {
    "config.yaml", "run.json", "artifact", "metrics.json", "predictions.parquet", "events.jsonl", "checkpoints", "report.html",
    "model_card.md",
}  # fmt: skip
NEW = "2025-02-20"  # the last ten of the record's sixty days begin here


def metrics_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "metrics.json").read_text())
    return found


def settings_of(run: Run, *overrides: str) -> FraudConfig:
    return resolve(FraudConfig, [run.folder / "config.yaml"], overrides)


def numbers(table: dict[str, Any]) -> list[float]:
    return [number[key] for number in table.values() for key in ("low", "value", "high")]


def test_the_metrics_are_complete(run: Run) -> None:
    metrics = metrics_of(run)
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert {
        "usecase", "headline", "model", "baselines", "parts", "differences", "operating", "calibration", "slices", "conclusion",
        "data", "data_findings", "protocol", "split", "seed", "choice", "costs", "timing", "hardware", "best_baseline",
    } <= set(metrics)  # fmt: skip
    assert set(metrics["timing"]) >= {"train_s", "features_s", "rows_per_s", "latency_ms_p50", "latency_ms_p99"}
    tables = [metrics["model"], *metrics["baselines"].values(), *metrics["parts"].values()]
    assert len(tables) >= 3
    for table in tables:
        assert set(table) == {
            "roc_auc",
            "average_precision",
            "recall@fpr0.001",
            "recall@fpr0.01",
            "card_precision@100",
            "saved_share",
        }
        assert all(low <= value <= high for low, value, high in zip(*[iter(numbers(table))] * 3, strict=True))
    assert metrics["intervals"] == "95%, bootstrap over accounts; of card precision Student's t over the 14 days"
    assert metrics["intervals"] in html.unescape((run.folder / "report.html").read_text())
    for difference in metrics["differences"].values():
        assert np.isfinite(numbers(difference)).all()
    assert metrics["model"]["roc_auc"]["value"] > 0.8
    assert metrics["best_baseline"] in metrics["conclusion"]
    assert any(row["slice"].startswith("fraud: ") for row in metrics["slices"])


def test_the_predictions_bear_the_metrics_out(run: Run) -> None:
    metrics, table = metrics_of(run), pd.read_parquet(run.folder / "predictions.parquet")
    labels = table["label"].to_numpy()
    for name, metric in (("average_precision", average_precision_score), ("roc_auc", roc_auc_score)):
        assert metrics["model"][name]["value"] == pytest.approx(metric(labels, table["score"]), abs=1e-4)
    assert (np.diff(table["expected_loss"]) <= 0).all()
    costs, operating = metrics["costs"], metrics["operating"]
    loss = costs["loss_share"] * table["amount"] + costs["loss_fixed"]
    np.testing.assert_allclose(table["expected_loss"], table["score"] * loss, rtol=1e-9)
    assert (table["alert"] == (table["expected_loss"] >= operating["threshold"])).all()
    assert operating["precision"] == pytest.approx(labels[table["alert"]].mean(), abs=1e-4)
    assert operating["recall"] == pytest.approx(table["alert"][labels == 1].mean(), abs=1e-4)
    days = (table["time"] - table["time"].min().normalize()).dt.days.max() + 1
    assert operating["alerts_per_day"] == pytest.approx(table["alert"].sum() / days, abs=0.06)
    assert metrics["calibration"]["predicted_rate"] == pytest.approx(table["score"].mean(), abs=1e-5)
    assert 0.3 < table["score"].mean() / labels.mean() < 3
    assert (
        f"from an expected loss of {operating['threshold']:,.2f} on: {operating['alerts_per_day']:,.1f} a day"
        in metrics["decisions"]
    )
    assert f"save {operating['bill']['saved']:,.0f}" in metrics["decisions"]


def test_evaluating_again_gives_the_same_numbers(run: Run, detector: FraudDetector) -> None:
    again, metrics = evaluate(detector, settings_of(run)), metrics_of(run)
    for name in ("average_precision", "roc_auc", "saved_share"):
        assert again["model"][name]["value"] == pytest.approx(metrics["model"][name]["value"], abs=1e-6)
    assert again["operating"]["threshold"] == metrics["operating"]["threshold"]
    assert again["protocol"] == metrics["protocol"]
    with pytest.raises(UserError, match="own training days"):
        evaluate(detector, settings_of(run, "split.test_days=24"))
    with pytest.raises(UserError, match="judged as it is"):
        evaluate(detector, settings_of(run, "costs.alert=9"))


def test_with_another_delay_the_data_is_still_the_same(run: Run, detector: FraudDetector) -> None:
    with pytest.raises(UserError, match="own training days"):
        evaluate(detector, settings_of(run, "data.label_delay_days=3", "split.test_days=30"))


@pytest.fixture(scope="module")
def earlier(record: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on all but the last ten days of the record."""
    members = "model.members=[logistic, boosting]"
    return run_on(record[record["time"] < NEW], tmp_path_factory.mktemp("earlier"), [members, "split.train_days=20"])


def judged(run: Run, table: pd.DataFrame, folder: Path, *overrides: str) -> dict[str, Any]:
    table.to_csv(folder / "other.csv", index=False)
    detector = FraudDetector.load(run.artifact_dir)
    return evaluate(detector, settings_of(run, f"data.source={folder / 'other.csv'}", *overrides))


def test_new_data_is_judged_whole_beside_the_rival(earlier: Run, record: pd.DataFrame, tmp_path: Path) -> None:
    new = record[record["time"] >= NEW]
    alone = judged(earlier, new, tmp_path)
    assert f"from {NEW} for 10 days" in alone["protocol"]
    assert alone["model"].keys() == metrics_of(earlier)["model"].keys()
    assert list(alone["baselines"]) == [metrics_of(earlier)["best_baseline"]]
    assert alone["model"]["roc_auc"]["value"] > 0.8
    kept = judged(earlier, new, tmp_path, "split.known_accounts=keep")
    assert f"judged on {len(new):,} transactions" in kept["protocol"]
    assert "already known as compromised" in alone["protocol"]
    with_past = judged(earlier, record, tmp_path, "split.test_days=10")
    assert {**with_past, "data": 0} == {**alone, "data": 0}  # the memory in the artefact stands for the table's past


def test_other_data_is_judged_from_when_the_model_could_be_used(earlier: Run, record: pd.DataFrame, tmp_path: Path) -> None:
    end = pd.Timestamp(FraudDetector.load(earlier.artifact_dir).detector.learnt_days[1], unit="ms").ceil("D")
    assert f"from {end + pd.Timedelta(days=7):%Y-%m-%d} for " in judged(earlier, record, tmp_path)["protocol"]
    with pytest.raises(DataError, match=r"0 can be judged.* learnt from the days before"):
        judged(earlier, record[record["time"] < end], tmp_path)
    with pytest.raises(UserError, match="only test_days and known_accounts"):
        judged(earlier, record, tmp_path, "split.train_days=9")
    with pytest.raises(UserError, match="no fraud among its labels"):
        judged(earlier, record[record["label"] == 0], tmp_path)


@pytest.fixture(scope="module")
def bare(record: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained without labels."""
    return run_on(
        record.drop(columns=["label", "scenario", "device"]),
        tmp_path_factory.mktemp("bare"),
        ["model.anomaly.training.epochs=10"],
    )


def test_without_labels_there_is_an_anomaly_model(bare: Run) -> None:
    metrics = metrics_of(bare)
    assert {path.name for path in bare.folder.iterdir()} == FILES
    assert metrics["headline"] in metrics["model"]
    assert metrics["model"]["roc_auc_exchanged"]["value"] > 0.6
    assert "not known" in metrics["protocol"]
    assert 0 < metrics["alert_share"] < 0.03
    table = pd.read_parquet(bare.folder / "predictions.parquet")
    assert "label" not in table
    assert table["alert"].mean() == pytest.approx(metrics["alert_share"], abs=1e-4)
    assert (table["alert"] == (table["score"] >= 0.5)).all()
    predictor = FraudDetector.load(bare.artifact_dir)
    again = evaluate(predictor, settings_of(bare))
    assert again["model"][again["headline"]]["value"] == pytest.approx(metrics["model"][again["headline"]]["value"], abs=1e-6)


def test_an_anomaly_model_is_judged_on_other_data(bare: Run, record: pd.DataFrame, tmp_path: Path) -> None:
    again = judged(bare, record.drop(columns=["label", "scenario", "device"]).tail(3000), tmp_path)
    assert "trained before on" in again["protocol"]
    assert again["model"][again["headline"]]["value"] > 0.6


def test_an_anomaly_model_answers_with_reasons(bare: Run, tmp_path: Path) -> None:
    predictor = FraudDetector.load(bare.artifact_dir)
    known = predictor.examples()[0]
    usual, odd = predictor.predict([known, known.model_copy(update={"amount": 90_000.0, "transaction": "odd"})])
    assert odd.alert
    assert odd.score > 0.9 > usual.score
    assert odd.reasons
    assert odd.similar == []
    decided = predictor.open_stream({"similar": 2}).decide([{**known.model_dump(), "transaction": "x", "amount": 90_000.0}])
    assert decided[0]["alert"]


def make_ulb(rows: int = 6000) -> pd.DataFrame:
    """Two days of transactions without accounts, in the layout of the ULB data."""
    rng = np.random.default_rng(0)
    fraud = rng.random(rows) < 0.02
    table = pd.DataFrame({"Time": np.sort(rng.integers(0, 172_800, rows)).astype(float)})
    for n in range(1, 29):
        table[f"V{n}"] = (rng.normal(size=rows) + fraud * (n in (4, 11)) * 2.5).round(6)
    return table.assign(Amount=rng.lognormal(3, 1.2, rows).round(2), Class=fraud.astype(int))


@pytest.fixture(scope="module")
def ulb(tmp_path_factory: pytest.TempPathFactory) -> Run:
    members = "model.members=[logistic, boosting, tabular, sequence, anomaly]"
    return run_on(make_ulb(), tmp_path_factory.mktemp("ulb"), ["data.label_delay_days=0", members])


def test_data_without_accounts_is_trained_on_its_inputs(ulb: Run, tmp_path: Path) -> None:
    metrics = metrics_of(ulb)
    assert metrics["data"]["accounts"] is None
    assert metrics["model"]["roc_auc"]["value"] > 0.9
    assert not any("card_precision" in name for name in metrics["model"])
    assert not any("past" in name for name in [*metrics["parts"], *metrics["baselines"]])  # no sequence model
    assert metrics["intervals"].startswith("95%, bootstrap over hours")
    predictor = FraudDetector.load(ulb.artifact_dir)
    table = make_ulb().iloc[-1500:]
    table.to_csv(tmp_path / "in.csv", index=False)
    summary = predictor.process(tmp_path / "in.csv", tmp_path / "out.parquet", {}, lambda n: None)
    scores = pd.read_parquet(tmp_path / "out.parquet")["score"]
    assert summary["not scored"] == 0
    assert roc_auc_score(table["Class"], scores) > 0.85
    own = {name: float(value) for name, value in table.iloc[7].items() if name.startswith("V")}
    asked = Request(time=float(table["Time"].iloc[7]), amount=float(table["Amount"].iloc[7]), extra=own)
    answer = predictor.predict([asked, asked.model_copy(update={"extra": {}})])
    assert answer[0].score == pytest.approx(scores.iloc[7], abs=1e-5)
    assert answer[0].notes == []
    assert answer[1].score != answer[0].score
    again = evaluate(predictor, settings_of(ulb))
    assert again["model"]["average_precision"]["value"] == pytest.approx(metrics["model"]["average_precision"]["value"], abs=1e-6)


def test_data_that_cannot_be_split_is_refused_before_training(record: pd.DataFrame, tmp_path: Path) -> None:
    record[record["time"] < "2025-01-04"].to_csv(tmp_path / "a.csv", index=False)
    config = resolve(FraudConfig, [], [f"data.source={tmp_path / 'a.csv'}", *TINY])
    run = Run.create("fraud_detection", config, tmp_path / "run")
    with pytest.raises(DataError, match="the split needs"):
        train(config, run)
    assert not run.artifact_dir.exists()
    assert not (run.folder / "checkpoints").exists()


def test_labels_that_are_partly_not_known_are_enough(record: pd.DataFrame, tmp_path: Path) -> None:
    table = record.drop(columns=["device", "scenario"]).astype({"label": "object"})
    table.loc[np.random.default_rng(0).random(len(table)) < 0.3, "label"] = None
    run = run_on(table, tmp_path, ["model.members=[logistic]"])
    metrics = metrics_of(run)
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert predictions["label"].isin([0, 1]).all()
    known = table.dropna(subset="label")["transaction"]
    assert set(predictions["transaction"]) <= set(known)
    assert metrics["model"]["roc_auc"]["value"] > 0.8
    assert metrics["baselines"] == {}
    assert "no other simple method" in metrics["conclusion"]


def test_a_search_over_settings_without_labels_is_refused_before_training(record: pd.DataFrame, tmp_path: Path) -> None:
    record.drop(columns=["label", "scenario"]).to_csv(tmp_path / "a.csv", index=False)
    config = resolve(FraudConfig, [], [f"data.source={tmp_path / 'a.csv'}", *TINY])
    trial = Run.create("fraud_detection", config, tmp_path / "trial")
    trial.until_validated = True
    with pytest.raises(UserError, match="Tuning needs labels"):
        train(config, trial)
    assert {path.name for path in trial.folder.iterdir()} == {"config.yaml", "run.json", "events.jsonl"}


def test_a_setting_that_would_change_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="patience changes nothing"):
        resolve(FraudConfig, [], ["model.tabular.training.patience=3"])
