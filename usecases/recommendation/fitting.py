"""Fitting the members: first with settings to choose from, judged on validation, then again on all of the past."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
import scipy.sparse as sp
import torch

from shared.config import Training
from shared.errors import UserError
from shared.hardware import Choice, agree
from shared.runs import Run
from shared.training import Fitted, Validation, fit
from usecases.recommendation import linear, networks
from usecases.recommendation.blending import NETWORKS, choose_weights
from usecases.recommendation.config import RecommendationConfig
from usecases.recommendation.linear import Settings
from usecases.recommendation.model import Blend, ColdLinks, Member, Neural, Popularity, ndcg
from usecases.recommendation.splits import Stage

# What validation picks from, for the simple methods as their papers give them and for those that know of nearness.
GRIDS: dict[str, list[Settings]] = {
    "item_knn": [Settings(row_power=p, column_power=p, neighbours=n) for p in (0.3, 0.5) for n in (50, 200)],
    "ease": [Settings(l2=l2) for l2 in (400.0, 200.0, 100.0, 800.0)],
    "near_knn": [
        Settings(near=1.0, scale=9.5, backward=b, row_power=0.5, column_power=c, decay=d)
        for b, c, d in ((0.3, 0.15, 0.75), (0.3, 0.3, 0.95), (1.0, 0.5, 0.99), (1.0, 0.5, 1.0))
    ],
    "near_ease": [
        *(Settings(l2=l2) for l2 in (200.0, 400.0)),
        *(Settings(near=0.5, row_power=0.3, tag_weight=t, l2=l2) for t in (0.0, 4.0) for l2 in (30.0, 100.0)),
    ],
}
PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0)
BASELINES = ("popularity", "item_knn", "ease", "near_knn", "near_ease")  # all simple: closed form, seconds


@dataclass
class Recipe:
    """What was chosen on validation.

    Attributes:
        settings: of the closed-form methods, baselines included.
        epochs: of the networks.
        weights: of the blend's members.
        penalty: of items known by their text only; see `ColdLinks`.
        validation: NDCG of each method and of the blend on the validation queries.
    """

    settings: dict[str, Settings] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    penalty: float = 0.0
    validation: dict[str, float] = field(default_factory=dict)


class Workshop:
    """Fits any method by its name on a stage's past. `label` tells the stages' checkpoints apart."""

    def __init__(self, stage: Stage, config: RecommendationConfig, run: Run, hardware: Choice, label: str) -> None:
        self.stage, self.config, self.run, self.hardware, self.label = stage, config, run, hardware, label
        self.n_items = stage.catalogue.warm
        self.counts = linear.popularity(stage.past, self.n_items)
        self.fits: dict[str, Fitted] = {}
        self.pairs = lru_cache(maxsize=2)(partial(linear.count_pairs, stage.past, self.n_items))

    def closed_form(self, name: str, settings: Settings) -> Member:
        if name == "popularity":
            return Popularity(self.counts)
        pairs = self.pairs(settings.near, settings.scale, settings.backward)
        if name.endswith("ease"):
            tags = self.stage.catalogue.tags[: self.n_items]
            return linear.fit_ease(pairs, tags, settings)
        return linear.fit_item_knn(pairs, settings)

    def trainable(self, name: str) -> networks.Users:
        """What a network is trained on."""
        past = self.stage.past.keep(self.stage.past.items < self.n_items)
        return networks.trainable(past, self.config.model.transformer.max_length + 1 if name == "transformer" else None)

    def network(self, name: str, epochs: int | None = None) -> Member:
        """Train a network: with `epochs` for just as many, without for the best epoch on validation."""
        longest = self.config.model.transformer.max_length if name == "transformer" else None
        torch.manual_seed(self.config.seed)
        network: networks.VaeRecommender | networks.TransformerRecommender
        if name == "vae":
            network = networks.VaeRecommender(self.n_items, self.config.model.vae).expect(self.counts)
        else:
            network = networks.TransformerRecommender(self.n_items, self.config.model.transformer).expect(self.counts)
            if network.config.warm_start:
                network.start_from(sp.csr_matrix(self.pairs(1.0, 9.5, 0.0)), self.config.seed)
        training: Training = network.config.training
        watched: Validation | None = None
        if epochs is None:
            watched = networks.validation(self.stage.queries, self.n_items, longest)
        else:
            training = training.model_copy(update={"epochs": epochs})
        self.fits[name] = fit(
            network,
            network.objective,
            self.trainable(name),
            watched,
            training,
            self.run,
            self.hardware,
            name=f"{name}-{self.label}",
            seed=self.config.seed,
            collate=networks.collate,
        )
        return Neural(network, longest)

    def judge(self, member: Member) -> float:
        """NDCG on the stage's queries, all of them: those that a member cannot score get popularity."""
        alone = self.blend({"it": member}, {"it": 1.0})
        return ndcg(alone.score, self.stage.queries, len(self.stage.catalogue), self.config.at[0])

    def blend(self, members: Mapping[str, Member], weights: Mapping[str, float], cold: ColdLinks | None = None) -> Blend:
        links = cold or ColdLinks.none(len(self.stage.catalogue) - self.n_items)
        return Blend(members, weights, torch.from_numpy(self.counts), links)


