"""/v1/audio/transcriptions: long files cut at pauses, all of OpenAI's formats.

The audio is cut as `borealis transcribe` cuts it. A model with a `ctc` adapter writes each part in
this process (`borealis.serving.drafts`); with others each part is a request to vLLM's engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from borealis.audio import SAMPLING_RATE, level_db, split_at_silence
from borealis.inference.engine import SILENCE_DB, transcript_budget
from borealis.inference.formats import WITH_WORDS
from borealis.inference.messages import language_of
from borealis.inference.transcript import placed
from borealis.serving import formats
from borealis.serving.drafts import Drafts, Manner
from borealis.serving.errors import Message, Receive, RequestError, Send
from borealis.serving.form import Options, read_form
from borealis.serving.leaving import unless_gone
from borealis.serving.models import check_model

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.room import Visit
    from borealis.serving.sounds import Sounds

# Parts of one file that vLLM decodes at once: one long file leaves room for other clients.
_PARTS_AT_ONCE = 8
Tell = Callable[[str], None]


async def transcribe(
    scope: Message,
    body: bytes,
    receive: Receive,
    send: Send,
    sounds: Sounds,
    visit: Visit,
    drafts: Drafts | None,
) -> None:
    """Answer one request whose body has been read.

    Args:
        scope, receive, send: the request and its connection.
        body: all that came.
        sounds: decodes the file.
        visit: the request; what is decoded is counted there.
        drafts: writes transcripts, if the model's adapter is `ctc`.

    Raises:
        RequestError: it can't be answered as it is.
        ClientGoneError: the client left.
    """
    state = scope["app"].state
    data, options = await read_form(scope, body)
    lora = check_model(options.model, state)
    writer: Writer
    if drafts is None:
        _check_engine(options)
        writer = _Generated(state, options, lora)
    else:
        _check_drafts(options, lora, drafts)
        writer = Drafted(drafts, options)
    clip = await sounds.decode(data, visit, param="file")
    work = Work(clip, writer)
    response: Response
    if options.stream:
        response = StreamingResponse(work.events(), media_type="text/event-stream")
        return await response(scope, receive, send)
    parts = await unless_gone(work.whole(), receive)
    seconds = len(clip) / SAMPLING_RATE
    if options.response_format == "json":
        response = JSONResponse(formats.as_json(parts, seconds))
    elif options.response_format == "verbose_json":
        language = options.language or language_of(formats.join(parts))
        response = JSONResponse(
            formats.as_verbose_json(parts, seconds, language, options.temperature)
        )
    else:
        write: dict[str, Callable[[list[formats.Part], float], str]] = {
            "text": formats.as_text,
            "srt": formats.as_srt,
            "vtt": formats.as_vtt,
        }
        kind = "text/vtt" if options.response_format == "vtt" else "text/plain"
        text = write[options.response_format](parts, seconds)
        response = PlainTextResponse(text, media_type=f"{kind}; charset=utf-8")
    return await response(scope, receive, send)


def _check_engine(options: Options) -> None:
    """Refuse what needs CTC's letters."""
    if options.words:
        raise _refusal(
            "Times of words need a model with a 'ctc' adapter; take 'segment' here.",
            "timestamp_granularities[]",
        )
    if options.hot_words:
        raise _refusal(
            "Hot words need a model with a 'ctc' adapter. Leave 'hotwords' out.", "hotwords"
        )


def _check_drafts(options: Options, lora: Any, drafts: Drafts) -> None:
    """Refuse what a search for letters has no use for."""
    if lora is not None:
        raise _refusal(
            f"'{options.model}' changes answers, and transcripts are written by the model that it "
            "belongs to. Leave 'model' out or give that one.",
            "model",
        )
    if options.prompt:
        raise _refusal(
            "This model writes down what it hears and takes no hints; leave 'prompt' out. Words "
            "that are expected go into 'hotwords'.",
            "prompt",
        )
    if options.temperature:
        raise _refusal(
            "Transcripts of this model are searched for and not drawn. Leave 'temperature' out.",
            "temperature",
        )
    drafts.check(options.hot_words)


def _refusal(message: str, param: str) -> RequestError:
    return RequestError(message, param=param, code="unsupported_parameter")


class Writer(Protocol):
    """Who writes the parts of a recording, `at_once` of them together."""

    @property
    def at_once(self) -> int: ...

    def cut(self, clip: np.ndarray) -> Sequence[tuple[int, int]]:
        """First and last sample of each part."""

    async def write(self, audio: np.ndarray, part: formats.Part, tell: Tell | None) -> None:
        """Fill `part` with what is said in `audio`; `tell` gets the text as it comes."""


