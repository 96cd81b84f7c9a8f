"""Using a model: transcribe, ask, chat; one clip or many, whole or streamed."""

from borealis.inference.engine import Borealis, load
from borealis.inference.streaming import Guess
from borealis.inference.transcript import Segment, Transcript
from borealis.inference.words import Word, align_words

__all__ = ["Borealis", "Guess", "Segment", "Transcript", "Word", "align_words", "load"]
