"""A long text in pieces that are spoken one after another: sentences, and parts of long ones."""

from __future__ import annotations

import re

MAX_CHARACTERS = 10_000  # spoken at once: a chapter, about ten minutes
LONGEST = 200  # characters of a piece; what is learned from is seldom longer
_ENDS = (re.compile(r"[.!?]\s"), re.compile(r"[,;:—]\s"), re.compile(r"\s"))


def pieces(text: str, longest: int = LONGEST) -> list[tuple[int, int]]:
    """Stretches of a speakable text, in order: where each begins and ends.

    Args:
        text: of `borealis.data.spoken.speakable`.
        longest: characters of a stretch; only a word that is longer makes a longer one.
    """
    found = []
    begin = 0
    while begin < len(text):
        end = _end(text, begin, longest)
        if text[begin:end].strip():
            found.append((begin, end))
        begin = end
    return found


def _end(text: str, begin: int, longest: int) -> int:
    """Where a piece ends that begins at a place."""
    if match := _ENDS[0].search(text, begin, begin + longest):
        return match.end()
    if len(text) - begin <= longest:
        return len(text)
    for kind in _ENDS[1:]:
        ends = [m.end() for m in kind.finditer(text, begin, begin + longest)]
        if ends:
            return ends[-1]
    after = _ENDS[2].search(text, begin)
    return after.end() if after else len(text)
