from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from pydantic import ValidationError

from shared.config import resolve
from shared.errors import DataError, UserError
from shared.runs import Run
from tests.usecases.recommendation.conftest import SMALL, make_shop
from usecases.recommendation.config import RecommendationConfig
from usecases.recommendation.model import Blend, ColdLinks, Popularity
from usecases.recommendation.pipeline import evaluate, link_new_items, read_texts, sentence_encoder, train
from usecases.recommendation.predictor import RecommendationRequest as Request
from usecases.recommendation.predictor import Recommender
from usecases.recommendation.splits import Catalogue, Histories


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("shop")
    make_shop().to_csv(folder / "shop.csv", index=False)
    config = resolve(RecommendationConfig, [], [f"data.source={folder / 'shop.csv'}", *SMALL, "model.members=[near_ease,vae]"])
    made = Run.create("recommendation", config, folder / "run")
    train(config, made)
    return made


@pytest.fixture(scope="module")
def shop(run: Run) -> Recommender:
    return Recommender.load(run.artifact_dir)


def names(response: object) -> list[str]:
    return [line.item for line in response.items]  # type: ignore[attr-defined]


def test_it_learnt_the_tastes_and_popularity_did_not(run: Run) -> None:
    import json

    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["model"]["ndcg@10"]["value"] > 1.5 * metrics["baselines"]["popularity"]["ndcg@10"]["value"]


def test_a_known_user_a_history_and_nobody(shop: Recommender) -> None:
    user = shop.users[5]
    seen = shop.ids[shop.histories.take(np.array([5])).items].tolist()
    known, given, nobody, stranger = shop.predict(
        [Request(user=user), Request(history=seen), Request(), Request(user="nobody we know")]
    )
    assert len(set(names(known)) & set(names(given))) >= 5  # the ratings are not given
    assert not set(names(known)) & set(seen)
    assert "events" in known.basis
    assert names(nobody) == names(stranger)
    assert "popular" in nobody.basis
    assert stranger.unknown == ["nobody we know"]
    order = torch.argsort(shop.blend.popularity, descending=True).numpy()
    assert shop.blend.popularity[shop.items.get_indexer(names(nobody))].tolist() == shop.blend.popularity[order[:10]].tolist()


def test_a_taste_given_at_prediction_is_followed(shop: Recommender) -> None:
    response = shop.predict([Request(history=["i0", "i4", "i8", "i12"], k=5)])[0]
    assert sum(int(name[1:]) % 4 == 0 for name in names(response)) >= 4
    similar = shop.predict([Request(similar_to="i1", k=5)])[0]
    assert "i1" not in names(similar)
    assert sum(int(name[1:]) % 4 == 1 for name in names(similar)) >= 3


def test_filters_and_length(shop: Recommender) -> None:
    history = ["i0", "i4"]
    plain = names(shop.predict([Request(history=history, k=5)])[0])
    assert len(plain) == 5
    denied = shop.predict([Request(history=history, k=5, deny=[plain[0], "unheard"])])[0]
    assert plain[0] not in names(denied)
    assert denied.unknown == ["unheard"]
    allowed = names(shop.predict([Request(history=history, allow=["i0", "i8", "i12"])])[0])
    assert sorted(allowed) == ["i12", "i8"]
    again = names(shop.predict([Request(history=history, k=1000, exclude_seen=False)])[0])
    assert {"i0", "i4"} <= set(again)


def test_diversity_brings_less_alike_items(shop: Recommender) -> None:
    def alike(diversity: float) -> float:
        picked = names(shop.predict([Request(history=["i0", "i4", "i8"], k=8, diversity=diversity)])[0])
        vectors = shop.vectors[shop.items.get_indexer(picked)]
        return float((vectors @ vectors.T).mean())

    assert alike(0.9) < alike(0.0)


