"""A text that remembers where each of its characters came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Start and end of a stretch of the original, as of a slice.
Span = tuple[int, int]


@dataclass(frozen=True)
class Traced:
    """Characters and the stretch of the original that each stands for.

    Args:
        text: the characters.
        spans: one for each character; their starts never go back.
    """

    text: str
    spans: Sequence[Span]

    @classmethod
    def join(cls, parts: Iterable[Traced]) -> Traced:
        """Texts one after another."""
        texts: list[str] = []
        spans: list[Span] = []
        for part in parts:
            texts.append(part.text)
            spans += part.spans
        return cls("".join(texts), spans)

    def __getitem__(self, part: slice) -> Traced:
        return Traced(self.text[part], self.spans[part])

    def span(self, start: int, end: int) -> Span:
        """Where the characters from `start` to `end` came from."""
        return self.spans[start][0], max(to for _, to in self.spans[start:end])

    def sub(self, pattern: re.Pattern[str], write: Callable[[re.Match[str]], str]) -> Traced:
        """Replace every match; what is written comes from the match as a whole.

        Spaces around what is written keep it a word of its own; the caller asks for them. Where
        `write` gives the match back, it stays as it is, with the spans that it had.
        """
        parts: list[Traced] = []
        done = 0
        for match in pattern.finditer(self.text):
            start, end = match.span()
            written = write(match)
            if written == match[0] or start == end:
                continue
            parts.append(self[done:start])
            parts.append(Traced(written, [self.span(start, end)] * len(written)))
            done = end
        return Traced.join([*parts, self[done:]]) if parts else self
