"""Downloads against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.data import sources
from shared.errors import UserError


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


class Server:
    """Serves `content` with ranges; cuts the connection after `cut` bytes of a response."""

    def __init__(self) -> None:
        self.content, self.cut, self.ranges = zipped({"set/ratings.csv": "user,item\n" + "1,2\n" * 5000}), 0, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                body = outer.content[start:]
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.cut or None])

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/set.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()

    def catalog() -> dict[str, sources.DataSet]:
        digest = hashlib.sha256(running.content).hexdigest()
        entry = sources.DataSet(
            name="set",
            title="",
            licence="",
            source="its home",
            url=running.url,
            size=len(running.content),
            sha256=digest,
            folder="set",
        )
        return {"set": entry}

    monkeypatch.setattr(sources, "catalog", catalog)
    yield running
    running.http.shutdown()
    running.http.server_close()


def left() -> list[str]:
    home = sources.cache_dir() / "set"
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_it_downloads_once_into_the_cache(server: Server) -> None:
    seen: list[tuple[int, int]] = []
    place = sources.get("set", lambda done, total: seen.append((done, total)))
    assert (Path(place) / "ratings.csv").read_text().startswith("user,item\n1,2")
    assert seen[-1] == (len(server.content), len(server.content))
    assert left() == ["set/ratings.csv"]
    sources.get("set")
    assert len(server.ranges) == 1
    assert sources.locate("set") == Path(place)


def test_a_cut_download_is_resumed(server: Server) -> None:
    server.cut = 200
    with pytest.raises(UserError, match=r"ended after 200 of|Cannot download"):
        sources.get("set")
    assert left() == ["set.zip.part"]
    with pytest.raises(UserError, match="usecases data get set"):
        sources.locate("set")
    server.cut = 0
    sources.get("set")
    assert server.ranges[-1] == "bytes=200-"
    assert left() == ["set/ratings.csv"]


@pytest.mark.parametrize("change", [lambda c: c[:-1] + b"x", lambda c: c + b"more"])
def test_a_wrong_file_is_removed(server: Server, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    entry = sources.catalog()["set"]
    monkeypatch.setattr(sources, "catalog", lambda: {"set": entry})
    server.content = change(server.content)
    with pytest.raises(UserError, match="not the expected file"):
        sources.get("set")
    assert left() == []


def test_no_network_is_a_clear_error(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match=r"Cannot download .* Check the network"):
        sources.get("set")
    assert left() == []


def test_an_archive_cannot_write_outside(server: Server) -> None:
    server.content = zipped({"../../evil.txt": "x", "set/a": "y"})
    with pytest.raises(UserError, match="unsafe path"):
        sources.get("set")
    assert not (sources.cache_dir().parent / "evil.txt").exists()
    assert not (sources.cache_dir() / "evil.txt").exists()


def single(server: Server, monkeypatch: pytest.MonkeyPatch, md5: str) -> None:
    """The server's file as data itself, of which only an MD5 is known; the address ends as Zenodo's do."""
    entry = sources.DataSet(name="set", title="", licence="", source="its home", url=f"{server.url}?download=1", md5=md5)
    monkeypatch.setattr(sources, "catalog", lambda: {"set": entry})


def test_a_single_file_without_a_known_size_is_checked_by_its_md5(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    single(server, monkeypatch, hashlib.md5(server.content).hexdigest())
    assert sources.describe(sources.catalog()["set"])["here"] == "size not known"
    seen: list[tuple[int, int]] = []
    place = Path(sources.get("set", lambda done, total: seen.append((done, total))))
    assert place.name == "set.zip"
    assert place.read_bytes() == server.content
    assert seen[-1] == (len(server.content), len(server.content))
    assert sources.locate("set") == place


def test_a_single_file_of_another_md5_is_removed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    single(server, monkeypatch, "0" * 32)
    with pytest.raises(UserError, match=r"md5 .*, expected 0000"):
        sources.get("set")
    assert left() == []


def test_a_single_file_that_is_cut_is_resumed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    single(server, monkeypatch, hashlib.md5(server.content).hexdigest())
    server.cut = 200
    with pytest.raises(UserError, match=r"ended after 200 of|Cannot download"):
        sources.get("set")
    server.cut = 0
    assert Path(sources.get("set")).read_bytes() == server.content
    assert server.ranges[-1] == "bytes=200-"


def test_several_files_appear_together_in_their_folder(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"url": server.url, "size": len(server.content), "sha256": hashlib.sha256(server.content).hexdigest()}
    other = good | {"url": server.url.replace("set.zip", "b.csv")}
    entry = {"name": "set", "title": "", "licence": "", "source": "its home", "folder": "both"}
    for second, fine in ((other | {"sha256": "0" * 64}, False), (other, True)):
        found = sources.DataSet.model_validate({**entry, "files": [good, second]})
        monkeypatch.setattr(sources, "catalog", lambda found=found: {"set": found})
        if fine:
            assert sorted(path.name for path in Path(sources.get("set")).iterdir()) == ["b.csv", "set.zip"]
        else:
            with pytest.raises(UserError, match="not the expected file"):
                sources.get("set")
            with pytest.raises(UserError, match="usecases data get set"):
                sources.locate("set")
    assert len(server.ranges) == 3  # what was there already is not asked for again
    assert sources.locate("set") == sources.cache_dir() / "set" / "both"


@pytest.mark.parametrize("late", [False, True])
def test_of_two_who_gather_the_same_files_the_slower_one_uses_what_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    file = {"url": server.url, "size": len(server.content), "sha256": hashlib.sha256(server.content).hexdigest()}
    found = sources.DataSet(name="set", title="", licence="", source="", folder="both", files=(sources.File(**file),))
    monkeypatch.setattr(sources, "catalog", lambda: {"set": found})
    partial = sources.cache_dir() / "set" / ".both"

    def other(done: int, total: int) -> None:  # takes the folder away, before or after which this one has made it anew
        if not found.place.exists():
            partial.rename(found.place)
            (found.place / "set.zip").touch()
            if late:
                partial.mkdir()
                (found.place / "set.zip.part").rename(partial / "set.zip.part")

    assert sources.get("set", other) == str(found.place)
    assert not partial.exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    file = {"url": server.url, "size": len(server.content), "sha256": hashlib.sha256(server.content).hexdigest()}
    found = sources.DataSet(name="set", title="", licence="", source="", folder="both/in", files=(sources.File(**file),))
    monkeypatch.setattr(sources, "catalog", lambda: {"set": found})
    with pytest.raises(UserError, match="cannot be put into"):
        sources.get("set")


def test_the_real_catalogue_is_complete_and_a_typo_is_answered() -> None:
    entries = sources.catalog()
    assert {"movielens-small", "movielens-100k", "movielens-1m", "movielens-25m", "movielens-32m", "pneumoniamnist"} <= set(
        entries
    )
    for entry in entries.values():
        for one in entry.files or (entry,):
            known = (one.size and len(one.sha256) == 64) or len(entry.md5) == 32 or (entry.sha256 and entry.folder)
            safe = one.url.startswith("https://") and entry.source.startswith("https://")
            assert entry.package or (safe and known and entry.licence)
        assert entry.folder or not entry.files
    with pytest.raises(UserError, match="Did you mean 'movielens-1m'"):
        sources.get("movielens-1")
    with pytest.raises(UserError, match="Did you mean 'movielens-1m'"):
        sources.locate("movielens1m")


def test_a_folder_that_cannot_be_listed_is_not_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[Path]:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"nope\.csv'\. `usecases data list` lists named data sets\.$"):
        sources.locate(str(tmp_path / "nope.csv"))
    assert sources.near(tmp_path / "nope.csv") == ""
