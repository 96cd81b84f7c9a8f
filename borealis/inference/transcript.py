"""What transcription gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass
class Word:
    """A word as it is written in the transcript.

    Args:
        start: seconds from the beginning of the recording.
        end: likewise.
        text: the word with its punctuation.
        confidence: 0 to 1; None where the word has nothing that CTC could hear (digits), and its
            time is a guess. In a transcript: the probability that the word is right. Where a given
            text was aligned: how well its letters fit the sound, the geometric mean of their
            probabilities.
    """

    start: float
    end: float
    text: str
    confidence: float | None


def placed(words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Words of a stretch as words of its recording.

    Args:
        words: with times from the beginning of the stretch.
        start: where it begins, seconds.
        end: where it ends; no word lasts longer.
    """
    return [
        replace(word, start=round(start + word.start, 2), end=round(min(start + word.end, end), 2))
        for word in words
    ]


@dataclass
class Segment:
    """A stretch of a recording and its text; times are seconds from the start.

    Args:
        start: where it begins.
        end: where it ends.
        text: what is said.
        words: its words with their times; None if they weren't asked for.
    """

    start: float
    end: float
    text: str
    words: list[Word] | None = None


@dataclass
class Guess:
    """What a segment says as it looks now; a later guess or the segment replaces it.

    Args:
        start: where the segment begins, seconds.
        end: where it ends.
        text: its text so far.
    """

    start: float
    end: float
    text: str


@dataclass
class Transcript:
    """The text of a recording.

    Args:
        text: all of it; empty when nobody speaks.
        duration: length of the recording, seconds.
        segments: the stretches it was cut into, in order, without those where nobody speaks.
        language: `ru` or `en`: the one that was given, else that of most words; None without any.
    """

    text: str
    duration: float
    segments: list[Segment] = field(default_factory=list)
    language: str | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def words(self) -> list[Word] | None:
        """The words of all segments; None if they weren't asked for."""
        known = [segment.words for segment in self.segments]
        if any(words is None for words in known):
            return None
        return [word for words in known for word in words or ()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `words` only where they were asked for."""
        segments = [asdict(segment) for segment in self.segments]
        for segment in segments:
            if segment["words"] is None:
                del segment["words"]
        return {
            "text": self.text,
            "language": self.language,
            "duration": self.duration,
            "segments": segments,
        }
