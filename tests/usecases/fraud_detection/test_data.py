from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared.data.cleaning import Faults
from shared.errors import DataError, Finding, UserError
from usecases.fraud_detection import checks, data
from usecases.fraud_detection.config import ColumnNames, Data, FraudConfig, Simulation

DAY_MS = 86_400_000


def config(source: Path | str, columns: dict[str, str] | None = None, **more: Any) -> FraudConfig:
    return FraudConfig(data=Data(source=str(source), columns=ColumnNames(**(columns or {})), **more))


def make_record(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """A plain record in time order, one transaction an hour, 5% fraud, with an input of each kind."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "transaction_id": [f"t{n}" for n in range(rows)],
            "timestamp": pd.date_range("2023-01-01", periods=rows, freq="h").astype("str"),
            "card": rng.integers(0, 40, rows),
            "merchant": [f"m{n}" for n in rng.integers(0, 20, rows)],
            "amount": rng.exponential(50, rows).round(2) + 0.01,
            "is_fraud": (rng.random(rows) < 0.05).astype(int),
            "distance_km": rng.exponential(9, rows).round(1),
            "channel": rng.choice(["web", "shop", ""], rows),
        }
    )


def save(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def by_what(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_broken_file_has_every_fault_listed_in_one_go(tmp_path: Path) -> None:
    table = make_record().astype("object")
    faults = {  # row: column and value
        3: ("timestamp", "yesterday"),
        4: ("timestamp", str(pd.Timestamp.now() + pd.Timedelta(days=30))),
        5: ("timestamp", "-100"),
        6: ("amount", "12 EUR"),
        7: ("amount", None),
        8: ("amount", "inf"),
        9: ("amount", -5),
        10: ("is_fraud", 2),
        11: ("is_fraud", "maybe"),
        12: ("card", None),
        13: ("transaction_id", None),
        14: ("merchant", None),
        15: ("distance_km", "far"),
        17: ("transaction_id", "t15"),  # the id of row 16, with other content
    }
    for row, (column, value) in faults.items():
        table.loc[row - 1, column] = value
    table["device_token"] = [f"d{n}" for n in range(len(table))]
    table.loc[19] = table.loc[18]  # row 20 says again what row 19 says
    table.loc[300:, "timestamp"] = (pd.to_datetime(table.loc[300:, "timestamp"]) + pd.Timedelta(days=9)).astype("str")
    truth = pd.to_numeric(table["is_fraud"], errors="coerce").eq(1)
    table["chargeback"] = np.where(truth, "filed", "")
    table["blocked_after"] = np.where(truth, None, 0.5)
    table["currency"], table["version"] = "EUR", 3
    path = save(table, tmp_path / "broken.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "t9000,2023-03-01"]))

    found = by_what(data.check(config(path)))
    rows = {what: list(finding.rows) for what, finding in found.items() if finding.rows}
    assert rows.pop("a gap in the record before this transaction") == [301]
    assert rows == {
        "not 13 values in the line": [601],
        "no usable time": [3, 5],
        "a time in the future": [4],
        "no usable amount": [6, 7, 8],
        "a negative amount": [9],
        "a label that is neither 1 nor 0": [10, 11],
        "no account id": [12],
        "no transaction id": [13],
        "no counterparty": [14],
        "no finite number in 'distance_km'": [15],
        "the id of another transaction": [17],
        "a transaction that is given twice": [20],
    }
    assert found["no usable amount"].examples == ["12 EUR", "nan"]
    assert "2023-01-13 11:00 to 2023-01-22 12:00" in str(found["a gap in the record before this transaction"])
    warned = [what for what, finding in found.items() if finding.severity == "warning" and not finding.rows]
    assert warned == [f"'{column}' alone tells fraud from the rest (AUC 1.000)" for column in ("blocked_after", "chargeback")]
    assert "data.exclude=[chargeback]" in found[warned[1]].fix
    assert [one.partition(" ")[2] for one in found[warned[1]].examples] == ["(fraud)", "(no fraud)"]
    assert found["the same value in every row: version, currency"].severity == "info"
    assert found["nearly another value in every row: device_token"].severity == "info"
    assert sum(finding.severity == "error" for finding in found.values()) == 1
    with pytest.raises(DataError, match="the id of another transaction"):
        data.load(config(path))
    refused = [finding for finding in data.check(config(path, faults="refuse")) if finding.severity == "error"]
    assert len(refused) == 9

    table.loc[16, "transaction_id"] = "t16"
    loaded = data.load(config(save(table, tmp_path / "a.csv"), exclude=("chargeback", "blocked_after")))
    assert len(loaded.frame) == 600 - 9 - 1
    assert (loaded.numeric, loaded.categorical) == (("distance_km",), ("channel",))
    assert loaded.frame.set_index("transaction").loc["t9", "label"] != 0  # row 10 stays, its label is not known
    assert np.isnan(loaded.frame.set_index("transaction").loc["t14", "distance_km"])


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "folder"])
def test_every_format_gives_the_same_transactions(tmp_path: Path, kind: str) -> None:
    table = make_record()
    path = tmp_path / f"a.{kind}"
    times = pd.to_datetime(table["timestamp"])
    if kind == "csv":
        save(table.sample(frac=1, random_state=0), path)
    elif kind == "tsv":
        table.assign(timestamp=times.astype("datetime64[s]").astype("int64")).to_csv(path, index=False, sep="\t")
    elif kind == "parquet":
        table.assign(timestamp=times, is_fraud=table["is_fraud"] == 1, channel=table["channel"].replace("", None)).to_parquet(
            path
        )
    elif kind == "jsonl":
        stamps = times.astype("datetime64[ms]").astype("int64")
        table.assign(timestamp=stamps).to_json(path, orient="records", lines=True)
    else:
        path.mkdir()
        save(table[300:], path / "2023-02.csv")
        save(table[:300], path / "2023-01.csv")
        (path / "README.md").write_text("not a table")
    frame = data.load(config(path)).frame
    expected = pd.DataFrame(
        {
            "transaction": table["transaction_id"],
            "time": times.astype("datetime64[ms]").astype("int64"),
            "account": table["card"].astype("str"),
            "counterparty": table["merchant"],
            "amount": table["amount"],
            "label": table["is_fraud"].astype("float64"),
            "label_time": times.astype("datetime64[ms]").astype("int64") + 7 * DAY_MS,
            "distance_km": table["distance_km"],
            "channel": table["channel"],
        }
    ).astype(dict.fromkeys(("transaction", "account", "counterparty", "channel"), "str"))
    pd.testing.assert_frame_equal(frame, expected)


def test_rows_of_a_folder_are_numbered_through(tmp_path: Path) -> None:
    table = make_record().astype({"amount": "object"})
    table.loc[310, "amount"] = "a lot"
    save(table[:300], tmp_path / "1.csv")
    save(table[300:], tmp_path / "2.csv")
    found = by_what(data.check(config(tmp_path)))
    assert found["no usable amount"].rows == [311]
    assert "1.csv from row 1, 2.csv from row 301" in found["2 files make one table"].fix


@pytest.mark.parametrize(
    ("yes", "no"), [("true", "False"), ("YES", "no"), ("1.0", "0.0"), ("fraud", "legit"), (True, False), (1.0, 0.0), (1, 0)]
)
def test_labels_in_many_words(tmp_path: Path, yes: object, no: object) -> None:
    table = make_record()
    truth = table["is_fraud"].to_numpy()
    table["is_fraud"] = pd.Series([yes if fraud else no for fraud in truth], dtype="object")
    table.loc[:9, "is_fraud"] = None
    save(table, tmp_path / "a.csv")
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for kind in ("csv", "jsonl"):
        loaded = data.load(config(tmp_path / f"a.{kind}"))
        np.testing.assert_array_equal(loaded.frame["label"], [*[np.nan] * 10, *truth[10:]])
        assert not [finding for finding in loaded.findings if finding.severity != "info"]


@pytest.mark.parametrize(
    ("change", "what", "severity"),
    [
        (lambda t: t.drop(columns="is_fraud"), "there is no label", "info"),
        (lambda t: t.assign(is_fraud=0), "no transaction is labelled as fraud (600 labels)", "warning"),
        (lambda t: t.assign(is_fraud=""), "no transaction is labelled as fraud (0 labels)", "warning"),
        (lambda t: t.assign(is_fraud=1 - t["is_fraud"]), "93% of the labels say fraud", "warning"),
        (lambda t: t.assign(is_fraud="A"), "most values of 'is_fraud' are no labels", "error"),
        (lambda t: t.assign(card=t["transaction_id"]), "nearly every transaction has an account of its own", "warning"),
        (lambda t: t.drop(columns="card"), "there is no account", "info"),
        (lambda t: t.assign(amount="much"), "no usable transaction is left", "error"),
        (lambda t: t.iloc[:0], "no usable transaction is left", "error"),
        (lambda t: t.drop(columns="amount"), "it cannot be told which column is the amount", "error"),
        (
            lambda t: t.drop(columns="transaction_id").iloc[[0, *range(600)]],
            "a transaction that says the same as an earlier one",
            "info",
        ),
    ],
)  # fmt: skip
def test_records_that_are_not_fit(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], what: str, severity: str
) -> None:
    found = by_what(data.check(config(save(change(make_record()), tmp_path / "a.csv"))))
    assert what in found
    assert found[what].severity == severity


def test_label_times_are_given_or_follow_the_delay(tmp_path: Path) -> None:
    table = make_record()
    table["reported_at"] = (pd.to_datetime(table["timestamp"]) + pd.Timedelta(days=2)).astype("str")
    table.loc[0, "reported_at"], table.loc[1, "reported_at"], table.loc[2, "reported_at"] = "", "2022-01-01", "later"
    loaded = data.load(config(save(table, tmp_path / "a.csv"), label_delay_days=0.5))
    delay = (loaded.frame["label_time"] - loaded.frame["time"]) / DAY_MS
    assert delay[:4].tolist() == [0.5, 0.5, 0.5, 2.0]
    assert by_what(loaded.findings)["a label time that is unusable or before the transaction"].rows == [2, 3]
    assert loaded.mapping["label_time"] == "reported_at"


def test_inputs_are_those_asked_for(tmp_path: Path) -> None:
    path = save(make_record().assign(mcc=lambda t: t["card"] % 7), tmp_path / "a.csv")
    assert data.load(config(path)).numeric == ("distance_km", "mcc")
    loaded = data.load(config(path, categorical=("mcc",)))
    assert (loaded.numeric, loaded.categorical) == (("distance_km",), ("mcc",))
    assert set(loaded.frame["mcc"]) == set("0123456")
    with pytest.raises(DataError) as caught:
        data.load(config(path, numeric=("distance",), categorical=("amount",), exclude=("chanel",)))
    assert len(caught.value.findings) == 3
    assert "Did you mean 'distance_km'?" in str(caught.value)
    with pytest.raises(DataError, match="there is no column 'when'"):
        data.load(config(path, {"time": "when"}))
    loaded = data.load(config(save(make_record().assign(usd=5.0), path), {"amount": "usd"}))
    assert "amount is not used" in by_what(loaded.findings)
    assert set(loaded.frame["amount"]) == {5.0}
    joint = data.load(config(path, {"account": "card|channel"}))
    assert set(joint.frame["account"].str.count(r"\|")) == {1}
    assert (joint.numeric, joint.categorical) == (("distance_km",), ())  # parts of an id are no inputs


def test_a_new_table_is_read_as_the_training_table_was(tmp_path: Path) -> None:
    trained = data.load(config(save(make_record(), tmp_path / "a.csv"), {"account": "card|merchant"}))
    saved = (trained.mapping, trained.numeric, trained.categorical)
    rows = make_record().iloc[50:40:-1].assign(channel="never seen", more=1)
    faults = Faults("new")
    frame = data.canonical(rows, *saved, faults)
    assert frame.index.tolist() == list(range(41, 51))  # in time order, with the row numbers given
    assert frame["channel"].tolist() == ["never seen"] * 10
    columns = [c for c in trained.frame if c != "channel"]
    pd.testing.assert_frame_equal(frame[columns], trained.frame.loc[41:50, columns])
    assert faults.findings == []

    by_role = trained.frame[["transaction", "time", "account", "counterparty", "amount"]].head(3)
    by_role.loc[1, "amount"] = -1
    frame = data.canonical(by_role, *saved, faults, "ms")
    assert frame["time"].tolist() == trained.frame["time"][[0, 2]].tolist()
    assert "label" not in frame
    assert frame["distance_km"].isna().all()
    assert (frame["channel"] == "").all()
    assert [finding.what for finding in faults.findings] == ["a negative amount", "there is no column distance_km, channel"]

    frame = data.canonical(by_role.drop(columns=["counterparty", "transaction"]), *saved, faults)
    assert frame["transaction"].tolist() == ["0", "2"]
    assert (frame["counterparty"] == "").all()
    with pytest.raises(DataError, match=r"no column 'card\|merchant'(.|\n)*no column 'amount'"):
        data.canonical(by_role.drop(columns=["account", "amount"]), *saved, faults)


def european(table: pd.DataFrame) -> pd.DataFrame:
    """The record as a program in much of Europe writes it."""
    signs = str.maketrans(",.", ".,")
    amounts = [f"{amount:,.2f}".translate(signs) for amount in table["amount"]]
    distances = [f"{distance:.1f}".replace(".", ",") for distance in table["distance_km"]]
    times = pd.to_datetime(table["timestamp"]).dt.strftime("%d.%m.%Y %H:%M")
    return table.assign(timestamp=times, amount=amounts, distance_km=distances)


def test_decimal_commas_and_days_first_are_read_where_that_is_set(tmp_path: Path) -> None:
    table = make_record().assign(amount=np.geomspace(1, 2e6, 600).round(2))
    path = save(european(table), tmp_path / "a.csv")
    found = by_what(data.check(config(path)))
    assert 'data.decimal="," data.thousands="." reads them' in found["no usable amount"].fix
    assert "data.day_first=true reads them" in found["no usable time"].fix
    loaded = data.load(config(path, decimal=",", thousands=".", day_first=True))
    plain = data.load(config(save(table, tmp_path / "b.csv")))
    pd.testing.assert_frame_equal(loaded.frame, plain.frame)
    assert loaded.numeric == plain.numeric == ("distance_km",)
    times = pd.to_datetime(table["timestamp"])
    american = save(table.assign(timestamp=times.dt.strftime("%m/%d/%Y")), tmp_path / "c.csv")
    assert "day_first" not in by_what(data.check(config(american)))["no usable time"].fix
    with pytest.raises(ValueError, match="before the decimals already"):
        config(path, thousands=".")


@pytest.mark.parametrize(("amounts", "warned"), [(["1.388", "17"], True), (["1.388", "0.500"], False), (["1.38", "17"], False)])
def test_amounts_that_may_be_misread_are_named(tmp_path: Path, amounts: list[str], warned: bool) -> None:
    path = save(make_record().assign(amount=amounts * 300), tmp_path / "a.csv")
    found = [finding for finding in data.check(config(path)) if "between thousands" in finding.what]
    assert bool(found) is warned
    if found:
        assert (found[0].severity, found[0].count, set(found[0].examples)) == ("warning", 300, {"1.388"})
        assert 'data.decimal="," data.thousands="."' in found[0].fix
        assert data.check(config(path, decimal=",", thousands="."))[0].severity != "warning"


def test_the_handbook_s_layout(tmp_path: Path) -> None:
    times = pd.date_range("2018-04-01", periods=300, freq="h")
    table = pd.DataFrame(
        {"TRANSACTION_ID": range(300), "TX_DATETIME": times, "CUSTOMER_ID": 5, "TERMINAL_ID": 3, "TX_AMOUNT": 9.5}
    )
    table["TX_TIME_SECONDS"], table["TX_TIME_DAYS"] = range(300), 0
    table["TX_FRAUD_SCENARIO"] = [3 * (n % 10 == 0) for n in range(300)]
    table["TX_FRAUD"] = (table["TX_FRAUD_SCENARIO"] > 0).astype(int)
    daily = tmp_path / "daily"
    daily.mkdir()
    for day, part in table.groupby(times.date):
        part.to_parquet(daily / f"{day}.parquet")
    loaded = data.load(config(daily))
    assert loaded.mapping["scenario"] == "TX_FRAUD_SCENARIO"
    assert (len(loaded.frame), loaded.numeric, loaded.categorical) == (300, (), ())
    assert loaded.frame["scenario"].unique().tolist() == ["3", "0"]
    assert loaded.describe() == {
        "name": "daily", "simulated": False, "fingerprint": loaded.describe()["fingerprint"], "transactions": 300, "accounts": 1,
        "counterparties": 1, "frauds": 30, "first": "2018-04-01T00:00:00", "last": "2018-04-13T11:00:00",
    }  # fmt: skip
    (daily / "2018-05-01.csv").write_text("TRANSACTION_ID,other\n1,2\n")
    assert "columns are not those of 2018-04-01.parquet" in str(data.check(config(daily))[-1])
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "2018-04-01.pkl").write_bytes(b"never read")
    for path in (pickled, pickled / "2018-04-01.pkl"):
        with pytest.raises(UserError, match=r"pickle files(.|\n)*to_parquet"):
            data.load(config(path))
        assert data.check(config(path))[0].severity == "error"


def test_ulb_s_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"Time": np.arange(400) * 30.0, **{f"V{n}": rng.normal(size=400) for n in range(1, 29)}})
    table["Amount"], table["Class"] = 1.5, [int(n % 20 == 0) for n in range(400)]
    loaded = data.load(config(save(table, tmp_path / "creditcard.csv")))
    assert loaded.mapping == {"time": "Time", "amount": "Amount", "label": "Class"}
    assert loaded.numeric == tuple(f"V{n}" for n in range(1, 29))
    assert loaded.frame["time"].iloc[-1] == 399 * 30_000
    assert loaded.frame["transaction"].iloc[0] == "1"
    assert not {"account", "counterparty"} & set(loaded.frame)


def test_ieee_cis_is_joined_with_its_identities(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"TransactionID": range(300), "isFraud": (rng.random(300) < 0.1).astype(int)})
    table["TransactionDT"], table["TransactionAmt"] = 86_400 + np.arange(300) * 60, 5.0
    table["ProductCD"], table["card1"], table["card4"] = rng.choice(["W", "C"], 300), rng.choice([1000, 1001], 300), "visa"
    for column in ("card2", "card3", "card5", "card6", "addr1", "V1"):
        table[column] = rng.choice([1.5, np.nan], 300)
    identity = pd.DataFrame({"TransactionID": [7, 9], "DeviceType": ["mobile", "desktop"], "id_01": [-5, -10]})
    save(table, tmp_path / "train_transaction.csv")
    save(identity, tmp_path / "train_identity.csv")
    loaded = data.load(config(tmp_path))
    frame = loaded.frame.set_index("transaction")
    assert frame.loc[["7", "8", "9"], "DeviceType"].tolist() == ["mobile", "", "desktop"]
    assert loaded.numeric == ("V1", "id_01")
    assert {"ProductCD", "card1", "card2", "addr1", "DeviceType"} <= set(loaded.categorical)
    assert frame["account"].str.match(r"100[01]\|(1.5)?\|(1.5)?\|visa\|(1.5)?\|(1.5)?\|(1.5)?$").all()
    assert frame.loc["0", "time"] == DAY_MS
    assert "counterparty" not in frame
    again = data.canonical(table.drop(columns="isFraud"), loaded.mapping, loaded.numeric, loaded.categorical, Faults("a"))
    assert again["account"].tolist() == loaded.frame["account"].tolist()


def test_paysim_uses_only_what_is_known_before(shared_data: Path) -> None:
    loaded = data.load(config(shared_data / "fraud" / "paysim" / "paysim_sample.csv"))
    assert (loaded.numeric, loaded.categorical) == (("oldbalanceOrg", "oldbalanceDest"), ("type",))
    assert (loaded.frame["time"] % 3_600_000 == 0).all()
    assert "newbalanceOrig, newbalanceDest, isFlaggedFraud are known only after" in str(loaded.findings[0])
    asked = data.load(config(shared_data / "fraud" / "paysim" / "paysim_sample.csv", numeric=("newbalanceOrig",)))
    assert asked.numeric == ("newbalanceOrig",)


def test_the_handbook_s_record(shared_data: Path) -> None:
    loaded = data.load(config(shared_data / "fraud" / "handbook" / "transactions.parquet"))
    assert len(loaded.frame) == 1_313_479
    assert [finding.severity for finding in loaded.findings] == ["info", "info"]
    assert loaded.frame["time"].is_monotonic_increasing


def test_the_simulated_record_says_that_it_is() -> None:
    loaded = data.load(config("simulated", simulation=Simulation(customers=60, terminals=60, days=35)))
    assert loaded.simulated
    assert {"account", "counterparty", "label", "scenario"} <= set(loaded.mapping)
    assert not [finding for finding in loaded.findings if finding.severity != "info"]


def test_separation_is_that_of_an_order_of_values_or_of_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    fraud = rng.random(5000) < 0.1
    noise = rng.normal(size=5000)
    assert checks.separation(noise, fraud) < 0.6
    assert checks.separation(noise - 9 * fraud, fraud) > 0.99
    assert checks.separation(np.where(fraud, np.nan, noise), fraud) > 0.99
    assert checks.separation(np.where(fraud, np.where(noise > 0, np.nan, noise + 9), noise), fraud) > 0.99  # high or missing
    assert checks.separation(np.where(fraud, 2.0, rng.choice([1.0, 3.0], 5000)), fraud) > 0.99  # no order separates
    assert checks.separation(rng.permutation(5000).astype("str"), fraud) < 0.6  # ids of a row each do not
    assert checks.separation(np.where(fraud, "x", rng.choice(["a", "b"], 5000)), fraud) > 0.99


@pytest.mark.parametrize("source", ["absent.csv", "simulatedd"])
def test_no_source_is_a_finding(source: str) -> None:
    (finding,) = data.check(config(source))
    assert finding.severity == "error"
