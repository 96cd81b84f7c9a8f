"""Requests to /v1/chat/completions, checked, with every sound decoded before vLLM sees it."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from borealis.audio import SAMPLING_RATE
from borealis.model.processing import AUDIO_TOKEN, END_OF_AUDIO, START_OF_AUDIO
from borealis.serving.front import RequestError, parse_json

if TYPE_CHECKING:
    from borealis.serving.front import Front

# Long enough for an answer, short enough that a loop ends; `max_tokens` changes it.
DEFAULT_ANSWER_TOKENS = 512
_MAX_ANSWERS = 8
_FETCH_SECONDS = 20
_FIELDS = {
    *("model", "messages", "temperature", "top_p", "n", "stream", "stream_options", "stop"),
    *("max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "seed"),
    *("logprobs", "top_logprobs", "logit_bias", "user", "response_format", "metadata", "store"),
    # vLLM's own that only shape the sampling.
    *("top_k", "min_p", "repetition_penalty", "ignore_eos", "min_tokens", "stop_token_ids"),
    *("skip_special_tokens", "return_token_ids"),
}


async def prepare_chat(body: bytes, state: Any, front: Front) -> bytes:
    """A checked request for vLLM: audio as 16 kHz WAV, greedy unless a temperature is given.

    Raises:
        RequestError: the request isn't one this server takes.
    """
    request = parse_json(body)
    if unknown := sorted(set(request) - _FIELDS):
        raise RequestError(
            f"The field '{unknown[0]}' isn't supported here; leave it out.", param=unknown[0]
        )
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list with a message or more.", param="messages")
    if isinstance(request.get("n"), int) and request["n"] > _MAX_ANSWERS:
        raise RequestError(f"'n' is {request['n']}; at most {_MAX_ANSWERS} answers.", param="n")
    model_config = state.engine_client.model_config
    check = _TextCheck(model_config.max_model_len, _special_tokens(state))
    left = float(getattr(model_config.hf_config, "max_audio_seconds", 600.0))
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in (
            *("system", "user", "assistant"),
        ):
            raise RequestError(
                f"Message {number} needs a 'role': system, user or assistant.", param="messages"
            )
        content = message.get("content")
        if isinstance(content, str):
            check(content)
            continue
        if not isinstance(content, list):
            raise RequestError(
                f"Message {number} needs 'content': a string or a list of parts.",
                param="messages",
            )
        for index, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                check(part["text"])
            elif kind in ("input_audio", "audio_url"):
                clip = await front.decode(await _encoded(part, kind, front), max_seconds=left)
                left -= len(clip) / SAMPLING_RATE
                content[index] = {
                    "type": "input_audio",
                    "input_audio": {"data": _wav(clip), "format": "wav"},
                }
            else:
                raise RequestError(
                    f"Message {number} has a part of type {kind!r}; text, input_audio and "
                    "audio_url are taken.",
                    param="messages",
                )
    request.setdefault("temperature", 0)
    if request.get("max_tokens") is None and request.get("max_completion_tokens") is None:
        request["max_completion_tokens"] = DEFAULT_ANSWER_TOKENS
    return json.dumps(request).encode()


class _TextCheck:
    """Refuses text that is far too long, or that would pass for marks of the prompt."""

    def __init__(self, max_model_len: int, special: list[str]) -> None:
        self.left, self.max_model_len, self.special = 16 * max_model_len, max_model_len, special

    def __call__(self, text: str) -> None:
        self.left -= len(text)
        if self.left < 0:
            raise RequestError(
                f"The text is too long: the model reads at most {self.max_model_len} tokens.",
                param="messages",
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


async def _encoded(part: dict[str, Any], kind: str, front: Front) -> bytes:
    """The bytes of an audio part as they were before base64."""
    value = part.get(kind)
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
    return await _fetch(url, front)


def _from_base64(data: Any) -> bytes:
    if not isinstance(data, str) or not data:
        raise RequestError("The audio has no 'data'; send the file in base64.", param="messages")
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The audio isn't valid base64.", param="messages") from None


async def _fetch(url: str, front: Front) -> bytes:
    """Audio from a host that the operator allowed: no redirects, no more bytes than the limit."""
    parts = urlsplit(url)
    allowed = front.settings.media_domains
    if parts.scheme not in ("http", "https") or parts.hostname not in allowed:
        where = f"only from {', '.join(allowed)}" if allowed else "switched off"
        raise RequestError(
            f"Audio by URL is {where}; send the file as input_audio or as a data: URL.",
            param="messages",
        )
    import aiohttp

    limit = front.settings.max_bytes
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
