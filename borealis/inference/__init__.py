"""Using a model: transcribe, ask, chat; one clip or many, whole or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from borealis.lazy import lazily

if TYPE_CHECKING:
    from borealis.inference.decoding import CTCDecoding, LLMDecoding
    from borealis.inference.engine import Borealis, load
    from borealis.inference.speech import Speech, SpeechPart, Voice
    from borealis.inference.transcript import Guess, Segment, Transcript, Word
    from borealis.inference.words import align_words

# Public names and where they live: forms of transcripts are written without torch.
_PUBLIC = {
    "Borealis": "borealis.inference.engine",
    "CTCDecoding": "borealis.inference.decoding",
    "Guess": "borealis.inference.transcript",
    "LLMDecoding": "borealis.inference.decoding",
    "Segment": "borealis.inference.transcript",
    "Speech": "borealis.inference.speech",
    "SpeechPart": "borealis.inference.speech",
    "Transcript": "borealis.inference.transcript",
    "Voice": "borealis.inference.speech",
    "Word": "borealis.inference.transcript",
    "align_words": "borealis.inference.words",
    "load": "borealis.inference.engine",
}

__all__ = [
    "Borealis",
    "CTCDecoding",
    "Guess",
    "LLMDecoding",
    "Segment",
    "Speech",
    "SpeechPart",
    "Transcript",
    "Voice",
    "Word",
    "align_words",
    "load",
]


__getattr__, __dir__ = lazily(__name__, _PUBLIC, globals())
