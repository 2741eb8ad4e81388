from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from shared import streaming
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.fraud_detection.conftest import make_frame
from usecases.fraud_detection import predictor as predictors
from usecases.fraud_detection.answers import FraudDecision, columns
from usecases.fraud_detection.answers import TransactionRequest as Request
from usecases.fraud_detection.detector import SMALL
from usecases.fraud_detection.ledger import Ledger
from usecases.fraud_detection.predictor import FraudDetector
from usecases.fraud_detection.timeline import HOUR

EARLY = 1_600_000_000_000  # ms


def dump(decisions: list[FraudDecision]) -> list[dict[str, object]]:
    return [decision.model_dump(mode="json") for decision in decisions]


def requests_of(table: pd.DataFrame, **more: int) -> list[Request]:
    return [
        Request(
            transaction=row.transaction, time=str(row.time), amount=row.amount, account=row.account,
            counterparty=row.counterparty, extra={"country": row.country, "channel": row.channel}, **more,
        )
        for row in table.itertuples()
    ]  # fmt: skip


def judged_days(run: Run, record: pd.DataFrame) -> pd.DataFrame:
    """The raw rows from the first judged one on."""
    judged = pd.read_parquet(run.folder / "predictions.parquet")
    return record[record["time"] >= judged["time"].min()]


def processed(detector: FraudDetector, table: pd.DataFrame, folder: Path, suffix: str = "csv") -> pd.DataFrame:
    source, out = folder / "in.csv", folder / f"out.{suffix}"
    table.to_csv(source, index=False)
    detector.process(source, out, {"reasons": 0}, lambda n: None)
    return pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)


def test_it_answers_in_order_with_probabilities_and_alerts(detector: FraudDetector, record: pd.DataFrame) -> None:
    asked = requests_of(record.iloc[-200:].assign(time=record["time"].iloc[-1] + pd.Timedelta(hours=1)))
    decisions = detector.predict(asked)
    assert [decision.transaction for decision in decisions] == [request.transaction for request in asked]
    threshold, costs = detector.detector.rule.threshold, detector.detector.costs
    for request, decision in zip(asked, decisions, strict=True):
        assert 0 <= decision.score <= 1
        assert decision.expected_loss == pytest.approx(decision.score * costs.loss(np.array([request.amount]))[0], abs=1e-3)
        assert decision.alert == (decision.expected_loss >= threshold) or abs(decision.expected_loss - threshold) < 1e-3
        assert (decision.alert_id is None) == (not decision.alert)
        if not decision.alert:
            assert decision.reasons == []
            assert decision.similar == []
    assert any(decision.alert for decision in decisions)
    assert detector.predict([]) == []


def test_a_moved_folder_gives_the_same(run: Run, detector: FraudDetector, tmp_path: Path) -> None:
    shutil.copytree(run.artifact_dir, tmp_path / "elsewhere")
    moved = FraudDetector.load(tmp_path / "elsewhere")
    assert dump(moved.predict(moved.examples())) == dump(detector.predict(detector.examples()))


def test_an_alert_has_as_many_reasons_and_similar_frauds_as_asked_for(detector: FraudDetector) -> None:
    big = detector.examples()[1]
    lots = big.model_copy(update={"amount": 5_000.0, "reasons": 10, "similar": 5})
    some = lots.model_copy(update={"reasons": 1, "similar": 0})
    full, short = detector.predict([lots])[0], detector.predict([some])[0]
    assert full.alert
    assert full.score == short.score
    assert short.reasons == full.reasons[:1]
    assert len(full.reasons) >= 2
    assert len(full.similar) == 5
    assert short.similar == []
    similarities = [one.similarity for one in full.similar]
    assert similarities == sorted(similarities, reverse=True)
    falls = [reason.contribution for reason in full.reasons]
    assert falls == sorted(falls, reverse=True)
    assert falls[-1] > 0
    assert any("5,000" in reason.text for reason in full.reasons)


def test_alert_ids_are_the_transactions_and_not_the_runs(detector: FraudDetector) -> None:
    big = detector.examples()[1].model_copy(update={"amount": 5_000.0, "transaction": "T1"})
    ids = [detector.predict(asked)[-1].alert_id for asked in ([big], [detector.examples()[2], big])]
    assert ids[0] == ids[1] == "A-" + __import__("hashlib").sha256(b"T1").hexdigest()[:12]
    other = detector.predict([big.model_copy(update={"transaction": "T2"})])[0].alert_id
    assert other
    assert other != ids[0]


