"""What somebody's table of interactions is: who, what, when, how much it was liked, and what is known of the items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from shared.data import cleaning, guessing, tables
from shared.data.columns import normal
from shared.data.guessing import Assumed, Kind
from shared.errors import UserError
from shared.usecase import Assumption
from usecases.recommendation import formats
from usecases.recommendation.config import Items, RecommendationConfig
from usecases.recommendation.predictor import NAME

LOOKED_FOR = (
    "a table of who chose what (.csv .tsv .parquet .jsonl), a folder with one, MovieLens' or RecBole's files, or sequences of "
    "items"
)
HINTS = {  # parts of (normal) names, besides those that `formats.USUAL` knows
    "user": (
        *("user", "customer", "client", "member", "visitor", "account", "reviewer", "buyer", "shopper", "subscriber", "reader"),
        *("listener", "viewer", "student", "guest", "patron", "person", "kunde", "cookie", "device", "household"),
    ),
    "item": (
        *("item", "product", "sku", "asin", "article", "stockcode", "isbn", "movie", "film", "book", "track", "song", "artist"),
        *("video", "game", "recipe", "course", "content", "page", "artikel", "produkt", "offer", "listing", "restaurant", "show"),
    ),
    "rating": ("rating", "stars", "score", "grade", "vote", "liked", "bewertung", "points"),
    "timestamp": ("time", "date", "created", "ordered", "purchased", "clicked", "datum", "zeit"),
}
ID = ("id", "code", "no", "nr", "number", "key", "sku", "asin", "isbn", "hash")  # endings of ids' names
NO_ID = ("country", "city", "segment", "type", "group", "category", "price", "age", "gender", "count", "quantity")
NO_RATING = (
    *("quantity", "qty", "count", "amount", "number", "price", "discount", "day", "month", "hour", "week", "year", "age", "size"),
    *("rank", "position", "page", "menge", "id"),
)
TITLES = ("title", "name", "description", "label", "text")
LEAST = 10  # users and items that a recommender needs
LIKED = 0.75  # of a rating's range: 4 of 5 stars, from which on Liang et al. (2018, section 4.1) count a rating as liked
BESIDE = 20  # tables of a folder that are looked at


def suggest(source: Path, given: Mapping[str, Any]) -> list[Assumption]:
    """What makes the recommender run on a table of interactions; see `shared.usecase.UseCase.suggest`.

    Raises:
        UserError: it is no such table, or which column is who or what cannot be told.
    """
    source = guessing.existing(Path(given.get("data.source", source)), LOOKED_FOR)
    assumed = Assumed(given)
    layout, file = _layout(source)
    taken = source if layout in ("movielens", "recbole") else file  # these have more files beside
    assumed.add("data.source", str(taken.resolve()), _seen(layout, file))
    assumed.add("data.format", layout, f"{file.name} is laid out so")
    if layout == "sequences":
        assumed.add("split.method", "leave_one_out", "items of a line are in order, without times: the last one is the test")
    elif file.name in ("u.data", "ratings.dat"):
        assumed.add("split.method", "time", "MovieLens tells when each rating was given")
    else:
        _of_table(file, layout, assumed)
    return assumed


def _layout(source: Path) -> tuple[str, Path]:
    """The layout, and the file that holds the interactions."""
    if source.is_file():
        return formats.recognise(source), source
    if inter := sorted(source.glob("*.inter")):
        if len(inter) > 1:
            raise guessing.ask(f"{source} has {len(inter)} .inter files.", "data.source", [str(file) for file in inter])
        return "recbole", inter[0]
    names = ("u.data", "ratings.dat", "ratings.csv")
    if known := next((source / name for name in names if (source / name).exists()), None):
        return "movielens", known
    files = _tables(source)
    logs = [file for file in files if formats.recognise(file) == "sequences" or _is_log(file)]
    if len(logs) == 1:
        return formats.recognise(logs[0]), logs[0]
    if logs:
        raise guessing.ask(f"{source} has {len(logs)} tables of who chose what.", "data.source", [str(file) for file in logs])
    if len(files) == 1:
        return formats.recognise(files[0]), files[0]
    there = guessing.listed(sorted(path.name for path in source.iterdir()))
    raise UserError(f"{source} has no table with a column of users and one of items. Looked for: {LOOKED_FOR}. There: {there}.")


def _tables(folder: Path) -> list[Path]:
    endings = {*tables.DELIMITERS, *tables.JSON_LINES, ".parquet", ".pq"}
    return [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix.lower() in endings][:BESIDE]


def _is_log(file: Path) -> bool:
    """Is it a table with a column that is named like users and one like items?"""
    try:
        names = tables.header(file)
    except UserError:
        return False
    return all(formats.usual_column(role, names) or guessing.named_like(names, HINTS[role]) for role in ("user", "item"))


def _seen(layout: str, file: Path) -> str:
    return {
        "table": f"a table, {file.name}",
        "movielens": f"MovieLens' {file.name}",
        "recbole": f"RecBole's {file.name}",
        "sequences": f"{file.name} has lines of a user with the items in order",
    }[layout]


def _of_table(file: Path, layout: str, assumed: Assumed) -> None:
    """Columns, feedback, split and items of a table of interactions."""
    written = str(assumed.given.get("data.encoding") or ("utf-8" if _binary(file) else guessing.encoding(file)))
    if written != "utf-8":
        assumed.add("data.encoding", written, "the text is not valid UTF-8, as most tables are")
    table = formats.plain_recbole(guessing.head(file, written))
    told = guessing.kinds(table)
    roles = _who_and_what(table, told, assumed.given, file)
    roles |= _readable(table, told, roles, assumed.given, file)
    for role, column in roles.items():
        looked = f" in the first {len(table):,} rows" if len(table) == guessing.ROWS else ""
        assumed.add(f"data.columns.{role}", column, _why(role, column, told[column], looked))
    _feedback(table, roles, told, assumed)
    _split(table, roles, told, file, assumed)
    _items(table, roles, file, layout, written, assumed)
    decided = {one.key: one.value for one in assumed} | dict(assumed.given)
    lists = [decided.get(key) or () for key in ("data.items.text", "data.items.tags", "data.users.groups")]
    used = {*roles.values(), *Items().text, *Items().tags, *(name for some in lists for name in some)}
    if unused := guessing.unused(name for name in told if name not in used):
        assumed.also("data.source", unused)
    few = table[roles["item"]].nunique()
    if few < max(RecommendationConfig().at) and len(table) < guessing.ROWS:
        assumed.add("at", [max(1, min(5, few - 1))], f"lists must be shorter than the {few} items")


def _binary(file: Path) -> bool:
    return file.suffix.lower() in (".parquet", ".pq")


def _why(role: str, column: str, kind: Kind, looked: str) -> str:
    usual = formats.usual_column(role, [column]) or guessing.named_like([column], HINTS[role])
    again = "that repeat" if kind.repeats else "of which few repeat"
    seen = {
        "user": f"{kind.distinct:,} values {again}",
        "item": f"{kind.distinct:,} values {again}",
        "rating": f"{kind.distinct} numbers from {kind.low:g} to {kind.high:g}",
        "timestamp": str(kind),
    }[role]
    what = {"user": "a customer", "item": "a product", "rating": "a rating", "timestamp": "a time"}[role]
    return f"{seen}{looked}, named like {what}" if usual else f"{seen}{looked}: no other column is like that"


def _who_and_what(table: pd.DataFrame, told: Mapping[str, Kind], given: Mapping[str, Any], file: Path) -> dict[str, str]:
    """The columns of users and items: by name, then by content where only one is left.

    Raises:
        UserError: they cannot be told.
    """
    found: dict[str, str] = {}
    for role in ("user", "item"):
        named = given.get(f"data.columns.{role}")
        if named is not None and named not in told:
            raise UserError(f"data.columns.{role}={named}: {file} has no such column. It has: {guessing.listed(told)}.")
        free = [name for name in told if name not in found.values() and name not in given.values()]
        column = named or formats.usual_column(role, free) or _by_name(role, free, told, table)
        if column:
            found[role] = column
    for role, other in (("user", "item"), ("item", "user")):
        if role in found:
            continue
        known = found.get(other)
        left = [name for name, kind in told.items() if name != known and kind.distinct >= LEAST and kind.repeats and _is_id(kind)]
        if known:
            left = [name for name in left if not _follows(table, known, name)]
        if len(left) != 1 or not known:
            looked = f"Looked for names such as {', '.join(formats.USUAL[role][:4])}, and for ids that repeat."
            question = f"It cannot be told which column of {file} is the {role}. {looked}"
            if not left:
                raise UserError(f"{question} It has the columns: {guessing.listed(told, told)}. Set data.columns.{role}=COLUMN.")
            raise guessing.ask(question, f"data.columns.{role}", left, told)
        found[role] = left[0]
    return found


def _is_id(kind: Kind) -> bool:
    return (kind.what == "number" and kind.whole) or (kind.what == "text" and kind.words <= 3)


def _by_name(role: str, free: Sequence[str], told: Mapping[str, Kind], table: pd.DataFrame) -> str | None:
    """The column whose name tells it, an id rather than a name; None where there is none.

    Raises:
        UserError: several are as likely.
    """
    names = guessing.named_like([n for n in free if _is_id(told[n]) and not guessing.named_like([n], NO_ID)], HINTS[role])
    for better in (lambda n: told[n].repeats, lambda n: normal(n).endswith(ID)):
        names = [name for name in names if better(name)] or names
    if len(names) > 1:  # a name or a group of the thing follows from its id
        keys = [name for name in names if all(_follows(table, name, other) for other in names if other != name)]
        names = keys[:1] or names
    if len(names) > 1:
        raise guessing.ask(f"Several columns may be the {role}.", f"data.columns.{role}", names, told)
    return names[0] if names else None


def _follows(table: pd.DataFrame, key: str, column: str) -> bool:
    """Has each value of `key` nearly always one value of `column`, as far as it comes several times?"""
    some = table[[key, column]].dropna()
    groups = some[some[key].duplicated(keep=False)].groupby(key)[column].nunique()
    return len(groups) >= LEAST and bool((groups == 1).mean() >= guessing.NEARLY_ALL)


def _readable(
    table: pd.DataFrame, told: Mapping[str, Kind], taken: Mapping[str, str], given: Mapping[str, Any], file: Path
) -> dict[str, str]:
    """The columns of ratings and times, where there are any that can be read.

    Raises:
        UserError: one that is named so cannot, and would be taken for it; or there are several.
    """
    free = {name: kind for name, kind in told.items() if name not in taken.values() and name not in given.values()}
    found = {}
    for role, what in (("timestamp", ("time",)), ("rating", ("number",))):
        if column := given.get(f"data.columns.{role}"):
            if column not in told:
                raise UserError(f"data.columns.{role}={column}: there is no such column. There are: {guessing.listed(told)}.")
            found[role] = column
            continue
        fits = [
            name for name, kind in free.items() if kind.what in what and kind.count > kind.rows / 2 and name not in found.values()
        ]
        usual = formats.usual_column(role, free)
        if usual in fits or (usual and role == "timestamp" and free[usual].what == "number" and free[usual].distinct > LEAST):
            found[role] = str(usual)
            continue
        if role == "rating":
            fits = _ratings(fits, told, table, taken)
        fits = guessing.named_like(fits, HINTS[role]) or fits
        if len(fits) > 1 and role == "timestamp":
            raise guessing.ask("Several columns may be the time of an event.", "data.columns.timestamp", fits, told)
        if fits:
            found[role] = fits[0]
        elif usual:
            raise _unreadable(role, usual, table[usual], file)
    return found


def _ratings(fits: Sequence[str], told: Mapping[str, Kind], table: pd.DataFrame, taken: Mapping[str, str]) -> list[str]:
    """Columns of numbers that are ratings by name, or the only one whose numbers are in a rating's range."""
    few = [name for name in fits if 1 < told[name].distinct <= 101]
    if named := guessing.named_like(few, HINTS["rating"]):
        return named[:1]
    alike = [
        name
        for name in few
        if 3 <= told[name].distinct <= 20
        and told[name].low >= 0
        and told[name].high <= 10
        and not guessing.named_like([name], NO_RATING)
        and not any(_follows(table, key, name) for key in taken.values())
    ]
    return alike if len(alike) == 1 else []


