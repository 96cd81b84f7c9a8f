"""The server's end of a connection: uvicorn's, with a deadline and a limit for what comes in.

uvicorn waits for a request's headers for ever, whatever their size. Bodies have their deadline in
`borealis.serving.front`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from borealis.serving.errors import RequestError
from borealis.serving.settings import Settings

_MAX_HEAD = 64 * 2**10  # bytes of a request line and headers
# A client that takes nothing of its answer for so long is taken for gone.
_STALLED_SECONDS = 60


class PunctualProtocol(HttpToolsProtocol):
    """An HTTP connection that is closed when its client dawdles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seconds = Settings.from_environment().receive_seconds
        self._in_headers = False
        self._head = 0  # bytes of them that have come
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if self._in_headers:
            self._head += len(data)
            if self._head > _MAX_HEAD:
                self._refuse(RequestError("The headers of the request are too large.", 431))
        elif self.cycle is None or self.cycle.response_complete:
            # Line breaks, or the rest of a body that was refused: a request must follow in time.
            self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._head = True, 0
        self._expect_headers()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # Closing waits until the client has taken what was sent; not for ever.
        self._stalled = self.loop.call_later(_STALLED_SECONDS, self.transport.abort)

    def _expect_headers(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self._in_headers:
            message = f"The headers of the request didn't come within {self._seconds:g} s."
            self._refuse(RequestError(message, 408))
        else:  # there is no request to answer
            self.transport.close()

    def _refuse(self, error: RequestError) -> None:
        """Answer what never became a request, and close."""
        if self.transport.is_closing():
            return
        answer = error.response()
        answer.headers["connection"] = "close"
        head = b"".join(b"%s: %s\r\n" % pair for pair in answer.raw_headers)
        self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
