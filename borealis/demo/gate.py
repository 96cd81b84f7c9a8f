"""What stands before Gradio: the routes it may serve, the files it may be given, its first lines.

Gradio has routes for much that this demo isn't: a screen recorder that runs FFmpeg, a code editor,
saved states. It also takes a file by name: an address, which it would fetch, or a path, which it
would read. Here a visitor reaches what the page needs, and may name files that were sent to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.demo.texts import TEXTS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Relative to the address of a page. What a browser and gradio_client ask for, and no more.
_ROUTES = re.compile(
    r"|config|theme\.css|(?:assets|static)/.+|gradio_api/(?:info|startup-events|upload|"
    r"upload_progress|queue/(?:join|data)|run/predict|call/(?!v2/)\w+(?:/\w+)?|cancel|reset|"
    r"heartbeat/[\w-]+|file=.+)"
)
_UPLOAD = "gradio_api/upload"
_MAX_BODY = 1 << 20
# Pictures and texts of Gradio's own for those who share a link, and the manifest of an app that can
# be installed: it is looked for where it isn't.
_FOREIGN = re.compile(
    rb'<meta\s[^>]*?(?:property="og:|name="twitter:)[^>]*>\s*|<link rel="manifest"[^>]*>\s*'
)


class Gate:
    """An app that lets visitors into the pages of the demo.

    Args:
        app: the app with Gradio's pages.
        language: of the page that it guards, which lies at `/demo/{language}/`.
        head: HTML for the beginning of the page's head. Gradio fills in what it is given itself
            when its scripts run already, and that is too late to tell them the language.
        uploads: the folder of what visitors sent.
        full: bytes in that folder from which on nothing more is taken.
    """

    def __init__(
        self, app: ASGIApp, *, language: str, head: str, uploads: Path, full: int = 2 << 30
    ) -> None:
        self.app, self.texts, self.head = app, TEXTS[language], head.encode()
        self.prefix, self.uploads, self.full = f"/demo/{language}/", uploads.resolve(), full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or not path.startswith(self.prefix):
            await self.app(scope, receive, send)
            return
        route = path.removeprefix(self.prefix)
        if scope["type"] != "http" or not _ROUTES.fullmatch(route):
            await _answer(send, 404, "Not found")
        elif not route:
            await self._page(scope, receive, send)
        elif route == _UPLOAD and self._is_full():
            await _answer(send, 503, self.texts["busy"])
        elif route != _UPLOAD and scope["method"] not in ("GET", "HEAD"):
            await self._with_files(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_full(self) -> bool:
        files = (path for path in self.uploads.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) > self.full

    async def _with_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only if every file that the request names was sent before."""
        body, more = b"", True
        while more and len(body) <= _MAX_BODY:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > _MAX_BODY:
            await _answer(send, 413, self.texts["failed"])
            return
        try:
            named = list(_named_files(json.loads(body)))
        except (ValueError, RecursionError):
            await _answer(send, 400, self.texts["failed"])
            return
        if not all(map(self._was_sent, named)):
            await _answer(send, 400, self.texts["not_sent"])
            return
        await self.app(scope, _replay(body, receive), send)

    def _was_sent(self, name: Any) -> bool:
        if not isinstance(name, str) or "\0" in name or "://" in name:
            return False
        return Path(name).resolve().is_relative_to(self.uploads)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page with our head, asked for as plain text: compressed, it couldn't be changed."""
        headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        begun: list[Message] = []
        page = b""

        async def change(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            page += message.get("body", b"")
            if message.get("more_body"):
                return
            if scope["method"] == "GET":  # of HEAD only the headers are wanted
                page = begin(page, self.head)
            begun[0]["headers"] = [
                *(pair for pair in begun[0]["headers"] if pair[0] != b"content-length"),
                (b"content-length", str(len(page)).encode()),
            ]
            await send(begun[0])
            await send({"type": "http.response.body", "body": page})

        await self.app(dict(scope, headers=headers), receive, change)


def begin(page: bytes, head: bytes) -> bytes:
    """A page of Gradio's: `head` begins its head, and what is foreign there is gone."""
    before, tag, after = page.partition(b"<head>")
    return before + tag + head + _FOREIGN.sub(b"", after) if tag else page


def _named_files(value: Any) -> Iterator[Any]:
    """Every `path` in a request: Gradio takes a dict that has one for a file."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _named_files(item)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """`receive` that gives a body that was read already, and then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
