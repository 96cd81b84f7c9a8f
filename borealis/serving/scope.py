"""Chat about what the model was taught: other questions are refused before vLLM sees them.

As `Borealis.chat` does, by the checkpoint's own `borealis.inference.scope`. A LoRA may have learned
more than the model that it is put on, so it is asked everything.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from borealis.inference.scope import Scope, text_of


def within_scope(request: dict[str, Any], state: Any) -> Response | dict[str, Any]:
    """The answer to a question that the model wasn't taught, or the request as vLLM may have it.

    Args:
        request: a checked chat request.
        state: of vLLM's application.
    """
    models, model_config = state.openai_serving_models, state.engine_client.model_config
    name, messages = request.get("model"), request["messages"]
    scope = _scope(str(model_config.model))
    if scope is None or not (name is None or models.is_base_model(name)):
        return request
    question = text_of(messages[-1]) if messages[-1]["role"] == "user" else ""
    if len(question) > model_config.max_model_len:  # vLLM says that it is too long
        return request
    sounds = any(has_sound(message) for message in messages)
    known = scope.answers(question, recording=sounds)
    if len(known) == 1:
        return _answer(known[0], request, name or models.base_model_paths[0].name)
    narrowed = {**request, "messages": scope.without_refusals(messages)}
    if known:
        narrowed["structured_outputs"] = {"choice": known}
    return narrowed


@lru_cache(maxsize=1)
def _scope(checkpoint: str) -> Scope | None:
    return Scope.of_checkpoint(checkpoint)


def has_sound(message: dict[str, Any]) -> bool:
    """Whether a message of a checked request has a recording."""
    content = message["content"]
    return not isinstance(content, str) and any(part["type"] != "text" for part in content)


def _answer(text: str, request: dict[str, Any], model: str) -> Response:
    """A whole answer in OpenAI's form; it took no tokens."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    count = request.get("n") or 1
    common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if not request.get("stream"):
        message = {"role": "assistant", "content": text}
        choices = [_choice(index, "stop", message=message) for index in range(count)]
        body = {**common, "object": "chat.completion", "choices": choices, "usage": usage}
        return JSONResponse(body)

    def events() -> Iterator[str]:
        chunk = {**common, "object": "chat.completion.chunk"}
        for index in range(count):
            delta = {"role": "assistant", "content": text}
            yield _event({**chunk, "choices": [_choice(index, None, delta=delta)]})
            yield _event({**chunk, "choices": [_choice(index, "stop", delta={})]})
        if (request.get("stream_options") or {}).get("include_usage"):
            yield _event({**chunk, "choices": [], "usage": usage})
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _choice(index: int, finish_reason: str | None, **what: Any) -> dict[str, Any]:
    return {"index": index, **what, "logprobs": None, "finish_reason": finish_reason}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