def test_requests_leave_no_traces(detector: FraudDetector, record: pd.DataFrame) -> None:
    asked = [*detector.examples(), *requests_of(record.tail(60))]
    states = []
    first = dump(detector.predict(asked))
    for _ in range(2):
        arrays, values = detector.detector.ledger.state()
        states.append(({name: array.copy() for name, array in arrays.items()}, values["ids"][:]))
        assert dump(detector.predict(list(reversed(asked)))) == dump(detector.predict(list(reversed(asked))))
    assert dump(detector.predict(asked)) == first
    for name, array in states[0][0].items():
        np.testing.assert_array_equal(array, states[1][0][name])
    assert states[0][1] == states[1][1]


def test_who_is_not_known_is_not_known_the_second_time(detector: FraudDetector) -> None:
    asked = [detector.examples()[0].model_copy(update={"account": "nobody", "counterparty": "nowhere"})]
    assert dump(detector.predict(asked)) == dump(detector.predict(asked))


def test_a_memory_of_more_than_is_remembered_is_not_changed_by_requests(detector: FraudDetector) -> None:
    core = detector.detector
    old = make_frame(rows=300, days=200)
    fresh = Ledger(core.ledger.layout)
    fresh.add(old.assign(country="DE"))
    arrays, values = fresh.state()
    asked = [Request(time=int(old["time"].iloc[-1]) + HOUR, amount=20, account="a1", counterparty="m1")]
    core.ledger = Ledger(fresh.layout)
    core.ledger.add(old.assign(country="DE"))
    answers = [dump(detector.predict(asked)) for _ in range(2)]
    core.ledger = Ledger.restore(fresh.layout, arrays, values)
    assert answers == [dump(detector.predict(asked))] * 2


def test_earlier_requests_of_a_list_are_the_past_of_later_ones(detector: FraudDetector) -> None:
    one = detector.examples()[0]
    alone = detector.predict([one])[0].score
    many = [one.model_copy(update={"transaction": f"x{n}", "amount": 900.0}) for n in range(12)]
    assert detector.predict([*many, one])[-1].score != alone
    assert detector.predict([one, *many])[0].score == alone
    groups = detector.predict_groups([many, [one], [], [*many, one]])  # of several clients, who know nothing of one another
    assert [len(group) for group in groups] == [len(many), 1, 0, len(many) + 1]
    assert groups[1][0].score == pytest.approx(alone, abs=1e-5)
    assert dump(groups[3]) == dump(detector.predict([*many, one]))


def test_unknown_accounts_and_odd_values_are_answered_with_notes(detector: FraudDetector) -> None:
    known = detector.examples()[0]
    later = known.model_copy(update={"time": str(np.datetime64(known.time) + np.timedelta64(10, "D"))})
    stranger = known.model_copy(
        update={"account": "nobody", "counterparty": "nowhere", "extra": {"country": "XX", "channel": "drone"}}
    )
    odd = known.model_copy(update={"extra": {"country": 5.0, "channel": None, "never heard of": "x"}})
    blank = Request(time=EARLY, amount=3)
    decisions = detector.predict([known, later, stranger, odd, blank])
    assert all(0 <= decision.score <= 1 for decision in decisions)
    assert decisions[0].notes == []
    assert len(decisions[1].notes) == 1
    assert "10 days" in decisions[1].notes[0]
    assert decisions[2].notes == ["the account is not known", "the counterparty is not known"]
    assert decisions[4].transaction == "request-5"
    twice = detector.predict([known, known])
    assert twice[0].score == decisions[0].score


@pytest.mark.parametrize("amount", [0.0, 0.004, 1e15, 1e300])
def test_extreme_amounts_are_answered(detector: FraudDetector, amount: float) -> None:
    request = detector.examples()[0].model_copy(update={"amount": amount})
    decision = detector.predict([request])[0]
    assert 0 <= decision.score <= 1
    json.loads(decision.model_dump_json())
    after = detector.predict([request, detector.examples()[0]])[1]
    assert 0 <= after.score <= 1
    if amount >= 1e15:
        assert decision.alert


def test_requests_out_of_order_are_answered(detector: FraudDetector, record: pd.DataFrame) -> None:
    asked = requests_of(record.tail(50).sample(50, random_state=0))
    scores = [decision.score for decision in detector.predict(asked)]
    assert np.isfinite(scores).all()
    assert scores == [decision.score for decision in detector.predict(asked)]


