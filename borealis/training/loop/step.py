"""What a step of training came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Step:
    """What a step came to.

    Args:
        number: from 1.
        loss: of this process's batches; the step's is the mean over processes.
        parts: losses of each batch, by what was heard and their names (`audio_lm`).
        audio_seconds: that this process heard.
        gradient: its norm before clipping.
        rate: learning rate of what has none of its own.
    """

    number: int
    loss: float = 0.0
    parts: dict[str, list[float]] = field(default_factory=dict)
    audio_seconds: float = 0.0
    gradient: float = 0.0
    rate: float = 0.0
