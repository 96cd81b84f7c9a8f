"""What stands before vLLM's routes: an allowlist, the key, limits, errors that tell no secrets.

An ASGI middleware. `borealis serve` puts it in; `vllm serve --middleware
borealis.serving.front.Front` does too, without the deadline for headers
(`borealis.serving.connection`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from borealis.errors import BorealisError
from borealis.serving.aloud import answer_aloud, take_aloud
from borealis.serving.chat import parse_json, prepare_chat
from borealis.serving.errors import (
    ClientGoneError,
    Message,
    Receive,
    RequestError,
    Send,
)
from borealis.serving.leaving import unless_gone
from borealis.serving.models import check_model, describe_models
from borealis.serving.room import Room, Visit
from borealis.serving.settings import Settings
from borealis.serving.sounds import Sounds

if TYPE_CHECKING:
    from borealis.serving.drafts import Drafts
    from borealis.serving.speech import Announcer

# Everything else that vLLM has is closed: most of it isn't covered by its key.
ROUTES = {
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/audio/voices"),
}
OPEN = {"/health"}  # says only that the server is alive
_MODEL = "/v1/models/"  # and a name after it
_NOT_OFFERED = {
    "/v1/audio/translations": "Speech isn't translated here: the transcript is in the language of "
    "the recording. Send it to /v1/audio/transcriptions.",
}
# Headers that vLLM may see; others could steer it (the id of a request, its rank, its priority).
_HEADERS = {b"host", b"authorization", b"accept", b"user-agent", b"traceparent", b"tracestate"}
_GENERIC = "The server couldn't answer this request. The reason is in its log."
_MAX_TEXT = 2**20  # bytes; the longest text is far shorter, however it is escaped
_DEAD = "The model of this server has stopped; the server is going down."

log = logging.getLogger("borealis.serving")


class Front:
    """The middleware.

    Args:
        app: vLLM's application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.settings = Settings.from_environment()
        self.sounds = Sounds(self.settings)
        self.room = Room(self.settings.max_requests, self.settings.max_held)
        self.drafts: Drafts | None = None
        self.announcer: Announcer | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(scope, receive, send)
        if scope["type"] != "http":  # a WebSocket: no route here has one
            return await send({"type": "websocket.close", "code": 1008})
        guarded = _Guarded(send)
        try:
            await self._route(scope, receive, guarded)
            await guarded.finish(scope)
        except RequestError as error:
            await guarded.instead(error)
        except ClientGoneError:
            log.debug("A client left before its answer.")  # nobody is there to answer
        except Exception:
            log.exception("A request failed.")
            await guarded.instead(_failure(scope))

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        """The life of the server: what it does itself is made ready before any request comes.

        With a `ctc` adapter that is the model, which writes transcripts; and the codec of one that
        speaks.

        Not earlier: vLLM forks its engine, and a process that has used PyTorch or CUDA mustn't.
        """
        try:
            await self._load(scope["app"].state.engine_client)
        except Exception as error:  # raised, it would pass for an app without a startup
            if not isinstance(error, BorealisError):
                log.exception("The model can't be loaded.")
            await receive()
            return await send({"type": "lifespan.startup.failed", "message": str(error)})
        try:
            await self.app(scope, receive, send)
        finally:
            if self.drafts is not None:
                await asyncio.to_thread(self.drafts.close)

    async def _load(self, engine: Any) -> None:
        """Make ready what this process does itself."""
        model_config = engine.model_config
        if getattr(model_config.hf_config, "adapter_type", "") == "ctc":
            from borealis.serving import drafts

            self.drafts = await asyncio.to_thread(
                drafts.load_drafts, str(model_config.model), model_config.dtype
            )
            drafts.show(self.drafts)
        if getattr(model_config.hf_config, "speech", None):
            from borealis.serving import speech

            self.announcer = await asyncio.to_thread(speech.load_announcer, model_config, engine)
            if self.announcer is not None:
                speech.show(self.announcer)

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        named = scope["method"] == "GET" and path.startswith(_MODEL) and path != _MODEL
        if not named and (scope["method"], path) not in ROUTES:
            known = ", ".join(sorted(f"{method} {route}" for method, route in ROUTES))
            text = _NOT_OFFERED.get(path) or f"There is no such route. These are: {known}."
            raise RequestError(text, 404)
        state = scope["app"].state
        if path not in OPEN and not _authorised(scope, state.args):
            raise RequestError(
                "The API key is missing or wrong: send 'Authorization: Bearer KEY'.",
                401,
                code="invalid_api_key",
            )
        if path == "/v1/models":
            rows = {"object": "list", "data": describe_models(state)}
            return await JSONResponse(rows)(scope, receive, send)
        if named:
            name = path.removeprefix(_MODEL)
            check_model(name, state)
            row = next(row for row in describe_models(state) if row["id"] == name)
            return await JSONResponse(row)(scope, receive, send)
        if path == "/v1/audio/voices":
            voices = self.announcer.describe_voices() if self.announcer else []
            return await JSONResponse({"voices": voices})(scope, receive, send)
        if scope["method"] == "GET":
            return await self.app(scope, receive, send)
        with self.room.visit() as visit:
            speaks = path == "/v1/audio/speech"
            body = await self._body(scope, receive, visit, _MAX_TEXT if speaks else None)
            visit.take_place()
            if speaks:
                # Imports torch; the rest of the front doesn't.
                from borealis.serving.speech import speak

                return await speak(scope, body, receive, send, self.announcer)
            if path == "/v1/audio/transcriptions":
                from borealis.serving.transcription import transcribe  # torch as well

                return await transcribe(scope, body, receive, send, self.sounds, visit, self.drafts)
            request = parse_json(body)
            aloud = take_aloud(request, self.announcer)
            prepared = await unless_gone(
                prepare_chat(request, state, self.sounds, visit, self.drafts), receive
            )

            async def answer(send: Send) -> None:
                if isinstance(prepared, Response):
                    return await prepared(scope, receive, send)
                headers = [(k, v) for k, v in scope["headers"] if k in _HEADERS]
                headers.append((b"content-type", b"application/json"))
                headers.append((b"content-length", str(len(prepared)).encode()))
                await self.app({**scope, "headers": headers}, _replay(prepared, receive), send)

            if aloud is None:
                return await answer(send)
            return await answer_aloud(aloud, answer, scope, receive, send)

    async def _body(
        self, scope: Message, receive: Receive, visit: Visit, longest: int | None
    ) -> bytes:
        """The body of a request, within its size and its time.

        Args:
            scope, receive: the request and its connection.
            visit: where what has come is counted.
            longest: bytes of a body without audio; None where it has audio.

        Raises:
            RequestError: it is too large or too late, or there is no memory for it now.
            ClientGoneError: the client left.
        """
        limit = longest or self.settings.max_body
        largest = f"{self.settings.max_bytes / 2**20:.0f} MB of audio"
        too_large = RequestError(
            f"The request is larger than {limit} bytes; send the text in parts."
            if longest
            else f"The request is larger than the limit of {largest}; cut the recording or "
            "compress it.",
            413,
        )
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise too_large
        parts: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(None) as deadline:
                while True:
                    deadline.reschedule(began + self.settings.body_seconds(size))
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    part = message.get("body", b"")
                    visit.hold(len(part))
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestError(
                f"The body of the request comes too slowly: {size} bytes in "
                f"{loop.time() - began:.0f} s.",
                408,
            ) from None