def _unreadable(role: str, column: str, values: pd.Series, file: Path) -> UserError:
    examples = ", ".join(repr(value) for value in values.dropna().unique()[:2]) or "nothing"
    dates = guessing.unread_dates(values.to_frame(), file, NAME)
    wanted = {"timestamp": "ISO 8601 (2025-12-24) or Unix seconds", "rating": "numbers"}[role]
    return UserError(
        f"The column '{column}' is named like a {role}, but holds {examples}. Write {wanted}, rename it if it is something "
        f"else, or name the right one: data.columns.{role}=COLUMN." + (f" Here {dates}." if dates else "")
    )


def _feedback(table: pd.DataFrame, roles: Mapping[str, str], told: Mapping[str, Kind], assumed: Assumed) -> None:
    """Explicit or implicit: which events count as a choice."""
    if "rating" not in roles:
        assumed.add("data.min_rating", None, "no ratings: every event counts as a choice (implicit feedback)")
        return
    kind = told[roles["rating"]]
    ratings = cleaning.numbers(table[roles["rating"]]).dropna()
    liked = float(ratings[ratings >= kind.low + LIKED * (kind.high - kind.low)].min())
    share = float((ratings >= liked).mean())
    if share >= 0.5 and kind.high > kind.low:
        why = f"{share:.0%} of the ratings from {kind.low:g} to {kind.high:g} are that high: lower ones were not liked"
        assumed.add("data.min_rating", liked, why)
    else:
        why = f"only {share:.0%} of the ratings are {liked:g} or more: every one counts as a choice, higher ones more"
        assumed.add("data.min_rating", None, why)


