"""Which words there are: a set of word forms, a byte a word, for any number of beams at once.

A letter n-gram looks back a few letters and finds a misspelled word only a little less likely than
a word. A set of all known words tells them apart; it is kept as a Bloom filter (Bloom, 1970,
"Space/Time Trade-offs in Hash Coding with Allowable Errors"): a known word is always found, and a
few unknown ones pass for known. Words are numbers here, hashes that grow letter by letter (FNV-1a),
so a beam carries one integer and no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from borealis.ctc.alphabet import Alphabet

# FNV-1a, 64 bits; int64 arithmetic wraps around as the hash wants it.
_PRIME = np.int64(1099511628211)
_BASIS = np.int64(14695981039346656037 - (1 << 64))
_GOLDEN = np.int64(-7046029254386353131)  # 0x9E3779B97F4A7C15, the golden ratio
_LOW_HALF = np.int64(0xFFFFFFFF)
NO_WORD = 0  # before the first letter of a word


class KnownWords:
    """A set of words, given as CTC classes.

    Args:
        filled: the bits of the filter, eight a byte, uint8 `[size]`.
        num_hashes: how many bits each word sets.

    Raises:
        ValueError: an empty filter, or one of another type, or no hashes.
    """

    def __init__(self, filled: np.ndarray, num_hashes: int) -> None:
        if filled.dtype != np.uint8 or filled.ndim != 1 or not len(filled):
            raise ValueError("the set of known words is no row of bytes")
        if not 1 <= num_hashes <= 32:
            raise ValueError(f"{num_hashes} hashes a word")
        self.filled, self.num_hashes = filled, num_hashes
        self._number = np.arange(num_hashes, dtype=np.int64)

    @classmethod
    def of(cls, words: Iterable[str], alphabet: Alphabet, bits: float) -> KnownWords:
        """The set of these words.

        Args:
            words: folded (`Alphabet.fold`); those with other characters are left out.
            alphabet: letters that CTC may emit.
            bits: of memory for a word; the best number of hashes is that times the logarithm of 2.
        """
        classes = alphabet.classes
        spelled = [[classes.get(c, 0) for c in word] for word in set(words)]
        spelled = sorted((w for w in spelled if w and all(w)), key=len)
        size = max(1, math.ceil(len(spelled) * bits / 8))
        empty = cls(np.zeros(size, np.uint8), max(1, round(bits * math.log(2))))
        filled = np.zeros(size * 8, bool)
        for start in range(0, len(spelled), 1 << 16):
            part = spelled[start : start + (1 << 16)]
            letters = np.zeros((len(part), len(part[-1])), np.int64)
            for row, word in enumerate(part):
                letters[row, : len(word)] = word
            hashes = np.full(len(part), NO_WORD, np.int64)
            for column in letters.T:
                hashes = np.where(column > 0, grown(hashes, column), hashes)
            filled[empty._places(hashes).ravel()] = True
        return cls(np.packbits(filled), empty.num_hashes)

    def has(self, words: np.ndarray) -> np.ndarray:
        """Which of these hashes belong to known words: int64 `[...]` -> bool `[...]`."""
        places = self._places(words)
        bits = self.filled[places >> 3] >> (7 - (places & 7)).astype(np.uint8)
        return (bits & 1).all(-1)

    def _places(self, words: np.ndarray) -> np.ndarray:
        """Bits of each word `[..., num_hashes]` (Kirsch and Mitzenmacher, 2006)."""
        mixed = words ^ ((words >> 32) & _LOW_HALF)
        mixed = mixed * _GOLDEN
        low, high = mixed & _LOW_HALF, ((mixed >> 32) & _LOW_HALF) | 1
        return (low[..., None] + self._number * high[..., None]) % (8 * len(self.filled))


def grown(words: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Hashes of words with one more letter.

    Args:
        words: int64 `[...]`, `NO_WORD` before the first letter.
        classes: of the letters, int64 `[...]`.
    """
    return (np.where(words == NO_WORD, _BASIS, words) ^ classes) * _PRIME
