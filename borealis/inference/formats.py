"""A transcript as the text of a file: plain, JSON, subtitles, a table, a Praat TextGrid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from borealis.inference import subtitles
from borealis.inference.transcript import Segment, Transcript, Word


def write(transcript: Transcript, form: str) -> str:
    """The text of a file, with a line break at its end.

    Args:
        transcript: what is written; subtitles and TextGrids use the times of its words.
        form: one of `FORMATS`.

    Raises:
        ValueError: there is no such form.
    """
    if form not in _WRITERS:
        raise ValueError(f"form is {form!r}; it must be one of {', '.join(FORMATS)}.")
    return _WRITERS[form](transcript)


def _text(transcript: Transcript) -> str:
    return transcript.text + "\n"


def _as_json(transcript: Transcript) -> str:
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=1) + "\n"


def _srt(transcript: Transcript) -> str:
    return subtitles.srt(subtitles.cues(transcript))


def _vtt(transcript: Transcript) -> str:
    return subtitles.vtt(subtitles.cues(transcript))


def _tsv(transcript: Transcript) -> str:
    """Beginning and end in milliseconds and the text, as Whisper's command writes them."""
    rows = [
        f"{round(1000 * s.start)}\t{round(1000 * s.end)}\t{' '.join(s.text.split())}"
        for s in transcript.segments
    ]
    return "\n".join(["start\tend\ttext", *rows]) + "\n"


def _textgrid(transcript: Transcript) -> str:
    """Praat's long text form: a tier of segments, and one of words where their times are known."""
    tiers: list[tuple[str, Sequence[Segment | Word]]] = [("segments", transcript.segments)]
    if transcript.words is not None:
        tiers.append(("words", transcript.words))
    # Praat reads no tier that is empty or has no length.
    end = max([transcript.duration, 0.001, *(s.end for s in transcript.segments)])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:g}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, items) in enumerate(tiers, 1):
        intervals = _without_gaps(items, end)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {end:g}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (first, last, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {first:g}",
                f"            xmax = {last:g}",
                '            text = "{}"'.format(text.replace('"', '""')),
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(items: Sequence[Segment | Word], end: float) -> list[tuple[float, float, str]]:
    """Intervals from 0 to `end`; those between the items are empty."""
    out: list[tuple[float, float, str]] = []
    at = 0.0
    for item in items:
        first, last = max(item.start, at), max(item.end, at)
        if last <= first:
            continue
        if first > at:
            out.append((at, first, ""))
        out.append((first, last, item.text))
        at = last
    if at < end:
        out.append((at, end, ""))
    return out


_WRITERS: dict[str, Callable[[Transcript], str]] = {
    "text": _text,
    "json": _as_json,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "textgrid": _textgrid,
}
FORMATS = tuple(_WRITERS)
# What stands behind the name of such a file.
SUFFIXES = {form: "." + {"text": "txt", "textgrid": "TextGrid"}.get(form, form) for form in FORMATS}
# Forms that are better with the times of words.
WITH_WORDS = frozenset({"srt", "vtt", "textgrid"})
