"""Requests to /v1/chat/completions, checked, with every sound decoded before vLLM sees it."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from borealis.audio import SAMPLING_RATE
from borealis.model.processing import AUDIO_TOKEN, END_OF_AUDIO, START_OF_AUDIO
from borealis.serving.errors import RequestError, shown
from borealis.serving.models import check_model

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.drafts import Drafts
    from borealis.serving.room import Visit
    from borealis.serving.settings import Settings
    from borealis.serving.sounds import Sounds

# Long enough for an answer, short enough that a loop ends; `max_tokens` changes it.
DEFAULT_ANSWER_TOKENS = 512
_MAX_ANSWERS = 8
_FETCH_SECONDS = 20
_INT64 = 2**63
# A message or a part counts as so many letters at least: a million empty ones are long, too.
_LETTERS_EACH = 16

_ONLY_TEXT = "Answers are plain text here"
# Parameters that OpenAI has and this server hasn't, with a sentence of their own.
_REFUSED = {
    "response_format": f"{_ONLY_TEXT}: JSON can't be asked for. Leave 'response_format' out.",
    "tools": f"{_ONLY_TEXT}: the model calls no tools. Leave 'tools' out.",
    "functions": f"{_ONLY_TEXT}: the model calls no functions. Leave 'functions' out.",
    "audio": f"{_ONLY_TEXT}: the model doesn't speak. Leave 'audio' out.",
    "modalities": f"{_ONLY_TEXT}. Leave 'modalities' out.",
    "store": "Nothing is stored here. Leave 'store' out.",
}
# What asks for no more than what is done anyway is let through.
_AS_IT_IS: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Tokens = Annotated[int, Field(ge=1, lt=_INT64)]


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Sampling(BaseModel):
    """All fields of a request but its messages, as vLLM may see them."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str | None = None
    user: _Text | None = None  # whose request it is, for those who log; nothing is done with it
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=_MAX_ANSWERS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    stop: _Text | Annotated[list[_Text], Field(max_length=4)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    seed: int | None = Field(default=None, ge=-_INT64, lt=_INT64)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, max_length=300
    )
    # vLLM's own that only shape the sampling.
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    ignore_eos: bool | None = None
    min_tokens: int | None = Field(default=None, ge=0, lt=_INT64)
    stop_token_ids: list[int] | None = Field(default=None, max_length=64)
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None


async def prepare_chat(
    request: dict[str, Any], state: Any, sounds: Sounds, visit: Visit, drafts: Drafts | None = None
) -> bytes | Response:
    """A checked request for vLLM: audio as 16 kHz WAV, greedy unless a temperature is given.

    A question that the model wasn't taught has its answer at once. A model that was trained to
    answer with the transcript in view gets that of the only recording.

    Args:
        request: as the client sent it; its messages are taken out.
        state: of vLLM's application.
        sounds: decodes the audio.
        visit: the request; what is decoded is counted there.
        drafts: writes transcripts, if the model's adapter is `ctc`.

    Raises:
        RequestError: the request isn't one this server takes.
    """
    messages = request.pop("messages", None)
    model_config = state.engine_client.model_config
    sampling = _sampling(request, model_config.get_vocab_size())
    check_model(sampling.get("model"), state)
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list with a message or more.", param="messages")
    check = _TextCheck(model_config.max_model_len, _special_tokens(state))
    written = [_message(number, value, check) for number, value in enumerate(messages, 1)]
    clips = await _hear(written, model_config, sounds, visit)
    # Imports torch, as the rest of the front doesn't.
    from borealis.serving.scope import within_scope

    narrowed = within_scope(sampling | {"messages": written}, state)
    if isinstance(narrowed, Response):
        return narrowed
    if drafts is not None and len(clips) == 1:
        from borealis.serving.handover import with_draft

        narrowed = await with_draft(narrowed, clips[0], drafts, model_config.max_model_len)
    return json.dumps(narrowed).encode()