def test_how_many_are_asked_together_does_not_matter(detector: FraudDetector, record: pd.DataFrame) -> None:
    table = record.tail(80).drop_duplicates("account").drop_duplicates("counterparty")  # nobody is another's past
    table = table.assign(time=record["time"].iloc[-1] + pd.Timedelta(minutes=1))
    asked = requests_of(table)
    assert len(asked) > 33
    together = [decision.score for decision in detector.predict(asked)]
    assert [detector.predict([request])[0].score for request in asked[:10]] == together[:10]
    np.testing.assert_allclose([d.score for d in detector.predict(asked[:33])], together[:33], atol=2e-6)


def test_the_last_digit_of_a_score_does_not_depend_on_the_company(detector: FraudDetector, record: pd.DataFrame) -> None:
    assert streaming.BATCH <= SMALL  # else a restarted stream, whose batches are others, would write other digits
    core = detector.detector
    frame = columns(core, [f"x{n}" for n in range(SMALL)], requests_of(record.tail(SMALL)))
    rows, amounts = core.score(frame, core.ledger.before(None)).rows, np.array(frame["amount"])
    scores = core.decide(rows, amounts).scores
    for size in (1, 2, 5, 11, SMALL - 1):
        parts = [np.arange(SMALL)[start : start + size] for start in range(0, SMALL, size)]
        again = np.concatenate([core.decide(rows.take(part), amounts[part]).scores for part in parts])
        np.testing.assert_array_equal(again, scores)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": -1}, {"amount": float("nan")}, {"amount": float("inf")}, {"reasons": 11}, {"sum": 3}, {"extra": {"a": [1]}},
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Request.model_validate({"time": 1.6e9, "amount": 1, **wrong})


@pytest.mark.parametrize("time", ["yesterday", "", -5, 9e15, "1e400"])
def test_times_that_are_none_are_refused(detector: FraudDetector, time: float | str) -> None:
    with pytest.raises(UserError, match="is no time"):
        detector.predict([Request(time=time, amount=1)])


