"""Addresses of the web and of mail, part by part: words, numbers and signs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Say = Callable[[str], str]


def said_address(
    address: str, pattern: re.Pattern[str], signs: Mapping[str, str], *, word: Say, number: Say
) -> str:
    """What is said of an address, with a space on either side.

    Args:
        address: without its scheme.
        pattern: finds its parts: a word in Latin letters, a number, anything else.
        signs: how signs are said; what isn't there stays as it is.
        word: says a word in Latin letters.
        number: says digits.
    """
    said = []
    for part in pattern.findall(address):
        if part[0].isascii() and part[0].isalpha():
            said.append(word(part))
        elif part.isdigit():
            said.append(number(part))
        else:
            said.append(signs.get(part, part))
    return f" {' '.join(said)} "
