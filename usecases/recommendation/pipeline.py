"""Train a recommender: the recipe, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.utils.extmath import randomized_svd
from torch.nn import functional as F

from shared import hardware, pretrained
from shared.errors import UserError
from shared.files import whole
from shared.hardware import Choice
from shared.pretrained import SentenceEncoder
from shared.runs import Run
from shared.training import Fitted
from usecases.recommendation import data, evidence, fitting, report, splits
from usecases.recommendation.config import RecommendationConfig
from usecases.recommendation.data import Interactions
from usecases.recommendation.evidence import Judge, Judged
from usecases.recommendation.fitting import Recipe, Workshop
from usecases.recommendation.model import Blend, ColdLinks
from usecases.recommendation.predictor import RecommendationRequest, RecommendationResponse, Recommender
from usecases.recommendation.splits import Catalogue, Histories, Stage

SHOWN_USERS, SHOWN_ITEMS = 4, 5
TIMED_REQUESTS = 100
VECTOR_DIM = 32


@dataclass(frozen=True)
class Outcome:
    """What training gave: the blend, what was chosen, and how everything did on the test part."""

    stage: Stage
    blend: Blend
    recipe: Recipe
    fits: dict[str, Fitted]
    judge: Judge
    ours: Judged
    others: dict[str, Judged]
    train_s: float


def train(config: RecommendationConfig, run: Run) -> None:
    """Fit recommenders on past interactions, choose on later ones, judge on the last; write artefact and report."""
    say = run.say
    chip = hardware.select(config.hardware)
    say(f"Computing on {chip}")
    interactions = data.load(config)
    for finding in interactions.findings:
        say(f"{finding.severity}: {finding}")

    outcome = fit_and_judge(config, interactions, run, chip, say)
    if outcome is None:
        return
    recommender = package(outcome.blend, outcome.stage, interactions)
    result = {
        **evidence.summarise(
            outcome.judge, outcome.ours, outcome.others, fitting.BASELINES, list(outcome.recipe.weights), interactions.users
        ),
        "data": interactions.describe(),
        "data_findings": [str(finding) for finding in interactions.findings],
        "protocol": splits.protocol(config.split, config.at[0]),
        "split": config.split.method,
        "seed": config.seed,
        "choice": asdict(outcome.recipe),
        "timing": {"train_s": outcome.train_s, **speed(recommender)},
        "hardware": chip.describe(),
    }
    about = {key: result[key] for key in ("data", "protocol", "seed", "model")}
    recommender.save(run.artifact_dir, {**about, "split_settings": _split_settings(config)})
    run.write_json("metrics.json", result)
    write_predictions(run.folder / "predictions.parquet", outcome.judge, outcome.ours)
    report.write(run, result, outcome, show(recommender, outcome, config.seed))


def fit_and_judge(
    config: RecommendationConfig, interactions: Interactions, run: Run, chip: Choice, say: Callable[[str], None]
) -> Outcome | None:
    """The recipe. Of several processes all train, and only the main one judges (the others get None)."""
    started = time.monotonic()
    choosing, judging = splits.split(interactions, config)
    text_model = sentence_encoder(judging.catalogue, config)

    first = Workshop(choosing, config, run, chip, "choose")
    say(f"Choosing on {len(choosing.queries.users):,} users, with {len(choosing.past.items):,} earlier events to train on")
    recipe, fitted = fitting.choose(first, say)
    texts = read_texts(judging.catalogue, text_model, say)
    if texts is not None:
        penalised = [link_new_items(choosing.catalogue, texts, penalty) for penalty in fitting.PENALTIES]
        recipe.penalty = fitting.choose_penalty(first, recipe, fitted, penalised, say)
    run.validated(f"ndcg@{config.at[0]}", recipe.validation["blend"])
    final = Workshop(judging, config, run, chip, "final")
    if config.split.refits:
        say(f"Training again on all {len(judging.past.items):,} events before the test part")
        fitted = fitting.fit_again(final, recipe)
    if not run.is_main:
        return None

    links = link_new_items(judging.catalogue, texts, recipe.penalty)
    blend = final.blend({name: fitted[name] for name in recipe.weights}, recipe.weights, links)
    trained = round(time.monotonic() - started, 2)

    say(f"Judging on {len(judging.queries.users):,} users")
    judge = Judge(judging, config.at)
    names = [name for name in dict.fromkeys((*fitting.BASELINES, *recipe.weights)) if name in fitted]
    others = {name: judge(final.blend({name: fitted[name]}, {name: 1.0}).score) for name in names}
    return Outcome(judging, blend, recipe, first.fits, judge, judge(blend.score), others, trained)


def sentence_encoder(catalogue: Catalogue, config: RecommendationConfig) -> Path | None:
    """The folder of the text model, where there are new items with a text; found before the long work begins."""
    if config.model.text == "none" or not any(catalogue.texts[catalogue.warm :]):
        return None
    return pretrained.locate(pretrained.SENTENCE_ENCODER, Path(config.model.text_path) if config.model.text_path else None)


def read_texts(catalogue: Catalogue, text_model: Path | None, say: Callable[[str], None]) -> pd.DataFrame | None:
    """Unit vectors of the items' texts by item id, zeros where there is no text; None without a text model."""
    if text_model is None:
        return None
    cold = len(catalogue) - catalogue.warm
    say(f"Reading the texts of {len(catalogue):,} items, for {cold:,} that are too new or rare to train on")
    vectors = SentenceEncoder(text_model)(catalogue.texts.tolist())
    vectors[torch.from_numpy(catalogue.texts == "")] = 0
    return pd.DataFrame(vectors.numpy(), index=catalogue.ids)


