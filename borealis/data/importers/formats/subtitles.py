"""Subtitles: SRT and WebVTT, without their tags, notes and sounds in brackets."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from borealis import arguments
from borealis.data.importers import places
from borealis.data.importers.rows import Found, Importer, ImportProblem, Problem, Reading, Row, flat
from borealis.data.importers.text_files import read_text
from borealis.errors import PromptError

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}.*")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,100})>")
_TAGS = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,100}\}")
_SOUNDS = re.compile(r"\[[^\[\]]{0,200}\]|[♪♫]")


@dataclass(frozen=True)
class _Cue:
    line: int
    start: float
    end: float
    texts: tuple[str, ...]
    voice: str


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".srt", ".vtt")


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    recording = places.same_name(path)
    if recording is None:
        yield Problem("no recording", f"beside '{path}' there is no recording of that name")
        return
    cues = list(_cues(read_text(path, reading)))
    if not cues:
        raise ImportProblem(f"'{path.name}' has no cue (00:00:01,000 --> 00:00:02,000) in it.")
    language = _language(path, recording)
    wordless = 0
    for cue, following in zip(cues, [*cues[1:], None], strict=True):
        text = flat(" ".join(cue.texts))
        if not any(c.isalnum() for c in text):
            wordless += 1
            continue
        # Cues that overlap a little are of the same speech.
        end = cue.end if following is None else max(cue.start, min(cue.end, following.start))
        place = f"'{path.name}', line {cue.line}"
        yield Row(
            recording,
            text,
            cue.start,
            end,
            voice=cue.voice,
            language=language,
            joins=True,
            place=place,
        )
    if wordless:
        reading.note(f"'{path.name}': {wordless} cues without words (music, sounds)")


def _language(path: Path, recording: Path) -> str:
    """Of `talk.ru.srt`."""
    middle = path.stem.removeprefix(recording.name).removeprefix(recording.stem).strip(".")
    try:
        return arguments.language(middle) or ""
    except PromptError:
        return ""


def _cues(text: str) -> Iterator[_Cue]:
    """Cues in order; one that begins with the last line of the one before says it only once.

    So do captions that roll: each shows the line that was said, and the next one below it.
    """
    last: tuple[str, ...] = ()
    for cue in _written(text):
        texts = cue.texts
        while texts and last and texts[0] == last[-1] and len(texts) >= 1:
            texts = texts[1:]
            if not texts or texts[0] != last[-1]:
                break
        last = cue.texts or last
        if texts or not cue.texts:
            yield replace(cue, texts=texts)


def _written(text: str) -> Iterator[_Cue]:
    """Cues as they are written, without tags."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at = 0
    while at < len(lines):
        times = _TIMES.fullmatch(lines[at])
        at += 1
        if times is None:
            continue
        number, said = at, []
        while at < len(lines) and lines[at].strip() and not _TIMES.fullmatch(lines[at]):
            said.append(lines[at])
            at += 1
        if (
            at < len(lines)
            and _TIMES.fullmatch(lines[at])
            and said
            and said[-1].strip().isdecimal()
        ):
            said.pop()  # the number of the next cue, where no empty line stands before it
        voice = next((flat(found[1]) for line in said if (found := _VOICE.search(line))), "")
        plain = (flat(_SOUNDS.sub(" ", html.unescape(_TAGS.sub("", line)))) for line in said)
        yield _Cue(
            number,
            _seconds(*times.groups()[:4]),
            _seconds(*times.groups()[4:]),
            tuple(line for line in plain if line),
            voice,
        )


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int(fraction.ljust(3, "0")) / 1000


IMPORTER = Importer("subtitles (SRT, VTT)", _sniff, _read, order=52, beside=(".srt", ".vtt"))
