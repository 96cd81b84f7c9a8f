"""/v1/audio/speech: vLLM writes the tokens, this process makes them heard.

A text is written piece by piece, a few pieces ahead of what is heard, and its sound is sent as it
is made. Nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import StreamingResponse

from borealis import arguments
from borealis.data.spoken import speakable
from borealis.errors import BorealisError, PromptError, SpeechError
from borealis.inference.speech import TEMPERATURE, TOP_K, Narrator
from borealis.serving.chat import parse_json
from borealis.serving.errors import Message, Receive, RequestError, Send, shown
from borealis.serving.leaving import unless_gone
from borealis.serving.models import check_model
from borealis.speech.sound import CONTENT_TYPES, FASTEST, SLOWEST, Encoder, mark
from borealis.speech.stream import prompt_ids

if TYPE_CHECKING:
    from borealis.inference.speech import Order, PieceMaking, SpeechPart

log = logging.getLogger("borealis.serving")

# What vLLM must be started with; `borealis serve` does it.
RULE = "borealis.serving.rule:SpeechLogits"
SYNTHETIC = "X-Synthetic-Speech"  # the header that says so
_AHEAD = 3  # pieces that are written while one is heard
_AT_ONCE = 2  # pieces of sound that are made together: each takes a core
_INT64 = 2**63
_REFUSED = {
    "instructions": "How a text is said can't be told in words here: choose a voice and a speed, "
    "and leave 'instructions' out.",
}
SILENT = "This model wasn't taught to speak: it has no voices, and /v1/audio/voices is empty."
_BROKEN = "The server couldn't finish this speech. The reason is in its log."


# ---- what is asked for ----


class _VoiceId(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str


class _Fields(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str | None = None
    input: str
    voice: str | _VoiceId | None = None
    response_format: str = "mp3"
    speed: float = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    language: str | None = None
    seed: int = Field(default=0, ge=0, lt=_INT64)
    temperature: Annotated[float, Field(ge=0, le=2)] = TEMPERATURE
    top_k: Annotated[int, Field(ge=1, lt=2**31)] = TOP_K


@dataclass(frozen=True)
class Asked:
    """A checked request.

    Args:
        order: what is spoken.
        form: of the sound, see `borealis.speech.sound.encoded`.
        events: send it as server-sent events.
    """

    order: Order
    form: str
    events: bool


def sound_form(value: str, param: str, usual: str = "") -> str:
    """The form of the sound, or RequestError that names those that work.

    Args:
        value: as the client wrote it.
        param: the field.
        usual: a name that stands for bare samples beside `pcm`.
    """
    form = "pcm" if usual and value == usual else value
    if form not in CONTENT_TYPES:
        known = ", ".join([*CONTENT_TYPES, *([usual] if usual else [])])
        raise RequestError(
            f"Sound isn't written as '{shown(value, 20)}' here; it may be {known}.", param=param
        )
    return form


# ---- the voice of the server ----


class Announcer:
    """Speaks: has tokens written by vLLM's engine and makes them heard.

    Args:
        narrator: of the model.
        engine: vLLM's client of it.
    """

    def __init__(self, narrator: Narrator, engine: Any) -> None:
        self.narrator, self.engine = narrator, engine
        self.running = 0  # speeches that are being made
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._texts = asyncio.Semaphore(_AT_ONCE)  # the longest take seconds to be put into words

    def describe_voices(self) -> list[dict[str, Any]]:
        return [
            {
                "id": voice.name,
                "name": voice.name,
                "language": voice.language,
                "gender": voice.gender,
                "description": voice.description,
            }
            for voice in self.narrator.voices
        ]

    def check_voice(self, name: str | None, param: str) -> None:
        """Raise RequestError for a voice that isn't there."""
        names = [voice.name for voice in self.narrator.voices]
        if name is not None and name not in names:
            raise RequestError(
                f"There is no voice '{shown(name)}'; this model has {', '.join(names)}.",
                param=param,
            )

    async def order(self, text: str, *, param: str, **manner: Any) -> Order:
        """What is to be spoken, checked.

        Args:
            text: as it was given.
            param: the field that it came in.
            **manner: of `Narrator.order`, checked but for the text.

        Raises:
            RequestError: the text can't be said.
        """
        try:
            async with self._texts:
                return await asyncio.to_thread(self.narrator.order, text, **manner)
        except (SpeechError, PromptError) as error:
            raise RequestError(str(error), param=param) from None

    async def parts(self, order: Order) -> AsyncGenerator[SpeechPart, None]:
        """The speech as it is made; whoever closes the iterator stops the work."""
        making = await asyncio.to_thread(self.narrator.making, order)
        coming = iter(enumerate(making.pieces))
        ahead: deque[_Written] = deque()
        self.running += 1
        try:
            for piece in making.pieces:
                while len(ahead) <= _AHEAD and (following := next(coming, None)):
                    ahead.append(self._begin(order, *following))
                written = ahead[0]
                while tokens := await written.next():
                    for part in await self._heard(piece, tokens):
                        yield part
                await written.task
                ahead.popleft()
                if gap := piece.gap():
                    yield gap
            if rest := await asyncio.to_thread(making.finish):
                yield rest
        finally:
            self.running -= 1
            for written in ahead:
                written.task.cancel()

    async def file(self, order: Order, form: str) -> AsyncGenerator[bytes, None]:
        """The speech as a file, in chunks that aren't empty."""
        encoder = Encoder(self.narrator.codec.sampling_rate, form, voice=order.voice)
        async with aclosing(self.parts(order)) as parts:
            async for part in parts:
                if data := encoder.push(part.waveform):
                    yield data
        if data := encoder.finish():
            yield data

    async def events(self, order: Order, form: str) -> AsyncGenerator[str, None]:
        """The same as server-sent events, as OpenAI names them."""
        encoder = Encoder(self.narrator.codec.sampling_rate, form, voice=order.voice)
        symbols = codes = 0
        async with aclosing(self.parts(order)) as parts:
            async for part in parts:
                if part.piece is not None:
                    symbols += len(part.piece.symbols)
                    codes += int(part.piece.durations.sum()) * self._books
                if data := encoder.push(part.waveform):
                    yield _delta(data)
        if data := encoder.finish():
            yield _delta(data)
        usage = {"input_tokens": symbols, "output_tokens": codes, "total_tokens": symbols + codes}
        yield _event({"type": "speech.audio.done", "usage": usage})

    @property
    def _books(self) -> int:
        return self.narrator.vocabulary.codec.num_codebooks

    async def _heard(self, piece: PieceMaking, tokens: list[int]) -> list[SpeechPart]:
        def push() -> list[SpeechPart]:
            return [part for token in tokens if (part := piece.push(token)) is not None]

        async with self._places:
            return await asyncio.to_thread(push)

    def _begin(self, order: Order, place: int, piece: PieceMaking) -> _Written:
        """Have a piece written from now on."""
        written = _Written()
        written.task = asyncio.create_task(self._write(order, place, piece, written))
        return written

    async def _write(self, order: Order, place: int, piece: PieceMaking, out: _Written) -> None:
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        from borealis.serving.rule import speech_params

        try:
            rule = piece.rule()
            ids = prompt_ids(rule.vocabulary, rule.symbols, order.voice)
            room = self.engine.model_config.max_model_len - len(ids)
            params = speech_params(
                rule,
                temperature=order.temperature,
                top_k=order.top_k,
                seed=(order.seed + place * 0x9E3779B97F4A7C15) % _INT64,  # other draws each time
                max_tokens=room,
            )
            parsed = parse_model_prompt(self.engine.model_config, {"prompt_token_ids": ids})
            (ready,) = await self.engine.renderer.render_cmpl_async([parsed])
            request_id = f"speech-{uuid.uuid4().hex}"
            async for output in self.engine.generate(ready, params, request_id):
                tokens = list(output.outputs[0].token_ids)
                rule.follow(tokens)
                out.tell(tokens)
            if not rule.done:
                raise RuntimeError(
                    f"A piece of {len(rule.symbols)} symbols didn't end within {room} tokens; "
                    "start the server with a longer --max-model-len."
                )
        finally:
            out.tell([])


