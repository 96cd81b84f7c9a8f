"""Uploads that want the server to open its files, an address or a port: 400 at once, no more."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from borealis.serving.errors import RequestError
from borealis.serving.room import Room
from borealis.serving.settings import Settings
from borealis.serving.sounds import Sounds
from tests.conftest import AUDIO, ROOT
from tests.hostile import hostile_files, watch
from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, audio_part, chat

pytestmark = [
    needs_vllm,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="inotify and /proc/net are Linux's"),
]


class Ports:
    """A port that nobody has, and what happened there."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.number = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=job) for job in (self._answer, self._look)]
        for thread in self._threads:
            thread.start()

    def _answer(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            if not self._over.is_set():
                self.visits.append("somebody connected")
            connection.close()

    def _look(self) -> None:
        # RTP takes the port and the next one, and receives reports there.
        wanted = {f"{number:04X}" for number in (self.number, self.number + 1)}
        while not self._over.wait(0.002):
            for table in ("udp", "udp6"):
                for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                    if line.split()[1].rpartition(":")[2] in wanted:
                        self.visits.append(f"{table} port taken")

    def close(self) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.number)).close()  # ends `accept`
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def ports() -> Iterator[Ports]:
    there = Ports()
    try:
        yield there
    finally:
        there.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A recording in a folder that nobody else looks into while tests run side by side."""
    return Path(shutil.copy(AUDIO / "speech.flac", tmp_path / "secret.flac"))


def test_no_upload_opens_anything_else(http, secret: Path) -> None:
    with ports() as there, watch(secret.parent) as opened:
        files = hostile_files(secret, there.number, near=os.path.relpath(secret, ROOT))
        for name, data in files.items():
            for path, request in (
                ("transcriptions", {"files": {"file": ("a.wav", data)}, "data": {"model": "nano"}}),
                ("chat", {"json": chat(audio_part(data, "wav"), ASK)}),
            ):
                url = "/v1/chat/completions" if path == "chat" else "/v1/audio/transcriptions"
                answer = http.post(url, **request)
                assert answer.status_code == 400, (name, path, answer.text)
                says = answer.json()["error"]["message"]
                for word in (secret.name, str(secret.parent), "Errno", "such file", "Invalid"):
                    assert word not in says, (name, says)
        assert opened.names() == []
        assert there.visits == []


def test_file_that_takes_too_long_to_decode_is_given_up(monkeypatch, speech) -> None:
    monkeypatch.setattr("borealis.serving.sounds.DECODE_SECONDS", 0.0)
    sounds = Sounds(Settings())
    with Room(1, 10).visit() as visit, pytest.raises(RequestError, match="takes longer") as refused:
        asyncio.run(sounds.decode(speech.read_bytes(), visit, param="file"))
    assert refused.value.status == 400


def test_ports_and_files_are_really_watched(secret: Path) -> None:
    with ports() as there, watch(secret.parent) as opened:
        secret.read_bytes()
        assert opened.names() == ["secret.flac"]
        socket.create_connection(("127.0.0.1", there.number)).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", there.number))
            deadline = threading.Event()
            for _ in range(2_000):
                if len(set(there.visits)) == 2:
                    break
                deadline.wait(0.005)
        assert set(there.visits) == {"somebody connected", "udp port taken"}