class Work:
    """The parts of one recording on their way through a writer.

    Args:
        clip: float32 mono at 16 kHz `[num_samples]`.
        writer: who writes them.
    """

    def __init__(self, clip: np.ndarray, writer: Writer) -> None:
        self.clip, self.writer = clip, writer
        self.spans = writer.cut(clip)
        self._places = asyncio.Semaphore(writer.at_once)

    async def whole(self) -> list[formats.Part]:
        """All parts; if the caller is cancelled or one fails, the others aren't written."""
        tasks = [asyncio.create_task(self._finish(a, b)) for a, b in self.spans]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events as OpenAI names them: pieces in order, then the whole text."""
        queues: list[asyncio.Queue[str | None]] = [asyncio.Queue() for _ in self.spans]
        tasks = [
            asyncio.create_task(self._finish(a, b, queue))
            for (a, b), queue in zip(self.spans, queues, strict=True)
        ]
        parts = []
        try:
            pieces = _Pieces()
            for task, queue in zip(tasks, queues, strict=True):
                while (piece := await queue.get()) is not None:
                    if delta := pieces.next(piece):
                        yield _event({"type": "transcript.text.delta", "delta": delta})
                pieces.end_part()
                parts.append(await task)
            yield _event({"type": "transcript.text.done", "text": formats.join(parts)})
        except Exception:
            logging.getLogger("borealis.serving").exception("A stream broke off.")
            message = "The server couldn't finish this transcript. The reason is in its log."
            yield _event({"type": "error", "error": {"message": message, "code": 500}})
        finally:
            for task in tasks:
                task.cancel()

    async def _finish(
        self, start: int, end: int, queue: asyncio.Queue[str | None] | None = None
    ) -> formats.Part:
        """Write one part, telling `queue` its text as it comes."""
        part = formats.Part(round(start / SAMPLING_RATE, 2), round(end / SAMPLING_RATE, 2))
        tell = None if queue is None else queue.put_nowait
        try:
            async with self._places:
                await self.writer.write(self.clip[start:end], part, tell)
            return part
        finally:
            if queue is not None:
                queue.put_nowait(None)


class Drafted:
    """Writes parts as `Borealis.transcribe` does.

    Args:
        drafts: the writer of the server.
        options: of the request.
    """

    def __init__(self, drafts: Drafts, options: Options) -> None:
        self.drafts = drafts
        words = options.words or options.response_format in WITH_WORDS
        self.manner = Manner(options.language, words, options.hot_words)
        self.verbose = options.response_format == "verbose_json"
        self.at_once = drafts.at_once

    def cut(self, clip: np.ndarray) -> list[tuple[int, int]]:
        return self.drafts.cut(clip)

    async def write(self, audio: np.ndarray, part: formats.Part, tell: Tell | None) -> None:
        written = await self.drafts.write(audio, self.manner)
        part.text = written.text
        if written.words is not None:
            part.words = placed(written.words, part.start, part.end)
        if self.verbose and part.text:
            part.tokens = self.drafts.tokens(part.text)
            letters = self.drafts.letters(part.text)
            part.average_log_prob = round((written.log_prob or 0.0) / max(1, letters), 4)
        if tell is not None and part.text:
            tell(part.text)


class _Generated:
    """Has parts written by vLLM's engine.

    Args:
        state: of vLLM's application.
        options: of the request.
        lora: that of the request, or None.
    """

    at_once = _PARTS_AT_ONCE

    def __init__(self, state: Any, options: Options, lora: Any) -> None:
        self.options, self.lora = options, lora
        self.engine = state.engine_client
        self.config = self.engine.model_config.hf_config

    def cut(self, clip: np.ndarray) -> list[tuple[int, int]]:
        longest = getattr(self.config, "max_segment_seconds", 30.0)
        return split_at_silence(clip, max_seconds=longest)

    async def write(self, audio: np.ndarray, part: formats.Part, tell: Tell | None) -> None:
        if level_db(audio) <= SILENCE_DB:  # nobody speaks: the model isn't asked
            return
        async for output in self._generate(audio, streamed=tell is not None):
            answer = output.outputs[0]  # all of it at the end, or what is new
            if tell is not None:
                tell(answer.text)
            part.text += answer.text
            part.tokens += answer.token_ids
            part.average_log_prob = answer.cumulative_logprob or 0.0
        part.text = part.text.strip()
        part.average_log_prob = round(part.average_log_prob / max(1, len(part.tokens)), 4)

    async def _generate(self, audio: np.ndarray, *, streamed: bool) -> AsyncIterator[Any]:
        from vllm import SamplingParams
        from vllm.renderers.inputs.preprocess import parse_model_prompt
        from vllm.sampling_params import RequestOutputKind as Kind

        params = SamplingParams(
            temperature=self.options.temperature,
            seed=self.options.seed,
            max_tokens=transcript_budget(len(audio)),
            # What nobody reads costs time at every token of every request.
            logprobs=0 if self.options.response_format == "verbose_json" else None,
            # How many tokens an event has is vLLM's --stream-interval.
            output_kind=Kind.DELTA if streamed else Kind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": self._prompt, "multi_modal_data": {"audio": audio}}
        parsed = parse_model_prompt(self.engine.model_config, prompt)
        (ready,) = await self.engine.renderer.render_cmpl_async([parsed])
        request_id = f"transcript-{uuid.uuid4().hex}"
        async for output in self.engine.generate(ready, params, request_id, lora_request=self.lora):
            yield output

    @cached_property
    def _prompt(self) -> list[int]:
        from vllm.transformers_utils.processor import cached_processor_from_config

        from borealis.model import BorealisProcessor
        from borealis.serving.model import transcription_prompt

        processor = cached_processor_from_config(self.engine.model_config, BorealisProcessor)
        return transcription_prompt(processor, self.options.language, self.options.prompt)


class _Pieces:
    """Pieces of the parts' texts, so put together that they are what `formats.join` makes."""

    def __init__(self) -> None:
        self._begun = False  # something of this part has been told
        self._gap = ""  # white space that waits for what follows it

    def next(self, piece: str) -> str:
        """What of `piece`, the next of this part, can be told; often all of it."""
        text = self._gap + piece if self._begun else self._gap + piece.lstrip()
        told = text.rstrip()
        if not told:
            self._gap = text
            return ""
        self._begun, self._gap = True, text[len(told) :]
        return told

    def end_part(self) -> None:
        if self._begun:
            self._begun, self._gap = False, " "


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
