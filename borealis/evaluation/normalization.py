"""Text normalisation before error rates are counted. Its version is stored with every number."""

from __future__ import annotations

import unicodedata

NORMALIZER_VERSION = 1

# What NFKC leaves of an accent over a Cyrillic vowel: a printed stress, not a letter of its own.
_STRESS = str.maketrans("", "", "\u0300\u0301")


def normalize(text: str) -> str:
    """The words of `text` as they are compared.

    NFKC, lower case, ё as е, stress marks dropped, and everything that is neither a letter, a
    digit nor another mark becomes a space. So a hyphen parts a word in two ("кто-то" is "кто то",
    as it sounds), and numbers stay as they are written ("5" and "пять" differ).

    Args:
        text: a transcript with punctuation.

    Returns:
        Words with one space between; a second pass changes nothing.
    """
    while (folded := _fold(text)) != text:
        text = folded
    return text


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower().translate(_STRESS).replace("ё", "е")
    kept = (c if unicodedata.category(c)[0] in "LNM" else " " for c in text)
    return " ".join("".join(kept).split())
