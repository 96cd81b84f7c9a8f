"""Codes in the order in which a language model writes them, and back.

Two orders, for one codebook and more:

* flat: frame by frame, and in a frame book by book. A code of book `k` is written as the number
  `k * codebook_size + code`, so a number tells its book.
* delay: a row for each book, and book `k` begins `k` columns later. Places without a code hold
  `codebook_size`, the pad. A column can be written in one step: what a book needs to know of the
  coarser ones of its frame was written before.

What a model writes may be broken. Strictly read, that is an error; otherwise the longest valid
beginning counts: all frames before the first place where something else stands than the code that
is due there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from borealis.codec.codes import as_array, checked
from borealis.errors import CodecError

if TYPE_CHECKING:
    import numpy as np


def to_flat(codes: Any, codebook_size: int) -> np.ndarray:
    """Codes `[num_codebooks, frames]` -> numbers `[frames * num_codebooks]`, int64.

    Raises:
        CodecError: not such codes.
    """
    import numpy as np

    codes = _in_books(codes, codebook_size)
    books = np.arange(codes.shape[0], dtype=np.int64)[:, None]
    return (codes + books * codebook_size).T.reshape(-1)


def from_flat(
    numbers: Any, *, num_codebooks: int, codebook_size: int, strict: bool = True
) -> np.ndarray:
    """Numbers of `to_flat` -> codes `[num_codebooks, frames]`, int32.

    Args:
        numbers: `[n]`.
        num_codebooks: of a frame.
        codebook_size: codes in a book.
        strict: refuse what is broken. If not, frames are read up to the first number that isn't of
            the book whose turn it is, and a frame that isn't whole is left out.

    Raises:
        CodecError: a wrong number or a frame that isn't whole, if strict.
    """
    import numpy as np

    numbers = _whole_numbers(numbers, 1)
    turn = np.arange(len(numbers)) % num_codebooks
    codes = numbers - turn * codebook_size
    wrong = np.flatnonzero((codes < 0) | (codes >= codebook_size))
    good = int(wrong[0]) if len(wrong) else len(numbers)
    if strict and len(wrong):
        raise CodecError(
            f"Place {good} holds {numbers[good]}, where a code of book {turn[good]} is due."
        )
    if strict and good % num_codebooks:
        raise CodecError(
            f"{good} codes aren't whole frames of {num_codebooks} codebooks: the last frame is cut "
            "off."
        )
    frames = good // num_codebooks
    codes = codes[: frames * num_codebooks].reshape(frames, num_codebooks)
    return np.ascontiguousarray(codes.T).astype(np.int32)


def to_delay(codes: Any, codebook_size: int) -> np.ndarray:
    """Codes `[num_codebooks, frames]` -> rows `[num_codebooks, frames + num_codebooks - 1]`, int64.

    Raises:
        CodecError: not such codes.
    """
    import numpy as np

    codes = _in_books(codes, codebook_size)
    books, frames = codes.shape
    rows = np.full((books, frames + books - 1 if frames else 0), codebook_size, np.int64)
    for book in range(books if frames else 0):
        rows[book, book : book + frames] = codes[book]
    return rows


def from_delay(rows: Any, *, codebook_size: int, strict: bool = True) -> np.ndarray:
    """Rows of `to_delay` -> codes `[num_codebooks, frames]`, int32.

    Args:
        rows: `[num_codebooks, n]`; if not strict, they may be cut off after any column.
        codebook_size: codes in a book, which is the pad as well.
        strict: refuse what is broken. If not, frames are read up to the first that lacks a code in
            one of its places, and the other places aren't looked at.

    Raises:
        CodecError: a pad where a code is due, a code where a pad is, or anything else, if strict.
    """
    import numpy as np

    rows = _whole_numbers(rows, 2)
    books, columns = rows.shape
    frames = max(0, columns - books + 1)
    codes = np.stack([rows[book, book : book + frames] for book in range(books)])
    wrong = ((codes < 0) | (codes >= codebook_size)).any(0)
    good = int(np.argmax(wrong)) if wrong.any() else frames
    codes = codes[:, :good].astype(np.int32)
    if strict:
        if good < frames or (columns and not frames):
            raise CodecError(f"Frame {good} lacks a code in one of its {books} places.")
        if not np.array_equal(to_delay(codes, codebook_size), rows):
            raise CodecError("A place before the first frame or behind the last one isn't a pad.")
    return codes


def _in_books(codes: Any, codebook_size: int) -> np.ndarray:
    codes = checked(codes)
    if codes.size and int(codes.max()) >= codebook_size:
        raise CodecError(
            f"The code {int(codes.max())} isn't in a codebook of {codebook_size} codes."
        )
    return codes


def _whole_numbers(values: Any, dimensions: int) -> np.ndarray:
    import numpy as np

    array = as_array(values, "The rows have different lengths.")
    if not array.size and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.int64)
    if (
        array.ndim != dimensions
        or array.dtype.kind not in "iu"
        or not array.shape[0] >= dimensions - 1
    ):
        raise CodecError(
            f"{list(array.shape)} of {array.dtype} was given; whole numbers in "
            f"{'rows [num_codebooks, n]' if dimensions == 2 else 'one row [n]'} are wanted."
        )
    return array.astype(np.int64)
