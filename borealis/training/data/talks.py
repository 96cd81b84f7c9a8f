"""Conversations as token ids, and which of them are learned: only what the assistant says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from borealis.data.manifest import content_text, spoken_audio
from borealis.errors import TrainingError
from borealis.prompts import encode, render

IGNORE = -100  # the label of what isn't learned
# Path of a recording -> ids and labels of its stream of speech.
Streams = Callable[[str], tuple[list[int], list[int]]]


@dataclass
class Turn:
    """One question and its answer.

    Args:
        task: what kind of question it is.
        question: its wording.
        answer: the right answer.
        word: the word that is asked about, or that is the answer.
        given: the answer stands in the conversation and isn't learned.
    """

    task: str
    question: str
    answer: str
    word: str = ""
    given: bool = False


def with_audio(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation whose first turn of the user begins with the recording."""
    out = [dict(message) for message in messages]
    first = next(i for i, message in enumerate(out) if message["role"] == "user")
    out[first]["content"] = [{"type": "audio"}, {"type": "text", "text": out[first]["content"]}]
    return out


def encode_talk(
    tokenizer: Any,
    talk: Sequence[Any],
    num_tokens: list[int],
    audio_token_id: int,
    streams: Streams | None = None,
) -> tuple[list[int], list[int]]:
    """Ids and labels of turns, or of messages about one recording or none.

    Args:
        tokenizer: with a chat template.
        talk: `Turn`s, or messages with `role` and `content`.
        num_tokens: audio tokens of the recording, if there is one.
        audio_token_id: id of the placeholder.
        streams: see `encode_messages`.
    """
    if isinstance(talk[0], Turn):
        return encode_turns(tokenizer, talk, sum(num_tokens), audio_token_id)
    messages = with_audio(talk) if num_tokens else list(talk)
    return encode_messages(tokenizer, messages, num_tokens, audio_token_id, streams)


def encode_turns(
    tokenizer: Any, turns: Sequence[Turn], num_tokens: int, audio_token_id: int
) -> tuple[list[int], list[int]]:
    """Ids and labels of questions and answers through the tokenizer's own chat template.

    Args:
        tokenizer: with a chat template.
        turns: questions about one clip, which stands in the first of them.
        num_tokens: audio tokens of the clip; 0 where there is none.
        audio_token_id: id of the placeholder.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        parts: list[dict[str, str]] = [{"type": "text", "text": turn.question}]
        if num_tokens and not messages:
            parts.insert(0, {"type": "audio"})
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": turn.answer, "given": turn.given})
    return encode_messages(tokenizer, messages, [num_tokens] if num_tokens else [], audio_token_id)


def encode_messages(
    tokenizer: Any,
    messages: Sequence[dict[str, Any]],
    num_tokens: Sequence[int],
    audio_token_id: int,
    streams: Streams | None = None,
) -> tuple[list[int], list[int]]:
    """Ids of a conversation, and labels that are -100 outside the assistant's turns.

    An assistant turn is learned with its end mark, so that the model learns to stop; one with a
    true `given` isn't learned. Control words in what is said are plain text.

    Args:
        tokenizer: with a chat template.
        messages: the conversation; system, user and assistant turns in any number.
        num_tokens: audio tokens of each clip, in reading order.
        audio_token_id: id of the placeholder.
        streams: gives ids and labels of the recording of an assistant's text; they follow the
            text, before the end mark. None: what is spoken is learned as text alone.

    Raises:
        TrainingError: streams don't know a recording, or the template has other places for audio
            than `num_tokens` has clips.
    """
    ids: list[int] = []
    labels: list[int] = []
    spoken = [spoken_audio(m) if m["role"] == "assistant" else "" for m in messages]
    messages = [
        message | {"content": content_text(message)} if audio else message
        for message, audio in zip(messages, spoken, strict=True)
    ]
    counts, placed = iter(num_tokens), 0
    for i, message in enumerate(messages):
        answer = message["role"] == "assistant"
        before = render(tokenizer, messages[:i], answer=answer)
        after = render(tokenizer, messages[: i + 1], answer=False)
        if answer:
            heading = before[len(render(tokenizer, messages[:i], answer=False)) :]
            _extend(tokenizer, heading, ids, labels)
            body = after[len(before) :]
            end = body.rindex(tokenizer.eos_token)
            stop, learn = end + len(tokenizer.eos_token), not message.get("given")
            if spoken[i] and streams is not None:
                _extend(tokenizer, body[:end], ids, labels, learn=learn)
                stream, wanted = streams(spoken[i])
                ids += stream
                labels += wanted if learn else [IGNORE] * len(stream)
                _extend(tokenizer, body[end:stop], ids, labels, learn=learn)
            else:
                _extend(tokenizer, body[:stop], ids, labels, learn=learn)
            _extend(tokenizer, body[stop:], ids, labels)
        else:
            fresh: list[int] = []
            _extend(tokenizer, after[len(before) :], fresh, [])
            for token in fresh:
                repeat = next(counts, 0) if token == audio_token_id else 1
                placed += token == audio_token_id
                ids += [token] * repeat
                labels += [IGNORE] * repeat
    if placed != len(num_tokens):
        raise TrainingError(
            f"The chat template made {placed} places for audio, and there are {len(num_tokens)} "
            "recordings. Is it the model's own template?"
        )
    return ids, labels


def _extend(
    tokenizer: Any, text: str, ids: list[int], labels: list[int], learn: bool = False
) -> None:
    fresh = encode(tokenizer, text)
    ids += fresh
    labels += fresh if learn else [IGNORE] * len(fresh)
