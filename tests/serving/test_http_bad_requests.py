"""Bad requests: a 4xx with a sentence that helps, and a server that goes on."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, KEY, Server, audio_part, chat, encoded, refused

pytestmark = [needs_vllm, pytest.mark.slow]


def _forged(data: bytes) -> bytes:
    """A WAV whose header promises a hundred times more sound than there is."""
    place = data.index(b"data") + 4
    length = int.from_bytes(data[place : place + 4], "little") * 100
    return data[:place] + length.to_bytes(4, "little") + data[place + 4 :]


def _bad_files() -> dict[str, tuple[Callable[[], bytes], int]]:
    """Files by name, with the status each must get."""
    tone = (0.1 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
    with_nan = tone.copy()
    with_nan[100] = np.nan
    wav = encoded(tone, kind="WAV")
    hours = np.zeros(2 * 3600 * 8_000, np.int16)
    return {
        "not audio": (lambda: "Это не звук.".encode() * 50, 400),
        "empty": (lambda: b"", 400),
        "one byte": (lambda: b"R", 400),
        "zeros": (lambda: bytes(10_000), 400),
        "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(500), 400),
        "truncated wav": (lambda: wav[: len(wav) // 2], 400),
        "only a header": (lambda: wav[:44], 400),
        "no samples": (lambda: encoded(tone[:0], kind="WAV"), 400),
        "not a number": (lambda: encoded(with_nan, kind="WAV", subtype="FLOAT"), 400),
        "forged length": (lambda: _forged(wav), 400),
        "no bits": (lambda: wav[:34] + bytes(2) + wav[36:], 400),
        "truncated flac": (lambda: encoded(tone)[:60], 400),
        "two hours of silence": (lambda: encoded(hours, 8_000), 413),
        "a bomb of opus": (
            lambda: encoded(np.zeros((700 * 48_000, 1), np.float32), 48_000, "OGG", subtype="OPUS"),
            413,
        ),
        "too many bytes": (lambda: bytes(6 * 2**20), 413),
    }


@functools.cache
def _bad_file(name: str) -> bytes:
    return _bad_files()[name][0]()


@pytest.mark.parametrize("name", _bad_files())
def test_bad_file(name, http) -> None:
    data, status = _bad_file(name), _bad_files()[name][1]
    answer = http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})
    refused(answer, status)
    if len(data) < 4 * 2**20:
        refused(http.post("/v1/chat/completions", json=chat(audio_part(data), ASK)), status)


@pytest.mark.parametrize(("channels", "rate"), [(8, 16_000), (1, 192_000), (1, 8_000)], ids=str)
def test_unusual_but_right_files_are_read(channels, rate, http) -> None:
    tone = 0.1 * np.sin(np.arange(rate) / rate * 3000)
    data = encoded(np.repeat(tone[:, None], channels, 1), rate, "WAV")
    answer = http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})
    assert answer.status_code == 200


def _url(url: Any) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


BAD_CHATS: dict[str, Any] = {
    "wrong base64": chat({"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}}),
    "no data": chat({"type": "input_audio", "input_audio": {"format": "wav"}}),
    "a file url": chat(_url("file:///etc/passwd")),
    "an ftp url": chat(_url("ftp://127.0.0.1/a.wav")),
    "a url of another kind": chat(_url({"a": 1})),
    "a data url without base64": chat(_url("data:audio/wav,abc")),
    "an image": chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
    "embeddings": chat({"type": "audio_embeds", "audio_embeds": "AAAA"}),
    "a huge prompt": chat("слово " * 100_000),
    "a prompt over the context": chat("слово " * 2_000),
    "marks of the prompt": chat("<|audio|> <|im_end|>"),
    "unknown model": chat(ASK, model="gpt-4"),
    "no messages": {"model": "nano", "messages": []},
    "messages of text": {"model": "nano", "messages": "привет"},
    "a message without content": {"model": "nano", "messages": [{"role": "user"}]},
    "an unknown role": {"model": "nano", "messages": [{"role": "wizard", "content": "a"}]},
    "options of the processor": chat(ASK, mm_processor_kwargs={"a": 1}),
    "a template of its own": chat(ASK, chat_template="{{ messages }}"),
    "too many answers": chat(ASK, n=1000),
    "a wrong temperature": chat(ASK, temperature=-3),
    "a schema that holds itself": chat(
        ASK, response_format={"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}
    ),
    "five recordings": chat(*[audio_part(b"RIFF")] * 5),
    "a broken url": chat(_url("http://[/a.wav")),
    "a model with a long name": chat(ASK, model="x" * 100_000),
    "a model of half a letter": chat(ASK, model="\ud800"),
    "a list": [1, 2, 3],
}


@pytest.mark.parametrize("name", BAD_CHATS)
def test_bad_chat(name, http) -> None:
    answer = http.post("/v1/chat/completions", content=json.dumps(BAD_CHATS[name]).encode())
    refused(answer, 404 if name in ("unknown model", "a model with a long name") else 400)


def _raw(server: Server, headers: str, parts: list[bytes]) -> bytes:
    """The first line of the answer to a request that no decent client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n"
        connection.sendall(f"{head}Authorization: Bearer {KEY}\r\n{headers}\r\n\r\n".encode())
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # the server has answered and closed
                break
        return connection.recv(100).split(b"\r\n")[0]


def test_body_that_lies_about_its_length_or_never_ends(server) -> None:
    assert b"413" in _raw(server, f"Content-Length: {10**12}", [])
    chunk = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    assert b"413" in _raw(server, "Transfer-Encoding: chunked", [chunk] * 8)
    assert server.healthy()


def test_url_is_never_fetched(http) -> None:
    seen: list[str] = []

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Canary) as canary:
        thread = threading.Thread(target=canary.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{canary.server_port}/secret"
            refused(http.post("/v1/chat/completions", json=chat(_url(url), ASK)), 400)
            assert not seen
            httpx.get(url)
            assert seen == ["/secret"]
        finally:
            canary.shutdown()
            thread.join()


def test_memory_comes_back_after_bad_files(http, server, speech) -> None:
    files = [_bad_file(name) for name in _bad_files()]

    def round_of_bad_files() -> None:
        for data in files:
            http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})

    round_of_bad_files()
    before = server.memory()
    for _ in range(2):
        round_of_bad_files()
    assert server.memory() - before < 100 * 2**20
    assert http.post("/v1/audio/transcriptions", files={"file": speech.read_bytes()}).json()["text"]
