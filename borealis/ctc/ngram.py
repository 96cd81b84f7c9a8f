"""Spelling knowledge from plain text: an n-gram of the letters that CTC hears, small to ship.

A model that hears has seen too few transcripts to know most words. Counts of letter sequences hold
many words a byte, and adding their log probability while searching (shallow fusion: Gulcehre et
al., 2015, "On Using Monolingual Corpora in Neural Machine Translation") mends spelling that was
heard almost right. `borealis.training.start.ngram` counts. On disk the arrays are packed with xz:
an n-gram takes about a byte and a half. The words of the texts may lie beside
(`borealis.ctc.words`).
"""

from __future__ import annotations

import lzma
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from borealis.checkpoints import NGRAM, checkpoint_file
from borealis.ctc.words import KnownWords
from borealis.errors import CheckpointError

BITS = 6  # of a class within a key; at most 63 letters and the blank
MAX_ORDER = 64 // BITS
_STEP = 4  # log probabilities are kept in quarters of a nat
_PACKED = ".xz"  # end of the names of packed arrays
_WORDS, _WORD_HASHES = "known_words", "known_words_hashes"
_MOST = 1 << 27  # n-grams of a file: a small one may unpack into a very large one
_TYPES: dict[str, type[np.generic]] = {
    "classes": np.uint8,
    "log_probs": np.uint8,
    "children": np.uint8,
    "backoffs": np.int8,
}


