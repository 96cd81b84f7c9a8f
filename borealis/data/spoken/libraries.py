"""The libraries that write numbers out: num2words, and ru-normalizr around it."""

from __future__ import annotations

from functools import cache
from typing import Any

from borealis.errors import SpeechError


def in_words(value: int, language: str, kind: str = "cardinal") -> str:
    """A number in words, in the nominative.

    Args:
        value: the number.
        language: `ru` or `en`.
        kind: `cardinal` or `ordinal`.

    Raises:
        SpeechError: num2words isn't installed.
    """
    try:
        from num2words import num2words
    except ModuleNotFoundError:
        raise _missing("num2words") from None
    return str(num2words(value, lang=language, to=kind))


@cache
def normalizer() -> Any:
    """ru-normalizr for what it does best; names, addresses of the web and Latin words are ours.

    Raises:
        SpeechError: it isn't installed.
    """
    try:
        from ru_normalizr import NormalizeOptions, Normalizer
    except ModuleNotFoundError:
        raise _missing("ru-normalizr") from None
    return Normalizer(
        NormalizeOptions.tts(
            letter_vowel_mode="single",
            initials_pause_mode="preserve",
            enable_latinization=False,
            enable_url_normalization=False,
            remove_links=False,
        )
    )


def _missing(package: str) -> SpeechError:
    return SpeechError(
        f"Numbers are said with the library {package}, which isn't installed: "
        f"'pip install {package}'."
    )
