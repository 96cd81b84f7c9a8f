"""Words that a user expects (names, terms), followed by every prefix of a search at once.

A tree of the words' letters: a prefix that goes down the tree is given a bonus letter by letter, so
that it survives until the word is whole, and what was given is taken back where it leaves the tree
before that (as contextual biasing does in shallow fusion: Zhao et al., 2019, "Shallow-Fusion
End-to-End Contextual Biasing").
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from borealis.ctc.alphabet import Alphabet

_ROOT, _OUTSIDE = 0, -1
MOST_WORDS = 10_000


class HotWords:
    """A tree of words and phrases; a state is a place in it.

    Args:
        words: words or phrases as they are written; case and marks don't matter.
        alphabet: letters that CTC may emit.

    Raises:
        ValueError: a word has no letter of the alphabet, or there are too many.
    """

    def __init__(self, words: Iterable[str], alphabet: Alphabet) -> None:
        spelled = []
        for word in words:
            classes = alphabet.spell(word)
            if not classes:
                raise ValueError(f"{word!r} has no letter that the model can write.")
            spelled.append(classes)
        if len(spelled) > MOST_WORDS:
            raise ValueError(f"{len(spelled)} hot words are too many; at most {MOST_WORDS}.")
        self._space = alphabet.space
        children: list[dict[int, int]] = [{}]
        depth, whole, ended = [0], [False], [0]
        for classes in spelled:
            at = _ROOT
            for c in classes:
                if c not in children[at]:
                    children[at][c] = len(children)
                    children.append({})
                    depth.append(depth[at] + 1)
                    whole.append(False)
                    # Letters that stay paid for when the prefix leaves here: a shorter hot word
                    # that ended at a space.
                    ended.append(depth[at] if c == self._space and whole[at] else ended[at])
                at = children[at][c]
            whole[at] = True
        # A space within a phrase may have been added before the shorter word was.
        for at, kids in enumerate(children):
            for c, child in kids.items():
                kept = depth[at] if c == self._space and whole[at] else ended[at]
                ended[child] = kept
        self._next = np.full((len(children), len(alphabet)), _OUTSIDE, np.int32)
        for at, kids in enumerate(children):
            for c, child in kids.items():
                self._next[at, c] = child
        self._depth, self._ended = np.array(depth), np.array(ended)
        self._at_end = np.array(whole)

    @staticmethod
    def start(count: int) -> np.ndarray:
        """States before the first letter: int32 `[count]`."""
        return np.full(count, _ROOT, np.int32)

    def follow(self, states: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One more letter for each state.

        Args:
            states: int32 `[n]`.
            classes: letters, int `[n]`.

        Returns:
            The new states `[n]`, and how many letters' bonus is given or taken back `[n]`.
        """
        inside = states != _OUTSIDE
        after = np.where(inside, self._next[states, classes], _OUTSIDE)
        gain = np.where(after != _OUTSIDE, 1, 0)
        left = inside & (after == _OUTSIDE)
        ends = (classes == self._space) & self._at_end[states]
        gain = gain - np.where(left & ~ends, self._depth[states] - self._ended[states], 0)
        # A new word begins after a space.
        after = np.where((after == _OUTSIDE) & (classes == self._space), _ROOT, after)
        return after.astype(np.int32), gain

    def end(self, states: np.ndarray) -> np.ndarray:
        """What is taken back where the text ends: letters `[n]`, 0 or less."""
        unfinished = (states != _OUTSIDE) & ~self._at_end[states]
        return -np.where(unfinished, self._depth[states] - self._ended[states], 0)

    def whole(self, states: np.ndarray) -> np.ndarray:
        """Which states are at the end of a hot word: bool `[n]`."""
        return (states != _OUTSIDE) & self._at_end[states]
