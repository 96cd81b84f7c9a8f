"""Text files of unknown encoding: UTF-8, UTF-16, and the old Russian ones, told by their bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from borealis.data.importers.rows import ImportProblem, Reading

# Subtitles and labels of a day of speech have a few megabytes; tables of a corpus some hundreds.
MOST_BYTES = 64 * 2**20
MOST_TABLE_BYTES = 1024 * 2**20

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
# Those of one byte a character, the most usual first.
_OLD = ("cp1251", "koi8-r", "cp866", "cp1252")
_RUSSIAN = re.compile(r"[А-ЯЁ]?[а-яё]+|[А-ЯЁ]{2,}|[АВИКОСУЯавикосуя]")
_LATIN = re.compile(r"(?=[A-Za-zÀ-ÿ]*[A-Za-z])[A-Za-zÀ-öø-ÿ]+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f\ufffe\uffff]")


def read_text(path: Path, reading: Reading, *, most: int = MOST_BYTES) -> str:
    """A text file in whatever encoding it is; which one is counted in `reading`.

    Raises:
        ImportProblem: it can't be read, isn't text, is too large, or isn't in the encoding that
            was named.
    """
    reading.inputs.add(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ImportProblem(f"'{path}' can't be read: {error.strerror}.") from None
    if len(data) > most:
        raise ImportProblem(
            f"'{path}' is larger than {most // 2**20} MB, the limit for such a file; split it."
        )
    if reading.encoding is not None:
        try:
            text, name = data.decode(reading.encoding), reading.encoding
        except (UnicodeError, LookupError):
            raise ImportProblem(
                f"'{path}' isn't text in {reading.encoding}; leave --encoding out to have the "
                "encoding found."
            ) from None
    else:
        text, name = decode(data, str(path))
    reading.encodings[name] += 1
    return text


def decode(data: bytes, name: str) -> tuple[str, str]:
    """Bytes as text, and the name of their encoding.

    Raises:
        ImportProblem: they aren't text.
    """
    text, encoding = _decoded(data, name)
    if _CONTROL.search(text):
        raise ImportProblem(f"'{name}' isn't text: it has bytes that no text has.")
    return text, encoding


def _decoded(data: bytes, name: str) -> tuple[str, str]:
    try:
        for mark, codec, shown in _MARKS:
            if data.startswith(mark):
                return data.decode(codec), shown
        shown = "UTF-16"
        if (unmarked := _unmarked_utf16(data)) is not None:
            return data.decode(unmarked), shown
    except UnicodeDecodeError:
        raise ImportProblem(
            f"'{name}' begins as text in {shown} and goes on as something else; save it in UTF-8."
        ) from None
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        pass
    found = [(_likeness(data, codec), -order, codec) for order, codec in enumerate(_OLD)]
    likeness, _, codec = max(found)
    if likeness < 0:
        raise ImportProblem(
            f"'{name}' isn't text in UTF-8, UTF-16, cp1251, KOI8-R or cp866; save it in UTF-8."
        )
    return data.decode(codec), codec


def _unmarked_utf16(data: bytes) -> str | None:
    """Where every second byte is 0 or 4, as in Latin and Russian letters of two bytes."""
    if len(data) < 4 or len(data) % 2:
        return None
    head = data[:4096]
    for half, codec in ((head[1::2], "utf-16-le"), (head[0::2], "utf-16-be")):
        if half.count(0) and half.count(0) + half.count(4) > 0.9 * len(half):
            return codec
    return None


def _likeness(data: bytes, codec: str) -> float:
    """How much it looks like words of a language, 0 to 2; -1 where it can't be.

    Of the words with letters beyond ASCII the share that isn't a mixture of scripts and capitals,
    and of Russian letters the share that is frequent: KOI8-R read as cp1251 may look like words.
    """
    try:
        text = data[: 1 << 16].decode(codec)
        data.decode(codec)
    except UnicodeDecodeError:
        return -1.0
    if _CONTROL.search(text):
        return -1.0
    words = [word for word in re.findall(r"\S+", text) if not word.isascii()]
    plain = 0
    for word in words:
        parts = re.sub(r"[^\w\u2500-\u259f]", " ", word).split()
        plain += all(_RUSSIAN.fullmatch(p) or _LATIN.fullmatch(p) or p.isdecimal() for p in parts)
    letters = re.findall("[а-яё]", text.lower())
    common = sum(map("оеаинт".count, letters))
    return plain / max(1, len(words)) * (1 + common / max(1, len(letters)))
