from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.config import resolve
from shared.errors import DataError, UserError
from tests.usecases.recommendation.conftest import make_shop
from usecases.recommendation import data, splits
from usecases.recommendation.config import RecommendationConfig


def config(source: Path | str, *more: str) -> RecommendationConfig:
    return resolve(RecommendationConfig, [], [f"data.source={source}", *more])


def test_a_broken_file_has_every_fault_listed_in_one_go(tmp_path: Path) -> None:
    lines = [f"u{i % 20},i{(3 * i) % 17},3,{1_500_000_000 + i}" for i in range(200)]
    lines[4] = ",i1,3,1500000000"  # row 5: no user
    lines[9] = "u1, ,3,1500000000"  # row 10: no item
    lines[14] = "u1,i2,many,1500000000"  # row 15: rating
    lines[19] = "u1,i3,3,yesterday"  # row 20: unparsable time
    lines[24] = f"u1,i4,3,{int(time.time()) + 10**7}"  # row 25: future
    lines[29] = "u1,i5"  # row 30: too short
    lines[34] = "only,i6,3,1500000000"  # row 35: a user with one interaction
    lines[39] = "u0,i0,4,1500000500"  # row 40: says again what row 1 says
    path = tmp_path / "broken.csv"
    path.write_bytes(
        ("user,item,rating,timestamp\n" + "\n".join(lines)).encode() + "\nu2,caf\xe9,3,1500000000\n".encode("latin-1")
    )
    found = {finding.what: finding for finding in data.check(config(path, "at=[10]"))}
    rows = {what: list(finding.rows) for what, finding in found.items()}
    assert rows["not valid utf-8"] == [201]
    assert rows["not 4 values in the line"] == [30]
    assert rows["no user or no item"] == [5, 10]
    assert rows["not a number in the rating"] == [15]
    assert rows["unusable timestamp"] == [20, 25]
    assert rows["1 users have one interaction"] == [35]
    assert found["1 users have one interaction"].examples == ["only"]
    assert rows["the same user and item again"] == [40]
    with pytest.raises(DataError, match="not valid utf-8"):
        data.load(config(path, "at=[10]"))
    kept = data.load(config(path, "at=[10]", "data.encoding=latin-1"))
    assert len(kept.frame) == 201 - 6 - 1
    with pytest.raises(DataError) as caught:
        data.load(config(path, "at=[10]", "data.encoding=latin-1", "data.faults=refuse", "data.duplicates=refuse"))
    assert len(caught.value.findings) == 5  # and the short line


@pytest.mark.parametrize(("keep", "rating"), [("last", 5.0), ("first", 1.0)])
def test_of_duplicates_the_one_that_is_configured_counts(tmp_path: Path, keep: str, rating: float) -> None:
    table = make_shop()
    row = table.iloc[[0]]
    table = pd.concat([row.assign(timestamp=2_000, rating=5), row.assign(timestamp=1_000, rating=1), table.iloc[1:]])
    table.to_csv(tmp_path / "a.csv", index=False)
    frame = data.load(config(tmp_path / "a.csv", f"data.duplicates={keep}")).frame
    same = frame[(frame["user"] == row["user"].iloc[0]) & (frame["item"] == row["item"].iloc[0])]
    assert same["rating"].tolist() == [rating]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_gives_the_same_events(tmp_path: Path, kind: str) -> None:
    table = make_shop().drop(columns=["title", "genres"])
    path = tmp_path / f"a.{kind}"
    writers = {
        "csv": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "parquet": lambda: table.assign(timestamp=pd.to_datetime(table["timestamp"], unit="s")).to_parquet(path),
        "jsonl": lambda: table.assign(timestamp=table["timestamp"] * 1000).to_json(path, orient="records", lines=True),
    }
    writers[kind]()
    frame = data.load(config(path)).frame
    assert frame["user"].tolist() == table["user"].tolist()
    np.testing.assert_allclose(frame["timestamp"].astype(float), table["timestamp"])
    np.testing.assert_allclose(frame["rating"].astype(float), table["rating"])


def test_columns_are_recognised_mapped_or_asked_for(tmp_path: Path) -> None:
    table = make_shop().rename(columns={"user": "Customer ID", "item": "wotsit", "timestamp": "event_time"})
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"it cannot be told which column is the item.*wotsit"):
        data.load(config(path))
    assert len(data.load(config(path, "data.columns.item=wotsit")).frame) == len(table)
    with pytest.raises(DataError, match="there is no column 'nope'"):
        data.load(config(path, "data.columns.item=wotsit", "data.columns.rating=nope"))


