"""Histories, and splits in which no event of a later part is seen in an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from shared.errors import DataError, Finding
from usecases.recommendation import data
from usecases.recommendation.config import RecommendationConfig, Split
from usecases.recommendation.data import Interactions


@dataclass(frozen=True)
class Histories:
    """Events of many users, one user after the other, each in time order.

    Attributes:
        offsets: [users + 1] int64; user u owns the events offsets[u] to offsets[u + 1].
        items: [events] int64, indices into a catalogue.
        weights: [events] float32, how much an event says: 1 on average, more for a high rating; 1 where there are none.
        times: [events] float64 seconds; 0 where there are none.
    """

    offsets: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Histories:
        """From lists of item indices, without ratings and times."""
        offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
        items = np.asarray([i for s in sequences for i in s], dtype=np.int64)
        return cls(offsets, items, np.ones(len(items), np.float32), np.zeros(len(items)))

    @classmethod
    def stack(cls, parts: Sequence[Histories]) -> Histories:
        """The users of several, one after the other."""
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))]).astype(np.int64)
        items, weights, times = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "weights", "times")
        )
        return cls(offsets, items, weights, times)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """[events] the user that each event belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, users: np.ndarray | slice) -> Histories:
        """The histories of some users."""
        chosen = np.arange(len(self))[users]
        starts, lengths = self.offsets[chosen], self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
        return Histories(offsets, self.items[index], self.weights[index], self.times[index])

    def keep(self, mask: np.ndarray) -> Histories:
        """The same users with only the events where `mask` [events] is true."""
        counts = np.bincount(self.rows[mask], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(offsets, self.items[mask], self.weights[mask], self.times[mask])

    def last(self, n: int) -> Histories:
        """The last n events of each."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.items))
        return self.keep(from_end <= n)

    def matrix(self, n_items: int, values: np.ndarray | None = None) -> sp.csr_matrix:
        """[users, n_items] sparse; 1 (or `values` [events]) where there is an event. Events of items beyond are left out."""
        data = np.ones(len(self.items), np.float32) if values is None else values.astype(np.float32)
        inside = self.items < n_items
        matrix = sp.csr_matrix((data[inside], (self.rows[inside], self.items[inside])), shape=(len(self), n_items))
        matrix.data = np.minimum(matrix.data, data.max()) if len(data) else matrix.data  # repeated events do not add up
        return matrix


@dataclass(frozen=True)
class Queries:
    """What is known of each user, and what they turned to next.

    Attributes:
        users: [n] user ids.
        known: what a model is given.
        targets: what it should find.
        new: [n] true where the user has no event in the past that models are trained on.
    """

    users: np.ndarray
    known: Histories
    targets: Histories
    new: np.ndarray


@dataclass(frozen=True)
class Catalogue:
    """All items: first the `warm` ones, which models are trained on, then those known by text (or id) only.

    `tags` is [items, tags], 1 where an item has a tag.
    """

    ids: np.ndarray
    titles: np.ndarray
    texts: np.ndarray
    tags: sp.csr_matrix
    warm: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Stage:
    """Something to train on and something to judge by; nothing of the second is in the first."""

    catalogue: Catalogue
    users: np.ndarray
    past: Histories
    queries: Queries


def split(interactions: Interactions, config: RecommendationConfig) -> tuple[Stage, Stage]:
    """Two stages: models are chosen in the first (train, validation), and judged in the second (train + validation, test).

    By time: events before a cut are the past, those after it the targets; a user whose first event is after the cut
    brings the first half of the events as known history, so that unseen users are judged too. Leave-one-out: each
    user's last event is the test, the one before it validation; there the second stage trains on what the first did.
    Random: a share of each user's events.

    Raises:
        DataError: a part would be empty.
    """
    frame = interactions.frame.assign(weight=_weights(interactions.frame)).reset_index(drop=True)
    order = ["user", "timestamp"] if interactions.timed else ["user"]
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    part = _parts(frame, config.split, config.seed)
    stages = []
    for past, judged in ((part < 1, part == 1), (part < 2, part == 2)):
        trained = _share(frame, past if config.split.refits else part < 1, config)
        if not trained.any() or not judged.any():
            fix = "Use more data, another split.method, or larger split.test and split.validation"
            raise DataError([Finding("error", "a part of the split is empty", interactions.name, fix)])
        stage = _stage(interactions, frame, trained, past, judged, config)
        known = stage.queries.known.keep(stage.queries.known.items < stage.catalogue.warm)
        if not ((known.lengths > 0) & (stage.queries.targets.lengths > 0)).any():
            fix = "A recommender learns from users with several events; use more data, or a smaller model.min_item_events"
            raise DataError([Finding("error", "no user has both a known event and a later one", interactions.name, fix)])
        stages.append(stage)
    return stages[0], stages[1]


def check(config: RecommendationConfig) -> list[Finding]:
    """Every fault at once, those of the split included; never raises for bad data."""
    findings = data.check(config)
    if any(finding.severity == "error" for finding in findings):
        return findings
    try:
        split(data.inspect(config), config)
    except DataError as error:
        findings += [replace(finding, where=config.data.source) for finding in error.findings]
    return findings


def everything(interactions: Interactions, catalogue: Catalogue) -> tuple[list[str], Histories]:
    """All users and all their events, test part included; events of items that the catalogue lacks are left out."""
    frame = interactions.frame.assign(weight=_weights(interactions.frame))
    frame = frame[frame["item"].isin(catalogue.ids)]
    frame = frame.sort_values(["user", "timestamp"] if interactions.timed else ["user"], kind="stable")
    users = frame["user"].unique()
    return users.tolist(), _histories(frame, users, pd.Index(catalogue.ids))


def protocol(config: Split, at: int) -> str:
    """The protocol in words, printed with every number."""
    how = {
        "time": f"the last {config.test:.0%} of events in time are the test; users unknown before bring the first half of theirs",
        "leave_one_out": "each user's last event is the test, the one before it validation",
        "random": f"a random {config.test:.0%} of each user's events is the test",
    }[config.method]
    return f"{how}; all items not yet seen by the user are ranked in full; top {at}, mean over users, 95% bootstrap intervals"


def _weights(frame: pd.DataFrame) -> np.ndarray:
    """[events] from 0.1 for the lowest rating over 1 for the middle of the scale to 2 for the highest."""
    if "rating" not in frame or frame["rating"].min() == frame["rating"].max():
        return np.ones(len(frame), np.float32)
    low, high = frame["rating"].min(), frame["rating"].max()
    middle, half = (low + high) / 2, (high - low) / 2
    return np.maximum(0.1, 1 + (frame["rating"].to_numpy() - middle) / half).astype(np.float32)


def _parts(frame: pd.DataFrame, config: Split, seed: int) -> np.ndarray:
    """0, 1 or 2 for each event: training, validation, test."""
    part = np.zeros(len(frame), int)
    if config.method == "time":
        times = frame["timestamp"].to_numpy()
        last = np.quantile(times, 1 - config.test)
        middle = np.quantile(times[times < last], 1 - config.validation) if (times < last).any() else last
        part[times >= middle] = 1
        part[times >= last] = 2
        return part
    by_user = frame.groupby("user", sort=False)
    size = by_user["item"].transform("size").to_numpy()
    if config.method == "leave_one_out":
        from_end = by_user.cumcount(ascending=False).to_numpy()
        part[(from_end == 1) & (size >= 3)] = 1
        part[(from_end == 0) & (size >= 3)] = 2
        return part
    rng = np.random.default_rng(seed)
    frame = frame.assign(draw=rng.random(len(frame)))
    rank = frame.groupby("user", sort=False)["draw"].rank(method="first").to_numpy()
    tested = np.round(size * config.test)
    part[rank <= tested + np.round((size - tested) * config.validation)] = 1
    part[rank <= tested] = 2
    return part


def _share(frame: pd.DataFrame, trained: np.ndarray, config: RecommendationConfig) -> np.ndarray:
    """The events that are learnt from, [events] of booleans: by time the latest, else those of users drawn by the seed.

    What is known of the users that are judged stays whole.
    """
    if config.train_share == 1:
        return trained
    if config.split.method == "time":
        place = np.argsort(frame["timestamp"].to_numpy()[trained], kind="stable")
        chosen = np.flatnonzero(trained)[place[len(place) - round(config.train_share * len(place)) :]]
        return np.isin(np.arange(len(frame)), chosen)
    users = np.random.default_rng(config.seed).permutation(frame["user"].unique())
    return trained & frame["user"].isin(users[: round(config.train_share * len(users))]).to_numpy()


def _stage(
    interactions: Interactions,
    frame: pd.DataFrame,
    trained: np.ndarray,
    past: np.ndarray,
    judged: np.ndarray,
    config: RecommendationConfig,
) -> Stage:
    catalogue = _catalogue(interactions, frame["item"][trained], frame["item"][judged | past], config.model.min_item_events)
    index = pd.Index(catalogue.ids)
    users = frame["user"][trained].unique()
    asked = frame["user"][judged].unique()
    known = past.copy()
    if config.split.method == "time":
        # Users who are new after the cut are given by the first half of their events.
        later = frame[judged & ~frame["user"].isin(frame["user"][past].unique()).to_numpy()]
        place = later.groupby("user", sort=False).cumcount()
        size = later.groupby("user", sort=False)["item"].transform("size")
        known[later.index[place < size // 2]] = True
    pair = frame["user"].astype("str") + "\0" + frame["item"].astype("str")
    targets = judged & ~known & ~pair.isin(pair[known]).to_numpy()  # an item that is known already is not to be found
    queries = Queries(
        users=np.asarray(asked),
        known=_histories(frame[known & frame["user"].isin(asked).to_numpy()], asked, index),
        targets=_histories(frame[targets], asked, index),
        new=~pd.Index(asked).isin(users),
    )
    return Stage(catalogue, np.asarray(users), _histories(frame[trained], users, index), queries)


def _histories(frame: pd.DataFrame, users: np.ndarray, items: pd.Index) -> Histories:
    """Events (sorted by user, then time) of `users`, in the order of `users`."""
    rows = pd.Index(users).get_indexer(frame["user"])
    frame = frame.iloc[np.argsort(rows, kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(users)))]).astype(np.int64)
    weights = frame["weight"].to_numpy(np.float32, copy=True)
    times = frame["timestamp"].to_numpy(np.float64, copy=True) if "timestamp" in frame else np.zeros(len(frame))
    return Histories(offsets, items.get_indexer(frame["item"]).astype(np.int64), weights, times)


def _catalogue(interactions: Interactions, trained: pd.Series, present: pd.Series, min_events: int) -> Catalogue:
    """Warm items are those with enough training events; the others follow: seen too rarely, judged, or in the item table."""
    counts = trained.value_counts()
    warm = sorted(counts.index[counts >= min_events])
    rest = sorted((set(present) | set(interactions.items.index)) - set(warm))
    ids = np.asarray([*warm, *rest], dtype=object)
    if not warm:
        fix = "Use more data, or a smaller model.min_item_events"
        raise DataError([Finding("error", f"no item has {min_events} training events", interactions.name, fix)])
    known = interactions.items.reindex(ids)
    titles = known["title"].astype("object").where(known["title"].fillna("") != "", ids).to_numpy()
    return Catalogue(ids, titles, known["text"].fillna("").to_numpy(dtype=object), _tags(known["tags"]), len(warm))


def _tags(lists: pd.Series) -> sp.csr_matrix:
    """[items, tags] from strings of tags joined by |; tags of a single item say nothing and are left out."""
    words = lists.fillna("").str.split("|").explode()
    item = np.repeat(np.arange(len(lists)), lists.fillna("").str.count(r"\|").to_numpy() + 1)
    codes, names = pd.factorize(words.to_numpy(dtype=object))
    real = np.asarray([bool(name) for name in names], bool)[codes]
    table = sp.csr_matrix((np.ones(real.sum(), np.float32), (item[real], codes[real])), shape=(len(lists), len(names)))
    return table[:, np.asarray(table.sum(0)).ravel() > 1]
