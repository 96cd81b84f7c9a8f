"""What is spoken, symbol by symbol, and how long each symbol lasts.

Symbols are the letters a voice reads and the pauses between words: a space, or the mark that stands
there. A text always begins with a space, which holds the silence before the first letter, and ends
with one of `. ! ?`, which holds the silence after the last.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from borealis.ctc.alignment import align
from borealis.ctc.alphabet import Alphabet
from borealis.errors import PromptError

SYMBOLS = " ,.!?абвгдеёжзийклмнопрстуфхцчшщъыьэюяabcdefghijklmnopqrstuvwxyz'"
PAUSES = " ,.!?"  # the weakest first: of several between two words the strongest counts
_ENDS = ".!?"
_SAME = {";": ",", ":": ",", "—": ",", "–": ",", "…": ".", "-": " ", "’": "'", "ʼ": "'", "`": "'"}
# A letter is heard where CTC is surest of it, and lasts to both sides of that, in seconds.
_HALF, _BEFORE_PAUSE, _AFTER_PAUSE = 0.035, 0.10, 0.08


@dataclass(frozen=True)
class Spelling:
    """A text in symbols.

    Args:
        symbols: of the text, a space first, a mark that ends sentences last.
        places: for each symbol the character of the text that it stands for, -1 where it stands
            for none.
    """

    symbols: str
    places: tuple[int, ...]


def spell(text: str, symbols: str = SYMBOLS) -> Spelling:
    """A text in symbols; characters that are no symbol are left out.

    Args:
        text: as people write it, in words: numbers and signs are spoken by
            `borealis.data.spoken.speakable`.
        symbols: those that there are.

    Raises:
        PromptError: no letter is left.
    """
    out, places = [" "], [-1]
    for place, char in enumerate(text):
        folded = _folded(char, symbols)
        if folded == "":
            continue
        if folded not in PAUSES or out[-1] not in PAUSES:
            out.append(folded)
            places.append(place)
        elif len(out) > 1 and PAUSES.index(folded) > PAUSES.index(out[-1]):
            out[-1], places[-1] = folded, place
    if len(out) == 1:
        raise PromptError(f"Nothing of {text[:40]!r} can be spoken: it has no letters.")
    if out[-1] not in PAUSES:
        out.append(".")
        places.append(-1)
    elif out[-1] not in _ENDS:
        out[-1] = "."
    return Spelling("".join(out), tuple(places))


def _folded(char: str, symbols: str) -> str:
    """The symbol of a character, empty where it has none."""
    if char.isspace():
        return " "
    char = _SAME.get(char, char.lower())
    if char in symbols:
        return char
    if char == "ё" and "е" in symbols:
        return "е"
    base = unicodedata.normalize("NFD", char)[0]
    return base if base in symbols else ""


def durations(
    spelling: str,
    log_probs: np.ndarray,
    alphabet: Alphabet,
    *,
    step: float,
    frame: float,
    num_frames: int,
    delay: float = 0.0,
) -> np.ndarray | None:
    """How many frames of a codec each symbol of a recording lasts.

    Args:
        spelling: symbols of what is said.
        log_probs: what CTC heard, natural log `[T, num_classes]`.
        alphabet: of its classes.
        step: seconds between rows of `log_probs`.
        frame: seconds of a codec's frame.
        num_frames: of the recording.
        delay: seconds by which CTC is surest of a letter after that letter begins.

    Returns:
        int32 `[symbols]`, in sum `num_frames`; None where the symbols can't be laid over the
        recording.
    """
    ends = symbol_ends(spelling, log_probs, alphabet, step=step, delay=delay)
    return None if ends is None else whole_frames(ends, frame=frame, num_frames=num_frames)


def symbol_ends(
    spelling: str, log_probs: np.ndarray, alphabet: Alphabet, *, step: float, delay: float = 0.0
) -> np.ndarray | None:
    """Where each symbol of a recording ends, in seconds; see `durations`.

    Returns:
        float `[symbols]`, the last one where the last letter's sound is over; None where the
        symbols can't be laid over the recording.
    """
    labels, owners = _labels(spelling, alphabet)
    path = align(log_probs, labels) if labels else None
    if path is None:
        return None
    frames = np.arange(len(path))
    heard = [frames[path == i] for i in range(len(labels))]
    shift = max(0.0, delay - _HALF)
    first = np.array([f[0] for f in heard]) * step - shift
    last = np.array([f[-1] + 1 for f in heard]) * step - shift
    # Where each symbol ends. Those that CTC doesn't hear end where the one before them does.
    ends = np.zeros(len(spelling))
    ends[0] = first[0] - _AFTER_PAUSE
    for i in range(len(labels) - 1):
        end = (last[i] + first[i + 1]) / 2
        if spelling[owners[i + 1]] in PAUSES:
            end = min(end, last[i] + _BEFORE_PAUSE)
        elif spelling[owners[i]] in PAUSES:
            end = max(end, first[i + 1] - _AFTER_PAUSE)
        ends[owners[i] : owners[i + 1]] = end
    ends[owners[-1] :] = last[-1] + _BEFORE_PAUSE
    return ends


def whole_frames(ends: np.ndarray, *, frame: float, num_frames: int) -> np.ndarray:
    """Frames of each symbol, from where they end.

    Args:
        ends: seconds `[symbols]`.
        frame: seconds of a frame.
        num_frames: of the recording; the last symbol has what is left.

    Returns:
        int32 `[symbols]`, in sum `num_frames`.
    """
    bounds = np.clip(np.rint(ends / frame), 0, num_frames).astype(np.int32)
    bounds = np.maximum.accumulate(bounds)
    bounds[-1] = num_frames
    return np.diff(bounds, prepend=0).astype(np.int32)


def _labels(spelling: str, alphabet: Alphabet) -> tuple[list[int], list[int]]:
    """Classes of the symbols that CTC hears, and the place of each among the symbols."""
    labels, owners = [], []
    for place, symbol in enumerate(spelling):
        if symbol in PAUSES:
            if 0 < place < len(spelling) - 1:
                labels.append(alphabet.space)
                owners.append(place)
        elif classes := alphabet.spell(symbol):
            labels.append(classes[0])
            owners.append(place)
    return labels, owners