def test_movielens_layouts(tmp_path: Path) -> None:
    table = make_shop().assign(user=lambda d: d["user"].str[1:], item=lambda d: d["item"].str[1:])
    events = table[["user", "item", "rating", "timestamp"]]
    films = table.drop_duplicates("item")
    small, medium, large = (tmp_path / name for name in ("100k", "1m", "25m"))
    for folder in (small, medium, large):
        folder.mkdir()
    events.to_csv(small / "u.data", sep="\t", header=False, index=False)
    flags = ["|".join("1" if place == 5 else "0" for place in range(19)) for _ in range(len(films))]
    (small / "u.item").write_bytes(
        "".join(f"{i}|Amélie {i}|1-1-95||url|{f}\n" for i, f in zip(films["item"], flags, strict=True)).encode("latin-1")
    )
    (medium / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in events.to_numpy()))
    (medium / "movies.dat").write_bytes("".join(f"{i}::Amélie {i}::Comedy|War\n" for i in films["item"]).encode("latin-1"))
    events.set_axis(["userId", "movieId", "rating", "timestamp"], axis=1).to_csv(large / "ratings.csv", index=False)
    films.assign(movieId=films["item"], title="Amélie " + films["item"], genres="Comedy")[["movieId", "title", "genres"]].to_csv(
        large / "movies.csv", index=False
    )
    for folder in (small, medium, large):
        loaded = data.load(config(folder))
        assert loaded.frame["user"].tolist() == events["user"].tolist()
        assert loaded.items.loc["4", "title"] == "Amélie 4"
        assert "Comedy" in loaded.items.loc["4", "tags"].split("|")


def test_recbole_and_sequence_files(tmp_path: Path) -> None:
    table = make_shop()
    header = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float", "timestamp": "timestamp:float"}
    table[list(header)].rename(columns=header).to_csv(tmp_path / "shop.inter", sep="\t", index=False)
    films = table.drop_duplicates("item")[["item", "title"]].set_axis(["item_id:token", "movie_title:token_seq"], axis=1)
    films.to_csv(tmp_path / "shop.item", sep="\t", index=False)
    people = pd.DataFrame({"user_id:token": table["user"].unique(), "age_group:token": "young"})
    people.to_csv(tmp_path / "shop.user", sep="\t", index=False)
    loaded = data.load(config(tmp_path, "data.users.groups=[age_group]"))
    assert loaded.frame["item"].tolist() == table["item"].tolist()
    assert loaded.items.loc["i4", "title"] == "Film i4"
    assert loaded.users["age_group"].unique().tolist() == ["young"]
    with pytest.raises(DataError, match="there is no user column income"):
        data.load(config(tmp_path, "data.users.groups=[income]"))

    lines = [f"{u} " + " ".join(str(1 + (u + i) % 15) for i in range(6)) for u in range(1, 30)] + ["77"]
    (tmp_path / "seq.txt").write_text("\n".join(lines))
    loaded = data.load(config(tmp_path / "seq.txt", "split.method=leave_one_out", "at=[10]"))
    assert loaded.frame[loaded.frame["user"] == "3"]["item"].tolist() == ["4", "5", "6", "7", "8", "9"]
    assert (loaded.findings[0].rows, loaded.findings[0].examples) == ([30], ["77"])


def test_side_tables_are_read_and_their_gaps_named(tmp_path: Path, shop: Path) -> None:
    items = tmp_path / "items.csv"
    pd.DataFrame({"sku": ["i1", "i2", "new"], "name": ["One", "Two", "Three"], "price": [1, 2, 3]}).to_csv(items, index=False)
    loaded = data.load(config(shop, f"data.items.path={items}", "data.items.id=sku", "data.items.text=[name]"))
    assert loaded.items["title"].to_dict() == {"i1": "One", "i2": "Two", "new": "Three"}
    assert any("without an entry in the table of items" in f.what for f in loaded.findings)
    with pytest.raises(DataError, match=r"data\.items\.id"):
        data.load(config(shop, f"data.items.path={items}", "data.items.id=skuu"))
    with pytest.raises(UserError, match="There is no file"):
        data.load(config(shop, "data.items.path=absent.csv"))


def test_no_timestamp_needs_another_split(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    make_shop()[["user", "item"]].to_csv(path, index=False)
    with pytest.raises(DataError, match=r"split.method=random"):
        data.load(config(path))
    data.load(config(path, "split.method=random"))


def test_a_k_core_has_k_of_each(shop: Path) -> None:
    frame = data.load(config(shop, "data.k_core=5")).frame
    assert frame.groupby("user").size().min() >= 5
    assert frame.groupby("item").size().min() >= 5


def test_ids_may_be_any_strings(tmp_path: Path) -> None:
    names = {f"i{i}": name for i, name in enumerate(['a "b"', "x,y", "日本", "007", "7", "None", "é" * 50])}
    table = make_shop().assign(item=lambda d: d["item"].map(names).fillna(d["item"]))
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False)
    assert set(data.load(config(path)).frame["item"]) == set(table["item"])


