"""Every knob of the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from shared.config import Section
from shared.errors import UserError

Hosts = tuple[Annotated[str, StringConstraints(to_lower=True)], ...]
KEY = "USECASES_API_KEY"
SHORTEST_KEY = 16  # characters
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeSettings(Section):
    """How the server listens, what it accepts, and how it batches."""

    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0: every network")
    port: int = Field(8000, ge=0, le=65535, description="0: any free one")
    hosts: Hosts = Field(
        (), description="names by which clients may call it; none: any, or this machine's own if it listens there alone"
    )
    api_key: SecretStr | None = Field(
        None, description="what clients must send; none: nothing. Given by a file or the environment"
    )
    body_bytes: int = Field(32 << 20, ge=1, description="of one request")
    held_bytes: int = Field(256 << 20, ge=1, description="of the bodies of all requests in flight")
    records: int = Field(1000, ge=1, description="in one request")
    in_flight: int = Field(256, ge=1, description="requests at once; more get 503")
    queue: int = Field(2000, ge=1, description="records that wait for one model; more get 503")
    timeout_s: float = Field(30.0, gt=0, description="from a request's acceptance to its answer, and for its body to arrive")
    rate: float = Field(0.0, ge=0, description="requests a second and client, with a burst of ten seconds' worth; 0: any")
    batch: int = Field(64, ge=1, description="records computed together, of several requests; 1: none together")
    keep: Path | None = Field(
        None, description="folder for what models remember between requests, such as a chatbot's conversations; none: nothing"
    )
    wait_ms: float = Field(5.0, ge=0, description="longest wait for others' records while several clients are calling")


def read_key(file: Path | None) -> SecretStr | None:
    """The API key: of a file, else of the environment.

    Raises:
        UserError: the file cannot be read, or the key is too short to be one.
    """
    key: str | None = os.environ.get(KEY)
    where = KEY
    if file is not None:
        try:
            key, where = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: the API key cannot be read ({error}).") from None
    if key is None:
        return None
    key = key.strip()
    if len(key) < SHORTEST_KEY or not key.isascii():
        raise UserError(f"{where}: an API key has at least {SHORTEST_KEY} ASCII characters. Make one: openssl rand -hex 24")
    return SecretStr(key)
