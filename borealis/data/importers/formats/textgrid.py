"""Praat's TextGrid, in its long and its short text form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from borealis.data.importers import places
from borealis.data.importers.rows import Found, Importer, ImportProblem, Problem, Reading, Row, flat
from borealis.data.importers.text_files import read_text
from borealis.data.importers.tiers import asked_for, unclear

# What Praat itself reads: texts in quotes, flags, and numbers that stand alone; all else between
# them, such as `xmin =`, is for people.
_TOKENS = re.compile(
    r'"([^"]*(?:""[^"]*)*)"|<(\w+)>|(?:(?<=\s)|^)([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?=\s|$)|(!.*)'
)
# Tiers of what is said, by their usual names, the best first; and those of parts of words.
_BEST = (
    *("sentence", "utterance", "utt", "phrase", "text", "transcript", "segment", "предлож", "фраз"),
    *("текст", "ort", "word", "слов"),
)
_PARTS = re.compile(r"phone|phon|\bpho?\b|syl|mau|kan\b|letter|tone|pitch|звук|слог", re.I)
_PAUSES = {
    "",
    "sil",
    "sp",
    "spn",
    "<sil>",
    "<sp>",
    "<spn>",
    "<p:>",
    "<p>",
    "#",
    "_",
    "pau",
    "<eps>",
}


@dataclass(frozen=True)
class _Tier:
    name: str
    intervals: list[tuple[float, float, str]]


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".textgrid"


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    recording = places.same_name(path)
    if recording is None:
        yield Problem("no recording", f"beside '{path}' there is no recording of that name")
        return
    tiers = _tiers(read_text(path, reading), path)
    for tier, voice in _chosen(tiers, reading, path):
        said = [interval for interval in tier.intervals if interval[2].lower() not in _PAUSES]
        reading.note(
            f"'{path.name}': tier '{tier.name}', {len(said)} intervals and "
            f"{len(tier.intervals) - len(said)} pauses"
        )
        for start, end, text in said:
            place = f"'{path.name}', {start:.2f} s"
            yield Row(recording, text, start, end, voice=voice, joins=True, place=place)


def _chosen(tiers: list[_Tier], reading: Reading, path: Path) -> list[tuple[_Tier, str]]:
    """Tiers of what is said, each with its speaker where several speak.

    Raises:
        ImportProblem: there is none, or it can't be known which.
    """
    if found := asked_for(tiers, reading, path):
        return [(tier, tier.name if len(found) > 1 else "") for tier in found]
    full = [t for t in tiers if any(text for *_, text in t.intervals) and not _PARTS.search(t.name)]
    if len(full) == 1:
        return [(full[0], "")]
    for best in _BEST:
        fitting = [tier for tier in full if best in tier.name.lower()]
        # "anna - words" is how aligners name the tiers of several speakers.
        if len(fitting) > 1 and all(" - " in tier.name for tier in fitting):
            return [(tier, tier.name.rpartition(" - ")[0]) for tier in fitting]
        if len(fitting) == 1:
            return [(fitting[0], "")]
    raise unclear(tiers, path)


def _tiers(text: str, path: Path) -> list[_Tier]:
    """Interval tiers of a TextGrid.

    Raises:
        ImportProblem: it isn't one in a text form, or breaks off.
    """
    tokens = _tokens(text)
    try:
        if next(tokens) != "ooTextFile" or next(tokens) != "TextGrid":
            raise ValueError
        _number(tokens), _number(tokens)
        if next(tokens) != ("exists",):
            return []
        return [tier for _ in range(_count(tokens)) if (tier := _tier(tokens)) is not None]
    except (StopIteration, ValueError, RuntimeError):
        raise ImportProblem(
            f"'{path.name}' is no TextGrid in Praat's text form, or breaks off; in Praat: Save as "
            "text file."
        ) from None


def _tier(tokens: Iterator[str | float | tuple[str]]) -> _Tier | None:
    kind, name = next(tokens), next(tokens)
    _number(tokens), _number(tokens)
    intervals = []
    for _ in range(_count(tokens)):
        start = _number(tokens)
        end = _number(tokens) if kind == "IntervalTier" else start
        text = next(tokens)
        if not isinstance(text, str):
            raise ValueError
        intervals.append((start, end, flat(text)))
    return _Tier(str(name), intervals) if kind == "IntervalTier" else None


def _tokens(text: str) -> Iterator[str | float | tuple[str]]:
    """Texts as str, numbers as float, flags as a tuple; comments are left out."""
    for token in _TOKENS.finditer(text):
        if token[1] is not None:
            yield token[1].replace('""', '"')
        elif token[2] is not None:
            yield (token[2],)
        elif token[3] is not None:
            yield float(token[3])


def _number(tokens: Iterator[str | float | tuple[str]]) -> float:
    value = next(tokens)
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError
    return value


def _count(tokens: Iterator[str | float | tuple[str]]) -> int:
    value = _number(tokens)
    if value < 0 or not value.is_integer():
        raise ValueError
    return int(value)


IMPORTER = Importer("Praat TextGrid", _sniff, _read, order=50, beside=(".textgrid",))
