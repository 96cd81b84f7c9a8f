"""Text for training: cleaning of transcripts and corpora, sentences, CTC labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from borealis.ctc.alphabet import Alphabet
from borealis.errors import ManifestError

# The letters of nano, and of a model from nothing whose recipe names no others. ё is folded into е:
# the classics in the corpus are printed without it.
CTC_CHARACTERS = " абвгдежзийклмнопрстуфхцчшщъыьэюяabcdefghijklmnopqrstuvwxyz'"
LETTERS = Alphabet(CTC_CHARACTERS)

_QUOTES = re.compile(r"[«»„“”\"‹›]")
_DASHES = re.compile(r"\s*(?:—|–|―|--)\s*|(?:^|\s+)-\s+")
_SPACES = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[А-ЯЁA-Z«\"—–-])")
_CONTROL_WORD = re.compile(r"<\|[^<>|\s]{1,40}\|>")
_SPEAKABLE = re.compile(r"[А-Яа-яЁёA-Za-z ,.!?:;—'-]+")


def clean_transcript(text: str) -> str:
    """The form a transcript is learned in: no quotes, brackets or stress marks, one kind of dash.

    Spoken audio doesn't say which quotes were printed, so the model isn't asked to guess them.
    """
    text = unicodedata.normalize("NFC", text.replace("+", "").replace("\u0301", ""))
    text = _QUOTES.sub("", text).replace("…", "...").replace("(", "").replace(")", "")
    text = _DASHES.sub(" — ", text)
    text = _SPACES.sub(" ", text).strip()
    # A dash that opens a line of dialogue isn't heard; before a comma or stop it is a leftover.
    text = re.sub(r"^(?:— )+", "", text)
    text = re.sub(r"\s+([,.!?:;])", r"\1", text)
    return re.sub(r"\s*—\s*$", "", text).strip(" ,;:")


def read_lines(path: Path) -> list[str]:
    """Lines of a text file in UTF-8.

    Raises:
        ManifestError: it is missing, or isn't in UTF-8.
    """
    with reading(path):
        return path.read_text(encoding="utf-8-sig").splitlines()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the reading of a text file.

    Raises:
        ManifestError: it is missing, or isn't in UTF-8.
    """
    try:
        yield
    except UnicodeDecodeError:
        raise ManifestError(
            f"'{path}' isn't text in UTF-8 (in cp1251, perhaps, as Windows writes it)."
        ) from None
    except OSError as error:
        raise ManifestError(f"'{path}' can't be read: {error.strerror}.") from None


def control_words(text: str) -> list[str]:
    """Words such as `<|audio|>` in a text, each once: marks of a prompt where a model writes it.

    In data they are text and are learned as such; mostly they got there by mistake.
    """
    return list(dict.fromkeys(_CONTROL_WORD.findall(text)))


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a plain-text book: lines are joined until a blank or an indented line.

    Poems, headings and tables come out as short pieces, which `sentences` then drops.
    """
    block: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or (line.startswith(("   ", "\t")) and block):
            if block:
                yield " ".join(block)
            block = [stripped] if stripped else []
        else:
            block.append(stripped)
    if block:
        yield " ".join(block)


def sentences(text: str, *, min_chars: int = 12, max_chars: int = 240) -> Iterator[str]:
    """Clean sentences of prose that could be read aloud letter by letter: no digits, no symbols."""
    for paragraph in paragraphs(text):
        flat = _SPACES.sub(" ", paragraph)
        for sentence in _SENTENCE_END.split(flat):
            sentence = clean_transcript(sentence)
            if (
                min_chars <= len(sentence) <= max_chars
                and _SPEAKABLE.fullmatch(sentence)
                and sentence[0].isupper()
                and sentence[-1] in ".!?"
            ):
                yield sentence


def unique(items: Iterable[str]) -> Iterator[str]:
    """Items in order, each once."""
    seen: set[str] = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item
