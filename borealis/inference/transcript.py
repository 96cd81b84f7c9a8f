"""What transcription gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Segment:
    """A stretch of a recording and its text; times are seconds from the start."""

    start: float
    end: float
    text: str


@dataclass
class Transcript:
    """The text of a recording.

    Args:
        text: all of it; empty when nobody speaks.
        duration: length of the recording, seconds.
        segments: the stretches it was cut into, in order.
    """

    text: str
    duration: float
    segments: list[Segment] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
