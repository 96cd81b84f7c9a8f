"""What may come next in a stream of speech, told from what was written: for every engine the same.

A model is left two decisions: which code the sound has now, and whether the sound is over. Codes of
the book whose turn it is may come; between frames `<|next_symbol|>` may, and what is written then
is the symbol that is due. A sound that lasts too long is ended, so a stream always ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from borealis.speech.stream import due_ids
from borealis.speech.symbols import PAUSES
from borealis.speech.vocabulary import SpeechVocabulary

LONGEST_LETTER, LONGEST_PAUSE = 0.6, 1.6  # seconds


def longest_frames(symbol: str, frame_rate: float) -> int:
    """Frames that a symbol may last.

    Args:
        symbol: a letter or a pause.
        frame_rate: frames of the codec in a second.
    """
    seconds = LONGEST_PAUSE if symbol in PAUSES else LONGEST_LETTER
    return max(1, round(seconds * frame_rate))


@dataclass(frozen=True)
class Choice:
    """What may come next.

    Args:
        codes: range of the ids of codes; empty where the sound must end.
        due: the id that is written if the model chooses `<|next_symbol|>`; None where it may not.
    """

    codes: range
    due: int | None


@dataclass
class StreamRule:
    """Follows one stream.

    Args:
        vocabulary: of the model.
        symbols: what is spoken.
        frame_rate: frames of the codec in a second.
    """

    vocabulary: SpeechVocabulary
    symbols: str
    frame_rate: float
    _due: list[int] = field(init=False)
    _current: int = field(init=False, default=0)  # the symbol whose codes are written
    _written: int = field(init=False, default=0)  # codes of it
    done: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._due = due_ids(self.vocabulary, self.symbols)

    @property
    def longest(self) -> int:
        """Upper bound on the tokens behind the prompt."""
        books = self.vocabulary.codec.num_codebooks
        return sum(1 + books * self._limit(symbol) for symbol in self.symbols)

    def _limit(self, symbol: str) -> int:
        return longest_frames(symbol, self.frame_rate)

    def choice(self) -> Choice:
        """What may come now.

        Raises:
            ValueError: the stream has ended.
        """
        if self.done:
            raise ValueError("the stream has ended")
        codec = self.vocabulary.codec
        frames, book = divmod(self._written, codec.num_codebooks)
        begin = self.vocabulary.next_id - (codec.num_codebooks - book) * codec.codebook_size
        codes = range(begin, begin + codec.codebook_size)
        if book:
            return Choice(codes, None)
        if frames >= self._limit(self.symbols[self._current]):
            codes = range(0)
        return Choice(codes, self._due[self._current])

    def push(self, token: int) -> None:
        """Take a token that was written; it must have been allowed.

        Raises:
            ValueError: it wasn't.
        """
        now = self.choice()
        if token in now.codes:
            self._written += 1
        elif token == now.due:
            self._current, self._written = self._current + 1, 0
            self.done = self._current == len(self.symbols)
        else:
            raise ValueError(f"token {token} may not come here")

    def follow(self, tokens: Sequence[int]) -> None:
        """Take several tokens."""
        for token in tokens:
            self.push(token)
