"""/v1/audio/transcriptions: long files cut at pauses, joint decoding, all of OpenAI's formats.

The audio is cut as `borealis transcribe` cuts it, and each part is a request to vLLM's engine.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from borealis.audio import SAMPLING_RATE, level_db, split_at_silence
from borealis.inference.decoding import Decoding
from borealis.inference.engine import SILENCE_DB, TRANSCRIBE_PROMPTS, transcript_budget
from borealis.serving import formats
from borealis.serving.front import ClientGoneError, RequestError

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.front import Front, Message, Receive, Send

# Parts of one file that are decoded at once: one long file leaves room for other clients.
_PARTS_AT_ONCE = 8
_MAX_HINT = 1_000
# Numbers of clips, unique among the requests of this process; see `borealis.serving.joint`.
_CLIP_KEYS = count(int.from_bytes(uuid.uuid4().bytes[:4], "big") << 24 | 1)


@dataclass(frozen=True)
class Options:
    """What a client asked for besides the file."""

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    response_format: str = "json"
    temperature: float = 0.0
    stream: bool = False


async def transcribe(
    scope: Message, body: bytes, receive: Receive, send: Send, front: Front
) -> None:
    """Answer one request whose body has been read."""
    state = scope["app"].state
    data, options = await _read_form(scope, body)
    lora = await _model(options.model, state)
    clip = await front.decode(data)
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
        response = JSONResponse(
            formats.as_verbose_json(parts, seconds, options.language, options.temperature)
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
            begun = False
            for task, queue in zip(tasks, queues, strict=True):
                fresh = True
                while (piece := await queue.get()) is not None:
                    piece = piece.lstrip() if fresh else piece
                    if piece:
                        piece = f" {piece}" if fresh and begun else piece
                        yield _event({"type": "transcript.text.delta", "delta": piece})
                        fresh, begun = False, True
                parts.append(await task)
            yield _event({"type": "transcript.text.done", "text": formats.join(parts)})
        except Exception:
            import logging

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
                told = ""
                output = None
                async for output in self._generate(audio, streamed=queue is not None):
                    text = output.outputs[0].text
                    # The end of a letter may be still to come.
                    if queue is not None and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                        queue.put_nowait(text[len(told) :])
                        told = text
            if output is not None:
                answer = output.outputs[0]
                part.text, part.tokens = answer.text.strip(), list(answer.token_ids)
                logged = answer.cumulative_logprob or 0.0
                part.average_log_prob = round(logged / max(1, len(part.tokens)), 4)
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
            max_tokens=transcript_budget(len(audio)),
            # What nobody reads costs time at every token of every request.
            logprobs=0 if self.options.response_format == "verbose_json" else None,
            output_kind=Kind.CUMULATIVE if streamed else Kind.FINAL_ONLY,
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


async def _read_form(scope: Message, body: bytes) -> tuple[bytes, Options]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(scope, receive)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestError("Send the file as multipart/form-data, in the field 'file'.")
    try:
        # The body is in memory and within its limit already.
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=1, max_fields=32, max_part_size=1 << 20
        )
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise RequestError(f"The form can't be read: {_first_line(error)}.") from None
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise RequestError("There is no file: send it in the field 'file'.", param="file")
    data = await file.read()
    await form.close()
    return data, _options(form)


def _options(form: FormData) -> Options:
    text = {k: v for k, v in form.multi_items() if isinstance(v, str)}
    language = text.get("language") or None
    if language is not None and language not in TRANSCRIBE_PROMPTS:
        raise RequestError(
            f"The language is '{language[:20]}'; give 'ru' or 'en', or leave it out.",
            param="language",
        )
    wanted = text.get("response_format") or "json"
    if wanted not in formats.FORMATS:
        raise RequestError(
            f"The response_format is '{wanted[:20]}'; it may be {', '.join(formats.FORMATS)}.",
            param="response_format",
        )
    stream = text.get("stream", "false").lower()
    if stream not in ("true", "false", "1", "0", ""):
        raise RequestError("'stream' must be true or false.", param="stream")
    streamed = stream in ("true", "1")
    if streamed and wanted not in ("json", "text"):
        raise RequestError(f"{wanted} can't be streamed; take json.", param="response_format")
    if "word" in form.getlist("timestamp_granularities[]"):
        raise RequestError(
            "Times of words aren't known to this model; take 'segment'.",
            param="timestamp_granularities[]",
        )
    hint = text.get("prompt", "").strip()
    if len(hint) > _MAX_HINT or "<|" in hint:
        raise RequestError(
            f"The prompt may have {_MAX_HINT} characters and no marks like <|audio|>.",
            param="prompt",
        )
    return Options(
        model=text.get("model") or None,
        language=language,
        prompt=hint,
        response_format=wanted,
        temperature=_temperature(text.get("temperature") or "0"),
        stream=streamed,
    )


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise RequestError("'temperature' must be a number from 0 to 2.", param="temperature")
    return value


async def _model(name: str | None, state: Any) -> Any:
    """The LoRA of that name, or None for the model itself."""
    models = state.openai_serving_models
    if name is None or models.is_base_model(name):
        return None
    if name in models.lora_requests:
        return models.lora_requests[name]
    raise RequestError(
        f"There is no model '{name[:80]}' here; GET /v1/models tells the names.", 404, "model"
    )


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