def test_reasons_are_the_events_whose_absence_costs_most(shop: Recommender) -> None:
    history = ["i0", "i4", "i1", "i8"]
    first = shop.predict([Request(history=history, k=3, because=2)])[0].items[0]
    place = shop.items.get_loc(first.item)
    indices = shop.items.get_indexer(history).tolist()

    def score(kept: list[int]) -> float:
        return float(shop.blend.score(Histories.of([kept]))[0, place])

    falls = {item: score(indices) - score([j for j in indices if j != i]) for item, i in zip(history, indices, strict=True)}
    best = max(falls, key=lambda item: falls[item])
    assert first.because[0].item == best
    assert first.because[0].contribution == pytest.approx(falls[best], abs=1e-3)


def test_wrong_requests_are_refused_with_the_field(shop: Recommender) -> None:
    for wrong in ({"k": 0}, {"kk": 3}, {"user": "a", "history": []}, {"diversity": 2}):
        with pytest.raises(ValidationError):
            Request.model_validate(wrong)
    with pytest.raises(UserError, match=r"no item 'i99'. Did you mean 'i\d"):
        shop.predict([Request(similar_to="i99")])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_gives_the_same_as_single_requests(shop: Recommender, tmp_path: Path, suffix: str) -> None:
    users = [*shop.users[:30], "stranger"]
    source, out = tmp_path / "users.csv", tmp_path / f"out.{suffix}"
    pd.DataFrame({"userId": users}).to_csv(source, index=False)
    counted: list[int] = []
    summary = shop.process(source, out, {"k": 4}, counted.append)
    assert summary["rows"] == sum(counted) == 31
    assert summary["unknown users (popular items)"] == 1
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "jsonl": lambda p: pd.read_json(p, lines=True)}
    table = readers[suffix](out)
    assert table["user"].tolist() == users
    for row, response in zip(table.itertuples(), shop.predict([Request(user=user, k=4) for user in users]), strict=True):
        items = row.items.split("|") if suffix == "csv" else list(row.items)
        assert items == names(response)


def test_histories_in_a_table_and_slow_options(shop: Recommender, tmp_path: Path) -> None:
    source, out = tmp_path / "h.jsonl", tmp_path / "out.parquet"
    source.write_text('{"history": ["i0", "i4"]}\n{"history": "i1|i5"}\n{"history": null}\n')
    shop.process(source, out, {"k": 3, "because": 1, "diversity": 0.2}, lambda n: None)
    table = pd.read_parquet(out)
    expected = shop.predict([Request(history=h, k=3, because=1, diversity=0.2) for h in (["i0", "i4"], ["i1", "i5"], [])])
    assert [list(row) for row in table["items"]] == [names(response) for response in expected]
    assert [list(row) for row in table["because"]] == [
        ["|".join(r.item for r in line.because) for line in response.items] for response in expected
    ]


def test_a_table_that_does_not_fit_writes_nothing(shop: Recommender, tmp_path: Path) -> None:
    source, out = tmp_path / "a.csv", tmp_path / "out.parquet"
    source.write_text("colour\nred\n")
    with pytest.raises(DataError, match="no column with users or histories"):
        shop.process(source, out, {}, lambda n: None)
    source.write_text("user\nu1\n")
    with pytest.raises(UserError, match=r"Did you mean 'k'|diversity"):
        shop.process(source, out, {"kk": 3}, lambda n: None)
    assert not out.exists()


def test_new_items_score_as_their_neighbours_by_text() -> None:
    warm = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=-1)
    cold = torch.nn.functional.normalize(torch.tensor([[1.0, 0.05], [0.0, 0.0]]), dim=-1)
    blend = Blend(
        {"it": Popularity(np.array([5.0, 4.0, 1.0]))}, {"it": 1.0}, torch.tensor([5.0, 4.0, 1.0]), ColdLinks.nearest(warm, cold)
    )
    scores = blend.score(Histories.of([[2]]))[0]
    assert scores[2] < scores[1] < scores[3] < scores[0]
    assert scores[4] == -torch.inf
    harder = Blend(blend.members, blend.weights, blend.popularity, ColdLinks.nearest(warm, cold, 0.7))
    torch.testing.assert_close(harder.score(Histories.of([[2]]))[0, 3], scores[3] - 0.7)
    only_cold = blend.score(Histories.of([[3]]))
    torch.testing.assert_close(only_cold, blend.score(Histories.of([[0]])))


