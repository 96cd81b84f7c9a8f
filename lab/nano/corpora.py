"""Plain-text corpora for the language model: one clean sentence a line, test texts left out."""

from __future__ import annotations

import html
import lzma
import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from borealis.data.engines import SourceError
from borealis.data.manifest import read_manifest
from borealis.data.text import LETTERS, paragraphs, sentences, unique
from borealis.files import write_text

_TAG = re.compile(r"<[^>]+>")
_NGRAM = 5
# What cuts a sentence into phrases that can be said: anything but letters and marks.
_UNSPEAKABLE = re.compile(r"[^А-Яа-яЁёA-Za-z ,.!?:;—'\"«»„“”()…–-]+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
_MIN_PHRASE = 10  # letters


def russian_classics(path: Path) -> Iterator[str]:
    """Sentences of a plain-text collection of books, optionally compressed with xz."""
    yield from sentences(_read(path))


def spoken_phrases(path: Path) -> Iterator[str]:
    """All of such a collection that can be said, as CTC spells it.

    That is more than `russian_classics` takes: a sentence with a number or a sign is cut there
    instead of left out, and none is too long. Torn as they are, phrases do for counting letters.
    """
    for paragraph in paragraphs(_read(path)):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            for piece in _UNSPEAKABLE.split(sentence):
                phrase = LETTERS.fold(piece)
                if len(phrase) >= _MIN_PHRASE and " " in phrase:
                    yield phrase


def _read(path: Path) -> str:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8", errors="replace") as file:
            return file.read()
    return path.read_text(encoding="utf-8", errors="replace")


def dictionary_forms(dictionary: Path, unmunch: Path) -> Iterator[str]:
    """Every form of every word of a Hunspell dictionary, as CTC spells it.

    Args:
        dictionary: the `.dic` file; the `.aff` file lies beside it.
        unmunch: Hunspell's program that lists the forms.

    Raises:
        SourceError: the program fails.
    """
    command = [unmunch.resolve(), dictionary.resolve(), dictionary.with_suffix(".aff").resolve()]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError(f"Hunspell's unmunch can't list the words: {error}.") from None
    lines = listed.decode(errors="replace").splitlines()
    for form in sorted(set(map(LETTERS.fold, lines))):
        if form and " " not in form:
            yield form


def listed_words(path: Path) -> Iterator[str]:
    """The words of a list, one a line, as CTC spells them; those with an apostrophe are left out.

    In a list of English words these are mostly the genitives of the others.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    for word in sorted(set(map(LETTERS.fold, lines))):
        if word and " " not in word and "'" not in word:
            yield word


def markup_folder(
    folder: Path, suffixes: Sequence[str] = (".html", ".xhp", ".xml")
) -> Iterator[str]:
    """Sentences of documentation in HTML or XML: tags removed, each block its own paragraph."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in suffixes):
        raw = path.read_text(encoding="utf-8", errors="replace")
        raw = re.sub(r"<(script|style|head)\b.*?</\1>", " ", raw, flags=re.S)
        raw = re.sub(r"</(p|li|h\d|td|th|div|title)>", "\n\n", raw)
        yield from sentences(html.unescape(_TAG.sub("", raw)))


def fortunes(folder: Path) -> Iterator[str]:
    """Sentences of `fortune` files (entries between lines of a single per cent sign)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix in ("", ".u8"):
            text = path.read_text(encoding="utf-8", errors="replace")
            for entry in text.split("\n%\n"):
                # Lines of a joke are often lines of dialogue; the signature is not prose.
                yield from sentences(re.sub(r"\n\s*(?:--|—).*", "", entry))


def ngrams(text: str, size: int = _NGRAM) -> set[str]:
    """Word n-grams of a sentence in CTC spelling; a shorter sentence is one gram."""
    words = LETTERS.fold(text).split()
    if len(words) <= size:
        return {" ".join(words)}
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def without_test_texts(items: Iterable[str], manifests: Sequence[Path]) -> Iterator[str]:
    """Drop every sentence that shares a five-word run (or is equal) with a test manifest's text."""
    held: set[str] = set()
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            held |= ngrams(utterance.text)
    for item in items:
        if held.isdisjoint(ngrams(item)):
            yield item


def write_corpus(items: Iterable[str], path: Path, *, seed: int = 0) -> int:
    """Write unique sentences in random order, one a line; returns how many."""
    lines = list(unique(items))
    random.Random(seed).shuffle(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(lines) + "\n")
    return len(lines)
