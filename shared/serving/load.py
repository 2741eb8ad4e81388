"""Load test of a server: python -m shared.serving.load http://127.0.0.1:8000/v1/chatbot/predict --clients 32 --seconds 60

Every client sends one request after another over its own connection, and waits after a refusal. Requests are the examples of the
server's /openapi.json, in turn, or `--bodies`. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

LOST = 0  # status of an answer that did not come


@dataclass
class Result:
    """Statuses of all answers; milliseconds of the accepted and of the refused ones."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def summary(self, seconds: float) -> dict[str, Any]:
        told: dict[str, Any] = {"statuses": dict(sorted(self.statuses.items())), "rps": round(len(self.accepted) / seconds, 1)}
        for name, times in (("accepted", self.accepted), ("refused", self.refused)):
            if times:
                p50, p99 = np.percentile(times, [50, 99]).round(2).tolist()
                told[f"{name}_ms"] = {"p50": p50, "p99": p99, "max": round(max(times), 2)}
        return told


async def load(
    url: str, bodies: Sequence[bytes], clients: int, seconds: float, key: str = "", patient: bool = True
) -> dict[str, Any]:
    """Call a route for so many seconds; `patient` clients wait after a refusal, at most a second."""
    result, end = Result(), time.monotonic() + seconds
    turns = [itertools.islice(itertools.cycle(bodies), number % len(bodies), None) for number in range(clients)]
    await asyncio.gather(*(_client(url, turn, end, key, patient, result) for turn in turns))
    return result.summary(seconds)


async def _client(url: str, bodies: Iterator[bytes], end: float, key: str, patient: bool, result: Result) -> None:
    place = urlsplit(url)
    start = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    start += f"X-API-Key: {key}\r\n" if key else ""
    writer: asyncio.StreamWriter | None = None
    while time.monotonic() < end:
        body = next(bodies)
        before = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(place.hostname, place.port or 80)
            writer.write(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
            status = int(head.split(" ", 2)[1])
        except (OSError, EOFError):
            result.statuses[LOST] += 1
            writer = None
            await asyncio.sleep(0.1)
            continue
        result.statuses[status] += 1
        (result.accepted if status == 200 else result.refused).append(1000 * (time.perf_counter() - before))
        if status in (429, 503) and patient:
            await asyncio.sleep(min(1.0, int(head.partition("retry-after:")[2].partition("\r\n")[0] or 1)))
    if writer is not None:
        writer.close()


def examples(url: str, key: str) -> list[bytes]:
    """The bodies that the server itself gives as examples of the route."""
    place = urlsplit(url)
    request = urllib.request.Request(f"{place.scheme}://{place.netloc}/openapi.json", headers={"X-API-Key": key} if key else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        described = json.load(answer)["paths"][place.path]["post"]
    return [
        json.dumps(one["value"]).encode() for one in described["requestBody"]["content"]["application/json"]["examples"].values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="of a use case's predict route")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bodies", metavar="FILE", type=Path, help="JSON lines, sent in turn; default: the route's examples")
    parser.add_argument("--key", default="", help="the API key")
    parser.add_argument("--impatient", action="store_true", help="come again at once after a refusal")
    given = parser.parse_args()
    bodies = given.bodies.read_bytes().splitlines() if given.bodies else examples(given.url, given.key)
    print(json.dumps(asyncio.run(load(given.url, bodies, given.clients, given.seconds, given.key, not given.impatient))))


if __name__ == "__main__":
    main()
