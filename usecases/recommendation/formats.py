"""The layouts in which interactions come: plain tables, MovieLens, RecBole, SASRec sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from shared.data import columns, sources, tables
from shared.errors import SHOWN, DataError, Finding, UserError
from usecases.recommendation.config import Data

# The usual names, most specific first, as columns.normal writes them.
USUAL = {
    "user": (
        "userid",
        "user",
        "uid",
        "customerid",
        "customer",
        "visitorid",
        "memberid",
        "accountid",
        "reviewerid",
        "sessionid",
    ),
    "item": (
        "itemid",
        "item",
        "iid",
        "movieid",
        "productid",
        "product",
        "asin",
        "sku",
        "articleid",
        "trackid",
        "bookid",
    ),
    "rating": ("rating", "score", "stars", "overall"),
    "timestamp": (
        "timestamp",
        "time",
        "datetime",
        "date",
        "unixreviewtime",
        "eventtime",
        "createdat",
        "orderdate",
        "purchasedate",
        "ts",
    ),
}
USUAL_ITEMS = {  # the names that RecBole's own data sets use
    "movie_title": "title",
    "class": "genres",
    "genre": "genres",
    "release_year": "year",
}
# fmt: off
MOVIELENS_GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on


@dataclass
class Raw:
    """Tables as they were read, with columns user, item, rating, timestamp (in the source: `names`); index: rows from 1."""

    interactions: pd.DataFrame
    where: str
    items: pd.DataFrame | None = None
    users: pd.DataFrame | None = None
    findings: list[Finding] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def read(config: Data) -> Raw:
    """Read the source in its layout.

    Raises:
        UserError: it does not exist or is none of the known layouts.
        DataError: the columns cannot be told.
    """
    found = sources.locate(config.source)
    if isinstance(found, pd.DataFrame):
        raw = Raw(found.set_axis(pd.RangeIndex(1, len(found) + 1)), config.source)
    else:
        layout = recognise(found) if config.format == "auto" else config.format
        raw = {"table": _table, "movielens": _movielens, "recbole": _recbole, "sequences": _sequences}[layout](found, config)
    raw.names = columns.assign(raw.interactions, USUAL, dict(config.columns), ("user", "item"), raw.where)
    raw.interactions = _renamed(raw.interactions, raw.names)
    for kind, options in (("items", config.items), ("users", config.users)):
        if options.path:
            table, findings = tables.read(Path(options.path), config.encoding)
            raw.findings += findings
            setattr(raw, kind, plain_recbole(table))
        side = getattr(raw, kind)
        if side is not None:
            where = options.path or raw.where
            setattr(raw, kind, side.rename(columns={_id_column(side, kind[:-1], options.id, where): kind[:-1]}))
    if raw.items is None:
        about = dict.fromkeys((*config.items.text, *config.items.tags))
        texts = [column for column in about if column in raw.interactions]
        raw.items = raw.interactions[["item", *texts]].drop_duplicates("item") if texts else None
    return raw


def recognise(path: Path) -> str:
    """The layout of a file or folder, by its names and first line."""
    if path.is_dir():
        if any(path.glob("*.inter")):
            return "recbole"
        if any((path / name).exists() for name in ("u.data", "ratings.dat", "ratings.csv")):
            return "movielens"
        raise UserError(
            f"{path} is a folder without ratings that are recognised: it needs u.data, ratings.dat or ratings.csv (MovieLens) "
            f"or an .inter file (RecBole). Give the file itself: data.source=FILE"
        )
    if path.suffix == ".inter":
        return "recbole"
    if path.name in ("u.data", "ratings.dat"):
        return "movielens"
    if path.suffix == ".txt":
        with path.open("rb") as file:
            words = file.readline(1 << 16).split()
        if len(words) > 1 and all(word.isdigit() for word in words):
            return "sequences"
    return "table"


def _table(path: Path, config: Data) -> Raw:
    table, findings = tables.read(path, config.encoding)
    return Raw(table, str(path), findings=findings)


def _movielens(path: Path, config: Data) -> Raw:
    """MovieLens 100K (u.data), 1M and 10M (ratings.dat), 20M and later (ratings.csv)."""
    folder = path if path.is_dir() else path.parent
    names = ["user_id", "item_id", "rating", "timestamp"]
    items, users = None, None
    if (folder / "u.data").exists():
        file = folder / "u.data"
        table, findings = tables.read(file, delimiter="\t", header=names)
        if (folder / "u.item").exists():
            header = ["item_id", "title", "date", "video", "url", *MOVIELENS_GENRES]
            items, _ = tables.read(folder / "u.item", "latin-1", "|", header)
            flags = items[MOVIELENS_GENRES] == "1"
            items["genres"] = [" ".join(g for g, on in zip(MOVIELENS_GENRES, row, strict=True) if on) for row in flags.to_numpy()]
        if (folder / "u.user").exists():
            users, _ = tables.read(folder / "u.user", "latin-1", "|", ["user_id", "age", "gender", "occupation", "zip"])
    elif (folder / "ratings.dat").exists():
        file = folder / "ratings.dat"
        table, findings = tables.read(file, delimiter="::", header=names)
        if (folder / "movies.dat").exists():
            items, _ = tables.read(folder / "movies.dat", "latin-1", "::", ["item_id", "title", "genres"])
        if (folder / "users.dat").exists():
            users, _ = tables.read(folder / "users.dat", "latin-1", "::", ["user_id", "gender", "age", "occupation", "zip"])
    else:
        file = folder / "ratings.csv"
        table, findings = tables.read(file, config.encoding)
        if (folder / "movies.csv").exists():
            items, _ = tables.read(folder / "movies.csv", config.encoding)
    if items is not None:
        items["genres"] = items["genres"].str.replace("|", " ")
    return Raw(table, str(file), items, users, findings)


def _recbole(path: Path, config: Data) -> Raw:
    """RecBole's atomic files: tab-separated, header `name:type`, item and user tables beside the interactions."""
    files = [path] if path.is_file() else sorted(path.glob("*.inter"))
    if len(files) != 1:
        raise UserError(f"{path} holds {len(files)} .inter files. Name the one to use: data.source=FILE")
    table, findings = tables.read(files[0], config.encoding, "\t")
    sides: list[pd.DataFrame | None] = []
    for suffix in (".item", ".user"):
        beside = files[0].with_suffix(suffix)
        side = None
        if beside.exists():
            side, faults = tables.read(beside, config.encoding, "\t")
            findings += faults
        sides.append(None if side is None else plain_recbole(side))
    items = sides[0]
    if items is not None:
        items = items.rename(columns=USUAL_ITEMS)
    return Raw(plain_recbole(table), str(files[0]), items, sides[1], findings)


