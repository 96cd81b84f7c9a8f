"""The demo as a process of its own, and the browser of tests/site to visit it with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site.conftest import browser, site  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(base: str, process: subprocess.Popen, seconds: float = 400) -> None:
    """Until the server answers; loading the model on a busy machine takes its time."""
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None, "the server stopped"
        assert time.monotonic() < deadline, "the server didn't answer"
        try:
            with urllib.request.urlopen(f"{base}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.3)


def serve(*options: str, temporary: str | None = None) -> Iterator[str]:
    """`borealis demo`; the address without a slash at its end."""
    port = free_port()
    env = os.environ | {"no_proxy": "127.0.0.1"}
    if temporary:
        env["TMPDIR"] = temporary
    process = subprocess.Popen(
        [sys.executable, "-m", "borealis", "demo", "--port", str(port), *options], env=env
    )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(base, process)
        yield base
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The demo alone. When it stops, nothing of its visitors may be left.

    BOREALIS_DEMO names one that runs already.
    """
    if ready := os.environ.get("BOREALIS_DEMO"):
        yield ready
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield from serve("--no-site", temporary=temporary)
        assert not list(Path(temporary).glob("borealis-demo-*"))


@pytest.fixture(scope="session")
def speaking_address(speaking_folder: Path) -> Iterator[str]:
    """The demo alone with a model that speaks."""
    yield from serve("--no-site", "--model", str(speaking_folder))


@pytest.fixture(scope="package")
def with_site(site: Path) -> Iterator[str]:  # noqa: F811
    """The demo with the built site around it."""
    yield from serve("--site", str(site))
