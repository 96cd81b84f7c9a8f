"""A spoken text as a stream of symbols and codec tokens.

Run it with `python examples/speech_stream.py`.
"""

# Sections that stand apart on the page import what they need.
# ruff: noqa: E402

# --8<-- [start:symbols]
from borealis.speech.symbols import spell

print(repr(spell("Да — нет; «Ёж»").symbols))
# --8<-- [end:symbols]

# --8<-- [start:stream]
import numpy as np

from borealis.codec import CodecVocabulary
from borealis.speech.stream import Spoken, write_stream
from borealis.speech.symbols import SYMBOLS
from borealis.speech.vocabulary import SpeechVocabulary

codec = CodecVocabulary(num_codebooks=1, codebook_size=1024, first_id=1000)
vocabulary = SpeechVocabulary(codec, ("anna",), SYMBOLS, tuple(range(len(SYMBOLS))))
spoken = Spoken(
    " да.",
    durations=np.array([1, 2, 3, 1]),
    codes=np.array([[7, 11, 12, 21, 22, 23, 8]]),
    voice="anna",
)
ids, labels = write_stream(vocabulary, spoken)

names = (
    [*SYMBOLS]
    + [""] * (1000 - len(SYMBOLS))
    + codec.tokens()
    + ["<|next_symbol|>", "<|voice:anna|>"]
)
for id, label in zip(ids, labels, strict=True):
    print(f"{names[id]!r:23}{names[label] if label >= 0 else '-'}")
# --8<-- [end:stream]
