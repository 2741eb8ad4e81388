"""HTTP as uvicorn speaks it with httptools, which has no limit for the head of a request."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 << 10  # bytes of a request's line and headers
REFUSED = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """Refuses a head that is larger than `HEAD`, and leaves a client whose head does not come in `seconds`."""

    seconds = 30.0
    _late: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._late.cancel()
        self._wait()

    def on_headers_complete(self) -> None:
        self._late.cancel()
        self._whole = True
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        was_whole = self._whole
        super().data_received(data)
        if not self._whole and not was_whole:
            self._head += len(data)
            if self._head > HEAD:
                self.transport.write(REFUSED)
                self.transport.close()

    def _wait(self) -> None:
        """For the head of a request."""
        self._whole, self._head = False, 0
        self._late = self.loop.call_later(self.seconds, self.transport.close)
