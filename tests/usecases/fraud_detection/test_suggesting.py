from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared.config import resolve
from shared.errors import UserError
from tests.usecases.fraud_detection.conftest import configured
from tests.usecases.fraud_detection.test_plain import make_table
from usecases.fraud_detection import USECASE, data
from usecases.fraud_detection.config import FraudConfig
from usecases.fraud_detection.suggesting import suggest


def suggested(table: pd.DataFrame, folder: Path, name: str = "table.csv", **given: Any) -> dict[str, Any]:
    return {one.key: one.value for one in suggest(_written(table, folder, name), given)}


def _written(table: pd.DataFrame, folder: Path, name: str = "table.csv") -> Path:
    table.to_csv(folder / name, index=False)
    return folder / name


def test_a_table_of_leavers_needs_no_question_and_its_settings_are_what_a_run_needs(tmp_path: Path) -> None:
    table = make_table().rename(columns={"member_state": "churn"})
    table["cancelled_on"] = np.where(table["churn"] == "left", "web", "")
    found = suggested(table, tmp_path, "customers.csv", **{"data.columns.account": "household"})
    assert found == {
        "data.columns.time": "none", "data.columns.transaction": "rownames", "data.columns.label": "churn",
        "data.positive": "left", "data.exclude": ["cancelled_on"], "split.folds": 5, "costs.loss_fixed": 25.0,
        "words.finding": "churn", "words.record": "customer",
    }  # fmt: skip
    config = resolve(FraudConfig, [], [f"data.source={tmp_path / 'customers.csv'}", *(f"{k}={v}" for k, v in found.items())])
    assert not [finding for finding in USECASE.check(config) if finding.severity != "info"]
    assert data.load(config).categorical == ("household", "plan")


def test_payments_are_found_by_what_their_columns_hold(record: pd.DataFrame, tmp_path: Path) -> None:
    table = record.rename(columns={"time": "paid_at", "transaction": "ref", "account": "card_no", "label": "is_fraud"})
    found = suggested(table, tmp_path)
    wanted = {"time": "paid_at", "amount": "amount", "account": "card_no", "counterparty": "counterparty", "label": "is_fraud"}
    assert {role: found[f"data.columns.{role}"] for role in wanted} == wanted
    assert "data.positive" not in found
    assert found.get("data.exclude", []) == [name for name in ("scenario",) if name in found.get("data.exclude", [])]


def test_a_count_that_is_called_time_is_none_and_rare_findings_are_worth_a_look_earlier(tmp_path: Path) -> None:
    rare = np.arange(600) % 50 == 0
    table = make_table().drop(columns="member_state").assign(Time=lambda t: t["months"] * 6, target=rare.astype(int))
    found = suggested(table, tmp_path)
    assert found["data.columns.time"] == "none"
    assert found["costs.loss_fixed"] == pytest.approx(5 / 0.08, rel=0.05)
    assert found["words.finding"] == "target"


def test_a_row_number_with_a_slip_is_no_input(tmp_path: Path) -> None:
    table = make_table().drop(columns="rownames").assign(nr=np.arange(600) + 1, churn=lambda t: t["member_state"] == "left")
    table = table.drop(columns="member_state")
    table.loc[300, "nr"] = 300
    found = {one.key: one for one in suggest(_written(table, tmp_path), {})}
    assert "data.columns.transaction" not in found
    assert found["data.exclude"].value == ["nr"]
    assert "nr numbers the rows" in found["data.exclude"].why
    assert "inputs are household, months, plan, visits" in found["data.columns.label"].why
    loaded = data.load(configured(data={"source": str(tmp_path / "table.csv"), "columns": {"label": "churn", "time": "none"}}))
    assert "nr" not in loaded.numeric
    assert "nr only numbers the records" in "\n".join(map(str, loaded.findings))
    config = resolve(
        FraudConfig, [], [f"data.source={tmp_path / 'table.csv'}", *(f"{k}={one.value}" for k, one in found.items())]
    )
    assert not [finding for finding in USECASE.check(config) if finding.severity == "error"]


@pytest.mark.parametrize(
    ("change", "given", "asks"),
    [
        (lambda t: t.assign(other=t["months"] > 9), {}, ["member_state", "other", "data.columns.label=member_state"]),
        (lambda t: t.drop(columns="member_state"), {}, ["data.columns.label=", "data.positive="]),
        (lambda t: t.assign(churn=np.where(t["months"] > 9, "A", "B")), {}, ["'A' (", "data.positive=B"]),
        (lambda t: t, {"data.columns.label": "nothing"}, ["There is no column 'nothing'", "member_state"]),
        (lambda t: t, {"data.columns.account": "housed"}, ["There is no column 'housed' for the account", "household"]),
    ],
)  # fmt: skip
def test_what_the_data_cannot_tell_is_asked_for_with_the_key_to_give(
    change: Callable[[pd.DataFrame], pd.DataFrame], given: dict[str, Any], asks: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as asked:
        suggested(change(make_table()), tmp_path, **given)
    assert [words for words in asks if words not in str(asked.value)] == []


def test_a_role_may_have_no_column_or_several(tmp_path: Path) -> None:
    table = make_table().rename(columns={"member_state": "churn", "visits": "amount", "plan": "customer"})
    absent = {"data.columns.account": "none", "data.columns.amount": "none"}
    found = suggested(table, tmp_path, **absent)
    assert "costs.loss_fixed" in found
    assert not {*absent} & {*found}
    several = suggested(table, tmp_path, **{"data.columns.account": "household|customer"})
    assert (several["data.columns.amount"], several.get("data.exclude")) == ("amount", None)


def test_numbers_and_dates_in_another_writing_are_told(tmp_path: Path) -> None:
    table = make_table().rename(columns={"member_state": "churn"})
    table["fee"] = [f"{1000 + n % 97:,.2f}".translate(str.maketrans(",.", ".,")) for n in range(600)]
    table["joined"] = [f"{1 + n % 28:02}.03.2024" for n in range(600)]
    found = suggested(table, tmp_path)
    assert (found["data.decimal"], found["data.thousands"], found["data.day_first"]) == (",", ".", True)
    assert found["data.columns.time"] == "none"


def test_a_mistyped_label_is_told_the_nearest_column_and_what_each_holds(tmp_path: Path) -> None:
    days = pd.date_range("2019-01-01", periods=600).strftime("%d.%m.%Y")
    table = make_table().rename(columns={"member_state": "churned"}).assign(since=days, paid=[f"{n},50" for n in range(1, 601)])
    with pytest.raises(UserError) as told:
        suggested(table, tmp_path, **{"data.columns.label": "churnd"})
    assert str(told.value).endswith("for example data.columns.label=churned.")
    assert "times from 2019-01-01 to 2020-08-22" in str(told.value)
    assert "1.5 to 600.5" in str(told.value)