def _split(table: pd.DataFrame, roles: Mapping[str, str], told: Mapping[str, Kind], file: Path, assumed: Assumed) -> None:
    column = roles.get("timestamp")
    if column is None:
        others = [name for name in told if name not in roles.values()]
        named = [name for name in guessing.named_like(others, HINTS["timestamp"]) if told[name].what == "text"]
        but = guessing.unread_dates(table[others], file, NAME)
        if named and not but:
            but = f"'{named[0]}' would, were it written as 2025-12-24"
        why = "no column tells when: a part of each user's events is the test" + (f" ({but})" if but else "")
        assumed.add("split.method", "random", why)
    elif told[column].distinct == 1 and len(table) < guessing.ROWS:
        assumed.add("split.method", "random", f"all times in '{column}' are the same")
    else:
        assumed.add("split.method", "time", f"'{column}' tells when: the latest events are the test, as in use")


def _items(table: pd.DataFrame, roles: Mapping[str, str], file: Path, layout: str, written: str, assumed: Assumed) -> None:
    """What is known of the items: the format's own table, one beside it, or columns that follow from the item."""
    item = roles["item"]
    path = assumed.given.get("data.items.path")
    known = formats.USUAL_ITEMS if layout == "recbole" else {}
    own = {"recbole": file.with_suffix(".item"), "movielens": file.parent / "movies.csv"}.get(layout, file)
    if path or (own != file and own.exists()):
        side, where = (
            formats.plain_recbole(guessing.head(Path(path or own), written)).rename(columns=known),
            Path(path or own).name,
        )
        key = assumed.given.get("data.items.id") or formats.usual_column("item", side.columns)
    elif beside := next(_catalogue(table[item], item, file, written), None):
        place, side, key = beside
        where = place.name
        assumed.add("data.items.path", str(place.resolve()), f"'{key}' in {where} has one row for each value of '{item}'")
        if key != formats.usual_column("item", side.columns):
            assumed.add("data.items.id", key, f"its values are those of '{item}'")
    else:
        others = [name for name in table.columns if name not in roles.values()]
        alike = [name for name in others if _follows(table, item, name) and not _follows(table, roles["user"], name)]
        side, key, where = table[[item, *alike]].drop_duplicates(item), item, file.name
    told = {name: kind for name, kind in guessing.kinds(side).items() if name != key and kind.what == "text"}
    _describe(told, where, assumed)


