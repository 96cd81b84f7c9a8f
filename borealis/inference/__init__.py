"""Using a model: transcribe, ask, chat; one clip or many, whole or streamed."""

from borealis.inference.decoding import CTCDecoding, LLMDecoding
from borealis.inference.engine import Borealis, load
from borealis.inference.transcript import Guess, Segment, Transcript, Word
from borealis.inference.words import align_words

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