def link_new_items(catalogue: Catalogue, texts: pd.DataFrame | None, penalty: float) -> ColdLinks:
    """Links of the items that are too new or rare to train on to their neighbours by text."""
    if texts is None:
        return ColdLinks.none(len(catalogue) - catalogue.warm)
    vectors = torch.from_numpy(texts.loc[catalogue.ids].to_numpy(np.float32, copy=True))
    return ColdLinks.nearest(vectors[: catalogue.warm], vectors[catalogue.warm :], penalty)


def package(blend: Blend, stage: Stage, interactions: Interactions) -> Recommender:
    """The predictor: the blend, all that users are known to have (the test part included), and what items are alike."""
    catalogue = stage.catalogue
    users, histories = splits.everything(interactions, catalogue)
    bag = stage.past.matrix(catalogue.warm)
    bag = bag.multiply(1 / np.sqrt(np.maximum(bag.sum(0), 1))).tocsr()
    _, strength, right = randomized_svd(bag, min(VECTOR_DIM, min(bag.shape) - 1), random_state=0)
    vectors = F.normalize(torch.from_numpy((right.T * strength).astype(np.float32)), dim=-1)
    cold = (vectors[blend.cold.indices] * blend.cold.weights.unsqueeze(-1)).sum(1)
    return Recommender(
        blend,
        catalogue.ids.tolist(),
        catalogue.titles.tolist(),
        torch.cat([vectors, F.normalize(cold, dim=-1)]),
        users,
        histories,
    )


def speed(recommender: Recommender) -> dict[str, float]:
    """Users a second in batch (scoring, filtering, top 10), and milliseconds for one request with reasons."""
    known = recommender.histories
    repeats = max(1, 4096 // len(known))
    begun = time.perf_counter()
    for _ in range(repeats):
        recommender.best(known, RecommendationRequest())
    rate = repeats * len(known) / (time.perf_counter() - begun)
    laps = []
    for user in np.resize(recommender.users, TIMED_REQUESTS):
        begun = time.perf_counter()
        recommender.predict([RecommendationRequest(user=user)])
        laps.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(laps, [0.5, 0.99])
    return {"rows_per_s": round(rate), "latency_ms_p50": round(float(p50), 3), "latency_ms_p99": round(float(p99), 3)}


def show(recommender: Recommender, outcome: Outcome, seed: int) -> list[tuple[int, RecommendationResponse]]:
    """Random users of the test part who bring a history: their place among the judged, and what they were recommended."""
    judge = outcome.judge
    able = np.flatnonzero(judge.known.lengths >= 3)
    picked = np.sort(np.random.default_rng(seed).choice(able, min(SHOWN_USERS, len(able)), replace=False))
    histories = [judge.known.take(np.asarray([user])).items for user in picked]
    requests = [RecommendationRequest(history=judge.stage.catalogue.ids[items].tolist(), k=SHOWN_ITEMS) for items in histories]
    return list(zip(picked.tolist(), recommender.predict(requests), strict=True))


def write_predictions(path: Path, judge: Judge, ours: Judged) -> None:
    """What was recommended to each test user: items, scores, which were chosen, and how many could have been."""
    ids = judge.stage.catalogue.ids
    table = pa.table(
        {
            "user": pa.array(judge.users.tolist(), pa.string()),
            "items": ids[ours.top].tolist(),
            "scores": ours.scores.tolist(),
            "chosen": ours.hit.tolist(),
            "targets": judge.targets.lengths,
        }
    )
    with whole(path) as partial:
        pq.write_table(table, partial)


def evaluate(recommender: Recommender, config: RecommendationConfig) -> dict[str, Any]:
    """Judge a trained model on the test part of the data that the configuration names, beside popularity there."""
    interactions = data.load(config)
    about = interactions.describe()
    same_split = recommender.about.get("split_settings") == _split_settings(config)
    if recommender.about.get("data", {}).get("fingerprint") == about["fingerprint"] and not same_split:
        raise UserError(
            "With another seed or split the model would be judged on events that it was trained on. Leave seed, split.* and "
            "model.min_item_events as they are, or give other --data."
        )
    _, judging = splits.split(interactions, config)
    index = recommender.items.get_indexer(judging.catalogue.ids)

    def translate(known: Histories) -> Histories:
        items = index[known.items]
        return Histories(known.offsets, items, known.weights, known.times).keep(items >= 0)

    def score(known: Histories) -> torch.Tensor:
        """Scores in the order of the data's catalogue; what the model does not know cannot be recommended."""
        ours = recommender.blend.score(translate(known))
        scores = ours.new_full((len(known), len(index)), -torch.inf)
        scores[:, index >= 0] = ours[:, index[index >= 0]]
        return scores

    judge = Judge(judging, config.at)
    counts = np.bincount(judging.past.items, minlength=len(index)).astype(np.float32)
    popular = judge(lambda known: torch.from_numpy(counts).repeat(len(known), 1))
    return {
        **evidence.summarise(
            judge, judge(score), {"popularity": popular}, ("popularity",), list(recommender.blend.weights), interactions.users
        ),
        "data": about,
        "protocol": splits.protocol(config.split, config.at[0]),
    }


def _split_settings(config: RecommendationConfig) -> dict[str, Any]:
    """What decides which events a model is trained on, given the data."""
    return {"seed": config.seed, **config.split.model_dump(mode="json")}
