"""The built site, served under a sub-path, and a browser that writes down what goes wrong.

Skipped, with the reason, where Playwright or Chromium is missing:

    pip install playwright && apt-get install chromium
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)  # fmt: skip
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# Published under a sub-path of a host that doesn't exist: a link to the root or to the public
# address would show.
ADDRESS = "https://borealis.invalid/docs/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the built site is slow."""
    for item in items:
        here = Path(item.path).parent == Path(__file__).parent
        if here and {"site", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site as a static host does, its 404 page included."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def send_error(self, code: int, *args: Any, **options: Any) -> None:
        page = Path(self.directory) / "docs" / "404.html"
        if code != 404 or not page.is_file():
            return super().send_error(code, *args, **options)
        body = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; BOREALIS_SITE names one that is built already, ending in docs."""
    if ready := os.environ.get("BOREALIS_SITE"):
        return Path(ready)
    folder = tmp_path_factory.mktemp("site") / "docs"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    env = os.environ | {"BOREALIS_SITE_URL": ADDRESS, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="package")
def base(site: Path) -> Iterator[str]:
    """Address of the served site, without the last slash."""
    handler = functools.partial(_Handler, directory=str(site.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/docs"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, closed after the tests of a file: while it is there, no other event loop can run."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A browser page at an address of the site.

    Args:
        page: Playwright's page.
        base: address of the site.
        faults: errors of the console, uncaught exceptions, requests that leave the site or fail.
    """

    page: Any
    base: str
    faults: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Open a page, `en/story/` for example, and wait until it is quiet."""
        self.page.goto(f"{self.base}/{path}", wait_until="load")
        self.page.evaluate("document.fonts.ready.then(() => 0)")

    def path(self) -> str:
        """Where the browser is: path and anchor, relative to the site."""
        return self.page.url.removeprefix(f"{self.base}/")

    def watch(self) -> None:
        """Begin to write down faults."""
        page, own = self.page, (self.base + "/", "data:", "blob:", "about:")

        def request(it: Any) -> None:
            if not it.url.startswith(own):
                self.faults.append(f"leaves the site: {it.url}")

        def answer(it: Any) -> None:
            if it.status >= 400:
                self.faults.append(f"{it.status}: {it.url}")

        def message(it: Any) -> None:
            if it.type in ("error", "warning"):
                self.faults.append(f"{it.type}: {it.text}")

        page.on("request", request)
        page.on("response", answer)
        page.on("console", message)
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))


@pytest.fixture
def open_page(browser: Any, base: str) -> Iterator[Any]:
    """`open_page(path, **settings of the context)`: a visit that must end without faults."""
    contexts, visits = [], []

    def make(path: str, **settings: Any) -> Visit:
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        context = browser.new_context(**settings)
        contexts.append(context)
        visit = Visit(context.new_page(), base)
        visits.append(visit)
        visit.watch()
        visit.go(path)
        return visit

    yield make
    for context in contexts:
        context.close()
    assert not [fault for visit in visits for fault in visit.faults]
