"""The way in: a text, what is said of it, and where each spoken word came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from borealis.ctc.alphabet import Alphabet
from borealis.data.spoken import characters, english, russian
from borealis.data.spoken.traced import Traced
from borealis.data.text import CTC_CHARACTERS
from borealis.errors import SpeechEmptyError, SpeechError

# Longer texts are refused: a book is to be read chapter by chapter.
MAX_CHARACTERS = 100_000
# What is heard in one letter may be read in two: a ё that is written is said as one.
LETTERS = Alphabet(CTC_CHARACTERS + "ё")
LANGUAGES = {"ru": russian.say, "en": english.say}

# Sentences are said together up to so many characters, for a number's case shows in its sentence.
_PIECE = 600
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\")]*\s+(?=[\"(—]*\s*[A-ZА-ЯЁ])")
_LINE_END = re.compile(r"\n\s*")
# So many rounds settle every text that was tried; see `speakable`.
_ROUNDS = 5
# The mark that is kept where several meet, the strongest first.
_MARKS = "?!.;:—,"
_UNSAID = frozenset(" \n\"'()-/")


@dataclass(frozen=True)
class SpokenWord:
    """A spoken word and the characters of the original that it says.

    Args:
        text: the word in the letters of nano's CTC alphabet, and ё; with stress kept, a `+` stands
            before its stressed vowel.
        start: first character in the original.
        end: one behind the last. Several words may share a stretch: "двадцать пять" is "25".
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Speakable:
    """What is said of a text.

    Args:
        text: words in lower case with one space between, and the marks `,.!?:;—` where a pause is.
        words: the words of `text`, in order; their stretches lie inside the original, and none
            starts before the one that came earlier.
        left_out: characters that aren't said, each once: emoji, symbols, control characters.
    """

    text: str
    words: tuple[SpokenWord, ...]
    left_out: tuple[str, ...] = ()


def speakable(text: str, language: str = "ru", *, stress: bool = False) -> Speakable:
    """Say a written text in words.

    Numbers, dates, times, money, units, phone numbers, abbreviations, addresses of the web, in
    Russian also words in Latin letters are written out as people say them. Russian numerals take
    the case of their sentence. What comes out stays as it is if it is given in again.

    Words such as `<|audio|>` are plain text here, whatever they mean to a model.

    Args:
        text: what is written, in Russian or English, of at most `MAX_CHARACTERS` characters.
        language: of the words that numbers and signs are said in: `ru` or `en`.
        stress: keep stress marks, a `+` before the vowel or an acute accent over it, as a `+`;
            otherwise they are dropped. Words that are written out, such as abbreviations, have
            none. Stress that isn't marked isn't guessed.

    Raises:
        SpeechError: there is nothing to say, it has tags or letters of another alphabet, it is too
            long, or the language is another.
    """
    if language not in LANGUAGES:
        raise SpeechError(
            f"Text can be said in {' or '.join(LANGUAGES)}, not in {language!r}: give one of them."
        )
    if len(text) > MAX_CHARACTERS:
        raise SpeechError(
            f"The text has {len(text)} characters, more than {MAX_CHARACTERS}: say it in parts."
        )
    read = characters.read(text)
    left_out = dict.fromkeys(read.left_out)
    said = read.text
    # What one round writes may lay bare an abbreviation for the next; most often nothing changes.
    for _ in range(_ROUNDS):
        before = said.text
        pieces = Traced.join(LANGUAGES[language](piece) for piece in _pieces(said))
        said = _spelled(pieces, left_out)
        if said.text == before:
            break
    stressed = read.stressed if stress else frozenset()
    words = tuple(_word(said[slice(*m.span())], stressed) for m in _WORD.finditer(said.text))
    if not words:
        raise SpeechEmptyError(
            "Nothing of the text can be said: give at least one letter or digit."
            if text.strip()
            else "The text is empty: give at least one word to say."
        )
    spoken = iter(words)
    return Speakable(_WORD.sub(lambda _: next(spoken).text, said.text), words, tuple(left_out))


def _pieces(text: Traced) -> Iterator[Traced]:
    """Whole sentences of a line up to `_PIECE` characters; longer ones are cut at a space."""
    lines = [0, *(m.end() for m in _LINE_END.finditer(text.text)), len(text.text)]
    for start, end in pairwise(lines):
        while end - start > _PIECE:
            ends = [m.end() for m in _SENTENCE_END.finditer(text.text, start, start + _PIECE)]
            space = text.text.rfind(" ", start, start + _PIECE) + 1
            cut = ends[-1] if ends else space if space > start else start + _PIECE
            yield text[start:cut]
            yield _gap(text, cut)
            start = cut
        if end > start:
            # A line ends with a pause; where nothing marks it, a full stop does.
            line = text[start:end]
            yield line
            if end < len(text.text) and not line.text.rstrip().endswith(tuple(_MARKS + '")')):
                yield Traced(".", text.spans[end - 1 : end])
            if end < len(text.text):
                yield _gap(text, end)


def _gap(text: Traced, place: int) -> Traced:
    """A space, lest what is written of two pieces runs into one word."""
    return Traced(" ", text.spans[place - 1 : place])


def _spelled(said: Traced, left_out: dict[str, None]) -> Traced:
    """Words in the letters of the alphabet, one space or mark between; adds what isn't said."""
    parts: list[Traced] = []
    done = 0
    for match in _WORD.finditer(said.text):
        word = Traced.join(
            Traced(letter := LETTERS.fold(said.text[i]), [said.spans[i]] * len(letter))
            for i in range(*match.span())
        )
        if not word.text:
            continue
        between = said.text[done : match.start()]
        left_out |= dict.fromkeys(c for c in between if c not in _UNSAID and c not in _MARKS)
        if parts:
            parts.append(_at(_pause(between), parts[-1]))
        parts.append(word)
        done = match.end()
    rest = said.text[done:]
    left_out |= dict.fromkeys(c for c in rest if c not in _UNSAID and c not in _MARKS)
    if parts:
        parts.append(_at(_pause(rest.replace(")", "")).rstrip(), parts[-1]))
    return Traced.join(parts)


def _at(pause: str, word: Traced) -> Traced:
    """A pause, traced to the end of the word before it."""
    return Traced(pause, [word.spans[-1]] * len(pause))


def _word(word: Traced, stressed: frozenset[int]) -> SpokenWord:
    """A word with its stress marks; a letter alone has none, it would read as a sum."""
    letters = (
        f"+{char}" if start in stressed and char in characters.STRESSED and word.text[1:] else char
        for char, (start, _) in zip(word.text, word.spans, strict=True)
    )
    return SpokenWord("".join(letters), *word.span(0, len(word.text)))


def _pause(between: str) -> str:
    """What stands between two spoken words: a space, and the strongest mark of what was written."""
    marks = re.sub(r"\s-\s", " — ", between).replace("(", ",").replace(")", ",")
    mark = next((mark for mark in _MARKS if mark in marks), "")
    return f" {mark} " if mark == "—" else f"{mark} "
