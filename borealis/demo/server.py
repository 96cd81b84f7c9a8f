"""The web server of the demo: the site, both pages, health, and nothing that leaves the machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from borealis.demo.uploads import folder_of_uploads
from borealis.errors import BorealisError

# Set before gradio is imported anywhere: it reads them at import.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from borealis.inference import Borealis


def launch(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    model: str = "nano",
    device: str | None = None,
    dtype: str | None = None,
    site: str | os.PathLike[str] | None = None,
) -> None:
    """Serve the demo until it is stopped.

    Args:
        host: address to listen on; the default is reachable from this machine only.
        port: port.
        model: see `borealis.load`.
        device: see `borealis.load`.
        dtype: see `borealis.load`.
        site: folder of the built site, served at `/`; without it `/` leads to the demo.

    Raises:
        BorealisError: gradio isn't installed, the port is taken, or `site` isn't a site.
        CheckpointError: the model can't be loaded.
    """
    if find_spec("gradio") is None:
        raise BorealisError("The demo needs gradio: pip install 'borealis-audio[demo]'.")
    if site is not None and not (Path(site) / "index.html").is_file():
        raise BorealisError(f"'{site}' isn't a built site: it has no index.html.")
    _check_port(host, port)
    # uvicorn ends by raising the signal that stopped it; this way the lines after it still run.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with folder_of_uploads():
        import uvicorn
        from transformers.utils import logging

        import borealis

        # Progress of weight loading and notices are no news to who starts a demo.
        logging.set_verbosity_error()
        logging.disable_progress_bar()

        app = build_app(borealis.load(model, device=device, dtype=dtype), site=site)
        shown = f"[{host}]" if ":" in host else host
        print(f"Borealis: http://{shown}:{port}/ (Ctrl-C to stop)", flush=True)
        # An open page keeps a connection: without a limit the server would wait for its visitor.
        uvicorn.run(app, host=host, port=port, log_level="critical", timeout_graceful_shutdown=3)


@contextmanager
def running(
    model: Borealis | None = None, *, site: str | os.PathLike[str] | None = None, port: int = 0
) -> Iterator[str]:
    """Serve the demo in a thread of this process, as a notebook or a test wants it.

    Args:
        model: the model; by default the bundled one.
        site: see `launch`.
        port: port; 0 takes a free one.

    Yields:
        Address of the server without a slash at its end.
    """
    import uvicorn

    import borealis

    with folder_of_uploads():
        app = build_app(model or borealis.load(), site=site)
        listener = socket.socket()
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            listener.close()


def build_app(model: Borealis, *, site: str | os.PathLike[str] | None = None) -> FastAPI:
    """The site at `/`, the pages at `/demo/ru/` and `/demo/en/`, and `/healthz`."""
    import gradio as gr
    import gradio.utils
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, RedirectResponse
    from fastapi.staticfiles import StaticFiles

    from borealis.demo.gate import Gate
    from borealis.demo.page import build_page, head, mount_options
    from borealis.demo.turnstile import Turnstile

    app = FastAPI(title="Borealis", docs_url=None, redoc_url=None, openapi_url=None)
    turnstile = Turnstile()

    @app.get("/healthz")
    def healthz() -> dict[str, str | int]:
        return {"status": "ok", "visitors": len(turnstile)}

    def favicon(_: Request) -> FileResponse:
        return FileResponse(Path(__file__).parent / "static" / "favicon.svg")

    def home(request: Request) -> RedirectResponse:
        wanted = request.headers.get("accept-language", "ru").lower()
        english = "ru" not in wanted and wanted.startswith("en")
        return RedirectResponse("/demo/en/" if english else "/demo/ru/")

    # Not app.get(): FastAPI can't resolve annotations that are imported in this function.
    app.add_route("/favicon.ico", favicon)
    for language in ("ru", "en"):
        calculators = None
        if site is not None and (Path(site) / "assets" / "js" / "calculators.js").is_file():
            calculators = f"/calculators/{language}"
            app.add_route(calculators, _calculators(language))
        docs = None
        if site is not None:
            docs = "/" if language == "ru" else "/en/"
        page = build_page(model, language, turnstile=turnstile, docs=docs, calculators=calculators)
        gr.mount_gradio_app(app, page, **mount_options(f"/demo/{language}"))
        uploads = Path(gradio.utils.get_upload_folder())
        app.add_middleware(Gate, language=language, head=head(language), uploads=uploads)
    if site is None:
        app.add_route("/", home)
        app.add_route("/demo", home)
    else:
        app.mount("/", StaticFiles(directory=site, html=True))
    return app


_CALCULATORS = """<!doctype html>
<html lang="{language}"><meta charset="utf-8"><title>Borealis</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="/assets/css/site.css">
<style>body {{margin: 0; padding: .5rem; font: 16px/1.5 var(--md-text-font);
background: var(--md-default-bg-color); color: var(--md-default-fg-color)}}</style>
<body class="md-typeset" data-md-color-scheme="default">
<script>
const theme = new URLSearchParams(parent.location.search).get("__theme");
const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.body.dataset.mdColorScheme = dark ? "slate" : "default";
</script>
<div data-calculator="size"></div><hr><div data-calculator="cost"></div>
<script defer src="/assets/js/calculators.js"></script>
"""


def _calculators(language: str) -> Any:
    """The site's calculators on a page of their own, for the frame in the demo."""
    from starlette.responses import HTMLResponse

    def page(_: Any) -> Any:
        return HTMLResponse(_CALCULATORS.format(language=language))

    return page


def _check_port(host: str, port: int) -> None:
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BorealisError(
                f"The demo can't listen on {host}:{port} ({reason}). Give another --port."
            ) from None