def _describe(told: Mapping[str, Kind], where: str, assumed: Assumed) -> None:
    """Which columns make an item's text, the title first, and which are its tags, where they have other names than usual."""
    titles = [name for name in told if guessing.named_like([name], TITLES) or told[name].distinct > told[name].count / 2]
    titles = [*guessing.named_like(titles, TITLES), *(name for name in titles if not guessing.named_like([name], TITLES))]
    tags = [name for name, kind in told.items() if name not in titles and 1 < kind.distinct <= kind.count / 2]
    text, defaults = [*titles[:2], *tags[:2]], Items()
    if text and not set(defaults.text) & set(told):
        assumed.add("data.items.text", text, f"columns of {where} that describe an item, what names it first")
    if tags and not set(defaults.tags) & set(told):
        assumed.add("data.items.tags", tags, f"texts of {where} that items share")


def _catalogue(items: pd.Series, column: str, file: Path, written: str) -> Iterator[tuple[Path, pd.DataFrame, str]]:
    """Tables beside the interactions with one row for each item, and the column that names it."""
    ids = set(cleaning.tidy_ids(items).dropna())
    for other in _tables(file.parent):
        if other == file:
            continue
        try:
            side = formats.plain_recbole(guessing.head(other, written))
        except UserError:
            continue
        usual = formats.usual_column("item", side.columns)
        for name in dict.fromkeys(n for n in (column, usual, "id") if n in side.columns):
            given = cleaning.tidy_ids(side[name]).dropna()
            if given.is_unique and len(ids & set(given)) >= min(LEAST, len(ids)):
                yield other, side, str(name)