def _sampling(request: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    """The fields beside the messages, checked, with defaults of our own."""
    given = {}
    for name, value in request.items():
        # null is OpenAI's way to say: as by default.
        if value is None or any(_same(value, usual) for usual in _AS_IT_IS.get(name, ())):
            continue
        if name in _REFUSED:
            raise RequestError(_REFUSED[name], param=name, code="unsupported_parameter")
        if name not in _Sampling.model_fields:
            raise RequestError(
                f"The field '{shown(name)}' isn't supported here; leave it out.",
                param=name,
                code="unsupported_parameter",
            )
        given[name] = value
    try:
        checked = _Sampling.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field, reason = str(first["loc"][0]), first["msg"].removesuffix(" after validation")
        raise RequestError(
            f"'{field}' is wrong: {reason[0].lower()}{reason[1:]}.", param=field
        ) from None
    longest = _check_together(checked, vocabulary)
    fields = checked.model_dump(exclude_none=True)
    # One answer is the likeliest; several are drawn, as OpenAI draws them.
    fields.setdefault("temperature", 0 if checked.n == 1 else 1)
    fields.pop("max_tokens", None)
    fields["max_completion_tokens"] = longest
    return fields


def _check_together(checked: _Sampling, vocabulary: int) -> int:
    """Refuse fields that don't go together, or tokens that aren't there; the longest answer."""
    if checked.n > 1 and checked.temperature == 0:
        raise RequestError(
            "With temperature 0 all answers would be the same; give a temperature or leave 'n' "
            "out.",
            param="n",
        )
    limits = [n for n in (checked.max_tokens, checked.max_completion_tokens) if n is not None]
    if len(set(limits)) > 1:
        raise RequestError(
            "'max_tokens' and 'max_completion_tokens' differ; give one of them.",
            param="max_tokens",
        )
    longest = max(limits, default=DEFAULT_ANSWER_TOKENS)
    if (checked.min_tokens or 0) > longest:
        raise RequestError("'min_tokens' is more than the answer may have.", param="min_tokens")
    if checked.stream_options and not checked.stream:
        raise RequestError("'stream_options' needs 'stream'.", param="stream_options")
    if checked.top_logprobs is not None and not checked.logprobs:
        raise RequestError("'top_logprobs' needs 'logprobs'.", param="top_logprobs")
    biased = [
        int(key) if re.fullmatch("[0-9]{1,9}", key) else -1 for key in checked.logit_bias or ()
    ]
    for field, ids in (("logit_bias", biased), ("stop_token_ids", checked.stop_token_ids or ())):
        if not all(0 <= token < vocabulary for token in ids):
            raise RequestError(
                f"'{field}' has an id that isn't a token: they go from 0 to {vocabulary - 1}.",
                param=field,
            )
    return longest


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _message(number: int, message: Any, check: _TextCheck) -> dict[str, Any]:
    """A message with a role and a content that vLLM knows; audio is still as it came."""
    role = message.get("role") if isinstance(message, dict) else None
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant"):
        raise RequestError(
            f"Message {number} needs a 'role': system, developer, user or assistant.",
            param="messages",
        )
    # Clients send answers back as they got them: with fields that are null or empty, and with the
    # sound, of which the text is in the content.
    heard = ("audio",) if role == "assistant" and message.get("content") else ()
    known = ("role", "content", *heard)
    if more := next((k for k, v in message.items() if k not in known and v), None):
        raise RequestError(
            f"Message {number} has '{shown(more)}', which isn't supported here; a message has "
            "'role' and 'content'.",
            param="messages",
            code="unsupported_parameter",
        )
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    if isinstance(content, str):
        check(content)
        return {"role": role, "content": content}
    if not isinstance(content, list) or not content:
        raise RequestError(
            f"Message {number} needs 'content': a string or a list of parts.", param="messages"
        )
    return {"role": role, "content": [_part(number, part, check) for part in content]}


def _part(number: int, part: Any, check: _TextCheck) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", "input_audio", "audio_url"):
        raise RequestError(
            f"Message {number} has a part of type '{shown(kind)}'; text, input_audio and "
            "audio_url are taken.",
            param="messages",
        )
    if more := next((k for k, v in part.items() if k not in ("type", kind) and v), None):
        raise RequestError(
            f"Message {number} has a part with '{shown(more)}', which isn't supported here.",
            param="messages",
            code="unsupported_parameter",
        )
    value = part.get(kind)
    if kind == "text":
        if not isinstance(value, str):
            raise RequestError(
                f"Message {number} has a part whose 'text' isn't a string.", param="messages"
            )
        check(value)
    else:
        check("")
    return {"type": kind, kind: value}


async def _hear(
    messages: list[dict[str, Any]], model_config: Any, sounds: Sounds, visit: Visit
) -> list[np.ndarray]:
    """Put WAV of 16 kHz in place of every audio part of `messages`; the recordings in order."""
    parts = [
        (content, index)
        for content in (message["content"] for message in messages)
        if isinstance(content, list)
        for index, part in enumerate(content)
        if part["type"] != "text"
    ]
    most = model_config.multimodal_config.get_limit_per_prompt("audio")
    if len(parts) > most:
        raise RequestError(
            f"The messages hold {len(parts)} recordings; at most {most} go into a request.",
            param="messages",
        )
    left = float(getattr(model_config.hf_config, "max_audio_seconds", 600.0))
    clips = []
    for content, index in parts:
        data = await _encoded(content[index], sounds.settings)
        clip = await sounds.decode(data, visit, param="messages", max_seconds=left)
        left -= len(clip) / SAMPLING_RATE
        value = {"data": _wav(clip), "format": "wav"}
        content[index] = {"type": "input_audio", "input_audio": value}
        clips.append(clip)
    return clips


class _TextCheck:
    """Refuses text that is far too long, or that would pass for marks of the prompt."""

    def __init__(self, max_model_len: int, special: list[str]) -> None:
        self.left, self.max_model_len, self.special = 16 * max_model_len, max_model_len, special

    def __call__(self, text: str) -> None:
        self.left -= len(text) + _LETTERS_EACH
        if self.left < 0:
            raise RequestError(
                f"The text is too long: the model reads at most {self.max_model_len} tokens.",
                param="messages",
                code="context_length_exceeded",
            )
        if found := next((mark for mark in self.special if mark in text), None):
            raise RequestError(
                f"The text holds {found}, a mark of the prompt itself; take it out. Audio goes "
                "into a part of its own.",
                param="messages",
            )


def _special_tokens(state: Any) -> list[str]:
    """Marks of the prompt: the tokenizer's own, and ours whatever it calls them."""
    tokenizer = state.engine_client.renderer.get_tokenizer()
    added = [token for token in tokenizer.get_added_vocab() if token.startswith("<|")]
    ours = (AUDIO_TOKEN, START_OF_AUDIO, END_OF_AUDIO)
    return sorted({*tokenizer.all_special_tokens, *added, *ours})


async def _encoded(part: dict[str, Any], settings: Settings) -> bytes:
    """The bytes of an audio part as they were before base64."""
    kind = part["type"]
    value = part[kind]
    if not isinstance(value, dict):
        raise RequestError(f"'{kind}' must be an object.", param="messages")
    if kind == "input_audio":
        return _from_base64(value.get("data"))
    url = value.get("url")
    if not isinstance(url, str):
        raise RequestError("'audio_url' needs a 'url'.", param="messages")
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise RequestError(
                "The data: URL isn't base64; write data:audio/wav;base64,...", param="messages"
            )
        return _from_base64(data)
    return await _fetch(url, settings)


def _from_base64(data: Any) -> bytes:
    if not isinstance(data, str) or not data:
        raise RequestError("The audio has no 'data'; send the file in base64.", param="messages")
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The audio isn't valid base64.", param="messages") from None


async def _fetch(url: str, settings: Settings) -> bytes:
    """Audio from a host that the operator allowed: no redirects, no more bytes than the limit."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RequestError("The URL of the audio isn't a URL.", param="messages") from None
    allowed = settings.media_domains
    if parts.scheme not in ("http", "https") or parts.hostname not in allowed:
        where = f"only from {', '.join(allowed)}" if allowed else "switched off"
        raise RequestError(
            f"Audio by URL is {where}; send the file as input_audio or as a data: URL.",
            param="messages",
        )
    import aiohttp

    limit = settings.max_bytes
    timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise RequestError(f"The URL answered {answer.status}; 200 is wanted.")
            chunks, size = [], 0
            async for chunk in answer.content.iter_chunked(1 << 16):
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise RequestError("The audio behind the URL is too large.", 413)
            return b"".join(chunks)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        raise RequestError("The audio behind the URL couldn't be fetched.") from None


def _wav(clip: Any) -> str:
    """Base64 of a float32 WAV: vLLM reads the very samples that were decoded."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, clip, SAMPLING_RATE, format="WAV", subtype="FLOAT")
    return base64.b64encode(buffer.getvalue()).decode()


def parse_json(body: bytes) -> dict[str, Any]:
    """The object a request holds, or RequestError."""
    try:
        # Not json.loads of the bytes: that guesses at encodings and lets half a pair through.
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
        if _SURROGATE.search(body):  # half of a pair isn't text: it can't be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RequestError("The body isn't JSON; send Content-Type: application/json.") from None
    if not isinstance(value, dict):
        raise RequestError("The body is JSON but not an object with fields such as 'model'.")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} isn't JSON")
