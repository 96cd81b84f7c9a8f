"""A transcript in the forms of OpenAI's API: JSON, text, subtitles."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from borealis.inference import subtitles
from borealis.inference.transcript import Segment, Transcript, Word

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")


@dataclass
class Part:
    """A stretch of a recording as it was decoded.

    Args:
        start: seconds from the beginning of the recording.
        end: the same.
        text: what is said; empty where nobody speaks.
        tokens: ids of the text.
        average_log_prob: mean log-probability of what was written: of the language model's tokens,
            or with a `ctc` adapter of the letters.
        words: with times from the beginning of the recording; None if they weren't asked for.
    """

    start: float
    end: float
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    average_log_prob: float = 0.0
    words: list[Word] | None = None


def join(parts: Sequence[Part]) -> str:
    """The whole text, as `borealis transcribe` writes it."""
    return " ".join(part.text for part in parts if part.text)


def as_json(parts: Sequence[Part], seconds: float) -> dict[str, Any]:
    usage = {"type": "duration", "seconds": math.ceil(seconds)}
    return {"text": join(parts), "usage": usage}


def as_verbose_json(
    parts: Sequence[Part], seconds: float, language: str | None, temperature: float
) -> dict[str, Any]:
    """With segments, and words where they were asked for.

    `no_speech_prob` is null, because the model has no such estimate.
    """
    spoken = [part for part in parts if part.text]
    segments = [
        {
            "id": number,
            "seek": round(part.start * 100),
            "start": part.start,
            "end": part.end,
            "text": part.text,
            "tokens": part.tokens,
            "temperature": temperature,
            "avg_logprob": part.average_log_prob,
            "compression_ratio": _compression(part.text),
            "no_speech_prob": None,
        }
        for number, part in enumerate(spoken)
    ]
    head = {"task": "transcribe", "language": language, "duration": round(seconds, 2)}
    whole = head | as_json(parts, seconds) | {"segments": segments}
    if any(part.words is not None for part in parts):
        words = [word for part in spoken for word in part.words or ()]
        whole["words"] = [{"word": w.text, "start": w.start, "end": w.end} for w in words]
    return whole


def as_text(parts: Sequence[Part], seconds: float) -> str:
    return join(parts)


def as_srt(parts: Sequence[Part], seconds: float) -> str:
    return subtitles.srt(_cues(parts, seconds))


def as_vtt(parts: Sequence[Part], seconds: float) -> str:
    return subtitles.vtt(_cues(parts, seconds))


def _cues(parts: Sequence[Part], seconds: float) -> list[Segment]:
    segments = [Segment(p.start, p.end, p.text, p.words) for p in parts if p.text]
    return subtitles.cues(Transcript(join(parts), round(seconds, 2), segments))


def _compression(text: str) -> float:
    """How much shorter zlib makes it; text that repeats itself has a high value."""
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 3)
