"""The letter of every 20 ms of recordings, told by a Borealis model whose CTC knows their texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from borealis.ctc.alignment import align
from borealis.training.codec.clips import LETTER, UNKNOWN
from borealis.training.data.aligner import Aligner

_REACH = 6  # frames to both sides of its peak that a letter may last


class LetterTeacher:
    """Lays texts over recordings.

    Args:
        name: bundled model, folder or hub id; its adapter must be of the kind `ctc`.

    Raises:
        RecipeError: it hears no letters.
    """

    def __init__(self, name: str) -> None:
        self.aligner = Aligner(name, "data.teacher")
        self.alphabet = self.aligner.alphabet

    @property
    def classes(self) -> int:
        """Letters and the blank."""
        return len(self.alphabet)

    def __call__(self, clips: Sequence[np.ndarray], texts: Sequence[str]) -> list[np.ndarray]:
        """Classes of letters, 0 where none is said, `UNKNOWN` where nobody can tell.

        Args:
            clips: float32 at 16 kHz `[num_samples]` each.
            texts: what is said in them; empty where it isn't known.

        Returns:
            uint8 `[ceil(num_samples / 320)]` each.
        """
        told = [np.full(-(-len(clip) // LETTER), UNKNOWN, np.uint8) for clip in clips]
        known = [
            i
            for i, (clip, text) in enumerate(zip(clips, texts, strict=True))
            if self.alphabet.spell(text)
            and len(clip) <= self.aligner.longest
            # Of a number nobody knows how it was said.
            and not any(c.isdigit() for c in text)
        ]
        if not known:
            return told
        for i, log_probs in zip(known, self.aligner([clips[i] for i in known]), strict=True):
            labels = self.alphabet.spell(texts[i])
            path = align(log_probs, labels)
            if path is not None:
                row = _lasting(path, np.array(labels, np.uint8))[: len(told[i])]
                told[i][: len(row)] = row
        return told


def _lasting(path: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Letters last until the next one: CTC says each of them in a frame or two.

    Args:
        path: index of the letter in each frame, -1 for a blank.
        labels: classes of the letters.
    """
    frames = np.arange(len(path))
    peaks = frames[path >= 0]
    after = np.searchsorted(peaks, frames).clip(max=len(peaks) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(peaks[before] - frames) <= np.abs(peaks[after] - frames)
    nearest = np.where(nearer, peaks[before], peaks[after])
    row = labels[path[nearest]]
    row[np.abs(nearest - frames) > _REACH] = 0
    return row