def choose(shop: Workshop, say: Callable[[str], None]) -> tuple[Recipe, dict[str, Member]]:
    """Settings, epochs and weights by validation; also the members that were fitted on the way."""
    recipe, fitted = Recipe(), {}
    wanted = [name for name in shop.config.model.members if name not in NETWORKS]
    for name in dict.fromkeys((*BASELINES, *wanted)):
        if name.endswith("ease") and shop.n_items > shop.config.model.ease_up_to:
            say(f"{name} is left out: {shop.n_items:,} items are more than model.ease_up_to")
            continue
        tried = [(shop.closed_form(name, settings), settings) for settings in GRIDS.get(name, [Settings()])]
        scores = [shop.judge(member) for member, _ in tried]
        best = int(np.argmax(scores))
        fitted[name], recipe.settings[name] = tried[best]
        recipe.validation[name] = scores[best]
        say(f"{name:<12} {_metric(shop)} {scores[best]:.4f} on validation")
    for name in NETWORKS:
        if name in shop.config.model.members and not shop.trainable(name):
            say(f"{name} is left out: no user has two events of trained items")
        elif name in shop.config.model.members:
            fitted[name] = shop.network(name)
            recipe.epochs[name] = shop.fits[name].best_epoch
            recipe.validation[name] = shop.judge(fitted[name])
            say(f"{name:<12} {_metric(shop)} {recipe.validation[name]:.4f} on validation, epoch {recipe.epochs[name]}")
    members: dict[str, Member] = {name: fitted[name] for name in shop.config.model.members if name in fitted}
    if not members:
        raise UserError("None of model.members can be trained on this data. Add near_knn or popularity.")
    recipe.weights = agree(choose_weights(members, shop.stage.queries, shop.n_items, shop.config.at[0], shop.config.seed))
    blend = shop.blend({name: members[name] for name in recipe.weights}, recipe.weights)
    recipe.validation["blend"] = ndcg(blend.score, shop.stage.queries, len(shop.stage.catalogue), shop.config.at[0])
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in recipe.weights.items())
    say(f"{'blend':<12} {_metric(shop)} {recipe.validation['blend']:.4f} on validation: {shares}")
    return recipe, fitted


def choose_penalty(
    shop: Workshop, recipe: Recipe, fitted: Mapping[str, Member], links: Sequence[ColdLinks], say: Callable[[str], None]
) -> float:
    """The penalty of new items (one of `links` each) with the best NDCG on validation; the smaller one of equals."""
    members = {name: fitted[name] for name in recipe.weights}
    blends = [shop.blend(members, recipe.weights, cold) for cold in links]
    scores = [ndcg(blend.score, shop.stage.queries, len(shop.stage.catalogue), shop.config.at[0]) for blend in blends]
    best = int(np.argmax(scores))
    say(f"New items: ranked by text less {PENALTIES[best]:g} deviations, {_metric(shop)} {scores[best]:.4f} on validation")
    recipe.validation["blend"] = scores[best]
    return PENALTIES[best]


def fit_again(shop: Workshop, recipe: Recipe) -> dict[str, Member]:
    """The baselines and the blend's members on a stage's past, with what was chosen."""
    names = [name for name in dict.fromkeys((*BASELINES, *recipe.weights)) if name in recipe.validation]
    return {
        name: shop.network(name, recipe.epochs[name]) if name in recipe.epochs else shop.closed_form(name, recipe.settings[name])
        for name in names
    }


def _metric(shop: Workshop) -> str:
    return f"NDCG@{shop.config.at[0]}"
