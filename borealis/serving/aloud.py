"""Answers of the chat that are also spoken: `modalities` with "audio", as OpenAI has it."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from borealis.serving.errors import Message, Receive, RequestError, Send
from borealis.serving.leaving import unless_gone

if TYPE_CHECKING:
    from borealis.serving.speech import Announcer

_KNOWN = {"voice", "format"}


@dataclass(frozen=True)
class Aloud:
    """How answers are to be spoken.

    Args:
        announcer: who speaks.
        voice: its name; None chooses one by the language of the answer.
        form: of the sound.
    """

    announcer: Announcer
    voice: str | None
    form: str


def take_aloud(request: dict[str, Any], announcer: Announcer | None) -> Aloud | None:
    """How the answers to a chat request are to be spoken, or None; its fields are taken out.

    Args:
        request: changed in place. Where the server can't speak, the fields stay and are refused.
        announcer: the voice of the server.

    Raises:
        RequestError: it is asked for in a way that isn't here.
    """
    given = request.get("modalities")
    modalities = given if isinstance(given, list) else []
    asked = "audio" in modalities
    if announcer is None or not (asked or request.get("audio")):
        return None
    # Imports torch, as the rest of the front doesn't.
    from borealis.serving.speech import sound_form

    if not asked or any(kind not in ("text", "audio") for kind in modalities):
        raise RequestError(
            'An answer that is spoken is asked for by \'modalities\': ["text", "audio"].',
            param="modalities",
        )
    audio = request.get("audio")
    if not isinstance(audio, dict) or any(key not in _KNOWN for key in audio):
        raise RequestError(
            "'audio' must be an object with 'voice' and 'format', and no more.", param="audio"
        )
    if request.get("stream"):
        raise RequestError(
            "An answer that is spoken can't be streamed; leave 'stream' out, or have the text "
            "spoken by /v1/audio/speech.",
            param="stream",
        )
    voice, form = audio.get("voice"), audio.get("format") or "wav"
    if isinstance(voice, dict) and set(voice) == {"id"}:
        voice = voice["id"]
    if not isinstance(voice, str | None) or not isinstance(form, str):
        raise RequestError("'voice' and 'format' of 'audio' must be strings.", param="audio")
    form = sound_form(form, "audio", "pcm16")
    announcer.check_voice(voice, "audio")
    del request["modalities"], request["audio"]
    return Aloud(announcer, voice, form)


async def answer_aloud(
    aloud: Aloud,
    answer: Callable[[Send], Awaitable[None]],
    scope: Message,
    receive: Receive,
    send: Send,
) -> None:
    """Send an answer with its sound.

    Args:
        aloud: how it is to be spoken.
        answer: sends the written one.
        scope, receive, send: the request and its connection.
    """
    kept = _Kept()
    await answer(kept)
    if kept.status != 200:
        for message in kept.messages:
            await send(message)
        return
    body = json.loads(kept.body)
    spoken = await unless_gone(_speak(aloud, body), receive)
    await JSONResponse(spoken, headers=_headers(aloud))(scope, receive, send)


def _headers(aloud: Aloud) -> dict[str, str]:
    from borealis.serving.speech import SYNTHETIC
    from borealis.speech.sound import mark

    return {SYNTHETIC: mark(aloud.voice or "")}


async def _speak(aloud: Aloud, body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion with the sound of every answer in it."""
    for choice in body["choices"]:
        message = choice["message"]
        message["audio"] = await _sound(aloud, message.get("content") or "")
    return body


async def _sound(aloud: Aloud, text: str) -> dict[str, Any] | None:
    """OpenAI's object for a spoken answer; None where nothing of it can be said."""
    try:
        order = await aloud.announcer.order(text, param="audio", voice=aloud.voice)
    except RequestError:
        return None
    async with aclosing(aloud.announcer.file(order, aloud.form)) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    return {
        "id": f"audio-{uuid.uuid4().hex}",
        "data": base64.b64encode(data).decode(),
        "transcript": text,
        "expires_at": int(time.time()),  # nothing is kept here
    }


class _Kept:
    """`send` that keeps an answer."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return self.messages[0]["status"] if self.messages else 0

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)