class Ngram:
    """A backing-off n-gram over CTC classes, as an automaton whose states are contexts.

    State 0 is the empty context; every other state is an n-gram, which as a context is the longest
    one that the model knows at the end of what has been spelled.

    Args:
        sizes: number of n-grams of each length, from 1 on.
        classes: last class of each n-gram, lengths one after the other, sorted within each.
        log_probs: minus its log probability in quarters of a nat, uint8.
        children: how many n-grams go on from each context (the empty one first), uint8.
        backoffs: log weight of the shorter context in quarters, int8, as many as `children`.
        num_labels: letters that CTC may emit, also those that no text had; an array of one.
        words: the words that the texts have, if they were kept.

    Raises:
        ValueError: the arrays don't fit together.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        classes: np.ndarray,
        log_probs: np.ndarray,
        children: np.ndarray,
        backoffs: np.ndarray,
        num_labels: np.ndarray,
        words: KnownWords | None = None,
    ) -> None:
        total, contexts = int(sizes.sum()), int(sizes[:-1].sum()) + 1
        if not (len(classes) == len(log_probs) == total == int(children.sum())):
            raise ValueError("numbers of n-grams differ")
        if not len(children) == len(backoffs) == contexts:
            raise ValueError("numbers of contexts differ")
        self.sizes, self.order, self.words = sizes, len(sizes), words
        self._stored = {
            "sizes": sizes,
            "classes": classes,
            "log_probs": log_probs,
            "children": children,
            "backoffs": backoffs,
            "num_labels": num_labels,
        }
        self._packed: dict[str, np.ndarray] = {}
        self.classes = np.concatenate([np.zeros(1, np.uint8), classes])
        self.log_probs = (
            np.concatenate([np.zeros(1, np.uint8), log_probs]).astype(np.float32) / -_STEP
        )
        # The n-grams that go on from state s are the states first[s] to first[s + 1].
        counts = np.zeros(total + 1, np.uint8)
        counts[:contexts] = children
        self.first = np.ones(total + 2, np.int32)
        np.cumsum(counts, dtype=np.int32, out=self.first[1:])
        self.first[1:] += 1
        self.backoffs = np.zeros(total + 1, np.float32)
        self.backoffs[:contexts] = backoffs.astype(np.float32) / _STEP
        self.num_classes = 1 + int(num_labels[0])
        # Which classes go on from each context, a bit each: tells whether and where in one step.
        bits = _bit(self.classes[1:])
        self._children = np.zeros(total + 1, np.uint64)
        filled = np.flatnonzero(children)
        self._children[filled] = np.bitwise_or.reduceat(bits, self.first[filled] - 1)
        self.shorter = self._suffixes()
        # Letters that no text had share what the others leave.
        missing = max(1, self.num_classes - 1 - int(sizes[0]))
        left = 1 - float(np.exp(self.log_probs[1 : 1 + int(sizes[0])]).sum())
        self._unseen = np.float32(np.log(max(left, 1e-6) / missing))

    def _suffixes(self) -> np.ndarray:
        """For each state the state of the same context without its first class.

        That of a longer context is where the shorter one of its parent goes on by the same class.
        """
        shorter = np.zeros(len(self.classes), np.int32)
        end = 1  # of the states whose shorter ones are known
        for length, size in enumerate(self.sizes.tolist(), 1):
            begin, end = end, end + size
            if length == 1:
                continue
            parents = slice(begin - int(self.sizes[length - 2]), begin)
            counts = np.diff(self.first[parents.start : parents.stop + 1])
            known = np.repeat(shorter[parents], counts)
            bits = _bit(self.classes[begin:end])
            there = self._children[known]
            if len(known) != size or not (there & bits).all():
                raise ValueError("an n-gram's end is no n-gram")
            place = np.bitwise_count(there & (bits - np.uint64(1)))
            shorter[begin:end] = self.first[known] + place
        return shorter

    def follow(self, states: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Letters that come next, after any number of contexts at once.

        Args:
            states: contexts, int `[n]`.
            classes: the letter after each, 1 or more, int `[n]`.

        Returns:
            The state after each letter, int32 `[n]`, and its log probability, float32 `[n]`.
        """
        after = np.zeros(len(states), np.int32)
        scores = np.zeros(len(states), np.float32)
        rows = np.arange(len(states))
        states = states.astype(np.int32)
        one = np.uint64(1)
        bits = _bit(classes)
        while len(rows):
            children = self._children[states]
            found = (children & bits) != 0
            if found.any():
                hit = rows[found]
                place = np.bitwise_count(children[found] & (bits[found] - one))
                after[hit] = self.first[states[found]] + place
                scores[hit] += self.log_probs[after[hit]]
            lost = ~found
            rows, states, bits = rows[lost], states[lost], bits[lost]
            scores[rows] += self.backoffs[states]
            root = states == 0
            if root.any():
                scores[rows[root]] += self._unseen
                rows, states, bits = rows[~root], states[~root], bits[~root]
            states = self.shorter[states]
        return after, scores

    def step(self, state: int, label: int) -> int:
        """The state after one more letter."""
        return int(self.follow(np.array([state]), np.array([label]))[0][0])

    def save_pretrained(self, folder: Path) -> None:
        """Write `ngram.safetensors` into `folder`."""
        if not self._packed:  # ten seconds; what was read from a file has its packed arrays
            with ThreadPoolExecutor() as pool:
                packed = pool.map(_packed, (self._stored[name] for name in _TYPES))
                self._packed = dict(zip(_TYPES, packed, strict=True))
        arrays = {
            name: np.ascontiguousarray(self._stored[name]) for name in ("sizes", "num_labels")
        }
        arrays |= {name + _PACKED: array for name, array in self._packed.items()}
        if self.words is not None:  # its bits are as good as random: nothing to pack
            arrays[_WORDS] = self.words.filled
            arrays[_WORD_HASHES] = np.array([self.words.num_hashes])
        save_file(arrays, folder / NGRAM)

    @classmethod
    def of_checkpoint(cls, name_or_path: str | os.PathLike[str]) -> Ngram | None:
        """The n-gram of a checkpoint folder or hub id; None if it has none.

        Raises:
            CheckpointError: it has one that can't be read.
        """
        found = checkpoint_file(name_or_path, NGRAM)
        return None if found is None else cls.load(found)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ngram:
        """Read what `save_pretrained` wrote.

        Raises:
            CheckpointError: the file can't be read or doesn't hold an n-gram.
        """
        try:
            arrays = load_file(path)
            sizes = arrays["sizes"]
            total, contexts = int(sizes.sum()), int(sizes[:-1].sum()) + 1
            if total > _MOST:
                raise ValueError(f"it claims {total} n-grams, and at most {_MOST} are read")
            packed = {name: arrays.pop(name + _PACKED) for name in _TYPES}
            with ThreadPoolExecutor() as pool:
                unpacked = {
                    name: pool.submit(
                        _unpacked,
                        packed[name],
                        contexts if name in ("children", "backoffs") else total,
                        kind,
                    )
                    for name, kind in _TYPES.items()
                }
            arrays |= {name: done.result() for name, done in unpacked.items()}
            words = None
            if (filled := arrays.pop(_WORDS, None)) is not None:
                words = KnownWords(filled, int(arrays.pop(_WORD_HASHES)[0]))
            given: dict[str, Any] = {**arrays, "words": words}
            ngram = cls(**given)
            ngram._packed = packed
            return ngram
        except (OSError, SafetensorError, lzma.LZMAError, KeyError, TypeError, ValueError) as error:
            name = os.fspath(path)
            raise CheckpointError(f"'{name}' holds no letter n-gram: {error}.") from None


def _bit(classes: np.ndarray) -> np.ndarray:
    """The bit of each class: uint64."""
    return np.uint64(1) << classes.astype(np.uint64)


def _packed(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(lzma.compress(array.tobytes()), np.uint8)


def _unpacked(packed: np.ndarray, length: int, kind: type[np.generic]) -> np.ndarray:
    # One byte more than there should be: a file can't make us unpack without end.
    raw = lzma.LZMADecompressor().decompress(packed.tobytes(), max_length=length + 1)
    if len(raw) != length:
        raise ValueError("a packed array has another length")
    return np.frombuffer(raw, kind)


def quantized(log_probs: np.ndarray, backoffs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Natural logs in the form that `Ngram` keeps."""
    return (
        np.clip(np.round(-log_probs * _STEP), 0, 255).astype(np.uint8),
        np.clip(np.round(backoffs * _STEP), -128, 127).astype(np.int8),
    )
