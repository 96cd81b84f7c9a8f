"""The letter n-gram that mends spelling, counted from a small text: `python examples/ngram.py`."""

# --8<-- [start:count]
import tempfile
from pathlib import Path

import numpy as np

from borealis.data.text import LETTERS
from borealis.training.start.ngram import count_ngrams

with tempfile.TemporaryDirectory() as folder:
    verse = Path(folder, "verse.txt")
    verse.write_text("Мороз и солнце, день чудесный.\n" * 30, encoding="utf-8")
    ngram = count_ngrams([verse], LETTERS.labels, order=5, min_gain=1.0)
for word in ("солнце", "сонлце"):
    state, total = np.array([ngram.step(0, 1)]), 0.0  # a word begins after a space, the first class
    for letter in LETTERS.spell(word):
        state, log_prob = ngram.follow(state, np.array([letter]))
        total += float(log_prob[0])
    print(f"{word}: {total:.1f}")
# --8<-- [end:count]
