"""What stands before vLLM's routes: an allowlist, the key, limits, errors that tell no secrets.

An ASGI middleware. `borealis serve` puts it in; `vllm serve --middleware
borealis.serving.front.Front` does too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from borealis.audio import AudioLimits, load_audio
from borealis.errors import AudioTooLargeError, AudioTooLongError, BorealisError
from borealis.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Everything else that vLLM has is closed: most of it isn't covered by its key.
ROUTES = {
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/audio/transcriptions"),
}
OPEN = {"/health"}  # says only that the server is alive
_GENERIC = "The server couldn't answer this request. The reason is in its log."

log = logging.getLogger("borealis.serving")


class RequestError(BorealisError):
    """A request that can't be answered as it is; the sentence goes to the client."""

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


def error_response(message: str, status: int, param: str | None = None) -> JSONResponse:
    """An error in the form OpenAI's clients read."""
    kinds = {401: "AuthenticationError", 404: "NotFoundError", 413: "RequestTooLargeError"}
    kind = kinds.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    body = {"message": message, "type": kind, "param": param, "code": status}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": body}, status_code=status, headers=headers)


class Front:
    """The middleware.

    Args:
        app: vLLM's application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.settings = Settings.from_environment()
        # Decoding takes a core and, for the longest file, a few hundred MB.
        self._decoders = asyncio.Semaphore(2)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # a WebSocket: no route here has one
            return await send({"type": "websocket.close", "code": 1008})
        guarded = _Guarded(send)
        try:
            await self._route(scope, receive, guarded)
        except RequestError as error:
            response = error_response(str(error), error.status, error.param)
            await guarded.instead(response, scope, receive)
        except ClientGoneError:
            log.debug("A client left before its answer.")  # nobody is there to answer
        except Exception:
            log.exception("A request failed.")
            await guarded.instead(error_response(_GENERIC, 500), scope, receive)

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if (scope["method"], path) not in ROUTES:
            known = ", ".join(sorted(f"{method} {route}" for method, route in ROUTES))
            raise RequestError(f"There is no such route. These are: {known}.", 404)
        state = scope["app"].state
        if path not in OPEN and not _authorised(scope, state.args):
            raise RequestError(
                "The API key is missing or wrong: send 'Authorization: Bearer KEY'.", 401
            )
        if path == "/v1/models":
            return await JSONResponse(_models(state))(scope, receive, send)
        if path == "/v1/chat/completions":
            from borealis.serving.chat import prepare_chat

            body = await prepare_chat(await self._body(scope, receive), state, self)
            headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            return await self.app({**scope, "headers": headers}, _replay(body, receive), send)
        if path == "/v1/audio/transcriptions":
            from borealis.serving.transcription import transcribe

            body = await self._body(scope, receive)
            return await transcribe(scope, body, receive, send, self)
        return await self.app(scope, receive, send)

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        limit = self.settings.max_body
        too_large = RequestError(
            f"The request is larger than the limit of {self.settings.max_bytes / 2**20:.0f} MB of "
            "audio; cut the recording or compress it.",
            413,
        )
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large
            if not message.get("more_body"):
                return b"".join(parts)

    async def decode(self, data: bytes, *, max_seconds: float | None = None) -> Any:
        """An encoded file -> float32 mono 16 kHz, within the limits.

        Raises:
            RequestError: it isn't audio, is broken, empty, too large or too long.
        """
        limits = AudioLimits(
            max_bytes=self.settings.max_bytes,
            max_seconds=min(max_seconds or self.settings.max_seconds, self.settings.max_seconds),
        )
        async with self._decoders:
            try:
                return await asyncio.to_thread(load_audio, data, limits=limits)
            except BorealisError as error:
                large = isinstance(error, (AudioTooLargeError, AudioTooLongError))
                raise RequestError(str(error), 413 if large else 400, "file") from None


class ClientGoneError(Exception):
    """The client closed the connection: there is nobody to answer."""


class _Guarded:
    """`send` that turns a failure inside into a generic one, if nothing was sent yet."""

    def __init__(self, send: Send) -> None:
        self._send, self._started, self._replaced = send, False, False

    async def __call__(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            self._started = True
            if message["status"] >= 500 and message["status"] != 503:
                self._replaced = True
                await self._whole(error_response(_GENERIC, message["status"]))
                return
        await self._send(message)

    async def _whole(self, response: JSONResponse) -> None:
        start = {"type": "http.response.start", "status": response.status_code}
        await self._send({**start, "headers": response.raw_headers})
        await self._send({"type": "http.response.body", "body": response.body})

    async def instead(self, response: JSONResponse, scope: Message, receive: Receive) -> None:
        """Send `response`, unless an answer has already begun."""
        if not self._started:
            self._started = True
            await response(scope, receive, self._send)


def _authorised(scope: Message, args: Any) -> bool:
    keys = [key for key in (args.api_key or [os.environ.get("VLLM_API_KEY")]) if key]
    if not keys:
        return True
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, given = header.partition(" ")
    digest = hashlib.sha256(given.strip().encode()).digest()
    fits = [secrets.compare_digest(digest, hashlib.sha256(k.encode()).digest()) for k in keys]
    return scheme.lower() == "bearer" and any(fits)


def _models(state: Any) -> dict[str, Any]:
    """vLLM's list without the folder in which each model lies."""
    models = state.openai_serving_models
    names = [base.name for base in models.base_model_paths]
    rows = [{"id": name, "parent": None} for name in names]
    rows += [{"id": lora, "parent": names[0]} for lora in models.lora_requests]
    length = state.engine_client.model_config.max_model_len
    common = {"object": "model", "owned_by": "borealis", "created": 0, "max_model_len": length}
    return {"object": "list", "data": [{**common, **row} for row in rows]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` that gives `body`, and after it what the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def parse_json(body: bytes) -> dict[str, Any]:
    """The object a request holds, or RequestError."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("The body isn't JSON; send Content-Type: application/json.") from None
    if not isinstance(value, dict):
        raise RequestError("The body is JSON but not an object with 'model' and 'messages'.")
    return value
