from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from shared.errors import UserError
from tests.usecases.conftest import Ended
from tests.usecases.recommendation.conftest import make_shop
from tests.usecases.suggested import errors, overrides, suggested
from usecases.recommendation import USECASE

SHOP = make_shop()
TIMES = pd.to_datetime(SHOP["timestamp"], unit="s")
ORDERS = pd.DataFrame(
    {
        "order_no": range(1000, 1000 + len(SHOP)),
        "kunde": SHOP["user"],
        "stock_code": SHOP["item"],
        "description": SHOP["title"],
        "department": SHOP["genres"],
        "quantity": SHOP["rating"],
        "unit_price": SHOP["item"].str[1:].astype(int) + 0.99,
        "country": SHOP["user"].map(lambda user: ("DE", "FR", "UK")[int(user[1:]) % 3]),
        "invoice_date": TIMES.dt.strftime("%Y-%m-%d %H:%M:%S"),
    }
)


def test_the_columns_of_orders_are_told_by_names_in_any_words_and_by_what_they_hold(tmp_path: Path) -> None:
    ORDERS.to_csv(tmp_path / "orders.csv", sep=";", index=False)
    found = suggested(USECASE, tmp_path / "orders.csv")
    assert found == {
        "data.source": str(tmp_path / "orders.csv"),
        "data.format": "table",
        "data.columns.user": "kunde",
        "data.columns.item": "stock_code",
        "data.columns.timestamp": "invoice_date",
        "data.min_rating": None,
        "split.method": "time",
        "data.items.text": ["description", "department"],  # follow from the item, as the country follows from the customer
        "data.items.tags": ["department"],
    }
    assert not errors(USECASE, found)
    assert USECASE.suggest is not None
    told = next(one.why for one in USECASE.suggest(tmp_path / "orders.csv", {}) if one.key == "data.source")
    assert "nothing is learnt from order_no, quantity, unit_price, country" in told


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("%d.%m.%Y", "usecases check recommendation --data {0}/orders.csv --fix {0}/orders-mended.csv"),
        ("%m/%d/%Y", "usecases check recommendation --data {0}/orders.csv --fix {0}/orders-mended.csv"),
        ("03/04/%Y", "may be mistaken for each other"),
    ],
)
def test_dates_that_are_not_read_are_told_with_what_mends_them(
    written: str, says: str, tmp_path: Path, command_here: Callable[..., Ended]
) -> None:
    ORDERS.assign(invoice_date=None, bestellt=TIMES.dt.strftime(written)).to_csv(tmp_path / "orders.csv", index=False)
    assert USECASE.suggest is not None
    (split,) = (one for one in USECASE.suggest(tmp_path / "orders.csv", {}) if one.key == "split.method")
    assert "'bestellt' has dates such as " in split.why
    assert says.format(tmp_path) in split.why
    if "--fix" in says:
        command_here(*says.format(tmp_path).split()[1:], "data.columns.user=kunde")
        assert suggested(USECASE, tmp_path / "orders-mended.csv")["split.method"] == "time"


def test_columns_without_a_telling_name_are_told_where_only_one_is_left(tmp_path: Path) -> None:
    table = SHOP[["user", "item", "rating", "timestamp"]].set_axis(["a", "product", "b", "c"], axis=1)
    table.to_parquet(tmp_path / "log.parquet")
    found = suggested(USECASE, tmp_path / "log.parquet")
    roles = {role: found[f"data.columns.{role}"] for role in ("user", "item", "rating", "timestamp")}
    assert roles == {"user": "a", "item": "product", "rating": "b", "timestamp": "c"}
    assert not errors(USECASE, found)


def test_of_several_ids_the_one_that_tells_the_others_is_the_items(tmp_path: Path) -> None:
    table = SHOP[["user", "item", "timestamp"]].set_axis(["client_no", "film_code", "seen_at"], axis=1)
    table.insert(
        1, "film_series_no", SHOP["genres"].map({genre: 70 + place for place, genre in enumerate(SHOP["genres"].unique())})
    )
    table.to_csv(tmp_path / "log.csv", index=False)
    assert suggested(USECASE, tmp_path / "log.csv")["data.columns.item"] == "film_code"


def test_what_cannot_be_told_is_asked_for_with_the_candidates_and_an_answer_is_kept(tmp_path: Path) -> None:
    SHOP[["user", "item"]].set_axis(["a", "b"], axis=1).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(UserError, match=r"Candidates: a \(120 different .*, b \(60 different .*data\.columns\.user=a"):
        suggested(USECASE, tmp_path / "log.csv")
    found = suggested(USECASE, tmp_path / "log.csv", data__columns__user="a")
    assert "data.columns.user" not in found
    assert (found["data.columns.item"], found["split.method"]) == ("b", "random")
    assert not errors(USECASE, {**found, "data.columns.user": "a"})