def _failure(scope: Message, status: int = 500) -> RequestError:
    """What a client is told of a failure inside."""
    engine = getattr(scope["app"].state, "engine_client", None)
    if engine is not None and engine.errored:
        return RequestError(_DEAD, 503, code="unavailable", retry_after=30)
    if status == 503:
        return RequestError("The server isn't ready.", 503, code="unavailable", retry_after=30)
    return RequestError(_GENERIC, 500)


class _Guarded:
    """`send` that holds an error of vLLM back, so that it can be told in our form."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self._status = 0  # of an error that is held back
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if self._status:
            self._body += message.get("body", b"")
            return
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._status = message["status"]
                return
            self._started = True
        await self._send(message)

    async def finish(self, scope: Message) -> None:
        """Send the error that was held back, if there is one; of a 5xx no more than that."""
        if self._status >= 500:
            await self.instead(_failure(scope, self._status))
        elif self._status:
            told = _told(bytes(self._body))
            message = told.get("message") or "vLLM doesn't take this request."
            await self.instead(RequestError(message, self._status, told.get("param")))

    async def instead(self, error: RequestError) -> None:
        """Send `error`, unless an answer has already begun."""
        if self._started:
            return
        self._started = True
        response = error.response()
        start = {"type": "http.response.start", "status": response.status_code}
        await self._send({**start, "headers": response.raw_headers})
        await self._send({"type": "http.response.body", "body": response.body})


def _told(body: bytes) -> dict[str, Any]:
    """The error in an answer of vLLM's."""
    try:
        error = json.loads(body)["error"]
        return {k: v for k, v in error.items() if k in ("message", "param") and isinstance(v, str)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _authorised(scope: Message, args: Any) -> bool:
    keys = [key for key in (args.api_key or [os.environ.get("VLLM_API_KEY")]) if key]
    if not keys:
        return True
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, given = header.partition(" ")
    digest = hashlib.sha256(given.strip().encode()).digest()
    fits = [secrets.compare_digest(digest, hashlib.sha256(k.encode()).digest()) for k in keys]
    return scheme.lower() == "bearer" and any(fits)


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
