"""A `borealis serve` in a process of its own, for the HTTP tests, and what they send it."""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

KEY = "a-key-of-the-tests"
ASK = "Какое слово первое?"
STARTUP_SECONDS = 400
PLACES = "70"  # requests that the server of the tests takes at once


class Server:
    """The process and its address.

    Args:
        log: file for what it prints.
        options: further words of the command.
    """

    def __init__(self, log: Path, *options: str) -> None:
        self.log, self.options = log, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [sys.executable, "-m", "borealis", "serve", "--port", str(self.port)]
        environment = os.environ | {"VLLM_API_KEY": KEY, "VLLM_LOGGING_LEVEL": "INFO"}
        environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)  # that is for engines in pytest
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *self.options],
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server didn't start:\n{self.tail()}")
            time.sleep(0.5)

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> int | None:
        """Ask the process to end, as a supervisor does; the exit code, or None if it wasn't on."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code of a process that is about to end."""
        assert self.process is not None
        group = self.process.pid  # it leads a session of its own
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(group, signal.SIGKILL)
            raise
        finally:
            self.process = None
        return code

    def kill_worker(self) -> None:
        """Kill the process that holds the model, the last of the line."""
        import psutil

        line = psutil.Process(self.process.pid).children(recursive=True)
        worker = next(process for process in line if "Worker" in " ".join(process.cmdline()))
        worker.kill()

    def memory(self) -> int:
        """Bytes of memory that it and its children hold."""
        import psutil

        root = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [root, *root.children(recursive=True)])

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


# ---- what is sent ----


def encoded(audio: np.ndarray, rate: int = 16_000, kind: str = "FLAC", **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=kind, **options)
    return buffer.getvalue()


def audio_part(data: bytes, kind: str = "flac") -> dict[str, Any]:
    value = {"data": base64.b64encode(data).decode(), "format": kind}
    return {"type": "input_audio", "input_audio": value}


def refused(answer: Any, status: int) -> None:
    """Check the status, the sentence that helps, and that nothing of the machine is told."""
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert len(error["message"]) > 15
    assert len(answer.text) < 1500  # whatever was sent isn't sent back
    for secret in ("Traceback", "site-packages", "/home", "/tmp", "/root", ".py", KEY):
        assert secret not in answer.text


def chat(*parts: dict[str, Any] | str, **options: Any) -> dict[str, Any]:
    """The body of a chat request; strings are text parts."""
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return {"model": "nano", "messages": [{"role": "user", "content": content}]} | options
