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
import torch

# FNV-1a, 64 bits; int64 arithmetic wraps around as the hash wants it.
_PRIME = 1099511628211
_BASIS = 14695981039346656037 - (1 << 64)
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
        self._bits = torch.from_numpy(np.unpackbits(filled)).bool()

    @classmethod
    def of(cls, words: Iterable[str], labels: str, bits: float) -> KnownWords:
        """The set of these words.

        Args:
            words: spelled as CTC spells (`borealis.data.text.ctc_text`); others are left out.
            labels: letters that CTC may emit.
            bits: of memory for a word; the best number of hashes is that times the logarithm of 2.
        """
        classes = {letter: number for number, letter in enumerate(labels, 1)}
        spelled = [[classes.get(c, 0) for c in word] for word in set(words)]
        spelled = sorted((w for w in spelled if w and all(w)), key=len)
        size = max(1, math.ceil(len(spelled) * bits / 8))
        empty = cls(np.zeros(size, np.uint8), max(1, round(bits * math.log(2))))
        filled = np.zeros(size * 8, bool)
        for start in range(0, len(spelled), 1 << 16):
            part = spelled[start : start + (1 << 16)]
            letters = torch.zeros(len(part), len(part[-1]), dtype=torch.long)
            for row, word in enumerate(part):
                letters[row, : len(word)] = torch.tensor(word)
            hashes = torch.full((len(part),), NO_WORD)
            for column in letters.unbind(1):
                hashes = torch.where(column > 0, grown(hashes, column), hashes)
            filled[empty._places(hashes).flatten().numpy()] = True
        return cls(np.packbits(filled), empty.num_hashes)

    def has(self, words: torch.Tensor) -> torch.Tensor:
        """Which of these hashes `[rows]` belong to known words."""
        self._bits = self._bits.to(words.device)
        return self._bits[self._places(words)].all(-1)

    def _places(self, words: torch.Tensor) -> torch.Tensor:
        """Bits of each word `[rows, num_hashes]` (Kirsch and Mitzenmacher, 2006)."""
        mixed = words ^ ((words >> 32) & 0xFFFFFFFF)
        mixed = mixed * -7046029254386353131  # 0x9E3779B97F4A7C15, the golden ratio
        low, high = mixed & 0xFFFFFFFF, ((mixed >> 32) & 0xFFFFFFFF) | 1
        number = torch.arange(self.num_hashes, device=words.device)
        return (low[:, None] + number * high[:, None]) % (8 * len(self.filled))


def grown(words: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Hashes of words with one more letter.

    Args:
        words: int64 `[rows]`, `NO_WORD` before the first letter.
        labels: classes of the letters `[rows]`.
    """
    before = torch.where(words == NO_WORD, _BASIS, words)
    return (before ^ labels) * _PRIME