def test_times_are_read_alike_however_they_are_written(detector: FraudDetector) -> None:
    base = detector.examples()[0]
    moment = pd.Timestamp(base.time).floor("s")
    written = [
        moment.isoformat(), f"{moment}", f"{moment.isoformat()}Z", moment.timestamp(), 1000 * moment.timestamp(),
        str(int(moment.timestamp())), (moment + pd.Timedelta(hours=2)).isoformat() + "+02:00",
    ]  # fmt: skip
    scores = [detector.predict([base.model_copy(update={"time": time})])[0].score for time in written]
    assert len(set(scores)) == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_the_test_days_gives_the_runs_predictions(
    run: Run, detector: FraudDetector, record: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    table = judged_days(run, record)
    found = processed(detector, table, tmp_path, suffix)
    assert found["transaction"].tolist() == table["transaction"].tolist()
    expected = pd.read_parquet(run.folder / "predictions.parquet").set_index("transaction")
    own = found.set_index("transaction").loc[expected.index]
    assert 1000 < len(expected) < len(found)  # known accounts are not judged
    np.testing.assert_allclose(own["score"], expected["score"], atol=1e-5)
    near = (expected["expected_loss"] - detector.detector.rule.threshold).abs() < 0.01
    assert (own["alert"] == expected["alert"])[~near].all()
    assert own["alert"].any()
    assert (own["alert_id"].notna() == own["alert"]).all()


def test_a_table_in_blocks_or_another_order_gives_the_same(
    run: Run, detector: FraudDetector, record: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = judged_days(run, record).iloc[:900]
    whole = processed(detector, table, tmp_path)
    mixed = processed(detector, table.sample(len(table), random_state=0), tmp_path).set_index("transaction")
    np.testing.assert_allclose(mixed.loc[whole["transaction"], "score"], whole["score"], atol=2e-6)
    monkeypatch.setattr(predictors, "BLOCK", 190)
    blocks = processed(detector, table, tmp_path)
    np.testing.assert_allclose(blocks["score"], whole["score"], atol=2e-6)
    later = detector.predict(detector.examples())
    assert dump(later) == dump(FraudDetector.load(run.artifact_dir).predict(detector.examples()))


def test_a_table_is_read_in_the_notation_of_the_training_table(
    run: Run, detector: FraudDetector, record: pd.DataFrame, tmp_path: Path
) -> None:
    table, core = judged_days(run, record).iloc[:200], detector.detector
    plain = processed(detector, table, tmp_path)
    amounts = [f"{amount:,.2f}".translate(str.maketrans(",.", ".,")) for amount in table["amount"]]
    european = table.assign(time=pd.to_datetime(table["time"]).dt.strftime("%d.%m.%Y %H:%M:%S"), amount=amounts)
    notation = {"decimal": ",", "thousands": ".", "day_first": True}
    core.config = core.config.model_copy(update={"data": core.config.data.model_copy(update=notation)})
    pd.testing.assert_frame_equal(processed(detector, european, tmp_path), plain)


def test_reasons_are_written_for_alerts_alone(run: Run, detector: FraudDetector, record: pd.DataFrame, tmp_path: Path) -> None:
    table = judged_days(run, record).iloc[:1500]
    table.to_csv(tmp_path / "in.csv", index=False)
    counted: list[int] = []
    summary = detector.process(tmp_path / "in.csv", tmp_path / "out.parquet", {"reasons": 2}, counted.append)
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert summary["transactions"] == sum(counted) == len(found) == 1500
    assert summary["alerts"] == found["alert"].sum() > 0
    lengths = found["reasons"].map(len)
    assert (lengths[~found["alert"]] == 0).all()
    assert lengths[found["alert"]].between(0, 2).all()
    assert (lengths == 2).any()


def test_bad_rows_come_out_unscored_and_are_named(detector: FraudDetector, record: pd.DataFrame, tmp_path: Path) -> None:
    table = record.tail(40).astype("object").reset_index(drop=True)
    table.loc[3, "amount"] = "12 EUR"
    table.loc[5, "time"] = "soon"
    table.loc[8, "account"] = None
    table.loc[9, "amount"] = -2
    table.loc[11, "country"] = None
    table.to_csv(tmp_path / "in.csv", index=False)
    summary = detector.process(tmp_path / "in.csv", tmp_path / "out.csv", {}, lambda n: None)
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.index[found["score"].isna()].tolist() == [3, 5, 8, 9]
    assert found["transaction"].tolist() == table["transaction"].tolist()
    assert not found["alert"][[3, 5, 8, 9]].any()
    assert summary["not scored"] == 4
    text = " ".join(str(value) for value in summary.values())
    assert all(part in text for part in ("12 EUR", "soon", "row 4", "row 6", "row 9", "row 10"))


def test_a_block_of_bad_rows_is_written_unscored(
    detector: FraudDetector, record: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictors, "BLOCK", 10)
    table = record.tail(30).astype({"amount": "object"}).reset_index(drop=True)
    table.loc[10:19, "amount"] = "?"
    found = processed(detector, table, tmp_path)
    assert found.index[found["score"].isna()].tolist() == list(range(10, 20))


def test_a_table_without_a_needed_column_is_refused_by_its_name(
    detector: FraudDetector, record: pd.DataFrame, tmp_path: Path
) -> None:
    for column in ("time", "amount", "account"):
        with pytest.raises(DataError, match=f"there is no column '{column}'"):
            processed(detector, record.tail(20).drop(columns=column), tmp_path)
        assert not (tmp_path / "out.csv").exists()
    less = record.tail(20).drop(columns=["counterparty", "country"])
    less.to_csv(tmp_path / "in.csv", index=False)
    summary = detector.process(tmp_path / "in.csv", tmp_path / "out.csv", {}, lambda n: None)
    assert pd.read_csv(tmp_path / "out.csv")["score"].notna().all()
    text = " ".join(str(value) for value in summary.values())
    assert "no column 'counterparty'" in text
    assert "no column country" in text


def test_wrong_options_are_refused(detector: FraudDetector, record: pd.DataFrame, tmp_path: Path) -> None:
    record.tail(20).to_csv(tmp_path / "in.csv", index=False)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"reasons": 99}, "reasons"), ({"reason": 3}, "Did you mean 'reasons'"),
        ({"account": "x"}, "comes from the table's rows"),
    ]  # fmt: skip
    for options, message in wrong:
        with pytest.raises(UserError, match=message):
            detector.process(tmp_path / "in.csv", tmp_path / "out.csv", options, lambda n: None)
    for path in ("out.xlsx", "out"):
        with pytest.raises(UserError, match="must end in"):
            detector.process(tmp_path / "in.csv", tmp_path / path, {}, lambda n: None)
    assert not list(tmp_path.glob("out*"))


def test_a_table_without_rows_is_refused(detector: FraudDetector, record: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no rows"):
        processed(detector, record.iloc[:0], tmp_path)
    assert not (tmp_path / "out.csv").exists()
