"""Which characters can be said: others are refused, or left out and told."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from borealis.data.spoken.traced import Span, Traced
from borealis.errors import SpeechAlphabetError, SpeechMarkupError

STRESSED = frozenset("аеёиоуыэюяАЕЁИОУЫЭЮЯ")
_RUSSIAN = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ")
_LATIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Signs that are marks of a pause, or that the rules of a language know how to say.
_SIGNS = frozenset(" .,!?:;—-+%‰№§°±×÷=<>≈≤≥$€£₽¥¢&@#/\\*^_~|()'\"²³")
_SAME = {
    **dict.fromkeys("«»„“”‟‹›″", '"'),
    **dict.fromkeys("’ʼ`´‘′", "'"),
    **dict.fromkeys("–—―", "—"),
    **dict.fromkeys("‐‑⁃", "-"),
    **dict.fromkeys("[{⟨", "("),
    **dict.fromkeys("]}⟩", ")"),
    "−": "−",
    "…": "...",
    "·": "*",
    "•": ",",
    "⋅": "*",
    "º": "°",
    "℃": "°C",
    "℉": "°F",
    "™": "",
    "®": "",
    "©": "",
    "ß": "ss",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "œ": "oe",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "ı": "i",
    "þ": "th",
    "ð": "d",
}
_GREEK_NAMES = (
    "альфа,бета,гамма,дельта,эпсилон,дзета,эта,тета,йота,каппа,лямбда,мю,ню,кси,омикрон,пи,ро,сигма,"
    "сигма,тау,ипсилон,фи,хи,пси,омега"
)
_GREEK = dict(zip("αβγδεζηθικλμνξοπρσςτυφχψω", _GREEK_NAMES.split(","), strict=True))
# Marks of a page, not of speech: dropped without a word, as nobody hears or sees them.
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f")
# Units that come in millionths; the letter µ before them is no Greek one.
_MICRO = tuple("mgslFAVW")
_ACUTE = "\u0301"
_TAG = re.compile(
    r"""</?[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))*\s*/?>|<[?!][A-Za-z-]"""
)


@dataclass(frozen=True)
class Characters:
    """A text in characters that can be said.

    Args:
        text: the characters, with where they came from.
        stressed: places in the original of the vowels that carry a stress mark.
        left_out: what isn't said, each once: emoji, symbols, control characters.
    """

    text: Traced
    stressed: frozenset[int]
    left_out: tuple[str, ...]


def read(text: str) -> Characters:
    """Find what can be said of a text.

    Letters with an accent lose it, fractions and digits of other scripts are written with plain
    ones, quotes and dashes become one kind of each. A `+` right before a Russian vowel, or an acute
    accent right after, is a stress mark.

    Raises:
        SpeechMarkupError: the text has tags.
        SpeechAlphabetError: it has letters that no rule can say.
    """
    if tag := _TAG.search(text):
        raise SpeechMarkupError(
            f"The text has a tag, {_short(tag[0])}: markup such as SSML isn't read; give plain "
            "text, with stress as a `+` before the vowel."
        )
    chars: list[str] = []
    spans: list[Span] = []
    stressed: set[int] = set()
    left_out: dict[str, None] = {}
    foreign: dict[str, None] = {}
    for place, char in enumerate(text):
        if char == _ACUTE and chars and chars[-1] in STRESSED:
            stressed.add(spans[-1][0])
            spans[-1] = (spans[-1][0], place + 1)
            continue
        if char == "+" and _is_stress(text, place):
            stressed.add(place + 1)
            continue
        if unicodedata.category(char) == "Mn" and chars:
            together = unicodedata.normalize("NFC", chars[-1] + char)
            if len(together) == 1:
                chars[-1], spans[-1] = _plain(together) or chars[-1], (spans[-1][0], place + 1)
            continue
        plain = _plain(char)
        if char in "µμ" and text[place + 1 : place + 2] in _MICRO:
            plain = "мк"
        elif char in "<>" and "|" in text[max(0, place - 1) : place + 2]:
            plain = None  # a bracket of a control word, not a comparison
        if plain is None:
            (foreign if char.isalpha() else left_out)[_name(char)] = None
            plain = " "
        for one in plain:
            chars.append(one)
            spans.append((place, place + 1))
    if foreign:
        some = ", ".join(list(foreign)[:5])
        raise SpeechAlphabetError(
            f"The text has letters that can't be said: {some}; write them in Russian or Latin "
            "letters, as they sound."
        )
    return Characters(Traced("".join(chars), spans), frozenset(stressed), tuple(left_out))


def _plain(char: str) -> str | None:
    """What a character is read as; None where it can't be said."""
    if char in _RUSSIAN or char in _LATIN or char in _SIGNS or char in "0123456789\n":
        return char
    if char in _SAME:
        return _SAME[char]
    if char in _INVISIBLE:
        return ""
    if char.isspace():
        return "\n" if char in "\r\x0b\x0c\x85\u2028\u2029" else " "
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    if char.lower() in _GREEK:
        return f" {_GREEK[char.lower()]} "
    return _decomposed(char)


def _decomposed(char: str) -> str | None:
    """The base of an accented letter; the plain form of `½`, `①`, `ﬁ`, full-width letters."""
    apart = unicodedata.normalize("NFKD", char)
    base = "".join(c for c in apart if unicodedata.category(c) != "Mn").replace("⁄", "/")
    if base == char or not base:
        return None
    known = all(c in _LATIN or c in _RUSSIAN or c in _SIGNS or c in "0123456789" for c in base)
    # "5½" is five and a half, not fifty-one halves.
    return (f" {base} " if "/" in base else base) if known else None


def _is_stress(text: str, place: int) -> bool:
    """Whether the `+` at this place marks the vowel after it: it stands inside or before a word."""
    after = text[place + 1 : place + 2]
    before = text[place - 1 : place] if place else " "
    if after not in STRESSED or not after:
        return False
    # A plus between two single letters is a sum: "а+б".
    return before.isalpha() or (not before.isalnum() and text[place + 2 : place + 3].isalpha())


def _name(char: str) -> str:
    """A character as a message shows it: by its number where it can't be seen."""
    return char if char.isprintable() else f"U+{ord(char):04X}"


def _short(tag: str) -> str:
    return tag if len(tag) <= 40 else tag[:39] + "…"
