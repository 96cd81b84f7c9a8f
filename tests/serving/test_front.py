"""The front without a server: audio by URL where it is allowed, and what the text check refuses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from borealis.serving import chat
from borealis.serving.front import Front, RequestError, parse_json
from borealis.serving.settings import VARIABLE, Settings


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """A web server of the test's own: its address, and the paths that were asked for."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            moved = self.path == "/moved"
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/secret")
            self.end_headers()
            self.wfile.write(bytes(3 * 2**20) if self.path == "/large" else b"sound")

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def front(monkeypatch, *domains: str) -> Front:
    settings = Settings(max_bytes=2**20, media_domains=domains)
    monkeypatch.setenv(VARIABLE, settings.to_variable())
    return Front(app=None)


def test_allowed_host_is_fetched_from(host, monkeypatch) -> None:
    pytest.importorskip("aiohttp")
    url, seen = host
    allowed = front(monkeypatch, "127.0.0.1")
    assert asyncio.run(chat._fetch(f"{url}/a.wav", allowed)) == b"sound"
    assert seen == ["/a.wav"]


@pytest.mark.parametrize(("path", "says"), [("/moved", "302"), ("/large", "too large")])
def test_redirects_and_large_files_are_refused(host, monkeypatch, path, says) -> None:
    pytest.importorskip("aiohttp")
    url, seen = host
    with pytest.raises(RequestError, match=says):
        asyncio.run(chat._fetch(url + path, front(monkeypatch, "127.0.0.1")))
    assert seen == [path]


@pytest.mark.parametrize(
    "url",
    [
        "{host}/a.wav",
        "http://example.org@127.0.0.1:{port}/a.wav",
        "http://example.org.127.0.0.1:{port}/a.wav",
        "http://127.0.0.1:{port}\\@example.org/a.wav",
        "http://127.0.0.1:{port}#@example.org/a.wav",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/a.wav",
        "",
    ],
)
def test_other_hosts_see_no_request(host, monkeypatch, url) -> None:
    pytest.importorskip("aiohttp", reason="comes with vLLM")
    address, seen = host
    port = address.rpartition(":")[2]
    with pytest.raises(RequestError):
        allowed = front(monkeypatch, "example.org")
        asyncio.run(chat._fetch(url.format(host=address, port=port), allowed))
    assert not seen


def test_text_check_counts_all_messages_and_names_the_mark() -> None:
    check = chat._TextCheck(10, ["<|audio|>"])
    check("а" * 100)
    with pytest.raises(RequestError, match="too long"):
        check("а" * 100)
    with pytest.raises(RequestError, match=r"<\|audio\|>"):
        chat._TextCheck(10, ["<|audio|>"])("Это <|audio|>.")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_only_an_object_is_a_request(body) -> None:
    with pytest.raises(RequestError):
        parse_json(body)
