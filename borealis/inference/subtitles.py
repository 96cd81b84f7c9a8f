"""Transcripts as files: SRT and VTT subtitles, JSON with words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from borealis.inference.transcript import Segment, Transcript

if TYPE_CHECKING:
    from borealis.inference.words import Word

FORMATS = ("srt", "vtt", "json")
# What a viewer reads without hurry: two lines of 42 characters, six seconds.
MAX_CHARACTERS, MAX_SECONDS = 84, 6.0


def cues(transcript: Transcript, words: Sequence[Word] = ()) -> list[Segment]:
    """Subtitles to show one after another.

    With words they are broken where a sentence ends, a pause is made or a line gets long; without,
    each segment is one.
    """
    if not words:
        return [Segment(s.start, s.end, s.text) for s in transcript.segments]
    groups: list[list[Word]] = [[]]
    for word in words:
        group = groups[-1]
        if group and (
            sum(len(w.text) + 1 for w in group) + len(word.text) > MAX_CHARACTERS
            or word.end - group[0].start > MAX_SECONDS
            or word.start - group[-1].end > 1.0
            or group[-1].text.endswith((".", "!", "?", "…"))
        ):
            groups.append([])
        groups[-1].append(word)
    return [Segment(g[0].start, g[-1].end, " ".join(w.text for w in g)) for g in groups]


def srt(cues: Iterable[Segment]) -> str:
    """SubRip: numbered cues with an empty line between them."""
    blocks = [
        f"{number}\n{_clock(c.start, ',')} --> {_clock(c.end, ',')}\n{c.text}\n"
        for number, c in enumerate(cues, 1)
    ]
    return "\n".join(blocks)


def vtt(cues: Iterable[Segment]) -> str:
    """WebVTT: a head, and cues whose text has none of its marks."""
    blocks = [
        f"{_clock(c.start, '.')} --> {_clock(c.end, '.')}\n{_escaped(c.text)}\n" for c in cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def to_srt(transcript: Transcript, words: Sequence[Word] = ()) -> str:
    """SubRip."""
    return srt(cues(transcript, words))


def to_vtt(transcript: Transcript, words: Sequence[Word] = ()) -> str:
    """WebVTT."""
    return vtt(cues(transcript, words))


def to_json(transcript: Transcript, words: Sequence[Word] = ()) -> str:
    """Everything that is known, as JSON."""
    data = transcript.to_dict() | {"words": [asdict(word) for word in words]}
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def write(transcript: Transcript, words: Sequence[Word] = (), *, form: str) -> str:
    """The text of a file of one of `FORMATS`."""
    writers = {"srt": to_srt, "vtt": to_vtt, "json": to_json}
    if form not in writers:
        raise ValueError(f"form is {form!r}; it must be one of {', '.join(FORMATS)}.")
    return writers[form](transcript, words)


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(text: str) -> str:
    """WebVTT has marks of its own, and an arrow would end a cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
