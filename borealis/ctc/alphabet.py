"""Which letters CTC may emit, and how written text is spelled in them.

Class 0 is the blank; the letters are classes 1, 2, ... in the order of `labels`. The alphabet is
part of a checkpoint (`ctc_labels` of the configuration); nothing here assumes Russian.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLANK = 0
# Letters that look the same to a listener are folded unless the alphabet tells them apart.
_FOLDED = {"ё": "е", "’": "'", "ʼ": "'", "`": "'"}
_SPACES = "-—–‑\t\n\r\xa0"
# The script that a language is written in; where it isn't named, no letters are ruled out.
SCRIPTS = {
    "ru": "CYRILLIC",
    "uk": "CYRILLIC",
    "be": "CYRILLIC",
    "bg": "CYRILLIC",
    "kk": "CYRILLIC",
    "en": "LATIN",
    "de": "LATIN",
    "fr": "LATIN",
    "es": "LATIN",
    "it": "LATIN",
    "tr": "LATIN",
}


@dataclass(frozen=True)
class Alphabet:
    """The letters of a CTC adapter.

    Args:
        labels: the characters, in the order of their classes; one of them is the space.

    Raises:
        ValueError: a character occurs twice, or there is no space.
    """

    labels: str

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = next(c for c in self.labels if self.labels.count(c) > 1)
            raise ValueError(f"ctc_labels has {twice!r} twice.")
        if " " not in self.labels:
            raise ValueError("ctc_labels has no space; words couldn't be told apart.")

    def __len__(self) -> int:
        """Number of classes, the blank included."""
        return len(self.labels) + 1

    @cached_property
    def classes(self) -> dict[str, int]:
        """The class of each letter."""
        return {letter: number for number, letter in enumerate(self.labels, 1)}

    @property
    def space(self) -> int:
        """The class of the space."""
        return self.classes[" "]

    def fold(self, text: str) -> str:
        """`text` in the letters of this alphabet: lower case, single spaces, the rest left out.

        A letter that the alphabet lacks is replaced by what it is folded to (ё by е), or by its
        base letter where that is there (é by e), so an alphabet that has ё or ї keeps it.
        """
        spelled = unicodedata.normalize("NFC", text).lower().translate(self._folds)
        return " ".join(spelled.split())

    def spell(self, text: str) -> list[int]:
        """Classes of the folded text."""
        return [self.classes[c] for c in self.fold(text)]

    def text(self, classes: Iterable[int]) -> str:
        """What these classes spell; blanks say nothing."""
        return "".join(self.labels[c - 1] for c in classes if c)

    def allowed(self, language: str | None) -> np.ndarray:
        """Classes that a language may use, the blank and the space among them: bool `[classes]`.

        A language without a known script, or one whose script the alphabet lacks, rules nothing
        out.
        """
        script = SCRIPTS.get(language or "")
        own = self._of_script(script) if script else np.zeros(len(self), bool)
        if not own.any():
            return np.ones(len(self), bool)
        own |= ~self._letters
        return own

    @cached_property
    def scripts(self) -> dict[str, np.ndarray]:
        """Scripts of the alphabet and which classes are theirs: bool `[classes]`."""
        found = {_script(c) for c in self.labels if c.isalpha()}
        return {script: self._of_script(script) for script in sorted(found)}

    @cached_property
    def _folds(self) -> dict[int, str]:
        return _Folds(self.classes)

    @cached_property
    def _letters(self) -> np.ndarray:
        return np.array([False, *(c.isalpha() for c in self.labels)])

    def _of_script(self, script: str) -> np.ndarray:
        return np.array([False, *(c.isalpha() and _script(c) == script for c in self.labels)])


class _Folds(dict[int, str]):
    """What each character is folded to, for `str.translate`; found when one is met first."""

    def __init__(self, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.classes = classes

    def __missing__(self, code: int) -> str:
        c = chr(code)
        others = (c, _FOLDED.get(c, ""), unicodedata.normalize("NFD", c)[0])
        if c in _SPACES and c not in self.classes:
            found = " "
        else:
            found = next((other for other in others if other in self.classes), "")
        self[code] = found
        return found


def _script(letter: str) -> str:
    """The first word of a character's Unicode name: CYRILLIC, LATIN, GREEK ..."""
    return unicodedata.name(letter, "").split(" ")[0]
