"""A `borealis serve` in a process of its own, for the HTTP tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

KEY = "a-key-of-the-tests"
STARTUP_SECONDS = 400


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

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process and everything it started."""
        if self.process is None:
            return
        group = os.getpgid(self.process.pid) if self.process.poll() is None else None
        if group is not None:
            if how == signal.SIGKILL:
                os.killpg(group, how)
            else:
                self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(group, signal.SIGKILL)
            self.process.wait(60)
        self.process = None

    def memory(self) -> int:
        """Bytes of memory that it and its children hold."""
        import psutil

        root = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [root, *root.children(recursive=True)])

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
