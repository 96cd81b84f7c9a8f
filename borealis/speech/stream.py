"""The order of a spoken text: symbols and their codes in one stream, symbols one ahead.

    <|start_of_speech|> voice s1 | s2 codes(s1) | s3 codes(s2) | ... | next codes(sn) | end

A symbol comes before the codes of the one before it, so that a sound knows what follows it. Behind
the last symbol stands `<|next_symbol|>`. All codes of a frame stand together, the coarsest first.

Which symbol comes next isn't a question: the text is given. What a model decides is when. So the
label of every symbol, and of the end, is `<|next_symbol|>`: the probability of that one token is
the probability that the current sound is over. See `StreamRule` for how it is written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from borealis.errors import CodecError
from borealis.speech.vocabulary import SpeechVocabulary

IGNORED = -100  # no label


@dataclass(frozen=True)
class Spoken:
    """A text and its sound.

    Args:
        symbols: see `borealis.speech.symbols`.
        durations: frames of each symbol, int `[symbols]`.
        codes: int `[num_codebooks, frames]`.
        voice: who speaks.
    """

    symbols: str
    durations: np.ndarray
    codes: np.ndarray
    voice: str


def prompt_ids(vocabulary: SpeechVocabulary, symbols: str, voice: str) -> list[int]:
    """What a model is given of a text: all that stands before the first code."""
    first, *rest = vocabulary.ids_of(symbols)
    ahead = rest[0] if rest else vocabulary.next_id
    return [vocabulary.codec.start_id, vocabulary.voice_id(voice), first, ahead]


def due_ids(vocabulary: SpeechVocabulary, symbols: str) -> list[int]:
    """The symbols that a stream has after `prompt_ids`, in order, and its end."""
    rest = vocabulary.ids_of(symbols[2:])
    ahead = [vocabulary.next_id] if len(symbols) > 1 else []
    return [*rest, *ahead, vocabulary.codec.end_id]


def write_stream(vocabulary: SpeechVocabulary, spoken: Spoken) -> tuple[np.ndarray, np.ndarray]:
    """The stream of a spoken text, to be learned.

    Returns:
        ids and labels, int64 `[n]` each; see the module for the labels of symbols.

    Raises:
        CodecError: durations and codes don't fit together.
    """
    books = vocabulary.codec.num_codebooks
    if len(spoken.durations) != len(spoken.symbols):
        raise CodecError(
            f"{len(spoken.symbols)} symbols have {len(spoken.durations)} durations; one each is "
            "needed."
        )
    if spoken.codes.shape != (books, int(np.sum(spoken.durations))):
        raise CodecError(
            f"Codes {list(spoken.codes.shape)} were given; the durations need "
            f"[{books}, {int(np.sum(spoken.durations))}]."
        )
    codes = vocabulary.codec.ids(spoken.codes, marks=False)
    head = prompt_ids(vocabulary, spoken.symbols, spoken.voice)
    due = due_ids(vocabulary, spoken.symbols)
    ids, labels = [np.array(head)], [np.full(len(head), IGNORED)]
    ends = np.cumsum(spoken.durations) * books
    for begin, end, symbol in zip([0, *ends[:-1]], ends, due, strict=True):
        ids += [codes[begin:end], np.array([symbol])]
        labels += [codes[begin:end], np.array([vocabulary.next_id])]
    return np.concatenate(ids).astype(np.int64), np.concatenate(labels).astype(np.int64)


def read_stream(
    vocabulary: SpeechVocabulary, ids: np.ndarray | list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What stands behind `prompt_ids` -> codes and durations of the symbols that were begun.

    Args:
        ids: written by a model under `StreamRule`, whole or cut off; a last frame that isn't whole
            is left out.

    Returns:
        int32 `[num_codebooks, frames]` and `[symbols]`.
    """
    array = np.asarray(ids, np.int64)
    first = vocabulary.codec.first_id
    low = (
        first
        + len(vocabulary.codec)
        - vocabulary.codec.num_codebooks * (vocabulary.codec.codebook_size)
    )
    is_code = (array >= low) & (array < first + len(vocabulary.codec))
    steps = np.flatnonzero(~is_code)
    counts = np.diff(np.concatenate([[0], np.cumsum(is_code)[steps], [is_code.sum()]]))
    codes = vocabulary.codec.codes(array[is_code], strict=False)
    whole = counts // vocabulary.codec.num_codebooks
    if len(array) and array[-1] == vocabulary.codec.end_id:
        whole = whole[:-1]
    return codes, whole.astype(np.int32)
