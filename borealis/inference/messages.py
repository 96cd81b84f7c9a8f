"""Conversations as `chat` takes them: checked before the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from borealis.errors import PromptError

TRANSCRIBE_PROMPTS = {"ru": "Запиши речь.", "en": "Transcribe the speech."}


def language_of(text: str) -> str | None:
    """The language of a transcript by the letters of its words: `ru`, `en`, or None without any.

    Where there are as many words of either, it is Russian: that borrows names in Latin letters.
    """
    words = text.lower().split()
    russian = sum(any("а" <= letter <= "я" or letter == "ё" for letter in w) for w in words)
    english = sum(any("a" <= letter <= "z" for letter in w) for w in words)
    if not russian and not english:
        return None
    return "ru" if russian >= english else "en"


def user_message(text: str, audios: int) -> list[dict[str, Any]]:
    """A question of the user about `audios` recordings."""
    content = [{"type": "audio"} for _ in range(audios)] + [{"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def after_transcript(transcript: str, question: str) -> list[dict[str, Any]]:
    """A question about a recording that was written down before: the model can read it."""
    return [
        *user_message(TRANSCRIBE_PROMPTS["ru"], 1),
        {"role": "assistant", "content": transcript},
        *user_message(question, 0),
    ]


def audio_sources(messages: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """The audio sources of a conversation in order, each with its rate or None; or PromptError."""
    if isinstance(messages, str):
        raise PromptError("The conversation is a string; give a list of messages, or use ask().")
    if not isinstance(messages, (list, tuple)):
        raise PromptError(
            f"The conversation is of type {type(messages).__name__}; a list of messages is wanted."
        )
    if not messages:
        raise PromptError("The conversation is empty; give at least one user message.")
    sources = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise PromptError(f"Message {number} isn't a dict with 'role' and 'content'.")
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant"):
            raise PromptError(f"Message {number} has role {role!r}; use system, user or assistant.")
        if isinstance(content, str):
            continue
        if not isinstance(content, (list, tuple)):
            raise PromptError(f"Message {number} needs 'content': a string or a list of parts.")
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "audio" and part.get("audio") is not None:
                sources.append((part["audio"], part.get("sampling_rate")))
            elif kind != "text" or not isinstance(part.get("text"), str):
                raise PromptError(
                    f"Message {number} has a part that is neither text ({{'type': 'text', 'text': "
                    "...}) nor audio ({'type': 'audio', 'audio': ...})."
                )
    if messages[-1]["role"] != "user":
        raise PromptError("The last message must be the user's: the model answers it.")
    return sources