@pytest.mark.parametrize("method", ["time", "leave_one_out", "random"])
def test_nothing_of_a_later_part_is_in_an_earlier_one(shop: Path, method: str) -> None:
    settings = config(shop, f"split.method={method}", "model.min_item_events=1")
    interactions = data.load(settings)
    everything = set(map(tuple, interactions.frame[["user", "item"]].to_numpy()))
    times = interactions.frame.set_index(["user", "item"])["timestamp"].to_dict()
    choosing, judging = splits.split(interactions, settings)

    def pairs(histories: splits.Histories, users: np.ndarray, stage: splits.Stage) -> set[tuple[str, str]]:
        return set(zip(users[histories.rows], stage.catalogue.ids[histories.items], strict=True))

    asked = {}
    for stage in (choosing, judging):
        past = pairs(stage.past, stage.users, stage)
        known = pairs(stage.queries.known, stage.queries.users, stage)
        targets = pairs(stage.queries.targets, stage.queries.users, stage)
        assert targets
        assert not targets & (past | known)
        assert past | known | targets <= everything
        asked[stage is judging] = targets, past
        assert set(stage.users[np.isin(stage.users, stage.queries.users[stage.queries.new])]) == set()
        if method == "time":
            assert max(times[pair] for pair in past) < min(times[pair] for pair in targets)
        if method != "random":
            for user in np.unique(stage.queries.users):
                own = [times[pair] for pair in known if pair[0] == user]
                assert not own or max(own) <= min([times[p] for p in targets if p[0] == user], default=np.inf)
    assert not asked[True][0] & (asked[False][0] | asked[False][1])
    if method == "leave_one_out":
        assert asked[True][1] == asked[False][1]


def test_the_same_seed_splits_the_same(shop: Path) -> None:
    settings = config(shop, "split.method=random", "seed=3")
    first, second = (splits.split(data.load(settings), settings)[1].queries.targets.items for _ in range(2))
    assert np.array_equal(first, second)
    other = config(shop, "split.method=random", "seed=4")
    assert not np.array_equal(first, splits.split(data.load(other), other)[1].queries.targets.items)


def test_json_lines_of_numbers_keep_whole_ids(tmp_path: Path) -> None:
    rows = [{"user": u, "item": i if i else None, "timestamp": 1e9 + i} for u in range(12) for i in range(12)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    loaded = data.load(config(path, "at=[5]"))
    assert set(loaded.frame["item"]) == {str(i) for i in range(1, 12)}
    assert loaded.findings[0].what == "no user or no item"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_large_whole_ids_stay_apart_where_one_is_missing(tmp_path: Path, kind: str) -> None:
    rows = [{"user": 2**60 + u, "item": f"i{i}", "timestamp": 1_000_000 + i} for u in range(12) for i in range(25)]
    rows[3]["user"] = None
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert data.load(config(path)).frame["user"].nunique() == 12


def test_mapped_columns_win_over_others_of_the_role_s_name(tmp_path: Path) -> None:
    table = make_shop().assign(customer=lambda d: "c" + d["user"], user="seller")
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False)
    assert set(data.load(config(path, "data.columns.user=customer")).frame["user"]) == set(table["customer"])
    with pytest.raises(DataError, match="two roles"):
        data.load(config(path, "data.columns.user=customer", "data.columns.item=customer"))
    path.write_text("user,item,item,timestamp\n1,2,3,4\n")
    with pytest.raises(DataError, match="more than one column is named item"):
        data.load(config(path))


def test_a_quote_in_a_tab_separated_file_is_a_character(tmp_path: Path) -> None:
    table = make_shop()[["user", "item", "timestamp"]].assign(item=lambda d: d["item"].replace("i3", '"i3'))
    path = tmp_path / "a.tsv"
    path.write_text("user\titem\ttimestamp\n" + "".join(f"{u}\t{i}\t{t}\n" for u, i, t in table.to_numpy()))
    loaded = data.load(config(path))
    assert len(loaded.frame) == len(table)
    assert '"i3' in set(loaded.frame["item"])


def test_what_settings_leave_out_is_named(shop: Path) -> None:
    found = [f.what for f in data.load(config(shop, "data.min_rating=3", "data.k_core=3")).findings]
    assert any(what.startswith("events rated below 3") for what in found)
    assert any(what.startswith("events of users or items") for what in found)


def test_repeats_are_no_targets(tmp_path: Path) -> None:
    table = make_shop()
    later = table.iloc[::10].assign(timestamp=lambda d: table["timestamp"].max() + np.arange(len(d)))
    path = tmp_path / "a.csv"
    pd.concat([table, later]).to_csv(path, index=False)
    settings = config(path, "data.duplicates=keep", "model.min_item_events=1")
    queries = splits.split(data.load(settings), settings)[1].queries
    assert not (queries.known.matrix(100).multiply(queries.targets.matrix(100))).nnz


def test_users_with_one_event_each_are_a_finding_before_training(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,timestamp\n" + "".join(f"u{n},i{n % 25},{1_000_000 + n}\n" for n in range(300)))
    errors = [finding for finding in splits.check(config(path)) if finding.severity == "error"]
    assert [error.what for error in errors] == ["no user has both a known event and a later one"]
