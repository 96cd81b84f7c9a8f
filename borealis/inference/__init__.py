"""Using a model: transcribe, ask, chat; one clip or many, whole or streamed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from borealis.inference.decoding import CTCDecoding, LLMDecoding
    from borealis.inference.engine import Borealis, load
    from borealis.inference.transcript import Guess, Segment, Transcript, Word
    from borealis.inference.words import align_words

# Public names and where they live: forms of transcripts are written without torch.
_PUBLIC = {
    "Borealis": "engine",
    "CTCDecoding": "decoding",
    "Guess": "transcript",
    "LLMDecoding": "decoding",
    "Segment": "transcript",
    "Transcript": "transcript",
    "Word": "transcript",
    "align_words": "words",
    "load": "engine",
}

__all__ = [
    "Borealis",
    "CTCDecoding",
    "Guess",
    "LLMDecoding",
    "Segment",
    "Transcript",
    "Word",
    "align_words",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'borealis.inference' has no attribute {name!r}")
    return getattr(import_module(f"borealis.inference.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
