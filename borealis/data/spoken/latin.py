"""Words in Latin letters, written in Russian ones as they sound."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ABC = "abcdefghijklmnopqrstuvwxyz"
# By their English names, in abbreviations.
_ENGLISH = "эй,би,си,ди,и,эф,джи,эйч,ай,джей,кей,эл,эм,эн,о,пи,кью,ар,эс,ти,ю,ви,дабл ю,экс,уай,зед"
# As Russians call a letter that stands alone, in a formula say.
_ALONE = "а,бэ,цэ,дэ,е,эф,же,аш,и,йот,ка,эль,эм,эн,о,пэ,ку,эр,эс,тэ,у,вэ,дубль вэ,икс,игрек,зет"
LETTERS = dict(zip(_ABC, _ENGLISH.split(","), strict=True))
LONE = dict(zip(_ABC, _ALONE.split(","), strict=True))
# Spelled sounds, the longest first; a name that sounds otherwise belongs into `russian.yaml`.
_SOUNDS = [
    ("ation", "ейшен"),
    ("tion", "шен"),
    ("sion", "жен"),
    ("augh", "о"),
    ("ough", "о"),
    ("eigh", "ей"),
    ("igh", "ай"),
    ("tch", "ч"),
    ("sch", "ш"),
    ("eau", "о"),
    ("ch", "ч"),
    ("sh", "ш"),
    ("zh", "ж"),
    ("kh", "х"),
    ("ph", "ф"),
    ("th", "т"),
    ("wh", "у"),
    ("ck", "к"),
    ("qu", "кв"),
    ("oo", "у"),
    ("ee", "и"),
    ("ea", "и"),
    ("ou", "ау"),
    ("ow", "оу"),
    ("au", "о"),
    ("aw", "о"),
    ("ai", "ей"),
    ("ay", "ей"),
    ("ey", "и"),
    ("oy", "ой"),
    ("ya", "я"),
    ("yu", "ю"),
    ("yo", "ё"),
    ("ye", "е"),
    ("ce", "се"),
    ("ci", "си"),
    ("cy", "си"),
    ("ge", "дже"),
    ("gi", "джи"),
    ("gy", "джи"),
    ("ll", "лл"),
    ("ss", "сс"),
]
_SOUND = "а,б,к,д,е,ф,г,х,и,дж,к,л,м,н,о,п,к,р,с,т,у,в,в,кс,и,з"
_ONE = dict(zip(_ABC, _SOUND.split(","), strict=True))
_VOWELS = frozenset("aeiouy")
_LONG = {"a": "ей", "i": "ай", "o": "оу", "u": "ю", "e": "и", "y": "ай"}
_SILENT = re.compile(r"([aeiouy])([bcdfgklmnpstvz])e(s?)$")


def spell(word: str) -> str:
    """Letters one by one, by their English names: "usb" is "ю эс би"."""
    return " ".join(LETTERS[letter] for letter in word.lower())


def say(word: str, names: Mapping[str, str]) -> str:
    """A word in Latin letters, as it sounds in a Russian sentence.

    Names come first, then abbreviations (capitals, or no vowel) letter by letter; the rest follows
    the rules of English reading as far as they go.

    Args:
        word: Latin letters, perhaps with hyphens and apostrophes.
        names: words whose sound is known, in lower case.
    """
    lower = word.lower()
    if lower in names:
        return names[lower]
    if len(word) == 1:
        return LONE[lower]
    if "-" in word:
        return " ".join(say(part, names) for part in word.split("-") if part)
    if "'" in word:
        return say(word.replace("'", "").capitalize(), names)
    humps = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
    if len(humps) > 1:
        return " ".join(say(hump, names) for hump in humps)
    # A spelled word of more letters than five is a heading in capitals.
    if (word.isupper() and len(word) <= 5) or not _VOWELS & set(lower):
        return spell(word)
    return _sounded(lower)


def _sounded(word: str) -> str:
    if len(word) > 3 and (silent := _SILENT.search(word)):
        vowel, consonant, plural = silent.groups()
        soft = {"c": "с", "g": "дж"}.get(consonant) or _ONE[consonant]
        start = _sounded(word[: silent.start()]) if silent.start() else ""
        return start + _LONG[vowel] + soft + ("с" if plural else "")
    said = ""
    place = 0
    while place < len(word):
        found = next((pair for pair in _SOUNDS if word.startswith(pair[0], place)), None)
        written, sound = found or (word[place], _ONE[word[place]])
        if not found:
            if written == "e" and place == 0:
                sound = "э"
            elif written == "y" and word[place + 1 : place + 2] in _VOWELS:
                sound = "й"
        said += sound
        place += len(written)
    return said
