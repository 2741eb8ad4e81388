"""Raw tables to validated interactions: every fault is found, named with its rows, then handled as configured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from shared.data import cleaning, sources
from shared.data.cleaning import Faults, tidy_ids
from shared.errors import Finding, Severity
from usecases.recommendation import formats
from usecases.recommendation.config import RecommendationConfig


@dataclass(frozen=True)
class Interactions:
    """Valid events in file order.

    Attributes:
        frame: columns user, item (strings), rating (float, if any), timestamp (float seconds, if any).
        items: index item id, columns title, text and tags (joined by |); empty where nothing is known.
        users: index user id, one column for each group.
        findings: what was noticed, and handled, on the way.
    """

    frame: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def timed(self) -> bool:
        return "timestamp" in self.frame

    def describe(self) -> dict[str, object]:
        """For metrics.json and the model card."""
        return {
            "name": self.name,
            "fingerprint": sources.fingerprint(self.frame),
            "events": len(self.frame),
            "users": int(self.frame["user"].nunique()),
            "items": int(self.frame["item"].nunique()),
        }


def load(config: RecommendationConfig) -> Interactions:
    """Read, validate and clean the interactions.

    Raises:
        UserError: the source cannot be read at all.
        DataError: lists every fault that stops a run.
    """
    interactions = inspect(config)
    cleaning.stop_on_errors(interactions.findings)
    return interactions


def check(config: RecommendationConfig) -> list[Finding]:
    """Every fault at once; never raises for bad data."""
    return cleaning.check(lambda: inspect(config).findings, config.data.source)


def inspect(config: RecommendationConfig) -> Interactions:
    """Read and clean; the findings tell what was wrong, errors included."""
    raw = formats.read(config.data)
    faults = Faults(raw.where, config.data.faults == "refuse", names=raw.names)
    frame = raw.interactions
    for column in ("user", "item"):
        cleaning.rounded_ids(frame[column], faults)
    frame = faults.drop(frame, _tidy_both(frame), "no user or no item", ("user", "item"), "Fill in the missing ids")
    if "rating" in frame:
        ratings = cleaning.numbers(frame["rating"])
        frame = faults.drop(frame, ratings.isna(), "not a number in the rating", ("rating",), "Write ratings as numbers")
        frame = frame.assign(rating=ratings[ratings.notna()])
    if "timestamp" in frame:
        times = cleaning.seconds(frame["timestamp"], faults)
        good = (times >= 0) & (times < cleaning.latest())
        frame = faults.drop(
            frame, ~good, "unusable timestamp", ("timestamp",), "Use Unix seconds or ISO 8601, from 1970 to today"
        )
        frame = frame.assign(timestamp=times[good])
    frame = _duplicates(frame, config.data.duplicates, faults)
    if config.data.min_rating is not None:
        if "rating" not in frame:
            faults.add("error", "data.min_rating is set, but there is no rating", "Set data.columns.rating, or leave it out")
        else:
            low = frame["rating"] < config.data.min_rating
            faults.leave_out(frame, low, f"events rated below {config.data.min_rating:g}", "data.min_rating leaves them out")
            frame = frame[~low]
    if config.data.k_core:
        core = k_core(frame, config.data.k_core)
        gone = ~frame.index.isin(core.index)
        faults.leave_out(
            frame, gone, f"events of users or items with fewer than {config.data.k_core} events", "data.k_core leaves them out"
        )
        frame = core
    _sizes(frame, config, faults)
    items = _items(raw, config, faults, frame)
    users = _users(raw, config, faults)
    columns = [c for c in ("user", "item", "rating", "timestamp") if c in frame]
    return Interactions(frame[columns], items, users, Path(config.data.source).name, [*raw.findings, *faults.findings])


def k_core(frame: pd.DataFrame, k: int) -> pd.DataFrame:
    """Drop users and items with fewer than k events until all have k (Batagelj & Zaversnik 2003)."""
    while True:
        enough = (frame.groupby("user")["item"].transform("size") >= k) & (frame.groupby("item")["user"].transform("size") >= k)
        if enough.all():
            return frame
        frame = frame[enough]


def _tidy_both(frame: pd.DataFrame) -> pd.Series:
    """Make user and item tidy strings, in place; True where one is missing."""
    bad = pd.Series(False, index=frame.index)
    for column in ("user", "item"):
        frame[column] = tidy_ids(frame[column])
        bad |= frame[column].isna() | (frame[column] == "")
    return bad


def _duplicates(frame: pd.DataFrame, keep: str, faults: Faults) -> pd.DataFrame:
    ordered = frame.sort_values("timestamp", kind="stable") if "timestamp" in frame else frame
    again = ordered.duplicated(["user", "item"], keep="last" if keep == "last" else "first")
    if not again.any():
        return frame
    rows = sorted(ordered.index[again])
    handled = {
        "last": "the last of them counts",
        "first": "the first of them counts",
        "keep": "all of them count",
        "refuse": "",
    }
    fix = (
        f"data.duplicates={keep}: {handled[keep]}"
        if handled[keep]
        else "Remove them, or set data.duplicates to last, first or keep"
    )
    examples = [f"{u} / {i}" for u, i in ordered.loc[again, ["user", "item"]].head(2).to_numpy()]
    column = ", ".join(faults.names.get(name, name) for name in ("user", "item"))
    severity: Severity = "error" if keep == "refuse" else "warning"
    same = [] if keep == "keep" else list(frame.index[frame.duplicated()])  # of two that say the same, one is enough
    faults.add(severity, "the same user and item again", fix, rows, examples, column=column, left_out=same)
    return frame if keep in ("keep", "refuse") else ordered[~again].sort_index(kind="stable")


def _sizes(frame: pd.DataFrame, config: RecommendationConfig, faults: Faults) -> None:
    users, items = frame.groupby("user")["item"].size(), frame["item"].nunique()
    if len(users) < 10 or items < 10:
        what = f"only {len(users)} users and {items} items are left"
        faults.add("error", what, "A recommender needs at least 10 of each; check the columns and filters")
        return
    if singles := int((users == 1).sum()):
        first = frame.index[frame["user"].isin(users.index[users == 1])]
        fix = "They teach a model nothing; they count as new users where they fall into the test part"
        examples = list(frame["user"].loc[first].head(2))
        faults.add("info", f"{singles} users have one interaction", fix, list(first), examples, column="user")
    if items < max(config.at):
        faults.add(
            "error", f"only {items} items, and lists of {max(config.at)} are asked for", "Ask for shorter ones, e.g. at=[5]"
        )
    timed = "timestamp" in frame
    if not timed and config.split.method == "time":
        found = ", ".join(map(str, frame.columns))
        fix = f"The columns are: {found}. Set data.columns.timestamp, or split.method=random or leave_one_out"
        faults.add("error", "there is no timestamp, and the split is by time", fix)
    elif timed and frame["timestamp"].nunique() == 1:
        severity: Severity = "error" if config.split.method == "time" else "warning"
        fix = "Check data.columns.timestamp, or use split.method=random"
        faults.add(severity, "all timestamps are equal", fix, list(frame.index), column="timestamp")


def _items(raw: formats.Raw, config: RecommendationConfig, faults: Faults, frame: pd.DataFrame) -> pd.DataFrame:
    """Title, text and tags by item id."""
    wanted = config.data.items.text
    nothing = pd.DataFrame(columns=["title", "text", "tags"], dtype="str")
    if raw.items is None or "item" not in raw.items:
        return nothing
    table = raw.items.assign(item=tidy_ids(raw.items["item"])).dropna(subset="item")
    table = table.drop_duplicates("item").set_index("item")
    present = [column for column in wanted if column in table]
    if not present:
        found = ", ".join(map(str, table.columns))
        faults.add(
            "warning",
            f"the items have none of the columns {', '.join(wanted)}",
            f"Set data.items.text to some of: {found}",
        )
        return nothing
    if (unknown := ~frame["item"].isin(table.index)).any():
        fix = "They are known by their id only; add them to the table of items"
        rows, examples = list(frame.index[unknown]), frame["item"][unknown].head(2).tolist()
        faults.add("info", "items without an entry in the table of items", fix, rows, examples, column="item")
    words = table[present].fillna("").astype("str").apply(lambda column: column.str.replace("|", ", ").str.strip())
    text = words[present[0]].str.cat([words[column] for column in present[1:]], sep=" · ")
    tags = [_tags(table[column]) for column in config.data.items.tags if column in table]
    joined = tags[0].str.cat(tags[1:], sep="|").str.strip("|") if tags else pd.Series("", index=table.index)
    return pd.DataFrame({"title": words[present[0]], "text": text, "tags": joined})


def _tags(values: pd.Series) -> pd.Series:
    """Tags joined by |: the words of a text column, or the tenth of the range that a number lies in."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().mean() > 0.5 and numbers.nunique() > 10:
        tenths = pd.qcut(numbers, 10, labels=False, duplicates="drop")
        return tenths.map(lambda tenth: f"{values.name}:{tenth:.0f}", na_action="ignore").fillna("").astype("str")
    return values.fillna("").astype("str").str.replace(r"[|,;\s]+", "|", regex=True)


def _users(raw: formats.Raw, config: RecommendationConfig, faults: Faults) -> pd.DataFrame:
    """The groups of each user, by user id."""
    groups = config.data.users.groups
    if not groups:
        return pd.DataFrame()
    found = [] if raw.users is None else [str(column) for column in raw.users.columns]
    if absent := [group for group in groups if group not in found]:
        have = ", ".join(found) or "no columns, for there is none"
        fix = f"The table of users has {have}. Set data.users.groups and data.users.path"
        faults.add("error", f"there is no user column {', '.join(absent)}", fix)
        return pd.DataFrame()
    assert raw.users is not None
    table = raw.users.assign(user=tidy_ids(raw.users["user"]))
    return table.drop_duplicates("user").set_index("user")[list(groups)]
