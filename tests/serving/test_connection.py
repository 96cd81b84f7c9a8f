"""Clients that dawdle: uvicorn with our connection and the front, over real sockets."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("httptools") is None, reason="httptools comes with vLLM"
)

LIMIT = 1.0  # seconds that a request may take to come
PATIENCE = 60  # seconds after which a test gives up
BODY = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


class House:
    """A server without a model: the front answers, or one of two pages behind it.

    Args:
        max_held: bytes that requests may hold together.
    """

    def __init__(self, max_held: int) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, StreamingResponse
        from starlette.routing import Route

        from borealis.serving.connection import PunctualProtocol
        from borealis.serving.front import Front

        self.left = threading.Event()  # the reader of /metrics has gone

        async def endless() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 16)
                    await asyncio.sleep(0)
            finally:
                self.left.set()

        async def health(request: Any) -> PlainTextResponse:
            return PlainTextResponse("well")

        async def metrics(request: Any) -> StreamingResponse:
            return StreamingResponse(endless())

        app = Starlette(routes=[Route("/health", health), Route("/metrics", metrics)])
        app.state.args = argparse.Namespace(api_key=None)
        deaf = argparse.Namespace(hf_config=argparse.Namespace())  # the front reads no model
        app.state.engine_client = argparse.Namespace(model_config=deaf)
        app.add_middleware(Front)
        config = uvicorn.Config(app, http=PunctualProtocol, ws="none", log_level="error")
        self.server = uvicorn.Server(config)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.socket.getsockname(), timeout=PATIENCE)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def house(monkeypatch) -> Iterator[House]:
    from borealis.serving.settings import VARIABLE, Settings

    settings = Settings(receive_seconds=LIMIT, max_held=200_000)
    monkeypatch.setenv(VARIABLE, settings.to_variable())
    monkeypatch.setattr("borealis.serving.connection._STALLED_SECONDS", LIMIT)
    running = House(settings.max_held)
    yield running
    running.stop()


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except ConnectionError:  # closed with something of ours unread
        pass
    return received


def error(received: bytes) -> dict[str, Any]:
    return json.loads(received[received.index(b"\r\n\r\n") :])["error"]


def drip(connection: socket.socket, first: bytes, again: bytes) -> None:
    """Send `first`, then `again` ten times a second until the server has closed."""

    def send() -> None:
        try:
            connection.sendall(first)
            while True:
                connection.sendall(again)
                time.sleep(LIMIT / 10)
        except OSError:  # closed
            pass

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"GET /heal", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: a\r\n", b"408"),
        (HEALTH + b"GET /heal", b"200"),
        (BODY, b"408"),
        (BODY + b"abc", b"408"),
    ],
    ids=["nothing", "a line break", "half a line", "half the headers", "a second request", "no body",
         "half a body"],
)  # fmt: skip
def test_connection_that_falls_silent_is_closed(house, sent, status) -> None:
    with house.connect() as connection:
        connection.sendall(sent)
        received = answer(connection)
    assert received[9:12] == status
    if status == b"408":
        assert "1" in error(received)["message"]


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        (b"GET /health HTTP/1.1\r\n", b"A: b\r\n", b"408"),
        (b"", b"\r\n", b""),
        (BODY, b"a", b"408"),
        (BODY.replace(b"100000", b"%d" % 10**9), b"a", b"413"),
    ],
    ids=["headers", "line breaks", "a body", "a body that was refused"],
)
def test_connection_that_drips_is_closed(house, first, again, status) -> None:
    with house.connect() as connection:
        drip(connection, first, again)
        assert answer(connection)[9:12] == status


def test_slow_but_steady_body_is_let_in(house) -> None:
    """A second for every 16 KB: what takes longer than the limit but comes on is read whole."""
    part = 16 * 2**10
    with house.connect() as connection:
        connection.sendall(BODY)
        for _ in range(6):
            connection.sendall(bytes(part))
            time.sleep(LIMIT / 4)
        connection.sendall(bytes(100_000 - 6 * part))
        assert connection.recv(12)[9:12] == b"400"  # it isn't a form: the body was read


def test_headers_have_a_largest_size(house) -> None:
    with house.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"a" * 70_000)
        received = answer(connection)
    assert received[9:12] == b"431"
    assert "too large" in error(received)["message"]


def test_client_that_takes_nothing_of_its_answer_is_left(house) -> None:
    with house.connect() as connection:
        connection.sendall(HEALTH.replace(b"health", b"metrics"))
        assert house.left.wait(PATIENCE)
        assert connection.recv(12)[9:12] == b"200"


def test_slow_connections_keep_nobody_out(house) -> None:
    slow = [house.connect() for _ in range(300)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(BODY if number % 2 else b"GET /")
        with house.connect() as connection:
            connection.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert answer(connection).endswith(b"well")
        for number, connection in enumerate(slow):
            assert answer(connection)[9:12] == b"408", number
    finally:
        for connection in slow:
            connection.close()


def test_bodies_hold_no_more_memory_than_they_may(house) -> None:
    with house.connect() as first, house.connect() as second, house.connect() as third:
        for connection in (first, second):
            connection.sendall(BODY + bytes(90_000))
        third.sendall(BODY + bytes(90_000))
        received = [answer(connection) for connection in (first, second, third)]
    statuses = sorted(data[9:12] for data in received)
    assert statuses == [b"408", b"408", b"503"]
    refused = next(data for data in received if data[9:12] == b"503")
    assert b"\r\nretry-after: 1\r\n" in refused
    assert error(refused)["code"] == "overloaded"
