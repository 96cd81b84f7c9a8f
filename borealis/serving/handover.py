"""Chat about a recording: its draft goes before the question, as in `Borealis.ask`.

A small model reads better than it hears. The turns are those of `after_transcript`: the recording
with a request to write it down, the draft as the model's turn, the question, and what followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from borealis.inference.messages import TRANSCRIBE_PROMPTS, after_transcript
from borealis.inference.scope import text_of
from borealis.serving import formats
from borealis.serving.form import Options
from borealis.serving.scope import has_sound
from borealis.serving.transcription import Drafted, Work

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.drafts import Drafts

_MARKS = 8  # tokens around a turn
_ANSWER_TOKENS = 128  # room for an answer, as `ask` has it


async def with_draft(
    request: dict[str, Any], clip: np.ndarray, drafts: Drafts, max_model_len: int
) -> dict[str, Any]:
    """A chat request with the draft in it, if the model was trained to answer with it in view.

    Args:
        request: a checked one, with one recording.
        clip: the recording, float32 mono at 16 kHz `[num_samples]`.
        drafts: writes it down.
        max_model_len: tokens that the engine reads; a draft that doesn't fit is left out.
    """
    messages = request["messages"]
    place = _place(messages)
    if place is None or not drafts.model.transcribes_first:
        return request
    draft = formats.join(await Work(clip, Drafted(drafts, Options())).whole())
    message = messages[place]
    sound = next(part for part in message["content"] if part["type"] != "text")
    question = text_of(message).strip()
    heard, written, asked = after_transcript(draft, question)
    heard["content"] = [sound if p["type"] == "audio" else p for p in heard["content"]]
    turns = [heard, written, *([asked] if question else [])]
    handed = [*messages[:place], *turns, *messages[place + 1 :]]
    sound_tokens = drafts.model.model.config.num_audio_tokens(len(clip))
    text_tokens = sum(len(drafts.tokens(text_of(one))) for one in handed)
    answer = min(_ANSWER_TOKENS, request["max_completion_tokens"])
    if sound_tokens + text_tokens + len(handed) * _MARKS + answer > max_model_len:
        return request
    return {**request, "messages": handed}


def _place(messages: list[dict[str, Any]]) -> int | None:
    """Where the turn with the recording stands; None if the draft is there, or has no place."""
    place = next((n for n, message in enumerate(messages) if has_sound(message)), None)
    if place is None or messages[place]["role"] != "user":
        return None
    asked = text_of(messages[place]).strip()
    follows = messages[place + 1]["role"] if place + 1 < len(messages) else None
    if asked in TRANSCRIBE_PROMPTS.values() and follows == "assistant":
        return None  # the client sends it
    return place if asked or follows == "user" else None
