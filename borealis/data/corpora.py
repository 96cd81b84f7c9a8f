"""Plain-text corpora for the language model: one clean sentence a line, test texts left out."""

from __future__ import annotations

import html
import lzma
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from borealis.data.manifest import read_manifest
from borealis.data.text import ctc_text, sentences, unique

_TAG = re.compile(r"<[^>]+>")
_NGRAM = 5


def russian_classics(path: Path) -> Iterator[str]:
    """Sentences of a plain-text collection of books, optionally compressed with xz."""
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8", errors="replace") as file:
            text = file.read()
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
    yield from sentences(text)


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
    words = ctc_text(text).split()
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
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