def test_all_new_items_without_a_text_are_out_of_reach() -> None:
    blend = Blend({"it": Popularity(np.array([2.0, 1.0]))}, {"it": 1.0}, torch.tensor([2.0, 1.0]), ColdLinks.none(3))
    assert blend.score(Histories.of([[], [0]])).isinf().tolist() == [[False, False, True, True, True]] * 2


def test_a_catalogue_smaller_than_the_lists_is_refused_before_training(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{(u + step) % 12}", 1_000_000 + 100 * u + step) for u in range(30) for step in range(6)]
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_csv(tmp_path / "a.csv", index=False)
    config = resolve(RecommendationConfig, [], [f"data.source={tmp_path / 'a.csv'}", *SMALL])
    with pytest.raises(DataError, match=r"only 12 items, and lists of 20"):
        train(config, Run.create("recommendation", config, tmp_path / "run"))


def test_ratings_count_alike_in_tables_and_single_requests(run: Run, shop: Recommender, tmp_path: Path) -> None:
    vae_only = Recommender.load(run.artifact_dir)
    vae_only.blend = Blend({"vae": shop.blend.members["vae"]}, {"vae": 1.0}, shop.blend.popularity, shop.blend.cold) if (
        "vae" in shop.blend.members) else shop.blend  # fmt: skip
    source, out = tmp_path / "users.csv", tmp_path / "out.parquet"
    pd.DataFrame({"user": shop.users}).to_csv(source, index=False)
    vae_only.process(source, out, {}, lambda n: None)
    singles = vae_only.predict([Request(user=user, because=0) for user in shop.users])
    assert [list(row) for row in pd.read_parquet(out)["items"]] == [names(response) for response in singles]


def test_blank_and_missing_users_get_what_is_popular(shop: Recommender, tmp_path: Path) -> None:
    source, out = tmp_path / "users.csv", tmp_path / "out.parquet"
    source.write_text(f"user,x\n,1\n {shop.users[3]} ,1\n")
    summary = shop.process(source, out, {"k": 3}, lambda n: None)
    assert summary["unknown users (popular items)"] == 1
    assert pd.read_parquet(out)["user"].tolist() == ["", shop.users[3]]
    source.write_text("user\n")
    with pytest.raises(UserError, match="has no rows"):
        shop.process(source, out, {}, lambda n: None)
    with pytest.raises(UserError, match="comes from the table's rows"):
        shop.process(source, out, {"similar_to": "i1"}, lambda n: None)


def test_a_model_is_not_judged_on_what_it_was_trained_on(run: Run, shop: Recommender) -> None:
    config = resolve(RecommendationConfig, [run.folder / "config.yaml"])
    again = evaluate(shop, config)
    assert again["headline"] == "ndcg@10"
    with pytest.raises(UserError, match="trained on"):
        evaluate(shop, resolve(RecommendationConfig, [run.folder / "config.yaml"], ["split.method=random"]))


def test_new_items_are_linked_by_the_real_text_model() -> None:
    texts = np.array(
        ["Space war among the stars, science fiction", "A romantic comedy in Paris", "Star ships and aliens, sci-fi", ""], object
    )
    ids = np.array(["a", "b", "new", "bare"], object)
    catalogue = Catalogue(ids, ids, texts, sp.csr_matrix((4, 0)), 2)
    texts_read = read_texts(catalogue, sentence_encoder(catalogue, RecommendationConfig()), lambda line: None)
    links = link_new_items(catalogue, texts_read, 0.5)
    assert links.penalty == 0.5
    assert links.indices[0, 0] == 0
    assert links.weights[0].sum() == pytest.approx(1)
    assert links.weights[1].sum() == 0
    plain = Catalogue(ids, ids, np.array([""] * 4, object), sp.csr_matrix((4, 0)), 2)
    assert sentence_encoder(plain, RecommendationConfig()) is None