@pytest.mark.parametrize(("high", "least"), [(0.8, 4.0), (0.2, None)])
def test_low_ratings_do_not_count_as_a_choice_where_most_are_high(tmp_path: Path, high: float, least: float | None) -> None:
    rating = [5 if row % 10 < 10 * high else 1 + row % 3 for row in range(len(SHOP))]
    rating[:2] = [4, 1]
    SHOP.assign(rating=rating).to_csv(tmp_path / "log.csv", index=False)
    assert suggested(USECASE, tmp_path / "log.csv")["data.min_rating"] == least


def test_a_table_of_items_beside_the_clicks_is_found_by_its_ids(tmp_path: Path) -> None:
    names = {"user": "client_id", "item": "product_id", "timestamp": "clicked_at"}
    SHOP[list(names)].rename(columns=names).to_json(tmp_path / "clicks.jsonl", orient="records", lines=True)
    shelf = SHOP.drop_duplicates("item")[["item", "title", "genres"]]
    shelf.set_axis(["product_id", "product_name", "department"], axis=1).to_csv(tmp_path / "shelf.csv", index=False)
    found = suggested(USECASE, tmp_path)
    assert (found["data.source"], found["data.items.path"]) == (str(tmp_path / "clicks.jsonl"), str(tmp_path / "shelf.csv"))
    assert (found["data.items.text"], found["data.items.tags"]) == (["product_name", "department"], ["department"])
    assert not errors(USECASE, found)


def test_an_old_tables_encoding_is_told(tmp_path: Path) -> None:
    SHOP.assign(title="Café " + SHOP["item"]).to_csv(tmp_path / "log.csv", index=False, encoding="cp1252")
    found = suggested(USECASE, tmp_path / "log.csv")
    assert found["data.encoding"] == "cp1252"
    assert not errors(USECASE, found)


@pytest.mark.parametrize(
    ("table", "header", "told"),
    [
        (SHOP[["user", "item", "timestamp"]], False, "no line with the columns' names: it begins with u"),
        (pd.DataFrame({"x": [1.5, 2.5] * 50, "y": [0.1] * 100}), True, r"which column .* is the user.*x \(2 different values"),
        (SHOP[["user", "item"]].assign(date="24/12/2025"), True, "'date' is named like a timestamp, but holds '24/12/2025'"),
        (SHOP[["user", "item"]].assign(rating="good"), True, "'rating' is named like a rating, but holds 'good'"),
        (SHOP[["user", "item", "user"]], True, "more than one column named user"),
        (SHOP[["user", "item"]].head(0), True, "no rows below its columns: user, item"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_what_it_holds(
    tmp_path: Path, table: pd.DataFrame, header: bool, told: str
) -> None:
    table.to_csv(tmp_path / "log.csv", index=False, header=header)
    with pytest.raises(UserError, match=told):
        suggested(USECASE, tmp_path / "log.csv")


def test_nothing_and_an_empty_folder_are_told_with_what_was_looked_for(tmp_path: Path) -> None:
    for source, told in ((tmp_path / "gone.csv", "There is no file or folder"), (tmp_path, "is an empty folder")):
        with pytest.raises(UserError, match=f"{told}.*Looked for: a table of who chose what"):
            suggested(USECASE, source)


def test_sequences_are_judged_by_their_last_items(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "recommendation" / "amazon-beauty" / "Beauty.txt").read_text().splitlines()
    (tmp_path / "Beauty.txt").write_text("\n".join(lines[:2000]))
    found = suggested(USECASE, tmp_path)
    assert (found["data.format"], found["split.method"]) == ("sequences", "leave_one_out")
    assert not errors(USECASE, found)


def test_another_shops_recbole_files_become_a_result(shared_data: Path, command_here: Callable[..., Ended]) -> None:
    found = suggested(USECASE, shared_data / "recommendation" / "ml-100k")
    assert (found["data.format"], found["data.min_rating"], found["split.method"]) == ("recbole", 4.0, "time")
    assert not errors(USECASE, found)
    small = ["model.members=[popularity,near_ease,near_knn]"]
    ended = command_here("run", "recommendation", "--quick", "--json", *overrides(found), *small)
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)
    popular = made["baselines"]["popularity"][made["headline"]]["value"]
    assert made["model"][made["headline"]]["low"] > popular > 0
