"""When words begin by the phone labels of a corpus, to measure our times of words against.

Labels are of phones, with no word boundaries; the spelling is laid over them by the cheapest
monotonic match of letters and phones (Levenshtein with a table of what sounds like what). Russian
letters and the phone set of `festvox-ru`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from borealis.errors import ManifestError

SILENCE = ("pau", "#")
_VOWELS = frozenset("аяоёуюэеыи")
_IOTATED = frozenset("яеёюи")  # may be two phones, j and a vowel
_SIGNS = frozenset("ьъ")
_VOWEL_PHONES = frozenset(
    ("a", "aa", "ae", "ay", "e", "ee", "i", "ii", "oo", "u", "ur", "uu", "y", "yy")
)
_PHONES = (
    *("b", "v", "g", "d", "zh", "z", "j", "k", "l", "m", "n"),
    *("p", "r", "s", "t", "f", "h", "c", "ch", "sh", "sch"),
)
_CONSONANTS = dict(zip("бвгджзйклмнпрстфхцчшщ", _PHONES, strict=True))
_UNVOICED = {"b": "p", "v": "f", "g": "k", "d": "t", "zh": "sh", "z": "s"}
_SKIPPED_LETTER, _SKIPPED_PHONE, _OTHER, _FOREIGN = 0.8, 1.0, 1.2, 2.0


@dataclass(frozen=True)
class Phone:
    """A labelled phone; times in seconds."""

    start: float
    end: float
    name: str


def read_labels(path: Path) -> list[Phone]:
    """Phones of a label file of Festival's: lines of an end, a colour and a name.

    Raises:
        ManifestError: the file can't be read or has another form.
    """
    phones: list[Phone] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if len(fields := line.split()) == 3:
                end = float(fields[0])
                phones.append(Phone(phones[-1].end if phones else 0.0, end, fields[2]))
    except (OSError, ValueError) as error:
        raise ManifestError(f"'{path}' holds no phone labels: {error}.") from None
    return phones


def word_starts(words: list[str], phones: list[Phone]) -> list[float | None]:
    """Seconds at which words begin.

    Args:
        words: in small Russian letters, ё as it is said.
        phones: of the recording, silence among them.

    Returns:
        For each word the start of the first phone that one of its letters stands for; None if no
        letter found one.
    """
    letters = [(letter, at) for at, word in enumerate(words) for letter in word]
    said = [phone for phone in phones if phone.name not in SILENCE]
    rows, columns = len(letters), len(said)
    best = np.full((rows + 1, columns + 1), np.inf)
    best[0, 0] = 0.0
    came = np.zeros((rows + 1, columns + 1), np.int8)  # phones of the letter, or -1 for no letter
    for i in range(rows + 1):
        for j in range(columns + 1):
            here = best[i, j]
            ways = [(i, j + 1, -1, _SKIPPED_PHONE)] if j < columns else []
            if i < rows:
                letter = letters[i][0]
                ways.append((i + 1, j, 0, 0.0 if letter in _SIGNS else _SKIPPED_LETTER))
                if j < columns:
                    ways.append((i + 1, j + 1, 1, _unlike(letter, said[j].name)))
                if j + 1 < columns and letter in _IOTATED and said[j].name == "j":
                    ways.append((i + 1, j + 2, 2, _unlike(letter, said[j + 1].name)))
            for to_row, to_column, phones_used, cost in ways:
                if here + cost < best[to_row, to_column]:
                    best[to_row, to_column] = here + cost
                    came[to_row, to_column] = phones_used
    starts: list[float | None] = [None] * len(words)
    i, j = rows, columns
    while i or j:
        used = int(came[i, j])
        if used > 0:
            starts[letters[i - 1][1]] = said[j - used].start
        i, j = (i, j - 1) if used < 0 else (i - 1, j - used)
    return starts


def _unlike(letter: str, phone: str) -> float:
    """Cost of a letter standing for a phone, 0 where it is the usual one."""
    if letter in _VOWELS or phone in _VOWEL_PHONES:
        return 0.0 if letter in _VOWELS and phone in _VOWEL_PHONES else _FOREIGN
    if letter in _SIGNS:
        return _FOREIGN
    plain = phone[0] if len(phone) == 2 and phone[0] == phone[1] else phone  # soft ones are doubled
    usual = _CONSONANTS.get(letter, "")
    if plain == usual:
        return 0.0
    if plain in (_UNVOICED.get(usual), *(v for v, u in _UNVOICED.items() if u == usual)):
        return 0.2
    return _OTHER
