"""Subtitles as people want them: SRT and WebVTT with short lines that can be read in time.

Two lines of 42 characters, at most 7 seconds, 20 characters a second where the pause after it
leaves room: what broadcasters ask for (BBC Subtitle Guidelines; Netflix Timed Text Style Guide).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from borealis.inference.transcript import Segment, Transcript, Word

LINE, LINES = 42, 2  # characters of a line, and lines
MAX_SECONDS, MIN_SECONDS = 7.0, 1.0
PAUSE = 1.0  # seconds of silence that end a subtitle
CHARACTERS_PER_SECOND = 20.0
_ENDS = (".", "!", "?", "…")
_BREAKS = (",", ";", ":", "—", "–")


def cues(transcript: Transcript) -> list[Segment]:
    """Subtitles to show one after another; the lines of each are parted by a line break.

    They end where a sentence ends, a pause is made or the two lines are full. Times are those of
    the words; where a transcript has none, words share their segment by their length.
    """
    found: list[Segment] = []
    for segment in transcript.segments:
        words = segment.words if segment.words else _shared(segment)
        for group in _groups(words):
            text = "\n".join(_lines(" ".join(word.text for word in group)))
            found.append(Segment(round(group[0].start, 3), round(group[-1].end, 3), text))
    return _in_time(found, transcript.duration)


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


def _shared(segment: Segment) -> list[Word]:
    """Words of a segment without times: each has a share by its letters."""
    texts = segment.text.split()
    total = sum(len(text) + 1 for text in texts)
    words, at = [], 0
    for text in texts:
        share = [(at + n) / total for n in (0, len(text) + 1)]
        first, last = (segment.start + s * (segment.end - segment.start) for s in share)
        words.append(Word(first, last, text, None))
        at += len(text) + 1
    return words


def _groups(words: Sequence[Word]) -> list[list[Word]]:
    """Words of one subtitle each."""
    groups: list[list[Word]] = []
    for word in words:
        group = groups[-1] if groups else []
        if (
            not group
            or word.start - group[-1].end > PAUSE
            or group[-1].text.endswith(_ENDS)
            or word.end - group[0].start > MAX_SECONDS
            or len(_lines(" ".join([*(w.text for w in group), word.text]))) > LINES
        ):
            groups.append([])
        groups[-1].append(word)
    return [part for group in groups for part in _balanced(group)]


def _balanced(group: list[Word]) -> list[list[Word]]:
    """A subtitle that is full and whose last mark stands late in it ends at that mark."""
    if len(" ".join(word.text for word in group)) <= LINE or group[-1].text.endswith(_ENDS):
        return [group]
    for at in range(len(group) - 1, len(group) // 2, -1):
        if group[at - 1].text.endswith(_BREAKS):
            return [group[:at], group[at:]]
    return [group]


def _lines(text: str) -> list[str]:
    """A text in lines of at most `LINE` characters; two are nearly as long as one another.

    A word that is longer than a line has one of its own.
    """
    if len(text) <= LINE:
        return [text]
    words = text.split(" ")
    halves = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    fitting = [pair for pair in halves if max(map(len, pair)) <= LINE]
    if fitting:
        best = min(fitting, key=lambda p: abs(len(p[0]) - len(p[1])) - 8 * p[0].endswith(_BREAKS))
        return list(best)
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _in_time(found: Sequence[Segment], duration: float) -> list[Segment]:
    """Cues that stay until they are read, if the next one doesn't come before."""
    out = []
    for at, cue in enumerate(found):
        limit = found[at + 1].start if at + 1 < len(found) else max(duration, cue.end)
        needed = max(MIN_SECONDS, len(cue.text) / CHARACTERS_PER_SECOND)
        end = max(cue.end, min(cue.start + needed, limit))
        out.append(replace(cue, end=round(min(end, max(limit, cue.start)), 3)))
    return out


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(text: str) -> str:
    """WebVTT has marks of its own, and an arrow would end a cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