def _sequences(path: Path, config: Data) -> Raw:
    """SASRec's layout: a line is `user item item …` in time order. Row numbers are line numbers, times are positions."""
    users: list[str] = []
    items: list[str] = []
    rows: list[int] = []
    places: list[float] = []
    faults: dict[int, str] = {}
    for number, line in enumerate(path.read_text(config.encoding).splitlines(), 1):
        user, *sequence = line.split() or [""]
        if not sequence:
            faults[number] = line.strip()[:60]
        users += [user] * len(sequence)
        items += sequence
        rows += [number] * len(sequence)
        places += range(len(sequence))
    table = pd.DataFrame({"user": users, "item": items, "timestamp": places}, index=rows)
    findings = []
    if faults:
        fix = "Each line needs a user and at least one item; these lines were left out"
        told = [line for line in faults.values() if line][:2]
        findings.append(Finding("warning", "no items in the line", str(path), fix, len(faults), list(faults)[:SHOWN], told))
    return Raw(table, str(path), findings=findings)


def plain_recbole(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: str(name).partition(":")[0])


def usual_column(kind: str, names: Iterable[str]) -> str | None:
    return columns.usual(USUAL[kind], names)


def _renamed(table: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """With columns user, item, rating, timestamp."""
    others = [name for name in table.columns if name not in chosen.values() and name not in USUAL]
    return table[[*chosen.values(), *others]].rename(columns={column: kind for kind, column in chosen.items()})


def _id_column(table: pd.DataFrame, kind: str, wanted: str | None, where: str) -> str:
    column = wanted or usual_column(kind, table.columns)
    if column is None or column not in table.columns:
        found = ", ".join(map(str, table.columns))
        fix = f"The table has the columns: {found}. Set data.{kind}s.id to the right one"
        raise DataError([Finding("error", f"it cannot be told which column is the {kind}'s id", where, fix)])
    return column
