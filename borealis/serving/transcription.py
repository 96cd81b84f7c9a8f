"""/v1/audio/transcriptions: long files cut at pauses, joint decoding, all of OpenAI's formats.

The audio is cut as `borealis transcribe` cuts it, and each part is a request to vLLM's engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from borealis.audio import SAMPLING_RATE, level_db, split_at_silence
from borealis.inference.decoding import Decoding
from borealis.inference.engine import SILENCE_DB, transcript_budget
from borealis.inference.messages import language_of
from borealis.serving import formats
from borealis.serving.errors import ClientGoneError, Message, Receive, RequestError, Send
from borealis.serving.form import Options, read_form
from borealis.serving.models import check_model

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.room import Visit
    from borealis.serving.sounds import Sounds

# Parts of one file that are decoded at once: one long file leaves room for other clients.
_PARTS_AT_ONCE = 8
# Numbers of clips, unique among the requests of this process; see `borealis.serving.joint`.
_CLIP_KEYS = count(int.from_bytes(uuid.uuid4().bytes[:4], "big") << 24 | 1)


async def transcribe(
    scope: Message, body: bytes, receive: Receive, send: Send, sounds: Sounds, visit: Visit
) -> None:
    """Answer one request whose body has been read.

    Args:
        scope, receive, send: the request and its connection.
        body: all that came.
        sounds: decodes the file.
        visit: the request; what is decoded is counted there.

    Raises:
        RequestError: it can't be answered as it is.
        ClientGoneError: the client left.
    """
    state = scope["app"].state
    data, options = await read_form(scope, body)
    lora = check_model(options.model, state)
    config = state.engine_client.model_config.hf_config
    if options.prompt and config.adapter_type == "ctc":
        raise RequestError(
            "This model writes down what it hears and takes no hints; leave 'prompt' out.",
            param="prompt",
            code="unsupported_parameter",
        )
    clip = await sounds.decode(data, visit, param="file")
    work = Work(clip, options, state, lora)
    response: Response
    if options.stream:
        response = StreamingResponse(work.events(), media_type="text/event-stream")
        return await response(scope, receive, send)
    parts = await _unless_gone(work.whole(), receive)
    seconds = len(clip) / SAMPLING_RATE
    if options.response_format == "json":
        response = JSONResponse(formats.as_json(parts, seconds))
    elif options.response_format == "verbose_json":
        language = options.language or language_of(formats.join(parts))
        response = JSONResponse(
            formats.as_verbose_json(parts, seconds, language, options.temperature)
        )
    else:
        write: dict[str, Callable[..., str]] = {
            "text": formats.join,
            "srt": formats.as_srt,
            "vtt": formats.as_vtt,
        }
        kind = "text/vtt" if options.response_format == "vtt" else "text/plain"
        text = write[options.response_format](parts)
        response = PlainTextResponse(text, media_type=f"{kind}; charset=utf-8")
    return await response(scope, receive, send)


class Work:
    """The parts of one recording on their way through the engine."""

    def __init__(self, clip: np.ndarray, options: Options, state: Any, lora: Any) -> None:
        self.clip, self.options, self.lora = clip, options, lora
        self.engine = state.engine_client
        self.config = self.engine.model_config.hf_config
        longest = getattr(self.config, "max_segment_seconds", 30.0)
        self.spans = split_at_silence(clip, max_seconds=longest)
        self._places = asyncio.Semaphore(_PARTS_AT_ONCE)

    async def whole(self) -> list[formats.Part]:
        """All parts; if the caller is cancelled, so are they."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._finish(a, b)) for a, b in self.spans]
        return [task.result() for task in tasks]

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
        """Decode one part, telling `queue` its text as it comes."""
        part = formats.Part(round(start / SAMPLING_RATE, 2), round(end / SAMPLING_RATE, 2))
        audio = self.clip[start:end]
        try:
            if level_db(audio) <= SILENCE_DB:  # nobody speaks: the model isn't asked
                return part
            async with self._places:
                async for output in self._generate(audio, streamed=queue is not None):
                    answer = output.outputs[0]  # all of it at the end, or what is new
                    if queue is not None:
                        queue.put_nowait(answer.text)
                    part.text += answer.text
                    part.tokens += answer.token_ids
                    part.average_log_prob = answer.cumulative_logprob or 0.0
            part.text = part.text.strip()
            part.average_log_prob = round(part.average_log_prob / max(1, len(part.tokens)), 4)
            return part
        finally:
            if queue is not None:
                queue.put_nowait(None)

    async def _generate(self, audio: np.ndarray, *, streamed: bool) -> AsyncIterator[Any]:
        from vllm import SamplingParams
        from vllm.renderers.inputs.preprocess import parse_model_prompt
        from vllm.sampling_params import RequestOutputKind as Kind

        extra: dict[str, Any] = {}
        prompt: dict[str, Any] = {
            "prompt_token_ids": self._prompt,
            "multi_modal_data": {"audio": audio},
        }
        decoding = Decoding.choose(self.config)
        if self._joint and decoding.ctc_weight:
            key = next(_CLIP_KEYS)
            extra = {
                "clip_key": key,
                "ctc_weight": decoding.ctc_weight,
                "ngram_weight": decoding.ngram_weight,
            }
            prompt["mm_processor_kwargs"] = {"clip_key": key}
        params = SamplingParams(
            temperature=self.options.temperature,
            seed=self.options.seed,
            max_tokens=transcript_budget(len(audio)),
            # What nobody reads costs time at every token of every request.
            logprobs=0 if self.options.response_format == "verbose_json" else None,
            # How many tokens an event has is vLLM's --stream-interval.
            output_kind=Kind.DELTA if streamed else Kind.FINAL_ONLY,
            extra_args=extra or None,
        )
        parsed = parse_model_prompt(self.engine.model_config, prompt)
        (ready,) = await self.engine.renderer.render_cmpl_async([parsed])
        request_id = f"transcript-{uuid.uuid4().hex}"
        async for output in self.engine.generate(ready, params, request_id, lora_request=self.lora):
            yield output

    @property
    def _joint(self) -> bool:
        processors = self.engine.model_config.logits_processors or []
        return self.config.adapter_type == "ctc" and any("CTC" in str(p) for p in processors)

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


async def _unless_gone(work: Awaitable[list[formats.Part]], receive: Receive) -> list[formats.Part]:
    """The result of `work`, or ClientGoneError (and no more work) when the client leaves."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        watch.cancel()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
