"""When letters were said: the most probable way to lay a spelling over the frames.

Viterbi over the CTC lattice (Graves et al., 2006, "Connectionist Temporal Classification"): letters
in order, with blanks between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def align(log_probs: np.ndarray, labels: Sequence[int]) -> np.ndarray | None:
    """Lay a spelling over the frames.

    Args:
        log_probs: CTC log probabilities `[T, num_classes]`, class 0 is the blank.
        labels: classes of the letters in order, `[L]`.

    Returns:
        For each frame the index of its letter, or -1 for a blank: `[T]`. None where the frames
        are too few for the letters.
    """
    frames, letters = len(log_probs), len(labels)
    repeats = sum(a == b for a, b in pairwise(labels))
    if not letters or frames < letters + repeats:
        return None
    # States are blank, letter, blank, letter, ..., blank.
    path = np.zeros(2 * letters + 1, np.int64)
    path[1::2] = labels
    skip = np.zeros(len(path), bool)
    skip[2:] = (path[2:] != 0) & (path[2:] != path[:-2])
    score = np.full(len(path), -np.inf)
    score[:2] = log_probs[0, path[:2]]
    came = np.zeros((frames, len(path)), np.int8)  # how many states back the best way came from
    for t in range(1, frames):
        ways = np.full((3, len(path)), -np.inf)
        ways[0], ways[1, 1:] = score, score[:-1]
        ways[2, 2:] = np.where(skip[2:], score[:-2], -np.inf)
        came[t] = ways.argmax(0)
        score = ways.max(0) + log_probs[t, path]
    state = len(path) - 1 if score[-1] >= score[-2] else len(path) - 2
    out = np.empty(frames, np.int64)
    for t in range(frames - 1, -1, -1):
        out[t] = state // 2 if state % 2 else -1
        state -= int(came[t, state])
    return out


def written_words(text: str) -> list[str]:
    """Words of a text; a mark that stands alone, as a dash does, stays with the word before it."""
    words: list[str] = []
    for piece in text.split():
        if words and not any(c.isalnum() for c in piece):
            words[-1] += f" {piece}"
        else:
            words.append(piece)
    return words