class _Written:
    """Tokens of a piece that vLLM has written and nobody has heard yet."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self._queue: asyncio.Queue[list[int]] = asyncio.Queue()
        self._over = False

    def tell(self, tokens: list[int]) -> None:
        """Put tokens in; none at the end."""
        self._queue.put_nowait(tokens)

    async def next(self) -> list[int]:
        """All that have come since, once any have; none at the end."""
        found: list[int] = []
        while not self._over and (not found or not self._queue.empty()):
            tokens = await self._queue.get()
            self._over = not tokens
            found += tokens
        return found


def load_announcer(
    model_config: Any, engine: Any, device: torch.device | None = None
) -> Announcer | None:
    """The voice of a server; None where it can't speak, and why goes to the log.

    Args:
        model_config: vLLM's.
        engine: vLLM's client.
        device: of the codec; by default CUDA where there is one.
    """
    speech = getattr(model_config.hf_config, "speech", None) or {}
    if not speech.get("voices"):
        return None
    if RULE not in (model_config.logits_processors or ()):
        log.warning(
            "The model has voices, but vLLM was started without --logits-processors %s: "
            "/v1/audio/speech is closed.",
            RULE,
        )
        return None
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    narrator = Narrator(speech, device=str(device))
    try:
        speakable("1", "ru")  # reads dictionaries, for which the first request would wait
        narrator.codec, narrator.refiner  # noqa: B018  # the same
    except BorealisError as error:
        log.warning("The model has voices, but can't speak here. %s", error)
        return None
    return Announcer(narrator, engine)


def show(announcer: Announcer) -> Any:
    """Tell /metrics how many speeches are being made; vLLM counts their pieces."""
    from prometheus_client import Gauge

    running = Gauge("borealis:speeches_running", "Speeches that are being made.")
    running.set_function(lambda: announcer.running)
    return running


# ---- the route ----


async def speak(
    scope: Message, body: bytes, receive: Receive, send: Send, announcer: Announcer | None
) -> None:
    """Answer one request to /v1/audio/speech whose body has been read.

    Raises:
        RequestError: it can't be answered as it is.
        ClientGoneError: the client left before the first sound.
    """
    asked = await unless_gone(_asked(parse_json(body), scope["app"].state, announcer), receive)
    assert announcer is not None  # or the request was refused
    order, form = asked.order, asked.form
    make: Any = announcer.events if asked.events else announcer.file
    chunks: AsyncGenerator[Any, None] = make(order, form)
    try:
        # With the first sound in hand: what fails before it is answered with an error.
        first = await unless_gone(anext(chunks, b""), receive)  # no samples are pcm, too
        headers = {SYNTHETIC: mark(order.voice)}
        kind = "text/event-stream" if asked.events else CONTENT_TYPES[form]
        going_on = _going_on(first, chunks, events=asked.events)
        response = StreamingResponse(going_on, media_type=kind, headers=headers)
        await response(scope, receive, send)
    finally:
        await chunks.aclose()


async def _going_on(first: Any, chunks: AsyncIterator[Any], *, events: bool) -> AsyncIterator[Any]:
    yield first
    try:
        async for chunk in chunks:
            yield chunk
    except Exception:
        if not events:  # the connection is cut, so that nobody takes it for the end
            raise
        log.exception("A speech broke off.")
        yield _event({"type": "error", "error": {"message": _BROKEN, "code": 500}})


async def _asked(request: dict[str, Any], state: Any, announcer: Announcer | None) -> Asked:
    given = {}
    for name, value in request.items():
        if value is None or (name == "instructions" and value == ""):
            continue
        if name in _REFUSED:
            raise RequestError(_REFUSED[name], param=name, code="unsupported_parameter")
        if name not in _Fields.model_fields:
            raise RequestError(
                f"The field '{shown(name)}' isn't supported here; leave it out.",
                param=name,
                code="unsupported_parameter",
            )
        given[name] = value
    if "input" not in given:
        raise RequestError("There is no text: send it in the field 'input'.", param="input")
    try:
        fields = _Fields.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field, reason = str(first["loc"][0]), first["msg"]
        if field == "voice":
            reason = 'a name is wanted, or {"id": name}'
        raise RequestError(
            f"'{field}' is wrong: {reason[0].lower()}{reason[1:]}.", param=field
        ) from None
    if check_model(fields.model, state) is not None:
        raise RequestError(
            f"'{shown(fields.model)}' changes answers, and speech is made by the model that it "
            "belongs to. Leave 'model' out or give that one.",
            param="model",
            code="unsupported_parameter",
        )
    if announcer is None:
        raise RequestError(SILENT, param="model", code="unsupported_parameter")
    if not SLOWEST <= fields.speed <= FASTEST:
        raise RequestError(
            f"'speed' is {fields.speed:g}; here it may be from {SLOWEST:g} to {FASTEST:g}.",
            param="speed",
        )
    form = sound_form(fields.response_format, "response_format")
    voice = fields.voice.id if isinstance(fields.voice, _VoiceId) else fields.voice
    announcer.check_voice(voice, "voice")
    try:
        language = arguments.language(fields.language)
    except PromptError as error:
        raise RequestError(shown(error, 200), param="language") from None
    order = await announcer.order(
        fields.input,
        param="input",
        voice=voice,
        language=language,
        speed=fields.speed,
        temperature=fields.temperature,
        top_k=fields.top_k,
        seed=fields.seed,
    )
    return Asked(order, form, fields.stream_format == "sse")


def _delta(data: bytes) -> str:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
