"""Recommendations from a saved model: for known users, given histories, nobody in particular, and similar items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pydantic import Field, model_validator

from shared import artifact
from shared.data import tables
from shared.errors import DataError, Finding, UserError, nearest
from shared.export import Compute, Exportable
from shared.records import validate
from shared.usecase import Progress, Record
from usecases.recommendation import export
from usecases.recommendation.data import tidy_ids
from usecases.recommendation.formats import usual_column
from usecases.recommendation.model import CHUNK, Blend, ColdLinks, restore
from usecases.recommendation.splits import Histories

NAME = "recommendation"
BLOCK = 8192
CANDIDATES = 10  # times k, from which a diverse list is picked
SEARCHED = 100_000  # ids among which a mistyped one's nearest is looked for
EXPLAINED = 100  # last events of a history that may be named as reasons

Id = Annotated[str, Field(coerce_numbers_to_str=True)]


class RecommendationRequest(Record):
    """Whom or what to recommend for: a known `user`, a given `history`, items `similar_to` one, or (none of them) anybody."""

    user: Id | None = Field(None, description="id of a user from the training data", examples=["15"])
    history: list[Id] | None = Field(None, description="item ids, oldest first; of a user that the model need not know")
    similar_to: Id | None = Field(None, description="item id: what goes with it")
    k: int = Field(10, ge=1, le=1000, description="items to recommend")
    exclude_seen: bool = Field(True, description="leave out items of the history")
    allow: list[Id] | None = Field(None, description="recommend only these item ids")
    deny: list[Id] = Field([], description="never recommend these item ids")
    diversity: float = Field(0.0, ge=0, le=1, description="0: best scores; towards 1: items unlike each other")
    because: int = Field(2, ge=0, le=10, description="reasons for each item")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.user, self.history, self.similar_to)) > 1:
            raise ValueError("give only one of user, history and similar_to")
        return self


class Reason(Record):
    """An item of the history, and by how much the score falls without it."""

    item: str
    title: str
    contribution: float


class Line(Record):
    item: str
    title: str
    score: float = Field(description="comparable within one list only")
    because: list[Reason]


class RecommendationResponse(Record):
    items: list[Line] = Field(description="best first")
    basis: str = Field(description="what the list was made from")
    unknown: list[str] = Field(description="ids of the request that the model does not know")


class Recommender:
    """A loaded model. It holds the histories of the users it knows, so that it needs no data beside it."""

    Request, Response = RecommendationRequest, RecommendationResponse

    def __init__(
        self,
        blend: Blend,
        ids: Sequence[str],
        titles: Sequence[str],
        vectors: torch.Tensor,
        users: Sequence[str],
        histories: Histories,
    ) -> None:
        self.blend, self.vectors, self.histories = blend, vectors, histories
        self.ids, self.titles = np.asarray(ids, dtype=object), np.asarray(titles, dtype=object)
        self.about: dict[str, Any] = {}  # the artefact's metadata, once loaded
        self.items, self.users = pd.Index(self.ids), pd.Index(np.asarray(users, dtype=object))

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the artefact."""
        tensors = {"popularity": self.blend.popularity, "vectors": self.vectors}
        tensors |= {f"cold.{name}": tensor for name, tensor in vars(self.blend.cold).items()}
        tensors |= {f"histories.{name}": torch.from_numpy(array) for name, array in vars(self.histories).items()}
        members = {}
        for name, member in self.blend.members.items():
            state, members[name] = member.state()
            tensors |= {f"members.{name}.{key}": tensor for key, tensor in state.items()}
        preprocess = {
            "ids": self.ids.tolist(),
            "titles": self.titles.tolist(),
            "users": self.users.tolist(),
            "members": members,
            "weights": dict(self.blend.weights),
        }
        artifact.save(
            folder,
            usecase=NAME,
            tensors=tensors,
            preprocess=preprocess,
            request=RecommendationRequest,
            response=RecommendationResponse,
            about=about,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and verify the artefact; see `shared.artifact.load` for what it refuses."""
        saved = artifact.load(folder, NAME)
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in saved.tensors.items():
            group, _, name = key.rpartition(".")
            parts.setdefault(group, {})[name] = tensor
        members = {}
        for name, settings in saved.preprocess["members"].items():
            state = {
                key.removeprefix(f"members.{name}."): t for key, t in saved.tensors.items() if key.startswith(f"members.{name}.")
            }
            members[name] = restore(name, state, settings)
        blend = Blend(members, saved.preprocess["weights"], saved.tensors["popularity"], ColdLinks(**parts["cold"]))
        histories = Histories(**{name: tensor.numpy() for name, tensor in parts["histories"].items()})
        read = saved.preprocess
        made = cls(blend, read["ids"], read["titles"], saved.tensors["vectors"], read["users"], histories)
        made.about = saved.metadata
        return made

    def examples(self) -> list[RecommendationRequest]:
        """A known user, a given history, similar items, and nobody."""
        popular = self.ids[: len(self.blend.popularity)][
            torch.argsort(self.blend.popularity, descending=True)[:3].numpy()
        ].tolist()
        return [
            RecommendationRequest(user=self.users[0], k=5),
            RecommendationRequest(history=popular, k=5, diversity=0.3),
            RecommendationRequest(similar_to=popular[0], k=5),
            RecommendationRequest(k=5),
        ]

    def predict(self, requests: Sequence[RecommendationRequest]) -> list[RecommendationResponse]:
        """One list a request."""
        return [
            response for start in range(0, len(requests), CHUNK) for response in self._answer(requests[start : start + CHUNK])
        ]

    def exportable(self, requests: Sequence[RecommendationRequest]) -> Exportable:
        """See `shared.export.Exportable`."""
        return export.exportable(self.blend, self.ids.tolist(), Histories.stack([self._history(one)[0] for one in requests]))

    def with_network(self, compute: Compute) -> Recommender:
        def score(known: Histories) -> torch.Tensor:
            """A user at a time: filled up to the longest history, all of them may not fit into memory."""
            each = [compute(export.as_arrays(known.take(slice(row, row + 1))))["scores"] for row in range(len(known))]
            return torch.from_numpy(np.concatenate(each))

        blend, users = replace(self.blend, exported=score), self.users.tolist()
        return Recommender(blend, self.ids.tolist(), self.titles.tolist(), self.vectors, users, self.histories)

    def _answer(self, requests: Sequence[RecommendationRequest]) -> list[RecommendationResponse]:
        asked = [self._history(request) for request in requests]
        scores = self.blend.score(Histories.stack([history for history, _, _ in asked])).clone()
        responses = []
        for own, request, (history, basis, unknown) in zip(scores, requests, asked, strict=True):
            unknown = unknown + self._filter(own, request, history.items)
            picked = self._pick(own, request)
            reasons = self._reasons(history, picked, 0 if request.similar_to is not None else request.because)
            lines = [
                Line(item=self.ids[i], title=self.titles[i], score=round(float(own[i]), 4), because=reason)
                for i, reason in zip(picked.tolist(), reasons, strict=True)
            ]
            responses.append(RecommendationResponse(items=lines, basis=basis, unknown=unknown))
        return responses

    def process(self, source: Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Recommend for each row of a table with a user column, or a `history` column (a list, or ids joined by |).

        Writes user, items and scores (lists, best first), and with because=N also the reasons. Constant memory. Reasons
        (off here unless asked for), diversity and allow-lists are computed a user at a time: slower.
        """
        validate(RecommendationRequest, [{}], options)  # a wrong option is found before anything is read or written
        if whose := {"user", "history", "similar_to"} & set(options):
            raise UserError(f"{', '.join(sorted(whose))} cannot be given for a whole table: it comes from the table's rows.")
        summary: dict[str, Any] = {"rows": 0, "unknown users (popular items)": 0, "out": str(out)}
        with tables.writer(out) as append:
            for table in tables.stream(source, BLOCK):
                column = "history" if "history" in table else usual_column("user", table.columns)
                if column is None:
                    found = ", ".join(map(str, table.columns))
                    fix = f"The table has the columns: {found}. Name the users' column user, or give lists in a column history"
                    raise DataError([Finding("error", "there is no column with users or histories", str(source), fix)])
                if len(table):
                    append(self._process_block(table[column], column == "history", options, summary))
                summary["rows"] += len(table)
                progress(len(table))
            if not summary["rows"]:
                raise UserError(f"{source} has no rows.")
        return summary

    def _process_block(
        self, values: pd.Series, are_histories: bool, options: Mapping[str, Any], summary: dict[str, Any]
    ) -> pa.Table:
        if are_histories:
            lists = [_as_list(value) for value in values.to_numpy(dtype=object)]
            keys = ["|".join(one) for one in lists]
        else:
            keys = tidy_ids(values).fillna("").tolist()
            places = self.users.get_indexer(pd.Index(keys, dtype=object))
            summary["unknown users (popular items)"] += int((places < 0).sum())
        reasons: list[list[str]] = []
        if {"k", "exclude_seen", "deny"}.issuperset(options):
            known = Histories.of([self._indices(one)[0].tolist() for one in lists]) if are_histories else self._of_users(places)
            top, scores = self.best(known, RecommendationRequest(**options))
        else:
            kind = "history" if are_histories else "user"
            requests = [
                RecommendationRequest(**{"because": 0, **options, kind: value}) for value in (lists if are_histories else keys)
            ]
            responses = self.predict(requests)
            top, scores = _rectangle(
                [self.items.get_indexer([line.item for line in r.items]).tolist() for r in responses],
                [[line.score for line in r.items] for r in responses],
            )
            reasons = [["|".join(reason.item for reason in line.because) for line in r.items] for r in responses]
        there = np.isfinite(scores)
        offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(1))]), pa.int32())
        items = pa.array(self.ids, pa.string()).take(pa.array(top[there], pa.int64()))
        columns = {
            "history" if are_histories else "user": pa.array(keys, pa.string()),
            "items": pa.ListArray.from_arrays(offsets, items),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(scores[there], pa.float32())),
        }
        if options.get("because"):
            columns["because"] = pa.array(reasons, pa.list_(pa.string()))
        return pa.table(columns)

    def best(self, known: Histories, request: RecommendationRequest) -> tuple[np.ndarray, np.ndarray]:
        """The k best for many users with one filter, [users, k] each."""
        deny = torch.from_numpy(self._indices(request.deny)[0])
        tops, values = [], []
        for start in range(0, len(known), CHUNK):
            part = known.take(slice(start, start + CHUNK))
            scores = self.blend.score(part)
            if request.exclude_seen:
                scores[torch.from_numpy(part.rows), torch.from_numpy(part.items)] = -torch.inf
            scores[:, deny] = -torch.inf
            best = scores.topk(min(request.k, scores.shape[1]), dim=1)
            tops.append(best.indices.numpy())
            values.append(best.values.numpy())
        return np.concatenate(tops), np.concatenate(values)

    def _history(self, request: RecommendationRequest) -> tuple[Histories, str, list[str]]:
        """The history of one user, what it is, and the ids that are not known."""
        if request.user is not None:
            place = self.users.get_indexer([request.user])[0]
            history = self._of_users(np.asarray([place]))
            if place < 0:
                return history, "what is popular: the user is not known", [request.user]
            return history, f"the user's {len(history.items)} events", []
        if request.similar_to is not None:
            items, unknown = self._indices([request.similar_to])
            if unknown:
                hint = nearest(request.similar_to, self.ids) if len(self.ids) < SEARCHED else "Check its id."
                raise UserError(f"There is no item '{request.similar_to}'. {hint}")
            return Histories.of([items.tolist()]), "what goes with the item", []
        items, unknown = self._indices(request.history or [])
        basis = f"the given history of {len(items)} known items" if len(items) else "what is popular: no known item was given"
        return Histories.of([items.tolist()]), basis, unknown

    def _indices(self, ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        found = self.items.get_indexer(pd.Index(ids, dtype=object)) if len(ids) else np.empty(0, np.int64)
        return found[found >= 0].astype(np.int64), [i for i, place in zip(ids, found, strict=True) if place < 0]

    def _of_users(self, places: np.ndarray) -> Histories:
        """The histories of known users; of unknown ones (-1) empty ones."""
        taken = self.histories.take(np.maximum(places, 0)) if len(self.histories) else Histories.of([[]] * len(places))
        return taken.keep(np.repeat(places >= 0, taken.lengths))

    def _filter(self, scores: torch.Tensor, request: RecommendationRequest, history: np.ndarray) -> list[str]:
        """Set what must not be recommended to -inf, in place; returns unknown ids of the lists."""
        if request.exclude_seen or request.similar_to is not None:
            scores[torch.from_numpy(history)] = -torch.inf
        denied, unknown = self._indices(request.deny)
        scores[torch.from_numpy(denied)] = -torch.inf
        if request.allow is not None:
            allowed, more = self._indices(request.allow)
            unknown += more
            mask = torch.ones(len(scores), dtype=torch.bool)
            mask[torch.from_numpy(allowed)] = False
            scores[mask] = -torch.inf
        return unknown

    def _pick(self, scores: torch.Tensor, request: RecommendationRequest) -> torch.Tensor:
        """Indices of the items to show: the best, or with diversity by marginal relevance (Carbonell & Goldstein 1998)."""
        wide = request.k * (CANDIDATES if request.diversity else 1)
        best = scores.topk(min(wide, len(scores)))
        pool = best.indices[torch.isfinite(best.values)]
        if not request.diversity or len(pool) <= 1:
            return pool[: request.k]
        relevance = scores[pool]
        relevance = (relevance - relevance.min()) / (relevance.max() - relevance.min()).clamp(min=1e-9)
        alike = self.vectors[pool] @ self.vectors[pool].T
        closest = torch.zeros(len(pool))
        left, picked = torch.ones(len(pool), dtype=torch.bool), []
        for _ in range(min(request.k, len(pool))):
            worth = (1 - request.diversity) * relevance - request.diversity * closest
            place = int(worth.masked_fill(~left, -torch.inf).argmax())
            picked.append(place)
            left[place] = False
            closest = torch.maximum(closest, alike[place])
        return pool[picked]

    def _reasons(self, history: Histories, picked: torch.Tensor, count: int) -> list[list[Reason]]:
        """For each picked item the history items without which its score falls most: each is left out in turn."""
        events = len(history.items)
        if not count or not events:
            return [[] for _ in picked]
        tried = range(max(0, events - EXPLAINED), events)
        without = [history.keep(np.arange(events) != event) for event in tried]
        scores = self.blend.score(Histories.stack([history, *without]))[:, picked]
        names = history.items[tried.start :]
        reasons = []
        for fall in (scores[0] - scores[1:]).T:
            best = fall.topk(min(count, len(fall)))
            reasons.append(
                [
                    Reason(item=self.ids[names[i]], title=self.titles[names[i]], contribution=round(float(value), 4))
                    for value, i in zip(best.values, best.indices.tolist(), strict=True)
                    if value > 0
                ]
            )
        return reasons


def _as_list(value: Any) -> list[str]:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    return [part for part in value.split("|") if part] if isinstance(value, str) else [str(part) for part in value]


def _rectangle(indices: list[list[int]], scores: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of different length as arrays, filled up with -inf scores."""
    width = max((len(row) for row in indices), default=0)
    top, values = np.zeros((len(indices), width), np.int64), np.full((len(indices), width), -np.inf)
    for row, (places, given) in enumerate(zip(indices, scores, strict=True)):
        top[row, : len(places)], values[row, : len(given)] = places, given
    return top, values
