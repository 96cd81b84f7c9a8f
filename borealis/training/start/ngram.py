"""Counting the letter n-gram of `borealis.ctc.ngram` from plain text.

Interpolated modified Kneser-Ney (Chen and Goodman, 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling"), then pruned by what each n-gram adds (after Stolcke, 1998,
"Entropy-based Pruning of Backoff Language Models"). KenLM makes the same models of words; its
builder isn't in a Python package, and its reader scores one next letter at a time, not all.
Beside it the words of the text may be kept (`borealis.ctc.words`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from borealis.ctc.alphabet import Alphabet
from borealis.ctc.ngram import BITS, MAX_ORDER, Ngram, quantized
from borealis.ctc.words import KnownWords
from borealis.data.text import reading
from borealis.errors import TrainingError

_FREE_ORDERS = 2  # single letters and pairs are never pruned


def count_ngrams(
    corpora: Sequence[Path],
    labels: str,
    *,
    order: int = 8,
    min_gain: float = 4.0,
    word_bits: float = 0.0,
    word_corpora: Sequence[Path] = (),
) -> Ngram:
    """Learn which letter follows which.

    Args:
        corpora: text files, a sentence a line.
        labels: letters that CTC may emit, the space first (`ctc_labels` of the configuration).
        order: longest n-gram in letters, the next one included.
        min_gain: n-grams that raise the log probability of the text by less than so many nats
            against the next shorter context are left out; a larger bound makes a smaller model.
        word_bits: memory for each known word (`known_words`); 0 keeps no words.
        word_corpora: further text files, of which nothing but the words is learned.

    Raises:
        TrainingError: `order` is out of range, there are too many labels, or no text.
    """
    if not 2 <= order <= MAX_ORDER:
        raise TrainingError(f"The n-gram's order is {order}; it must be 2 to {MAX_ORDER}.")
    if len(labels) >= 1 << BITS:
        raise TrainingError(f"{len(labels)} CTC labels are too many for an n-gram (63 at most).")
    alphabet = Alphabet(labels)
    ids = _class_ids(corpora, alphabet)
    if len(ids) <= order:
        raise TrainingError("The n-gram needs text; give data.corpora with some sentences.")
    levels = [_counted(ids, length) for length in range(1, order + 1)]
    ngram = _pruned(*_smoothed(levels, len(labels)), levels, min_gain, len(labels))
    if word_bits:
        words = known_words([*corpora, *word_corpora], alphabet)
        ngram.words = KnownWords.of(words, alphabet, word_bits)
    return ngram


def known_words(corpora: Iterable[Path], alphabet: Alphabet) -> set[str]:
    """Words in these letters that occur twice, or once on a line of their own (a dictionary's).

    What occurs once in running text is often a slip.
    """
    counts: Counter[str] = Counter()
    alone: set[str] = set()
    for path in corpora:
        with reading(path), path.open(encoding="utf-8") as file:
            for line in file:
                words = alphabet.fold(line).split()
                counts.update(words)
                if len(line.split()) == 1:
                    alone.update(words)
    return alone | {word for word, count in counts.items() if count > 1}


def _class_ids(corpora: Iterable[Path], alphabet: Alphabet) -> np.ndarray:
    table = np.zeros(1 << 16, np.uint8)
    for letter, number in alphabet.classes.items():
        table[ord(letter)] = number
    lines = []
    for path in corpora:
        with reading(path), path.open(encoding="utf-8") as file:
            lines += [alphabet.fold(line) for line in file]
    text = " " + " ".join(line for line in lines if line) + " "
    ids = table[np.frombuffer(text.encode("utf-16-le"), np.uint16)]
    return ids[ids > 0]


def _counted(ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """All n-grams of a length as sorted keys, and how often each occurs."""
    wide, places = ids.astype(np.uint64), len(ids) - length + 1
    keys = np.zeros(places, np.uint64)
    for offset in range(length):
        keys = (keys << np.uint64(BITS)) | wide[offset : offset + places]
    return np.unique(keys, return_counts=True)


def _suffix(keys: np.ndarray, length: int) -> np.ndarray:
    """Keys of `length` classes without their first class."""
    return keys & np.uint64((1 << (BITS * (length - 1))) - 1)


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each context begins in sorted keys, and which context each key belongs to."""
    contexts = keys >> np.uint64(BITS)
    new = np.concatenate([[True], contexts[1:] != contexts[:-1]])
    return np.flatnonzero(new), np.cumsum(new) - 1


def _smoothed(
    levels: list[tuple[np.ndarray, np.ndarray]], num_labels: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Probability of each n-gram, and that of the same letter in the next shorter context."""
    order = len(levels)
    # Below the longest, a letter counts by how many different letters come before the n-gram.
    counts = [levels[-1][1].astype(np.float64)]
    for length in range(order, 1, -1):
        keys, shorter = levels[length - 1][0], levels[length - 2][0]
        at = np.searchsorted(shorter, _suffix(keys, length))
        continuations = np.bincount(at, minlength=len(shorter))
        counts.insert(0, np.maximum(continuations, 1).astype(np.float64))
    probs: list[np.ndarray] = []
    shorter_probs: list[np.ndarray] = []
    for length, (keys, _) in enumerate(levels, 1):
        count = counts[length - 1]
        discounts = _discounts(count)[np.minimum(count, 3).astype(int)]
        starts, group = _groups(keys)
        totals = np.add.reduceat(count, starts)
        left = np.add.reduceat(discounts, starts) / totals
        if length == 1:
            low = np.full(len(keys), 1 / num_labels)
        else:
            low = probs[-1][np.searchsorted(levels[length - 2][0], _suffix(keys, length))]
        probs.append((count - discounts) / totals[group] + left[group] * low)
        shorter_probs.append(low)
    return probs, shorter_probs


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off a count of 0, 1, 2, 3 or more (Chen and Goodman, equation 26)."""
    seen = [float((counts == k).sum()) for k in (1, 2, 3, 4)]
    if not all(seen):  # a handful of n-grams, such as the letters themselves
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = seen[0] / (seen[0] + 2 * seen[1])
    return np.array([0.0] + [k + 1 - (k + 2) * share * seen[k + 1] / seen[k] for k in range(3)])


def _pruned(
    probs: list[np.ndarray],
    shorter_probs: list[np.ndarray],
    levels: list[tuple[np.ndarray, np.ndarray]],
    min_gain: float,
    num_labels: int,
) -> Ngram:
    order = len(levels)
    kept: list[np.ndarray] = []
    needed = np.zeros(len(levels[-1][0]), bool)
    for length in range(order, 0, -1):
        keys, counts = levels[length - 1]
        gains = counts * np.log(probs[length - 1] / shorter_probs[length - 1])
        keep = needed | (gains > min_gain) | (length <= _FREE_ORDERS)
        kept.insert(0, keep)
        if length > 1:  # the beginning and the end of what is kept are states as well
            shorter, chosen = levels[length - 2][0], keys[keep]
            needed = np.zeros(len(shorter), bool)
            for part in (chosen >> np.uint64(BITS), _suffix(chosen, length)):
                needed[np.searchsorted(shorter, part)] = True
    keys = [level[0][keep] for level, keep in zip(levels, kept, strict=True)]
    children, backoffs = [], []
    for length in range(order):
        longer, keep = keys[length], kept[length]
        contexts = keys[length - 1] if length else np.zeros(1, np.uint64)
        number, weight = np.zeros(len(contexts), np.uint8), np.ones(len(contexts))
        if len(longer):
            starts, _ = _groups(longer)
            at = np.searchsorted(contexts, longer[starts] >> np.uint64(BITS))
            number[at] = np.diff(np.append(starts, len(longer)))
            left = 1 - np.add.reduceat(probs[length][keep], starts)
            left_shorter = 1 - np.add.reduceat(shorter_probs[length][keep], starts)
            weight[at] = np.maximum(left, 1e-6) / np.maximum(left_shorter, 1e-6)
        children.append(number)
        backoffs.append(np.log(weight))
    backoffs[0][:] = 0.0  # nothing is shorter than the empty context
    log_probs, weights = quantized(
        np.log(np.concatenate([p[keep] for p, keep in zip(probs, kept, strict=True)])),
        np.concatenate(backoffs),
    )
    return Ngram(
        np.array([len(k) for k in keys]),
        (np.concatenate(keys) & np.uint64((1 << BITS) - 1)).astype(np.uint8),
        log_probs,
        np.concatenate(children),
        weights,
        np.array([num_labels]),
    )
