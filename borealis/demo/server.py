"""The web server of the demo: both pages, health, and nothing that leaves the machine."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from importlib.util import find_spec

from borealis.errors import BorealisError

# Set before gradio is imported anywhere: it reads them at import.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from typing import TYPE_CHECKING

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
) -> None:
    """Serve the demo until it is stopped.

    Args:
        host: address to listen on; the default is reachable from this machine only.
        port: port.
        model: see `borealis.load`.
        device: see `borealis.load`.
        dtype: see `borealis.load`.

    Raises:
        BorealisError: gradio isn't installed, or the port is taken.
        CheckpointError: the model can't be loaded.
    """
    if find_spec("gradio") is None:
        raise BorealisError("The demo needs gradio: pip install 'borealis-audio[demo]'.")
    import uvicorn

    import borealis

    _check_port(host, port)
    app = build_app(borealis.load(model, device=device, dtype=dtype))
    print(f"Borealis: http://{host}:{port}/ (Ctrl-C to stop)", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def build_app(model: Borealis) -> FastAPI:
    """The pages at `/demo/ru/` and `/demo/en/`, `/healthz`, and `/` leading to the first."""
    import gradio as gr
    from fastapi import FastAPI, Request
    from fastapi.responses import RedirectResponse

    from borealis.demo.page import MEGABYTES, blocks_options, build_page, example_recordings

    app = FastAPI(title="Borealis", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    def home(request: Request) -> RedirectResponse:
        wanted = request.headers.get("accept-language", "ru").lower()
        english = "ru" not in wanted and wanted.startswith("en")
        return RedirectResponse("/demo/en/" if english else "/demo/ru/")

    # Not app.get(): FastAPI can't resolve annotations that are imported in this function.
    app.add_route("/", home)

    for language, other in (("ru", "en"), ("en", "ru")):
        page = build_page(model, language, f"/demo/{other}/")
        gr.mount_gradio_app(
            app,
            page,
            path=f"/demo/{language}",
            ssr_mode=False,
            show_error=False,
            max_file_size=MEGABYTES * 1024 * 1024,
            footer_links=[],
            allowed_paths=[str(p) for p in example_recordings()],
            **blocks_options(),
        )
    return app


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
