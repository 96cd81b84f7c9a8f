"""Checks of arguments: what is of the wrong kind or out of range is told, with what is wanted."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from borealis.errors import PromptError

_NAMES = {
    "ru": ("ru", "rus", "russian", "русский"),
    "en": ("en", "eng", "english", "английский"),
}
LANGUAGES = {name: code for code, names in _NAMES.items() for name in names}


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number from `least` up, or PromptError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise _wrong(name, value, f"a whole number from {least} up")
    return int(value)


def number(name: str, value: Any, least: float, most: float | None = None) -> float:
    """A number that is finite and from `least` to `most`, or PromptError."""
    known = isinstance(value, Real) and not isinstance(value, bool)
    # A comparison with NaN is false.
    if not known or math.isinf(value) or not least <= value <= (math.inf if most is None else most):
        upper = "up" if most is None else f"to {most:g}"
        raise _wrong(name, value, f"a number from {least:g} {upper}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False, or PromptError: the text 'no' would be true."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def decoded(argument: str) -> str:
    """A word of a command line as text: under an ASCII locale Python leaves it undecoded."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "replace")
    return argument


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Texts, none of them empty, or PromptError: one text alone would be a row of letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise _wrong(name, value, "a list of texts")
    found = tuple(value)
    for text in found:
        if not isinstance(text, str) or not text.strip():
            raise _wrong(f"One of {name}", text, "a text with letters")
    return found


def language(value: Any) -> str | None:
    """`ru` or `en` for a code, a locale or a name of the language in any case (`ru-RU`, `Russian`).

    None, an empty string and `auto` choose nothing: None.

    Raises:
        PromptError: another language, or no text.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong("language", value, "'ru' or 'en', or nothing,")
    known = value.strip().lower().replace("_", "-")
    if known in ("", "auto"):
        return None
    code = LANGUAGES.get(known.partition("-")[0])
    if code is None:
        raise _wrong("language", value, "'ru' or 'en', or nothing,")
    return code


def _wrong(name: str, value: Any, wanted: str) -> PromptError:
    shown = " ".join(reprlib.repr(value).split())
    return PromptError(f"{name} is {shown}; {wanted} is wanted.")
