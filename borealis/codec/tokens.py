"""Codes as tokens of a language model: their names, their ids, and both ways between them.

The code 517 of the first book is the token `<|audio:0:517|>`. Beside the codes there are
`<|start_of_speech|>`, `<|end_of_speech|>` and the pad `<|audio:pad|>` of the delayed order. In a
tokenizer they stand in one block, so ids and codes differ by a sum, and no text is read or written
between a model and a codec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from borealis.codec import layouts
from borealis.codec.codes import checked
from borealis.errors import CodecError

if TYPE_CHECKING:
    import numpy as np

START_OF_SPEECH = "<|start_of_speech|>"
END_OF_SPEECH = "<|end_of_speech|>"
PAD = "<|audio:pad|>"
MARKS = (START_OF_SPEECH, END_OF_SPEECH, PAD)  # in front of the codes
_BEGINS, _ENDS, _FILLS = range(-3, 0)  # numbers of the marks; codes are numbered from 0
_TOKEN = re.compile(r"\s*(<\|audio:([0-9]{1,4}):([0-9]{1,7})\|>|<\|[a-z_:]{1,20}\|>)")

Layout: TypeAlias = Literal["flat", "delay"]


def token(book: int, code: int) -> str:
    """The name of a code, `<|audio:book:code|>`."""
    return f"<|audio:{book}:{code}|>"


@dataclass(frozen=True)
class CodecVocabulary:
    """Tokens of a codec with so many books.

    Args:
        num_codebooks: books that a language model writes.
        codebook_size: codes in each.
        first_id: id of the first token, `<|start_of_speech|>`; the others follow it.

    Raises:
        CodecError: numbers that no vocabulary has.
    """

    num_codebooks: int
    codebook_size: int
    first_id: int = 0

    def __post_init__(self) -> None:
        if self.num_codebooks < 1 or self.codebook_size < 1 or self.first_id < 0:
            raise CodecError(
                f"{self.num_codebooks} codebooks of {self.codebook_size} codes from id "
                f"{self.first_id} on: the first two must be 1 or more, the last one 0 or more."
            )

    @classmethod
    def of_settings(cls, speech: Mapping[str, Any]) -> CodecVocabulary:
        """The vocabulary of a model, by what its `config.speech` says."""
        return cls(speech["num_codebooks"], speech["codebook_size"], speech["first_id"])

    @classmethod
    def of_tokenizer(
        cls, tokenizer: Any, *, num_codebooks: int, codebook_size: int
    ) -> CodecVocabulary:
        """The vocabulary as it stands in a tokenizer that `tokens` were added to.

        Raises:
            CodecError: tokens are missing, or don't stand in one block.
        """
        names = cls(num_codebooks, codebook_size).tokens()
        ids = tokenizer.convert_tokens_to_ids(names)
        missing = [
            name
            for name, number in zip(names, ids, strict=True)
            if number is None or number == tokenizer.unk_token_id
        ]
        if missing:
            raise CodecError(
                f"The tokenizer lacks {len(missing)} codec tokens, such as {missing[0]}; add those "
                "of CodecVocabulary.tokens()."
            )
        if ids != list(range(ids[0], ids[0] + len(ids))):
            raise CodecError(
                "The codec tokens don't stand in one block of the tokenizer; add them all at once "
                "and in order."
            )
        return cls(num_codebooks, codebook_size, first_id=ids[0])

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(MARKS) + self.num_codebooks * self.codebook_size

    @property
    def start_id(self) -> int:
        """Id of `<|start_of_speech|>`."""
        return self.first_id

    @property
    def end_id(self) -> int:
        """Id of `<|end_of_speech|>`."""
        return self.first_id + 1

    @property
    def pad_id(self) -> int:
        """Id of the pad of the delayed order."""
        return self.first_id + 2

    def tokens(self) -> list[str]:
        """All names in the order of their ids, to be added to a tokenizer."""
        books, codes = range(self.num_codebooks), range(self.codebook_size)
        return [*MARKS, *(token(book, code) for book in books for code in codes)]

    def ids(self, codes: Any, *, layout: Layout = "flat", marks: bool = True) -> np.ndarray:
        """Codes `[num_codebooks, frames]` -> ids `[n]`, int64.

        Args:
            codes: as many books as the vocabulary has.
            layout: `flat`, or `delay`, whose columns are written one after another.
            marks: put start and end of speech around them.

        Raises:
            CodecError: not such codes.
        """
        import numpy as np

        numbers = self._numbers(codes, layout)
        if marks:
            numbers = np.concatenate([[_BEGINS], numbers, [_ENDS]])
        return numbers + self.first_id + len(MARKS)

    def codes(self, ids: Any, *, layout: Layout = "flat", strict: bool = True) -> np.ndarray:
        """Ids of `ids` -> codes `[num_codebooks, frames]`, int32.

        Args:
            ids: with the marks or without.
            layout: `flat` or `delay`.
            strict: refuse what is broken. If not, what stands before the first start of speech and
                behind the end of speech is left out, and of the rest the longest valid beginning
                counts: all whole frames before the first token that isn't due.

        Raises:
            CodecError: a token out of turn, a frame that isn't whole, one mark without the other,
                if strict.
        """
        import numpy as np

        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise CodecError(f"{list(array.shape)} of {array.dtype} was given; ids [n] are wanted.")
        return self._read(array.astype(np.int64) - self.first_id - len(MARKS), layout, strict)

    def text(self, codes: Any, *, layout: Layout = "flat", marks: bool = True) -> str:
        """Codes as text; see `ids`."""
        names = self.tokens()
        ids = self.ids(codes, layout=layout, marks=marks) - self.first_id
        return "".join(names[number] for number in ids)

    def parse(self, text: str, *, layout: Layout = "flat", strict: bool = True) -> np.ndarray:
        """Text of `text` -> codes; white space may stand between tokens. See `codes`."""
        import numpy as np

        marks = dict(zip(MARKS, (_BEGINS, _ENDS, _FILLS), strict=True))
        nothing = self.num_codebooks * self.codebook_size  # what no code has
        numbers, at = [], 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                if strict:
                    raise CodecError(f"'{text[at : at + 30].strip()}' isn't a codec token.")
                # What stands before the speech is passed over, character by character.
                numbers.append(nothing)
                at += 1
                continue
            at = match.end()
            if match[2] is None:
                numbers.append(marks.get(match[1], nothing))
            else:
                book, code = int(match[2]), int(match[3])
                known = book < self.num_codebooks and code < self.codebook_size
                numbers.append(book * self.codebook_size + code if known else nothing)
            if strict and numbers[-1] == nothing:
                raise CodecError(
                    f"{match[1]} isn't a token of {self.num_codebooks} codebooks of "
                    f"{self.codebook_size} codes."
                )
        return self._read(np.array(numbers, np.int64), layout, strict)

    def _numbers(self, codes: Any, layout: Layout) -> np.ndarray:
        import numpy as np

        delayed = _is_delay(layout)
        order = layouts.to_delay if delayed else layouts.to_flat
        numbers = order(codes, self.codebook_size)
        books = checked(codes).shape[0]
        if books != self.num_codebooks:
            raise CodecError(
                f"There are {books} codebooks, and the vocabulary has {self.num_codebooks}; take "
                "as many with Codes.take."
            )
        if not delayed:
            return numbers
        offsets = np.arange(books)[:, None] * self.codebook_size
        return np.where(numbers == self.codebook_size, _FILLS, numbers + offsets).T.reshape(-1)

    def _read(self, numbers: np.ndarray, layout: Layout, strict: bool) -> np.ndarray:
        delayed = _is_delay(layout)
        numbers = _between_marks(numbers, strict)
        size, books = self.codebook_size, self.num_codebooks
        if not delayed:
            return layouts.from_flat(
                numbers, num_codebooks=books, codebook_size=size, strict=strict
            )
        return layouts.from_delay(self._rows(numbers, strict), codebook_size=size, strict=strict)

    def _rows(self, numbers: np.ndarray, strict: bool) -> np.ndarray:
        """Numbers of delayed columns -> rows, up to the first number that is out of turn."""
        import numpy as np

        size, books = self.codebook_size, self.num_codebooks
        turn = np.arange(len(numbers)) % books
        cells = np.where(numbers == _FILLS, size, numbers - turn * size)
        wrong = np.flatnonzero(
            (cells < 0) | (cells > size) | ((cells == size) & (numbers != _FILLS))
        )
        good = int(wrong[0]) if len(wrong) else len(numbers)
        if strict and len(wrong):
            raise CodecError(f"Token {good} isn't of book {turn[good]}, whose turn it is.")
        if strict and good % books:
            raise CodecError(f"{good} tokens aren't whole columns of {books}: the last is cut off.")
        columns = good // books
        return cells[: columns * books].reshape(columns, books).T


def _between_marks(numbers: np.ndarray, strict: bool) -> np.ndarray:
    """What stands between start and end of speech; everything where there are no marks."""
    import numpy as np

    starts, ends = (np.flatnonzero(numbers == mark) for mark in (_BEGINS, _ENDS))
    if not strict:
        first = int(starts[0]) + 1 if len(starts) else 0
        ends = ends[ends >= first]
        return numbers[first : int(ends[0]) if len(ends) else len(numbers)]
    if not len(starts) and not len(ends):
        return numbers
    if list(starts) != [0] or list(ends) != [len(numbers) - 1]:
        raise CodecError(
            f"{START_OF_SPEECH} and {END_OF_SPEECH} must stand once each, first and last."
        )
    return numbers[1:-1]


def _is_delay(layout: str) -> bool:
    if layout not in ("flat", "delay"):
        raise CodecError(f"layout is '{layout}'; give 'flat' or 'delay'.")
    return layout == "delay"
